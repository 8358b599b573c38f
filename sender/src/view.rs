//! What a run shows while it goes on, on standard error: three lines that follow it on a terminal,
//! and a line for each interval if asked for.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::time::Duration;

use console::{Term, style, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wire::time::Nanos;

use crate::measure::distribution::Summary;
use crate::measure::interval::Interval;
use crate::report::units;

/// Seconds that the sparkline shows.
const SPARKS: usize = 60;

/// How a run stands, to be shown about five times a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Live {
    /// Since the start.
    pub elapsed: Duration,
    /// How long the run is to last, if that is known.
    pub planned: Option<Duration>,
    /// Probes sent.
    pub sent: u64,
    /// Probes answered in time.
    pub received: u64,
    /// Probes given up so far.
    pub lost: u64,
    /// Round-trip times of the last second ([`crate::measure::recent::Recent`]).
    pub last_second: Option<Summary>,
}

/// The view of a run.
#[derive(Debug)]
pub struct View {
    /// The lines on the terminal, if there is one.
    bar: Option<ProgressBar>,
    history: History,
}

/// What [`Live`] says of one moment only.
#[derive(Debug, Default)]
struct History {
    /// When how many had been sent, for about a second.
    sent: VecDeque<(Duration, u64)>,
    /// Median round trip of each second, the latest last.
    medians: VecDeque<Option<Nanos>>,
    /// When the next of these is due.
    due: Duration,
}

impl View {
    /// The view of a run: on standard error if that is a terminal, unless `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self::on((!quiet && stderr().is_terminal()).then(ProgressDrawTarget::stderr))
    }

    fn on(target: Option<ProgressDrawTarget>) -> Self {
        let bar = target.map(|target| {
            let bar = ProgressBar::with_draw_target(None, target);
            // The template is a constant; should it not parse, the default one serves.
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            history: History::default(),
        }
    }

    /// Forgets what it showed: another run begins.
    pub fn begin(&mut self) {
        self.history = History::default();
    }

    /// Shows how the run stands. Nothing without a terminal.
    pub fn show(&mut self, live: &Live) {
        let Some(bar) = &self.bar else { return };
        self.history.note(live);
        // One column is left free, or some terminals begin a new line.
        let width = usize::from(Term::stderr().size().1).saturating_sub(1);
        let lines = lines(live, &self.history);
        let lines = lines.iter().map(|line| truncate_str(line, width, "…"));
        bar.set_message(lines.collect::<Vec<_>>().join("\n"));
    }

    /// Whether there is a view.
    pub fn is_live(&self) -> bool {
        self.bar.is_some()
    }

    /// Prints a line, above the view if there is one.
    pub fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // Whoever closed standard error does not want to know.
            None => drop(writeln!(stderr(), "{line}")),
        }
    }

    /// Takes the view away. Dropping it does so as well, and a panic; the terminal is in no other
    /// mode meanwhile, so that even a killed run leaves nothing but these lines.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.clear();
    }
}

impl History {
    fn note(&mut self, live: &Live) {
        self.sent.push_back((live.elapsed, live.sent));
        // The oldest is kept until the second is full without it.
        while let Some(&(second, _)) = self.sent.get(1)
            && live.elapsed.saturating_sub(second) >= Duration::from_secs(1)
        {
            self.sent.pop_front();
        }
        if live.elapsed >= self.due {
            self.due = live.elapsed + Duration::from_secs(1);
            self.medians
                .push_back(live.last_second.map(|summary| summary.p50));
            if self.medians.len() > SPARKS {
                self.medians.pop_front();
            }
        }
    }

    /// Packets per second in the last second; `None` at the start.
    fn rate(&self) -> Option<f64> {
        let (&(from, before), &(to, after)) = (self.sent.front()?, self.sent.back()?);
        #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
        let sent = after.saturating_sub(before) as f64;
        let seconds = to.saturating_sub(from).as_secs_f64();
        (seconds > 0.0).then(|| sent / seconds)
    }
}

fn lines(live: &Live, history: &History) -> [String; 3] {
    [
        counts(live, history.rate()),
        round_trip(live.last_second),
        sparkline(&history.medians),
    ]
}

fn counts(live: &Live, rate: Option<f64>) -> String {
    let elapsed = clock(live.elapsed);
    let time = live.planned.map_or_else(
        || elapsed.clone(),
        |planned| format!("{elapsed} of {}", clock(planned)),
    );
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let ratio = live.lost as f64 / (live.received + live.lost).max(1) as f64;
    let lost = format!(
        "lost {} ({})",
        units::count(live.lost),
        units::percent(ratio)
    );
    let lost = style(lost).for_stderr();
    let lost = if live.lost > 0 {
        lost.red().bold()
    } else {
        lost
    };
    format!(
        "{time}   sent {}   {lost}   received {}   {}",
        units::count(live.sent),
        units::count(live.received),
        rate.map_or_else(|| "-".to_owned(), |rate| units::rate(whole_above_ten(rate))),
    )
}

