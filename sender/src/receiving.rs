//! The receiving thread: matches replies to probes and measures them.

use std::io;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use clock::Clock;
use wire::time::Nanos;

use crate::control::{Control, Progress};
use crate::measure::{Measurement, Verdict};
use crate::reply::{self, Answer};
use crate::sending::Event;
use crate::steps::{Reading, StepWatch};
use crate::transport::{Datagram, Receive, Trouble};

/// Time between two looks at whether the run is over and at what has timed out.
const TICK: Duration = Duration::from_millis(20);
/// Duplicates of the last replies are waited for at least this long, or for the timeout.
const LINGER_MIN: Duration = Duration::from_millis(20);

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

/// What the receiving thread brings home.
#[derive(Debug)]
pub struct Received {
    /// The measurement.
    pub measurement: Measurement,
    /// What went wrong on the way in.
    pub trouble: Trouble,
    /// By how much our clock was set, all steps without their signs.
    pub clock_steps: Nanos,
    /// How long replies were waited for after the last probe, if the run was stopped before all
    /// were answered or given up.
    pub cut_short: Option<Duration>,
}

/// Round trips seen so far.
#[derive(Debug, Default)]
struct RoundTrips {
    last: Option<Nanos>,
    longest: Nanos,
}

impl RoundTrips {
    fn add(&mut self, round_trip: Nanos) {
        self.last = Some(round_trip);
        self.longest = self.longest.max(round_trip);
    }
}

/// Decides when probes are given up, by monotonic time even when our clock is set.
#[derive(Debug)]
struct GivingUp {
    steps: StepWatch,
    /// When a step was last noticed, until a timeout later.
    stepped: Option<Duration>,
    timeout: Duration,
}

impl GivingUp {
    fn new(timeout: Duration) -> Self {
        Self {
            steps: StepWatch::default(),
            stepped: None,
            timeout,
        }
    }

    /// Gives up what has timed out.
    fn tick(&mut self, reading: Reading, measurement: &mut Measurement) {
        if self.steps.observe(reading) {
            // T1 from before cannot be compared with the clock from here on.
            measurement.mark();
            self.stepped = Some(reading.monotonic);
        }
        if let Some(at) = self.stepped {
            if reading.monotonic.saturating_sub(at) <= self.timeout {
                return;
            }
            measurement.give_up_marked();
            self.stepped = None;
        }
        measurement.give_up(reading.utc);
    }
}

impl<R: Receive, C: Clock> Receiving<'_, R, C> {
    /// Receives until the sending thread is done and every probe is answered, or until the timeout
    /// has passed since.
    ///
    /// When all are answered it lingers for twice the longest round trip, at least 20 ms and at
    /// most the timeout, for duplicates of the last replies.
    ///
    /// # Errors
    ///
    /// The transport cannot receive any more.
    pub fn run(mut self) -> io::Result<Received> {
        let mut trips = RoundTrips::default();
        let mut giving_up = GivingUp::new(self.timeout);
        let mut sending_ended = None;
        let start = Instant::now();
        let mut busy = start;
        let mut next_tick = start;
        let cut_short = loop {
            let taken = self.take(&mut trips)?;
            if sending_ended.is_none() && self.note_events() {
                sending_ended = Some(Instant::now());
            }
            let now = Instant::now();
            if taken > 0 {
                busy = now;
            }
            if now >= next_tick {
                next_tick = now + TICK;
                if let Some(reading) = Reading::take(&self.clock, start) {
                    giving_up.tick(reading, &mut self.measurement);
                }
                self.publish(&trips);
            }
            if let Some(ended) = sending_ended {
                let waited = now.duration_since(ended);
                let quiet = now.duration_since(ended.max(busy));
                let none_out = self.measurement.awaited() == 0;
                if none_out && quiet >= self.linger(&trips) || waited >= self.timeout + TICK {
                    break None;
                }
                if self.control.waiting_stopped() {
                    break Some(waited);
                }
            } else if taken > 0 && self.measurement.peer().t4_user_space == 0 {
                thread::sleep(self.pause);
            }
        };
        self.publish(&trips);
        Ok(Received {
            trouble: self.receive.trouble(),
            measurement: self.measurement,
            clock_steps: giving_up.steps.total(),
            cut_short,
        })
    }

    /// How long to wait for duplicates of the last replies.
    fn linger(&self, trips: &RoundTrips) -> Duration {
        let longest = u64::try_from(trips.longest.nanos()).unwrap_or(0);
        let twice = Duration::from_nanos(longest.saturating_mul(2));
        twice.max(LINGER_MIN).min(self.timeout)
    }

    /// Takes the datagrams that are there, waiting up to a tick for the first.
    fn take(&mut self, trips: &mut RoundTrips) -> io::Result<usize> {
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
                trips.add(round_trip);
            }
        })
    }

    /// Notes what the sending thread did; true when it is done.
    fn note_events(&mut self) -> bool {
        note_events(&self.events, &mut self.measurement)
    }

    fn publish(&self, trips: &RoundTrips) {
        let counts = self.measurement.counts();
        self.control.publish(Progress {
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost().saturating_sub(self.measurement.awaited()),
            last_round_trip: trips.last.map(Nanos::nanos),
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
