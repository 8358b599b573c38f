//! The final table.

use std::fmt::Write as _;

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::style::Style;
use tabled::settings::{Alignment, Modify, Padding};

use super::{sessions, units};
use wire::time::Nanos;

use crate::measure::distribution::Summary;
use crate::outcome::{Directions, Outcome, Transport};

/// The report of a run, several lines with a line feed at the end.
///
/// With `per_session` it has a table of the sessions.
pub fn render(outcome: &Outcome, per_session: bool) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", headline(outcome));
    let _ = writeln!(text, "\n{}", counts(outcome));
    // Without a reply there is nothing to say of delays and clocks.
    if outcome.counts.received > 0 {
        let _ = writeln!(text, "\n{}", delays(outcome));
        let _ = writeln!(text, "\n{}", facts(outcome));
    } else {
        let _ = writeln!(text, "\nrate       {}", rate(outcome));
        let _ = writeln!(text, "transport  {}", transport(outcome));
        if let Some(seed) = outcome.seed {
            let _ = writeln!(text, "seed       {seed}");
        }
    }
    if per_session {
        let _ = writeln!(text, "\n{}", sessions::render(&outcome.per_session));
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
    let kind = if outcome.stamp { "STAMP" } else { "TWAMP" };
    format!("{kind} {source} -> {target}, {sessions}, {size} octets of UDP payload")
}

fn counts(outcome: &Outcome) -> String {
    let mut rows = Builder::new();
    for (name, count, note) in count_rows(outcome) {
        rows.push_record([name.to_owned(), units::count(count), note]);
    }
    lay_out(rows)
}

/// What became of the packets: name, count, remark.
pub(super) fn count_rows(outcome: &Outcome) -> Vec<(&'static str, u64, String)> {
    let counts = &outcome.counts;
    let received = counts.loss_ratio().map(|lost| units::percent(1.0 - lost));
    let timeout = humantime::format_duration(outcome.timeout);
    vec![
        ("sent", counts.sent, String::new()),
        ("received", counts.received, received.unwrap_or_default()),
        ("lost", counts.lost(), losses(outcome)),
        ("duplicates", counts.duplicates, duplicates(outcome)),
        ("reordered", counts.reordered, reordering(outcome)),
        (
            "late",
            counts.late,
            format!("after {timeout}, also counted as lost"),
        ),
        ("invalid", counts.invalid, String::new()),
        ("skipped", outcome.skipped, String::new()),
    ]
}

fn losses(outcome: &Outcome) -> String {
    let counts = &outcome.counts;
    let mut note = counts.loss_ratio().map(units::percent).unwrap_or_default();
    if let Some(directions) = &outcome.directions {
        let Directions {
            forward,
            backward,
            undecided,
            ..
        } = *directions;
        let _ = write!(
            note,
            ", {} there, {} back",
            units::count(forward),
            units::count(backward)
        );
        if undecided > 0 {
            let _ = write!(note, ", {} undecided", units::count(undecided));
        }
    }
    if counts.lost() > 1 {
        let runs = units::counted(counts.loss_runs, "run", "runs");
        let longest = units::count(counts.loss_run_max);
        let _ = write!(note, "; {runs}, the longest of {longest}");
    }
    note
}

fn duplicates(outcome: &Outcome) -> String {
    let counts = &outcome.counts;
    if counts.duplicates == 0 {
        return String::new();
    }
    let mut note = format!(
        "of {}",
        units::counted(counts.replicated, "packet", "packets")
    );
    if outcome.directions.is_some() {
        let there = counts.duplicates_forward;
        let back = counts.duplicates - there;
        let _ = write!(
            note,
            ", {} there, {} back",
            units::count(there),
            units::count(back)
        );
    }
    note
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
        ("IPDV", outcome.ipdv.round_trip),
    ] {
        rows.push_record(std::iter::once(name.to_owned()).chain(figures(summary)));
    }
    rows.push_record(std::iter::once("PDV".to_owned()).chain(pdv(outcome.round_trip)));
    let received = units::count(outcome.counts.received);
    let mut text = lay_out(rows);
    let _ = write!(
        text,
        "\nover the {received} replies received in time; lost packets have no delay"
    );
    if outcome.one_way_trusted() == Some(false) {
        text.push_str("\nforward, backward: ");
        text.push_str(if outcome.peer.ptp > 0 {
            "the reflector counts TAI (PTPv2 format): TAI-UTC included"
        } else {
            "not synchronised: offset between clocks included"
        });
    }
    text
}

/// Variation above the minimum (RFC 5481), under the headings of the delays.
fn pdv(summary: Option<Summary>) -> [String; 7] {
    figures(summary.map(|summary| {
        let pdv = summary.pdv();
        Summary {
            count: summary.count,
            min: Nanos::from_nanos(0),
            mean: pdv.mean,
            p50: pdv.p50,
            p90: pdv.p90,
            p95: pdv.p95,
            p99: pdv.p99,
            p999: pdv.p999,
            max: pdv.max,
        }
    }))
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
    [
        units::span(min),
        units::time(mean),
        units::span(p50),
        units::span(p90),
        units::span(p99),
        units::span(p999),
        units::span(max),
    ]
}

