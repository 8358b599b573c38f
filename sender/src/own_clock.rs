//! Our own clock: T1, and what the kernel says that T1 is worth.

use std::io;
use std::time::Duration;

use clock::{Clock, Discipline};
use wire::error_estimate::ErrorEstimate;
use wire::time::{TaiOffset, Utc};

use crate::stamp::StampFormat;

/// What the kernel said of our own clock during the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderClock {
    /// It followed UTC all the time.
    pub synchronised: bool,
    /// The largest error it admitted, in nanoseconds.
    pub error_max: u64,
}

impl Default for SenderClock {
    /// Nothing said yet.
    fn default() -> Self {
        Self {
            synchronised: true,
            error_max: 0,
        }
    }
}

impl SenderClock {
    /// Takes in what another worker was told.
    pub fn absorb(&mut self, other: Self) {
        self.synchronised &= other.synchronised;
        self.error_max = self.error_max.max(other.error_max);
    }
}

/// The kernel's own figure for an error it does not know, 16 s (linux/timex.h, `NTP_PHASE_LIMIT`).
const UNKNOWN_ERROR: u64 = 16_000_000_000;
/// Time between two looks at the state of our clock.
const STATE_INTERVAL: Duration = Duration::from_secs(1);

/// A clock with the Error Estimate of its stamps.
#[derive(Debug)]
pub struct OwnClock<C> {
    clock: C,
    /// Reads the state of the clock.
    discipline: fn() -> io::Result<Discipline>,
    format: StampFormat,
    /// The stamps are on no known scale, so that the S bit may not be set whatever the kernel says.
    distrusted: bool,
    estimate: ErrorEstimate,
    tai_offset: TaiOffset,
    due: Duration,
    seen: SenderClock,
}

impl<C: Clock> OwnClock<C> {
    /// The clock for stamps in `format`. `distrusted` clears the S bit.
    pub fn new(
        clock: C,
        discipline: fn() -> io::Result<Discipline>,
        format: StampFormat,
        distrusted: bool,
    ) -> Self {
        let mut own = Self {
            clock,
            discipline,
            format,
            distrusted,
            estimate: ErrorEstimate::from_nanos(UNKNOWN_ERROR, false, format.wire()),
            tai_offset: TaiOffset::from_seconds(0),
            due: Duration::ZERO,
            seen: SenderClock::default(),
        };
        own.refresh(Duration::ZERO);
        own
    }

    /// Asks the kernel anew if the last answer is a second old, `elapsed` after the start.
    pub fn refresh(&mut self, elapsed: Duration) {
        if elapsed < self.due {
            return;
        }
        self.due = elapsed + STATE_INTERVAL;
        let (synchronised, error) = match (self.discipline)() {
            Ok(state) => {
                self.tai_offset = state.tai_offset;
                (state.synchronised, state.max_error_ns)
            }
            Err(_) => (false, UNKNOWN_ERROR),
        };
        let synchronised = synchronised && !self.distrusted;
        self.seen.absorb(SenderClock {
            synchronised,
            error_max: error,
        });
        self.estimate = ErrorEstimate::from_nanos(error, synchronised, self.format.wire());
    }

    /// The time.
    pub fn utc(&self) -> Utc {
        self.clock.utc()
    }

    /// The clock itself.
    pub fn inner(&self) -> &C {
        &self.clock
    }

    /// TAI-UTC as the kernel has it, right or not: what turns its TAI clock into its UTC clock.
    pub fn tai_offset(&self) -> TaiOffset {
        self.tai_offset
    }

    /// The Error Estimate of stamps taken now.
    pub fn estimate(&self) -> ErrorEstimate {
        self.estimate
    }

