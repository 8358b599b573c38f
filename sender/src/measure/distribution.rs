//! The distribution of one signed delay over a run or an interval.
//!
//! HDR histograms hold counts of non-negative integers, but delays between unsynchronised clocks
//! and delay variations are signed, so each distribution is a pair: how far samples lie below a base,
//! and above it. Both come with their first sample and grow by themselves, so no sample is clamped
//! and a metric without samples takes no memory. Minimum, mean and maximum are kept outside the
//! histograms and are exact.
//!
//! The base is the first sample, until one comes that is nearer to 0 than to it, and then 0. So where
//! clocks are 37 s apart, or a round trip takes one, percentiles still tell microseconds of variation.

use hdrhistogram::Histogram;
use wire::time::Nanos;

use super::buckets::{Buckets, Filled};

/// All samples of one delay metric.
///
/// A fine one takes 8 KiB for each doubling from 2 µs to the largest distance from its base and
/// 16 KiB below, so 96 KiB at 1 ms; a coarse one takes 1 KiB for each doubling from 256 ns, so 14 KiB
/// at 1 ms.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// What samples are counted from: no sample is nearer to 0 than to it.
    base: i64,
    /// Distances of the samples below the base.
    below: Buckets,
    /// Distances of the samples at or above the base.
    above: Buckets,
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
    /// 95th percentile.
    pub p95: Nanos,
    /// 99th percentile.
    pub p99: Nanos,
    /// 99.9th percentile.
    pub p999: Nanos,
    /// Largest sample, exact.
    pub max: Nanos,
}

/// Packet delay variation (RFC 5481 section 4.2): delays above the smallest of the same samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pdv {
    /// Arithmetic mean in nanoseconds.
    pub mean: f64,
    /// Median.
    pub p50: Nanos,
    /// 90th percentile.
    pub p90: Nanos,
    /// 95th percentile.
    pub p95: Nanos,
    /// 99th percentile.
    pub p99: Nanos,
    /// 99.9th percentile.
    pub p999: Nanos,
    /// Largest, the range of the delays.
    pub max: Nanos,
}

/// Samples that a [`Distribution`] does not tell apart. Those before the base moved may lie beyond its
/// ends, by no more than the precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Smallest sample that falls into it.
    pub low: Nanos,
    /// Largest sample that falls into it.
    pub high: Nanos,
    /// Samples in it, at least 1.
    pub count: u64,
}

/// A bucket by its place, which may reach beyond the samples.
struct Cell {
    low: i64,
    high: i64,
    count: u64,
}

impl Cell {
    /// The value that stands for all of them.
    fn middle(&self) -> i64 {
        let width = self.high.abs_diff(self.low);
        self.low.saturating_add_unsigned(width.div_ceil(2))
    }
}

impl Default for Distribution {
    /// An empty distribution with percentiles within 0.1 % of the samples' distance from the base.
    fn default() -> Self {
        Self::with(Buckets::FINE)
    }
}

impl Distribution {
    /// An empty distribution with percentiles within 1 %, for where many are kept.
    pub fn coarse() -> Self {
        Self::with(Buckets::COARSE)
    }

    fn with(empty: Buckets) -> Self {
        Self {
            base: 0,
            below: empty.clone(),
            above: empty,
            count: 0,
            sum: 0,
            min: i64::MAX,
            max: i64::MIN,
        }
    }

    /// Adds one sample.
    pub fn record(&mut self, sample: Nanos) {
        let nanos = sample.nanos();
        self.make_fit(nanos);
        self.count += 1;
        self.sum += i128::from(nanos);
        let (half, distance) = self.half(nanos);
        half.record(distance);
    }

    /// Adds the same sample `count` times, which may be 0.
    pub fn record_many(&mut self, sample: Nanos, count: u64) {
        if count == 0 {
            return;
        }
        let nanos = sample.nanos();
        self.make_fit(nanos);
        self.count += count;
        self.sum += i128::from(nanos) * i128::from(count);
        let (half, distance) = self.half(nanos);
        half.record_many(distance, count);
    }

    /// Stretches the range to `nanos`, and moves the base if it must.
    #[inline]
    fn make_fit(&mut self, nanos: i64) {
        if self.count == 0 {
            self.base = nanos;
        } else if !self.fits(nanos) {
            self.count_from_zero();
        }
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
    }

