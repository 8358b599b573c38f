//! The results as JSON. The schema is documented in docs/sender-json.md and kept stable: fields
//! are added, not renamed or given another meaning, or `schema_version` changes.

use serde::Serialize;

use crate::measure::distribution::Summary;
use crate::outcome::Outcome;

/// Version of the schema.
pub const SCHEMA_VERSION: u32 = 1;

/// The whole document.
#[derive(Debug, Serialize)]
pub struct Document {
    schema_version: u32,
    target: String,
    target_address: String,
    source_address: String,
    sessions: usize,
    payload_octets: usize,
    timeout_ns: u64,
    sent: u64,
    received: u64,
    lost: u64,
    loss_ratio: Option<f64>,
    duplicates: u64,
    duplication_ratio: Option<f64>,
    replicated: u64,
    replicated_ratio: Option<f64>,
    reordered: u64,
    reordered_ratio: Option<f64>,
    reorder_extent_max: u64,
    late: u64,
    invalid: u64,
    skipped: u64,
    congested: u64,
    refused: u64,
    not_reached: u64,
    dropped_here: u64,
    icmp_errors: u64,
    rtt_ns: Option<Figures>,
    forward_ns: Option<Figures>,
    backward_ns: Option<Figures>,
    residence_ns: Option<Figures>,
    ipdv_ns: Option<Figures>,
    jitter_rfc3550_ns: Option<f64>,
    rate_asked_pps: f64,
    rate_achieved_pps: Option<f64>,
    duration_s: f64,
    t4: T4,
    sync: Sync,
    warnings: Vec<WarningEntry>,
}

/// One distribution, in nanoseconds.
#[derive(Debug, Serialize)]
struct Figures {
    count: u64,
    min: i64,
    mean: f64,
    p50: i64,
    p90: i64,
    p99: i64,
    p999: i64,
    max: i64,
}

/// Who took T4.
#[derive(Debug, Serialize)]
struct T4 {
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
            p99: summary.p99.nanos(),
            p999: summary.p999.nanos(),
            max: summary.max.nanos(),
        }
    }
}

impl From<&Outcome> for Document {
    fn from(outcome: &Outcome) -> Self {
        let counts = &outcome.counts;
        let peer = &outcome.peer;
        Self {
            schema_version: SCHEMA_VERSION,
            target: outcome.target.clone(),
            target_address: outcome.address.to_string(),
            source_address: outcome.source.to_string(),
            sessions: outcome.sessions,
            payload_octets: outcome.size,
            timeout_ns: u64::try_from(outcome.timeout.as_nanos()).unwrap_or(u64::MAX),
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost(),
            loss_ratio: counts.loss_ratio(),
            duplicates: counts.duplicates,
            duplication_ratio: counts.duplication_ratio(),
            replicated: counts.replicated,
            replicated_ratio: counts.replicated_ratio(),
            reordered: counts.reordered,
            reordered_ratio: counts.reordered_ratio(),
            reorder_extent_max: counts.reorder_extent_max,
            late: counts.late,
            invalid: counts.invalid,
            skipped: outcome.skipped,
            congested: outcome.congested,
            refused: outcome.refused,
            not_reached: outcome.not_reached,
            dropped_here: outcome.trouble.dropped_here,
            icmp_errors: outcome.trouble.icmp.total(),
            rtt_ns: outcome.round_trip.map(Figures::from),
            forward_ns: outcome.forward.map(Figures::from),
            backward_ns: outcome.backward.map(Figures::from),
            residence_ns: outcome.residence.map(Figures::from),
            ipdv_ns: outcome.ipdv.map(Figures::from),
            jitter_rfc3550_ns: outcome.jitter,
            rate_asked_pps: outcome.rate_asked,
            rate_achieved_pps: outcome.rate_achieved,
            duration_s: outcome.duration.as_secs_f64(),
            t4: T4 {
                kernel_replies: peer.t4_kernel,
                user_space_replies: peer.t4_user_space,
            },
            sync: Sync {
                sender: outcome.clock.synchronised,
                reflector: peer.always_synchronised(),
                one_way_trusted: outcome.one_way_trusted(),
                sender_error_ns: outcome.clock.error_max,
                reflector_error_ns: peer.error_max,
            },
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

/// The document as text, with a line feed at the end.
///
/// # Errors
///
/// None in practice: every value has a JSON form.
pub fn render(outcome: &Outcome) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&Document::from(outcome))?;
    text.push('\n');
    Ok(text)
}
