//! Counts of non-negative values, in the buckets of an `HdrHistogram`.
//!
//! The same buckets as the crate `hdrhistogram` makes for two or three significant digits, whose
//! tests are the oracle here, at less than half the instructions per value: a run at a million packets
//! a second records eight million a second. Nothing but the counts is kept.
//!
//! ```text
//! values   0 … 2·half        one to a bucket
//!          2·half … 4·half   two
//!          4·half … 8·half   four, and so on: half buckets for each doubling
//! ```

/// Counts by bucket. They come with the first value and grow with the largest.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    counts: Vec<u64>,
    /// log2 of the buckets for a doubling.
    half_bits: u32,
    /// Significant decimal digits.
    digits: u8,
}

/// What values a bucket has, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filled {
    /// The smallest value that falls into it.
    pub low: u64,
    /// The largest.
    pub high: u64,
    /// Values in it, at least 1.
    pub count: u64,
}

impl Filled {
    /// The value that stands for all of them.
    pub fn middle(self) -> u64 {
        self.low + (self.high - self.low).div_ceil(2)
    }
}

impl Buckets {
    /// Values within 0.1 % of each other.
    pub const FINE: Self = Self::empty(10, 3);
    /// Values within 1 % of each other.
    pub const COARSE: Self = Self::empty(7, 2);

    /// `digits` digits take 2·10^`digits` buckets of one value, rounded up to a power of two.
    const fn empty(half_bits: u32, digits: u8) -> Self {
        assert!(1 << half_bits >= 10u32.pow(digits as u32));
        Self {
            counts: Vec::new(),
            half_bits,
            digits,
        }
    }

    /// Counts a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        let index = index(value, self.half_bits);
        match self.counts.get_mut(index) {
            Some(count) => *count += 1,
            None => self.add(index, 1),
        }
    }

    /// Counts a value `count` times.
    #[inline]
    pub fn record_many(&mut self, value: u64, count: u64) {
        self.add(index(value, self.half_bits), count);
    }

    /// Adds to a bucket, and grows as far as it must.
    fn add(&mut self, index: usize, count: u64) {
        if index >= self.counts.len() {
            let doublings = (index >> self.half_bits) + 1;
            let len = doublings.max(2) << self.half_bits;
            self.counts.reserve_exact(len - self.counts.len());
            self.counts.resize(len, 0);
        }
        self.counts[index] += count;
    }

    /// Adds the values of another, each to within the coarser of the two precisions.
    pub fn merge(&mut self, other: &Self) {
        if self.half_bits == other.half_bits {
            if let Some(last) = other.counts.len().checked_sub(1) {
                self.add(last, 0);
            }
            for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
                *mine += theirs;
            }
        } else {
            for bucket in other.filled() {
                self.record_many(bucket.middle(), bucket.count);
            }
        }
    }

    /// Forgets all values and keeps the memory.
    pub fn clear(&mut self) {
        self.counts.fill(0);
    }

    /// Number of values.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets with values, from the smallest.
    pub fn filled(&self) -> impl DoubleEndedIterator<Item = Filled> + '_ {
        let counted = self.counts.iter().enumerate();
        counted
            .filter(|&(_, &count)| count > 0)
            .map(|(index, &count)| {
                let shift = (index >> self.half_bits).saturating_sub(1);
                let low = (index as u64 - ((shift as u64) << self.half_bits)) << shift;
                Filled {
                    low,
                    high: low + ((1 << shift) - 1),
                    count,
                }
            })
    }

    /// Significant decimal digits.
    pub fn digits(&self) -> u8 {
        self.digits
    }
}

/// The bucket of a value.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "2^17 at most, for the 54 doublings of three digits"
)]
fn index(value: u64, half_bits: u32) -> usize {
    // Below the second doubling all values are treated alike. No operation wraps: the bit set here
    // makes the logarithm at least `half_bits`.
    let highest = (value | (1 << half_bits)).ilog2();
    let shift = highest.wrapping_sub(half_bits);
    (u64::from(shift) << half_bits).wrapping_add(value >> shift) as usize
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    /// Magnitudes of an `i64`, every order as likely. Of the last bucket of all, far above them,
    /// `hdrhistogram` does not tell the largest value right.
    fn values() -> impl Strategy<Value = u64> {
        let any = (any::<u64>(), 1u32..64).prop_map(|(value, shift)| value >> shift);
        prop_oneof![50 => any, 1 => Just(i64::MIN.unsigned_abs())]
    }

    proptest! {
        #[test]
        fn are_those_of_hdrhistogram(values in proptest::collection::vec(values(), 1..100)) {
            for mut buckets in [Buckets::FINE, Buckets::COARSE] {
                let mut oracle = Histogram::<u64>::new(buckets.digits).unwrap();
                for &value in &values {
                    buckets.record(value);
                    oracle.record(value).unwrap();
                }
                let expected: Vec<_> = oracle
                    .iter_recorded()
                    .map(|bucket| {
                        let value = bucket.value_iterated_to();
                        let low = oracle.lowest_equivalent(value);
                        let high = oracle.highest_equivalent(value);
                        (low, high, oracle.median_equivalent(value), bucket.count_since_last_iteration())
                    })
                    .collect();
                let found: Vec<_> = buckets
                    .filled()
                    .map(|bucket| (bucket.low, bucket.high, bucket.middle(), bucket.count))
                    .collect();
                prop_assert_eq!(found, expected);
                prop_assert_eq!(buckets.total(), values.len() as u64);
            }
        }

        #[test]
        fn merging_different_precisions_loses_no_value(
            fine in proptest::collection::vec(values(), 0..50),
            coarse in proptest::collection::vec(values(), 0..50),
        ) {
            let filled = |empty: Buckets, values: &[u64]| {
                let mut buckets = empty;
                for &value in values {
                    buckets.record(value);
                }
                buckets
            };
            let both = [&fine[..], &coarse].concat();
            let (fine, coarse) = (filled(Buckets::FINE, &fine), filled(Buckets::COARSE, &coarse));
            let mut merged = coarse.clone();
            merged.merge(&fine);
            prop_assert_eq!(merged.total(), both.len() as u64);
            let exact = filled(Buckets::COARSE, &both);
            let lows = |buckets: &Buckets| buckets.filled().collect::<Vec<_>>();
            prop_assert_eq!(lows(&merged), lows(&exact));
            let mut merged = fine;
            merged.merge(&coarse);
            prop_assert_eq!(merged.total(), both.len() as u64);
        }
    }

    #[test]
    fn take_as_much_memory_as_their_largest_value_asks_for() {
        let mut buckets = Buckets::FINE;
        assert_eq!(buckets.counts.capacity(), 0);
        buckets.record(0);
        assert_eq!(buckets.counts.capacity(), 2048);
        buckets.record(1_000_000);
        assert_eq!(buckets.counts.capacity(), 11 * 1024);
        assert_eq!(buckets.total(), 2);
        buckets.clear();
        assert_eq!((buckets.total(), buckets.filled().count()), (0, 0));
        assert_eq!(buckets.counts.capacity(), 11 * 1024);
    }
}