    /// Whether a sample is no nearer to 0 than to the base.
    #[inline]
    fn fits(&self, nanos: i64) -> bool {
        nanos.abs_diff(self.base) <= nanos.unsigned_abs()
    }

    /// Where a sample is counted, and under which distance.
    #[inline]
    fn half(&mut self, nanos: i64) -> (&mut Buckets, u64) {
        let distance = nanos.abs_diff(self.base);
        let half = if nanos < self.base {
            &mut self.below
        } else {
            &mut self.above
        };
        (half, distance)
    }

    /// Moves the base to 0. At most once between two calls of `clear`.
    #[cold]
    fn count_from_zero(&mut self) {
        let counted: Vec<_> = self
            .cells()
            .map(|cell| (cell.middle(), cell.count))
            .collect();
        self.below.clear();
        self.above.clear();
        self.base = 0;
        for (nanos, count) in counted {
            let (half, distance) = self.half(nanos);
            half.record_many(distance, count);
        }
    }

    /// Adds all samples of `other`, each to within the sum of the two precisions.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            self.base = other.base;
        } else if !(self.fits(other.min) && self.fits(other.max)) {
            // Between two samples that the base fits it fits all.
            self.count_from_zero();
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
        if self.base == other.base {
            self.below.merge(&other.below);
            self.above.merge(&other.above);
            return;
        }
        for cell in other.cells() {
            let (half, distance) = self.half(cell.middle());
            half.record_many(distance, cell.count);
        }
    }

    /// Forgets all samples and keeps the memory for the next.
    pub fn clear(&mut self) {
        self.below.clear();
        self.above.clear();
        (self.base, self.count, self.sum) = (0, 0, 0);
        (self.min, self.max) = (i64::MAX, i64::MIN);
    }

    /// Number of samples recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Number of samples below zero.
    pub fn count_negative(&self) -> u64 {
        match self.base.signum() {
            // All samples have its sign.
            1 => 0,
            -1 => self.count,
            _ => self.below.total(),
        }
    }

    /// The samples at or above zero, in nanoseconds; `None` when there is none. Made for each call.
    pub fn positive(&self) -> Option<Histogram<u64>> {
        let mut histogram = Histogram::new(self.above.digits()).ok()?;
        for cell in self.cells() {
            if let Ok(value) = u64::try_from(cell.middle()) {
                // It grows to whatever is recorded.
                histogram.record_n(value, cell.count).ok()?;
            }
        }
        (!histogram.is_empty()).then_some(histogram)
    }

    /// Arithmetic mean in nanoseconds; `None` when nothing was recorded.
    pub fn mean(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a mean is reported as a float")]
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The percentile `percent`, from 0 (the minimum) to 100 (the maximum), by nearest rank;
    /// values outside are taken as the nearer end. `None` when nothing was recorded.
    pub fn percentile(&self, percent: f64) -> Option<Nanos> {
        // In whole billionths, because 99.9 % of 1000 as a product of floats may be above 999.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1e9 after the clamp, and `as` turns NaN into 0"
        )]
        let billionths = (percent.clamp(0.0, 100.0) * 1e7).round() as u64;
        (self.count > 0).then(|| self.at_ranks([self.rank(billionths)])[0])
    }

    /// Minimum, mean, percentiles and maximum; `None` when nothing was recorded.
    pub fn summary(&self) -> Option<Summary> {
        let mean = self.mean()?;
        let ranks = [
            500_000_000,
            900_000_000,
            950_000_000,
            990_000_000,
            999_000_000,
        ]
        .map(|billionths| self.rank(billionths));
        let [p50, p90, p95, p99, p999] = self.at_ranks(ranks);
        Some(Summary {
            count: self.count,
            min: Nanos::from_nanos(self.min),
            mean,
            p50,
            p90,
            p95,
            p99,
            p999,
            max: Nanos::from_nanos(self.max),
        })
    }

    /// All buckets with samples, from the most negative. The ends are cut to the extreme samples.
    pub fn buckets(&self) -> Vec<Bucket> {
        self.cells()
            .map(|Cell { low, high, count }| Bucket {
                low: Nanos::from_nanos(low.max(self.min)),
                high: Nanos::from_nanos(high.min(self.max)),
                count,
            })
            .collect()
    }

    /// All buckets with samples, from the most negative.
    fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        let below = self.below.filled().rev();
        let below = below.map(|Filled { low, high, count }| Cell {
            low: self.base.saturating_sub_unsigned(high),
            high: self.base.saturating_sub_unsigned(low),
            count,
        });
        let above = self.above.filled();
        let above = above.map(|Filled { low, high, count }| Cell {
            low: self.base.saturating_add_unsigned(low),
            high: self.base.saturating_add_unsigned(high),
            count,
        });
        below.chain(above)
    }

    /// ceil(count x `billionths` / 1e9), at least 1.
    fn rank(&self, billionths: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(billionths)).div_ceil(1_000_000_000);
        u64::try_from(rank).unwrap_or(self.count).max(1)
    }

    /// The samples of these ascending ranks, counted from the most negative as 1, in one pass.
    fn at_ranks<const N: usize>(&self, ranks: [u64; N]) -> [Nanos; N] {
        let mut values = ranks.map(|rank| if rank == 1 { self.min } else { self.max });
        // The ends are known exactly.
        let inner = |&i: &usize| ranks[i] > 1 && ranks[i] < self.count;
        let mut wanted = (0..N).filter(inner).peekable();
        let mut seen = 0;
        for cell in self.cells() {
            if wanted.peek().is_none() {
                break;
            }
            seen += cell.count;
            while let Some(i) = wanted.next_if(|&i| ranks[i] <= seen) {
                values[i] = cell.middle();
            }
        }
        // A bucket may reach beyond the extreme sample it holds.
        values.map(|value| Nanos::from_nanos(value.clamp(self.min, self.max)))
    }
}

