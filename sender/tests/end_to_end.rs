//! Whole runs over loopback against a reflector that drops, duplicates, delays, reorders and
//! corrupts chosen packets: the report must say exactly what was done.

mod common;

use std::sync::Mutex;
use std::time::Duration;

use common::{Fate, Reflector, Style, closed_port, codes, config, has_ipv6, measure, run};
use sender::control::Control;
use sender::measure::interval::Interval;
use sender::outcome::{Directions, Silence};
use sender::recorder::{Recorder, Wanted};
use sender::transport::IcmpKind;
use testbed::{DEFAULT_TIMEOUT, wait_until};

/// 50 probes at 1000/s.
const SHORT: &str = "--count 50 --rate 1000";

#[test]
fn every_probe_is_answered_and_measured() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let outcome = measure(reflector.address, "--count 200 --rate 2000");
    let counts = outcome.counts;
    assert_eq!((counts.sent, counts.received, counts.lost()), (200, 200, 0));
    assert_eq!(
        (
            counts.duplicates,
            counts.reordered,
            counts.late,
            counts.invalid
        ),
        (0, 0, 0, 0)
    );
    for summary in [
        outcome.round_trip,
        outcome.forward,
        outcome.backward,
        outcome.residence,
    ] {
        let summary = summary.unwrap();
        assert_eq!(summary.count, 200);
        assert!(
            summary.min.nanos() > 0,
            "both ends have one clock: {summary:?}"
        );
    }
    assert_eq!(outcome.ipdv.round_trip.unwrap().count, 199);
    assert!(outcome.jitter.unwrap() > 0.0);
    assert_eq!(
        (outcome.peer.t4_kernel, outcome.peer.t4_user_space),
        (200, 0)
    );
    assert_eq!(outcome.peer.always_synchronised(), Some(false));
    assert_eq!(outcome.one_way_trusted(), Some(false));
    assert_eq!(codes(&outcome), [""; 0]);
    assert_eq!(reflector.last_probe()[14..], [0; 30], "padding is zero");
    let seen: Vec<_> = reflector.seen().into_values().collect();
    assert_eq!(seen, [(0..200).collect::<Vec<_>>()]);
}

#[test]
fn dropped_replies_are_lost() {
    let reflector = Reflector::start(|sequence| match sequence {
        3 | 10 | 11 | 49 => Fate::Drop,
        _ => Fate::Reply,
    });
    let outcome = measure(reflector.address, &format!("{SHORT} --timeout 1s"));
    let counts = outcome.counts;
    assert_eq!((counts.sent, counts.received, counts.lost()), (50, 46, 4));
    assert_eq!((counts.loss_runs, counts.loss_run_max), (3, 2));
    // 0-1-2, 4-…-9, 12-…-48: no pair bridges a gap.
    assert_eq!(outcome.ipdv.round_trip.unwrap().count, 2 + 5 + 36);
    assert_eq!(
        counts.late + counts.duplicates + counts.invalid + counts.reordered,
        0
    );
}

#[test]
fn duplicates_are_counted_and_measured_once() {
    let reflector = Reflector::start(|sequence| match sequence {
        5 => Fate::Copies(3),
        8 => Fate::Copies(2),
        _ => Fate::Reply,
    });
    let outcome = measure(reflector.address, SHORT);
    let counts = outcome.counts;
    assert_eq!(
        (counts.received, counts.duplicates, counts.replicated),
        (50, 3, 2)
    );
    assert_eq!((counts.lost(), counts.reordered, counts.invalid), (0, 0, 0));
    assert_eq!(outcome.round_trip.unwrap().count, 50);
}

#[test]
fn overtaken_replies_are_reordered() {
    let reflector = Reflector::start(|sequence| match sequence {
        4 => Fate::HoldUntil { until: 6 },
        20 => Fate::HoldUntil { until: 25 },
        _ => Fate::Reply,
    });
    let outcome = measure(reflector.address, SHORT);
    let counts = outcome.counts;
    assert_eq!(
        (counts.received, counts.reordered, counts.reorder_extent_max),
        (50, 2, 5)
    );
    assert_eq!((counts.n_reordering_max, counts.reordered_by_three), (5, 1));
    assert_eq!((counts.lost(), counts.duplicates), (0, 0));
    assert_eq!(
        outcome.ipdv.round_trip.unwrap().count,
        49,
        "in sending order nothing is missing"
    );
}

