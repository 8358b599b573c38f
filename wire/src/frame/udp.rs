//! UDP header (RFC 768).

use super::FrameError;
use super::layout::offset;
use crate::field::Field;

pub(super) const HEADER_LEN: usize = 8;
/// UDP as an IPv4 protocol and an IPv6 next header.
pub(super) const PROTOCOL: u8 = 17;

pub(super) const SOURCE_PORT: Field<0, 2> = Field;
pub(super) const DESTINATION_PORT: Field<2, 2> = Field;
pub(super) const LENGTH: Field<4, 2> = Field;
pub(super) const CHECKSUM: Field<6, 2> = Field;

/// Payload octets of the datagram that `body`, all the IP packet holds, must be.
///
/// A datagram shorter than that is legal but nobody's habit. Turned around in place it would leave
/// an IP length that is wrong, so it is not accepted.
#[inline]
pub(super) fn payload_len(body: &[u8]) -> Result<u16, FrameError> {
    let header = body
        .first_chunk::<HEADER_LEN>()
        .ok_or(FrameError::UdpLength)?;
    let len = LENGTH.read_u16(header);
    if usize::from(len) != body.len() {
        return Err(FrameError::UdpLength);
    }
    len.checked_sub(offset(HEADER_LEN))
        .ok_or(FrameError::UdpLength)
}
