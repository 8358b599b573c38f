//! The live line on a terminal.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::config::Config;
use crate::control::Progress;
use crate::report::units;

/// Time between two drawings of the line.
const REDRAW: Duration = Duration::from_millis(200);

/// A line on standard error that says how the run stands. Nothing when standard error is no
/// terminal or the user asked for quiet.
#[derive(Debug)]
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    packets: u64,
    drawn: Option<Instant>,
}

impl ProgressLine {
    /// The line for a run.
    pub fn new(config: &Config) -> Self {
        let watched = !config.quiet && stderr().is_terminal();
        let bar = watched.then(|| {
            let bar = ProgressBar::new_spinner();
            // The template is a constant; should it not parse, the default one serves.
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            packets: config.limit.packets,
            drawn: None,
        }
    }

    /// Shows how the run stands, five times a second at most.
    pub fn show(&mut self, progress: Progress) {
        let Some(bar) = &self.bar else { return };
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.drawn = Some(Instant::now());
            bar.set_message(line(progress, self.packets));
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: Progress, packets: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let last = progress
        .last_round_trip
        .map_or_else(|| "-".to_owned(), |nanos| units::time(nanos as f64));
    format!(
        "sent {} of {}  received {}  lost {}  last RTT {last}",
        units::count(progress.sent),
        units::count(packets),
        units::count(progress.received),
        units::count(progress.lost),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_the_run_stands() {
        let progress = Progress {
            sent: 12_000,
            received: 11_998,
            lost: 2,
            last_round_trip: Some(31_250),
        };
        assert_eq!(
            line(progress, 50_000),
            "sent 12 000 of 50 000  received 11 998  lost 2  last RTT 31.25 µs"
        );
        let progress = Progress {
            last_round_trip: None,
            ..progress
        };
        assert!(line(progress, 50_000).ends_with("last RTT -"));
    }
}
