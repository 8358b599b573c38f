//! Unauthenticated TWAMP-Test packets (RFC 5357 section 4), which are also the base packets of
//! unauthenticated STAMP (RFC 8762 section 4).
//!
//! [`Request`] and [`Reply`] read packets, [`RequestFields::emit`] writes a request, and
//! [`write_reply`] with [`write_transmit`] turns the one into the other in place. [`looks_like_reply`]
//! is what keeps two reflectors from answering each other.

mod reflect;
mod reply;
mod request;

use core::fmt;

pub use reflect::{
    PaddingPolicy, ReplyFields, ReplyFormat, ReplyHeader, reply_len, transmit_sum, write_reply,
    write_reply_as, write_transmit,
};
pub use reply::{Reply, looks_like_reply};
pub use request::{Request, RequestFields, is_stamp_request, write_request_timestamp, write_ssid};

/// The TWAMP-Test Receiver Port and default STAMP port (RFC 8545 section 4).
pub const UDP_PORT: u16 = 862;

/// Octets of a Session-Sender packet without padding.
pub const REQUEST_LEN: usize = 14;

/// Octets of a Session-Reflector packet without padding.
pub const REPLY_LEN: usize = 41;

/// Octets of a STAMP base packet in either direction, and of a Session-Reflector packet with the
/// octet of RFC 7750.
pub const STAMP_LEN: usize = 44;

/// The shortest reply that is still understood: some reflectors leave out the octets after the
/// Sender Error Estimate, the TTL among them.
pub const LAX_REPLY_LEN: usize = 38;

/// A packet, or the room for it, has too few octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort {
    /// Octets needed at least.
    pub needed: usize,
    /// Octets there are.
    pub len: usize,
}

impl fmt::Display for TooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} octets where at least {} are needed",
            self.len, self.needed
        )
    }
}

impl core::error::Error for TooShort {}

/// The first `N` octets to write to.
#[inline]
fn header_mut<const N: usize>(payload: &mut [u8]) -> Result<&mut [u8; N], TooShort> {
    let len = payload.len();
    let header = payload.first_chunk_mut();
    header.ok_or(TooShort { needed: N, len })
}

/// Where the fields are (RFC 5357 sections 4.1.2 and 4.2.1, RFC 8762 section 4.3.1).
mod field {
    use crate::field::Field;

    // Both directions.
    pub(super) const SEQUENCE: Field<0, 4> = Field;
    pub(super) const TIMESTAMP: Field<4, 8> = Field;
    pub(super) const ERROR_ESTIMATE: Field<12, 2> = Field;
    /// Of STAMP; in a TWAMP request the padding begins here.
    pub(super) const SSID: Field<14, 2> = Field;

    /// The whole request, as one piece.
    pub(super) const REQUEST: Field<0, 14> = Field;

    /// What a STAMP Session-Sender leaves zero (RFC 8762 section 4.2.1).
    pub(super) const STAMP_MBZ: Field<16, 28> = Field;

    // Replies.
    pub(super) const RECEIVE_TIMESTAMP: Field<16, 8> = Field;
    /// The request once more: the three sender fields in their order.
    pub(super) const SENDER: Field<24, 14> = Field;
    pub(super) const SENDER_SEQUENCE: Field<24, 4> = Field;
    pub(super) const SENDER_TIMESTAMP: Field<28, 8> = Field;
    pub(super) const SENDER_ERROR_ESTIMATE: Field<36, 2> = Field;
    pub(super) const MBZ: Field<38, 2> = Field;
    pub(super) const SENDER_TTL: Field<40, 1> = Field;
}
