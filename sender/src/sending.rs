//! The sending thread of the socket transport: probes at the times of the schedule, sessions in
//! turn.

use std::io;
use std::time::Duration;

use clock::Clock;

use crate::flight::Departures;
use crate::measure::distribution::Distribution;
use crate::own_clock::{OwnClock, SenderClock};
use crate::pacer::{Pacer, Timer};
use crate::probe::Probe;
use crate::schedule::{Schedule, Step};
use crate::stamp::StampFormat;
use crate::transport::{SendError, Transmit};
use crate::waiting::Site;

/// Probes taken from the schedule at a time.
const BATCH: usize = 32;
/// How long a run as fast as it goes waits for room for a probe.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the sending side of a worker did.
#[derive(Debug, Default)]
pub struct Sent {
    /// Slots skipped because their time had passed.
    pub skipped: u64,
    /// Probes not sent because the way out, or the memory for probes out at a time, was full.
    pub congested: u64,
    /// Probes the system refused to send.
    pub refused: u64,
    /// Probes that waited on this machine, with their T1, because the system did not take them.
    pub held: u64,
    /// Why it refused, or did not take, the first one.
    pub refusal: Option<io::Error>,
    /// When the first probe left, from the start.
    pub first: Option<Duration>,
    /// When the last probe left, from the start.
    pub last: Option<Duration>,
    /// Number of probes that left.
    pub probes: u64,
    /// Slots not reached because the run was stopped.
    pub not_reached: u64,
    /// How much later than intended the probes were stamped.
    pub send_error: Distribution,
    /// Our clock, as the Error Estimates of the probes told it.
    pub clock: SenderClock,
}

impl Sent {
    /// Counts probes that left `elapsed` after the start.
    pub fn left(&mut self, probes: u64, elapsed: Duration) {
        if probes > 0 {
            self.first.get_or_insert(elapsed);
            self.last = Some(elapsed);
            self.probes += probes;
        }
    }

    /// Notes by how much a probe due at `due` is late at `elapsed`.
    pub fn stamped(&mut self, due: Duration, elapsed: Duration) {
        self.stamped_together(&[due], elapsed);
    }

    /// Notes by how much the probes due at `dues` are late at `elapsed`.
    pub fn stamped_together(&mut self, dues: &[Duration], elapsed: Duration) {
        // As fast as it goes they are all due at once.
        for same in dues.chunk_by(Duration::eq) {
            let late = elapsed.saturating_sub(same[0]).as_nanos();
            let late = i64::try_from(late).unwrap_or(i64::MAX);
            self.send_error
                .record_many(wire::time::Nanos::from_nanos(late), same.len() as u64);
        }
    }

    /// Counts a probe that did not leave.
    pub fn failed(&mut self, error: SendError) {
        match error {
            SendError::Full => self.congested += 1,
            SendError::Refused(error) => {
                self.refused += 1;
                self.refusal.get_or_insert(error);
            }
        }
    }

    /// Whether the system refused even the first probe.
    pub fn is_refused(&self) -> bool {
        self.probes == 0 && self.refused > 0
    }

    /// Adds what another worker did.
    pub fn absorb(&mut self, other: Self) {
        self.skipped += other.skipped;
        self.congested += other.congested;
        self.refused += other.refused;
        self.held += other.held;
        self.refusal = self.refusal.take().or(other.refusal);
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.probes += other.probes;
        self.not_reached += other.not_reached;
        self.send_error.merge(&other.send_error);
        self.clock.absorb(other.clock);
    }
}

/// The sending side of a worker that receives in another thread.
pub struct Sending<'a, X, T, C> {
    /// Where probes go.
    pub transmit: X,
    /// When they go.
    pub schedule: Schedule,
    /// How to wait.
    pub pacer: Pacer<T>,
    /// Where T1 comes from, and what it is worth.
    pub clock: OwnClock<C>,
    /// Where they are announced.
    pub departures: Departures,
    /// What is shared with others.
    pub site: Site<'a>,
    /// What they are.
    pub probe: Probe,
    /// How T1 is written.
    pub format: StampFormat,
    /// Number of sessions, at least 1.
    pub sessions: usize,
}

