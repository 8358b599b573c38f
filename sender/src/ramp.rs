//! The highest rate a path carries without losing more than it may: a search like the throughput
//! test of RFC 2544 section 26.1.
//!
//! Rates rise in steps until a trial fails, then the range between the last that passed and the
//! first that failed is halved until it is small enough. A pure state machine: it names the rates,
//! the caller runs the trials.

use std::str::FromStr;
use std::time::Duration;

use crate::schedule::Pace;
use crate::schedule::pace::PaceError;

/// Rates a search climbs through at most.
pub const STEPS_MAX: u32 = 10_000;
/// Share of the rate asked for that has to leave for a trial to say something of the path.
const ACHIEVED_MIN: f64 = 0.99;
/// Trials at one rate in which the sender does not do its part before the search takes that for its
/// limit: a machine may pause once.
const TRIES: usize = 3;
/// A search ends when it has found the rate to this part of a step …
const RESOLUTION_STEP: f64 = 1.0 / 16.0;
/// … or to this share of the rate, whichever is coarser.
const RESOLUTION_SHARE: f64 = 0.01;

/// The rates to search, `FROM:TO:STEP:DWELL`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RampRange {
    /// The lowest rate, the first to be tried.
    pub from: Pace,
    /// The highest rate that is tried.
    pub to: Pace,
    /// What the rate rises by.
    pub step: Pace,
    /// How long each trial sends.
    pub dwell: Duration,
}

/// Why a text is no ramp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RampError {
    /// Not four parts.
    #[error("'{0}' is no ramp: write FROM:TO:STEP:DWELL, like 10k:200k:10k:5s")]
    Parts(String),
    /// One of the rates is none.
    #[error("{part}: {error}")]
    Rate {
        /// FROM, TO or STEP.
        part: &'static str,
        /// What is wrong with it.
        error: PaceError,
    },
    /// The time is none.
    #[error("DWELL: '{0}' is no time above zero, like 5s or 500ms")]
    Dwell(String),
    /// The end lies below the start.
    #[error("TO is below FROM: rates rise")]
    Falling,
    /// The step is too small for the range.
    #[error("STEP is too small: {STEPS_MAX} steps lead from FROM to TO at most")]
    Steps,
}

impl FromStr for RampRange {
    type Err = RampError;

    /// Accepts `FROM:TO:STEP:DWELL`: three rates as [`Pace`] reads them, and a time.
    fn from_str(text: &str) -> Result<Self, RampError> {
        let parts: Vec<_> = text.split(':').collect();
        let &[from, to, step, dwell] = parts.as_slice() else {
            return Err(RampError::Parts(text.to_owned()));
        };
        let rate = |part, text: &str| {
            text.parse::<Pace>()
                .map_err(|error| RampError::Rate { part, error })
        };
        let range = Self {
            from: rate("FROM", from)?,
            to: rate("TO", to)?,
            step: rate("STEP", step)?,
            dwell: humantime::parse_duration(dwell)
                .ok()
                .filter(|dwell| !dwell.is_zero())
                .ok_or_else(|| RampError::Dwell(dwell.to_owned()))?,
        };
        let climb = range.to.per_second() - range.from.per_second();
        if climb < 0.0 {
            return Err(RampError::Falling);
        }
        if climb / range.step.per_second() > f64::from(STEPS_MAX) {
            return Err(RampError::Steps);
        }
        Ok(range)
    }
}

/// What happened at one rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// The rate asked for, in packets per second.
    pub asked: f64,
    /// The rate at which packets left; `None` if it cannot be told, below two bursts.
    pub achieved: Option<f64>,
    /// Packets that left.
    pub sent: u64,
    /// Packets answered in time, each counted once.
    pub received: u64,
    /// Packets of the schedule that did not leave: skipped, or no room for them, or refused.
    pub skipped: u64,
}

/// What a trial says of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It carries this rate.
    Passed,
    /// It lost more than it may.
    Failed,
    /// Nothing: the sender itself did not send what was asked for.
    Inconclusive,
}

impl Trial {
    /// Share of the packets sent that were not answered in time, 0 to 1; `None` if none was sent.
    #[expect(clippy::cast_precision_loss, reason = "a ratio is reported as a float")]
    pub fn loss(&self) -> Option<f64> {
        let lost = self.sent.saturating_sub(self.received);
        (self.sent > 0).then(|| lost as f64 / self.sent as f64)
    }

    /// Share of the packets of the schedule that did not leave, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a ratio is reported as a float")]
    fn skipped_share(&self) -> f64 {
        let places = self.sent.saturating_add(self.skipped);
        if places == 0 {
            return 0.0;
        }
        self.skipped as f64 / places as f64
    }

