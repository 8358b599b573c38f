//! Time scales as types, and the difference of two points of one scale.

use core::fmt;
use core::ops::{Add, Neg, Sub};

use super::NANOS_PER_SECOND;

/// A point in time on the UTC scale: nanoseconds since 1970-01-01T00:00:00 UTC, leap seconds not
/// counted (POSIX). Covers the years 1677 to 2262; arithmetic saturates there.
///
/// UTC and TAI differ by tens of seconds, so their difference does not compile:
///
/// ```compile_fail,E0308
/// # use wire::time::{Tai, Utc};
/// let wrong = Utc::from_nanos(2) - Tai::from_nanos(1);
/// ```
///
/// ```
/// # use wire::time::{Nanos, Tai, TaiOffset, Utc};
/// let offset = TaiOffset::from_seconds(37);
/// let right = Utc::from_nanos(2) - Tai::from_nanos(37_000_000_001).to_utc(offset);
/// assert_eq!(right, Nanos::from_nanos(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utc(i64);

/// A point in time on the TAI scale: nanoseconds since 1970-01-01T00:00:00 TAI, the epoch of PTP.
/// Covers the years 1677 to 2262; arithmetic saturates there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tai(i64);

/// TAI - UTC in whole seconds: 37 since 2017, but 0 on a host whose kernel was never told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TaiOffset(i32);

/// A signed span of nanoseconds; arithmetic saturates.
///
/// Displays in the largest unit it fills, exactly: `-1.5 ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(i64);

macro_rules! scale {
    ($scale:ident) => {
        impl $scale {
            /// A point so many nanoseconds after the epoch of the scale.
            #[inline]
            pub const fn from_nanos(nanos: i64) -> Self {
                Self(nanos)
            }

            /// Nanoseconds since the epoch of the scale.
            #[inline]
            pub const fn nanos(self) -> i64 {
                self.0
            }
        }

        impl Sub for $scale {
            type Output = Nanos;

            #[inline]
            fn sub(self, earlier: Self) -> Nanos {
                Nanos(self.0.saturating_sub(earlier.0))
            }
        }

        impl Add<Nanos> for $scale {
            type Output = Self;

            #[inline]
            fn add(self, span: Nanos) -> Self {
                Self(self.0.saturating_add(span.0))
            }
        }

        impl Sub<Nanos> for $scale {
            type Output = Self;

            #[inline]
            fn sub(self, span: Nanos) -> Self {
                Self(self.0.saturating_sub(span.0))
            }
        }
    };
}

scale!(Utc);
scale!(Tai);

impl Utc {
    /// The same instant on the TAI scale.
    #[inline]
    pub fn to_tai(self, offset: TaiOffset) -> Tai {
        Tai(self.0.saturating_add(offset.span().0))
    }
}

impl Tai {
    /// The same instant on the UTC scale.
    #[inline]
    pub fn to_utc(self, offset: TaiOffset) -> Utc {
        Utc(self.0.saturating_sub(offset.span().0))
    }
}

impl TaiOffset {
    /// An offset of so many seconds.
    #[inline]
    pub const fn from_seconds(seconds: i32) -> Self {
        Self(seconds)
    }

    /// TAI - UTC in seconds.
    #[inline]
    pub const fn seconds(self) -> i32 {
        self.0
    }

    /// TAI - UTC as a span.
    #[inline]
    fn span(self) -> Nanos {
        // 2^31 seconds in nanoseconds stay below 2^61.
        Nanos(i64::from(self.0).saturating_mul(NANOS_PER_SECOND))
    }
}

impl Nanos {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of so many nanoseconds.
    #[inline]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The span in nanoseconds.
    #[inline]
    pub const fn nanos(self) -> i64 {
        self.0
    }
}

impl Add for Nanos {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Nanos {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Nanos {
    type Output = Self;

    #[inline]
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (unit, digits, name) = match magnitude {
            0..1_000 => (1, 0, "ns"),
            1_000..1_000_000 => (1_000, 3, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, 6, "ms"),
            _ => (1_000_000_000, 9, "s"),
        };
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", magnitude / unit)?;
        let (mut fraction, mut digits) = (magnitude % unit, digits);
        if fraction != 0 {
            while fraction % 10 == 0 {
                fraction /= 10;
                digits -= 1;
            }
            write!(f, ".{fraction:0digits$}")?;
        }
        write!(f, " {name}")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::{Nanos, Tai, TaiOffset, Utc};

    #[test]
    fn changes_scale_by_the_offset_and_back() {
        let offset = TaiOffset::from_seconds(37);
        let utc = Utc::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(utc.to_tai(offset).nanos(), 1_700_000_037_123_456_789);
        assert_eq!(utc.to_tai(offset).to_utc(offset), utc);
    }

    #[test]
    fn an_offset_of_zero_keeps_the_count() {
        assert_eq!(Tai::from_nanos(5).to_utc(TaiOffset::default()).nanos(), 5);
    }

    #[test]
    fn saturates_at_the_ends_of_the_scale() {
        let end = Utc::from_nanos(i64::MAX);
        let begin = Utc::from_nanos(i64::MIN);
        assert_eq!((end - begin).nanos(), i64::MAX);
        assert_eq!((begin - end).nanos(), i64::MIN);
        assert_eq!(end + Nanos::from_nanos(1), end);
        assert_eq!(begin - Nanos::from_nanos(1), begin);
        assert_eq!(
            end.to_tai(TaiOffset::from_seconds(i32::MAX)).nanos(),
            i64::MAX
        );
        assert_eq!((-Nanos::from_nanos(i64::MIN)).nanos(), i64::MAX);
    }

    #[test]
    fn displays_the_largest_unit_filled() {
        for (nanos, text) in [
            (0, "0 ns"),
            (-1, "-1 ns"),
            (999, "999 ns"),
            (1_000, "1 µs"),
            (1_050, "1.05 µs"),
            (-1_500_000, "-1.5 ms"),
            (1_000_000_001, "1.000000001 s"),
            (60_000_000_000, "60 s"),
            (i64::MIN, "-9223372036.854775808 s"),
        ] {
            assert_eq!(Nanos::from_nanos(nanos).to_string(), text);
        }
    }
}
