//! The round-trip times of about the last second, for a live view.
//!
//! A second is [`SLOTS`] turns of 200 ms. At each turn ([`Recent::turn`]) the oldest fifth is
//! forgotten. Memory: 70 KiB at 1 ms.

use wire::time::Nanos;

use super::distribution::{Distribution, Summary};

/// Turns that make a second.
pub const SLOTS: usize = 5;

/// Round-trip times of the current turn and the [`SLOTS`] - 1 before it, within 1 %.
#[derive(Debug)]
pub struct Recent {
    slots: [Distribution; SLOTS],
    current: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            slots: std::array::from_fn(|_| Distribution::coarse()),
            current: 0,
        }
    }
}

impl Recent {
    /// Adds one round trip.
    pub fn record(&mut self, round_trip: Nanos) {
        if let Some(slot) = self.slots.get_mut(self.current) {
            slot.record(round_trip);
        }
    }

    /// Ends a turn: what was recorded [`SLOTS`] turns ago is forgotten.
    pub fn turn(&mut self) {
        self.current = (self.current + 1) % SLOTS;
        if let Some(slot) = self.slots.get_mut(self.current) {
            slot.clear();
        }
    }

    /// The figures of all that is remembered; `None` when nothing is.
    pub fn summary(&self) -> Option<Summary> {
        let mut all = Distribution::coarse();
        for slot in self.slots.iter().filter(|slot| slot.count() > 0) {
            all.merge(slot);
        }
        all.summary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_is_older_than_all_slots() {
        let mut recent = Recent::default();
        assert_eq!(recent.summary(), None);
        recent.record(Nanos::from_nanos(900));
        for turn in 1..SLOTS {
            recent.turn();
            recent.record(Nanos::from_nanos(100));
            let summary = recent.summary().unwrap();
            assert_eq!(summary.count, turn as u64 + 1);
            assert_eq!(summary.max.nanos(), 900);
        }
        recent.turn();
        let summary = recent.summary().unwrap();
        assert_eq!((summary.count, summary.max.nanos()), (4, 100));
        for _ in 0..SLOTS {
            recent.turn();
        }
        assert_eq!(recent.summary(), None);
    }
}
