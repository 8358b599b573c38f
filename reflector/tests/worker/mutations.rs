//! Good frames with something done to them.

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use proptest::sample::Index;
use reflector::rule::{Rule, SequencePolicy};
use testbed::Datagram;
use wire::frame::Layout;

use crate::oracle::{assert_answers, has_evil_bit, may_be_answered};
use crate::rig::{Bench, RULE, good_frames, meta_of};
use crate::rules::format;

/// One thing done to a good frame.
#[derive(Debug, Clone)]
enum Mutation {
    SetOctet(Index, u8),
    FlipBit(Index, u8),
    SetWord(Index, u16),
    Truncate(Index),
    Append(Vec<u8>),
    Replace(Vec<u8>),
}

/// What stands below the frame.
#[derive(Debug, Clone)]
enum Below {
    /// What the XDP program would write for the frame before it was mutated.
    Meta,
    Nothing,
    /// The same with an octet changed (never the version).
    Spoilt(usize, u8),
    Random(Vec<u8>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Mutation::SetOctet(at, value)),
        4 => (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Mutation::FlipBit(at, bit)),
        4 => (any::<Index>(), any::<u16>()).prop_map(|(at, value)| Mutation::SetWord(at, value)),
        2 => any::<Index>().prop_map(Mutation::Truncate),
        1 => prop::collection::vec(any::<u8>(), 1..64).prop_map(Mutation::Append),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Mutation::Replace),
    ]
}

fn below() -> impl Strategy<Value = Below> {
    prop_oneof![
        3 => Just(Below::Meta),
        3 => Just(Below::Nothing),
        2 => (0..28_usize, any::<u8>()).prop_map(|(at, value)| Below::Spoilt(at, value)),
        1 => prop::collection::vec(any::<u8>(), 32).prop_map(Below::Random),
    ]
}

fn mutate(frame: &mut Vec<u8>, mutation: &Mutation) {
    match mutation {
        Mutation::Replace(octets) => frame.clone_from(octets),
        Mutation::Append(octets) => frame.extend(octets),
        Mutation::Truncate(at) => frame.truncate(at.index(frame.len() + 1)),
        _ if frame.len() < 2 => {}
        Mutation::SetOctet(at, value) => {
            let at = at.index(frame.len());
            frame[at] = *value;
        }
        Mutation::FlipBit(at, bit) => {
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
        }
        Mutation::SetWord(at, value) => {
            let at = at.index(frame.len() - 1);
            frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
    }
}

fn mutated(original: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut frame = original.to_vec();
    for mutation in mutations {
        mutate(&mut frame, mutation);
    }
    frame
}

fn octets_below(below: &Below, original: &[u8]) -> Vec<u8> {
    let meta = meta_of(original).unwrap();
    match below {
        Below::Meta => meta.to_bytes().to_vec(),
        Below::Nothing => Vec::new(),
        Below::Spoilt(at, value) => {
            let mut octets = meta.to_bytes();
            octets[*at] = *value;
            octets.to_vec()
        }
        Below::Random(octets) => octets.clone(),
    }
}

/// It reads such a header checksum wrong, either way.
fn is_beyond_etherparse(frame: &[u8]) -> bool {
    Layout::parse(frame).is_ok_and(|layout| has_evil_bit(frame, &layout))
}

/// A frame to start from, what is done to it, and what stands below it.
type Case = (Index, Vec<Mutation>, Below);

fn cases() -> impl Strategy<Value = Vec<Case>> {
    let case = (
        any::<Index>(),
        prop::collection::vec(mutation(), 0..4),
        below(),
    );
    prop::collection::vec(case, 250)
}

proptest! {
    // Twice 300 runs of 250 frames: 150 000 mutated frames, each run through one worker.
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_however_mutated_crashes_it_leaks_or_gets_a_wrong_answer(
        cases in cases(),
        start_cursor in any::<u32>(),
    ) {
        let mut bench = Bench::new(start_cursor);
        let frames = good_frames();
        for (start, mutations, below) in &cases {
            let original = start.get(&frames);
            let frame = mutated(original, mutations);
            let reply = bench.exchange(&frame, &octets_below(below, original));
            if is_beyond_etherparse(&frame) {
                continue;
            }
            // Without metadata the worker finds its own way: then whatever may be answered and is of
            // the form that the fast path takes must be.
            let must_be = matches!(below, Below::Nothing)
                && Layout::parse(&frame).is_ok()
                && may_be_answered(&frame);
            prop_assert!(reply.is_some() || !must_be, "unanswered {frame:02x?}");
            if let Some(reply) = reply {
                prop_assert!(may_be_answered(&frame), "answered {frame:02x?}");
                if !matches!(below, Below::Spoilt(..)) {
                    assert_answers(&reply, &frame);
                }
            }
        }
        prop_assert_eq!(bench.counters.received.value(), cases.len() as u64);
        prop_assert_eq!(bench.worker.queue().rejected(), xsk::Rejected::default());
    }

    /// By a rule that has a say in everything: STAMP with a count, padding that moves.
    #[test]
    fn no_frame_however_mutated_gets_a_wrong_checksum_by_any_rule(
        cases in cases(), format in format(), large: bool,
    ) {
        let rule = Rule { format, sequence: SequencePolicy::Stateful, ..RULE };
        let mut bench = Bench::by(rule);
        bench.sessions.large.store(large, Ordering::Relaxed);
        let frames = good_frames();
        for (start, mutations, below) in &cases {
            let original = start.get(&frames);
            let frame = mutated(original, mutations);
            let reply = bench.exchange(&frame, &octets_below(below, original));
            if let Some(reply) = reply.filter(|_| !is_beyond_etherparse(&frame)) {
                prop_assert!(may_be_answered(&frame), "answered {frame:02x?}");
                let (reply, request) =
                    (Datagram::parse(&reply).unwrap(), Datagram::parse(&frame).unwrap());
                prop_assert_eq!(reply.destination, request.source);
                prop_assert!(reply.udp_checksum_valid || request.udp_checksum == 0);
                prop_assert!(reply.payload.len() <= request.payload.len().max(44));
            }
        }
        prop_assert_eq!(bench.worker.queue().rejected(), xsk::Rejected::default());
    }
}
