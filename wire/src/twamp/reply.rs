//! The Session-Reflector packet.

use super::{LAX_REPLY_LEN, REPLY_LEN, TooShort, field};
use crate::error_estimate::ErrorEstimate;

/// A view of a Session-Reflector packet (RFC 5357 section 4.2.1, RFC 8762 section 4.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    header: &'a [u8; LAX_REPLY_LEN],
    /// Octets 38 and on.
    rest: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Views a UDP payload as a reply.
    ///
    /// # Errors
    /// The payload is shorter than [`LAX_REPLY_LEN`].
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, TooShort> {
        match payload.split_first_chunk() {
            Some((header, rest)) => Ok(Self { header, rest }),
            None => Err(TooShort {
                needed: LAX_REPLY_LEN,
                len: payload.len(),
            }),
        }
    }

    /// Sequence Number of the Session-Reflector: its own count, or a copy if it keeps no state.
    #[inline]
    pub fn sequence(&self) -> u32 {
        field::SEQUENCE.read_u32(self.header)
    }

    /// T3 as it is on the wire; [`Self::error_estimate`] tells the format.
    #[inline]
    pub fn timestamp(&self) -> [u8; 8] {
        field::TIMESTAMP.read(self.header)
    }

    /// Error Estimate of T3 and T2.
    #[inline]
    pub fn error_estimate(&self) -> ErrorEstimate {
        ErrorEstimate::from_bits(field::ERROR_ESTIMATE.read_u16(self.header))
    }

    /// STAMP Session Identifier (RFC 8972 section 3); 0 from peers that know none.
    #[inline]
    pub fn ssid(&self) -> u16 {
        field::SSID.read_u16(self.header)
    }

    /// T2 as it is on the wire; [`Self::error_estimate`] tells the format.
    #[inline]
    pub fn receive_timestamp(&self) -> [u8; 8] {
        field::RECEIVE_TIMESTAMP.read(self.header)
    }

    /// Sequence Number of the request.
    #[inline]
    pub fn sender_sequence(&self) -> u32 {
        field::SENDER_SEQUENCE.read_u32(self.header)
    }

    /// T1 as it was in the request; [`Self::sender_error_estimate`] tells the format.
    #[inline]
    pub fn sender_timestamp(&self) -> [u8; 8] {
        field::SENDER_TIMESTAMP.read(self.header)
    }

    /// Error Estimate of the request.
    #[inline]
    pub fn sender_error_estimate(&self) -> ErrorEstimate {
        ErrorEstimate::from_bits(field::SENDER_ERROR_ESTIMATE.read_u16(self.header))
    }

    /// TTL or Hop Limit the request arrived with; `None` if the reply ends before it.
    #[inline]
    pub fn sender_ttl(&self) -> Option<u8> {
        self.rest.get(REPLY_LEN - LAX_REPLY_LEN - 1).copied()
    }

    /// Octets after the header: padding, or the rest of a STAMP packet.
    #[inline]
    pub fn padding(&self) -> &'a [u8] {
        self.rest
            .get(REPLY_LEN - LAX_REPLY_LEN..)
            .unwrap_or_default()
    }
}

/// Whether a payload that came as a request has the shape of a reply: T3, T2 and T1 are all there and
/// non-zero, and T3 is less than ten seconds after T2, or no time at all.
///
/// A reflector that leaves such packets unanswered cannot be made to talk with another for ever. A
/// request is taken for a reply only if its padding says so by chance: random padding does once in
/// 430 million packets.
#[inline]
pub fn looks_like_reply(payload: &[u8]) -> bool {
    /// Ten seconds; in either format the upper half of the difference is whole seconds. A borrow
    /// from a `PTPv2` nanoseconds field makes the lower half too large, but no second more.
    const DWELL_MAX: u64 = 10 << 32;
    let Ok(reply) = Reply::parse(payload) else {
        return false;
    };
    let t3 = u64::from_be_bytes(reply.timestamp());
    let t2 = u64::from_be_bytes(reply.receive_timestamp());
    let t1 = u64::from_be_bytes(reply.sender_timestamp());
    // Wraps where the seconds do (2036, 2106).
    t3.wrapping_sub(t2) < DWELL_MAX && t3 != 0 && t2 != 0 && t1 != 0
}
