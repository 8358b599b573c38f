//! The reference vectors: `vectors/metrics.json` for metrics, and `vectors/exp_schedule.json` (RFC
//! 4656 Appendix B) for the exponential schedule.
//!
//! Of the metrics, not used yet: `pdv`, `mean_abs_ipdv`, `max_n_reordering_per_arrival` and the
//! directional figures of `loss_stateful`, which the sender does not report.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use sender::measure::counts::Counts;
use sender::measure::delay::{Delays, ReflectorTimes};
use sender::measure::jitter::Jitter;
use sender::measure::reordering::{Arrival, Reordering};
use sender::measure::{Measurement, Reception, ReplyStamps, T4Source, Verdict};
use sender::schedule::owamp::Deviates;
use sender::seed::Seed;
use serde_json::Value;
use wire::time::{Nanos, NtpTimestamp, Utc};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/metrics.json")).unwrap()
}

fn int(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("{value} is not an integer"))
}

fn ints(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(int).collect()
}

fn numbers(value: &Value) -> Vec<u64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect()
}

/// Sends one probe at `t1` in session 0 and answers it at `t4`.
fn probe(measurement: &mut Measurement, t1: i64, t4: i64) {
    let sequence = u32::try_from(measurement.counts().sent).unwrap();
    measurement.sent(0, Utc::from_nanos(t1));
    reply(measurement, sequence, t1, t4).unwrap();
}

fn reply(measurement: &mut Measurement, sequence: u32, t1: i64, t4: i64) -> Option<Verdict> {
    let echo = NtpTimestamp::from_utc(Utc::from_nanos(t1));
    let number = measurement.find(0, sequence, echo)?;
    let reception = Reception {
        t4: Utc::from_nanos(t4),
        source: T4Source::Kernel,
    };
    measurement.reply(0, number, reception, ReplyStamps::EchoOnly)
}

#[test]
fn splits_the_two_way_delay() {
    for case in vectors()["two_way"].as_array().unwrap() {
        let times = ReflectorTimes {
            receive: int(&case["T2"]),
            transmit: int(&case["T3"]),
        };
        let t1 = Utc::from_nanos(int(&case["T1"]));
        let t4 = Utc::from_nanos(int(&case["T4"]));
        let delays = Delays::new(t1, t4, Some(times));
        let split = delays.split.unwrap();
        assert_eq!(delays.round_trip.nanos(), int(&case["rtt"]), "{case}");
        assert_eq!(split.forward.nanos(), int(&case["near_end_fwd"]), "{case}");
        assert_eq!(split.backward.nanos(), int(&case["far_end_bwd"]), "{case}");
        assert_eq!(split.residence.nanos(), int(&case["dwell"]), "{case}");
    }
}

#[test]
fn takes_ipdv_between_consecutive_probes() {
    let vectors = vectors();
    let delays = ints(&vectors["delays_us"]);
    let expected = ints(&vectors["ipdv"]);
    for i in 1..delays.len() {
        // One pair at a time, because a distribution does not keep the order.
        let mut measurement = Measurement::new(1, 8, Nanos::from_nanos(i64::MAX)).unwrap();
        probe(&mut measurement, 0, delays[i - 1]);
        probe(&mut measurement, 10_000, 10_000 + delays[i]);
        let ipdv = measurement.ipdv.summary().unwrap();
        assert_eq!((ipdv.count, ipdv.min.nanos()), (1, expected[i - 1]));
    }

    let mut measurement = Measurement::new(1, 8, Nanos::from_nanos(i64::MAX)).unwrap();
    for (i, delay) in (0i64..).zip(&delays) {
        probe(&mut measurement, i * 10_000, i * 10_000 + delay);
    }
    let ipdv = measurement.ipdv.summary().unwrap();
    assert_eq!(ipdv.count, expected.len() as u64);
    assert_eq!(ipdv.min.nanos(), *expected.iter().min().unwrap());
    assert_eq!(ipdv.max.nanos(), *expected.iter().max().unwrap());
    assert_eq!(expected.iter().sum::<i64>(), 0);
    assert!(ipdv.mean.abs() < 1e-9);
}

#[test]
fn smooths_the_jitter() {
    let vectors = vectors();
    let expected = vectors["jitter_rfc3550_after_each"].as_array().unwrap();
    let mut jitter = Jitter::default();
    let mut estimates = Vec::new();
    for delay in ints(&vectors["delays_us"]) {
        jitter.arrive(Nanos::from_nanos(delay));
        estimates.extend(jitter.nanos());
    }
    assert_eq!(estimates.len(), expected.len());
    for (estimate, expected) in estimates.iter().zip(expected) {
        assert!(
            (estimate - expected.as_f64().unwrap()).abs() < 1e-9,
            "{estimate} {expected}"
        );
    }
}

