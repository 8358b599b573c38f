//! A periodic process (RFC 3432): slot `k` is due exactly `k` intervals after the first.

use std::time::Duration;

use rand_pcg::rand_core::Rng;

use super::pace::Pace;
use super::places::Slots;
use crate::seed::Seed;

/// The slots of a periodic process, one after the other.
///
/// An addition per slot: the whole nanoseconds of the interval, and its fraction as the remainder
/// of a division, carried along, so that rounding does not add up.
#[derive(Debug)]
pub(super) struct Periodic {
    /// The process: one slot per packet of this pace, thinned by the burst.
    pace: Pace,
    burst: u32,
    /// When slot 0 is due, in nanoseconds from the start.
    offset: u64,
    /// The slot in hand.
    slot: u64,
    /// When it is due, in nanoseconds from the start, rounded down.
    due: u64,
    /// What was rounded off, in `1 / pace.packets` ns.
    fraction: u64,
    /// The interval in whole nanoseconds, and the rest of it as above.
    step: (u64, u64),
}

impl Periodic {
    /// Slots of `burst` packets each, together at `pace`; the first one `offset` after the start.
    pub fn new(pace: Pace, burst: u32, offset: Duration) -> Self {
        let (whole, rest) = pace.split(u128::from(burst));
        let offset = super::nanos(offset);
        Self {
            pace,
            burst,
            offset,
            slot: 0,
            due: offset,
            fraction: 0,
            step: (whole, rest),
        }
    }

    /// Goes on to the first slot due at or after `limit`, in nanoseconds from the start, and
    /// returns how many slots it passed over.
    pub fn jump(&mut self, limit: u64) -> u64 {
        let target = self
            .pace
            .slots_before_nanos(limit.saturating_sub(self.offset), self.burst);
        let passed = target.saturating_sub(self.slot);
        if passed > 0 {
            self.slot = target;
            // Below 2^64 slots of 2^96 / packets ns each: only what lies centuries ahead saturates.
            let burst = u128::from(self.burst);
            let (due, fraction) = self.pace.split(u128::from(target).saturating_mul(burst));
            (self.due, self.fraction) = (self.offset.saturating_add(due), fraction);
        }
        passed
    }
}

impl Slots for Periodic {
    fn due(&self) -> u64 {
        self.due
    }

    fn advance(&mut self) {
        self.slot += 1;
        self.due = self.due.saturating_add(self.step.0);
        // Both are below `packets`, which is at most 10^18.
        self.fraction += self.step.1;
        if self.fraction >= self.pace.packets {
            self.fraction -= self.pace.packets;
            self.due = self.due.saturating_add(1);
        }
    }
}

/// A start within the first `interval`, the same for the same seed: a run then does not begin in
/// step with what else is periodic (RFC 3432 section 4.1).
pub fn random_start(seed: Seed, interval: Duration) -> Duration {
    let nanos = u128::from(super::nanos(interval)) * u128::from(seed.generator().next_u64());
    Duration::from_nanos(u64::try_from(nanos >> 64).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_billion_slots_are_each_due_to_the_nanosecond() {
        // The remainders of this pace return only after 10^9 slots, so every carry occurs.
        let pace = Pace::from_rate(999.999_999).unwrap();
        let mut periodic = Periodic::new(pace, 1, Duration::ZERO);
        // The state a stretch is stepped through from is the one the stretch before it, had it been
        // stepped through whole, would have ended in: both are exact.
        for stretch in 1..=1000u64 {
            for _ in 0..1000 {
                periodic.advance();
                assert_eq!(
                    (periodic.due, periodic.fraction),
                    pace.split(periodic.slot.into())
                );
            }
            periodic.jump(pace.split(u128::from(stretch) * 1_000_000).0);
            assert_eq!(periodic.slot, stretch * 1_000_000);
        }
        assert_eq!(
            Duration::from_nanos(periodic.due()),
            pace.due(1_000_000_000)
        );
    }

    #[test]
    fn a_random_start_lies_within_the_interval_and_anywhere_in_it() {
        let interval = Duration::from_millis(10);
        let starts: Vec<_> = (0..1000)
            .map(|seed| random_start(Seed::new(seed), interval))
            .collect();
        assert!(starts.iter().all(|&start| start < interval));
        for tenth in 0..10 {
            let within = |start: &&Duration| start.as_millis() == tenth;
            assert!(starts.iter().filter(within).count() > 50, "{tenth} ms");
        }
        assert_eq!(random_start(Seed::new(7), interval), starts[7]);
    }

    proptest! {
        #[test]
        fn stepping_and_jumping_agree_with_the_exact_time(
            rate in 1e-6f64..10_000_000.0,
            burst in 1u32..100,
            offset in 0u64..1_000_000_000,
            steps in 0u64..100,
            ahead in 0u64..1_000_000_000_000,
        ) {
            let pace = Pace::from_rate(rate).unwrap();
            let start = Duration::from_nanos(offset);
            let exact = |slot: u64| start + pace.due(slot * u64::from(burst));
            let mut periodic = Periodic::new(pace, burst, start);
            for slot in 0..steps {
                prop_assert_eq!(Duration::from_nanos(periodic.due()), exact(slot));
                periodic.advance();
            }
            let limit = periodic.due() + ahead;
            let passed = periodic.jump(limit);
            let slot = steps + passed;
            prop_assert_eq!(Duration::from_nanos(periodic.due()), exact(slot));
            prop_assert!(periodic.due() >= limit);
            prop_assert!(passed == 0 || exact(slot - 1) < Duration::from_nanos(limit));
            periodic.advance();
            prop_assert_eq!(Duration::from_nanos(periodic.due()), exact(slot + 1));
        }
    }
}
