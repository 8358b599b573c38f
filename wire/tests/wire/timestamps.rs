//! NTP and PTP timestamps.

use proptest::prelude::*;
use serde_json::Value;
use wire::time::{
    InvalidNanoseconds, NtpDuration, NtpTimestamp, PtpTimestamp, Tai, TaiOffset, Utc,
};

use crate::vectors::{Vector, vectors};

const SECOND: i64 = 1_000_000_000;

fn file() -> Value {
    vectors!("timestamps.json")
}

fn utc(seconds: i64, nanos: i64) -> Utc {
    Utc::from_nanos(seconds * SECOND + nanos)
}

#[test]
fn the_epochs_are_70_years_apart() {
    let seconds = NtpTimestamp::from_utc(Utc::from_nanos(0)).to_bits() >> 32;
    assert_eq!(
        i64::try_from(seconds).unwrap(),
        file().int("ntp_unix_offset")
    );
}

#[test]
fn encodes_utc_as_ntp() {
    for case in file().cases("ntp_encode") {
        let name = case.text("name");
        let time = utc(case.int("unix_sec"), case.int("nanos"));
        let encoded = NtpTimestamp::from_utc(time);
        assert_eq!(encoded.to_bytes(), case.array("ntp_round"), "{name}");
        assert_eq!(
            encoded,
            NtpTimestamp::from_bits(case.bits("ntp_round")),
            "{name}"
        );
        assert_eq!(
            encoded,
            NtpTimestamp::from_bytes(case.array("ntp_round")),
            "{name}"
        );
        assert_eq!(
            encoded.to_utc(time) == time,
            case["ntp_round_decodes_back_exactly"].as_bool().unwrap(),
            "{name}"
        );
        // We round; a peer that truncates is at most one unit behind.
        let truncated = NtpTimestamp::from_bits(case.bits("ntp_truncate"));
        assert!(
            [0, 1].contains(&encoded.wrapping_diff(truncated).to_bits()),
            "{name}"
        );
    }
}

#[test]
fn decodes_ntp_in_the_era_nearest_the_clock() {
    for case in file().cases("ntp_decode") {
        let name = case.text("name");
        let stamp = NtpTimestamp::from_bits(case.bits("ntp"));
        let near = utc(case.int("local_clock_unix"), 0);
        let expected = utc(case.int("unix_sec"), case.int("nanos_round"));
        assert_eq!(stamp.to_utc(near), expected, "{name}");
        assert_eq!(
            stamp.is_unavailable(),
            name.contains("not available"),
            "{name}"
        );

        let second_begun = NtpTimestamp::from_bits(stamp.to_bits() & !0xffff_ffff);
        let floor = stamp.wrapping_diff(second_begun).to_nanos_floor();
        assert_eq!(floor, case.int("nanos_truncate"), "{name}");
    }
}

#[test]
fn subtracts_across_the_era_rollover() {
    for case in file().cases("ntp_diff") {
        let name = case.text("name");
        let earlier = NtpTimestamp::from_bits(case.bits("earlier"));
        let later = NtpTimestamp::from_bits(case.bits("later"));
        let difference = later.wrapping_diff(earlier);
        assert_eq!(
            difference.to_bits(),
            case.int("diff_2pow32_units"),
            "{name}"
        );
        assert_eq!(
            difference.to_nanos_floor(),
            case.int("diff_ns_floor"),
            "{name}"
        );
        assert_eq!(
            difference.to_nanos().nanos(),
            case.int("diff_ns_floor"),
            "{name}: exact"
        );
    }
}

#[test]
fn encodes_tai_as_ptp() {
    let offset = TaiOffset::from_seconds(i32::try_from(file().int("tai_minus_utc")).unwrap());
    for case in file().cases("ptp_truncated") {
        let name = case.text("name");
        let time = utc(case.int("unix_sec"), case.int("nanos"));
        let tai = time.to_tai(offset);
        let stamp = PtpTimestamp::from_tai(tai);
        assert_eq!(stamp.to_bytes(), case.array("ptp_tai"), "{name}");
        assert_eq!(i64::from(stamp.nanoseconds()), case.int("nanos"), "{name}");
        assert_eq!(
            PtpTimestamp::from_bytes(case.array("ptp_tai")),
            Ok(stamp),
            "{name}"
        );
        assert_eq!(stamp.to_tai(tai), tai, "{name}");
        assert_eq!(stamp.to_tai(tai).to_utc(offset), time, "{name}");

        let wrong = PtpTimestamp::from_tai(time.to_tai(TaiOffset::from_seconds(0)));
        assert_eq!(
            wrong.to_bytes(),
            case.array("ptp_if_clock_wrongly_keeps_utc"),
            "{name}"
        );

        let ntp = NtpTimestamp::from_utc(tai.to_utc(offset));
        assert_eq!(ntp.to_bytes(), case.array("ntp_same_instant"), "{name}");
    }
}

#[test]
fn rejects_ptp_with_a_billion_nanoseconds() {
    for case in file().cases("ptp_invalid") {
        let octets = case.array("hex");
        let error = PtpTimestamp::from_bytes(octets).unwrap_err();
        assert_eq!(error, InvalidNanoseconds(0x4000_0000));
    }
    let limit = |nanos: u32| PtpTimestamp::from_bytes(u64::from(nanos).to_be_bytes());
    assert_eq!(limit(999_999_999).unwrap().nanoseconds(), 999_999_999);
    assert_eq!(limit(1_000_000_000), Err(InvalidNanoseconds(1_000_000_000)));
}

