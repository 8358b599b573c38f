//! The probes in flight, one property at a time.

mod model;

use super::*;

const WHOLE: Remembered = Remembered::Whole(Nanos::ZERO);

fn at(nanos: i64) -> Utc {
    Utc::from_nanos(nanos)
}

fn whole(nanos: i64) -> Remembered {
    Remembered::Whole(Nanos::from_nanos(nanos))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the wire counts modulo 2^32"
)]
fn low(number: u64) -> u32 {
    number as u32
}

/// Both ends of a flight of `sessions` sessions, with probes 0, 1, 2… sent at 10, 20, 30… ns.
fn flight(capacity: usize, sessions: usize, probes: i64) -> (Departures, Flight) {
    let (mut departures, departed) = open(capacity).unwrap();
    let mut flight = Flight::new(departed, sessions).unwrap();
    for i in 1..=probes {
        departures.announce(1, at(10 * i));
    }
    flight.open();
    (departures, flight)
}

/// The same, but the first probe has number `first` in every session.
fn flight_from(capacity: usize, sessions: usize, first: u64) -> (Departures, Flight) {
    let (mut departures, mut flight) = flight(capacity, sessions, 0);
    let probe = first * sessions as u64;
    departures.jump(probe);
    (flight.opened, flight.closed) = (probe, probe);
    (departures, flight)
}

fn close(flight: &mut Flight, give_up: GiveUp) -> Vec<(Ordinal, usize, bool)> {
    let mut closed = Vec::new();
    flight.close(give_up, |each| {
        closed.push((each.probe, each.session, each.on_time));
    });
    closed
}

#[test]
fn finds_a_probe_by_its_number_and_tells_its_t1() {
    let (_departures, flight) = flight(8, 1, 3);
    assert_eq!(flight.find(0, 1), Some((1, at(20))));
    assert_eq!(flight.find(0, 3), None, "not sent yet");
    assert_eq!(flight.find(0, u32::MAX), None, "never sent");
    assert_eq!(flight.find(1, 0), None, "no such session");
}

#[test]
fn an_empty_flight_finds_nothing() {
    let (_departures, flight) = flight(8, 1, 0);
    for sequence in [0, 1, 7, u32::MAX] {
        assert_eq!(flight.find(0, sequence), None);
    }
    assert_eq!(
        (flight.opened(), flight.awaited(), flight.oldest_open()),
        (0, 0, None)
    );
}

#[test]
fn sessions_take_turns_and_number_for_themselves() {
    let (_departures, mut flight) = flight(16, 3, 8);
    assert_eq!([0, 1, 2].map(|session| flight.sent(session)), [3, 3, 2]);
    assert_eq!(flight.find(1, 2), Some((7, at(80))));
    assert_eq!(flight.find(2, 2), None, "the third session has sent two");
    assert_eq!(flight.number(7), 2);
    flight.answer(4, true, whole(5), 0);
    assert_eq!(
        flight.before(7),
        Some(whole(5)),
        "neighbours are of one session"
    );
    assert_eq!(flight.after(1), Some(whole(5)));
    assert_eq!((flight.before(5), flight.after(3)), (None, None));
    let sessions: Vec<_> = close(&mut flight, GiveUp::All)
        .iter()
        .map(|closed| closed.1)
        .collect();
    assert_eq!(sessions, [0, 1, 2, 0, 1, 2, 0, 1]);
}

#[test]
fn tells_first_late_and_further_replies_apart() {
    let (_departures, mut flight) = flight(4, 1, 2);
    assert_eq!(flight.answer(0, true, WHOLE, 7), Answer::OnTime);
    let duplicate = |first, reflector| Answer::Duplicate { first, reflector };
    assert_eq!(flight.answer(0, true, WHOLE, 8), duplicate(true, 7));
    assert_eq!(flight.answer(0, true, WHOLE, 9), duplicate(false, 7));
    assert_eq!(flight.answer(1, false, WHOLE, 10), Answer::Late);
    assert_eq!(flight.answer(1, true, WHOLE, 10), duplicate(true, 10));
    assert_eq!(flight.awaited(), 0);
}

