//! The receiving thread: matches replies to probes and measures them.

use std::io;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use clock::Clock;

use crate::control::{Control, Progress};
use crate::measure::{Measurement, Verdict};
use crate::reply::{self, Answer};
use crate::sending::Event;
use crate::transport::{Datagram, Receive};

/// Time between two looks at whether the run is over and at what has timed out.
const TICK: Duration = Duration::from_millis(20);

/// The receiving side of a run.
pub struct Receiving<'a, R, C> {
    /// Where replies come from.
    pub receive: R,
    /// What the sending thread did; closed when it is done.
    pub events: mpsc::Receiver<Event>,
    /// The measurement, empty.
    pub measurement: Measurement,
    /// Tells when a probe has timed out.
    pub clock: C,
    /// Stops the run and shows its progress.
    pub control: &'a Control,
    /// Octets per probe.
    pub size: usize,
    /// How long replies are waited for after the last probe.
    pub timeout: Duration,
    /// Pause after replies came in, so that the next ones come together. T4 is the kernel's, so
    /// a pause costs no precision, and it leaves the processor to others.
    pub pause: Duration,
}

impl<R: Receive, C: Clock> Receiving<'_, R, C> {
    /// Receives until the sending thread is done and every probe is answered or given up.
    ///
    /// # Errors
    ///
    /// The transport cannot receive any more.
    pub fn run(mut self) -> io::Result<(Measurement, R)> {
        let mut last_round_trip = None;
        let mut sending_ended = None;
        let mut next_tick = Instant::now();
        loop {
            let taken = self.take(&mut last_round_trip)?;
            if sending_ended.is_none() && self.note_events() {
                sending_ended = Some(Instant::now());
            }
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.measurement.give_up(self.clock.utc());
                self.publish(last_round_trip);
            }
            if let Some(ended) = sending_ended {
                // When all is answered, a quiet tick more is for duplicates on their way.
                let all_answered = taken == 0 && self.measurement.awaited() == 0;
                let waited_enough = now.duration_since(ended) >= self.timeout + TICK;
                if all_answered || waited_enough || self.control.waiting_stopped() {
                    break;
                }
            } else if taken > 0 && self.measurement.peer().t4_user_space == 0 {
                thread::sleep(self.pause);
            }
        }
        self.publish(last_round_trip);
        Ok((self.measurement, self.receive))
    }

    /// Takes the datagrams that are there, waiting up to a tick for the first.
    fn take(&mut self, last_round_trip: &mut Option<i64>) -> io::Result<usize> {
        let Self {
            receive,
            events,
            measurement,
            size,
            ..
        } = self;
        receive.receive(TICK, &mut |datagram| {
            // A probe is announced before it leaves, so what this datagram answers is announced
            // by now, but perhaps not noted yet.
            note_events(events, measurement);
            if let Some(Verdict::Received { round_trip }) = judge(measurement, *size, datagram) {
                *last_round_trip = Some(round_trip.nanos());
            }
        })
    }

    /// Notes what the sending thread did; true when it is done.
    fn note_events(&mut self) -> bool {
        note_events(&self.events, &mut self.measurement)
    }

    fn publish(&self, last_round_trip: Option<i64>) {
        let counts = self.measurement.counts();
        self.control.publish(Progress {
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost().saturating_sub(self.measurement.awaited()),
            last_round_trip,
        });
    }
}

fn note_events(events: &mpsc::Receiver<Event>, measurement: &mut Measurement) -> bool {
    loop {
        match events.try_recv() {
            Ok(Event::Sending { session, t1 }) => measurement.sent(session, t1),
            Ok(Event::NotSent { session }) => measurement.not_sent(session),
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => return true,
        }
    }
}

/// Measures one datagram; `None` when it answers no probe.
fn judge(measurement: &mut Measurement, size: usize, datagram: Datagram<'_>) -> Option<Verdict> {
    let Datagram {
        session,
        head,
        len,
        reception,
    } = datagram;
    let probe_of = |answer: Answer| {
        let number = measurement.find(session, answer.sequence, answer.timestamp)?;
        Some((number, answer.stamps))
    };
    let found = reply::reflected(head, reception.t4)
        .and_then(probe_of)
        .or_else(|| reply::echoed(head, len, size).and_then(probe_of));
    let Some((number, stamps)) = found else {
        measurement.invalid();
        return None;
    };
    measurement.reply(session, number, reception, stamps)
}

#[cfg(test)]
mod tests;
