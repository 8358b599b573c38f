//! The probes of one worker that may still be answered.
//!
//! A worker sends for its sessions in turn, so the probe with ordinal `n` belongs to session
//! `n % sessions` and has number `n / sessions` there. Each session thus has its own sequence space
//! (RFC 5357 section 4.1.2: from 0, one more per probe, modulo 2^32 on the wire), while memory is
//! one ring in sending order, whatever the number of sessions: it is walked from end to end, and
//! the processor sees it coming.
//!
//! Every probe is *opened* when its departure is noticed and *closed* when its fate is settled:
//! answered, or out of time. Both happen once per probe, in sending order. A reply to a closed
//! probe is still recognised, as late or as a duplicate, until the ring has gone round.

mod log;

use std::collections::TryReserveError;

use wire::time::{Nanos, Utc};

pub use log::{Departed, Departures, Ordinal, open, open_with};

/// The state of the remembered probes of one worker.
///
/// A probe takes 32 octets: 24 here and 8 in the log of departures. Four more there if the intended
/// times are remembered, and four more here once one T1 is corrected.
#[derive(Debug)]
pub struct Flight {
    departed: Departed,
    states: Box<[State]>,
    sessions: u64,
    /// Probes below this number are known here.
    opened: Ordinal,
    /// Probes below this number are settled.
    closed: Ordinal,
    /// Session of the next probe to be closed.
    closing: usize,
    /// Probes opened, not closed, and answered.
    answered: u64,
    /// What was opened at the last [`Flight::mark`].
    marked: Ordinal,
    /// How much later than T1 says each probe left, in nanoseconds; empty until somebody tells.
    corrections: Vec<i32>,
}

/// What is known of a probe besides T1.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// T2 - T1 in nanoseconds, or the round trip of a reply without T2 and T3.
    forward: i64,
    /// T4 - T3 in nanoseconds, or 0 for a reply without T2 and T3.
    backward: i64,
    /// The reflector's number in the first reply.
    reflector: u32,
    mark: Mark,
}

/// The memory of a run is mostly these.
const _: () = assert!(size_of::<State>() == 24);

/// Flags, and the low bits of the place in the order of arrival.
#[derive(Debug, Clone, Copy, Default)]
struct Mark(u32);

impl Mark {
    const ANSWERED: u32 = 1 << 31;
    const ON_TIME: u32 = 1 << 30;
    const REPLICATED: u32 = 1 << 29;
    /// No later probe's reply had arrived before.
    const IN_ORDER: u32 = 1 << 28;
    /// The reply carried T2 and T3.
    const SPLIT: u32 = 1 << 27;
    const ARRIVAL: u32 = Self::SPLIT - 1;

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
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
        /// The reflector's number in the first reply.
        reflector: u32,
    },
}

/// The delays of a reply as a probe remembers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// The reply carried T2 and T3.
    Split {
        /// T2 - T1.
        forward: Nanos,
        /// T4 - T3.
        backward: Nanos,
    },
    /// It did not.
    Whole(Nanos),
}

impl Remembered {
    /// The round trip without the reflector's residence, where that is known.
    pub fn round_trip(self) -> Nanos {
        match self {
            Self::Split { forward, backward } => forward + backward,
            Self::Whole(round_trip) => round_trip,
        }
    }
}

/// A probe whose fate is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Its ordinal.
    pub probe: Ordinal,
    /// Its session.
    pub session: usize,
    /// T1.
    pub t1: Utc,
    /// When it should have left, if that is remembered.
    pub intended: Option<Utc>,
    /// Whether it was answered within the timeout; else it is lost.
    pub on_time: bool,
}

/// What became of a better T1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// It holds from now on.
    Made,
    /// It cannot be.
    Implausible,
    /// The reply was measured without it, or the probe is forgotten.
    TooLate,
}

/// When a probe is closed although nothing answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// If its T1 is before this.
    Before(Utc),
    /// If it was opened at the last mark, whatever its T1. For when our clock was set, and T1 does
    /// not tell any more how long ago that was.
    Marked,
    /// In any case: the run is over.
    All,
}

impl Flight {
    /// The probes of `sessions` sessions whose departures are in `departed`.
    ///
    /// # Errors
    ///
    /// There is not enough memory.
    pub fn new(departed: Departed, sessions: usize) -> Result<Self, TryReserveError> {
        let mut states = Vec::new();
        states.try_reserve_exact(departed.capacity())?;
        states.resize(departed.capacity(), State::default());
        Ok(Self {
            departed,
            states: states.into_boxed_slice(),
            sessions: sessions.max(1) as u64,
            opened: 0,
            closed: 0,
            closing: 0,
            answered: 0,
            marked: 0,
            corrections: Vec::new(),
        })
    }

