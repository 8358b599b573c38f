//! From request to reply, in place and in two steps: everything but T3, then T3.
//!
//! T3 should be the departure time, so it comes last and for many packets at once; what can be
//! written before is.

use super::{REPLY_LEN, REQUEST_LEN, STAMP_LEN, TooShort, field, header_mut};
use crate::checksum::Sum;
use crate::error_estimate::ErrorEstimate;

/// What the Session-Reflector adds to a request before the transmit timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyFields {
    /// Sequence Number: a copy of the request's (stateless) or the session's own count.
    pub sequence: u32,
    /// T2 in the format the reply's Error Estimate will name.
    pub receive_timestamp: [u8; 8],
    /// TTL or Hop Limit of the request; 255 if it cannot be read.
    pub sender_ttl: u8,
}

/// The header of a reply: what octets 14, 15 and 41 to 43 are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReplyHeader {
    /// 41 octets, 14 and 15 zero (RFC 5357 section 4.2.1).
    #[default]
    Light,
    /// 44 octets: the request's TOS or Traffic Class octet as S-DSCP-ECN, and two zeros (RFC 7750
    /// section 2.2).
    LightDscp {
        /// That octet, DSCP and ECN as they arrived.
        tos: u8,
    },
    /// 44 octets, the last three zero (RFC 8762 section 4.3.1).
    Stamp {
        /// STAMP Session Identifier, octets 14 and 15 (RFC 8972 section 3).
        ssid: u16,
    },
}

impl ReplyHeader {
    /// Octets of the header.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "no header is empty")]
    pub const fn len(self) -> usize {
        match self {
            Self::Light => REPLY_LEN,
            Self::LightDscp { .. } | Self::Stamp { .. } => STAMP_LEN,
        }
    }

    /// The STAMP Session Identifier; 0 where there is none.
    #[inline]
    pub const fn ssid(self) -> u16 {
        match self {
            Self::Stamp { ssid } => ssid,
            Self::Light | Self::LightDscp { .. } => 0,
        }
    }
}

/// Which octets follow the header of the reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PaddingPolicy {
    /// Every octet of the request stays where it is: Symmetrical Size (RFC 6038 section 5.2.2) and
    /// STAMP, whose TLVs have fixed places.
    #[default]
    SameOffset,
    /// The padding moves behind the longer header and loses its last octets: "truncate" of
    /// RFC 5357 section 4.2.1 and Reflect Octets of RFC 6038 section 5.2.1.
    Shift,
    /// Zeros.
    Zero,
}

/// Variants of the reply. The default is that of TWAMP Light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReplyFormat {
    /// The header.
    pub header: ReplyHeader,
    /// What becomes of the padding.
    pub padding: PaddingPolicy,
}

impl ReplyFormat {
    /// Octets of the reply to a request of `request_len` octets: as many, but a header at least.
    #[inline]
    pub const fn reply_len(self, request_len: usize) -> usize {
        let header = self.header.len();
        if request_len > header {
            request_len
        } else {
            header
        }
    }
}

/// Octets of the reply to a request of `request_len` octets, in the default format.
#[inline]
pub const fn reply_len(request_len: usize) -> usize {
    ReplyFormat {
        header: ReplyHeader::Light,
        padding: PaddingPolicy::SameOffset,
    }
    .reply_len(request_len)
}

/// Rewrites the request in `payload[..request_len]` into a reply of [`reply_len`] octets, all but
/// T3 and its Error Estimate, which [`write_transmit`] writes.
///
/// The sender's fields move to their places bit for bit. Octets 14 to 40 are all written, so
/// nothing that was in the buffer behind a short request gets out. Octets from 41 on stay.
///
/// Returns the sum of the reply's first 44 octets, or of all if it is shorter, without T3 and its
/// Error Estimate: what the UDP checksum needs, and never read back from memory just written.
///
/// # Errors
/// `request_len` is below [`REQUEST_LEN`], or `payload` has no room for the reply. Nothing is
/// written then.
#[inline]
pub fn write_reply(
    payload: &mut [u8],
    request_len: usize,
    fields: &ReplyFields,
) -> Result<Sum, TooShort> {
    write_reply_as(payload, request_len, fields, ReplyFormat::default())
}

