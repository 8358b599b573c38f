//! The results as JSON. The schema is documented in docs/sender-json.md and kept stable: fields
//! are added, not renamed or given another meaning, or `schema_version` changes.

use serde::Serialize;

use wire::time::Nanos;

use crate::measure::distribution::{Pdv, Summary};
use crate::measure::header::OctetCounts;
use crate::outcome::{Outcome, SessionOutcome, Transport};

/// Version of the schema.
pub const SCHEMA_VERSION: u32 = 2;

/// The whole document.
#[derive(Debug, Serialize)]
pub struct Document {
    schema_version: u32,
    target: String,
    target_address: String,
    source_address: String,
    sessions: usize,
    payload_octets: usize,
    tos: u8,
    timeout_ns: u64,
    sent: u64,
    received: u64,
    lost: u64,
    loss_ratio: Option<f64>,
    loss_runs: u64,
    loss_run_max: u64,
    loss_by_direction: Option<Directions>,
    duplicates: u64,
    duplicates_forward: Option<u64>,
    duplicates_backward: Option<u64>,
    duplication_ratio: Option<f64>,
    replicated: u64,
    replicated_ratio: Option<f64>,
    reordered: u64,
    reordered_ratio: Option<f64>,
    reorder_extent_max: u64,
    reordered_by_three: u64,
    n_reordering_max: u64,
    late: u64,
    invalid: u64,
    skipped: u64,
    congested: u64,
    refused: u64,
    held: u64,
    not_reached: u64,
    dropped_here: u64,
    icmp_errors: u64,
    rtt_ns: Option<Figures>,
    forward_ns: Option<Figures>,
    backward_ns: Option<Figures>,
    residence_ns: Option<Figures>,
    ipdv_ns: Option<Figures>,
    ipdv_forward_ns: Option<Figures>,
    ipdv_backward_ns: Option<Figures>,
    pdv_ns: Option<PdvFigures>,
    pdv_forward_ns: Option<PdvFigures>,
    pdv_backward_ns: Option<PdvFigures>,
    mean_abs_ipdv_ns: Option<f64>,
    jitter_rfc3550_ns: Option<f64>,
    send_error_ns: Option<Figures>,
    rate_asked_pps: Option<f64>,
    rate_achieved_pps: Option<f64>,
    duration_s: f64,
    seed: Option<String>,
    cpu_busy_ratio: Option<f64>,
    hops_forward: Vec<OctetCount>,
    hops_backward: Vec<OctetCount>,
    tos_forward: Vec<OctetCount>,
    tos_backward: Vec<OctetCount>,
    t4: T4,
    sync: Sync,
    transport: TransportEntry,
    t1: T1,
    warnings: Vec<WarningEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_session: Option<Vec<SessionEntry>>,
}

/// How packets left and came in.
#[derive(Debug, Serialize)]
struct TransportEntry {
    kind: &'static str,
    interface: Option<String>,
    queues: Option<usize>,
    native_xdp: Option<bool>,
    zero_copy: Option<bool>,
    instead_of_af_xdp: Option<String>,
}

/// Who corrected T1.
#[derive(Debug, Serialize)]
struct T1 {
    kernel_corrected: u64,
    nic_corrected: u64,
    unusable_stamps: u64,
    late_stamps: u64,
}

/// One session.
#[derive(Debug, Serialize)]
struct SessionEntry {
    session: usize,
    source_address: Option<String>,
    sent: u64,
    received: u64,
    lost: u64,
    late: u64,
    duplicates: u64,
    reordered: u64,
    loss_runs: u64,
    loss_run_max: u64,
    rtt_ns: Option<SessionFigures>,
    jitter_rfc3550_ns: Option<f64>,
}

/// The round trips of a session, in nanoseconds.
#[derive(Debug, Serialize)]
struct SessionFigures {
    count: u64,
    min: i64,
    mean: f64,
    p50: i64,
    p90: i64,
    p99: i64,
    max: i64,
    /// Percentiles within 0.1 %, else within 11 %.
    exact: bool,
}

/// One distribution, in nanoseconds.
#[derive(Debug, Serialize)]
struct Figures {
    count: u64,
    min: i64,
    mean: f64,
    p50: i64,
    p90: i64,
    p95: i64,
    p99: i64,
    p999: i64,
    max: i64,
}