    /// What the trial says if a share of `loss_limit` may be lost.
    ///
    /// Whether the sender did its part is judged first: what is lost of a stream that came in fits
    /// and starts may be lost for just that. A hundredth may be missing: a machine that pauses for a
    /// moment now and then would find no rate at all otherwise. It does not grow with what the path
    /// may lose: a rate passes only if it was sent.
    pub fn verdict(&self, loss_limit: f64) -> Verdict {
        let slow = self
            .achieved
            .is_some_and(|achieved| achieved < self.asked * ACHIEVED_MIN);
        if slow || self.skipped_share() > 1.0 - ACHIEVED_MIN {
            return Verdict::Inconclusive;
        }
        match self.loss() {
            None => Verdict::Inconclusive,
            Some(loss) if loss > loss_limit => Verdict::Failed,
            Some(_) => Verdict::Passed,
        }
    }
}

/// What keeps the rate from being higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// The path, or the reflector: the next higher rate tried lost too much.
    Path,
    /// This machine: it did not send the next higher rate as asked.
    Sender,
    /// Nothing: the highest rate of the range passed.
    RangeEnd,
    /// The search was stopped before it was over.
    Stopped,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct RampResult {
    /// The highest rate that passed, in packets per second; `None` if none did.
    pub best: Option<f64>,
    /// The lowest rate that the path failed at, in packets per second.
    pub failed: Option<f64>,
    /// Why it is not higher.
    pub limited_by: LimitedBy,
    /// All trials in order, and what they say.
    pub trials: Vec<(Trial, Verdict)>,
}

/// Where the search stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// This is the next rate of the climb, by its number of steps from the first.
    Climbing(u32),
    /// Between a rate that passed and one that failed.
    Halving,
    /// Over, for this reason.
    Over(LimitedBy),
}

/// A search for the highest rate.
#[derive(Debug, Clone)]
pub struct Ramp {
    range: RampRange,
    loss_limit: f64,
    state: State,
    passed: Option<f64>,
    failed: Option<f64>,
    trials: Vec<(Trial, Verdict)>,
}

impl Ramp {
    /// A search in which a share of `loss_limit` of the packets, 0 to 1, may be lost.
    pub fn new(range: RampRange, loss_limit: f64) -> Self {
        Self {
            range,
            loss_limit,
            state: State::Climbing(0),
            passed: None,
            failed: None,
            trials: Vec::new(),
        }
    }

    /// The rate of the next trial; `None` when the search is over. It stays the same until
    /// [`Ramp::record`] is told of the trial.
    pub fn next_rate(&self) -> Option<Pace> {
        let rate = match self.state {
            State::Over(_) => return None,
            State::Climbing(steps) => self.climbed(steps),
            State::Halving => f64::midpoint(self.passed?, self.failed?),
        };
        // Between the rates of the range, which are rates.
        Pace::from_rate(rate)
    }

    /// The rate `steps` steps above the first, the last one if it is above that.
    fn climbed(&self, steps: u32) -> f64 {
        let rate = self.range.from.per_second() + f64::from(steps) * self.range.step.per_second();
        rate.min(self.range.to.per_second())
    }

    /// Takes note of a trial at the rate of [`Ramp::next_rate`], and says what it means.
    pub fn record(&mut self, trial: Trial) -> Verdict {
        let verdict = trial.verdict(self.loss_limit);
        self.trials.push((trial, verdict));
        self.state = match (self.state, verdict) {
            (over @ State::Over(_), _) => over,
            (state, Verdict::Inconclusive) if self.tries() < TRIES => state,
            (_, Verdict::Inconclusive) => State::Over(LimitedBy::Sender),
            (_, Verdict::Failed) => {
                self.failed = Some(trial.asked);
                self.halve()
            }
            (state, Verdict::Passed) => {
                self.passed = Some(trial.asked);
                match state {
                    State::Climbing(steps) => self.climb(steps),
                    _ => self.halve(),
                }
            }
        };
        verdict
    }

    /// How many trials said nothing since the last one that did.
    fn tries(&self) -> usize {
        let trials = self.trials.iter().rev();
        trials
            .take_while(|&&(_, verdict)| verdict == Verdict::Inconclusive)
            .count()
    }

    /// The state after a rate of the climb has passed.
    fn climb(&self, steps: u32) -> State {
        if self.climbed(steps) >= self.range.to.per_second() {
            State::Over(LimitedBy::RangeEnd)
        } else {
            State::Climbing(steps + 1)
        }
    }

    /// The state after a rate has failed, or passed below one that has.
    fn halve(&self) -> State {
        match (self.passed, self.failed) {
            (Some(passed), Some(failed)) if failed - passed > self.resolution(failed) => {
                State::Halving
            }
            // Below the first rate nothing is tried.
            _ => State::Over(LimitedBy::Path),
        }
    }

    /// How close to `rate` is close enough, in packets per second.
    fn resolution(&self, rate: f64) -> f64 {
        let step = self.range.step.per_second() * RESOLUTION_STEP;
        step.max(rate * RESOLUTION_SHARE)
    }

    /// What the search has found so far.
    pub fn result(&self) -> RampResult {
        RampResult {
            best: self.passed,
            failed: self.failed,
            limited_by: match self.state {
                State::Over(reason) => reason,
                State::Climbing(_) | State::Halving => LimitedBy::Stopped,
            },
            trials: self.trials.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
