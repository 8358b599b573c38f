//! A schedule dealt out to several workers, so that together they send what one would.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Limit, Times};
use crate::seed::Seed;

/// One worker's part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which worker, from 0.
    pub worker: u32,
    /// Of how many, at least 1.
    pub workers: u32,
}

impl Share {
    /// The whole.
    pub const WHOLE: Self = Self {
        worker: 0,
        workers: 1,
    };

    /// Its send times: a periodic schedule's in turn, a random one's with gaps of their own, whose
    /// union is again of the same kind. The times of RFC 4656 are one sequence, for one worker only,
    /// and stay as they are. Slots are of `burst` packets each.
    pub fn times(self, times: Times, burst: NonZeroU32) -> Times {
        match times {
            _ if self.workers <= 1 => times,
            Times::Periodic { pace, offset } => Times::Periodic {
                pace: pace.divided(self.workers),
                offset: offset + pace.due(u64::from(self.worker) * u64::from(burst.get())),
            },
            Times::Poisson { pace, seed } => Times::Poisson {
                pace: pace.divided(self.workers),
                seed: self.seed(seed),
            },
            Times::Owamp { .. } | Times::Max => times,
        }
    }

    fn seed(self, seed: Seed) -> Seed {
        let number = u128::from_be_bytes(seed.octets());
        Seed::new(number.wrapping_add(self.worker.into()))
    }

    /// Its part of the packets.
    pub fn limit(self, limit: Limit) -> Limit {
        let part = |whole: u64| {
            if whole == u64::MAX {
                return whole;
            }
            let workers = u64::from(self.workers.max(1));
            whole / workers + u64::from(whole % workers > self.worker.into())
        };
        let Limit {
            packets,
            slots,
            end,
        } = limit;
        Limit {
            packets: part(packets),
            slots: part(slots).max(part(packets)),
            end,
        }
    }

    /// Nothing at all.
    pub fn nothing() -> Limit {
        Limit {
            packets: 0,
            slots: 0,
            end: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Pace, Schedule, Step};

    /// All intended times of a schedule.
    fn times(share: Share, times: Times, limit: Limit) -> Vec<Duration> {
        bursts(share, times, NonZeroU32::MIN, limit)
    }

    fn bursts(share: Share, times: Times, burst: NonZeroU32, limit: Limit) -> Vec<Duration> {
        let mut schedule = Schedule::new(share.times(times, burst), burst, share.limit(limit));
        let mut slots = Vec::new();
        let mut now = Duration::ZERO;
        loop {
            match schedule.take(now, 1, &mut slots) {
                Step::Done => return slots,
                Step::WaitUntil(due) => now = due,
                Step::Send => {}
            }
        }
    }

    #[test]
    fn the_parts_of_a_periodic_schedule_are_the_whole() {
        let whole = Times::periodic(Pace::from_rate(3000.0).unwrap());
        let limit = Limit::packets(100);
        let mut together: Vec<_> = (0..7)
            .flat_map(|worker| times(Share { worker, workers: 7 }, whole, limit))
            .collect();
        together.sort_unstable();
        let expected = times(Share::WHOLE, whole, limit);
        assert_eq!(together.len(), expected.len());
        for (part, whole) in together.iter().zip(&expected) {
            assert!(
                part.abs_diff(*whole) <= Duration::from_nanos(1),
                "{part:?} {whole:?}"
            );
        }
    }

    #[test]
    fn bursts_of_several_workers_keep_their_distance() {
        let whole = Times::periodic(Pace::from_rate(1000.0).unwrap());
        let (burst, limit) = (NonZeroU32::new(10).unwrap(), Limit::packets(80));
        let mut together: Vec<_> = (0..2)
            .flat_map(|worker| bursts(Share { worker, workers: 2 }, whole, burst, limit))
            .collect();
        together.sort_unstable();
        assert_eq!(together, bursts(Share::WHOLE, whole, burst, limit));
    }

    #[test]
    fn workers_of_a_random_schedule_do_not_send_together() {
        let pace = Pace::from_rate(1000.0).unwrap();
        let seed = Seed::new(5);
        let whole = Times::Poisson { pace, seed };
        let part = |worker| times(Share { worker, workers: 2 }, whole, Limit::packets(50));
        assert_ne!(part(0), part(1));
        assert_eq!(part(0).len() + part(1).len(), 50);
    }

    #[test]
    fn an_endless_run_stays_endless() {
        let share = Share {
            worker: 1,
            workers: 3,
        };
        let limit = share.limit(Limit::packets(u64::MAX));
        assert_eq!((limit.packets, limit.slots), (u64::MAX, u64::MAX));
    }
}