impl Summary {
    /// The same samples as variation above their minimum.
    pub fn pdv(&self) -> Pdv {
        #[expect(clippy::cast_precision_loss, reason = "a mean is reported as a float")]
        let mean = (self.mean - self.min.nanos() as f64).max(0.0);
        Pdv {
            mean,
            p50: self.p50 - self.min,
            p90: self.p90 - self.min,
            p95: self.p95 - self.min,
            p99: self.p99 - self.min,
            p999: self.p999 - self.min,
            max: self.max - self.min,
        }
    }
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
    fn many_of_a_kind_are_as_many_of_one() {
        let mut many = Distribution::default();
        for (sample, count) in [(-7, 3), (1_000_000, 0), (9_000, 2)] {
            many.record_many(Nanos::from_nanos(sample), count);
        }
        let one_by_one = distribution(&[-7, -7, -7, 9_000, 9_000]);
        assert_eq!(many.summary(), one_by_one.summary());
        assert_eq!(many.buckets(), one_by_one.buckets());
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
            let figures = [
                (500, summary.p50),
                (900, summary.p90),
                (950, summary.p95),
                (990, summary.p99),
                (999, summary.p999),
            ];
            for (per_mille, figure) in figures {
                let exact = samples[(samples.len() * per_mille).div_ceil(1000) - 1];
                let error = figure.nanos().abs_diff(exact);
                prop_assert!(error <= 1 + exact.unsigned_abs() / 1000, "{figure:?} for {exact}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_percentile_and_the_buckets_agree_with_the_sorted_samples(
            mut samples in proptest::collection::vec(-3_000_000i64..3_000_000, 1..300),
            billionths in 0u32..=1_000_000_000,
        ) {
            let distribution = distribution(&samples);
            samples.sort_unstable();
            let rank = samples.len() * billionths as usize;
            let exact = samples[rank.div_ceil(1_000_000_000).max(1) - 1];
            let found = distribution.percentile(f64::from(billionths) / 1e7).unwrap().nanos();
            prop_assert!(found.abs_diff(exact) <= 1 + exact.unsigned_abs() / 1000);

            let mut rest = samples.as_slice();
            for bucket in distribution.buckets() {
                let (inside, after) = rest.split_at(usize::try_from(bucket.count).unwrap());
                for sample in inside {
                    // What was counted from another base first may have crossed a border.
                    let near = 1 + sample.abs() / 1000;
                    let range = bucket.low.nanos() - near..=bucket.high.nanos() + near;
                    prop_assert!(range.contains(sample), "{sample} in {range:?}");
                }
                rest = after;
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn merging_is_recording_both(
            first in proptest::collection::vec(-90_000i64..90_000, 0..50),
            second in proptest::collection::vec(-90_000_000i64..9_000_000, 1..50),
        ) {
            let mut merged = distribution(&first);
            merged.merge(&distribution(&second));
            let mut samples = [first, second].concat();
            samples.sort_unstable();
            let summary = merged.summary().unwrap();
            prop_assert_eq!(summary.count, samples.len() as u64);
            prop_assert_eq!(summary.min.nanos(), samples[0]);
            prop_assert_eq!(summary.max.nanos(), samples[samples.len() - 1]);
            prop_assert_eq!(merged.mean(), distribution(&samples).mean());
            let counted: u64 = merged.buckets().iter().map(|bucket| bucket.count).sum();
            prop_assert_eq!(counted, summary.count);
            for (per_mille, figure) in [(500, summary.p50), (900, summary.p90), (990, summary.p99)] {
                let exact = samples[(samples.len() * per_mille).div_ceil(1000) - 1];
                let error = figure.nanos().abs_diff(exact);
                prop_assert!(error <= 2 + exact.unsigned_abs() / 500, "{figure:?} for {exact}");
            }
        }

        #[test]
        fn merging_into_an_empty_one_changes_nothing(
            samples in proptest::collection::vec(-90_000i64..90_000_000, 1..50),
        ) {
            let other = distribution(&samples);
            let mut merged = Distribution::default();
            merged.merge(&other);
            prop_assert_eq!(merged.summary(), other.summary());
            prop_assert_eq!(merged.buckets(), other.buckets());
        }

        #[test]
        fn variation_is_told_whatever_the_offset_between_the_clocks(
            mut samples in proptest::collection::vec(0i64..10_000_000, 1..300),
            offset in prop_oneof![Just(37_000_000_000i64), Just(-3_600_000_000_000)],
            parts in 1usize..4,
        ) {
            let mut whole = Distribution::default();
            for part in samples.chunks(samples.len().div_ceil(parts)) {
                whole.merge(&distribution(&part.iter().map(|s| offset + s).collect::<Vec<_>>()));
            }
            let below_zero = if offset < 0 { samples.len() as u64 } else { 0 };
            prop_assert_eq!(whole.count_negative(), below_zero);
            let exported = whole.positive().map_or(0, |histogram| histogram.len());
            prop_assert_eq!(exported + below_zero, samples.len() as u64);
            let pdv = whole.summary().unwrap().pdv();
            samples.sort_unstable();
            for (per_mille, figure) in [(500, pdv.p50), (900, pdv.p90), (990, pdv.p99)] {
                let exact = samples[(samples.len() * per_mille).div_ceil(1000) - 1] - samples[0];
                let error = figure.nanos().abs_diff(exact);
                // Half a thousandth of the range, for each of two roundings.
                prop_assert!(error <= 10_000, "{figure:?} for {exact}");
            }
        }
    }

    #[test]
    fn a_percentile_at_a_whole_rank_is_not_pushed_up_by_rounding() {
        let samples: Vec<i64> = (1..=1000).collect();
        let distribution = distribution(&samples);
        for (percent, rank) in [
            (0.0, 1),
            (99.9, 999),
            (99.95, 1000),
            (70.0, 700),
            (200.0, 1000),
        ] {
            let found = distribution.percentile(percent).unwrap();
            assert_eq!(found.nanos(), rank, "{percent}");
        }
        assert_eq!(Distribution::default().percentile(50.0), None);
    }

    #[test]
    fn a_coarse_one_is_within_a_hundredth() {
        let mut coarse = Distribution::coarse();
        for sample in 0..10_000 {
            coarse.record(Nanos::from_nanos(sample * 1_000));
        }
        let p95 = coarse.summary().unwrap().p95.nanos();
        assert!(p95.abs_diff(9_499_000) < 94_990, "{p95}");
        let bytes = |d: &Distribution| d.positive().unwrap().distinct_values() * 8;
        assert!(bytes(&coarse) <= 18 * 1024, "{}", bytes(&coarse));
    }

    #[test]
    fn a_cleared_one_is_as_new() {
        let mut distribution = distribution(&[-5, 7, 9_000_000]);
        distribution.clear();
        assert_eq!(distribution.summary(), None);
        assert_eq!(distribution.buckets(), []);
        distribution.record(Nanos::from_nanos(3));
        assert_eq!(distribution.summary().unwrap().max.nanos(), 3);
    }

    #[test]
    fn variation_is_above_the_smallest_sample() {
        let pdv = distribution(&[-100, 0, 300]).summary().unwrap().pdv();
        assert_eq!((pdv.p50.nanos(), pdv.max.nanos()), (100, 400));
        assert!((pdv.mean - 500.0 / 3.0).abs() < 1e-9);
    }
}