#[test]
fn a_late_reply_is_late_and_lost() {
    let reflector = Reflector::start(|sequence| match sequence {
        2 => Fate::HoldFor(Duration::from_millis(1_010)),
        3 => Fate::Drop,
        _ => Fate::Reply,
    });
    let outcome = measure(reflector.address, "--count 25 --rate 10 --timeout 1s");
    let counts = outcome.counts;
    assert_eq!(
        (counts.sent, counts.received, counts.late, counts.lost()),
        (25, 23, 1, 2)
    );
    assert_eq!(
        (counts.duplicates, counts.reordered, counts.invalid),
        (0, 0, 0)
    );
    assert!(outcome.round_trip.unwrap().max.nanos() < 1_000_000_000);
}

#[test]
fn replies_long_after_a_short_timeout_are_late_and_not_invalid() {
    let reflector = Reflector::start(|_| Fate::HoldFor(Duration::from_millis(100)));
    let outcome = measure(reflector.address, "--count 2000 --rate 5000 --timeout 10ms");
    let counts = outcome.counts;
    assert_eq!((counts.received, counts.invalid), (0, 0), "{counts:?}");
    assert!(counts.late >= 100, "{counts:?}");
    let (late, timeout) = (counts.late, Duration::from_millis(10));
    assert_eq!(outcome.silence(), Some(Silence::Late { late, timeout }));
}

#[test]
fn duplicates_of_the_last_reply_are_waited_for() {
    // The first reply takes 150 ms, so there are 300 ms for the copy of the last one.
    let reflector = Reflector::start(|sequence| match sequence {
        0 => Fate::HoldFor(Duration::from_millis(150)),
        1 => Fate::ReplyAndAgainAfter(Duration::from_millis(50)),
        _ => Fate::Reply,
    });
    let outcome = measure(reflector.address, "--count 2 --rate 5");
    let counts = outcome.counts;
    assert_eq!((counts.received, counts.duplicates), (2, 1));
}

#[test]
fn corrupt_replies_are_invalid_and_lost() {
    let reflector = Reflector::start(|sequence| match sequence {
        7 => Fate::Corrupt { octet: 24 }, // Sender Sequence Number
        8 => Fate::Corrupt { octet: 35 }, // echo of T1
        9 => Fate::Cut { len: 37 },
        10 => Fate::Cut { len: 0 },
        11 => Fate::Corrupt { octet: 38 }, // MBZ: none of our business
        _ => Fate::Reply,
    });
    let outcome = measure(reflector.address, &format!("{SHORT} --timeout 1s"));
    let counts = outcome.counts;
    assert_eq!((counts.received, counts.invalid, counts.lost()), (46, 4, 4));
    assert_eq!((counts.duplicates, counts.late), (0, 0));
}

#[test]
fn short_replies_of_sloppy_peers_count() {
    let reflector = Reflector::start(|_| Fate::Cut { len: 38 });
    let outcome = measure(reflector.address, SHORT);
    assert_eq!((outcome.counts.received, outcome.counts.invalid), (50, 0));
}

#[test]
fn each_session_has_its_own_numbers_and_fate() {
    let reflector = Reflector::start(|sequence| match sequence {
        1 => Fate::Drop,
        2 => Fate::Copies(2),
        3 => Fate::HoldUntil { until: 5 },
        _ => Fate::Reply,
    });
    let outcome = measure(
        reflector.address,
        "--count 100 --rate 2000 --sessions 7 --timeout 1s",
    );
    let counts = outcome.counts;
    assert_eq!((counts.sent, counts.received, counts.lost()), (100, 93, 7));
    assert_eq!((counts.duplicates, counts.replicated), (7, 7));
    assert_eq!((counts.reordered, counts.reorder_extent_max), (7, 2));
    let mut seen: Vec<_> = reflector.seen().into_values().collect();
    seen.sort_by_key(Vec::len);
    let expected = |len: u32| (0..len).collect::<Vec<_>>();
    assert_eq!(seen[..5], vec![expected(14); 5]);
    assert_eq!(seen[5..], vec![expected(15); 2]);
}

#[test]
fn a_ptp_reflector_leaves_the_round_trip_alone() {
    let reflector = Reflector::start_as(Style::Ptp, "127.0.0.1:0", |_| Fate::Reply);
    let outcome = measure(reflector.address, SHORT);
    assert_eq!(codes(&outcome), ["ptp_epoch"]);
    assert!(outcome.round_trip.unwrap().max.nanos() < 2_000_000_000);
    assert!(outcome.residence.unwrap().max.nanos() < 2_000_000_000);
    assert!(outcome.forward.unwrap().min.nanos() > 37_000_000_000);
    assert!(outcome.backward.unwrap().max.nanos() < -34_000_000_000);
}

