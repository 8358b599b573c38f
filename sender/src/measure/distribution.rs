//! The distribution of one signed delay over a run.
//!
//! HDR histograms hold counts of non-negative integers, but delays between unsynchronised clocks
//! and delay variations are signed, so each distribution is a pair: magnitudes of the negative
//! samples and of the others. Both grow by themselves, so no sample is clamped. Minimum, mean and
//! maximum are kept outside the histograms and are exact.

use hdrhistogram::Histogram;
use wire::time::Nanos;

/// Significant decimal digits kept by the histograms: a percentile is within 0.1 % of the sample.
const PRECISION: u8 = 3;

/// All samples of one delay metric.
#[derive(Debug)]
pub struct Distribution {
    /// Magnitudes of the samples below zero.
    negative: Histogram<u64>,
    /// Samples at or above zero.
    positive: Histogram<u64>,
    count: u64,
    sum: i128,
    min: i64,
    max: i64,
}

/// What a report says of a [`Distribution`].
///
/// Percentiles are nearest-rank, the smallest value `x` with F(x) >= p (RFC 2330 section 11.3),
/// over the samples recorded; a lost packet has no delay and is not among them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of samples, at least 1.
    pub count: u64,
    /// Smallest sample, exact.
    pub min: Nanos,
    /// Arithmetic mean in nanoseconds, exact up to the rounding of `f64`.
    pub mean: f64,
    /// 50th percentile (nearest rank, so not interpolated for an even count).
    pub p50: Nanos,
    /// 90th percentile.
    pub p90: Nanos,
    /// 99th percentile.
    pub p99: Nanos,
    /// 99.9th percentile.
    pub p999: Nanos,
    /// Largest sample, exact.
    pub max: Nanos,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            negative: empty_histogram(),
            positive: empty_histogram(),
            count: 0,
            sum: 0,
            min: i64::MAX,
            max: i64::MIN,
        }
    }
}

impl Distribution {
    /// Adds one sample.
    pub fn record(&mut self, sample: Nanos) {
        let nanos = sample.nanos();
        self.count += 1;
        self.sum += i128::from(nanos);
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
        let half = if nanos < 0 {
            &mut self.negative
        } else {
            &mut self.positive
        };
        // An auto-resizing histogram of 64-bit values refuses nothing (tested at the extremes);
        // on a target with a smaller `usize` it saturates rather than lose the sample.
        if half.record(nanos.unsigned_abs()).is_err() {
            half.saturating_record(nanos.unsigned_abs());
        }
    }

    /// Number of samples recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Minimum, mean, percentiles and maximum; `None` when nothing was recorded.
    pub fn summary(&self) -> Option<Summary> {
        if self.count == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a mean is reported as a float")]
        let mean = self.sum as f64 / self.count as f64;
        Some(Summary {
            count: self.count,
            min: Nanos::from_nanos(self.min),
            mean,
            p50: self.per_mille(500),
            p90: self.per_mille(900),
            p99: self.per_mille(990),
            p999: self.per_mille(999),
            max: Nanos::from_nanos(self.max),
        })
    }

    /// The sample of rank ceil(count x `per_mille` / 1000), counted from the most negative.
    fn per_mille(&self, per_mille: u64) -> Nanos {
        let rank = (u128::from(self.count) * u128::from(per_mille)).div_ceil(1000);
        let rank = u64::try_from(rank).unwrap_or(self.count).max(1);
        // The ends are known exactly.
        if rank == 1 {
            return Nanos::from_nanos(self.min);
        }
        if rank == self.count {
            return Nanos::from_nanos(self.max);
        }
        let below_zero = self.negative.len();
        let value = if rank <= below_zero {
            // The most negative sample has the largest magnitude.
            let magnitude = value_at_rank(&self.negative, below_zero - rank + 1);
            0i64.saturating_sub_unsigned(magnitude)
        } else {
            0i64.saturating_add_unsigned(value_at_rank(&self.positive, rank - below_zero))
        };
        // A bucket may reach beyond the extreme sample it holds.
        Nanos::from_nanos(value.clamp(self.min, self.max))
    }
}

/// The middle of the bucket that holds the `rank`-th smallest value (from 1).
fn value_at_rank(histogram: &Histogram<u64>, rank: u64) -> u64 {
    let mut seen = 0;
    for bucket in histogram.iter_recorded() {
        seen += bucket.count_since_last_iteration();
        if seen >= rank {
            return histogram.median_equivalent(bucket.value_iterated_to());
        }
    }
    histogram.max()
}

#[expect(
    clippy::expect_used,
    reason = "the only error is a precision above 5 digits"
)]
fn empty_histogram() -> Histogram<u64> {
    Histogram::new(PRECISION).expect("3 digits is a legal precision")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn distribution(samples: &[i64]) -> Distribution {
        let mut distribution = Distribution::default();
        for &sample in samples {
            distribution.record(Nanos::from_nanos(sample));
        }
        distribution
    }

    #[test]
    fn has_no_summary_without_samples() {
        assert_eq!(Distribution::default().summary(), None);
    }

    #[test]
    fn one_sample_is_every_figure() {
        let summary = distribution(&[-1_234_567]).summary().unwrap();
        for figure in [
            summary.min,
            summary.p50,
            summary.p90,
            summary.p99,
            summary.p999,
            summary.max,
        ] {
            assert_eq!(figure, Nanos::from_nanos(-1_234_567));
        }
        assert!((summary.mean + 1_234_567.0).abs() < 1e-6);
    }

    #[test]
    fn ranks_negative_samples_below_positive_ones() {
        let summary = distribution(&[30, -10, 0, -20, 10, 20, -30, 40, 50, -40])
            .summary()
            .unwrap();
        assert_eq!(summary.min.nanos(), -40);
        assert_eq!(summary.p50.nanos(), 0, "fifth of ten");
        assert_eq!(summary.p90.nanos(), 40, "ninth of ten");
        assert_eq!(summary.p99.nanos(), 50);
        assert_eq!(summary.max.nanos(), 50);
        assert!((summary.mean - 5.0).abs() < 1e-9);
    }

    #[test]
    fn clamps_nothing_at_the_ends_of_the_range() {
        let summary = distribution(&[i64::MIN, i64::MAX, 0]).summary().unwrap();
        assert_eq!(summary.min.nanos(), i64::MIN);
        assert_eq!(summary.max.nanos(), i64::MAX);
        assert_eq!(summary.p50.nanos(), 0);
        assert_eq!(summary.p90.nanos(), i64::MAX);
        assert!((summary.mean + 1.0 / 3.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn percentiles_are_within_a_thousandth_of_the_nearest_rank(
            mut samples in proptest::collection::vec(
                prop_oneof![-5_000i64..5_000, -40_000_000_000i64..40_000_000_000],
                1..400,
            ),
        ) {
            let summary = distribution(&samples).summary().unwrap();
            samples.sort_unstable();
            prop_assert_eq!(summary.count, samples.len() as u64);
            prop_assert_eq!(summary.min.nanos(), samples[0]);
            prop_assert_eq!(summary.max.nanos(), samples[samples.len() - 1]);
            let figures =
                [(500, summary.p50), (900, summary.p90), (990, summary.p99), (999, summary.p999)];
            for (per_mille, figure) in figures {
                let exact = samples[(samples.len() * per_mille).div_ceil(1000) - 1];
                let error = figure.nanos().abs_diff(exact);
                prop_assert!(error <= exact.unsigned_abs() / 1000, "{figure:?} for {exact}");
            }
        }
    }
}
