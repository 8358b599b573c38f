//! The reference vectors: `vectors/metrics.json` for metrics, and `vectors/exp_schedule.json` (RFC
//! 4656 Appendix B) for the exponential schedule.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use sender::flight::{self, Flight, Remembered};
use sender::matching::Numbering;
use sender::measure::delay::{Delays, ReflectorTimes};
use sender::measure::direction::Losses;
use sender::measure::header::HeaderFields;
use sender::measure::jitter::Jitter;
use sender::measure::reordering::Reordering;
use sender::measure::{Arrived, Measurement, Reception, ReplyStamps, T4Source, Terms, Verdict};
use sender::schedule::owamp::Deviates;
use sender::seed::Seed;
use serde_json::Value;
use wire::time::{Nanos, Utc};

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

/// A measurement of one session that has sent probes at these times.
fn measurement(timeout: i64, departures: impl IntoIterator<Item = i64>) -> Measurement {
    let (mut writer, departed) = flight::open(64).unwrap();
    let terms = Terms {
        sessions: 1,
        histograms: 0,
        timeout: Nanos::from_nanos(timeout),
        ttl: 255,
        numbering: Numbering::ALL,
    };
    let mut measurement = Measurement::new(terms, departed).unwrap();
    for t1 in departures {
        writer.announce(1, Utc::from_nanos(t1));
    }
    measurement.notice();
    measurement
}

/// Answers a probe at `t4`, with this number of the reflector's own.
fn reply(
    measurement: &mut Measurement,
    number: i64,
    t4: i64,
    reflector: Option<u32>,
) -> Option<Verdict> {
    let (probe, _) = measurement.find(0, u32::try_from(number).unwrap())?;
    let arrived = Arrived {
        reception: Reception {
            t4: Utc::from_nanos(t4),
            source: T4Source::Kernel,
        },
        stamps: ReplyStamps::EchoOnly,
        reflector,
        headers: HeaderFields::default(),
        ssid_missing: false,
    };
    measurement.reply(0, probe, arrived, None)
}

/// Probes 10 µs apart that took these round trips.
fn round_trips(delays: &[i64]) -> Measurement {
    let departures: Vec<_> = (0..).map(|i| i * 10_000).take(delays.len()).collect();
    let mut measurement = measurement(i64::MAX, departures.iter().copied());
    for (number, (t1, delay)) in (0..).zip(departures.iter().zip(delays)) {
        reply(&mut measurement, number, t1 + delay, None).unwrap();
    }
    measurement
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
    for (pair, expected) in delays.windows(2).zip(&expected) {
        // One pair at a time, because a distribution does not keep the order.
        let ipdv = round_trips(pair).finish(None).totals.ipdv;
        let summary = ipdv.round_trip.summary().unwrap();
        assert_eq!((summary.count, summary.min.nanos()), (1, *expected));
    }

    let ipdv = round_trips(&delays).finish(None).totals.ipdv;
    let summary = ipdv.round_trip.summary().unwrap();
    assert_eq!(summary.count, expected.len() as u64);
    assert_eq!(summary.min.nanos(), *expected.iter().min().unwrap());
    assert_eq!(summary.max.nanos(), *expected.iter().max().unwrap());
    assert_eq!(expected.iter().sum::<i64>(), 0);
    assert!(summary.mean.abs() < 1e-9);
    assert_eq!(ipdv.mean_magnitude(), vectors["mean_abs_ipdv"].as_f64());
}

#[test]
fn takes_pdv_above_the_minimum() {
    let vectors = vectors();
    let mut expected = ints(&vectors["pdv"]);
    let round_trip = round_trips(&ints(&vectors["delays_us"]))
        .finish(None)
        .totals
        .round_trip;
    let pdv = round_trip.summary().unwrap().pdv();
    expected.sort_unstable();
    let rank = |permille: usize| expected[(expected.len() * permille).div_ceil(1000) - 1];
    let percentiles = [pdv.p50, pdv.p95, pdv.p99, pdv.p999].map(Nanos::nanos);
    assert_eq!(percentiles, [500, 950, 990, 999].map(rank));
    assert_eq!(Some(&pdv.max.nanos()), expected.last());
    let sum: i64 = expected.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a mean is a float")]
    let mean = sum as f64 / expected.len() as f64;
    assert!((pdv.mean - mean).abs() < 1e-9, "{} {mean}", pdv.mean);
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
        let (mut departures, departed) = flight::open(64).unwrap();
        let mut flight = Flight::new(departed, 1).unwrap();
        departures.announce(64, Utc::from_nanos(0));
        flight.open();
        let mut judge = Reordering::default();
        for (i, number) in numbers(&case["first_copies"]).into_iter().enumerate() {
            flight.answer(number, true, Remembered::Whole(Nanos::ZERO), 0);
            let arrival = judge.arrive(number);
            let in_order = arrival.reordered.is_none();
            flight.arrived(number, arrival.index, in_order);
            assert_eq!(
                !in_order,
                case["reordered"][i].as_bool().unwrap(),
                "{case} {i}"
            );
            let extent = flight
                .overtaken_since(number, arrival.index, 64)
                .filter(|_| !in_order);
            assert_eq!(extent, case["extent"][i].as_u64(), "{case} {i}");
        }
    }
}

