//! The sending thread: one probe per slot of the schedule, sessions in turn.

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use clock::{Clock, Discipline};
use wire::error_estimate::ErrorEstimate;
use wire::time::{TimestampFormat, Utc};

use crate::control::Control;
use crate::pacer::{Pacer, Timer};
use crate::probe::Probe;
use crate::schedule::{Schedule, Step};
use crate::transport::{SendError, Transmit};

/// What the sending thread tells the receiving thread, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The next probe of a session is about to leave. Told before the send, so that it is known
    /// when the reply comes in.
    Sending {
        /// Session, from 0.
        session: usize,
        /// T1.
        t1: Utc,
    },
    /// The probe of the latest event of this session did not leave after all.
    NotSent {
        /// Session, from 0.
        session: usize,
    },
}

/// What the sending thread did.
#[derive(Debug, Default)]
pub struct Sent {
    /// Slots skipped because their time had passed.
    pub skipped: u64,
    /// Probes not sent because the socket, or the queue to the receiving thread, was full.
    pub congested: u64,
    /// Probes the system refused to send.
    pub refused: u64,
    /// Why it refused the first one.
    pub refusal: Option<io::Error>,
    /// When the first probe left, from the start.
    pub first: Option<Duration>,
    /// When the last probe left, from the start.
    pub last: Option<Duration>,
    /// Number of probes that left.
    pub probes: u64,
    /// Slots not reached because the run was stopped.
    pub not_reached: u64,
    /// Our clock, as the Error Estimates of the probes told it.
    pub clock: SenderClock,
}

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

/// The kernel's own figure for an error it does not know, 16 s (linux/timex.h, `NTP_PHASE_LIMIT`).
const UNKNOWN_ERROR: u64 = 16_000_000_000;
/// Time between two looks at the state of our clock.
const CLOCK_STATE_INTERVAL: Duration = Duration::from_secs(1);

/// The sending side of a run.
pub struct Sending<'a, X, T, C> {
    /// Where probes go.
    pub transmit: X,
    /// When they go.
    pub schedule: Schedule,
    /// How to wait.
    pub pacer: Pacer<T>,
    /// Where T1 comes from.
    pub clock: C,
    /// Reads the state of that clock.
    pub discipline: fn() -> io::Result<Discipline>,
    /// The receiving thread.
    pub events: SyncSender<Event>,
    /// Stops the run.
    pub control: &'a Control,
    /// Octets per probe.
    pub size: usize,
    /// Number of sessions, at least 1.
    pub sessions: usize,
}

impl<X: Transmit, T: Timer, C: Clock> Sending<'_, X, T, C> {
    /// Sends until the schedule is done, the run is stopped, or the system refuses the very first
    /// probe.
    pub fn run(mut self) -> Sent {
        let mut sent = Sent::default();
        let mut sequences = vec![0u32; self.sessions.max(1)];
        let mut probe = Probe::new(self.size);
        let mut estimate = self.error_estimate(&mut sent.clock);
        let mut estimate_due = CLOCK_STATE_INTERVAL;
        let mut turn = 0;
        let mut slots = Vec::with_capacity(1);
        loop {
            let elapsed = self.pacer.elapsed();
            if elapsed >= estimate_due {
                estimate = self.error_estimate(&mut sent.clock);
                estimate_due = elapsed + CLOCK_STATE_INTERVAL;
            }
            slots.clear();
            match self.schedule.take(elapsed, 1, &mut slots) {
                Step::Done => break,
                Step::WaitUntil(due) => {
                    let control = self.control;
                    if !self.pacer.wait_until(due, || control.sending_stopped()) {
                        break;
                    }
                }
                Step::Send => {
                    if self.control.sending_stopped() {
                        // The slot in hand is not reached either.
                        sent.not_reached += 1;
                        break;
                    }
                    let sequence = &mut sequences[turn];
                    if self.send(&mut probe, turn, *sequence, estimate, &mut sent) {
                        *sequence = sequence.wrapping_add(1);
                        sent.first.get_or_insert(elapsed);
                        sent.last = Some(elapsed);
                        sent.probes += 1;
                    }
                    turn = (turn + 1) % sequences.len();
                    if sent.probes == 0 && sent.refused > 0 {
                        break;
                    }
                }
            }
        }
        sent.skipped = self.schedule.skipped();
        sent.not_reached += self.schedule.left();
        sent
    }

    /// Sends one probe; false if it did not leave.
    fn send(
        &mut self,
        probe: &mut Probe,
        session: usize,
        sequence: u32,
        estimate: ErrorEstimate,
        sent: &mut Sent,
    ) -> bool {
        let t1 = self.clock.utc();
        let octets = probe.write(sequence, t1, estimate);
        match self.events.try_send(Event::Sending { session, t1 }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                // The receiving thread has not run for long; a probe it does not know of could
                // not be measured.
                sent.congested += 1;
                return false;
            }
            Err(TrySendError::Disconnected(_)) => {
                self.control.stop_sending();
                sent.not_reached += 1;
                return false;
            }
        }
        let Err(error) = self.transmit.send(session, octets) else {
            return true;
        };
        // Waits for room: left out, the probe would count as sent and lost. It fails only when the
        // receiving thread is gone, and then nobody counts.
        let _ = self.events.send(Event::NotSent { session });
        match error {
            SendError::Full => sent.congested += 1,
            SendError::Refused(error) => {
                sent.refused += 1;
                sent.refusal.get_or_insert(error);
            }
        }
        false
    }

    /// The Error Estimate for the next probes, from the state of our clock.
    fn error_estimate(&self, clock: &mut SenderClock) -> ErrorEstimate {
        let (synchronised, error) = (self.discipline)().map_or((false, UNKNOWN_ERROR), |state| {
            (state.synchronised, state.max_error_ns)
        });
        clock.synchronised &= synchronised;
        clock.error_max = clock.error_max.max(error);
        ErrorEstimate::from_nanos(error, synchronised, TimestampFormat::Ntp)
    }
}

#[cfg(test)]
mod tests;
