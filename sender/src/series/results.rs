//! What is kept, for people: a table of the last results, and the history of each test.

use std::fmt::Write as _;

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::style::Style;
use tabled::settings::{Alignment, Modify, Padding};

use super::entry::{Entry, time};
use crate::cli::one_line;
use crate::report::units;

/// A test and its results.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The series.
    pub series: String,
    /// The test.
    pub test: String,
    /// The results, oldest first.
    pub entries: Vec<Entry>,
}

/// What there is when nothing was measured.
const NOTHING: &str = "-";

/// Columns of a result.
const FIGURES: [&str; 8] = [
    "sent", "lost", "loss", "rtt min", "avg", "p99", "max", "jitter",
];

/// The last result of each test and how its thresholds stand, with a line feed at the end.
pub fn summary(tests: &[Kept]) -> String {
    let mut rows = Builder::new();
    rows.push_record(
        ["test", "target", "last test", "result"]
            .into_iter()
            .chain(FIGURES),
    );
    for kept in tests {
        let name = format!("{}/{}", kept.series, kept.test);
        let Some(last) = kept.entries.last() else {
            rows.push_record([name, NOTHING.to_owned(), "none yet".to_owned()]);
            continue;
        };
        let head = [
            name,
            one_line(&last.target),
            last.end.to_string(),
            last.verdict.to_string(),
        ];
        rows.push_record(head.into_iter().chain(figures(last)));
    }
    let mut text = lay_out(rows, 4);
    let notes: Vec<String> = tests.iter().filter_map(notes).collect();
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes.concat());
    }
    text
}

/// All results of each test, the last one at the bottom, with a line feed at the end.
pub fn history(tests: &[Kept]) -> String {
    let each = tests.iter().map(|kept| {
        let target = kept
            .entries
            .last()
            .map(|last| format!(", target {}", one_line(&last.target)));
        let results = units::counted(kept.entries.len() as u64, "result", "results");
        let mut text = format!(
            "{}/{}{}: {results}\n",
            kept.series,
            kept.test,
            target.unwrap_or_default()
        );
        if !kept.entries.is_empty() {
            let mut rows = Builder::new();
            rows.push_record(
                ["start", "result"]
                    .into_iter()
                    .chain(FIGURES)
                    .chain(["missed"]),
            );
            for entry in &kept.entries {
                let head = [entry.start.to_string(), entry.verdict.to_string()];
                let missed = units::count(entry.starts_missed);
                rows.push_record(head.into_iter().chain(figures(entry)).chain([missed]));
            }
            text.push_str(&lay_out(rows, 2));
            text.push_str(&notes(kept).unwrap_or_default());
        }
        text
    });
    each.collect::<Vec<_>>().join("\n")
}

/// The figures of a result, in the order of [`FIGURES`].
fn figures(entry: &Entry) -> [String; 8] {
    let nothing = || NOTHING.to_owned();
    let Some(figures) = &entry.figures else {
        return std::array::from_fn(|_| nothing());
    };
    let [min, avg, p99, max] = match figures.rtt_ns {
        Some(rtt) => [
            time(rtt.min),
            units::time(rtt.mean),
            time(rtt.p99),
            time(rtt.max),
        ],
        None => std::array::from_fn(|_| nothing()),
    };
    [
        units::count(figures.sent),
        units::count(figures.lost),
        figures.loss_ratio.map_or_else(nothing, units::percent),
        min,
        avg,
        p99,
        max,
        figures.jitter_rfc3550_ns.map_or_else(nothing, units::time),
    ]
}

/// Why the last test of a name failed and how its thresholds stand, a line each; `None` if there is
/// neither.
fn notes(kept: &Kept) -> Option<String> {
    let last = kept.entries.last()?;
    let name = format!("{}/{}", kept.series, kept.test);
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let Some(problem) = &last.problem {
        let _ = writeln!(text, "{name}: {}: {}", last.verdict, one_line(problem));
    }
    for state in &last.thresholds {
        let how = if state.crossed {
            "crossed"
        } else {
            "not crossed"
        };
        let _ = write!(
            text,
            "{name}: {} {how} since {}",
            one_line(&state.threshold),
            state.since
        );
        let _ = match &state.problem {
            Some(problem) => writeln!(text, ": {}", one_line(problem)),
            None => writeln!(text),
        };
    }
    (!text.is_empty()).then_some(text)
}

/// Columns of text under each other: the first `words` to the left, figures to the right.
fn lay_out(rows: Builder, words: usize) -> String {
    let columns = rows.count_columns();
    let mut table = rows.build();
    table.with(Style::empty()).with(Padding::new(0, 3, 0, 0));
    table.with(Modify::new(Columns::new(words.min(columns)..columns)).with(Alignment::right()));
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::entry::Verdict;
    use crate::series::entry::tests::entry;

    fn kept(test: &str, entries: Vec<Entry>) -> Kept {
        Kept {
            series: "lab".to_owned(),
            test: test.to_owned(),
            entries,
        }
    }

    #[test]
    fn the_summary_reads_well() {
        let mut failed = entry("edge", 1_000_000_060);
        failed.figures = None;
        failed.thresholds.clear();
        failed.verdict = Verdict::Failed;
        failed.problem = Some("cannot resolve 'x'".to_owned());
        let tests = [
            kept("core", vec![entry("core", 1_000_000_000)]),
            kept("edge", vec![failed]),
            kept("new", vec![]),
        ];
        let expected = "\
test       target                  last test              result    sent   lost       loss    rtt min        avg        p99        max     jitter
lab/core   reflector.example:862   2001-09-09T01:46:40Z   crossed      4      1   25.000 %   1.000 ms   2.333 ms   4.000 ms   4.000 ms   183.6 µs
lab/edge   reflector.example:862   2001-09-09T01:47:40Z   failed       -      -          -          -          -          -          -          -
lab/new    -                       none yet

lab/core: loss > 1 % crossed since 2001-09-09T01:46:40Z: loss is 25.000 %, above the limit of 1 %
lab/core: rtt.max > 5 ms not crossed since 2001-09-09T01:46:40Z
lab/edge: failed: cannot resolve 'x'
";
        assert_eq!(summary(&tests), expected);
    }

    #[test]
    fn a_history_has_a_line_for_each_result() {
        let mut late = entry("core", 1_000_000_120);
        late.starts_missed = 1;
        let tests = [
            kept("core", vec![entry("core", 1_000_000_000), late]),
            kept("new", vec![]),
        ];
        let text = history(&tests);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "lab/core, target reflector.example:862: 2 results"
        );
        assert!(lines[1].starts_with("start ") && lines[1].ends_with("missed"));
        assert!(lines[2].starts_with("2001-09-09T01:46:40Z   crossed") && lines[2].ends_with(" 0"));
        assert!(lines[3].starts_with("2001-09-09T01:48:40Z") && lines[3].ends_with(" 1"));
        assert!(lines[4].starts_with("lab/core: loss > 1 % crossed since"));
        assert_eq!(lines[6..], ["", "lab/new: 0 results"]);
    }
}