fn facts(outcome: &Outcome) -> String {
    let mut rows = Builder::new();
    for (name, value) in fact_rows(outcome) {
        rows.push_record([name, value]);
    }
    let mut table = rows.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    trim_lines(&table.to_string())
}

/// What fits no column of figures: name and value.
pub(super) fn fact_rows(outcome: &Outcome) -> Vec<(String, String)> {
    let peer = &outcome.peer;
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row(
        "jitter",
        match outcome.jitter {
            Some(jitter) => format!("{} (RFC 3550, of the round trip)", units::time(jitter)),
            None => "- (RFC 3550, needs two replies)".to_owned(),
        },
    );
    row("rate", rate(outcome));
    row("transport", transport(outcome));
    row("T1", first_stamp(outcome));
    row(
        "T4",
        by_source(&[
            (peer.t4_xdp, "in the driver, by XDP"),
            (peer.t4_kernel, "by the kernel"),
            (peer.t4_user_space, "in user space"),
        ]),
    );
    if let Some(error) = &outcome.send_error {
        row(
            "send error",
            format!(
                "p50 {}, p99 {}, max {} after the intended time",
                units::span(error.p50),
                units::span(error.p99),
                units::span(error.max)
            ),
        );
    }
    if let Some(path) = path(outcome) {
        row("path", path);
    }
    if let Some(seed) = outcome.seed {
        row("seed", seed.to_string());
    }
    let sender = clock_state(outcome.clock.synchronised, Some(outcome.clock.error_max));
    row("clock here", sender);
    row(
        "clock there",
        match peer.always_synchronised() {
            Some(synchronised) => clock_state(synchronised, peer.error_max),
            None => "unknown: no timestamps from the reflector".to_owned(),
        },
    );
    rows
}

/// How packets left and came in.
pub(super) fn transport(outcome: &Outcome) -> String {
    match &outcome.transport {
        Transport::Socket { instead: None } => "UDP sockets".to_owned(),
        Transport::Socket {
            instead: Some(reason),
        } => format!("UDP sockets; AF_XDP was not used: {reason}"),
        Transport::AfXdp {
            interface,
            queues,
            zero_copy,
            native,
            ..
        } => format!(
            "AF_XDP on {interface}, {}, {} XDP, {}",
            units::counted(*queues as u64, "queue", "queues"),
            if *native { "native" } else { "generic" },
            if *zero_copy { "zero-copy" } else { "copy mode" }
        ),
    }
}

/// Who took T1, and who corrected it.
fn first_stamp(outcome: &Outcome) -> String {
    let stamps = outcome.tx_stamps;
    let corrected = stamps.kernel + stamps.nic;
    let mut text = by_source(&[
        (
            outcome.counts.sent.saturating_sub(corrected),
            "in user space",
        ),
        (stamps.nic, "corrected by the network card's stamp"),
        (stamps.kernel, "corrected by the kernel's stamp"),
    ]);
    for (count, what) in [
        (stamps.unusable, "of another clock"),
        (stamps.late, "later than the reply"),
    ] {
        if count > 0 {
            let stamps = units::counted(count, "stamp is", "stamps are");
            text = format!("{text}; {stamps} {what}");
        }
    }
    text
}

/// Counts and what is counted, without the zeros.
fn by_source(counts: &[(u64, &str)]) -> String {
    let parts: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, source)| format!("{} {source}", units::count(*count)))
        .collect();
    parts.join(", ")
}

/// Hops, and what became of DSCP and ECN.
fn path(outcome: &Outcome) -> Option<String> {
    let headers = &outcome.totals.headers;
    let mut parts = Vec::new();
    for (counts, way) in [
        (&headers.hops_forward, "there"),
        (&headers.hops_backward, "back"),
    ] {
        let hops: Vec<_> = counts.iter().map(|(hops, _)| hops).collect();
        let text = match hops[..] {
            [] => continue,
            [1] => format!("1 hop {way}"),
            [only] => format!("{only} hops {way}"),
            [first, .., last] => format!("{first} to {last} hops {way}"),
        };
        parts.push(text);
    }
    for (counts, way) in [
        (&headers.tos_forward, "there"),
        (&headers.tos_backward, "back"),
    ] {
        let changed = counts.other_than(outcome.tos);
        if changed > 0 {
            let values: Vec<_> = counts
                .iter()
                .filter(|&(tos, _)| tos != outcome.tos)
                .map(|(tos, _)| format!("DSCP {} ECN {}", tos >> 2, tos & 3))
                .collect();
            let packets = units::counted(changed, "packet", "packets");
            parts.push(format!("{packets} came {way} with {}", values.join(" or ")));
        }
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

pub(super) fn rate(outcome: &Outcome) -> String {
    let asked = outcome.rate_asked.map_or_else(
        || "as fast as it goes".to_owned(),
        |rate| format!("{} asked", units::rate(rate)),
    );
    let achieved = outcome
        .rate_achieved
        .map_or_else(|| "-".to_owned(), units::rate);
    let seconds = outcome.duration.as_secs_f64();
    format!("{asked}, {achieved} achieved, {seconds:.3} s")
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
pub(super) fn lay_out(rows: Builder) -> String {
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
mod tests;