#[test]
fn peers_without_stamps_are_echo_only() {
    for (style, size) in [(Style::NoStamps, 44), (Style::Echo, 44), (Style::Echo, 14)] {
        let reflector = Reflector::start_as(style, "127.0.0.1:0", |sequence| match sequence {
            6 => Fate::Copies(2),
            _ => Fate::Reply,
        });
        let outcome = measure(reflector.address, &format!("{SHORT} --size {size}"));
        assert_eq!(outcome.counts.received, 50, "{style:?}");
        assert_eq!(
            (outcome.counts.invalid, outcome.counts.duplicates),
            (0, 1),
            "{style:?}"
        );
        assert_eq!(codes(&outcome), ["echo_only"], "{style:?}");
        assert_eq!((outcome.forward, outcome.residence), (None, None));
        assert_eq!(outcome.round_trip.unwrap().count, 50);
        assert_eq!(outcome.one_way_trusted(), None);
    }
}

#[test]
fn a_residence_below_zero_is_noted_and_not_clamped() {
    let reflector = Reflector::start_as(Style::Backwards, "127.0.0.1:0", |_| Fate::Reply);
    let outcome = measure(reflector.address, SHORT);
    assert!(codes(&outcome).contains(&"residence_negative"));
    assert!(outcome.residence.unwrap().min.nanos() < 0);
}

#[test]
fn ipv6_works_like_ipv4() {
    if !has_ipv6() {
        return;
    }
    let reflector = Reflector::start_as(Style::Ntp(0x8001), "[::1]:0", |sequence| match sequence {
        9 => Fate::Drop,
        _ => Fate::Reply,
    });
    let outcome = measure(
        reflector.address,
        &format!("{SHORT} --sessions 2 --timeout 1s"),
    );
    assert_eq!((outcome.counts.received, outcome.counts.lost()), (48, 2));
    assert_eq!(outcome.peer.t4_kernel, 48);
    assert_eq!(outcome.peer.always_synchronised(), Some(true));

    let closed = closed_port("[::1]:0");
    let outcome = measure(closed, "--count 5 --rate 100 --timeout 300ms");
    assert_eq!(outcome.silence(), Some(Silence::PortUnreachable));
}

#[test]
fn a_closed_port_is_told_by_icmp() {
    let outcome = measure(
        closed_port("127.0.0.1:0"),
        "--count 20 --rate 200 --timeout 300ms",
    );
    assert_eq!((outcome.counts.sent, outcome.counts.received), (20, 0));
    assert_eq!(
        outcome.refused, 0,
        "an error about one probe does not cost the next"
    );
    let port_unreachable = outcome.trouble.icmp.of(IcmpKind::PortUnreachable);
    assert_eq!(port_unreachable, outcome.trouble.icmp.total());
    assert!((1..=20).contains(&port_unreachable), "{port_unreachable}");
    assert_eq!(outcome.silence(), Some(Silence::PortUnreachable));
}

#[test]
fn a_silent_target_is_told_by_nothing() {
    let reflector = Reflector::start(|_| Fate::Drop);
    let outcome = measure(reflector.address, "--count 5 --rate 100 --timeout 300ms");
    assert_eq!(
        (outcome.counts.lost(), outcome.trouble.icmp.total()),
        (5, 0)
    );
    let timeout = Duration::from_millis(300);
    assert_eq!(outcome.silence(), Some(Silence::Total { sent: 5, timeout }));
    assert_eq!((outcome.round_trip, outcome.jitter), (None, None));
}

#[test]
fn garbage_alone_is_no_reply() {
    let reflector = Reflector::start(|_| Fate::Cut { len: 20 });
    let outcome = measure(reflector.address, "--count 5 --rate 100 --timeout 300ms");
    assert_eq!(outcome.silence(), Some(Silence::Invalid { datagrams: 5 }));
}

#[test]
fn a_stopped_run_reports_what_it_has() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let config = config(reflector.address, "--count 1000000 --rate 1000");
    let control = Control::default();
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&config, &control).unwrap());
        wait_until("ten replies", DEFAULT_TIMEOUT, || {
            control.progress().received >= 10
        });
        control.stop_sending();
        running.join().unwrap()
    });
    let counts = outcome.counts;
    assert!(
        counts.received >= 10 && counts.received == counts.sent,
        "{counts:?}"
    );
    assert!(counts.sent < 1_000_000);
    assert_eq!(counts.sent + outcome.not_reached, 1_000_000);
    assert_eq!(codes(&outcome), ["stopped"]);
}