    /// What was said so far.
    pub fn seen(&self) -> SenderClock {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use wire::time::{Tai, TaiOffset, TimestampFormat};

    use super::*;

    struct Still;

    impl Clock for Still {
        fn tai(&self) -> Tai {
            self.utc().to_tai(TaiOffset::from_seconds(0))
        }

        fn utc(&self) -> Utc {
            Utc::from_nanos(5)
        }
    }

    thread_local! {
        /// What the kernel says: synchronised, and its error; nothing if it does not answer.
        static STATE: Cell<Option<(bool, u64)>> = const { Cell::new(None) };
        /// How often it was asked.
        static ASKED: Cell<u32> = const { Cell::new(0) };
    }

    fn kernel() -> io::Result<Discipline> {
        ASKED.set(ASKED.get() + 1);
        let (synchronised, max_error_ns) = STATE.get().ok_or(io::ErrorKind::PermissionDenied)?;
        Ok(Discipline {
            tai_offset: TaiOffset::from_seconds(37),
            synchronised,
            max_error_ns,
        })
    }

    fn clock(format: StampFormat, distrusted: bool) -> OwnClock<Still> {
        OwnClock::new(Still, kernel, format, distrusted)
    }

    #[test]
    fn stamps_are_worth_what_the_kernel_says() {
        STATE.set(Some((true, 1_000)));
        let clock = clock(StampFormat::Ntp, false);
        assert_eq!(clock.utc(), Utc::from_nanos(5));
        assert_eq!(clock.estimate().to_bits(), 0x8587);
        let seen = SenderClock {
            synchronised: true,
            error_max: 1_000,
        };
        assert_eq!(clock.seen(), seen);
    }

    #[test]
    fn a_kernel_that_does_not_say_is_not_synchronised() {
        STATE.set(None);
        let clock = clock(StampFormat::Ntp, false);
        let estimate = clock.estimate();
        assert!(!estimate.synchronised() && estimate.error_nanos() >= Some(UNKNOWN_ERROR));
        let seen = SenderClock {
            synchronised: false,
            error_max: UNKNOWN_ERROR,
        };
        assert_eq!(clock.seen(), seen);
    }

    #[test]
    fn the_kernel_is_asked_once_per_second() {
        STATE.set(Some((true, 1_000)));
        ASKED.set(0);
        let mut clock = clock(StampFormat::Ntp, false);
        for millis in [0, 400, 999] {
            clock.refresh(Duration::from_millis(millis));
        }
        assert_eq!(ASKED.get(), 1);
        STATE.set(Some((false, 500)));
        clock.refresh(Duration::from_secs(1));
        assert_eq!(ASKED.get(), 2);
        assert!(!clock.estimate().synchronised());
        STATE.set(Some((true, 500)));
        clock.refresh(Duration::from_millis(1_999));
        assert!(
            !clock.estimate().synchronised(),
            "asked less than a second ago"
        );
        clock.refresh(Duration::from_secs(2));
        assert!(clock.estimate().synchronised());
        let seen = SenderClock {
            synchronised: false,
            error_max: 1_000,
        };
        assert_eq!(clock.seen(), seen, "the worst of the run");
    }

    #[test]
    fn stamps_on_an_unknown_scale_are_not_synchronised_whatever_the_kernel_says() {
        STATE.set(Some((true, 1_000)));
        let tai = StampFormat::Ptp(TaiOffset::from_seconds(37));
        let estimate = clock(tai, false).estimate();
        assert_eq!(
            (estimate.synchronised(), estimate.format()),
            (true, TimestampFormat::Ptp)
        );
        let unknown = clock(StampFormat::Ptp(TaiOffset::from_seconds(0)), true);
        assert!(!unknown.estimate().synchronised() && !unknown.seen().synchronised);
        assert_eq!(unknown.estimate().error_nanos(), estimate.error_nanos());
    }

    #[test]
    fn of_two_workers_the_worse_counts() {
        let mut clock = SenderClock::default();
        clock.absorb(SenderClock {
            synchronised: true,
            error_max: 7,
        });
        clock.absorb(SenderClock {
            synchronised: false,
            error_max: 3,
        });
        let expected = SenderClock {
            synchronised: false,
            error_max: 7,
        };
        assert_eq!(clock, expected);
    }
}
