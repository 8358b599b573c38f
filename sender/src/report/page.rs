//! The HTML page of a run: which figures go where on it.

use std::fs;

use super::html::{Page, Table, Tile, Trust};
use super::table::{rate, transport};
use super::{sessions, units};
use crate::config::Config;
use crate::measure::distribution::Summary;
use crate::measure::overview::Overview;
use crate::outcome::Outcome;
use crate::probe::Padding;
use crate::schedule::Times;

/// Rows of the table of sessions at most: a page of a hundred thousand rows opens nowhere.
const SESSIONS_SHOWN: usize = 1000;

/// The page of a run.
pub fn of<'a>(config: &Config, outcome: &'a Outcome, overview: &'a Overview) -> Page<'a> {
    let totals = &outcome.totals;
    Page {
        title: format!("Round trip to {}", outcome.target),
        subtitle: format!(
            "{}, {}, {}",
            units::moment(overview.origin()),
            units::counted(outcome.counts.sent, "packet", "packets"),
            rate(outcome)
        ),
        tiles: tiles(outcome),
        warnings: outcome.warnings.iter().map(ToString::to_string).collect(),
        conditions: conditions(config, outcome),
        counts: counts(outcome),
        facts: facts(outcome),
        overview,
        round_trip: &totals.round_trip,
        forward: &totals.forward,
        backward: &totals.backward,
        residence: &totals.residence,
        ipdv: &totals.ipdv.round_trip,
        one_way: trust(outcome),
        sessions: (config.output.per_session || outcome.sessions > 1)
            .then(|| session_table(outcome)),
        made_by: format!("sender {}", env!("CARGO_PKG_VERSION")),
    }
}

fn tiles(outcome: &Outcome) -> Vec<Tile> {
    let counts = &outcome.counts;
    let tile = |name: &str, value: String, note: &str, alarming| Tile {
        name: name.to_owned(),
        value,
        note: note.to_owned(),
        alarming,
    };
    let round_trip = |figure: fn(&Summary) -> f64| {
        let nanos = outcome.round_trip.as_ref().map(figure);
        nanos.map_or_else(|| "-".to_owned(), units::time)
    };
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let figures: [fn(&Summary) -> f64; 3] = [
        |summary| summary.p50.nanos() as f64,
        |summary| summary.p99.nanos() as f64,
        |summary| summary.max.nanos() as f64,
    ];
    vec![
        tile(
            "RTT, median",
            round_trip(figures[0]),
            "without the reflector's residence",
            false,
        ),
        tile("RTT, p99", round_trip(figures[1]), "", false),
        tile("RTT, maximum", round_trip(figures[2]), "", false),
        tile(
            "jitter",
            outcome.jitter.map_or_else(|| "-".to_owned(), units::time),
            "RFC 3550",
            false,
        ),
        tile(
            "lost",
            counts
                .loss_ratio()
                .map_or_else(|| "-".to_owned(), units::percent),
            &units::counted(counts.lost(), "packet", "packets"),
            counts.lost() > 0,
        ),
        tile(
            "reordered",
            counts
                .reordered_ratio()
                .map_or_else(|| "-".to_owned(), units::percent),
            &units::counted(counts.reordered, "packet", "packets"),
            counts.reordered > 0,
        ),
    ]
}

fn counts(outcome: &Outcome) -> Vec<(String, String, String)> {
    super::table::count_rows(outcome)
        .into_iter()
        .map(|(name, count, note)| (name.to_owned(), units::count(count), note))
        .collect()
}

fn facts(outcome: &Outcome) -> Vec<(String, String)> {
    super::table::fact_rows(outcome)
}

fn conditions(config: &Config, outcome: &Outcome) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    // A path need not be UTF-8.
    let command = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    row("command", command.collect::<Vec<_>>().join(" "));
    row(
        "target",
        format!("{} ({})", outcome.target, outcome.address),
    );
    row("source", outcome.source.to_string());
    row("transport", transport(outcome));
    row("schedule", schedule(config));
    row("sessions", units::count(outcome.sessions as u64));
    let kind = if config.probe.ssid.is_some() {
        "STAMP"
    } else {
        "TWAMP"
    };
    let padding = match config.probe.padding {
        Padding::Zero => "zeros",
        Padding::Random(_) => "pseudo-random",
    };
    row(
        "packets",
        format!(
            "{kind}, {} octets of UDP payload, padding {padding}",
            outcome.size
        ),
    );
    row(
        "IP header",
        format!(
            "DSCP {}, ECN {}, TTL {}{}",
            config.header.tos >> 2,
            config.header.tos & 3,
            config.header.ttl,
            if config.header.dont_fragment {
                ", DF"
            } else {
                ""
            }
        ),
    );
    row(
        "timeout",
        humantime::format_duration(config.timeout).to_string(),
    );
    row("machine", machine());
    if let Some(busy) = outcome.cpu_busy {
        row("processors busy", units::percent(busy));
    }
    rows
}

fn schedule(config: &Config) -> String {
    let timing = &config.timing;
    let kind = match timing.times {
        Times::Periodic { .. } => "periodic",
        Times::Poisson { .. } => "Poisson",
        Times::Owamp { .. } => "RFC 4656",
        Times::Max => return "as fast as it goes".to_owned(),
    };
    let rate = timing.per_second().map(units::rate).unwrap_or_default();
    match timing.burst.get() {
        1 => format!("{kind}, {rate}"),
        burst => format!("{kind}, {rate} in bursts of {burst}"),
    }
}

/// Kernel and processors.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let release = read("/proc/sys/kernel/osrelease");
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("processors", |(_, model)| model.trim());
    let count = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    format!("Linux {}, {count} × {model}", release.trim())
}

fn trust(outcome: &Outcome) -> Trust {
    let error = outcome.one_way_error().map_or_else(
        || "of unknown error".to_owned(),
        |error| format!("to within {}", units::span(error)),
    );
    match outcome.one_way_trusted() {
        Some(true) => Trust::Trusted(format!(
            "Both clocks said that they follow UTC, {error} together."
        )),
        Some(false) if outcome.peer.ptp > 0 => Trust::Untrusted(
            "The reflector stamps in PTPv2 format, which counts TAI: the delays contain TAI-UTC."
                .to_owned(),
        ),
        Some(false) => Trust::Untrusted(
            "Not both clocks follow UTC: the delays contain the offset between them.".to_owned(),
        ),
        None => Trust::Untrusted("The reflector sends no timestamps.".to_owned()),
    }
}

fn session_table(outcome: &Outcome) -> Table {
    let total = outcome.per_session.len();
    Table {
        head: sessions::HEAD.map(str::to_owned).to_vec(),
        rows: outcome
            .per_session
            .iter()
            .take(SESSIONS_SHOWN)
            .map(|session| sessions::row(session).to_vec())
            .collect(),
        note: if total > SESSIONS_SHOWN {
            format!(
                "The first {} of {}.",
                units::count(SESSIONS_SHOWN as u64),
                units::count(total as u64)
            )
        } else {
            String::new()
        },
    }
}