/// Variation above the minimum, in nanoseconds (RFC 5481 section 4.2).
#[derive(Debug, Serialize)]
struct PdvFigures {
    mean: f64,
    p50: i64,
    p90: i64,
    p95: i64,
    p99: i64,
    p999: i64,
    max: i64,
}

/// Losses by direction.
#[derive(Debug, Serialize)]
struct Directions {
    forward: u64,
    backward: u64,
    undecided: u64,
    reflector_restarts: u64,
}

/// How often an octet had a value.
#[derive(Debug, Serialize)]
struct OctetCount {
    value: u8,
    replies: u64,
}

/// Who took T4.
#[derive(Debug, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "these are the keys of the document"
)]
struct T4 {
    xdp_replies: u64,
    kernel_replies: u64,
    user_space_replies: u64,
}

/// What both ends say of their clocks.
#[derive(Debug, Serialize)]
struct Sync {
    sender: bool,
    reflector: Option<bool>,
    one_way_trusted: Option<bool>,
    sender_error_ns: u64,
    reflector_error_ns: Option<u64>,
    one_way_error_ns: Option<i64>,
}

#[derive(Debug, Serialize)]
struct WarningEntry {
    code: &'static str,
    message: String,
}

impl From<Summary> for Figures {
    fn from(summary: Summary) -> Self {
        Self {
            count: summary.count,
            min: summary.min.nanos(),
            mean: summary.mean,
            p50: summary.p50.nanos(),
            p90: summary.p90.nanos(),
            p95: summary.p95.nanos(),
            p99: summary.p99.nanos(),
            p999: summary.p999.nanos(),
            max: summary.max.nanos(),
        }
    }
}

impl From<&Transport> for TransportEntry {
    fn from(transport: &Transport) -> Self {
        match transport {
            Transport::Socket { instead } => Self {
                kind: "socket",
                interface: None,
                queues: None,
                native_xdp: None,
                zero_copy: None,
                instead_of_af_xdp: instead.clone(),
            },
            Transport::AfXdp {
                interface,
                queues,
                zero_copy,
                native,
                ..
            } => Self {
                kind: "af-xdp",
                interface: Some(interface.clone()),
                queues: Some(*queues),
                native_xdp: Some(*native),
                zero_copy: Some(*zero_copy),
                instead_of_af_xdp: None,
            },
        }
    }
}

impl From<&SessionOutcome> for SessionEntry {
    fn from(session: &SessionOutcome) -> Self {
        let figures = &session.figures;
        let counts = figures.counts();
        let runs = figures.loss_runs();
        Self {
            session: session.number,
            source_address: session.source.map(|source| source.to_string()),
            sent: session.sent,
            received: counts.received,
            lost: session.sent.saturating_sub(counts.received),
            late: counts.late,
            duplicates: counts.duplicates,
            reordered: counts.reordered,
            loss_runs: runs.runs(),
            loss_run_max: runs.longest(),
            rtt_ns: session_figures(session),
            jitter_rfc3550_ns: figures.jitter(),
        }
    }
}

fn session_figures(session: &SessionOutcome) -> Option<SessionFigures> {
    let figures = &session.figures;
    let spread = figures.round_trip();
    let percentile = |percent| figures.percentile(percent).map(Nanos::nanos);
    Some(SessionFigures {
        count: spread.count(),
        min: spread.min,
        mean: spread.mean()?,
        p50: percentile(50.0)?,
        p90: percentile(90.0)?,
        p99: percentile(99.0)?,
        max: spread.max,
        exact: figures.has_histogram(),
    })
}

impl From<Pdv> for PdvFigures {
    fn from(pdv: Pdv) -> Self {
        Self {
            mean: pdv.mean,
            p50: pdv.p50.nanos(),
            p90: pdv.p90.nanos(),
            p95: pdv.p95.nanos(),
            p99: pdv.p99.nanos(),
            p999: pdv.p999.nanos(),
            max: pdv.max.nanos(),
        }
    }
}

fn pdv(summary: Option<Summary>) -> Option<PdvFigures> {
    summary.map(|summary| summary.pdv().into())
}

fn octets(counts: &OctetCounts) -> Vec<OctetCount> {
    let each = |(value, replies)| OctetCount { value, replies };
    counts.iter().map(each).collect()
}

