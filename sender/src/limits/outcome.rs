//! The figures of a whole run, for its limits.

use super::Figures;
use super::figure::{Figure, Metric, Statistic};
use crate::measure::counts::ratio;
use crate::measure::distribution::Distribution;
use crate::outcome::Outcome;

impl Figures for Outcome {
    fn figure(&self, figure: Figure) -> Option<f64> {
        let counts = &self.counts;
        match figure {
            Figure::Loss => counts.loss_ratio(),
            Figure::LossForward => self.directions.and_then(|directions| {
                ratio(
                    directions.forward,
                    counts.sent.saturating_sub(directions.undecided),
                )
            }),
            // Only what got there can be lost on the way back.
            Figure::LossBackward => self.directions.and_then(|directions| {
                let gone = directions.undecided.saturating_add(directions.forward);
                ratio(directions.backward, counts.sent.saturating_sub(gone))
            }),
            Figure::Late => Some(float(counts.late)),
            Figure::Duplicates => Some(float(counts.duplicates)),
            Figure::Reordered => Some(float(counts.reordered)),
            Figure::Sent => Some(float(counts.sent)),
            Figure::Received => Some(float(counts.received)),
            Figure::Skipped => Some(float(self.skipped)),
            Figure::Rate => self.rate_achieved,
            Figure::Jitter => self.jitter,
            Figure::Delay(metric, statistic) => self.delay(metric, statistic),
        }
    }
}

impl Outcome {
    /// What is told of a delay, in nanoseconds; `None` if there was none.
    fn delay(&self, metric: Metric, statistic: Statistic) -> Option<f64> {
        let totals = &self.totals;
        let delays = match metric {
            Metric::RoundTrip | Metric::Pdv => &totals.round_trip,
            Metric::Forward => &totals.forward,
            Metric::Backward => &totals.backward,
            Metric::Residence => &totals.residence,
            Metric::Ipdv => &totals.ipdv.round_trip,
        };
        let value = told(delays, statistic)?;
        match metric {
            Metric::Pdv => Some(value - told(delays, Statistic::Min)?),
            _ => Some(value),
        }
    }
}

fn told(delays: &Distribution, statistic: Statistic) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "exact below 104 days")]
    let percentile = |percent| Some(delays.percentile(percent)?.nanos() as f64);
    match statistic {
        Statistic::Min => percentile(0.0),
        Statistic::Mean => delays.mean(),
        Statistic::Percentile(percentile_of) => {
            percentile(f64::from(percentile_of.per_million()) / 1e4)
        }
        Statistic::Max => percentile(100.0),
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 packets")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Directions;
    use crate::outcome::tests::sample;

    fn figure(outcome: &Outcome, name: &str) -> Option<f64> {
        outcome.figure(name.parse().unwrap())
    }

    #[test]
    fn figures_are_those_of_the_report() {
        let outcome = sample();
        for (name, value) in [
            ("loss", 0.25),
            ("sent", 4.0),
            ("received", 3.0),
            ("late", 0.0),
            ("duplicates", 0.0),
            ("reordered", 0.0),
            ("skipped", 0.0),
            ("rtt.min", 1e6),
            ("rtt.max", 4e6),
            ("pdv.min", 0.0),
            ("pdv.max", 3e6),
            ("residence.max", 5e5),
            ("forward.min", 4e5),
            ("backward.max", 3.6e6),
            ("ipdv.max", 2e6),
        ] {
            assert_eq!(figure(&outcome, name), Some(value), "{name}");
        }
        let mean = |outcome: &Outcome| outcome.round_trip.map(|rtt| rtt.mean);
        assert_eq!(figure(&outcome, "rtt.mean"), mean(&outcome));
        assert_eq!(figure(&outcome, "jitter"), outcome.jitter);
        let p50 = figure(&outcome, "rtt.p50").unwrap();
        assert!((p50 / 2e6 - 1.0).abs() < 0.001, "{p50}");
    }

    #[test]
    fn shares_by_direction_are_of_what_went_that_way() {
        let mut outcome = sample();
        assert_eq!(figure(&outcome, "loss.forward"), None);
        outcome.counts.sent = 110;
        outcome.directions = Some(Directions {
            forward: 20,
            backward: 40,
            undecided: 10,
            restarts: 0,
        });
        assert_eq!(figure(&outcome, "loss.forward"), Some(0.2));
        assert_eq!(figure(&outcome, "loss.backward"), Some(0.5));
    }

    #[test]
    fn what_was_not_measured_is_unknown() {
        let outcome = Outcome {
            totals: crate::measure::Totals::default(),
            ..sample()
        };
        for name in ["rtt.p99", "pdv.max", "ipdv.mean", "forward.min"] {
            assert_eq!(figure(&outcome, name), None, "{name}");
        }
    }
}
