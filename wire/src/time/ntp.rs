//! The 64-bit NTP timestamp (RFC 5905 section 6, RFC 4656 section 4.1.2).

use super::{Nanos, Utc, halves, join_nanos, low_u32, nearest_seconds, split_nanos};

/// Seconds from 1900-01-01 to 1970-01-01 (RFC 5905 section 6).
const UNIX_EPOCH: u32 = 2_208_988_800;

/// Seconds since 1900-01-01T00:00:00 UTC modulo 2^32, and a fraction in units of 2^-32 s.
///
/// The seconds wrap on 2036-02-07T06:28:16Z into the next era; the bits do not say which era they
/// belong to, so decoding needs a time nearby and differences wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NtpTimestamp(u64);

/// The difference of two NTP timestamps in units of 2^-32 s (233 ps).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpDuration(i64);

impl NtpTimestamp {
    /// From seconds (upper half) and fraction (lower half).
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Seconds (upper half) and fraction (lower half).
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From the eight octets of the wire.
    #[inline]
    pub const fn from_bytes(octets: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(octets))
    }

    /// The eight octets of the wire.
    #[inline]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The timestamp nearest `time`; the error is at most 2^-33 s.
    #[inline]
    pub fn from_utc(time: Utc) -> Self {
        let (seconds, nanos) = split_nanos(time.nanos());
        let seconds = low_u32(seconds).wrapping_add(UNIX_EPOCH);
        // Never carries into the seconds: 999 999 999 ns gives 0xffff_fffc.
        let fraction = ((u64::from(nanos) << 32) + 500_000_000) / 1_000_000_000;
        Self((u64::from(seconds) << 32) | fraction)
    }

    /// The time meant, in the era nearest `near` (within 68 years), rounded to nanoseconds.
    ///
    /// The all-zero timestamp decodes like any other: ask [`Self::is_unavailable`] first.
    /// Saturates at the ends of [`Utc`].
    #[inline]
    pub fn to_utc(self, near: Utc) -> Utc {
        let (seconds, fraction) = halves(self.0);
        let seconds = seconds.wrapping_sub(UNIX_EPOCH);
        let seconds = nearest_seconds(seconds, split_nanos(near.nanos()).0);
        let fraction = u64::from(fraction);
        // Up to 1 000 000 000, since the last two fractions round up: `join_nanos` carries.
        let (nanos, _) = halves(fraction * 1_000_000_000 + (1 << 31));
        Utc::from_nanos(join_nanos(seconds, nanos))
    }

    /// Whether all 64 bits are zero, which stands for "not available" (RFC 5905 section 6).
    #[inline]
    pub const fn is_unavailable(self) -> bool {
        self.0 == 0
    }

    /// `self - earlier`, right across an era boundary as long as they are within 68 years.
    #[inline]
    pub const fn wrapping_diff(self, earlier: Self) -> NtpDuration {
        NtpDuration(self.0.wrapping_sub(earlier.0).cast_signed())
    }
}

impl NtpDuration {
    /// From units of 2^-32 s.
    #[inline]
    pub const fn from_bits(bits: i64) -> Self {
        Self(bits)
    }

    /// Units of 2^-32 s.
    #[inline]
    pub const fn to_bits(self) -> i64 {
        self.0
    }

    /// Whole nanoseconds towards minus infinity.
    #[inline]
    pub fn to_nanos_floor(self) -> i64 {
        self.scaled(0)
    }

    /// The nearest count of nanoseconds; halves go up.
    #[inline]
    pub fn to_nanos(self) -> Nanos {
        Nanos::from_nanos(self.scaled(1 << 31))
    }

    /// `(self * 10^9 + bias) / 2^32` towards minus infinity.
    #[inline]
    fn scaled(self, bias: i64) -> i64 {
        // Seconds and fraction apart: the product of each fits 64 bits (2^31 * 10^9 < 2^61).
        let seconds = self.0 >> 32;
        let fraction = self.0 & 0xffff_ffff;
        seconds * 1_000_000_000 + ((fraction * 1_000_000_000 + bias) >> 32)
    }
}
