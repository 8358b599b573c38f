//! When probes are given up, and when a run is over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clock::Clock;
use wire::time::Nanos;

use crate::control::{Control, Progress};
use crate::flight::GiveUp;
use crate::measure::{Measurement, Verdict};
use crate::recorder::Recorder;
use crate::steps::{Reading, StepWatch};
use crate::transport::Trouble;

/// Time between two looks at whether the run is over and at what has timed out.
pub const TICK: Duration = Duration::from_millis(20);
/// Duplicates of the last replies are waited for at least this long, or for the timeout.
const LINGER_MIN: Duration = Duration::from_millis(20);

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
    fn tick(
        &mut self,
        reading: Reading,
        measurement: &mut Measurement,
        mut recorder: Option<&mut Recorder>,
    ) {
        if self.steps.observe(reading) {
            // T1 from before cannot be compared with the clock from here on.
            measurement.mark();
            self.stepped = Some(reading.monotonic);
        }
        if let Some(at) = self.stepped {
            if reading.monotonic.saturating_sub(at) <= self.timeout {
                return;
            }
            measurement.close(GiveUp::Marked, recorder.as_deref_mut());
            self.stepped = None;
        }
        measurement.give_up(reading.utc, recorder);
    }
}

/// Watches over one worker's measurement from the first probe to the end.
#[derive(Debug)]
pub struct Waiting {
    giving_up: GivingUp,
    start: Instant,
    next_tick: Instant,
    /// When the last datagram came in.
    busy: Instant,
    /// When sending ended.
    ended: Option<Instant>,
    /// A reply came in.
    answered: bool,
    longest: Nanos,
    timeout: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ending {
    /// By how much our clock was set, all steps without their signs.
    pub clock_steps: Nanos,
    /// How long replies were waited for after the last probe, if the run was stopped before all
    /// were answered or given up.
    pub cut_short: Option<Duration>,
}

impl Ending {
    /// Takes in how another worker's part ended.
    pub fn absorb(&mut self, other: Self) {
        self.clock_steps = self.clock_steps.max(other.clock_steps);
        self.cut_short = self.cut_short.max(other.cut_short);
    }
}

impl Waiting {
    /// Waits for each reply as long as `timeout`.
    pub fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            giving_up: GivingUp::new(timeout),
            start: now,
            next_tick: now,
            busy: now,
            ended: None,
            answered: false,
            longest: Nanos::ZERO,
            timeout,
        }
    }

    /// Takes the verdict on a datagram.
    pub fn saw(&mut self, verdict: Option<Verdict>) {
        if let Some(Verdict::Received { round_trip }) = verdict {
            self.answered = true;
            self.longest = self.longest.max(round_trip);
        }
    }

    /// To be called often. `taken` datagrams came in since the last call. Gives up what has timed
    /// out and publishes how the run stands, once per [`TICK`]; returns the ending when the run is
    /// over.
    ///
    /// It is over when sending is and every probe is answered, or the timeout has passed since. When
    /// all are answered it lingers for twice the longest round trip, at least 20 ms and at most the
    /// timeout, for duplicates of the last replies.
    pub fn look(
        &mut self,
        taken: usize,
        measurement: &mut Measurement,
        trouble: &Trouble,
        clock: &impl Clock,
        site: &Site<'_>,
    ) -> Option<Ending> {
        let now = Instant::now();
        if taken > 0 {
            self.busy = now;
        }
        if self.ended.is_none() && measurement.sending_over() {
            self.ended = Some(now);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            measurement.notice();
            let mut recorder = site.recorder();
            if let Some(reading) = Reading::take(clock, self.start) {
                self.giving_up
                    .tick(reading, measurement, recorder.as_deref_mut());
                let until = measurement.settled_until(reading.utc);
                // When all is sent and settled, time that passes makes no more intervals.
                if let Some(recorder) = &mut recorder
                    && (self.ended.is_none() || until < reading.utc)
                {
                    recorder.settle(site.worker, until);
                }
            }
            Self::publish(measurement, trouble, site);
        }
        let ended = self.ended?;
        let waited = now.duration_since(ended);
        let quiet = now.duration_since(ended.max(self.busy));
        let nothing_more = measurement.awaited() == 0 || self.hopeless(site);
        let cut_short = if nothing_more && quiet >= self.linger() || waited >= self.timeout + TICK {
            None
        } else if site.control.waiting_stopped() {
            Some(waited)
        } else {
            return None;
        };
        Self::publish(measurement, trouble, site);
        if let Some(mut recorder) = site.recorder() {
            recorder.retire(site.worker);
        }
        Some(Ending {
            clock_steps: self.giving_up.steps.total(),
            cut_short,
        })
    }

    /// Whether the network said, to whichever worker, that the target cannot be reached, and nothing
    /// came here that says otherwise.
    fn hopeless(&self, site: &Site<'_>) -> bool {
        !self.answered && site.control.progress().icmp.unreachable() > 0
    }

    /// How long to wait for duplicates of the last replies.
    fn linger(&self) -> Duration {
        let longest = u64::try_from(self.longest.nanos()).unwrap_or(0);
        let twice = Duration::from_nanos(longest.saturating_mul(2));
        twice.max(LINGER_MIN).min(self.timeout)
    }

    fn publish(measurement: &Measurement, trouble: &Trouble, site: &Site<'_>) {
        let counts = measurement.counts();
        let progress = Progress {
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost().saturating_sub(measurement.awaited()),
            icmp: trouble.icmp,
        };
        site.control.publish(site.worker, progress);
    }
}

