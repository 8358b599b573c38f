//! Searches on paths and senders of known capacity.

use super::*;
use proptest::prelude::*;

/// A path and a sender that carry so many packets per second, and no more.
#[derive(Debug, Clone, Copy)]
struct World {
    path: f64,
    sender: f64,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of packets"
)]
impl World {
    /// Ten seconds at this rate.
    fn trial(self, pace: Pace) -> Trial {
        let asked = pace.per_second();
        let achieved = asked.min(self.sender);
        let places = (asked * 10.0).ceil();
        let sent = places.min((achieved * 10.0).ceil());
        let received = if achieved <= self.path {
            sent
        } else {
            (self.path * 10.0).floor()
        };
        Trial {
            asked,
            achieved: Some(achieved),
            sent: sent as u64,
            received: received as u64,
            skipped: (places - sent) as u64,
        }
    }

    fn search(self, range: &str, loss_limit: f64) -> RampResult {
        let mut ramp = Ramp::new(range.parse().unwrap(), loss_limit);
        while let Some(pace) = ramp.next_rate() {
            assert_eq!(ramp.result().limited_by, LimitedBy::Stopped);
            ramp.record(self.trial(pace));
            assert!(ramp.trials.len() < 20_000, "{self:?} {range}");
        }
        ramp.result()
    }
}

const FAST: f64 = 1e9;

fn asked(result: &RampResult) -> Vec<f64> {
    result.trials.iter().map(|(trial, _)| trial.asked).collect()
}

#[test]
fn climbs_until_a_trial_fails_and_then_halves() {
    let world = World {
        path: 33_000.0,
        sender: FAST,
    };
    let result = world.search("10k:100k:10k:5s", 0.0);
    assert_eq!(
        asked(&result),
        [10e3, 20e3, 30e3, 40e3, 35e3, 32.5e3, 33.75e3, 33.125e3]
    );
    assert_eq!((result.best, result.failed), (Some(32.5e3), Some(33.125e3)));
    assert_eq!(result.limited_by, LimitedBy::Path);
}

#[test]
fn the_last_rate_of_the_range_is_tried_even_off_the_steps() {
    let world = World {
        path: FAST,
        sender: FAST,
    };
    let result = world.search("10:45:20:1s", 0.0);
    assert_eq!(asked(&result), [10.0, 30.0, 45.0]);
    assert_eq!(
        (result.best, result.limited_by),
        (Some(45.0), LimitedBy::RangeEnd)
    );
    let single = world.search("10:10:1:1s", 0.0);
    assert_eq!(asked(&single), [10.0]);
    assert_eq!(single.limited_by, LimitedBy::RangeEnd);
}

#[test]
fn nothing_is_tried_below_the_first_rate() {
    let world = World {
        path: 5.0,
        sender: FAST,
    };
    let result = world.search("10:100:10:1s", 0.0);
    assert_eq!(asked(&result), [10.0]);
    assert_eq!((result.best, result.limited_by), (None, LimitedBy::Path));
}

#[test]
fn a_slow_sender_is_not_blamed_on_the_path() {
    let world = World {
        path: FAST,
        sender: 33_000.0,
    };
    let result = world.search("10k:100k:10k:5s", 0.0);
    assert_eq!(asked(&result), [10e3, 20e3, 30e3, 40e3, 40e3, 40e3]);
    assert_eq!((result.best, result.failed), (Some(30e3), None));
    assert_eq!(result.limited_by, LimitedBy::Sender);
}

