//! The Error Estimate.

use proptest::prelude::*;
use serde_json::Value;
use wire::error_estimate::ErrorEstimate;
use wire::time::TimestampFormat;

use crate::vectors::{Vector, vectors};

fn file() -> Value {
    vectors!("error_estimate.json")
}

fn format(z: i64) -> TimestampFormat {
    match z {
        0 => TimestampFormat::Ntp,
        1 => TimestampFormat::Ptp,
        _ => unreachable!("Z is one bit"),
    }
}

/// "numerator/denominator s" in units of 2^-32 s, rounded up; saturates.
fn units(seconds: &str) -> u128 {
    let (numerator, denominator) = seconds.strip_suffix(" s").unwrap().split_once('/').unwrap();
    let numerator: u128 = numerator.parse().unwrap();
    numerator
        .saturating_mul(1 << 32)
        .div_ceil(denominator.parse().unwrap())
}

fn check_fields(estimate: ErrorEstimate, case: &Value, name: &str) {
    assert_eq!(i64::from(estimate.synchronised()), case.int("S"), "{name}");
    assert_eq!(estimate.format(), format(case.int("Z")), "{name}");
    assert_eq!(i64::from(estimate.scale()), case.int("scale"), "{name}");
    assert_eq!(
        i64::from(estimate.multiplier()),
        case.int("multiplier"),
        "{name}"
    );
}

/// Nanoseconds of a vector's seconds are exact enough to tell a wrong scale or multiplier.
fn check_seconds(estimate: ErrorEstimate, seconds: f64, name: &str) {
    let nanos = estimate.error_nanos().unwrap();
    if nanos == u64::MAX {
        assert!(seconds * 1e9 > 1.8e19, "{name}");
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "the tolerance is wider")]
    let above = nanos as f64 - seconds * 1e9;
    assert!((-1e-3..=1.0 + seconds).contains(&above), "{name}: {above}");
}

#[test]
fn encodes_rounding_up() {
    for case in file().cases("encode_round_up") {
        let name = case.text("name");
        let synchronised = case.int("S") == 1;
        let estimate =
            ErrorEstimate::new(units(case.text("err")), synchronised, format(case.int("Z")));
        assert_eq!(estimate.to_bits(), case.word("hex"), "{name}");
        check_fields(estimate, case, name);
        check_seconds(estimate, case["decodes_to_seconds"].as_f64().unwrap(), name);
    }
}

#[test]
fn decodes_what_peers_send() {
    for case in file().cases("decode") {
        let name = case.text("note");
        let estimate = ErrorEstimate::from_bits(case.word("hex"));
        check_fields(estimate, case, name);
        assert_eq!(
            estimate.is_valid(),
            case["valid"].as_bool().unwrap(),
            "{name}"
        );
        if estimate.is_valid() {
            check_seconds(estimate, case["seconds"].as_f64().unwrap(), name);
        } else {
            assert_eq!(estimate.error_nanos(), None, "{name}");
        }
    }
}

#[test]
fn takes_errors_in_nanoseconds() {
    for (nanos, bits) in [
        (0, 0x8001),
        (1, 0x8005),
        (1_000, 0x8587),
        (10_000_000, 0x92a4),
    ] {
        let estimate = ErrorEstimate::from_nanos(nanos, true, TimestampFormat::Ntp);
        assert_eq!(estimate.to_bits(), bits);
    }
    let longest = ErrorEstimate::from_nanos(u64::MAX, false, TimestampFormat::Ntp);
    assert_eq!(longest.error_nanos(), Some(u64::MAX));
}

#[test]
fn saturates_beyond_the_largest_estimate() {
    let largest = 255_u128 << 63;
    let encode = |error| ErrorEstimate::new(error, false, TimestampFormat::Ntp).to_bits();
    assert_eq!(encode(largest), 0x3fff);
    assert_eq!(encode(largest - (1 << 63)), 0x3ffe);
    assert_eq!(encode(largest + 1), 0x3fff);
    assert_eq!(encode(u128::MAX), 0x3fff);
}

/// The error an estimate stands for, in units of 2^-32 s.
fn error(estimate: ErrorEstimate) -> u128 {
    u128::from(estimate.multiplier()) << estimate.scale()
}

proptest! {
    #[test]
    fn never_understates_and_never_wastes_a_step(
        mantissa: u64, shift in 0_u32..8, small in 0_u32..64, synchronised: bool, ptp: bool,
    ) {
        let wanted = ((u128::from(mantissa) << shift) >> small).min(255 << 63);
        let format = if ptp { TimestampFormat::Ptp } else { TimestampFormat::Ntp };
        let estimate = ErrorEstimate::new(wanted, synchronised, format);
        prop_assert_eq!(estimate.synchronised(), synchronised);
        prop_assert_eq!(estimate.format(), format);
        prop_assert!(estimate.is_valid());
        prop_assert!(error(estimate) >= wanted);
        // One multiplier less would not reach, and a finer scale could not hold it.
        let step = 1_u128 << estimate.scale();
        prop_assert!(error(estimate) - step < wanted.max(1));
        prop_assert!(estimate.scale() == 0 || wanted.div_ceil(step / 2) > 255);
    }

    #[test]
    fn nanoseconds_are_rounded_up_both_ways(nanos: u64) {
        let estimate = ErrorEstimate::from_nanos(nanos, true, TimestampFormat::Ntp);
        let back = estimate.error_nanos().unwrap();
        prop_assert!(back >= nanos);
        prop_assert!(u128::from(back) <= u128::from(nanos) * 129 / 128 + 2);
    }

    #[test]
    fn bits_round_trip(bits: u16) {
        prop_assert_eq!(ErrorEstimate::from_bits(bits).to_bits(), bits);
    }
}

#[test]
fn changes_format_and_synchronisation_and_nothing_else() {
    for bits in [0, 0x8587, 0x4f84, 0xffff] {
        let estimate = ErrorEstimate::from_bits(bits);
        assert_eq!(
            estimate.with_format(TimestampFormat::Ntp).to_bits(),
            bits & 0xbfff
        );
        assert_eq!(
            estimate.with_format(TimestampFormat::Ptp).to_bits(),
            bits | 0x4000
        );
        assert_eq!(estimate.unsynchronised().to_bits(), bits & 0x7fff);
    }
}
