//! The vectors of the protocol reference, through the decision.

use reflector::reflect::{Departure, Ignored, Received, Timescale, Verdict, decide};
use reflector::rule::{Format, Padding, Rule, SequencePolicy};
use serde_json::Value;
use wire::error_estimate::ErrorEstimate;
use wire::time::{NtpTimestamp, Tai, TaiOffset, Utc};

use crate::model::LIGHT;

const OFFSET: TaiOffset = TaiOffset::from_seconds(37);
/// 2023-11-14, as the vectors are.
const NEAR: Utc = Utc::from_nanos(1_700_000_000_000_000_000);

fn file(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn twamp() -> Value {
    file(include_str!(
        "../../../wire/tests/vectors/twamp_test_unauth.json"
    ))
}

fn stamp() -> Value {
    file(include_str!("../../../wire/tests/vectors/stamp.json"))
}

fn octets(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn number<T: TryFrom<i64, Error: std::fmt::Debug>>(value: &Value) -> T {
    T::try_from(value.as_i64().unwrap()).unwrap()
}

fn time(octets: &[u8]) -> Tai {
    let stamp = NtpTimestamp::from_bytes(octets.try_into().unwrap());
    stamp.to_utc(NEAR).to_tai(OFFSET)
}

/// What the rule makes of a request that met with what the expected reply says of T2, T3, TTL and
/// Error Estimate.
fn reflect(request: &[u8], expected: &[u8], tos: u8, rule: &Rule, count: u32) -> Vec<u8> {
    let timescale = Timescale {
        tai_offset: OFFSET,
        error_estimate: ErrorEstimate::from_bits(u16::from_be_bytes([expected[12], expected[13]])),
    };
    let received = Received {
        at: time(&expected[16..24]),
        len: request.len(),
        ttl: expected[40],
        tos,
    };
    let mut buffer = [request, &[0xee; 64]].concat();
    let Verdict::Reply(pending) = decide(&mut buffer, &received, rule, timescale, |_| Some(count))
    else {
        panic!("not answered");
    };
    let len = pending.payload_len();
    let departure = Departure::new(time(&expected[4..12]), timescale);
    assert!(departure.finish(pending, &mut buffer));
    buffer.truncate(len);
    buffer
}

#[test]
fn twamp_light_pairs() {
    let mut shifted = 0;
    for pair in twamp()["pairs"].as_array().unwrap() {
        let name = pair["name"].as_str().unwrap();
        let (request, expected) = (octets(&pair["sender"]), octets(&pair["reflector"]));
        let padding = if name.contains("symmetrical size") {
            Padding::SameOffset
        } else {
            shifted += 1;
            Padding::Shift
        };
        let (format, tos) = if name.contains("RFC 7750") {
            (Format::TwampLightDscp(padding), 0xba)
        } else {
            (Format::TwampLight(padding), 0)
        };
        let sequence = if pair["stateful"] == true {
            SequencePolicy::Stateful
        } else {
            SequencePolicy::Stateless
        };
        let rule = Rule {
            format,
            sequence,
            ..LIGHT
        };
        let count = number(&pair["reflector_seq"]);
        let reply = reflect(&request, &expected, tos, &rule, count);
        assert_eq!(reply, expected, "{name}");
    }
    assert_eq!(shifted, 9);
}

#[test]
fn rejects() {
    for reject in twamp()["rejects"].as_array().unwrap() {
        let request = octets(&reject["sender"]);
        let received = Received {
            at: NEAR.to_tai(OFFSET),
            len: request.len(),
            ttl: 255,
            tos: 0,
        };
        let timescale = Timescale {
            tai_offset: OFFSET,
            error_estimate: ErrorEstimate::from_bits(0x8001),
        };
        let mut buffer = [request.as_slice(), &[0; 64]].concat();
        let verdict = decide(&mut buffer, &received, &LIGHT, timescale, |_| None);
        if reject["action"] == "drop" {
            assert!(matches!(verdict, Verdict::Ignore(Ignored::TooShort)));
        } else {
            // A multiplier of 0 is reflected as it is: field practice.
            assert!(matches!(verdict, Verdict::Reply(_)));
            assert_eq!(buffer[36..38], [0, 0]);
        }
    }
}

/// The unauthenticated base of STAMP: by a rule of its own and by length.
#[test]
fn stamp_base_pairs() {
    let mut base = 0;
    for pair in stamp()["pairs"].as_array().unwrap() {
        if pair["authenticated"] == true {
            continue;
        }
        let name = pair["name"].as_str().unwrap();
        let (request, expected) = (octets(&pair["sender"]), octets(&pair["reflector"]));
        for format in [Format::Stamp, Format::ByLength] {
            let rule = Rule {
                format,
                sequence: SequencePolicy::Stateful,
                ..LIGHT
            };
            let count = number(&pair["reflector_seq"]);
            let reply = reflect(&request, &expected, 0, &rule, count);
            assert_eq!(reply[..44], expected[..44], "{name}");
            // TLVs are octets beyond the base, which RFC 8762 section 4.3 has copied.
            assert_eq!(reply[44..], request[44..], "{name}");
            if request.len() == 44 {
                assert_eq!(reply, expected, "{name}");
                base += 1;
            }
        }
    }
    assert_eq!(base, 4);
}

/// TWAMP-Light senders at a STAMP reflector (RFC 8762 section 4.6): 44 octets for fewer, and the rest
/// of more copied.
#[test]
fn stamp_answers_light_senders() {
    for case in stamp()["twamp_light_interop"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let (request, expected) = (octets(&case["sender"]), octets(&case["reflector"]));
        let by = |format| reflect(&request, &expected, 0, &Rule { format, ..LIGHT }, 0);
        let mut reply = by(Format::Stamp);
        if request.len() >= 44 {
            assert_eq!(by(Format::ByLength), expected, "{name}");
            // A STAMP session knows its sender: octets 14 and 15 are an SSID, whatever they are.
            assert_eq!(reply[14..16], request[14..16], "{name}");
            reply[14..16].fill(0);
        }
        assert_eq!(reply, expected, "{name}");
    }
}
