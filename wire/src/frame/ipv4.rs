//! IPv4 header without options (RFC 791 section 3.1).

use super::FrameError;
use super::udp;
use crate::field::Field;

pub(super) const HEADER_LEN: usize = 20;

pub(super) const VERSION_IHL: Field<0, 1> = Field;
/// Version, header length and TOS as the checksum sees them.
pub(super) const TOS_WORD: Field<0, 2> = Field;
pub(super) const TOS: Field<1, 1> = Field;
pub(super) const TOTAL_LENGTH: Field<2, 2> = Field;
pub(super) const FLAGS_FRAGMENT: Field<6, 2> = Field;
/// TTL and protocol as the checksum sees them.
pub(super) const TTL_WORD: Field<8, 2> = Field;
pub(super) const TTL: Field<8, 1> = Field;
pub(super) const PROTOCOL: Field<9, 1> = Field;
pub(super) const CHECKSUM: Field<10, 2> = Field;
/// Source and destination.
pub(super) const ENDS: Field<12, 8> = Field;
pub(super) const SOURCE: Field<12, 4> = Field;
pub(super) const DESTINATION: Field<16, 4> = Field;

/// More Fragments and the offset; Don't Fragment and the reserved bit are nobody's concern here.
const FRAGMENT_MASK: u16 = 0x3fff;

/// The header, and what the total length covers after it; `packet` may be longer.
#[inline]
pub(super) fn split(packet: &[u8]) -> Result<(&[u8; HEADER_LEN], &[u8]), FrameError> {
    let (header, rest) = packet
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(FrameError::Truncated)?;
    match VERSION_IHL.read_u8(header) {
        0x45 => {}
        0x46..=0x4f => return Err(FrameError::Ipv4Options),
        _ => return Err(FrameError::Ipv4Header),
    }
    if FLAGS_FRAGMENT.read_u16(header) & FRAGMENT_MASK != 0 {
        return Err(FrameError::Fragment);
    }
    if PROTOCOL.read_u8(header) != udp::PROTOCOL {
        return Err(FrameError::NotUdp);
    }
    let len = usize::from(TOTAL_LENGTH.read_u16(header))
        .checked_sub(HEADER_LEN)
        .ok_or(FrameError::Ipv4Length)?;
    let body = rest.get(..len).ok_or(FrameError::Truncated)?;
    Ok((header, body))
}