    /// Whether no more probes will be announced.
    pub fn over(&self) -> bool {
        self.departed.over()
    }

    /// Number of probes opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Number of probes that are neither answered nor given up.
    pub fn awaited(&self) -> u64 {
        self.opened - self.closed - self.answered
    }

    /// Number of sessions.
    #[expect(clippy::cast_possible_truncation, reason = "made from a usize")]
    pub fn sessions(&self) -> usize {
        self.sessions as usize
    }

    /// Number of probes of a session opened so far.
    pub fn sent(&self, session: usize) -> u64 {
        (self.opened + self.sessions - 1 - session as u64) / self.sessions
    }

    /// Notices the departures since the last call, and what was taken back since.
    pub fn open(&mut self) {
        let announced = self.departed.announced();
        while self.opened > announced {
            self.reopen();
        }
        while self.opened < announced {
            let index = self.index(self.opened);
            self.states[index] = State::default();
            if let Some(correction) = self.corrections.get_mut(index) {
                *correction = 0;
            }
            self.opened += 1;
        }
    }

    /// Undoes the opening of the last probe.
    fn reopen(&mut self) {
        self.opened -= 1;
        if self.closed > self.opened {
            self.closed = self.opened;
            self.closing = self.closing.checked_sub(1).unwrap_or(self.sessions() - 1);
            self.departed.settle(self.closed);
        } else if self.state(self.opened).mark.has(Mark::ANSWERED) {
            self.answered -= 1;
        }
        self.marked = self.marked.min(self.opened);
    }