#[test]
fn a_sender_that_fails_while_halving_ends_the_search_as_its_own_limit() {
    let path = World {
        path: 33_000.0,
        sender: FAST,
    };
    let mut ramp = Ramp::new("10k:100k:10k:5s".parse().unwrap(), 0.0);
    for _ in 0..5 {
        ramp.record(path.trial(ramp.next_rate().unwrap()));
    }
    let slow = World {
        sender: 20_000.0,
        ..path
    };
    for _ in 0..3 {
        let verdict = ramp.record(slow.trial(ramp.next_rate().unwrap()));
        assert_eq!(verdict, Verdict::Inconclusive);
    }
    assert_eq!(ramp.next_rate(), None);
    let result = ramp.result();
    assert_eq!((result.best, result.failed), (Some(30e3), Some(35e3)));
    assert_eq!(result.limited_by, LimitedBy::Sender);
}

#[test]
fn a_pause_of_the_sender_does_not_end_the_search() {
    let world = World {
        path: 33_000.0,
        sender: FAST,
    };
    let mut ramp = Ramp::new("10k:100k:10k:5s".parse().unwrap(), 0.0);
    let mut rates = Vec::new();
    while let Some(rate) = ramp.next_rate() {
        let pauses = World {
            sender: if rates.last() == Some(&rate) {
                FAST
            } else {
                1.0
            },
            ..world
        };
        rates.push(rate);
        ramp.record(pauses.trial(rate));
    }
    let result = ramp.result();
    let calm = world.search("10k:100k:10k:5s", 0.0);
    assert_eq!((result.best, result.failed), (calm.best, calm.failed));
    assert_eq!(result.limited_by, LimitedBy::Path);
    assert_eq!(rates.len(), 2 * calm.trials.len(), "each was tried twice");
}

#[test]
fn a_search_cut_short_says_so() {
    let mut ramp = Ramp::new("10:100:10:1s".parse().unwrap(), 0.0);
    assert_eq!(ramp.result().limited_by, LimitedBy::Stopped);
    let world = World {
        path: FAST,
        sender: FAST,
    };
    ramp.record(world.trial(ramp.next_rate().unwrap()));
    let result = ramp.result();
    assert_eq!(
        (result.best, result.limited_by),
        (Some(10.0), LimitedBy::Stopped)
    );
}

#[test]
fn a_trial_is_judged_by_the_sender_first() {
    let good = Trial {
        asked: 100.0,
        achieved: Some(100.0),
        sent: 1000,
        received: 1000,
        skipped: 0,
    };
    let verdict = |change: fn(&mut Trial), limit| {
        let mut trial = good;
        change(&mut trial);
        trial.verdict(limit)
    };
    for (change, limit, expected) in [
        ((|_| ()) as fn(&mut Trial), 0.0, Verdict::Passed),
        (|trial| trial.received = 999, 0.0, Verdict::Failed),
        (|trial| trial.received = 999, 0.001, Verdict::Passed),
        (|trial| trial.received = 998, 0.001, Verdict::Failed),
        (|trial| trial.received = 0, 0.5, Verdict::Failed),
        (
            |trial| trial.achieved = Some(98.9),
            0.0,
            Verdict::Inconclusive,
        ),
        (|trial| trial.achieved = Some(99.0), 0.0, Verdict::Passed),
        (|trial| trial.achieved = None, 0.0, Verdict::Passed),
        (|trial| trial.skipped = 10, 0.0, Verdict::Passed),
        (|trial| trial.skipped = 11, 0.0, Verdict::Inconclusive),
        (|trial| trial.skipped = 10, 0.02, Verdict::Passed),
        (|trial| trial.skipped = 11, 0.02, Verdict::Inconclusive),
        (
            |trial| (trial.skipped, trial.received) = (11, 900),
            0.001,
            Verdict::Inconclusive,
        ),
        (
            |trial| (trial.sent, trial.received, trial.achieved) = (0, 0, None),
            0.0,
            Verdict::Inconclusive,
        ),
    ] {
        let mut trial = good;
        change(&mut trial);
        assert_eq!(verdict(change, limit), expected, "{trial:?}");
    }
}

