//! Unit and property tests of the ring of outstanding probes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[expect(
    clippy::cast_possible_truncation,
    reason = "the wire counts modulo 2^32"
)]
fn low(number: u64) -> u32 {
    number as u32
}

const NO_TIME: Nanos = Nanos::ZERO;

fn at(nanos: i64) -> Utc {
    Utc::from_nanos(nanos)
}

fn stamp(nanos: i64) -> NtpTimestamp {
    NtpTimestamp::from_utc(at(nanos))
}

/// A ring with probes 0, 1, 2… sent at 10, 20, 30… ns.
fn ring(capacity: usize, probes: i64) -> Outstanding {
    let mut ring = Outstanding::new(capacity, 0).unwrap();
    for i in 1..=probes {
        ring.send(at(10 * i));
    }
    ring
}

#[test]
fn finds_a_probe_by_number_and_timestamp() {
    let ring = ring(8, 3);
    assert_eq!(ring.find(1, stamp(20)), Some(1));
    assert_eq!(ring.t1(1), at(20));
    assert_eq!(ring.find(1, stamp(10)), None, "timestamp of another probe");
    assert_eq!(ring.find(3, stamp(40)), None, "not sent yet");
}

#[test]
fn an_empty_ring_finds_nothing() {
    let ring = Outstanding::new(8, 0).unwrap();
    for sequence in [0, 1, 7, u32::MAX] {
        assert_eq!(ring.find(sequence, stamp(0)), None);
    }
}

#[test]
fn too_many_probes_to_remember_are_an_error() {
    assert!(Outstanding::new(1 << 62, 0).is_err());
}

#[test]
fn forgets_the_oldest_probe_when_full() {
    let ring = ring(4, 5);
    assert_eq!(ring.find(0, stamp(10)), None);
    assert_eq!(ring.find(1, stamp(20)), Some(1));
    assert_eq!(ring.awaited(), 4);
}

#[test]
fn tells_first_late_and_further_replies_apart() {
    let mut ring = ring(4, 2);
    assert_eq!(ring.answer(0, true, NO_TIME), Answer::OnTime);
    assert_eq!(
        ring.answer(0, true, NO_TIME),
        Answer::Duplicate { first: true }
    );
    assert_eq!(
        ring.answer(0, true, NO_TIME),
        Answer::Duplicate { first: false }
    );
    assert_eq!(ring.answer(1, false, NO_TIME), Answer::Late);
    assert_eq!(
        ring.answer(1, false, NO_TIME),
        Answer::Duplicate { first: true }
    );
    assert_eq!(ring.awaited(), 0);
}

#[test]
fn remembers_the_round_trip_of_timely_replies_only() {
    let mut ring = ring(4, 3);
    ring.answer(0, true, Nanos::from_nanos(7));
    ring.answer(1, false, Nanos::from_nanos(9));
    assert_eq!(ring.round_trip(0), Some(Nanos::from_nanos(7)));
    assert_eq!(ring.round_trip(1), None, "late");
    assert_eq!(ring.round_trip(2), None, "awaited");
    assert_eq!(ring.round_trip(3), None, "not sent");
    assert_eq!(ring.round_trip(u64::MAX), None, "before the first");
}

#[test]
fn a_reply_to_a_given_up_probe_is_still_recognised() {
    let mut ring = ring(4, 3);
    ring.give_up_before(at(25));
    assert_eq!(ring.awaited(), 1);
    assert_eq!(ring.find(0, stamp(10)), Some(0));
    assert_eq!(ring.answer(0, false, NO_TIME), Answer::Late);
    assert_eq!(ring.awaited(), 1, "it was not waited for any more");
}

#[test]
fn marked_probes_are_given_up_whatever_their_time() {
    let mut ring = ring(8, 3);
    ring.answer(1, true, NO_TIME);
    ring.mark();
    ring.send(at(-5));
    ring.give_up_marked();
    assert_eq!(ring.awaited(), 1, "the one sent since");
    assert_eq!(ring.answer(0, false, NO_TIME), Answer::Late);
    ring.mark();
    ring.take_back();
    ring.give_up_marked();
    assert_eq!(ring.awaited(), 0);
    ring.send(at(40));
    assert_eq!(ring.awaited(), 1, "a number used again is awaited again");
}

#[test]
fn a_number_taken_back_is_used_again() {
    let mut ring = ring(4, 2);
    ring.take_back();
    assert_eq!((ring.sent(), ring.awaited()), (1, 1));
    assert_eq!(ring.find(1, stamp(20)), None);
    ring.send(at(99));
    assert_eq!(ring.find(1, stamp(99)), Some(1));
    assert_eq!((ring.sent(), ring.awaited()), (2, 2));
}

