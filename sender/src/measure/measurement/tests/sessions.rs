//! Several sessions, and several workers.

use std::time::Duration;

use super::*;
use crate::recorder::Wanted;

#[test]
fn jitter_is_the_mean_over_sessions_with_two_replies() {
    let mut scene = Scene::new(terms(3), 6);
    for (session, number, delay) in [
        (0, 0, 100),
        (0, 1, 260),
        (1, 0, 100),
        (1, 1, 420),
        (2, 0, 9),
    ] {
        scene.answer(session, number, echo(delay)).unwrap();
    }
    let Finished {
        totals, sessions, ..
    } = scene.finish();
    let each: Vec<_> = sessions.iter().map(Session::jitter).collect();
    assert_eq!(each, [Some(10.0), Some(20.0), None]);
    assert_eq!(totals.jitter(), Some(15.0));
}

#[test]
fn a_session_out_of_range_is_ignored() {
    let mut scene = Scene::new(terms(1), 1);
    assert_eq!(scene.measurement.find(7, 0), None);
    assert_eq!(scene.measurement.reply(7, 0, echo(1), None), None);
    assert_eq!(scene.measurement.counts().received, 0);
}

#[test]
fn losses_in_a_row_are_runs_of_their_session() {
    // Session 0 loses 1, 2, 3 and 5; session 1 loses 0 and, by being late, 1.
    let mut scene = Scene::new(terms(2), 12);
    for (session, number, delay) in [
        (0, 0, 10),
        (0, 4, 10),
        (1, 1, 2000),
        (1, 2, 10),
        (1, 3, 10),
        (1, 4, 10),
        (1, 5, 10),
    ] {
        scene.answer(session, number, echo(delay)).unwrap();
    }
    let Finished {
        totals, sessions, ..
    } = scene.finish();
    let runs: Vec<_> = sessions
        .iter()
        .map(|session| (session.loss_runs().runs(), session.loss_runs().longest()))
        .collect();
    assert_eq!(runs, [(2, 3), (1, 2)]);
    assert_eq!(
        (totals.counts.loss_runs, totals.counts.loss_run_max),
        (3, 3)
    );
}

#[test]
fn each_session_has_its_own_fate() {
    let mut scene = Scene::new(
        Terms {
            histograms: 2,
            ..terms(4)
        },
        14,
    );
    // Session 0 is whole, 1 loses its first, 2 is reordered and doubled, 3 is silent.
    for (session, number, delay) in [
        (0, 0, 10),
        (0, 1, 20),
        (0, 2, 30),
        (0, 3, 40),
        (1, 1, 50),
        (1, 2, 70),
        (1, 3, 1001),
        (2, 2, 11),
        (2, 0, 12),
        (2, 1, 13),
        (2, 1, 14),
    ] {
        scene.answer(session, number, echo(delay)).unwrap();
    }
    let Finished {
        totals,
        sessions,
        sent,
    } = scene.finish();
    assert_eq!(sent, [4, 4, 3, 3]);
    let counts = |session: usize| {
        let counts = sessions[session].counts();
        (
            counts.received,
            counts.late,
            counts.duplicates,
            counts.reordered,
        )
    };
    assert_eq!(
        [counts(0), counts(1), counts(2), counts(3)],
        [(4, 0, 0, 0), (2, 1, 0, 0), (3, 0, 1, 2), (0, 0, 0, 0)]
    );
    let figures = |session: usize| {
        let round_trip = sessions[session].round_trip();
        (round_trip.min, round_trip.mean(), round_trip.max)
    };
    assert_eq!(figures(0), (10, Some(25.0), 40));
    assert_eq!(figures(1), (50, Some(60.0), 70));
    assert_eq!(sessions[3].round_trip().mean(), None);
    let exact: Vec<_> = sessions.iter().map(Session::has_histogram).collect();
    assert_eq!(exact, [true, true, false, false]);
    assert_eq!(sessions[0].percentile(50.0), Some(Nanos::from_nanos(20)));
    assert_eq!(sessions[2].percentile(100.0), Some(Nanos::from_nanos(13)));
    assert_eq!(sessions[3].percentile(50.0), None);
    let all = totals.counts;
    assert_eq!((all.sent, all.received, all.lost()), (14, 9, 5));
    assert_eq!((all.late, all.duplicates, all.reordered), (1, 1, 2));
    assert_eq!((all.reorder_extent_max, all.n_reordering_max), (2, 1));
    assert_eq!(totals.round_trip.count(), 9);
}

