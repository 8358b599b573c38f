//! The truncated `PTPv2` timestamp (RFC 8186 section 2, IEEE 1588-2008).

use core::fmt;

use super::{Tai, halves, join_nanos, low_u32, nearest_seconds, split_nanos};

/// Seconds since 1970-01-01T00:00:00 TAI modulo 2^32, and nanoseconds.
///
/// Many devices wrongly count UTC here; that is for the reader to suspect, the bits do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PtpTimestamp {
    seconds: u32,
    nanoseconds: u32,
}

/// The nanoseconds field of a [`PtpTimestamp`] held this much: 1 000 000 000 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidNanoseconds(pub u32);

impl PtpTimestamp {
    /// The timestamp of `time`, exactly.
    #[inline]
    pub fn from_tai(time: Tai) -> Self {
        let (seconds, nanoseconds) = split_nanos(time.nanos());
        Self {
            seconds: low_u32(seconds),
            nanoseconds,
        }
    }

    /// From the eight octets of the wire.
    ///
    /// # Errors
    /// The nanoseconds field is 1 000 000 000 or more: the sample is to be discarded.
    #[inline]
    pub fn from_bytes(octets: [u8; 8]) -> Result<Self, InvalidNanoseconds> {
        let (seconds, nanoseconds) = halves(u64::from_be_bytes(octets));
        if nanoseconds < 1_000_000_000 {
            Ok(Self {
                seconds,
                nanoseconds,
            })
        } else {
            Err(InvalidNanoseconds(nanoseconds))
        }
    }

    /// The eight octets of the wire.
    #[inline]
    pub fn to_bytes(self) -> [u8; 8] {
        ((u64::from(self.seconds) << 32) | u64::from(self.nanoseconds)).to_be_bytes()
    }

    /// The seconds field.
    #[inline]
    pub const fn seconds(self) -> u32 {
        self.seconds
    }

    /// The nanoseconds field, 0 to 999 999 999.
    #[inline]
    pub const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }

    /// The time meant, in the 136-year span nearest `near`. Saturates at the ends of [`Tai`].
    #[inline]
    pub fn to_tai(self, near: Tai) -> Tai {
        let seconds = nearest_seconds(self.seconds, split_nanos(near.nanos()).0);
        Tai::from_nanos(join_nanos(seconds, self.nanoseconds))
    }
}

impl fmt::Display for InvalidNanoseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PTP timestamp with {} nanoseconds, which is not below one second",
            self.0
        )
    }
}

impl core::error::Error for InvalidNanoseconds {}