    /// The remembered probe of `session` with this sequence number on the wire, if any, and the T1
    /// it carried.
    pub fn find(&self, session: usize, sequence: u32) -> Option<(Ordinal, Utc)> {
        if session as u64 >= self.sessions {
            return None;
        }
        let sent = self.sent(session);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the wire counts modulo 2^32"
        )]
        let age = u64::from((sent as u32).wrapping_sub(sequence));
        if age == 0 || age > sent {
            return None;
        }
        let probe = (sent - age) * self.sessions + session as u64;
        self.is_remembered(probe)
            .then(|| (probe, self.departed.t1(probe)))
    }

    /// When a remembered probe left: T1, corrected if [`Flight::correct`] was told better.
    pub fn t1(&self, probe: Ordinal) -> Utc {
        let later = self.corrections.get(self.index(probe)).copied();
        self.departed.t1(probe) + Nanos::from_nanos(later.unwrap_or(0).into())
    }

    /// When a remembered probe should have left; `None` unless that is remembered.
    pub fn intended(&self, probe: Ordinal) -> Option<Utc> {
        self.departed.intended(probe)
    }

    /// Corrects T1 of a remembered probe to `departure`, if `plausible` says of the T1 it carried and
    /// `departure` that this can be, and no reply was measured. The packet itself carried what it
    /// carried. More than two seconds are never plausible.
    pub fn correct(
        &mut self,
        probe: Ordinal,
        departure: Utc,
        plausible: impl FnOnce(Utc, Utc) -> bool,
    ) -> Correction {
        if !self.is_remembered(probe) {
            return Correction::TooLate;
        }
        let t1 = self.departed.t1(probe);
        let Ok(later) = i32::try_from((departure - t1).nanos()) else {
            return Correction::Implausible;
        };
        if !plausible(t1, departure) {
            return Correction::Implausible;
        }
        if self.state(probe).mark.has(Mark::ANSWERED) {
            return Correction::TooLate;
        }
        self.corrections.resize(self.states.len(), 0);
        let index = self.index(probe);
        self.corrections[index] = later;
        Correction::Made
    }

    /// The number of a probe in its session.
    pub fn number(&self, probe: Ordinal) -> u64 {
        probe / self.sessions
    }

    /// Records a reply to a probe that [`Flight::find`] found.
    pub fn answer(
        &mut self,
        probe: Ordinal,
        on_time: bool,
        delays: Remembered,
        reflector: u32,
    ) -> Answer {
        let index = self.index(probe);
        let state = &mut self.states[index];
        if state.mark.has(Mark::ANSWERED) {
            let first = !state.mark.has(Mark::REPLICATED);
            state.mark.0 |= Mark::REPLICATED;
            return Answer::Duplicate {
                first,
                reflector: state.reflector,
            };
        }
        let (forward, backward, split) = match delays {
            Remembered::Split { forward, backward } => (forward, backward, Mark::SPLIT),
            Remembered::Whole(round_trip) => (round_trip, Nanos::ZERO, 0),
        };
        let in_time = if on_time { Mark::ON_TIME } else { 0 };
        *state = State {
            forward: forward.nanos(),
            backward: backward.nanos(),
            reflector,
            mark: Mark(Mark::ANSWERED | in_time | split),
        };
        if probe >= self.closed {
            self.answered += 1;
        }
        if on_time {
            Answer::OnTime
        } else {
            Answer::Late
        }
    }

    /// Notes that the reply to `probe` was number `arrival` of its session to arrive, and whether it
    /// was in order (RFC 4737).
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    pub fn arrived(&mut self, probe: Ordinal, arrival: u64, in_order: bool) {
        let index = self.index(probe);
        let order = if in_order { Mark::IN_ORDER } else { 0 };
        self.states[index].mark.0 |= order | (arrival as u32 & Mark::ARRIVAL);
    }

    /// How many replies of its session have arrived since the earliest one to a later probe than
    /// `probe` (RFC 4737 section 4.2.1); `None` when there is none in memory, or not within the next
    /// `reach` probes of the session.
    ///
    /// The earliest arrival above `probe` is in order, and arrivals in order rise with the numbers:
    /// so it is the first in order above it.
    pub fn overtaken_since(&self, probe: Ordinal, arrival: u64, reach: usize) -> Option<u64> {
        let mut later = probe;
        for _ in 0..reach {
            later = later.checked_add(self.sessions)?;
            if later >= self.opened {
                return None;
            }
            let mark = self.state(later).mark;
            if mark.has(Mark::IN_ORDER) && mark.has(Mark::ANSWERED) {
                #[expect(clippy::cast_possible_truncation, reason = "masked")]
                let extent = (arrival as u32).wrapping_sub(mark.0) & Mark::ARRIVAL;
                return Some(u64::from(extent));
            }
        }
        None
    }

    /// The delays of the probe before `probe` in its session, if it was answered in time.
    pub fn before(&self, probe: Ordinal) -> Option<Remembered> {
        self.delays(probe.checked_sub(self.sessions)?)
    }

    /// The delays of the probe after `probe` in its session, if it was answered in time.
    pub fn after(&self, probe: Ordinal) -> Option<Remembered> {
        self.delays(probe.checked_add(self.sessions)?)
    }

    /// The delays of a remembered probe that was answered in time.
    fn delays(&self, probe: Ordinal) -> Option<Remembered> {
        if !self.is_remembered(probe) {
            return None;
        }
        let state = self.state(probe);
        if !state.mark.has(Mark::ON_TIME) {
            return None;
        }
        let forward = Nanos::from_nanos(state.forward);
        Some(if state.mark.has(Mark::SPLIT) {
            Remembered::Split {
                forward,
                backward: Nanos::from_nanos(state.backward),
            }
        } else {
            Remembered::Whole(forward)
        })
    }

    /// Marks the probes opened so far, for [`GiveUp::Marked`].
    pub fn mark(&mut self) {
        self.marked = self.opened;
    }

    /// Whether the fate of a probe is settled.
    pub fn is_closed(&self, probe: Ordinal) -> bool {
        probe < self.closed
    }

    /// T1 of the oldest probe that is not closed.
    pub fn oldest_open(&self) -> Option<Utc> {
        (self.closed < self.opened).then(|| self.departed.t1(self.closed))
    }

    /// Closes, in sending order, every probe that is answered or to be given up, up to the first
    /// that is neither.
    pub fn close(&mut self, give_up: GiveUp, mut each: impl FnMut(Closed)) {
        let before = self.closed;
        while self.closed < self.opened {
            let mark = self.state(self.closed).mark;
            let carried = self.departed.t1(self.closed);
            let answered = mark.has(Mark::ANSWERED);
            let over = answered
                || match give_up {
                    GiveUp::Before(limit) => carried < limit,
                    GiveUp::Marked => self.closed < self.marked,
                    GiveUp::All => true,
                };
            if !over {
                break;
            }
            self.answered -= u64::from(answered);
            each(Closed {
                probe: self.closed,
                session: self.closing,
                t1: self.t1(self.closed),
                intended: self.departed.intended(self.closed),
                on_time: mark.has(Mark::ON_TIME),
            });
            self.closed += 1;
            self.closing = self.following(self.closing);
        }
        if self.closed != before {
            self.departed.settle(self.closed);
        }
    }

    fn is_remembered(&self, probe: Ordinal) -> bool {
        let oldest = self.opened.saturating_sub(self.states.len() as u64);
        (oldest..self.opened).contains(&probe)
    }

    fn following(&self, session: usize) -> usize {
        let next = session + 1;
        if next as u64 == self.sessions {
            0
        } else {
            next
        }
    }

    fn state(&self, probe: Ordinal) -> &State {
        &self.states[self.index(probe)]
    }

    /// The ring has a power of two states, so the masked index is always inside.
    #[expect(clippy::cast_possible_truncation, reason = "masked to the ring's size")]
    fn index(&self, probe: Ordinal) -> usize {
        probe as usize & (self.states.len() - 1)
    }
}

#[cfg(test)]
mod tests;