#[test]
fn the_figures_of_workers_add_up() {
    let mut one = Scene::new(terms(1), 3);
    one.echo(&[(0, 10), (1, 30)]);
    let mut other = Scene::new(terms(2), 4);
    for (session, number, reply) in [
        (0, 1, stamped(1, 2, 5, 0x8001)),
        (1, 0, echo(7)),
        (1, 0, echo(8)),
    ] {
        other.answer(session, number, reply).unwrap();
    }
    let mut totals = one.finish().totals;
    totals.absorb(&other.finish().totals);
    let counts = totals.counts;
    assert_eq!((counts.sent, counts.received, counts.duplicates), (7, 4, 1));
    // The last of one, the first of the other's session 0 and the last of its session 1.
    assert_eq!((counts.loss_runs, counts.loss_run_max), (3, 1));
    let round_trip = totals.round_trip.summary().unwrap();
    assert_eq!(
        (
            round_trip.count,
            round_trip.min.nanos(),
            round_trip.max.nanos()
        ),
        (4, 4, 30)
    );
    assert_eq!((totals.peer.echo_only, totals.peer.stamped), (3, 1));
    assert_eq!(totals.ipdv.mean_magnitude(), Some(20.0));
    assert_eq!(
        totals.jitter(),
        Some(1.25),
        "of one session, the others have one reply"
    );
}

#[test]
fn what_happens_is_recorded_with_the_number_of_its_session_in_the_run() {
    let numbering = Numbering { first: 1, step: 2 };
    let mut scene = Scene::new(
        Terms {
            numbering,
            ..terms(2)
        },
        6,
    );
    let mut recorder = Recorder::new(Wanted {
        intervals: Some(Duration::from_nanos(200)),
        overview: Some(4),
    });
    recorder.begin(Utc::from_nanos(0), 1);
    // By T1: 0 and 100 | 200 and 300 | 400 and 500.
    for (session, number, delay) in [
        (0, 0, 10),
        (0, 0, 11),
        (0, 2, 10),
        (0, 1, 40),
        (1, 1, 1001),
        (1, 2, 30),
    ] {
        let (probe, t1) = scene.measurement.find(session, number).unwrap();
        let mut reply = echo(delay);
        reply.reception.t4 = t1 + Nanos::from_nanos(delay);
        scene
            .measurement
            .reply(session, probe, reply, Some(&mut recorder))
            .unwrap();
    }
    scene.measurement.finish(Some(&mut recorder));
    let overview = recorder.take_overview().unwrap();
    let lost_of = |session: usize| -> u64 {
        let group = (0..overview.groups())
            .find(|&group| {
                let (first, last) = overview.sessions_of(group);
                (first..=last).contains(&session)
            })
            .unwrap();
        overview
            .steps()
            .iter()
            .map(|step| step.cells()[group].lost)
            .sum()
    };
    assert_eq!([0, 1, 2, 3].map(lost_of), [0, 0, 0, 2]);
    let intervals = recorder.last_intervals(Duration::from_nanos(100));
    let figures: Vec<_> = intervals
        .iter()
        .map(|i| {
            (
                i.sent,
                i.received,
                i.lost,
                i.late,
                i.duplicates,
                i.reordered,
            )
        })
        .collect();
    assert_eq!(
        figures,
        [(2, 1, 1, 0, 1, 0), (2, 1, 1, 1, 0, 1), (2, 2, 0, 0, 0, 0)]
    );
    assert_eq!(
        intervals.iter().map(|i| i.ipdv.count()).sum::<u64>(),
        2,
        "of 0 and 1, and of 1 and 2, although 1 came last"
    );
}