/// Fractions of a packet per second flicker and say nothing, unless there are few.
fn whole_above_ten(rate: f64) -> f64 {
    if rate >= 10.0 {
        rate.round()
    } else {
        (rate * 10.0).round() / 10.0
    }
}

fn round_trip(last_second: Option<Summary>) -> String {
    let Some(Summary { p50, p99, max, .. }) = last_second else {
        return "RTT     no reply in the last second".to_owned();
    };
    let [p50, p99, max] = [p50, p99, max].map(time);
    format!("RTT     p50 {p50}   p99 {p99}   max {max}   in the last second")
}

/// The medians of the last minute as bars, with the range they span.
fn sparkline(medians: &VecDeque<Option<Nanos>>) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let nanos = || medians.iter().flatten().map(|median| median.nanos());
    let (Some(low), Some(high)) = (nanos().min(), nanos().max()) else {
        return String::new();
    };
    // A change of less than a tenth is no mountain.
    let range = (i128::from(high) - i128::from(low)).max(i128::from(high.unsigned_abs() / 10));
    let bars: String = medians
        .iter()
        .map(|median| {
            let Some(median) = median else { return '·' };
            let above = i128::from(median.nanos()) - i128::from(low);
            let bar = above * 7 / range.max(1);
            usize::try_from(bar)
                .ok()
                .and_then(|bar| BARS.get(bar).copied())
                .unwrap_or('█')
        })
        .collect();
    let bars = style(bars).for_stderr().cyan();
    let [low, high] = [low, high].map(|nanos| time(Nanos::from_nanos(nanos)));
    let span = if low == high {
        low
    } else {
        format!("{low} to {high}")
    };
    format!("{bars}   p50 of each second, {span}")
}

/// The names of the columns of [`interval_line`].
pub fn interval_head() -> String {
    format!(
        "{:>17} {:>11} {:>11} {:>9} {:>9} {:>10} {:>10} {:>10} {:>10}",
        "interval", "sent", "received", "lost", "loss", "RTT min", "p50", "p99", "max"
    )
}

/// An interval as a line of columns; what seldom happens comes after them.
pub fn interval_line(interval: &Interval) -> String {
    let start = interval.start.as_secs_f64();
    let end = start + interval.width.as_secs_f64();
    let decimals = if interval.width < Duration::from_secs(1) {
        3
    } else {
        1
    };
    let times = interval.round_trip.summary().map_or_else(
        || std::array::from_fn(|_| "-".to_owned()),
        |rtt| [rtt.min, rtt.p50, rtt.p99, rtt.max].map(time),
    );
    let [min, p50, p99, max] = times;
    let mut line = format!(
        "{:>17} {:>11} {:>11} {:>9} {:>9} {min:>10} {p50:>10} {p99:>10} {max:>10}",
        format!("{start:.decimals$}-{end:.decimals$} s"),
        units::count(interval.sent),
        units::count(interval.received),
        units::count(interval.lost),
        interval
            .loss_ratio()
            .map_or_else(|| "-".to_owned(), units::percent),
    );
    for (name, count) in [
        ("late", interval.late),
        ("duplicates", interval.duplicates),
        ("reordered", interval.reordered),
    ] {
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(line, "  {name} {}", units::count(count));
        }
    }
    line
}

#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
fn time(nanos: Nanos) -> String {
    units::time(nanos.nanos() as f64)
}

