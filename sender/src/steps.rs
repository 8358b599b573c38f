//! Steps of our own clock: moments at which UTC moved by more or less than monotonic time.
//!
//! Steering does not show: the kernel slews both clocks alike.

use std::time::{Duration, Instant};

use clock::Clock;
use wire::time::{Nanos, Utc};

/// Both clocks, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The time of day, which can be set.
    pub utc: Utc,
    /// Time since some start, which cannot.
    pub monotonic: Duration,
}

/// Two readings may be this far from one moment.
const APART_MAX: Duration = Duration::from_micros(100);
/// Less than this is not a step: it may be the moments within two readings.
const STEP_MIN: u64 = 1_000_000;

impl Reading {
    /// Reads both clocks; `None` when this thread was interrupted in between, over and over.
    pub fn take(clock: &impl Clock, start: Instant) -> Option<Self> {
        const ATTEMPTS: u32 = 3;
        (0..ATTEMPTS).find_map(|_| {
            let before = start.elapsed();
            let utc = clock.utc();
            let after = start.elapsed();
            (after.saturating_sub(before) <= APART_MAX).then_some(Self {
                utc,
                monotonic: before,
            })
        })
    }
}

/// Watches the difference of the two clocks.
#[derive(Debug, Default)]
pub struct StepWatch {
    last: Option<Reading>,
    total: u64,
}

impl StepWatch {
    /// Takes the next reading; true if the clock was set since the last one.
    pub fn observe(&mut self, now: Reading) -> bool {
        let Some(last) = self.last.replace(now) else {
            return false;
        };
        let monotonic = now.monotonic.saturating_sub(last.monotonic).as_nanos();
        let step = (now.utc - last.utc)
            .nanos()
            .saturating_sub(i64::try_from(monotonic).unwrap_or(i64::MAX))
            .unsigned_abs();
        if step < STEP_MIN {
            return false;
        }
        self.total = self.total.saturating_add(step);
        true
    }

    /// Sum of all steps, each without its sign, so that a step back does not hide one forth.
    pub fn total(&self) -> Nanos {
        Nanos::from_nanos(i64::try_from(self.total).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(monotonic_ms: u64, utc_ms: i64) -> Reading {
        Reading {
            utc: Utc::from_nanos(utc_ms * 1_000_000),
            monotonic: Duration::from_millis(monotonic_ms),
        }
    }

    #[test]
    fn a_clock_that_keeps_time_has_no_steps() {
        let mut watch = StepWatch::default();
        assert!(!watch.observe(reading(0, 5_000)), "nothing to compare with");
        for tick in 1..50 {
            assert!(!watch.observe(reading(
                20 * tick,
                5_000 + 20 * i64::try_from(tick).unwrap()
            )));
        }
        assert_eq!(watch.total(), Nanos::ZERO);
    }

    #[test]
    fn a_step_forth_and_back_is_two_steps() {
        let mut watch = StepWatch::default();
        watch.observe(reading(0, 0));
        assert!(watch.observe(reading(20, 1_020)));
        assert!(!watch.observe(reading(40, 1_040)));
        assert!(watch.observe(reading(60, 60)));
        assert_eq!(watch.total(), Nanos::from_nanos(2_000_000_000));
    }

    #[test]
    fn the_system_clocks_can_be_read_together() {
        let start = Instant::now();
        let mut reading = None;
        while reading.is_none() {
            reading = Reading::take(&clock::SystemClock, start);
        }
        assert!(reading.unwrap().monotonic <= start.elapsed());
    }
}
