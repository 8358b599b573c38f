//! What the delay figures have to be, recomputed from `--csv-packets` row by row, and the rows from
//! what the reflector wrote.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::scene::{Row, Run};

/// How the reflector's stamps stand in the rows: its own scale is so far from UTC.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub ahead_of_utc: i64,
}

/// UTC.
pub const UTC: Scale = Scale { ahead_of_utc: 0 };
/// TAI since 2017.
pub const TAI: Scale = Scale {
    ahead_of_utc: 37_000_000_000,
};

/// Checks every row of a reply against the reflector's own record, and every distribution against
/// the rows.
pub fn check(run: &Run, scale: Scale) {
    check_rows(run, scale);
    check_distributions(run);
}

fn check_rows(run: &Run, scale: Scale) {
    let sources = run.sources();
    let told: BTreeMap<_, _> = (run.reflections.iter())
        .map(|reflection| {
            let key = (
                reflection.sender,
                reflection.sequence,
                reflection.own_sequence,
            );
            (key, (reflection.t2, reflection.t3))
        })
        .collect();
    for row in run.rows.iter().filter(|row| row.event != "lost") {
        let key = (
            sources[row.session],
            row.sequence,
            row.reflector_sequence.unwrap(),
        );
        let (t2, t3) = told[&key];
        let (t2, t3) = (t2 + scale.ahead_of_utc, t3 + scale.ahead_of_utc);
        let (row_t2, row_t3, t4) = (row.t2_ns.unwrap(), row.t3_ns.unwrap(), row.t4_ns.unwrap());
        // NTP counts in quarters of a nanosecond.
        assert!(
            (row_t2 - t2).abs() <= 1 && (row_t3 - t3).abs() <= 1,
            "{row:?} {t2} {t3}"
        );
        assert_eq!(row.forward_ns, Some(row_t2 - row.t1_ns), "{row:?}");
        assert_eq!(row.backward_ns, Some(t4 - row_t3), "{row:?}");
        assert_eq!(row.residence_ns, Some(row_t3 - row_t2), "{row:?}");
        let rtt = t4 - row.t1_ns - (row_t3 - row_t2);
        assert_eq!(row.rtt_ns, Some(rtt), "{row:?}");
    }
}

/// Checks the distributions of the document against the rows.
pub fn check_distributions(run: &Run) {
    let received: Vec<&Row> = run.rows_of("received").collect();
    let all = |pick: fn(&Row) -> Option<i64>| received.iter().filter_map(|row| pick(row)).collect();
    check_one(run, "rtt", all(|row| row.rtt_ns));
    check_one(run, "forward", all(|row| row.forward_ns));
    check_one(run, "backward", all(|row| row.backward_ns));
    distribution(run, "residence_ns", all(|row| row.residence_ns));
    let by_number: BTreeMap<_, _> = (received.iter())
        .map(|row| ((row.session, row.sequence), *row))
        .collect();
    let pairs: Vec<(&Row, &Row)> = (by_number.iter())
        .filter_map(|(&(session, sequence), later)| {
            let earlier = by_number.get(&(session, sequence.checked_sub(1)?))?;
            Some((*earlier, *later))
        })
        .collect();
    let differences = |pick: fn(&Row) -> Option<i64>| -> Vec<i64> {
        (pairs.iter())
            .filter_map(|(earlier, later)| Some(pick(later)? - pick(earlier)?))
            .collect()
    };
    let variation = differences(|row| row.rtt_ns);
    let magnitudes: Vec<i64> = variation
        .iter()
        .map(|difference| difference.abs())
        .collect();
    close(run, "mean_abs_ipdv_ns", mean(&magnitudes));
    distribution(run, "ipdv_ns", variation);
    distribution(run, "ipdv_forward_ns", differences(|row| row.forward_ns));
    distribution(run, "ipdv_backward_ns", differences(|row| row.backward_ns));
    close(run, "jitter_rfc3550_ns", jitter(&received));
}

