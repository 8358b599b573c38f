//! IPv6 header without extension headers (RFC 8200 section 3).

use super::{FlowLabel, FrameError, REPLY_TTL, udp};
use crate::field::Field;

pub(super) const HEADER_LEN: usize = 40;

/// Version, Traffic Class and the first four bits of the Flow Label.
pub(super) const VERSION_CLASS: Field<0, 2> = Field;
/// The same with all of the Flow Label.
const VERSION_CLASS_LABEL: Field<0, 4> = Field;
pub(super) const PAYLOAD_LENGTH: Field<4, 2> = Field;
pub(super) const NEXT_HEADER: Field<6, 1> = Field;
pub(super) const HOP_LIMIT: Field<7, 1> = Field;
/// Source and destination.
pub(super) const ENDS: Field<8, 32> = Field;
pub(super) const SOURCE: Field<8, 16> = Field;
pub(super) const DESTINATION: Field<24, 16> = Field;

/// Traffic Class within [`VERSION_CLASS`].
const CLASS_SHIFT: u32 = 4;
const CLASS_MASK: u32 = 0x0ff0;
/// The version within [`VERSION_CLASS_LABEL`].
const VERSION_MASK: u32 = 0xf000_0000;

/// Octets that the payload length covers after the header.
#[inline]
pub(super) fn body_len(header: &[u8; HEADER_LEN]) -> Result<usize, FrameError> {
    if VERSION_CLASS.read_u16(header) >> 12 != 6 {
        return Err(FrameError::Ipv6Header);
    }
    match NEXT_HEADER.read_u8(header) {
        udp::PROTOCOL => Ok(usize::from(PAYLOAD_LENGTH.read_u16(header))),
        44 => Err(FrameError::Fragment),
        // IANA "IPv6 Extension Header Types": Hop-by-Hop, Routing, ESP, AH, Destination Options,
        // Mobility, HIP, Shim6 and the experimental two.
        0 | 43 | 50 | 51 | 60 | 135 | 139 | 140 | 253 | 254 => Err(FrameError::ExtensionHeader),
        _ => Err(FrameError::NotUdp),
    }
}

/// The header, and what the payload length covers; `packet` may be longer.
#[inline]
pub(super) fn split(packet: &[u8]) -> Result<(&[u8; HEADER_LEN], &[u8]), FrameError> {
    let (header, rest) = packet
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(FrameError::Truncated)?;
    let body = rest.get(..body_len(header)?).ok_or(FrameError::Truncated)?;
    Ok((header, body))
}

/// Sends the header back to where it came from: swaps the addresses, sets the Hop Limit to 255 and the
/// Traffic Class to `class`. The Flow Label stays, or becomes 0.
#[inline]
pub(super) fn turn_around(header: &mut [u8; HEADER_LEN], class: u8, flow_label: FlowLabel) {
    let (source, destination) = (SOURCE.read(header), DESTINATION.read(header));
    SOURCE.write(header, destination);
    DESTINATION.write(header, source);
    HOP_LIMIT.write_u8(header, REPLY_TTL);
    let others = match flow_label {
        FlowLabel::Keep => !(CLASS_MASK << 16),
        FlowLabel::Zero => VERSION_MASK,
    };
    let word = VERSION_CLASS_LABEL.read_u32(header) & others;
    let class = u32::from(class) << (16 + CLASS_SHIFT);
    VERSION_CLASS_LABEL.write(header, (word | class).to_be_bytes());
}

/// The Traffic Class.
#[inline]
pub(super) fn traffic_class(header: &[u8; HEADER_LEN]) -> u8 {
    let [_, class] = (VERSION_CLASS.read_u16(header) >> CLASS_SHIFT).to_be_bytes();
    class
}
