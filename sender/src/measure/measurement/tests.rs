//! Departures and replies of chosen fates, and the figures they must make.

mod direction;
mod sessions;

use super::*;
use crate::flight::{self, Departures};

const STEP: i64 = 100;

fn terms(sessions: usize) -> Terms {
    Terms {
        sessions,
        histograms: 0,
        timeout: Nanos::from_nanos(1000),
        ttl: 255,
        numbering: Numbering::ALL,
    }
}

/// A sender of probes at 0, 100, 200… ns, sessions in turn, and its measurement.
struct Scene {
    departures: Departures,
    measurement: Measurement,
    sessions: u64,
}

impl Scene {
    fn new(terms: Terms, probes: i64) -> Self {
        Self::with_room(64, terms, probes)
    }

    fn with_room(capacity: usize, terms: Terms, probes: i64) -> Self {
        let (departures, departed) = flight::open(capacity).unwrap();
        let mut scene = Self {
            departures,
            measurement: Measurement::new(terms, departed).unwrap(),
            sessions: terms.sessions as u64,
        };
        for i in 0..probes {
            scene.departures.announce(1, Utc::from_nanos(STEP * i));
        }
        scene.measurement.notice();
        scene
    }

    /// Answers probe `number` of a session this long after its T1.
    fn answer(&mut self, session: usize, number: u32, reply: Arrived) -> Option<Verdict> {
        let (probe, t1) = self.measurement.find(session, number).unwrap();
        assert_eq!(probe, u64::from(number) * self.sessions + session as u64);
        let t4 = t1 + (reply.reception.t4 - Utc::from_nanos(0));
        let reception = Reception {
            t4,
            ..reply.reception
        };
        let stamps = match reply.stamps {
            ReplyStamps::EchoOnly => ReplyStamps::EchoOnly,
            ReplyStamps::Stamped(times, error) => ReplyStamps::Stamped(
                ReflectorTimes {
                    receive: t1.nanos() + times.receive,
                    transmit: t1.nanos() + times.transmit,
                },
                error,
            ),
        };
        let reply = Arrived {
            reception,
            stamps,
            ..reply
        };
        self.measurement.reply(session, probe, reply, None)
    }

    /// Answers probes of the only session by an echo after so many nanoseconds.
    fn echo(&mut self, delays: &[(u32, i64)]) {
        for &(number, delay) in delays {
            self.answer(0, number, echo(delay)).unwrap();
        }
    }

    fn finish(self) -> Finished {
        self.measurement.finish(None)
    }
}

/// An echo that arrives so many nanoseconds after T1.
fn echo(delay: i64) -> Arrived {
    Arrived {
        reception: Reception {
            t4: Utc::from_nanos(delay),
            source: T4Source::Kernel,
        },
        stamps: ReplyStamps::EchoOnly,
        reflector: None,
        headers: HeaderFields::default(),
        ssid_missing: false,
    }
}

/// A reply whose T2, T3 and T4 are so many nanoseconds after T1.
fn stamped(t2: i64, t3: i64, t4: i64, error_bits: u16) -> Arrived {
    let times = ReflectorTimes {
        receive: t2,
        transmit: t3,
    };
    Arrived {
        stamps: ReplyStamps::Stamped(times, ErrorEstimate::from_bits(error_bits)),
        ..echo(t4)
    }
}

/// A reply with this number of the reflector's own.
fn numbered(reflector: u32) -> Arrived {
    Arrived {
        reflector: Some(reflector),
        ..stamped(10, 20, 30, 0x8001)
    }
}

fn received(round_trip: i64) -> Verdict {
    let round_trip = Nanos::from_nanos(round_trip);
    Verdict::Received { round_trip }
}

#[test]
fn ipdv_is_taken_in_sending_order_and_bridges_no_gap() {
    let mut scene = Scene::new(terms(1), 5);
    // Probe 2 is lost, and probe 4 is answered before 3.
    scene.echo(&[(0, 10), (1, 30), (4, 70), (3, 20)]);
    let ipdv = scene.finish().totals.ipdv;
    let summary = ipdv.round_trip.summary().unwrap();
    assert_eq!(summary.count, 2);
    assert_eq!((summary.min.nanos(), summary.max.nanos()), (20, 50));
    assert_eq!(ipdv.mean_magnitude(), Some(35.0));
    assert_eq!(
        (ipdv.forward.count(), ipdv.backward.count()),
        (0, 0),
        "no T2 and T3"
    );
}