#[test]
fn finds_n_reordering() {
    for case in vectors()["reordering_rfc4737"].as_array().unwrap() {
        let mut judge = Reordering::default();
        let mut seen = Vec::new();
        let expected = numbers(&case["max_n_reordering_per_arrival"]);
        for (number, expected) in numbers(&case["arrivals"]).into_iter().zip(expected) {
            let n = if seen.contains(&number) {
                // Only first copies are judged.
                None
            } else {
                judge.arrive(number).reordered
            };
            assert_eq!(n.map_or(0, |n| n.0) as u64, expected, "{case} {number}");
            seen.push(number);
        }
    }
}

#[test]
fn judges_reordering_by_first_copies_only() {
    for case in vectors()["reordering_rfc4737"].as_array().unwrap() {
        let arrivals = ints(&case["arrivals"]);
        let mut measurement = measurement(i64::MAX, 0..=*arrivals.iter().max().unwrap());
        for &number in &arrivals {
            reply(&mut measurement, number, 1_000, None).unwrap();
        }
        let counts = measurement.counts();
        let largest = |figures: &Value| {
            let figures = figures.as_array().unwrap().iter();
            figures.filter_map(Value::as_u64).max().unwrap_or(0)
        };
        let ratio = case["reordered_ratio"].as_f64().unwrap();
        assert!(
            (counts.reordered_ratio().unwrap() - ratio).abs() < 1e-12,
            "{case}"
        );
        assert_eq!(
            counts.reorder_extent_max,
            largest(&case["extent"]),
            "{case}"
        );
        let n_reordering = &case["max_n_reordering_per_arrival"];
        assert_eq!(counts.n_reordering_max, largest(n_reordering), "{case}");
        let by_three = numbers(n_reordering).iter().filter(|&&n| n >= 3).count();
        assert_eq!(counts.reordered_by_three, by_three as u64, "{case}");
        let first_copies = case["first_copies"].as_array().unwrap().len();
        assert_eq!(counts.received, first_copies as u64);
        assert_eq!(counts.duplicates, (arrivals.len() - first_copies) as u64);
    }
}

#[test]
fn counts_losses_by_direction() {
    for case in vectors()["loss_stateful"].as_array().unwrap() {
        let figure = |name: &str| case[name].as_u64().unwrap();
        let mut measurement = measurement(1_000_000, 0..int(&case["sent"]));
        for pair in case["replies"].as_array().unwrap() {
            let reflector = u32::try_from(int(&pair[1])).unwrap();
            reply(&mut measurement, int(&pair[0]), 1_000, Some(reflector)).unwrap();
        }
        let totals = measurement.finish(None).totals;
        assert_eq!(totals.counts.lost(), figure("round_trip_lost"), "{case}");
        let direction = totals.direction;
        let losses = Losses {
            forward: figure("near_end_loss_fwd"),
            backward: figure("far_end_loss_bwd"),
        };
        assert_eq!(direction.losses, losses, "{case}");
        assert_eq!(
            figure("sent") - direction.decided,
            figure("undecidable_tail"),
            "{case}"
        );
        let reflected = direction.decided - direction.losses.forward;
        assert_eq!(reflected, figure("known_reflected"), "{case}");
        // Equal numbers prove nothing, the user has to say that they are the reflector's own.
        assert_eq!(direction.stateful, losses.forward > 0, "{case}");
    }
}

#[test]
fn counts_duplication_per_probe() {
    let vectors = vectors();
    let case = &vectors["duplication"];
    let mut measurement = measurement(1_000_000, 0..int(&case["sent"]));
    for (number, copies) in case["arrival_counts"].as_object().unwrap() {
        let number: i64 = number.parse().unwrap();
        for _ in 0..int(copies) {
            reply(&mut measurement, number, 1_000, None).unwrap();
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