impl From<&Outcome> for Document {
    fn from(outcome: &Outcome) -> Self {
        let counts = &outcome.counts;
        let peer = &outcome.peer;
        let headers = &outcome.totals.headers;
        Self {
            schema_version: SCHEMA_VERSION,
            target: outcome.target.clone(),
            target_address: outcome.address.to_string(),
            source_address: outcome.source.to_string(),
            sessions: outcome.sessions,
            payload_octets: outcome.size,
            tos: outcome.tos,
            timeout_ns: u64::try_from(outcome.timeout.as_nanos()).unwrap_or(u64::MAX),
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost(),
            loss_ratio: counts.loss_ratio(),
            loss_runs: counts.loss_runs,
            loss_run_max: counts.loss_run_max,
            loss_by_direction: outcome.directions.map(|directions| Directions {
                forward: directions.forward,
                backward: directions.backward,
                undecided: directions.undecided,
                reflector_restarts: directions.restarts,
            }),
            duplicates: counts.duplicates,
            duplicates_forward: outcome.directions.map(|_| counts.duplicates_forward),
            duplicates_backward: outcome
                .directions
                .map(|_| counts.duplicates - counts.duplicates_forward),
            duplication_ratio: counts.duplication_ratio(),
            replicated: counts.replicated,
            replicated_ratio: counts.replicated_ratio(),
            reordered: counts.reordered,
            reordered_ratio: counts.reordered_ratio(),
            reorder_extent_max: counts.reorder_extent_max,
            reordered_by_three: counts.reordered_by_three,
            n_reordering_max: counts.n_reordering_max,
            late: counts.late,
            invalid: counts.invalid,
            skipped: outcome.skipped,
            congested: outcome.congested,
            refused: outcome.refused,
            held: outcome.held,
            not_reached: outcome.not_reached,
            dropped_here: outcome.trouble.dropped_here,
            icmp_errors: outcome.trouble.icmp.total(),
            rtt_ns: outcome.round_trip.map(Figures::from),
            forward_ns: outcome.forward.map(Figures::from),
            backward_ns: outcome.backward.map(Figures::from),
            residence_ns: outcome.residence.map(Figures::from),
            ipdv_ns: outcome.ipdv.round_trip.map(Figures::from),
            ipdv_forward_ns: outcome.ipdv.forward.map(Figures::from),
            ipdv_backward_ns: outcome.ipdv.backward.map(Figures::from),
            pdv_ns: pdv(outcome.round_trip),
            pdv_forward_ns: pdv(outcome.forward),
            pdv_backward_ns: pdv(outcome.backward),
            mean_abs_ipdv_ns: outcome.totals.ipdv.mean_magnitude(),
            jitter_rfc3550_ns: outcome.jitter,
            send_error_ns: outcome.send_error.map(Figures::from),
            rate_asked_pps: outcome.rate_asked,
            rate_achieved_pps: outcome.rate_achieved,
            duration_s: outcome.duration.as_secs_f64(),
            seed: outcome.seed.map(|seed| seed.to_string()),
            cpu_busy_ratio: outcome.cpu_busy,
            hops_forward: octets(&headers.hops_forward),
            hops_backward: octets(&headers.hops_backward),
            tos_forward: octets(&headers.tos_forward),
            tos_backward: octets(&headers.tos_backward),
            t4: T4 {
                xdp_replies: peer.t4_xdp,
                kernel_replies: peer.t4_kernel,
                user_space_replies: peer.t4_user_space,
            },
            sync: Sync {
                sender: outcome.clock.synchronised,
                reflector: peer.always_synchronised(),
                one_way_trusted: outcome.one_way_trusted(),
                sender_error_ns: outcome.clock.error_max,
                reflector_error_ns: peer.error_max,
                one_way_error_ns: outcome.one_way_error().map(Nanos::nanos),
            },
            transport: (&outcome.transport).into(),
            t1: T1 {
                kernel_corrected: outcome.tx_stamps.kernel,
                nic_corrected: outcome.tx_stamps.nic,
                unusable_stamps: outcome.tx_stamps.unusable,
                late_stamps: outcome.tx_stamps.late,
            },
            per_session: None,
            warnings: outcome
                .warnings
                .iter()
                .map(|warning| WarningEntry {
                    code: warning.code(),
                    message: warning.to_string(),
                })
                .collect(),
        }
    }
}