#[test]
fn ipdv_of_each_direction_needs_no_synchronised_clocks() {
    let ahead = 1_000_000;
    let mut scene = Scene::new(terms(1), 3);
    for (number, forward, backward) in [(0, 50, 40), (1, 20, 45), (2, 60, 45)] {
        let (t2, t3) = (ahead + forward, ahead + forward + 100);
        scene.answer(0, number, stamped(t2, t3, t3 - ahead + backward, 1));
    }
    let ipdv = scene.finish().totals.ipdv;
    let ends = |distribution: &crate::measure::distribution::Distribution| {
        let summary = distribution.summary().unwrap();
        (summary.count, summary.min.nanos(), summary.max.nanos())
    };
    assert_eq!(ends(&ipdv.forward), (2, -30, 40));
    assert_eq!(ends(&ipdv.backward), (2, 0, 5));
    assert_eq!(
        ends(&ipdv.round_trip),
        (2, -25, 40),
        "residence is left out"
    );
}

#[test]
fn an_echo_between_stamped_replies_leaves_the_directions_out() {
    let mut scene = Scene::new(terms(1), 3);
    scene.answer(0, 0, stamped(10, 20, 40, 1));
    scene.answer(0, 1, echo(35));
    scene.answer(0, 2, stamped(10, 20, 50, 1));
    let ipdv = scene.finish().totals.ipdv;
    assert_eq!((ipdv.round_trip.count(), ipdv.forward.count()), (2, 0));
}

#[test]
fn a_late_reply_counts_as_late_and_stays_out_of_the_delays() {
    let mut scene = Scene::new(terms(1), 2);
    assert_eq!(scene.answer(0, 0, echo(1001)), Some(Verdict::Late));
    assert_eq!(
        scene.answer(0, 1, echo(1000)),
        Some(received(1000)),
        "at the limit is in time"
    );
    let Finished { totals, .. } = scene.finish();
    let counts = totals.counts;
    assert_eq!((counts.late, counts.received, counts.lost()), (1, 1, 1));
    assert_eq!(totals.round_trip.count(), 1);
    assert_eq!(counts.reordered, 0);
    assert_eq!(totals.ipdv.round_trip.count(), 0);
}

#[test]
fn a_duplicate_is_measured_once() {
    let mut scene = Scene::new(terms(1), 2);
    scene.echo(&[(0, 10), (0, 20), (0, 30), (1, 40)]);
    let Finished {
        totals, sessions, ..
    } = scene.finish();
    let counts = totals.counts;
    assert_eq!(
        (counts.received, counts.duplicates, counts.replicated),
        (2, 2, 1)
    );
    assert_eq!((counts.lost(), counts.reordered), (0, 0));
    assert_eq!(totals.round_trip.count(), 2);
    assert_eq!(sessions[0].counts().duplicates, 2);
}

#[test]
fn waits_for_nothing_once_all_is_answered_or_given_up() {
    let mut scene = Scene::new(terms(1), 3);
    assert_eq!(scene.measurement.awaited(), 3);
    scene.echo(&[(1, 50)]);
    let m = &mut scene.measurement;
    m.give_up(Utc::from_nanos(1001), None);
    assert_eq!(m.awaited(), 1);
    assert_eq!(m.settled_until(Utc::from_nanos(1001)), Utc::from_nanos(200));
    m.give_up(Utc::from_nanos(10_000), None);
    assert_eq!(m.awaited(), 0);
    assert_eq!(
        m.settled_until(Utc::from_nanos(10_000)),
        Utc::from_nanos(10_000)
    );
}

#[test]
fn a_reply_that_is_read_after_its_probe_was_given_up_is_late() {
    let mut scene = Scene::new(terms(1), 4);
    scene.measurement.give_up(Utc::from_nanos(10_000), None);
    assert_eq!(scene.answer(0, 0, echo(1500)), Some(Verdict::Late));
    assert_eq!(scene.answer(0, 0, echo(1600)), Some(Verdict::Duplicate));
    assert_eq!(
        scene.answer(0, 1, echo(900)),
        Some(Verdict::Late),
        "it is told as lost by then, whatever its T4 says"
    );
    let Finished {
        totals, sessions, ..
    } = scene.finish();
    let counts = totals.counts;
    assert_eq!(
        (
            counts.sent,
            counts.received,
            counts.late,
            counts.duplicates,
            counts.lost()
        ),
        (4, 0, 2, 1, 4)
    );
    assert_eq!(sessions[0].counts().late, 2);
}

#[test]
fn a_probe_taken_back_is_neither_sent_nor_lost() {
    let mut scene = Scene::new(terms(2), 3);
    scene.departures.take_back(1);
    scene.measurement.notice();
    assert_eq!(
        (scene.measurement.counts().sent, scene.measurement.awaited()),
        (2, 2)
    );
    assert_eq!(scene.finish().sent, [1, 1]);
}

