//! The places for packets in a run: how many a slot has, which are taken, and where they end.

use std::iter;
use std::time::Duration;

use super::{Limit, Step};

/// A process that makes slots, one after the other.
pub(super) trait Slots {
    /// When the slot in hand is due, in nanoseconds from the start, rounded down.
    fn due(&self) -> u64;

    /// Goes on to the next slot.
    fn advance(&mut self);
}

/// Slots that are all due now, so many nanoseconds from the start.
#[derive(Debug)]
pub(super) struct AtOnce(pub u64);

impl Slots for AtOnce {
    fn due(&self) -> u64 {
        self.0
    }

    fn advance(&mut self) {}
}

/// Counts the places. A slot has as many as its burst, whether packets are sent in them or not.
#[derive(Debug)]
pub(super) struct Places {
    /// Places per slot, at least 1.
    burst: u64,
    /// Places of the slot in hand that are neither handed out nor skipped.
    left_of_burst: u64,
    next: u64,
    /// The first place that is not part of the run, so far.
    end: u64,
    /// How far skipped places may move it.
    end_max: u64,
    skipped: u64,
}

impl Places {
    /// The places up to `limit`, `burst` of them in each slot.
    pub fn new(burst: u64, limit: Limit) -> Self {
        Self {
            burst,
            left_of_burst: burst,
            next: 0,
            end: limit.packets.min(limit.slots),
            end_max: limit.slots,
            skipped: 0,
        }
    }

    /// Appends to `times` when the next packets are due, `max` at most, as far as they are due
    /// `now` and before `until`.
    #[inline]
    pub fn hand_out(
        &mut self,
        slots: &mut impl Slots,
        now: u64,
        until: u64,
        max: usize,
        times: &mut Vec<Duration>,
    ) -> Step {
        let mut room = max;
        let mut otherwise = Step::Send;
        while room > 0 {
            let due = slots.due();
            if self.left() == 0 || due >= until {
                otherwise = Step::Done;
                break;
            }
            let time = Duration::from_nanos(due);
            if due > now {
                otherwise = Step::WaitUntil(time);
                break;
            }
            let ready = self.left_of_slot();
            let count = usize::try_from(ready).map_or(room, |ready| ready.min(room));
            if count == 1 {
                // The usual case, at half the cost.
                times.push(time);
            } else {
                times.extend(iter::repeat_n(time, count));
            }
            room -= count;
            self.next += count as u64;
            self.left_of_burst -= count as u64;
            if self.left_of_burst == 0 {
                slots.advance();
                self.left_of_burst = self.burst;
            }
        }
        if room < max { Step::Send } else { otherwise }
    }

    /// Skips what is left of the slot in hand.
    pub fn skip_slot(&mut self) {
        self.skip(self.left_of_slot());
        self.left_of_burst = self.burst;
    }

    /// Skips as many whole slots.
    pub fn skip_slots(&mut self, slots: u64) {
        self.skip(slots.saturating_mul(self.left_of_slot()));
    }

    /// Counts places as skipped, and moves the end by as much as it may.
    fn skip(&mut self, places: u64) {
        let skipped = places.min(self.end_max - self.next);
        self.skipped += skipped;
        self.next += skipped;
        self.end = self.end.saturating_add(skipped).min(self.end_max);
    }

    /// Places of the slot in hand that the run still has. A last burst that is not needed whole is
    /// not missed whole either.
    fn left_of_slot(&self) -> u64 {
        self.left_of_burst.min(self.left())
    }

    /// Places neither handed out nor skipped, so far.
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.next)
    }

    /// Places skipped.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}
