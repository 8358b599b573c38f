//! Options that say when probes leave.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::config::values::{Rate, Share};
use crate::ramp::RampRange;
use crate::schedule::TOLERANCE_FLOOR;
use crate::seed::Seed;

/// When probes leave.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Send times")]
pub struct TimingArgs {
    /// Packets per second over all sessions, like 0.1, 500, 20k or 1.5M; or max, as fast as it goes
    /// [default: 10]
    #[arg(long, value_name = "PPS", conflicts_with = "interval")]
    pub rate: Option<Rate>,

    /// Time between packets over all sessions, like 20ms; the other way to give --rate
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub interval: Option<Duration>,

    /// Packets to send over all sessions.
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "duration",
        help = format!(
            "Packets to send over all sessions [default: 100]; a send time that passes while this \
             machine is busy is skipped, never made up for by a burst, and replaced by one at the \
             end; packets less than an interval late, or less than {}, are still sent, so that \
             such packets may bunch",
            humantime::format_duration(TOLERANCE_FLOOR)
        )
    )]
    pub count: Option<i64>,

    /// How long to send, like 5s or 2m, instead of --count; send times skipped are replaced within
    /// a tenth of that at most
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,

    /// Send times: periodic; poisson, random with the rate as mean (RFC 2330); or owamp, random as
    /// RFC 4656 section 5 computes it from --seed, the same for whoever knows the seed
    #[arg(long, value_enum, value_name = "KIND", default_value = "periodic")]
    pub schedule: ScheduleArg,

    /// What random send times and random padding follow from, up to 32 hexadecimal digits
    /// [default: a new one, shown in the report]
    #[arg(long, value_name = "HEX")]
    pub seed: Option<Seed>,

    /// Begin a periodic schedule at a random time within its first interval (RFC 3432)
    #[arg(long)]
    pub random_start: bool,

    /// Search for the highest rate without loss: rates from FROM to TO packets/s in steps of STEP,
    /// each for DWELL, then between the last that passed and the first that failed, like
    /// 10k:200k:10k:5s (RFC 2544 section 26.1)
    #[arg(
        long,
        value_name = "FROM:TO:STEP:DWELL",
        conflicts_with_all = ["rate", "interval", "count", "duration", "random_start",
            "csv_intervals", "csv_packets", "hdr_log", "report", "interval_report", "per_session",
            "fail_if"]
    )]
    pub ramp: Option<RampRange>,

    /// Share of the packets that a trial of --ramp may lose, like 0.1%
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub loss_limit: Share,

    /// Packets that leave together at each send time; the rate stays what it is
    #[arg(long, value_name = "N", default_value = "1", value_parser = burst)]
    pub burst: NonZeroU32,
}

fn burst(text: &str) -> Result<NonZeroU32, String> {
    let refused = |_| "write a number of packets, 1 or more".to_owned();
    text.parse().map_err(refused)
}

/// `--schedule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScheduleArg {
    /// Equal intervals.
    Periodic,
    /// Exponential intervals.
    Poisson,
    /// Those of RFC 4656.
    Owamp,
}
