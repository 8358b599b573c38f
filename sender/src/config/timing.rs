//! When probes leave, checked.

use std::num::NonZeroU32;
use std::time::Duration;

use super::values::Rate;
use super::{ConfigError, DEFAULT_COUNT, DEFAULT_RATE, refuse};
use crate::args::{ScheduleArg, TimingArgs};
use crate::ramp::RampRange;
use crate::schedule::pace::RATE_MAX;
use crate::schedule::{Limit, Pace, Times, periodic};
use crate::seed::Seed;

/// When probes leave.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// The time process.
    pub times: Times,
    /// Packets per slot of it.
    pub burst: NonZeroU32,
    /// When sending ends.
    pub limit: Limit,
    /// What chance follows from.
    pub seed: Seed,
    /// Whether anything does, so that the seed is worth showing.
    pub random: bool,
    /// A search for the highest rate, of which this is the first trial.
    pub ramp: Option<RampPlan>,
}

/// A search for the highest rate without loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RampPlan {
    /// The rates.
    pub range: RampRange,
    /// Share of the packets that may be lost, 0 to 1.
    pub loss_limit: f64,
}

impl Timing {
    pub(super) fn new(args: &TimingArgs, seed: Seed) -> Result<Self, ConfigError> {
        if args.ramp.is_none() && args.loss_limit.ratio() > 0.0 {
            return refuse(
                "--loss-limit",
                "goes with --ramp only; --fail-if sets a limit for other runs",
            );
        }
        let times = times(args, seed)?;
        let timing = Self {
            times,
            burst: args.burst,
            limit: limit(args, &times)?,
            seed,
            random: args.random_start || args.schedule != ScheduleArg::Periodic,
            ramp: args.ramp.map(|range| RampPlan {
                range,
                loss_limit: args.loss_limit.ratio(),
            }),
        };
        // The fastest trial is the one that must fit in memory.
        Ok(match args.ramp {
            Some(range) => timing.at(range.to, range.dwell),
            None => timing,
        })
    }

    /// The same at another rate, for a number of packets that takes `dwell`.
    #[must_use]
    pub fn at(&self, pace: Pace, dwell: Duration) -> Self {
        let times = match self.times {
            Times::Poisson { seed, .. } => Times::Poisson { pace, seed },
            Times::Owamp { sid, .. } => Times::Owamp { pace, sid },
            Times::Periodic { .. } | Times::Max => Times::periodic(pace),
        };
        Self {
            times,
            limit: Limit::duration(&times, dwell),
            ..self.clone()
        }
    }

    /// Packets per second asked for; `None` as fast as it goes.
    pub fn per_second(&self) -> Option<f64> {
        self.times.pace().map(Pace::per_second)
    }
}

fn times(args: &TimingArgs, seed: Seed) -> Result<Times, ConfigError> {
    let Some(pace) = pace(args)? else {
        if args.schedule != ScheduleArg::Periodic || args.random_start {
            return refuse(
                "--rate",
                "max has no send times, so neither --schedule nor --random-start goes with it",
            );
        }
        if args.burst.get() > 1 {
            return refuse(
                "--burst",
                "has no meaning with --rate max, which is one burst",
            );
        }
        return Ok(Times::Max);
    };
    if args.random_start && args.schedule != ScheduleArg::Periodic {
        return refuse(
            "--random-start",
            "goes with --schedule periodic only: the others are random anyway",
        );
    }
    Ok(match args.schedule {
        ScheduleArg::Periodic => Times::Periodic {
            pace,
            offset: if args.random_start {
                periodic::random_start(seed, pace.interval().saturating_mul(args.burst.get()))
            } else {
                Duration::ZERO
            },
        },
        ScheduleArg::Poisson => Times::Poisson { pace, seed },
        ScheduleArg::Owamp => Times::Owamp { pace, sid: seed },
    })
}

/// The pace; `None` as fast as it goes.
fn pace(args: &TimingArgs) -> Result<Option<Pace>, ConfigError> {
    if let Some(interval) = args.interval {
        if interval.is_zero() {
            return refuse("--interval", "must be above zero");
        }
        let pace = Pace::from_interval(interval).filter(|pace| pace.per_second() <= RATE_MAX);
        return pace.map_or_else(
            || refuse("--interval", "must be 100ns to 584 years"),
            |pace| Ok(Some(pace)),
        );
    }
    let rate = match args.rate {
        Some(Rate::Max) => return Ok(None),
        Some(Rate::Fixed(rate)) => rate,
        None => DEFAULT_RATE,
    };
    // The range was checked when the option was read.
    Pace::from_rate(rate).map_or_else(
        || refuse("--rate", "is out of range"),
        |pace| Ok(Some(pace)),
    )
}

fn limit(args: &TimingArgs, times: &Times) -> Result<Limit, ConfigError> {
    match (args.count, args.duration) {
        (Some(count), _) if count < 1 => refuse("--count", "must be at least 1"),
        (_, Some(duration)) if duration.is_zero() => refuse("--duration", "must be above zero"),
        (Some(count), _) => Ok(Limit::packets(count.unsigned_abs())),
        (None, Some(duration)) => Ok(Limit::duration(times, duration)),
        (None, None) => Ok(Limit::packets(DEFAULT_COUNT)),
    }
}