/// What a worker shares with the others and with whoever watches.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Number of the worker, from 0.
    pub worker: usize,
    /// Stops the run and shows its progress.
    pub control: &'a Control,
    /// What is kept over time; `None` when nothing is.
    pub recorder: Option<&'a Mutex<Recorder>>,
}

impl<'a> Site<'a> {
    /// The recorder, if there is one. A worker that panicked while it had it spoils the run anyway.
    pub fn recorder(&self) -> Option<MutexGuard<'a, Recorder>> {
        let recorder = self.recorder?;
        Some(recorder.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use wire::time::Utc;

    use super::*;
    use crate::flight;
    use crate::matching::Numbering;
    use crate::measure::Terms;

    const T1: i64 = 1_700_000_000_000_000_000;

    #[test]
    fn probes_are_given_up_by_monotonic_time_when_the_clock_is_set() {
        const HOUR: i64 = 3_600_000_000_000;
        let at =
            |millis: u32, step: i64| Utc::from_nanos(T1 + i64::from(millis) * 1_000_000 + step);
        for step in [HOUR, -HOUR] {
            let (mut departures, departed) = flight::open(64).unwrap();
            let terms = Terms {
                sessions: 1,
                histograms: 0,
                timeout: Nanos::from_nanos(10_000_000),
                ttl: 255,
                numbering: Numbering::ALL,
            };
            let mut measurement = Measurement::new(terms, departed).unwrap();
            let mut giving_up = GivingUp::new(Duration::from_millis(10));
            let mut awaited_after = |millis: u32, step: i64, measurement: &mut Measurement| {
                let reading = Reading {
                    utc: at(millis, step),
                    monotonic: Duration::from_millis(millis.into()),
                };
                measurement.notice();
                giving_up.tick(reading, measurement, None);
                measurement.awaited()
            };
            departures.announce(1, at(0, 0));
            assert_eq!(awaited_after(0, 0, &mut measurement), 1);
            departures.announce(1, at(1, 0));
            assert_eq!(awaited_after(2, step, &mut measurement), 2, "{step}");
            departures.announce(1, at(3, step));
            assert_eq!(awaited_after(12, step, &mut measurement), 3, "{step}");
            assert_eq!(awaited_after(13, step, &mut measurement), 1, "{step}");
            assert_eq!(awaited_after(14, step, &mut measurement), 0, "{step}");
            assert_eq!(giving_up.steps.total(), Nanos::from_nanos(HOUR));
        }
    }
}