#[test]
fn remembers_the_delays_of_timely_replies_only() {
    let (_departures, mut flight) = flight(4, 1, 4);
    let split = Remembered::Split {
        forward: Nanos::from_nanos(-3),
        backward: Nanos::from_nanos(10),
    };
    assert_eq!(split.round_trip(), Nanos::from_nanos(7));
    flight.answer(0, true, split, 0);
    flight.answer(1, false, whole(9), 0);
    flight.answer(0, true, whole(1), 0);
    assert_eq!(
        flight.before(1),
        Some(split),
        "and not those of a duplicate"
    );
    assert_eq!(flight.before(2), None, "late");
    assert_eq!(flight.before(3), None, "awaited");
    assert_eq!(flight.after(3), None, "not sent");
    assert_eq!(flight.before(0), None, "before the first");
}

#[test]
fn closes_in_sending_order_up_to_the_first_that_is_still_awaited() {
    let (_departures, mut flight) = flight(8, 1, 4);
    flight.answer(2, true, WHOLE, 0);
    flight.answer(0, false, WHOLE, 0);
    let before = GiveUp::Before(at(0));
    assert_eq!(close(&mut flight, before), [(0, 0, false)], "late is lost");
    assert_eq!(flight.oldest_open(), Some(at(20)));
    assert_eq!(close(&mut flight, before), []);
    flight.answer(1, true, WHOLE, 0);
    assert_eq!(close(&mut flight, before), [(1, 0, true), (2, 0, true)]);
    assert_eq!(close(&mut flight, GiveUp::Before(at(41))), [(3, 0, false)]);
    assert_eq!(flight.oldest_open(), None);
}

#[test]
fn gives_up_what_was_sent_before_the_limit_and_not_at_it() {
    let (_departures, mut flight) = flight(8, 1, 3);
    assert_eq!(close(&mut flight, GiveUp::Before(at(20))), [(0, 0, false)]);
    assert_eq!(flight.awaited(), 2);
}

#[test]
fn a_reply_to_a_given_up_probe_is_still_recognised() {
    let (_departures, mut flight) = flight(4, 1, 3);
    close(&mut flight, GiveUp::Before(at(25)));
    assert_eq!(flight.awaited(), 1);
    assert_eq!(flight.find(0, 0), Some((0, at(10))));
    assert_eq!(flight.answer(0, false, WHOLE, 0), Answer::Late);
    assert_eq!(flight.answer(1, true, WHOLE, 0), Answer::OnTime);
    assert_eq!(flight.awaited(), 1, "they were not waited for any more");
}

#[test]
fn marked_probes_are_given_up_whatever_their_time() {
    let (mut departures, mut flight) = flight(8, 1, 3);
    flight.answer(1, true, WHOLE, 0);
    flight.mark();
    departures.announce(1, at(-5));
    flight.open();
    let closed = [(0, 0, false), (1, 0, true), (2, 0, false)];
    assert_eq!(close(&mut flight, GiveUp::Marked), closed);
    assert_eq!(flight.awaited(), 1, "the one sent since");
    flight.mark();
    departures.take_back(1);
    flight.open();
    departures.announce(1, at(40));
    flight.open();
    close(&mut flight, GiveUp::Marked);
    assert_eq!(flight.awaited(), 1, "a number used again is not marked");
}

#[test]
fn a_number_taken_back_is_used_again() {
    let (mut departures, mut flight) = flight(4, 1, 2);
    departures.take_back(1);
    flight.open();
    assert_eq!((flight.opened(), flight.awaited()), (1, 1));
    assert_eq!(flight.find(0, 1), None);
    departures.announce(1, at(99));
    flight.open();
    assert_eq!(flight.find(0, 1), Some((1, at(99))));
    assert_eq!((flight.opened(), flight.awaited()), (2, 2));
}

#[test]
fn a_number_used_again_unnoticed_has_its_new_t1() {
    let (mut departures, mut flight) = flight(4, 1, 2);
    departures.take_back(1);
    departures.announce(1, at(99));
    flight.open();
    assert_eq!(flight.find(0, 1), Some((1, at(99))));
    assert_eq!((flight.opened(), flight.awaited()), (2, 2));
}

