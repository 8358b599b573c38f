//! IPv4 header without options (RFC 791 section 3.1).

use super::layout::offset;
use super::{FrameError, REPLY_TTL, udp};
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

/// Octets that the total length covers after the header.
#[inline]
pub(super) fn body_len(header: &[u8; HEADER_LEN]) -> Result<usize, FrameError> {
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
    usize::from(TOTAL_LENGTH.read_u16(header))
        .checked_sub(HEADER_LEN)
        .ok_or(FrameError::Ipv4Length)
}

/// The header, and what the total length covers after it; `packet` may be longer.
#[inline]
pub(super) fn split(packet: &[u8]) -> Result<(&[u8; HEADER_LEN], &[u8]), FrameError> {
    let (header, rest) = packet
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(FrameError::Truncated)?;
    let body = rest.get(..body_len(header)?).ok_or(FrameError::Truncated)?;
    Ok((header, body))
}

/// Sends the header back to where it came from: swaps the addresses, sets the TTL to 255 and TOS to
/// `tos`, and updates the checksum.
#[inline]
pub(super) fn turn_around(header: &mut [u8; HEADER_LEN], tos: u8) {
    // A rotation by half exchanges the halves.
    let ends = u64::from_ne_bytes(ENDS.read(header));
    ENDS.write(header, ends.rotate_left(32).to_ne_bytes());
    // Whole words, since that is what the checksum is made of; in whatever byte order they lie, since
    // the checksum has no other (RFC 1071 section 2).
    let (old_tos, old_ttl) = (TOS_WORD.read(header), TTL_WORD.read(header));
    let (new_tos, new_ttl) = ([old_tos[0], tos], [REPLY_TTL, old_ttl[1]]);
    TOS_WORD.write(header, new_tos);
    TTL_WORD.write(header, new_ttl);
    update_checksum(header, [old_tos, old_ttl], [new_tos, new_ttl]);
}

/// Writes a total length for `body_len` octets after the header, and updates the checksum. False if
/// there cannot be that many.
#[inline]
pub(super) fn set_body_len(header: &mut [u8; HEADER_LEN], body_len: u16) -> bool {
    let Some(total) = body_len.checked_add(offset(HEADER_LEN)) else {
        return false;
    };
    let (old, new) = (TOTAL_LENGTH.read(header), total.to_be_bytes());
    TOTAL_LENGTH.write(header, new);
    update_checksum(header, [old, [0; 2]], [new, [0; 2]]);
    true
}

/// Updates the checksum after two words of the header changed: RFC 1624 equation 3.
#[inline]
fn update_checksum(header: &mut [u8; HEADER_LEN], old: [[u8; 2]; 2], new: [[u8; 2]; 2]) {
    let checksum = u16::from_ne_bytes(CHECKSUM.read(header));
    let [old, new] = [old, new].map(|words| words.map(u16::from_ne_bytes));
    // Five words of 16 bits fit 32 bits many times over.
    let sum = [!checksum, !old[0], !old[1], new[0], new[1]]
        .into_iter()
        .fold(0_u32, |sum, word| sum.wrapping_add(u32::from(word)));
    // What is carried out of 16 bits is carried around, twice at most.
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let [first, second, ..] = (!sum).to_le_bytes();
    CHECKSUM.write(header, u16::from_le_bytes([first, second]).to_ne_bytes());
}
