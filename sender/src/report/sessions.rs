//! The sessions of a run, a row each.

use tabled::builder::Builder;
use wire::time::Nanos;

use super::units;
use crate::measure::counts::ratio;
use crate::outcome::SessionOutcome;

/// Headings of the columns.
pub const HEAD: [&str; 12] = [
    "session", "source", "sent", "lost", "loss", "late", "dup", "reord", "RTT min", "mean", "p99",
    "jitter",
];

/// The cells of a session, under [`HEAD`].
pub fn row(session: &SessionOutcome) -> [String; 12] {
    let figures = &session.figures;
    let counts = figures.counts();
    let lost = session.sent.saturating_sub(counts.received);
    let ratio = ratio(lost, session.sent);
    let dash = || "-".to_owned();
    let spread = figures.round_trip();
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let time = |nanos: Option<i64>| nanos.map_or_else(dash, |nanos| units::time(nanos as f64));
    let approximate = if figures.has_histogram() { "" } else { "~" };
    let p99 = figures.percentile(99.0).map(Nanos::nanos);
    [
        session.number.to_string(),
        session
            .source
            .map_or_else(dash, |source| source.to_string()),
        units::count(session.sent),
        units::count(lost),
        ratio.map_or_else(dash, units::percent),
        units::count(counts.late),
        units::count(counts.duplicates),
        units::count(counts.reordered),
        time((spread.count() > 0).then_some(spread.min)),
        spread.mean().map_or_else(dash, units::time),
        if p99.is_some() {
            format!("{approximate}{}", time(p99))
        } else {
            dash()
        },
        figures.jitter().map_or_else(dash, units::time),
    ]
}

/// All of them as a table.
pub fn render(sessions: &[SessionOutcome]) -> String {
    let mut rows = Builder::new();
    rows.push_record(HEAD);
    for session in sessions {
        rows.push_record(row(session));
    }
    super::table::lay_out(rows)
}