/// The document as text, with a line feed at the end; `per_session` lists the sessions.
///
/// # Errors
///
/// None in practice: every value has a JSON form.
pub fn render(outcome: &Outcome, per_session: bool) -> serde_json::Result<String> {
    let mut document = Document::from(outcome);
    document.per_session =
        per_session.then(|| outcome.per_session.iter().map(SessionEntry::from).collect());
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::outcome::tests::{sample, sample_of};
    use crate::warning::Warning;

    fn document(outcome: &Outcome) -> Value {
        let text = render(outcome, false).unwrap();
        assert!(text.ends_with("}\n"));
        serde_json::from_str(&text).unwrap()
    }

    #[track_caller]
    fn assert_fields(document: &Value, fields: &Value) {
        for (name, expected) in fields.as_object().unwrap() {
            assert_eq!(&document[name], expected, "{name}");
        }
    }

    #[test]
    fn the_figures_are_those_of_the_outcome() {
        let document = document(&sample());
        assert_fields(
            &document,
            &json!({
                "schema_version": 2,
                "target": "reflector.example:862",
                "target_address": "192.0.2.1:862",
                "source_address": "192.0.2.9:40000",
                "timeout_ns": 2_000_000_000u64,
                "sent": 4,
                "received": 3,
                "lost": 1,
                "loss_ratio": 0.25,
                "loss_runs": 1,
                "loss_run_max": 1,
                "mean_abs_ipdv_ns": 1_500_000.0,
                "rate_asked_pps": 1000.0,
                "rate_achieved_pps": 1000.0,
                "duration_s": 0.003,
                "cpu_busy_ratio": 0.25,
                "seed": null,
                "loss_by_direction": null,
                "duplicates_forward": null,
                "hops_forward": [{"value": 2, "replies": 3}],
                "hops_backward": [{"value": 1, "replies": 3}],
                "tos_forward": [],
                "warnings": [],
            }),
        );
        assert_fields(
            &document["ipdv_ns"],
            &json!({"count": 2, "min": 1_000_000, "mean": 1_500_000.0, "max": 2_000_000}),
        );
        assert_fields(&document["pdv_ns"], &json!({"max": 3_000_000}));
        assert_fields(
            &document["send_error_ns"],
            &json!({"count": 4, "min": 2_000, "max": 2_000}),
        );
        assert_eq!(
            document["t4"],
            json!({"xdp_replies": 0, "kernel_replies": 3, "user_space_replies": 0})
        );
        let reflector = document["sync"]["reflector_error_ns"].as_u64().unwrap();
        assert_fields(
            &document["sync"],
            &json!({
                "sender": true,
                "one_way_trusted": true,
                "sender_error_ns": 250_000,
                "one_way_error_ns": 250_000 + reflector,
            }),
        );
    }

    #[test]
    fn the_mean_variation_is_above_the_minimum() {
        let mean = document(&sample())["pdv_ns"]["mean"].as_f64().unwrap();
        assert!((mean - 4_000_000.0 / 3.0).abs() < 1e-3, "{mean}");
    }

    #[test]
    fn a_stateful_reflector_splits_losses_and_duplicates() {
        let mut outcome = sample_of("--padding random --seed ff", |number| {
            [0, 2, 3][number as usize]
        });
        outcome.counts.duplicates = 5;
        outcome.counts.duplicates_forward = 2;
        assert_fields(
            &document(&outcome),
            &json!({
                "loss_by_direction":
                    {"forward": 0, "backward": 1, "undecided": 1, "reflector_restarts": 0},
                "duplicates_forward": 2,
                "duplicates_backward": 3,
                "seed": "000000000000000000000000000000ff",
            }),
        );
    }

    #[test]
    fn warnings_have_codes_and_sentences() {
        let mut outcome = sample();
        outcome.warnings.push(Warning::Stopped {
            slots: 7,
            waited: None,
        });
        let message = "the run was stopped with 7 packets left to send";
        let expected = json!([{"code": "stopped", "message": message}]);
        assert_eq!(document(&outcome)["warnings"], expected);
    }

    #[test]
    fn as_fast_as_it_goes_is_no_rate() {
        let outcome = sample_of("", |number| number);
        assert_eq!(document(&outcome)["rate_asked_pps"], 1000.0);
        let outcome = Outcome {
            rate_asked: None,
            ..outcome
        };
        assert!(document(&outcome)["rate_asked_pps"].is_null());
    }
}