#[test]
fn finds_reordering_and_its_extent() {
    for case in vectors()["reordering_rfc4737"].as_array().unwrap() {
        let mut judge = Reordering::new(64).unwrap();
        let mut counts = Counts::default();
        for (i, number) in numbers(&case["first_copies"]).into_iter().enumerate() {
            counts.received += 1;
            let extent = match judge.arrive(number) {
                Arrival::InOrder => None,
                Arrival::Reordered { extent } => {
                    counts.reordered += 1;
                    Some(extent)
                }
            };
            assert_eq!(
                extent.is_some(),
                case["reordered"][i].as_bool().unwrap(),
                "{case} {i}"
            );
            assert_eq!(extent, case["extent"][i].as_u64(), "{case} {i}");
        }
        let ratio = case["reordered_ratio"].as_f64().unwrap();
        assert!(
            (counts.reordered_ratio().unwrap() - ratio).abs() < 1e-12,
            "{case}"
        );
    }
}

#[test]
fn judges_reordering_by_first_copies_only() {
    for case in vectors()["reordering_rfc4737"].as_array().unwrap() {
        let arrivals = numbers(&case["arrivals"]);
        let mut measurement = Measurement::new(1, 64, Nanos::from_nanos(i64::MAX)).unwrap();
        for number in 0..=*arrivals.iter().max().unwrap() {
            measurement.sent(0, Utc::from_nanos(i64::try_from(number).unwrap()));
        }
        for &number in &arrivals {
            let t1 = i64::try_from(number).unwrap();
            reply(&mut measurement, u32::try_from(number).unwrap(), t1, 1_000).unwrap();
        }
        let counts = measurement.counts();
        let extents = case["extent"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_u64);
        assert_eq!(counts.reordered, extents.clone().count() as u64, "{case}");
        assert_eq!(
            counts.reorder_extent_max,
            extents.max().unwrap_or(0),
            "{case}"
        );
        let first_copies = case["first_copies"].as_array().unwrap().len();
        assert_eq!(counts.received, first_copies as u64);
        assert_eq!(counts.duplicates, (arrivals.len() - first_copies) as u64);
    }
}

#[test]
fn counts_round_trip_loss() {
    for case in vectors()["loss_stateful"].as_array().unwrap() {
        let mut measurement = Measurement::new(1, 64, Nanos::from_nanos(1_000_000)).unwrap();
        for i in 0..int(&case["sent"]) {
            measurement.sent(0, Utc::from_nanos(i));
        }
        for pair in case["replies"].as_array().unwrap() {
            let number = int(&pair[0]);
            reply(
                &mut measurement,
                u32::try_from(number).unwrap(),
                number,
                1_000,
            )
            .unwrap();
        }
        assert_eq!(
            measurement.counts().lost(),
            case["round_trip_lost"].as_u64().unwrap()
        );
    }
}

#[test]
fn counts_duplication_per_probe() {
    let vectors = vectors();
    let case = &vectors["duplication"];
    let mut measurement = Measurement::new(1, 64, Nanos::from_nanos(1_000_000)).unwrap();
    for i in 0..int(&case["sent"]) {
        measurement.sent(0, Utc::from_nanos(i));
    }
    for (number, copies) in case["arrival_counts"].as_object().unwrap() {
        let number: u32 = number.parse().unwrap();
        for _ in 0..int(copies) {
            reply(&mut measurement, number, i64::from(number), 1_000).unwrap();
        }
    }
    let counts = measurement.counts();
    assert_eq!(counts.lost(), case["lost"].as_u64().unwrap());
    assert_eq!(
        counts.duplication_ratio(),
        case["duplication_fraction"].as_f64()
    );
    assert_eq!(
        counts.replicated_ratio(),
        case["replicated_packet_rate"].as_f64()
    );
}

#[test]
fn makes_the_exponential_schedule_of_rfc_4656() {
    let schedules: Value = serde_json::from_str(include_str!("vectors/exp_schedule.json")).unwrap();
    let cases = schedules["vectors"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let hex = |value: &Value| u64::from_str_radix(value.as_str().unwrap(), 16).unwrap();
        let sid: Seed = case["sid"].as_str().unwrap().parse().unwrap();
        let first: Vec<u64> = case["first_8"]
            .as_array()
            .unwrap()
            .iter()
            .map(hex)
            .collect();
        assert_eq!(
            Deviates::new(sid).take(8).collect::<Vec<_>>(),
            first,
            "{case}"
        );
        let sum: u64 = Deviates::new(sid).take(1_000_000).sum();
        assert_eq!(sum, hex(&case["sum_1000000"]), "{case}");
    }
}
