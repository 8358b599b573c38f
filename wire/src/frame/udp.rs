//! UDP header (RFC 768).

use super::FrameError;
use crate::field::Field;

pub(super) const HEADER_LEN: usize = 8;
/// [`HEADER_LEN`] as the type of the length field.
pub(super) const HEADER_LEN_U16: u16 = 8;
/// UDP as an IPv4 protocol and an IPv6 next header.
pub(super) const PROTOCOL: u8 = 17;

/// Source and destination port.
pub(super) const PORTS: Field<0, 4> = Field;
pub(super) const SOURCE_PORT: Field<0, 2> = Field;
pub(super) const DESTINATION_PORT: Field<2, 2> = Field;
pub(super) const LENGTH: Field<4, 2> = Field;
pub(super) const CHECKSUM: Field<6, 2> = Field;

/// The header of the datagram that `body`, all the IP packet holds, must be.
///
/// A datagram shorter than that is legal but nobody's habit. Turned around in place it would leave
/// an IP length that is wrong, so it is not accepted.
#[inline]
pub(super) fn header(body: &[u8]) -> Result<&[u8; HEADER_LEN], FrameError> {
    let header = body
        .first_chunk::<HEADER_LEN>()
        .ok_or(FrameError::UdpLength)?;
    if usize::from(LENGTH.read_u16(header)) == body.len() {
        Ok(header)
    } else {
        Err(FrameError::UdpLength)
    }
}

/// Exchanges the ports.
#[inline]
pub(super) fn turn_around(header: &mut [u8; HEADER_LEN]) {
    // A rotation by half exchanges the halves.
    let ports = u32::from_ne_bytes(PORTS.read(header));
    PORTS.write(header, ports.rotate_left(16).to_ne_bytes());
}
