//! What holds for every rule and every request.

use std::cell::Cell;

use proptest::prelude::*;
use reflector::reflect::{Departure, Ignored, Verdict, decide, reply_len, session_ssid};
use reflector::rule::{SequencePolicy, ShortPolicy};

use crate::model::{Case, case};

/// Room for every reply, and some more that must stay as it is.
const ROOM: usize = 64;

/// The buffer after the decision, and its finish if there was one.
struct Outcome {
    buffer: Vec<u8>,
    answer: Result<usize, Ignored>,
    /// SSIDs that a number was asked for.
    asked: Vec<u16>,
}

/// Decides and finishes in a buffer with `stale` octets behind the request.
fn run(case: &Case, stale: u8, room: usize) -> Outcome {
    let mut buffer = case.request.clone();
    buffer.resize(case.request.len() + room, stale);
    let asked = Cell::new(Vec::new());
    let next = |ssid| {
        asked.set(vec![ssid]);
        case.count
    };
    let verdict = decide(
        &mut buffer,
        &case.received(),
        &case.rule,
        case.timescale,
        next,
    );
    let answer = match verdict {
        Verdict::Reply(pending) => {
            let len = pending.payload_len();
            let departure = Departure::new(case.departure, case.timescale);
            assert!(departure.finish(pending, &mut buffer[..len]));
            Ok(len)
        }
        Verdict::Ignore(reason) => Err(reason),
        other => panic!("{other:?}"),
    };
    Outcome {
        buffer,
        answer,
        asked: asked.into_inner(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, ..ProptestConfig::default() })]

    #[test]
    fn a_reply_is_the_model_s_octet_by_octet(case in case()) {
        let outcome = run(&case, 0xee, ROOM);
        match (case.answer(), outcome.answer) {
            (Ok(expected), Ok(len)) => {
                prop_assert_eq!(&outcome.buffer[..len], &expected);
                let stale = &outcome.buffer[len.max(case.request.len())..];
                prop_assert!(stale.iter().all(|&octet| octet == 0xee), "written beyond the reply");
            }
            (Err(expected), Err(reason)) => {
                prop_assert_eq!(reason, expected);
                prop_assert_eq!(&outcome.buffer[..case.request.len()], &case.request);
                let stale = &outcome.buffer[case.request.len()..];
                prop_assert!(stale.iter().all(|&octet| octet == 0xee));
            }
            (expected, answer) => prop_assert!(false, "{answer:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_reply_is_as_long_as_its_request_and_its_header(case in case()) {
        let request_len = case.request.len();
        if let Ok(len) = run(&case, 0, ROOM).answer {
            prop_assert_eq!(len, request_len.max(case.header_len()));
            prop_assert_eq!(len, reply_len(&case.rule, request_len));
            // No amplification but what the protocol demands, and none at all if so told.
            prop_assert!(len <= request_len.max(44));
            prop_assert!(case.rule.short == ShortPolicy::Answer || len == request_len);
        }
    }

    #[test]
    fn nothing_that_was_behind_the_request_gets_out(case in case(), one: u8, other: u8) {
        let (one, other) = (run(&case, one, ROOM), run(&case, other, ROOM));
        prop_assert_eq!(one.answer, other.answer);
        let len = one.answer.unwrap_or(case.request.len());
        prop_assert_eq!(&one.buffer[..len], &other.buffer[..len]);
    }

    #[test]
    fn without_room_a_packet_is_ignored_and_not_counted(
        mut case in case(), len in 14_usize..44, short in 1_usize..10,
    ) {
        case.request.resize(len, 0x55);
        let needed = reply_len(&case.rule, len) - len;
        let Some(room) = needed.checked_sub(short) else {
            return Ok(());
        };
        let outcome = run(&case, 0xee, room);
        let expected = match case.answer() {
            Err(reason) if reason != Ignored::SessionTableFull => reason,
            _ => Ignored::NoRoom,
        };
        prop_assert_eq!(outcome.answer, Err(expected));
        prop_assert!(outcome.asked.is_empty());
        prop_assert_eq!(&outcome.buffer[..case.request.len()], &case.request);
    }

    #[test]
    fn a_session_counts_what_is_answered_and_nothing_else(case in case()) {
        let outcome = run(&case, 0xee, ROOM);
        let counts = case.rule.sequence == SequencePolicy::Stateful
            && matches!(outcome.answer, Ok(_) | Err(Ignored::SessionTableFull));
        let expected = if counts { vec![case.ssid()] } else { Vec::new() };
        prop_assert_eq!(outcome.asked, expected);
        prop_assert_eq!(session_ssid(&case.rule, &case.request), session(&case));
    }

    #[test]
    fn one_departure_serves_a_batch(case in case()) {
        let mut buffer = case.request.clone();
        buffer.resize(case.request.len() + ROOM, 0);
        let next = |_| case.count;
        let verdict = decide(&mut buffer, &case.received(), &case.rule, case.timescale, next);
        if let Verdict::Reply(pending) = verdict {
            let len = pending.payload_len();
            let departure = Departure::new(case.departure, case.timescale);
            // What is summed up is what is written.
            let head = len.min(44);
            let sum = pending.sum().plus(departure.sum(&pending)).fold();
            prop_assert!(departure.finish(pending, &mut buffer[..len]));
            prop_assert_eq!(sum, wire::checksum::Sum::new().add(&buffer[..head]).fold());
            prop_assert_eq!(&buffer[..len], &run(&case, 0, ROOM).buffer[..len]);
        }
    }
}

/// The SSID of a packet that is long enough to be answered, else 0.
fn session(case: &Case) -> u16 {
    if case.request.len() < 14 {
        0
    } else {
        case.ssid()
    }
}