#[test]
fn ptp_seconds_wrap_around_the_clock() {
    let first_of_next = PtpTimestamp::from_bytes([0; 8]).unwrap();
    let near = Tai::from_nanos((1 << 32) * SECOND - 5);
    assert_eq!(first_of_next.to_tai(near).nanos(), (1 << 32) * SECOND);
    let last = PtpTimestamp::from_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).unwrap();
    let near = Tai::from_nanos((1 << 32) * SECOND + 5);
    assert_eq!(last.to_tai(near).nanos(), ((1 << 32) - 1) * SECOND);
}

#[test]
fn decodes_at_the_ends_of_the_scale() {
    for nanos in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
        let (utc, tai) = (Utc::from_nanos(nanos), Tai::from_nanos(nanos));
        assert_eq!(NtpTimestamp::from_utc(utc).to_utc(utc), utc);
        assert_eq!(PtpTimestamp::from_tai(tai).to_tai(tai), tai);
    }
    let beyond = NtpTimestamp::from_utc(Utc::from_nanos(i64::MAX)).to_bits() + (1 << 32);
    let decoded = NtpTimestamp::from_bits(beyond).to_utc(Utc::from_nanos(i64::MAX));
    assert_eq!(decoded.nanos(), i64::MAX);
}

#[test]
fn rounds_half_a_nanosecond_up() {
    // 2^31 / 10^9 units are half a nanosecond: between 2 and 3 of them.
    assert_eq!(NtpDuration::from_bits(2).to_nanos().nanos(), 0);
    assert_eq!(NtpDuration::from_bits(3).to_nanos().nanos(), 1);
    assert_eq!(NtpDuration::from_bits(-2).to_nanos().nanos(), 0);
    assert_eq!(NtpDuration::from_bits(-3).to_nanos().nanos(), -1);
    assert_eq!(NtpDuration::from_bits(-1).to_nanos_floor(), -1);
}

/// `bits` units of 2^-32 s in nanoseconds, towards minus infinity.
fn nanos_floor(bits: i128) -> i128 {
    (bits * i128::from(SECOND)).div_euclid(1 << 32)
}

proptest! {
    #[test]
    fn ntp_keeps_every_nanosecond(nanos: i64, away in -(1_i64 << 30)..1 << 30) {
        let time = Utc::from_nanos(nanos);
        let near = Utc::from_nanos(nanos.saturating_add(away * SECOND));
        prop_assert_eq!(NtpTimestamp::from_utc(time).to_utc(near), time);
    }

    #[test]
    fn ntp_is_the_nearest_timestamp(nanos: i64) {
        let bits = NtpTimestamp::from_utc(Utc::from_nanos(nanos)).to_bits();
        let since_1900 = i128::from(nanos) + 2_208_988_800 * i128::from(SECOND);
        // Twice the distance to the exact value, in units of 2^-32 ns.
        let exact = since_1900 << 32;
        let era = 1_i128 << 64;
        let distance = (i128::from(bits) * i128::from(SECOND) - exact)
            .rem_euclid(era * i128::from(SECOND));
        let distance = distance.min(era * i128::from(SECOND) - distance);
        prop_assert!(2 * distance <= i128::from(SECOND), "{distance}");
    }

    #[test]
    fn ntp_decodes_to_the_nearest_nanosecond_within_68_years(bits: u64, near: i64) {
        let time = i128::from(NtpTimestamp::from_bits(bits).to_utc(Utc::from_nanos(near)).nanos());
        let offset = 2_208_988_800 * i128::from(SECOND);
        let floor = nanos_floor(i128::from(bits)) - offset;
        let era = (1_i128 << 32) * i128::from(SECOND);
        let rounded_up = (time - floor).rem_euclid(era);
        let at_the_end = time == i128::from(i64::MAX) || time == i128::from(i64::MIN);
        prop_assert!(at_the_end || rounded_up <= 1, "{rounded_up}");
        prop_assert!((time - i128::from(near)).abs() <= era / 2 + i128::from(SECOND));
    }

    #[test]
    fn ntp_octets_round_trip(octets: [u8; 8]) {
        prop_assert_eq!(NtpTimestamp::from_bytes(octets).to_bytes(), octets);
    }

    #[test]
    fn ntp_differences_match_wide_arithmetic(earlier: u64, span: i64) {
        let later = NtpTimestamp::from_bits(earlier.wrapping_add_signed(span));
        let difference = later.wrapping_diff(NtpTimestamp::from_bits(earlier));
        prop_assert_eq!(difference, NtpDuration::from_bits(span));
        let floor = nanos_floor(i128::from(span));
        prop_assert_eq!(i128::from(difference.to_nanos_floor()), floor);
        let twice = (i128::from(span) * 2 * i128::from(SECOND)).div_euclid(1 << 32);
        prop_assert_eq!(i128::from(difference.to_nanos().nanos()), (twice + 1).div_euclid(2));
    }

    #[test]
    fn ptp_keeps_every_nanosecond(nanos: i64, away in -(1_i64 << 30)..1 << 30) {
        let time = Tai::from_nanos(nanos);
        let near = Tai::from_nanos(nanos.saturating_add(away * SECOND));
        let stamp = PtpTimestamp::from_tai(time);
        prop_assert_eq!(stamp.to_tai(near), time);
        prop_assert_eq!(PtpTimestamp::from_bytes(stamp.to_bytes()), Ok(stamp));
    }

    #[test]
    fn scales_differ_by_the_offset(nanos in -(1_i64 << 61)..1 << 61, seconds: i32) {
        let offset = TaiOffset::from_seconds(seconds);
        let tai = Utc::from_nanos(nanos).to_tai(offset);
        prop_assert_eq!(tai.nanos() - nanos, i64::from(seconds) * SECOND);
        prop_assert_eq!(tai.to_utc(offset).nanos(), nanos);
    }
}