#[test]
fn taking_back_a_given_up_probe_keeps_the_count_right() {
    let mut ring = ring(4, 2);
    ring.give_up_before(at(1_000));
    ring.take_back();
    ring.send(at(2_000));
    assert_eq!((ring.sent(), ring.awaited()), (2, 1));
    ring.give_up_before(at(3_000));
    assert_eq!(ring.awaited(), 0);
}

#[test]
fn numbers_wrap_on_the_wire_but_not_here() {
    let mut ring = Outstanding::new(8, u32::MAX - 1).unwrap();
    for i in 0..4 {
        ring.send(at(i));
    }
    let first = u64::from(u32::MAX) - 1;
    for (i, sequence) in [(0u8, u32::MAX - 1), (1, u32::MAX), (2, 0), (3, 1)] {
        let number = first + u64::from(i);
        assert_eq!(ring.find(sequence, stamp(i64::from(i))), Some(number));
    }
    assert_eq!(ring.find(2, stamp(4)), None);
    assert_eq!(ring.find(u32::MAX - 2, stamp(0)), None);
}

#[derive(Debug, Clone)]
enum Step {
    Send,
    TakeBack,
    Reply {
        back: u32,
        on_time: bool,
        forged: bool,
    },
    GiveUp {
        keep: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Send),
        1 => Just(Step::TakeBack),
        6 => (0u32..24, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(back, on_time, forged)| Step::Reply { back, on_time, forged }),
        1 => (0u64..24).prop_map(|keep| Step::GiveUp { keep }),
    ]
}

/// The plain model: every probe ever sent, by number, with its T1 and number of replies.
#[derive(Default)]
struct Model {
    probes: BTreeMap<u64, ModelProbe>,
    clock: i64,
}

struct ModelProbe {
    t1: i64,
    replies: u32,
    given_up: bool,
    /// A later probe took its slot, even if that one was taken back since.
    displaced: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn agrees_with_a_model_that_forgets_nothing(
        steps in prop::collection::vec(step(), 0..300),
        // Half of the runs cross the wrap of the 32-bit sequence number.
        first in prop_oneof![Just(0u32), (u32::MAX - 40)..=u32::MAX],
        bits in 0u32..6,
    ) {
        let capacity = 1u64 << bits;
        let mut ring = Outstanding::new(1 << bits, first).unwrap();
        let mut model = Model::default();
        let first = u64::from(first);
        let mut next = first;
        for step in steps {
            match step {
                Step::Send => {
                    model.clock += 10;
                    ring.send(at(model.clock));
                    model.probes.insert(
                        next,
                        ModelProbe {
                            t1: model.clock,
                            replies: 0,
                            given_up: false,
                            displaced: false,
                        },
                    );
                    next += 1;
                    let kept_from = next.saturating_sub(capacity);
                    for (_, probe) in model.probes.range_mut(..kept_from) {
                        probe.given_up = true;
                        probe.displaced = true;
                    }
                }
                Step::TakeBack => {
                    ring.take_back();
                    if next > first {
                        next -= 1;
                        model.probes.remove(&next);
                    }
                }
                Step::Reply { back, on_time, forged } => {
                    let number = next.wrapping_sub(u64::from(back));
                    let t1 = model.probes.get(&number).map_or(5, |probe| probe.t1);
                    let echo = stamp(t1 + i64::from(forged));
                    let found = ring.find(low(number), echo);
                    let expected = model
                        .probes
                        .get_mut(&number)
                        .filter(|probe| !probe.displaced && !forged);
                    prop_assert_eq!(found, expected.as_ref().map(|_| number));
                    if let Some(probe) = expected {
                        let answer = ring.answer(number, on_time, NO_TIME);
                        let expected = match probe.replies {
                            0 if on_time => Answer::OnTime,
                            0 => Answer::Late,
                            n => Answer::Duplicate { first: n == 1 },
                        };
                        prop_assert_eq!(answer, expected);
                        probe.replies += 1;
                    }
                }
                Step::GiveUp { keep } => {
                    let limit = next.saturating_sub(keep).max(first);
                    let before = model.probes.get(&limit).map_or(model.clock + 1, |p| p.t1);
                    ring.give_up_before(at(before));
                    for (_, probe) in model.probes.range_mut(..limit) {
                        probe.given_up = true;
                    }
                }
            }
            let awaited =
                model.probes.values().filter(|probe| probe.replies == 0 && !probe.given_up).count();
            prop_assert_eq!(ring.awaited(), awaited as u64);
            prop_assert_eq!(ring.sent(), next - first);
        }
    }
}
