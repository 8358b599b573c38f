//! The system clock, read without a system call (vDSO).

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use wire::time::{Tai, Utc};

use crate::Clock;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// `CLOCK_TAI` and `CLOCK_REALTIME`.
///
/// They differ by the kernel's TAI−UTC offset, which is 0 on hosts where nobody has set it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn tai(&self) -> Tai {
        Tai::from_nanos(read(ClockId::CLOCK_TAI))
    }

    fn utc(&self) -> Utc {
        Utc::from_nanos(read(ClockId::CLOCK_REALTIME))
    }
}

/// Nanoseconds since the clock's epoch. These two clocks exist on every kernel since 3.10; if one
/// cannot be read all the same, 0 stands for "unknown", as an all-zero NTP timestamp does.
fn read(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, nanos)
}

/// What the kernel says of a time on the UTC scale: the arrival of a datagram, say.
#[inline]
pub fn utc(at: TimeSpec) -> Utc {
    Utc::from_nanos(nanos(at))
}

#[inline]
fn nanos(at: TimeSpec) -> i64 {
    at.tv_sec()
        .saturating_mul(NANOS_PER_SECOND)
        .saturating_add(at.tv_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_scales_advance_and_differ_by_whole_seconds() {
        let (tai, utc, later) = (SystemClock.tai(), SystemClock.utc(), SystemClock.tai());
        assert!(later >= tai);
        let offset = crate::Discipline::read().unwrap().tai_offset;
        assert!(tai.to_utc(offset) <= utc);
        assert!(utc <= later.to_utc(offset));
    }
}