/// [`write_reply`] in any format. Octets from 14 to the end of the header are all written.
///
/// # Errors
/// As [`write_reply`], where the reply has [`ReplyFormat::reply_len`] octets.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "once per packet, and its arguments are better in registers: measured"
)]
pub fn write_reply_as(
    payload: &mut [u8],
    request_len: usize,
    fields: &ReplyFields,
    format: ReplyFormat,
) -> Result<Sum, TooShort> {
    if request_len < REQUEST_LEN {
        return Err(TooShort {
            needed: REQUEST_LEN,
            len: request_len,
        });
    }
    let (needed, len) = (format.reply_len(request_len), payload.len());
    let Some(reply) = payload.get_mut(..needed) else {
        return Err(TooShort { needed, len });
    };
    match format.padding {
        PaddingPolicy::SameOffset => {}
        PaddingPolicy::Shift => shift_padding(reply, format.header.len()),
        PaddingPolicy::Zero => clear_padding(reply, format.header.len()),
    }
    let Some((header, tail)) = reply.split_first_chunk_mut::<REPLY_LEN>() else {
        return Err(TooShort { needed, len });
    };
    let request = field::REQUEST.read(header);
    let (ssid, end) = match format.header {
        ReplyHeader::Light => (0, None),
        ReplyHeader::LightDscp { tos } => (0, Some([tos, 0, 0])),
        ReplyHeader::Stamp { ssid } => (ssid, Some([0; 3])),
    };
    let sequence = fields.sequence.to_be_bytes();
    field::SEQUENCE.write(header, sequence);
    field::SSID.write_u16(header, ssid);
    field::RECEIVE_TIMESTAMP.write(header, fields.receive_timestamp);
    field::SENDER.write(header, request);
    field::MBZ.write_u16(header, 0);
    field::SENDER_TTL.write_u8(header, fields.sender_ttl);
    let end = match (end, tail.first_chunk_mut()) {
        (Some(end), Some(tail)) => {
            *tail = end;
            end
        }
        (_, Some(&mut kept)) => kept,
        (_, None) => up_to_two(tail),
    };
    Ok(Sum::new()
        .add_few(&sequence)
        .add_u16(ssid)
        .add_few(&fields.receive_timestamp)
        .add_few(&request)
        .add_few(&[fields.sender_ttl, end[0], end[1], end[2]]))
}

/// Fewer than three octets, and zeros for what is not there.
#[inline]
fn up_to_two(octets: &[u8]) -> [u8; 3] {
    match *octets {
        [first, second, ..] => [first, second, 0],
        [first] => [first, 0, 0],
        [] => [0; 3],
    }
}

/// Moves the padding of the request behind a reply header of `header_len` octets, as far as there
/// is room; the reply is as long as the request or has no padding at all.
fn shift_padding(reply: &mut [u8], header_len: usize) {
    let kept = reply.len().saturating_sub(header_len);
    reply.copy_within(REQUEST_LEN..REQUEST_LEN + kept, header_len);
}

fn clear_padding(reply: &mut [u8], header_len: usize) {
    if let Some(padding) = reply.get_mut(header_len..) {
        padding.fill(0);
    }
}

/// Writes T3 and its Error Estimate, which also speaks for T2, into a reply. Their sum is
/// [`transmit_sum`].
///
/// # Errors
/// `payload` is shorter than these fields; nothing is written.
#[inline]
pub fn write_transmit(
    payload: &mut [u8],
    timestamp: [u8; 8],
    error_estimate: ErrorEstimate,
) -> Result<(), TooShort> {
    let header = header_mut::<REQUEST_LEN>(payload)?;
    field::TIMESTAMP.write(header, timestamp);
    field::ERROR_ESTIMATE.write_u16(header, error_estimate.to_bits());
    Ok(())
}

/// The sum of what [`write_transmit`] writes.
#[inline]
pub fn transmit_sum(timestamp: [u8; 8], error_estimate: ErrorEstimate) -> Sum {
    Sum::new().add(&timestamp).add_u16(error_estimate.to_bits())
}