impl<X: Transmit, T: Timer, C: Clock> Sending<'_, X, T, C> {
    /// Sends until the schedule is done, the run is stopped, or the system refuses the very first
    /// probe.
    pub fn run(mut self) -> Sent {
        let mut sent = Sent::default();
        let mut turn = Turn::new(self.sessions);
        let mut slots = Vec::with_capacity(BATCH);
        let control = self.site.control;
        'run: loop {
            let elapsed = self.pacer.elapsed();
            self.clock.refresh(elapsed);
            slots.clear();
            match self.schedule.take(elapsed, BATCH, &mut slots) {
                Step::Done => break,
                Step::WaitUntil(due) => {
                    if !self.pacer.wait_until(due, || control.sending_stopped()) {
                        break;
                    }
                }
                Step::Send => {
                    for (place, &due) in slots.iter().enumerate() {
                        if control.sending_stopped() || self.departures.abandoned() {
                            // The slots in hand are not reached either.
                            sent.not_reached += (slots.len() - place) as u64;
                            break 'run;
                        }
                        let elapsed = self.pacer.elapsed();
                        match self.send_patiently(turn, due, elapsed) {
                            Ok(()) => {
                                sent.stamped(due, elapsed);
                                sent.left(1, elapsed);
                                turn.advance();
                            }
                            Err(error) => sent.failed(error),
                        }
                        if sent.is_refused() {
                            break 'run;
                        }
                    }
                }
            }
        }
        sent.skipped = self.schedule.skipped();
        sent.not_reached += self.schedule.left();
        sent.clock = self.clock.seen();
        sent
    }

    /// Sends one probe. A run without send times waits for room, for [`PATIENCE`] at most; one with
    /// send times has the next to keep.
    fn send_patiently(
        &mut self,
        turn: Turn,
        due: Duration,
        elapsed: Duration,
    ) -> Result<(), SendError> {
        loop {
            let result = self.send(turn, due, elapsed);
            let in_time = self.pacer.elapsed().saturating_sub(elapsed) < PATIENCE;
            let wait = matches!(result, Err(SendError::Full))
                && self.schedule.interval().is_none()
                && in_time
                && !self.site.control.sending_stopped()
                && !self.departures.abandoned();
            if !wait {
                return result;
            }
            std::thread::yield_now();
        }
    }

    /// Sends one probe. The number of one that did not leave is used for the next, so that no session
    /// has a gap that looks like a loss.
    fn send(&mut self, turn: Turn, due: Duration, elapsed: Duration) -> Result<(), SendError> {
        if self.departures.room(1) == 0 {
            // The receiving thread has not run for long; a probe it does not know of could not be
            // measured.
            return Err(SendError::Full);
        }
        let Turn { session, round, .. } = turn;
        let t1 = self.clock.utc();
        let stamp = self.format.encode(t1);
        let octets = self
            .probe
            .write(session, round, stamp, self.clock.estimate());
        self.departures.intend(0, elapsed.saturating_sub(due));
        // Announced before it leaves, so that it is known when the reply comes in.
        self.departures.announce(1, t1);
        self.transmit
            .send(session, octets)
            .inspect_err(|_| self.departures.take_back(1))
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// The session.
    pub session: usize,
    /// The number of its next probe, modulo 2^32.
    pub round: u32,
    sessions: usize,
}

impl Turn {
    /// The first turn of `sessions` sessions.
    pub fn new(sessions: usize) -> Self {
        Self {
            session: 0,
            round: 0,
            sessions: sessions.max(1),
        }
    }

    /// The next session's turn.
    pub fn advance(&mut self) {
        self.session += 1;
        if self.session == self.sessions {
            self.session = 0;
            self.round = self.round.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
