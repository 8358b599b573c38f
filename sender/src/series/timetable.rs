//! When the tests of one name start.

use std::time::Duration;

/// Start times at equal distances. Times are durations since the series began.
#[derive(Debug, Clone)]
pub struct Timetable {
    interval: Duration,
    /// Tests left to make; `None` for no end.
    left: Option<u64>,
    /// The next start that was not yet taken or missed.
    next: Duration,
    /// Whether that is the first of all.
    first: bool,
}

/// A start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// When, perhaps still to come.
    pub at: Duration,
    /// Starts before it that passed while the last test still ran.
    pub missed: u64,
}

impl Timetable {
    /// The first start is at `offset`. `count` is `None` for tests without end.
    pub fn new(offset: Duration, interval: Duration, count: Option<u64>) -> Self {
        Self {
            interval,
            left: count,
            next: offset,
            first: true,
        }
    }

    /// The next start, taken at `now`, when the last test is over; `None` when all are made. What
    /// has passed by then is missed, and not made up for.
    pub fn next(&mut self, now: Duration) -> Option<Start> {
        let left = self.left.map(|left| left.checked_sub(1));
        if left == Some(None) {
            return None;
        }
        self.left = left.flatten();
        // The first start cannot be missed: there is no test before it.
        let behind = if self.first {
            Duration::ZERO
        } else {
            now.saturating_sub(self.next)
        };
        let interval = self.interval.as_nanos().max(1);
        let missed = u64::try_from(behind.as_nanos().div_ceil(interval)).unwrap_or(u64::MAX);
        let at = self.later(missed);
        self.next = at.saturating_add(self.interval);
        self.first = false;
        Some(Start { at, missed })
    }

    /// The start `starts` after the next.
    fn later(&self, starts: u64) -> Duration {
        let nanos = self.interval.as_nanos().saturating_mul(u128::from(starts));
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
        self.next.saturating_add(Duration::new(seconds, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The starts, with those missed before them, of tests that take so long each.
    fn starts(interval: u32, count: Option<u64>, lengths: &[u32]) -> Vec<(u64, u64)> {
        let mut timetable = Timetable::new(Duration::ZERO, SECOND * interval, count);
        let mut now = Duration::ZERO;
        let mut starts = Vec::new();
        for &length in lengths {
            let Some(start) = timetable.next(now) else {
                break;
            };
            starts.push((start.at.as_secs(), start.missed));
            now = now.max(start.at) + SECOND * length;
        }
        starts
    }

    #[test]
    fn tests_that_are_short_enough_start_at_equal_distances() {
        assert_eq!(
            starts(10, None, &[3, 10, 9, 1]),
            [(0, 0), (10, 0), (20, 0), (30, 0)]
        );
    }

    #[test]
    fn a_start_during_a_test_is_missed_and_counted_and_the_raster_kept() {
        assert_eq!(
            starts(10, None, &[11, 35, 1, 1]),
            [(0, 0), (20, 1), (60, 3), (70, 0)]
        );
    }

    #[test]
    fn there_are_as_many_tests_as_asked_for_missed_starts_aside() {
        assert_eq!(
            starts(10, Some(3), &[15, 1, 1, 1, 1]),
            [(0, 0), (20, 1), (30, 0)]
        );
        assert_eq!(starts(10, Some(0), &[1]), []);
    }

    #[test]
    fn the_first_test_is_made_however_late() {
        let mut timetable = Timetable::new(Duration::ZERO, SECOND, Some(1));
        let first = timetable.next(SECOND * 100).unwrap();
        assert_eq!(
            first,
            Start {
                at: Duration::ZERO,
                missed: 0
            }
        );
    }

    #[test]
    fn an_offset_moves_all_starts() {
        let mut timetable = Timetable::new(SECOND * 3, SECOND * 10, None);
        let mut at = |now| {
            timetable
                .next(SECOND * now)
                .map(|start| (start.at.as_secs(), start.missed))
        };
        assert_eq!(
            [at(0), at(5), at(24)],
            [Some((3, 0)), Some((13, 0)), Some((33, 1))]
        );
        // However late, the first is made.
        let first = Timetable::new(SECOND, SECOND, None).next(SECOND * 100);
        assert_eq!(
            first,
            Some(Start {
                at: SECOND,
                missed: 0
            })
        );
    }

    #[test]
    fn extremes_saturate() {
        let mut timetable = Timetable::new(Duration::ZERO, Duration::MAX, None);
        timetable.next(Duration::ZERO).unwrap();
        assert_eq!(timetable.next(SECOND).unwrap().at, Duration::MAX);
        assert_eq!(timetable.next(Duration::MAX).unwrap().at, Duration::MAX);
    }
}