#[test]
fn reads_a_ramp_as_engineers_write_it() {
    let range: RampRange = "10k:1.5M:50k:5s".parse().unwrap();
    let rates = [range.from, range.to, range.step].map(Pace::per_second);
    assert_eq!(format!("{rates:?}"), "[10000.0, 1500000.0, 50000.0]");
    assert_eq!(range.dwell, Duration::from_secs(5));
}

#[test]
fn refuses_what_is_no_ramp_and_names_the_part() {
    for (text, named) in [
        ("", "FROM:TO:STEP:DWELL"),
        ("10k:20k:1k", "FROM:TO:STEP:DWELL"),
        ("1:2:3:4s:5", "FROM:TO:STEP:DWELL"),
        ("x:20k:1k:1s", "FROM: 'x'"),
        ("0:20k:1k:1s", "FROM: '0'"),
        ("10k:-1:1k:1s", "TO: '-1'"),
        ("10k:20k:0:1s", "STEP: '0'"),
        ("10k:11M:1M:1s", "TO: a rate is 10M packets/s at most"),
        ("10k:20k:1k:5", "DWELL: '5'"),
        ("10k:20k:1k:0s", "DWELL: '0s'"),
        ("20k:10k:1k:1s", "TO is below FROM"),
        ("1:10M:1:1s", "STEP is too small"),
    ] {
        let error = text.parse::<RampRange>().unwrap_err().to_string();
        assert!(
            error.contains(named) && !error.contains('\n'),
            "{text}: {error}"
        );
    }
}

proptest! {
    /// What is found is a rate that the path carries, and one it does not carry lies within the
    /// resolution above it.
    #[test]
    fn finds_the_capacity_to_the_resolution(
        from in 1u32..100_000,
        span in 0u32..1_000_000,
        steps in 1u32..200,
        capacity in 0.0f64..1.2,
    ) {
        let to = from + span;
        let step = (span / steps).max(1);
        let path = f64::from(to) * capacity;
        let world = World { path, sender: FAST };
        let result = world.search(&format!("{from}:{to}:{step}:1s"), 0.0);
        let resolution = (f64::from(step) / 16.0).max(path * 0.01);
        // The packets of a trial are whole: a rate just above may lose none.
        let whole = 0.2;
        match (result.limited_by, result.best) {
            (LimitedBy::Path, Some(best)) => {
                prop_assert!(best <= path + whole, "{best} {path}");
                prop_assert!(best >= path - resolution * 1.02 - whole, "{best} {path}");
            }
            (LimitedBy::Path, None) => prop_assert!(f64::from(from) > path - whole),
            (LimitedBy::RangeEnd, Some(best)) => {
                prop_assert!((best - f64::from(to)).abs() < 1e-9 && best <= path + whole);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    /// However the trials turn out, the search ends, stays within its range, and never takes
    /// for the path's limit what the sender could not send.
    #[test]
    fn ends_whatever_happens(outcomes in prop::collection::vec(0u8..10, 200)) {
        let mut ramp = Ramp::new("10:1000:10:1s".parse().unwrap(), 0.0);
        for outcome in outcomes {
            let Some(pace) = ramp.next_rate() else { break };
            let asked = pace.per_second();
            prop_assert!((10.0..=1000.0).contains(&asked));
            let trial = Trial {
                asked,
                achieved: Some(asked),
                sent: 100,
                received: if outcome < 2 { 99 } else { 100 },
                skipped: if outcome == 9 { 2 } else { 0 },
            };
            let expected = match outcome {
                9 => Verdict::Inconclusive,
                0 | 1 => Verdict::Failed,
                _ => Verdict::Passed,
            };
            prop_assert_eq!(ramp.record(trial), expected);
        }
        prop_assert_eq!(ramp.next_rate(), None);
        let result = ramp.result();
        let last = result.trials.last().map(|&(_, verdict)| verdict);
        prop_assert_eq!(
            result.limited_by == LimitedBy::Sender,
            last == Some(Verdict::Inconclusive)
        );
    }
}