/// Hours, minutes and seconds, as `1:02:03` or `2:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;
    use wire::time::Utc;

    use super::*;
    use crate::measure::distribution::Distribution;
    use crate::measure::interval::Intervals;

    fn summary(nanos: &[i64]) -> Option<Summary> {
        let mut distribution = Distribution::default();
        for &nanos in nanos {
            distribution.record(Nanos::from_nanos(nanos));
        }
        distribution.summary()
    }

    fn live(elapsed: u64, sent: u64, lost: u64, nanos: &[i64]) -> Live {
        Live {
            elapsed: Duration::from_millis(elapsed),
            planned: Some(Duration::from_secs(600)),
            sent,
            received: sent - lost,
            lost,
            last_second: summary(nanos),
        }
    }

    fn plain(line: &str) -> String {
        console::strip_ansi_codes(line).into_owned()
    }

    #[test]
    fn the_lines_say_how_the_run_stands() {
        let mut history = History::default();
        for tick in 0..=10 {
            history.note(&live(tick * 200, tick * 200, 0, &[300_000]));
        }
        let now = live(62_000, 12_000, 12, &[310_000, 300_000, 420_000]);
        let [counts, round_trip, _] = lines(&now, &history);
        assert_eq!(
            plain(&counts),
            "1:02 of 10:00   sent 12 000   lost 12 (0.100 %)   received 11 988   1 000/s"
        );
        // Within 0.1 % of 310 µs.
        assert_eq!(
            round_trip,
            "RTT     p50 310.0 µs   p99 420.0 µs   max 420.0 µs   in the last second"
        );
        let endless = Live {
            planned: None,
            last_second: None,
            ..now
        };
        let [counts, round_trip, _] = lines(&endless, &History::default());
        assert!(plain(&counts).starts_with("1:02   sent 12 000"), "{counts}");
        assert!(counts.ends_with("   -"), "no rate yet: {counts}");
        assert!(round_trip.contains("no reply"));
    }

    #[test]
    fn another_run_begins_from_nothing() {
        let mut view = View::on(None);
        view.history.note(&live(5_000, 5_000, 0, &[300_000]));
        view.begin();
        view.history.note(&live(0, 0, 0, &[300_000]));
        view.history.note(&live(200, 40, 0, &[300_000]));
        let [counts, ..] = lines(&live(200, 40, 0, &[300_000]), &view.history);
        assert!(plain(&counts).ends_with("200/s"), "{counts}");
    }

    #[test]
    fn the_sparkline_is_the_last_minute() {
        let mut history = History::default();
        assert_eq!(sparkline(&history.medians), "");
        for second in 0..100u32 {
            let nanos = i64::from(second) * 10_000;
            let nanos = if second == 98 { vec![] } else { vec![nanos] };
            for tick in 0..5 {
                let elapsed = u64::from(second) * 1_000 + tick * 200;
                history.note(&live(elapsed, 0, 0, &nanos));
            }
        }
        let line = plain(&sparkline(&history.medians));
        let (bars, range) = line.split_once("   ").unwrap();
        assert_eq!(bars.chars().count(), SPARKS);
        assert!(bars.starts_with('▁') && bars.ends_with("·█"), "{bars}");
        assert_eq!(range, "p50 of each second, 400.0 µs to 990.0 µs");
    }

    #[test]
    fn a_small_change_is_no_mountain() {
        let medians = [100_000, 100_900, 100_000].map(|n| Some(Nanos::from_nanos(n)));
        let line = plain(&sparkline(&VecDeque::from(medians)));
        assert!(line.starts_with("▁▁▁ "), "{line}");
        let medians = [-5, i64::MIN, i64::MAX].map(|n| Some(Nanos::from_nanos(n)));
        let line = plain(&sparkline(&VecDeque::from(medians)));
        assert!(
            line.starts_with("▄▁█ ") || line.starts_with("▃▁█ "),
            "{line}"
        );
    }

    #[test]
    fn an_interval_is_a_line_under_its_columns() {
        let mut intervals = Intervals::new(Duration::from_secs(1), Utc::from_nanos(0));
        let t1 = Utc::from_nanos(1_500_000_000);
        for _ in 0..1_000 {
            intervals.sent(t1);
            intervals.received(t1, Nanos::from_nanos(300_000), None, None);
        }
        intervals.sent(t1);
        intervals.lost(t1);
        intervals.late(t1);
        let closed = intervals.finish(Utc::from_nanos(2_000_000_000));
        let lines: Vec<_> = std::iter::once(interval_head())
            .chain(closed.iter().map(interval_line))
            .collect();
        assert_eq!(
            lines.join("\n"),
            "         interval        sent    received      lost      loss    RTT min        p50        p99        max
        0.0-1.0 s           0           0         0         -          -          -          -          -
        1.0-2.0 s       1 001       1 000         1   0.100 %   300.0 µs   300.0 µs   300.0 µs   300.0 µs  late 1"
        );
    }

    #[test]
    fn the_terminal_is_left_as_it_was() {
        let terminal = InMemoryTerm::new(10, 120);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut view = View::on(Some(target));
        view.show(&live(62_000, 12_000, 12, &[310_000]));
        let shown = terminal.contents();
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.contains("received 11 988"), "{shown}");
        view.print("a line above");
        view.show(&live(63_000, 13_000, 12, &[310_000]));
        let shown = terminal.contents();
        assert!(shown.starts_with("a line above\n1:03 of"), "{shown}");
        drop(view);
        assert_eq!(terminal.contents(), "a line above");
    }
}
