//! The probes of one session that may still be answered.
//!
//! Each session has its own sequence space (RFC 5357 section 4.1.2): numbers start at 0, rise by
//! one per probe and wrap modulo 2^32 on the wire. Here they are extended to 64 bits, so that
//! arithmetic on them never wraps. A ring of fixed size remembers the last probes; a reply to an
//! older one cannot be told from garbage any more.

use std::collections::TryReserveError;

use wire::time::{Nanos, NtpTimestamp, Utc};

/// A sequence number extended to 64 bits: its low 32 bits are the number on the wire.
pub type ProbeNumber = u64;

/// The remembered probes of one session, with their state.
///
/// One probe takes 24 octets.
#[derive(Debug)]
pub struct Outstanding {
    slots: Box<[Probe]>,
    first: ProbeNumber,
    next: ProbeNumber,
    /// Probes below this number are no longer waited for.
    waiting_from: ProbeNumber,
    /// Probes at or above `waiting_from` without a reply.
    awaited: u64,
    /// Number of the probe that was next at the last [`Outstanding::mark`].
    marked: ProbeNumber,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    t1: Utc,
    state: State,
}

/// The memory of a run is mostly these.
const _: () = assert!(size_of::<Probe>() == 24);

#[derive(Debug, Clone, Copy)]
enum State {
    Awaited,
    Answered {
        round_trip: Nanos,
        on_time: bool,
        /// There was a second reply.
        replicated: bool,
    },
}

/// What a valid reply is to its probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The first reply, within the timeout.
    OnTime,
    /// The first reply, after the timeout.
    Late,
    /// A further reply.
    Duplicate {
        /// True for the first duplicate of this probe.
        first: bool,
    },
}

impl Outstanding {
    /// A ring that remembers `capacity` probes (rounded up to a power of two), the first of which
    /// will have sequence number `first`.
    ///
    /// # Errors
    ///
    /// There is not enough memory.
    pub fn new(capacity: usize, first: u32) -> Result<Self, TryReserveError> {
        let unused = Probe {
            t1: Utc::from_nanos(0),
            state: State::Awaited,
        };
        let capacity = capacity.max(1).next_power_of_two();
        let mut slots = Vec::new();
        slots.try_reserve_exact(capacity)?;
        slots.resize(capacity, unused);
        let first = ProbeNumber::from(first);
        Ok(Self {
            slots: slots.into_boxed_slice(),
            first,
            next: first,
            waiting_from: first,
            awaited: 0,
            marked: first,
        })
    }

    /// Number of probes sent.
    pub fn sent(&self) -> u64 {
        self.next - self.first
    }

    /// Number of probes that are neither answered nor given up.
    pub fn awaited(&self) -> u64 {
        self.awaited
    }

    /// Remembers the next probe, about to be sent with timestamp `t1`, and forgets the one that
    /// had its slot.
    pub fn send(&mut self, t1: Utc) {
        if let Some(forgotten) = self.next.checked_sub(self.slots.len() as u64) {
            self.stop_waiting_for(forgotten);
        }
        *self.slot_mut(self.next) = Probe {
            t1,
            state: State::Awaited,
        };
        self.next += 1;
        self.awaited += 1;
    }

    /// Takes the last probe back: it was not sent after all, and its number will be used again.
    pub fn take_back(&mut self) {
        if self.next > self.first {
            self.next -= 1;
            if self.waits_for(self.next) {
                self.awaited -= 1;
            }
            self.waiting_from = self.waiting_from.min(self.next);
        }
    }

    /// The remembered probe with this sequence number that carried this timestamp, if any.
    ///
    /// `echo` is the Sender Timestamp of a reply. It must equal the eight octets sent with that
    /// number: a cheap proof that the reply is to this probe.
    pub fn find(&self, sequence: u32, echo: NtpTimestamp) -> Option<ProbeNumber> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the wire counts modulo 2^32"
        )]
        let age = u64::from((self.next as u32).wrapping_sub(sequence));
        if age == 0 || age > self.sent().min(self.slots.len() as u64) {
            return None;
        }
        let number = self.next - age;
        (NtpTimestamp::from_utc(self.slot(number).t1) == echo).then_some(number)
    }

    /// T1 of a probe that [`Outstanding::find`] found.
    pub fn t1(&self, number: ProbeNumber) -> Utc {
        self.slot(number).t1
    }

    /// Records a reply to the probe that [`Outstanding::find`] found.
    ///
    /// `round_trip` is remembered when the reply is on time, see [`Outstanding::round_trip`].
    pub fn answer(&mut self, number: ProbeNumber, on_time: bool, round_trip: Nanos) -> Answer {
        let state = &mut self.slot_mut(number).state;
        if let State::Answered { replicated, .. } = state {
            let first = !std::mem::replace(replicated, true);
            return Answer::Duplicate { first };
        }
        *state = State::Answered {
            round_trip,
            on_time,
            replicated: false,
        };
        if number >= self.waiting_from {
            self.awaited -= 1;
        }
        if on_time {
            Answer::OnTime
        } else {
            Answer::Late
        }
    }

    /// The round-trip time of a remembered probe that was answered in time.
    pub fn round_trip(&self, number: ProbeNumber) -> Option<Nanos> {
        let oldest = self
            .next
            .saturating_sub(self.slots.len() as u64)
            .max(self.first);
        if !(oldest..self.next).contains(&number) {
            return None;
        }
        match self.slot(number).state {
            State::Answered {
                round_trip,
                on_time: true,
                ..
            } => Some(round_trip),
            State::Answered { .. } | State::Awaited => None,
        }
    }

    /// Gives up the probes sent before `limit`. A reply to one of them is still recognised.
    pub fn give_up_before(&mut self, limit: Utc) {
        while self.waiting_from < self.next && self.slot(self.waiting_from).t1 < limit {
            self.stop_waiting_for(self.waiting_from);
        }
    }

    /// Marks the probes sent so far.
    pub fn mark(&mut self) {
        self.marked = self.next;
    }

    /// Gives up the marked probes, whatever their T1.
    pub fn give_up_marked(&mut self) {
        while self.waiting_from < self.marked.min(self.next) {
            self.stop_waiting_for(self.waiting_from);
        }
    }

    /// Gives up probe `number`, before which all have been given up.
    fn stop_waiting_for(&mut self, number: ProbeNumber) {
        if self.waits_for(number) {
            self.awaited -= 1;
        }
        self.waiting_from = self.waiting_from.max(number + 1);
    }

    fn waits_for(&self, number: ProbeNumber) -> bool {
        number >= self.waiting_from && matches!(self.slot(number).state, State::Awaited)
    }

    fn slot(&self, number: ProbeNumber) -> &Probe {
        &self.slots[self.index(number)]
    }

    fn slot_mut(&mut self, number: ProbeNumber) -> &mut Probe {
        &mut self.slots[self.index(number)]
    }

    /// The ring has a power of two slots, so the masked index is always inside.
    #[expect(clippy::cast_possible_truncation, reason = "masked to the ring's size")]
    fn index(&self, number: ProbeNumber) -> usize {
        number as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests;
