//! Options that say what is done with the results.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// What is done with the results.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Write the results as JSON to a file, or to standard output if FILE is - (the table then
    /// goes to standard error)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the results as one HTML page with charts
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Write a row per interval as CSV, once its replies have had their time
    #[arg(long, value_name = "FILE")]
    pub csv_intervals: Option<PathBuf>,

    /// Write a row per packet as CSV, when its fate is known
    #[arg(long, value_name = "FILE")]
    pub csv_packets: Option<PathBuf>,

    /// Write the delays per interval as a HdrHistogram log
    #[arg(long, value_name = "FILE")]
    pub hdr_log: Option<PathBuf>,

    /// Print a line per interval of this length; it is also the interval of --csv-intervals and
    /// --hdr-log, which is 1s otherwise
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub interval_report: Option<Duration>,

    /// Show a table of the sessions, and list them in the JSON document
    #[arg(long)]
    pub per_session: bool,

    /// Sessions, the first ones, whose percentiles come from a histogram and are within 0.1 %; those
    /// of the others are within 11 %
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub per_session_histograms: usize,

    /// Exit with status 3 if this holds at the end, like 'loss>0.1%' or 'rtt.p99>500us'; may be
    /// given more than once
    #[arg(long, value_name = "LIMIT")]
    pub fail_if: Vec<crate::limits::Limit>,

    /// No live view, no table: errors, files and the exit status only
    #[arg(long, short)]
    pub quiet: bool,
}