/// A delay, and its variation above the minimum.
fn check_one(run: &Run, name: &str, samples: Vec<i64>) {
    let pdv = format!("pdv_{name}_ns").replace("rtt_", "");
    let Some(&least) = samples.iter().min() else {
        assert_eq!(*run.value(&pdv), Value::Null);
        return distribution(run, &format!("{name}_ns"), samples);
    };
    let mut sorted = samples.clone();
    sorted.sort_unstable();
    for (key, percent) in [("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p999", 99.9)] {
        let expected = nearest_rank(&sorted, percent);
        let reported = run.number(&format!("{pdv}/{key}")) + least;
        assert!(
            within_a_thousandth(reported, expected),
            "{pdv} {key}: {reported} {expected}"
        );
    }
    assert_eq!(
        run.number(&format!("{pdv}/max")),
        sorted[sorted.len() - 1] - least
    );
    distribution(run, &format!("{name}_ns"), samples);
}

fn distribution(run: &Run, name: &str, mut samples: Vec<i64>) {
    if samples.is_empty() {
        assert_eq!(*run.value(name), Value::Null, "{name}");
        return;
    }
    samples.sort_unstable();
    let number = |key: &str| run.number(&format!("{name}/{key}"));
    assert_eq!(
        number("count"),
        i64::try_from(samples.len()).unwrap(),
        "{name}"
    );
    assert_eq!(number("min"), samples[0], "{name}");
    assert_eq!(number("max"), samples[samples.len() - 1], "{name}");
    close(run, &format!("{name}/mean"), mean(&samples));
    for (key, percent) in [
        ("p50", 50.0),
        ("p90", 90.0),
        ("p95", 95.0),
        ("p99", 99.0),
        ("p999", 99.9),
    ] {
        let expected = nearest_rank(&samples, percent);
        let reported = number(key);
        assert!(
            within_a_thousandth(reported, expected),
            "{name} {key}: {reported} {expected}"
        );
    }
}

/// RFC 2330 section 11.3.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small counts"
)]
fn nearest_rank(sorted: &[i64], percent: f64) -> i64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.max(1) - 1]
}

fn within_a_thousandth(reported: i64, expected: i64) -> bool {
    (reported - expected).abs() <= expected.abs() / 1000 + 1
}

#[expect(clippy::cast_precision_loss, reason = "a mean is a float")]
fn mean(samples: &[i64]) -> Option<f64> {
    let sum: i128 = samples.iter().map(|&sample| i128::from(sample)).sum();
    (!samples.is_empty()).then(|| sum as f64 / samples.len() as f64)
}

/// RFC 3550 section 6.4.1 over the round trips in the order of arrival, from 0; the mean over the
/// sessions.
#[expect(clippy::cast_precision_loss, reason = "the estimate is a float")]
fn jitter(received: &[&Row]) -> Option<f64> {
    let mut sessions = BTreeMap::<usize, Vec<i64>>::new();
    for row in received {
        let trips = sessions.entry(row.session).or_default();
        trips.push(row.rtt_ns.unwrap());
    }
    let estimates: Vec<f64> = (sessions.values())
        .filter(|trips| trips.len() > 1)
        .map(|trips| {
            let steps = trips
                .windows(2)
                .map(|pair| (pair[1] - pair[0]).abs() as f64);
            steps.fold(0.0, |jitter, step| jitter + (step - jitter) / 16.0)
        })
        .collect();
    let sum: f64 = estimates.iter().sum();
    (!estimates.is_empty()).then(|| sum / estimates.len() as f64)
}

fn close(run: &Run, name: &str, expected: Option<f64>) {
    let reported = run.value(name).as_f64();
    let same = match (reported, expected) {
        (Some(reported), Some(expected)) => {
            (reported - expected).abs() <= 1.0 + expected.abs() * 1e-9
        }
        (reported, expected) => reported == expected,
    };
    assert!(same, "{name}: {reported:?}, not {expected:?}");
}