#[test]
fn a_run_told_twice_to_stop_waits_for_nothing() {
    let reflector = Reflector::start(|_| Fate::Drop);
    let config = config(
        reflector.address,
        "--count 1000000 --rate 1000 --timeout 1h",
    );
    let control = Control::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&config, &control).unwrap());
        wait_until("ten probes", DEFAULT_TIMEOUT, || reflector.count() >= 10);
        control.stop_waiting();
        // With a timeout of an hour, coming back at all is the proof.
        let outcome = running.join().unwrap();
        assert!(
            matches!(outcome.silence(), Some(Silence::Stopped { sent: 10.., .. })),
            "{:?}",
            outcome.silence()
        );
    });
}

#[test]
fn a_stateful_reflector_tells_the_directions() {
    let fate = |sequence| match sequence {
        // Which way the last two went cannot be told.
        2 | 3 | 30 | 49 => Fate::LoseProbe,
        7 | 20 | 48 => Fate::Drop,
        10 => Fate::DoubleProbe,
        12 => Fate::Copies(2),
        _ => Fate::Reply,
    };
    let reflector = Reflector::start_as(Style::Stateful, "127.0.0.1:0", fate);
    let options = "--count 100 --rate 2000 --sessions 2 --timeout 1s";
    let outcome = measure(reflector.address, options);
    let counts = outcome.counts;
    assert_eq!((counts.sent, counts.received, counts.lost()), (100, 86, 14));
    let expected = Directions {
        forward: 6,
        backward: 4,
        undecided: 4,
        restarts: 0,
    };
    assert_eq!(outcome.directions, Some(expected));
    assert_eq!((counts.duplicates, counts.duplicates_forward), (4, 2));
    assert_eq!((counts.loss_runs, counts.loss_run_max), (10, 2));
    for session in &outcome.per_session {
        let losses = session.figures.numbers().losses();
        assert_eq!((session.sent, losses.forward, losses.backward), (50, 3, 2));
    }

    let reflector = Reflector::start(fate);
    let outcome = measure(reflector.address, options);
    assert_eq!(outcome.counts.lost(), 14);
    assert_eq!(outcome.directions, None, "a stateless one cannot tell");
    assert_eq!(outcome.counts.duplicates_forward, 0);
}

#[test]
fn each_session_is_reported_by_itself() {
    let reflector = Reflector::start(|sequence| match sequence {
        4.. => Fate::Drop,
        _ => Fate::Reply,
    });
    let options = "--count 17 --rate 1000 --sessions 3 --timeout 500ms --per-session-histograms 1";
    let outcome = measure(reflector.address, options);
    let figures: Vec<_> = outcome
        .per_session
        .iter()
        .map(|session| {
            let counts = session.figures.counts();
            (
                session.number,
                session.sent,
                counts.received,
                session.figures.has_histogram(),
            )
        })
        .collect();
    assert_eq!(
        figures,
        [(0, 6, 4, true), (1, 6, 4, false), (2, 5, 4, false)]
    );
    let each = outcome.per_session.iter();
    let sum: u64 = each
        .map(|session| session.figures.round_trip().count())
        .sum();
    assert_eq!(sum, outcome.round_trip.unwrap().count);
}

#[test]
fn intervals_add_up_to_the_run() {
    let reflector = Reflector::start(|sequence| match sequence % 10 {
        3 => Fate::Drop,
        5 => Fate::Copies(2),
        7 => Fate::HoldUntil {
            until: sequence + 1,
        },
        _ => Fate::Reply,
    });
    let config = config(reflector.address, "--count 100 --rate 1000 --timeout 500ms");
    let recorder = Mutex::new(Recorder::new(Wanted {
        intervals: Some(Duration::from_millis(20)),
        overview: None,
    }));
    let addresses = sender::run::resolve(&config).unwrap();
    let outcome =
        sender::run::run(&config, &addresses, &Control::default(), Some(&recorder)).unwrap();
    let mut recorder = recorder.into_inner().unwrap();
    let intervals = recorder.last_intervals(Duration::from_millis(1));
    let sum = |figure: fn(&Interval) -> u64| intervals.iter().map(figure).sum::<u64>();
    let counts = outcome.counts;
    assert_eq!(
        (
            counts.sent,
            counts.lost(),
            counts.duplicates,
            counts.reordered
        ),
        (100, 10, 10, 10)
    );
    assert_eq!(sum(|i| i.sent), counts.sent);
    assert_eq!(sum(|i| i.received), counts.received);
    assert_eq!(sum(|i| i.lost), counts.lost());
    assert_eq!(sum(|i| i.duplicates), counts.duplicates);
    assert_eq!(sum(|i| i.reordered), counts.reordered);
    assert_eq!(sum(|i| i.round_trip.count()), counts.received);
    assert!(intervals.len() >= 5, "{}", intervals.len());
}
