//! From request to reply, in place and in two steps: everything but T3, then T3.
//!
//! T3 should be the departure time, so it comes last and for many packets at once; what can be
//! written before is.

use super::{REPLY_LEN, REQUEST_LEN, STAMP_LEN, TooShort, field, header_mut};
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

/// Which octets of the request follow the header of the reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PaddingPolicy {
    /// Every octet stays where it is: Symmetrical Size (RFC 6038 section 4) and STAMP, whose TLVs
    /// have fixed places.
    #[default]
    SameOffset,
    /// The padding moves behind the longer header and loses its last octets: "truncate" of
    /// RFC 5357 section 4.2.1 and Reflect Octets of RFC 6038 section 4.
    Shift,
}

/// Variants of the reply. The default is that of TWAMP Light.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReplyFormat {
    /// What becomes of the padding.
    pub padding: PaddingPolicy,
    /// TOS or Traffic Class octet of the request, to be reported as S-DSCP-ECN (RFC 7750); the
    /// header then has [`STAMP_LEN`] octets.
    pub s_dscp_ecn: Option<u8>,
}

impl ReplyFormat {
    /// Octets of the reply to a request of `request_len` octets: as many, but a header at least.
    #[inline]
    pub const fn reply_len(self, request_len: usize) -> usize {
        let header = if self.s_dscp_ecn.is_some() {
            STAMP_LEN
        } else {
            REPLY_LEN
        };
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
    if request_len > REPLY_LEN {
        request_len
    } else {
        REPLY_LEN
    }
}

/// Rewrites the request in `payload[..request_len]` into a reply of [`reply_len`] octets, all but
/// T3 and its Error Estimate, which [`write_transmit`] writes.
///
/// The sender's fields move to their places bit for bit. Octets 14 to 40 are all written, so
/// nothing that was in the buffer behind a short request gets out. Octets from 41 on stay.
///
/// # Errors
/// `request_len` is below [`REQUEST_LEN`], or `payload` has no room for the reply. Nothing is
/// written then.
#[inline]
pub fn write_reply(
    payload: &mut [u8],
    request_len: usize,
    fields: &ReplyFields,
) -> Result<(), TooShort> {
    write_reply_as(payload, request_len, fields, ReplyFormat::default())
}

/// [`write_reply`] in any format.
///
/// # Errors
/// As [`write_reply`], where the reply has [`ReplyFormat::reply_len`] octets.
#[inline]
pub fn write_reply_as(
    payload: &mut [u8],
    request_len: usize,
    fields: &ReplyFields,
    format: ReplyFormat,
) -> Result<(), TooShort> {
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
    if format.padding == PaddingPolicy::Shift {
        shift_padding(reply, format.reply_len(0));
    }
    let Some((header, tail)) = reply.split_first_chunk_mut::<REPLY_LEN>() else {
        return Err(TooShort { needed, len });
    };
    let request = field::REQUEST.read(header);
    field::SEQUENCE.write(header, fields.sequence.to_be_bytes());
    field::SSID.write_u16(header, 0);
    field::RECEIVE_TIMESTAMP.write(header, fields.receive_timestamp);
    field::SENDER.write(header, request);
    field::MBZ.write_u16(header, 0);
    field::SENDER_TTL.write_u8(header, fields.sender_ttl);
    if let (Some(tos), Some(tail)) = (format.s_dscp_ecn, tail.first_chunk_mut::<3>()) {
        *tail = [tos, 0, 0];
    }
    Ok(())
}

/// Moves the padding of the request behind a reply header of `header_len` octets, as far as there
/// is room; the reply is as long as the request or has no padding at all.
fn shift_padding(reply: &mut [u8], header_len: usize) {
    let kept = reply.len().saturating_sub(header_len);
    reply.copy_within(REQUEST_LEN..REQUEST_LEN + kept, header_len);
}

/// Writes T3 and its Error Estimate, which also speaks for T2, into a reply.
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
