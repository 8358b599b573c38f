//! Thresholds of a test, and since when they are crossed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::entry::At;
use crate::limits::Limit;
use crate::outcome::Outcome;
use crate::report::units;

/// A condition under which a test has failed.
#[derive(Debug, Clone, PartialEq)]
pub enum Threshold {
    /// Like that of `--fail-if`.
    Limit(Limit),
    /// So many packets of a test are lost.
    TotalLosses(u64),
    /// So many packets are lost in a row.
    SuccessiveLosses(u64),
}

impl Threshold {
    /// The sentence about it if it is crossed; `None` as the outcome is that of a test that could
    /// not be made, which shows no threshold to be kept.
    pub fn crossing(&self, outcome: Option<&Outcome>) -> Option<String> {
        let Some(outcome) = outcome else {
            return Some(format!(
                "the test failed, so nothing shows that {self} does not hold"
            ));
        };
        let counts = &outcome.counts;
        match *self {
            Self::Limit(ref limit) => limit.check(outcome).map(|breach| breach.to_string()),
            Self::TotalLosses(least) => (counts.lost() >= least).then(|| {
                let lost = units::counted(counts.lost(), "packet was", "packets were");
                format!("{lost} lost, and the limit is {least}")
            }),
            Self::SuccessiveLosses(least) => (counts.loss_run_max >= least).then(|| {
                let lost = units::counted(counts.loss_run_max, "packet was", "packets were");
                format!("{lost} lost in a row, and the limit is {least}")
            }),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => limit.fmt(f),
            Self::TotalLosses(least) => write!(f, "total-losses {least}"),
            Self::SuccessiveLosses(least) => write!(f, "successive-losses {least}"),
        }
    }
}

/// How a threshold stands after a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The threshold as the file has it.
    pub threshold: String,
    /// Whether it is crossed.
    pub crossed: bool,
    /// The end of the test since which that is so; of the first test if it was always so.
    pub since: At,
    /// Whether this test changed it.
    pub changed: bool,
    /// The sentence about it while it is crossed.
    pub problem: Option<String>,
}

/// How the thresholds stand after a test that ended at `now` with `outcome`, or failed.
pub fn judge(
    thresholds: &[Threshold],
    before: &[State],
    outcome: Option<&Outcome>,
    now: At,
) -> Vec<State> {
    let each = thresholds.iter().map(|threshold| {
        let written = threshold.to_string();
        let last = before.iter().find(|state| state.threshold == written);
        let problem = threshold.crossing(outcome);
        let crossed = problem.is_some();
        State {
            threshold: written,
            crossed,
            since: last
                .filter(|last| last.crossed == crossed)
                .map_or(now, |last| last.since),
            // What was never looked at was not crossed.
            changed: crossed != last.is_some_and(|last| last.crossed),
            problem,
        }
    });
    each.collect()
}

/// How they stand after a test that was stopped, which shows nothing new.
pub fn unchanged(before: &[State]) -> Vec<State> {
    let each = before.iter().map(|state| State {
        changed: false,
        ..state.clone()
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::sample;

    fn at(second: u64) -> At {
        At::from_secs(second)
    }

    fn limit(text: &str) -> Threshold {
        Threshold::Limit(text.parse().unwrap())
    }

    #[test]
    fn a_threshold_is_crossed_once_and_recovers_once() {
        let thresholds = [limit("loss>30%")];
        let good = sample();
        let mut bad = sample();
        bad.counts.received = 1;
        let mut states = Vec::new();
        let mut seen = Vec::new();
        for (second, outcome) in [(1, &good), (2, &bad), (3, &bad), (4, &good), (5, &good)] {
            states = judge(&thresholds, &states, Some(outcome), at(second));
            let State {
                crossed,
                since,
                changed,
                ..
            } = states[0];
            seen.push((crossed, since, changed));
        }
        assert_eq!(
            seen,
            [
                (false, at(1), false),
                (true, at(2), true),
                (true, at(2), false),
                (false, at(4), true),
                (false, at(4), false),
            ]
        );
    }

    #[test]
    fn losses_are_counted_together_and_in_a_row() {
        let mut outcome = sample();
        outcome.counts.sent = 10;
        outcome.counts.received = 6;
        outcome.counts.loss_run_max = 3;
        let crossing = |threshold: Threshold| threshold.crossing(Some(&outcome));
        assert_eq!(crossing(Threshold::TotalLosses(5)), None);
        assert_eq!(
            crossing(Threshold::TotalLosses(4)).as_deref(),
            Some("4 packets were lost, and the limit is 4")
        );
        assert_eq!(crossing(Threshold::SuccessiveLosses(4)), None);
        assert_eq!(
            crossing(Threshold::SuccessiveLosses(3)).as_deref(),
            Some("3 packets were lost in a row, and the limit is 3")
        );
    }

    #[test]
    fn a_test_that_cannot_be_made_crosses_all_and_one_that_was_stopped_none() {
        let thresholds = [limit("rtt.p99>5ms"), Threshold::TotalLosses(1)];
        let failed = judge(&thresholds, &[], None, at(1));
        assert!(failed.iter().all(|state| state.crossed && state.changed));
        let kept = unchanged(&failed);
        assert!(
            kept.iter()
                .all(|state| state.crossed && !state.changed && state.since == at(1))
        );
    }

    #[test]
    fn a_threshold_that_is_new_in_the_file_has_no_past() {
        let before = judge(&[limit("loss>99%")], &[], None, at(1));
        let states = judge(&[limit("loss>98%")], &before, Some(&sample()), at(2));
        assert_eq!(
            (states[0].crossed, states[0].changed, states[0].since),
            (false, false, at(2))
        );
    }
}
