//! Points in time and what the wire makes of them.
//!
//! Inside the programs a point in time is a count of nanoseconds whose type names its scale,
//! [`Utc`] or [`Tai`]. The two never mix: a difference exists only within one scale, and changing
//! the scale takes a [`TaiOffset`]. On the wire a timestamp is an [`NtpTimestamp`] (UTC) or a
//! [`PtpTimestamp`] (TAI); the Z bit of the Error Estimate beside it says which, see
//! [`TimestampFormat`].

mod ntp;
mod ptp;
mod scale;

pub use ntp::{NtpDuration, NtpTimestamp};
pub use ptp::{InvalidNanoseconds, PtpTimestamp};
pub use scale::{Nanos, Tai, TaiOffset, Utc};

/// Format of a timestamp on the wire: the Z bit of the Error Estimate (RFC 8186 section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampFormat {
    /// Z = 0: [`NtpTimestamp`].
    #[default]
    Ntp,
    /// Z = 1: [`PtpTimestamp`].
    Ptp,
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Whole seconds since the epoch of a scale, towards minus infinity, and the nanoseconds of the
/// second begun (0 to 999 999 999).
#[inline]
fn split_nanos(nanos: i64) -> (i64, u32) {
    // Since 1970: without a sign, division is cheaper.
    if let Ok(nanos) = u64::try_from(nanos) {
        let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        return (seconds.cast_signed(), low_u32(rest.cast_signed()));
    }
    let seconds = nanos.div_euclid(NANOS_PER_SECOND);
    let rest = nanos.rem_euclid(NANOS_PER_SECOND);
    (seconds, low_u32(rest))
}

/// The opposite of [`split_nanos`], for up to a full second of nanoseconds; saturates.
#[inline]
fn join_nanos(seconds: i64, nanos: u32) -> i64 {
    let nanos = i64::from(nanos);
    if seconds < 0 {
        // From the end of the second: the beginning of the very first does not fit.
        let end = seconds.saturating_add(1).saturating_mul(NANOS_PER_SECOND);
        end.saturating_sub(NANOS_PER_SECOND - nanos)
    } else {
        let begin = seconds.saturating_mul(NANOS_PER_SECOND);
        begin.saturating_add(nanos)
    }
}

/// Seconds modulo 2^32, as both wire formats count them.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the wire counts seconds modulo 2^32"
)]
fn low_u32(value: i64) -> u32 {
    value as u32
}

/// Upper and lower half of a 64-bit timestamp.
#[inline]
const fn halves(bits: u64) -> (u32, u32) {
    ((bits >> 32) as u32, (bits & 0xffff_ffff) as u32)
}

/// The count of seconds nearest `near` that equals `wire` modulo 2^32.
#[inline]
fn nearest_seconds(wire: u32, near: i64) -> i64 {
    let ahead = wire.wrapping_sub(low_u32(near)).cast_signed();
    near.saturating_add(i64::from(ahead))
}
