//! The final table.

use std::fmt::Write as _;

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::style::Style;
use tabled::settings::{Alignment, Modify, Padding};

use super::units;
use crate::measure::distribution::Summary;
use crate::outcome::Outcome;

/// The report of a run, several lines with a line feed at the end.
pub fn render(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", headline(outcome));
    let _ = writeln!(text, "\n{}", counts(outcome));
    // Without a reply there is nothing to say of delays and clocks.
    if outcome.counts.received > 0 {
        let _ = writeln!(text, "\n{}", delays(outcome));
        let _ = writeln!(text, "\n{}", facts(outcome));
    } else {
        let _ = writeln!(text, "\nrate  {}", rate(outcome));
    }
    if !outcome.warnings.is_empty() {
        let _ = writeln!(text);
    }
    for warning in &outcome.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn headline(outcome: &Outcome) -> String {
    let Outcome {
        target,
        address,
        source,
        sessions,
        size,
        ..
    } = outcome;
    let resolved = address.to_string();
    let target = if *target == resolved {
        resolved
    } else {
        format!("{target} ({})", address.ip())
    };
    let sessions = units::counted(*sessions as u64, "session", "sessions");
    format!("TWAMP {source} -> {target}, {sessions}, {size} octets of UDP payload")
}

fn counts(outcome: &Outcome) -> String {
    let counts = &outcome.counts;
    let share = |ratio: Option<f64>| ratio.map(units::percent).unwrap_or_default();
    let mut rows = Builder::new();
    let mut row = |name: &str, count: u64, note: String| {
        rows.push_record([name.to_owned(), units::count(count), note]);
    };
    row("sent", counts.sent, String::new());
    row(
        "received",
        counts.received,
        share(counts.loss_ratio().map(|lost| 1.0 - lost)),
    );
    row("lost", counts.lost(), share(counts.loss_ratio()));
    row(
        "duplicates",
        counts.duplicates,
        of_packets(counts.duplicates, counts.replicated),
    );
    row("reordered", counts.reordered, reordering(outcome));
    let timeout = humantime::format_duration(outcome.timeout);
    row(
        "late",
        counts.late,
        format!("after {timeout}, also counted as lost"),
    );
    row("invalid", counts.invalid, String::new());
    row("skipped", outcome.skipped, String::new());
    lay_out(rows)
}

fn of_packets(duplicates: u64, replicated: u64) -> String {
    match duplicates {
        0 => String::new(),
        _ => format!("of {}", units::counted(replicated, "packet", "packets")),
    }
}

fn reordering(outcome: &Outcome) -> String {
    let counts = &outcome.counts;
    match counts.reordered_ratio() {
        Some(ratio) if counts.reordered > 0 => {
            let extent = units::count(counts.reorder_extent_max);
            format!("{}, extent up to {extent}", units::percent(ratio))
        }
        _ => String::new(),
    }
}

fn delays(outcome: &Outcome) -> String {
    let mut rows = Builder::new();
    rows.push_record(["", "min", "mean", "p50", "p90", "p99", "p99.9", "max"]);
    for (name, summary) in [
        ("RTT", outcome.round_trip),
        ("forward", outcome.forward),
        ("backward", outcome.backward),
        ("residence", outcome.residence),
        ("IPDV", outcome.ipdv),
    ] {
        rows.push_record(std::iter::once(name.to_owned()).chain(figures(summary)));
    }
    let received = units::count(outcome.counts.received);
    let mut text = lay_out(rows);
    let _ = write!(
        text,
        "\nover the {received} replies received in time; lost packets have no delay"
    );
    if outcome.one_way_trusted() == Some(false) {
        text.push_str("\nforward, backward: not synchronised: offset between clocks included");
    }
    text
}

/// Minimum, mean, four percentiles and maximum; a dash each when there was no sample.
fn figures(summary: Option<Summary>) -> [String; 7] {
    let Some(Summary {
        min,
        mean,
        p50,
        p90,
        p99,
        p999,
        max,
        ..
    }) = summary
    else {
        return std::array::from_fn(|_| "-".to_owned());
    };
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let time = |nanos: wire::time::Nanos| units::time(nanos.nanos() as f64);
    [
        time(min),
        units::time(mean),
        time(p50),
        time(p90),
        time(p99),
        time(p999),
        time(max),
    ]
}

fn facts(outcome: &Outcome) -> String {
    let peer = &outcome.peer;
    let mut rows = Builder::new();
    let mut row = |name: &str, value: String| rows.push_record([name.to_owned(), value]);
    row(
        "jitter",
        match outcome.jitter {
            Some(jitter) => format!("{} (RFC 3550, of the round trip)", units::time(jitter)),
            None => "- (RFC 3550, needs two replies)".to_owned(),
        },
    );
    row("rate", rate(outcome));
    row(
        "T4",
        format!(
            "{} by the kernel, {} in user space",
            units::count(peer.t4_kernel),
            units::count(peer.t4_user_space)
        ),
    );
    let sender = clock_state(outcome.clock.synchronised, Some(outcome.clock.error_max));
    row("clock here", sender);
    row(
        "clock there",
        match peer.always_synchronised() {
            Some(synchronised) => clock_state(synchronised, peer.error_max),
            None => "unknown: no timestamps from the reflector".to_owned(),
        },
    );
    let mut table = rows.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    trim_lines(&table.to_string())
}

fn rate(outcome: &Outcome) -> String {
    let asked = units::rate(outcome.rate_asked);
    let achieved = outcome
        .rate_achieved
        .map_or_else(|| "-".to_owned(), units::rate);
    let seconds = outcome.duration.as_secs_f64();
    format!("{asked} asked, {achieved} achieved, {seconds:.3} s")
}

/// What a side says of its clock: the S bit and the error of its Error Estimate.
fn clock_state(synchronised: bool, error: Option<u64>) -> String {
    let state = if synchronised {
        "synchronised"
    } else {
        "not synchronised"
    };
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let error = error.map_or_else(
        || "of unknown error".to_owned(),
        |nanos| format!("error up to {}", units::time(nanos as f64)),
    );
    format!("{state}, {error}")
}

/// Columns of text under each other: the first to the left, figures to the right.
fn lay_out(rows: Builder) -> String {
    let columns = rows.count_columns();
    let mut table = rows.build();
    table.with(Style::empty()).with(Padding::new(0, 3, 0, 0));
    let figures = if columns == 3 { 1..2 } else { 1..columns };
    table.with(Modify::new(Columns::new(figures)).with(Alignment::right()));
    trim_lines(&table.to_string())
}

fn trim_lines(text: &str) -> String {
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::sample;

    #[test]
    fn reads_well() {
        let expected = "\
TWAMP 192.0.2.9:40000 -> reflector.example:862 (192.0.2.1), 1 session, 44 octets of UDP payload

sent         4
received     3   75.000 %
lost         1   25.000 %
duplicates   0
reordered    0
late         0   after 2s, also counted as lost
invalid      0
skipped      0

                 min       mean        p50        p90        p99      p99.9        max
RTT         1.000 ms   2.333 ms   2.000 ms   4.000 ms   4.000 ms   4.000 ms   4.000 ms
forward     400.0 µs   400.0 µs   400.0 µs   400.0 µs   400.0 µs   400.0 µs   400.0 µs
backward    600.0 µs   1.933 ms   1.600 ms   3.600 ms   3.600 ms   3.600 ms   3.600 ms
residence   500.0 µs   500.0 µs   500.0 µs   500.0 µs   500.0 µs   500.0 µs   500.0 µs
IPDV        1.000 ms   1.500 ms   1.000 ms   2.000 ms   2.000 ms   2.000 ms   2.000 ms
over the 3 replies received in time; lost packets have no delay

jitter       183.6 µs (RFC 3550, of the round trip)
rate         1 000/s asked, 1 000/s achieved, 0.003 s
T4           3 by the kernel, 0 in user space
clock here   synchronised, error up to 250.0 µs
clock there  synchronised, error up to 1.007 ms
";
        assert_eq!(render(&sample()), expected);
    }

    #[test]
    fn a_run_without_replies_has_no_delays_to_show() {
        let mut outcome = sample();
        outcome.counts.received = 0;
        outcome
            .warnings
            .push(crate::warning::Warning::Skipped { slots: 1 });
        let text = render(&outcome);
        let (_, rest) = text.split_once("skipped      0\n").unwrap();
        assert!(
            rest.starts_with("\nrate  1 000/s asked, 1 000/s achieved, 0.003 s\n\nwarning: "),
            "{text}"
        );
    }

    #[test]
    fn a_run_with_several_sessions_and_trouble_says_so() {
        let mut outcome = sample();
        outcome.sessions = 3;
        outcome.target = outcome.address.to_string();
        outcome.counts.duplicates = 2;
        outcome.counts.replicated = 1;
        outcome.counts.reordered = 1;
        outcome.counts.reorder_extent_max = 1200;
        outcome.clock.synchronised = false;
        outcome
            .warnings
            .push(crate::warning::Warning::Stopped { slots: 96 });
        let text = render(&outcome);
        for part in [
            "192.0.2.9:40000 -> 192.0.2.1:862, 3 sessions",
            "duplicates   2   of 1 packet\n",
            "reordered    1   33.333 %, extent up to 1 200\n",
            "\nforward, backward: not synchronised: offset between clocks included\n",
            "\nclock here   not synchronised, error up to 250.0 µs\n",
            "\n\nwarning: the run was stopped with 96 packets left to send\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }
}