#[test]
fn what_was_announced_before_the_end_is_noticed_with_it() {
    let mut scene = Scene::new(terms(1), 1);
    assert!(!scene.measurement.sending_over());
    scene.departures.announce(2, Utc::from_nanos(100));
    drop(scene.departures);
    assert!(scene.measurement.sending_over());
    assert_eq!(scene.measurement.counts().sent, 3);
}

#[test]
fn a_negative_round_trip_without_t2_and_t3_is_not_the_reflectors() {
    let mut scene = Scene::new(terms(1), 1);
    scene.echo(&[(0, -50)]);
    let totals = scene.finish().totals;
    assert_eq!(totals.round_trip.summary().unwrap().min.nanos(), -50);
    assert_eq!(totals.peer.round_trip_negative, 0);
}

#[test]
fn notes_what_is_odd_about_a_reflector() {
    let mut scene = Scene::new(terms(1), 5);
    scene.answer(0, 0, stamped(20, 15, 50, 0x8001));
    scene.answer(0, 1, stamped(20, 120, 50, 0x4100));
    scene.echo(&[(2, 50)]);
    let mut sourced = echo(50);
    sourced.reception.source = T4Source::Xdp;
    sourced.ssid_missing = true;
    scene.answer(0, 3, sourced);
    sourced.reception.source = T4Source::UserSpace;
    scene.answer(0, 4, sourced);
    assert_eq!(scene.measurement.user_space_t4(), 1);
    let totals = scene.finish().totals;
    let peer = totals.peer;
    assert_eq!((peer.stamped, peer.echo_only, peer.ptp), (2, 3, 1));
    assert_eq!((peer.residence_negative, peer.round_trip_negative), (1, 1));
    assert_eq!((peer.error_unknown, peer.error_max), (1, Some(1)));
    assert_eq!(
        (peer.synchronised, peer.always_synchronised()),
        (1, Some(false))
    );
    assert_eq!((peer.t4_kernel, peer.t4_xdp, peer.t4_user_space), (3, 1, 1));
    assert_eq!(peer.ssid_missing, 2);
    assert_eq!((totals.forward.count(), totals.round_trip.count()), (2, 5));
}

#[test]
fn hops_are_counted_from_the_ttl_of_our_probes() {
    let mut scene = Scene::new(
        Terms {
            ttl: 64,
            ..terms(1)
        },
        2,
    );
    let headers = HeaderFields {
        sender_ttl: Some(61),
        ttl: Some(250),
        ..HeaderFields::default()
    };
    scene.answer(0, 0, Arrived { headers, ..echo(5) });
    scene.answer(
        0,
        1,
        Arrived {
            headers,
            ..echo(1001)
        },
    );
    let found = scene.finish().totals.headers;
    assert!(
        found.hops_forward.iter().eq([(3, 1)]),
        "late replies tell nothing"
    );
    assert!(found.hops_backward.iter().eq([(5, 1)]));
}

#[test]
fn a_corrected_departure_counts_and_not_the_t1_on_the_wire() {
    let mut scene = Scene::new(terms(1), 3);
    let (probe, t1) = scene.measurement.find(0, 1).unwrap();
    scene
        .measurement
        .departed(probe, t1 + Nanos::from_nanos(40), |_, _| true);
    assert_eq!(
        scene.answer(0, 1, stamped(100, 150, 200, 1)),
        Some(received(110))
    );
    let (probe, t1) = scene.measurement.find(0, 2).unwrap();
    scene
        .measurement
        .departed(probe, t1 + Nanos::from_nanos(40), |_, _| true);
    assert_eq!(
        scene.answer(0, 2, echo(1040)),
        Some(received(1000)),
        "and is in time"
    );
    let forward = scene.finish().totals.forward.summary().unwrap();
    assert_eq!(forward.min.nanos(), 60);
}

#[test]
fn an_extent_beyond_reach_is_reported_as_its_least_value() {
    let probes = u32::try_from(EXTENT_REACH).unwrap() + 4;
    let mut scene = Scene::with_room(2 * EXTENT_REACH, terms(1), i64::from(probes));
    let last = probes - 1;
    scene.echo(&[(last - 2, 1), (last - 1, 1), (last, 1), (1, 1), (0, 1)]);
    let counts = scene.finish().totals.counts;
    assert_eq!(counts.reordered, 2);
    // Truly 3 and 4, and the reach ends just before the first overtaker of probe 0.
    assert_eq!(counts.reorder_extent_max, 3);
}