#[test]
fn taking_back_keeps_the_counts_right_whatever_became_of_the_probe() {
    let (mut departures, mut flight) = flight(4, 2, 3);
    close(&mut flight, GiveUp::All);
    departures.take_back(1);
    flight.open();
    departures.announce(2, at(2_000));
    flight.open();
    assert_eq!((flight.opened(), flight.awaited()), (4, 2));
    flight.answer(3, true, WHOLE, 0);
    assert_eq!(flight.awaited(), 1);
    departures.take_back(1);
    flight.open();
    assert_eq!(flight.awaited(), 1, "the answered one is gone");
    let closed = close(&mut flight, GiveUp::Before(at(3_000)));
    assert_eq!(
        closed,
        [(2, 0, false)],
        "the first session has its turn again"
    );
    assert_eq!(flight.awaited(), 0);
}

#[test]
fn a_probe_given_up_and_taken_back_makes_no_room_for_two() {
    let (mut departures, mut flight) = flight(2, 1, 2);
    close(&mut flight, GiveUp::All);
    assert_eq!(departures.room(9), 2);
    departures.take_back(1);
    flight.open();
    assert_eq!(departures.room(9), 2);
    departures.announce(2, at(50));
    flight.open();
    assert_eq!(
        departures.room(9),
        0,
        "or the first of these could not be remembered"
    );
    assert_eq!(
        close(&mut flight, GiveUp::All),
        [(1, 0, false), (2, 0, false)]
    );
}

#[test]
fn a_departure_is_corrected_but_not_what_the_packet_carried() {
    let (mut departures, mut flight) = flight(4, 1, 2);
    assert_eq!(flight.correct(1, at(27), |_, _| true), Correction::Made);
    assert_eq!((flight.t1(0), flight.t1(1)), (at(10), at(27)));
    assert_eq!(flight.find(0, 1), Some((1, at(20))));
    let corrected = flight.correct(1, at(13), |t1, _| t1 == at(20));
    assert_eq!(corrected, Correction::Made);
    assert_eq!(flight.t1(1), at(13), "the clock may have gone back");
    for (later, plausible) in [(17, false), (3_000_000_000, true)] {
        let corrected = flight.correct(1, at(later), |_, _| plausible);
        assert_eq!(corrected, Correction::Implausible);
    }
    assert_eq!(flight.t1(1), at(13), "nonsense is none");
    assert_eq!(flight.correct(7, at(70), |_, _| true), Correction::TooLate);
    assert_eq!(flight.find(0, 7), None);
    close(&mut flight, GiveUp::All);
    departures.announce(4, at(1_000));
    flight.open();
    assert_eq!(
        flight.t1(5),
        at(1_000),
        "the next one in its place is not corrected"
    );
}

#[test]
fn a_departure_told_after_the_reply_corrects_nothing() {
    let (_departures, mut flight) = flight(4, 1, 2);
    flight.answer(1, true, whole(5), 0);
    assert_eq!(flight.correct(1, at(27), |_, _| true), Correction::TooLate);
    assert_eq!(flight.t1(1), at(20));
}

#[test]
fn forgets_the_oldest_probe_when_full() {
    let (mut departures, mut flight) = flight(4, 1, 4);
    close(&mut flight, GiveUp::All);
    assert_eq!(flight.find(0, 0), Some((0, at(10))));
    departures.announce(1, at(50));
    flight.open();
    assert_eq!(flight.find(0, 0), None);
    assert_eq!(flight.find(0, 1), Some((1, at(20))));
    assert_eq!(flight.awaited(), 1);
}

#[test]
fn numbers_wrap_on_the_wire_but_not_here() {
    let first = u64::from(u32::MAX) - 1;
    let (mut departures, mut flight) = flight_from(8, 2, first);
    for i in 0..7 {
        departures.announce(1, at(i));
    }
    flight.open();
    for (session, sequence, i) in [
        (0, u32::MAX - 1, 0),
        (1, u32::MAX, 3),
        (0, 0, 4),
        (1, 0, 5),
        (0, 1, 6),
    ] {
        let (probe, t1) = flight.find(session, sequence).unwrap();
        assert_eq!((probe, t1), (2 * first + i, at(i.cast_signed())));
        assert_eq!(low(flight.number(probe)), sequence);
    }
    assert_eq!(flight.find(1, 1), None);
}
