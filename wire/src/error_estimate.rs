//! The Error Estimate beside every timestamp (RFC 4656 section 4.1.2, RFC 8186 section 2).
//!
//! ```text
//!  0   1   2       7   8            15
//! +---+---+-----------+---------------+
//! | S | Z |   Scale   |  Multiplier   |   error = Multiplier * 2^(Scale - 32) seconds
//! +---+---+-----------+---------------+
//! ```

use crate::time::TimestampFormat;

/// How far a timestamp may be from UTC, whether its clock is synchronised, and its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorEstimate(u16);

const SYNCHRONISED: u16 = 1 << 15;
const PTP_FORMAT: u16 = 1 << 14;
const MAX_SCALE: u32 = 63;

impl ErrorEstimate {
    /// From the 16 bits of the wire.
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The 16 bits of the wire.
    #[inline]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// The finest estimate that is no smaller than `error`, in units of 2^-32 s.
    ///
    /// Zero becomes one unit, since a Multiplier of 0 is invalid. An error beyond 255 * 2^31 s
    /// becomes that largest estimate.
    pub fn new(error: u128, synchronised: bool, format: TimestampFormat) -> Self {
        let error = error.max(1);
        // Smallest scale that brings the error to eight bits, one more if rounding up needs it.
        let mut scale = (u128::BITS - error.leading_zeros()).saturating_sub(8);
        let mut multiplier = error.div_ceil(1 << scale);
        if multiplier > 255 {
            scale += 1;
            multiplier = error.div_ceil(1 << scale);
        }
        let magnitude = if scale > MAX_SCALE {
            0x3fff
        } else {
            magnitude(scale, multiplier)
        };
        let synchronised = if synchronised { SYNCHRONISED } else { 0 };
        let format = match format {
            TimestampFormat::Ntp => 0,
            TimestampFormat::Ptp => PTP_FORMAT,
        };
        Self(synchronised | format | magnitude)
    }

    /// The finest estimate that is no smaller than `error` nanoseconds.
    pub fn from_nanos(error: u64, synchronised: bool, format: TimestampFormat) -> Self {
        Self::new(
            (u128::from(error) << 32).div_ceil(1_000_000_000),
            synchronised,
            format,
        )
    }

    /// The same error and S beside timestamps of `format`.
    #[inline]
    #[must_use]
    pub const fn with_format(self, format: TimestampFormat) -> Self {
        match format {
            TimestampFormat::Ntp => Self(self.0 & !PTP_FORMAT),
            TimestampFormat::Ptp => Self(self.0 | PTP_FORMAT),
        }
    }

    /// The same error and Z of a clock that nobody vouches for: S = 0.
    #[inline]
    #[must_use]
    pub const fn unsynchronised(self) -> Self {
        Self(self.0 & !SYNCHRONISED)
    }

    /// S: the clock is synchronised to UTC by an external source.
    #[inline]
    pub const fn synchronised(self) -> bool {
        self.0 & SYNCHRONISED != 0
    }

    /// Z: the format of the timestamps this estimate belongs to.
    #[inline]
    pub const fn format(self) -> TimestampFormat {
        if self.0 & PTP_FORMAT == 0 {
            TimestampFormat::Ntp
        } else {
            TimestampFormat::Ptp
        }
    }

    /// Scale, 0 to 63.
    #[inline]
    pub const fn scale(self) -> u8 {
        let [upper, _] = self.0.to_be_bytes();
        upper & 0x3f
    }

    /// Multiplier, 1 to 255 if valid.
    #[inline]
    pub const fn multiplier(self) -> u8 {
        let [_, lower] = self.0.to_be_bytes();
        lower
    }

    /// Whether the Multiplier is not 0. RFC 4656 would discard a packet with 0; in the field it is
    /// common, so a reflector reflects it and a sender counts the error as unknown.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.multiplier() != 0
    }

    /// The error in nanoseconds, rounded up, at most [`u64::MAX`]; `None` if it is not valid.
    pub fn error_nanos(self) -> Option<u64> {
        if !self.is_valid() {
            return None;
        }
        let units = u128::from(self.multiplier()) << self.scale();
        let nanos = (units * 1_000_000_000).div_ceil(1 << 32);
        Some(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Scale and Multiplier in their places; callers keep them within 6 and 8 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "scale <= 63 and multiplier <= 255"
)]
fn magnitude(scale: u32, multiplier: u128) -> u16 {
    ((scale as u16) << 8) | multiplier as u16
}
