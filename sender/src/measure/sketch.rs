//! A distribution in half a kilobyte, for sessions in their thousands.
//!
//! Four buckets to the octave from 256 ns to 69 s, one below and one above: a percentile is within
//! 11 % of the sample. Minimum, mean and maximum are kept by the session itself and are exact.

/// Bounded counts of non-negative times in nanoseconds.
#[derive(Debug, Clone)]
pub struct Sketch {
    buckets: [u32; Self::BUCKETS],
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            buckets: [0; Self::BUCKETS],
        }
    }
}

impl Sketch {
    /// Buckets are this fraction of their octave.
    const PER_OCTAVE_BITS: u32 = 2;
    /// The first bucket holds everything below two to this power.
    const FLOOR_BITS: u32 = 8;
    /// The last bucket holds everything from two to this power on.
    const CEILING_BITS: u32 = 36;
    const BUCKETS: usize =
        (((Self::CEILING_BITS - Self::FLOOR_BITS) << Self::PER_OCTAVE_BITS) + 2) as usize;

    /// Adds a sample; negative ones count as the smallest.
    pub fn record(&mut self, nanos: i64) {
        let bucket = &mut self.buckets[Self::bucket(u64::try_from(nanos).unwrap_or(0))];
        *bucket = bucket.saturating_add(1);
    }

    fn bucket(nanos: u64) -> usize {
        let Some(octave) = nanos
            .checked_ilog2()
            .filter(|&octave| octave >= Self::FLOOR_BITS)
        else {
            return 0;
        };
        if octave >= Self::CEILING_BITS {
            return Self::BUCKETS - 1;
        }
        let fraction =
            (nanos >> (octave - Self::PER_OCTAVE_BITS)) & ((1 << Self::PER_OCTAVE_BITS) - 1);
        let step = ((octave - Self::FLOOR_BITS) << Self::PER_OCTAVE_BITS) + fraction as u32;
        step as usize + 1
    }

    /// The middle of a bucket.
    fn middle(bucket: usize) -> u64 {
        if bucket == 0 {
            return 1 << (Self::FLOOR_BITS - 1);
        }
        if bucket == Self::BUCKETS - 1 {
            return 1 << Self::CEILING_BITS;
        }
        let step = bucket - 1;
        let octave = (step >> Self::PER_OCTAVE_BITS) + Self::FLOOR_BITS as usize;
        let fraction = (step & ((1 << Self::PER_OCTAVE_BITS) - 1)) as u64;
        let width = 1u64 << (octave - Self::PER_OCTAVE_BITS as usize);
        (1 << octave) + fraction * width + width / 2
    }

    /// The sample at `percent` of the ranks (RFC 2330 section 11.3), approximately; `None` without
    /// samples. It lies within `min` and `max`, which the caller knows exactly.
    pub fn percentile(&self, percent: f64, min: i64, max: i64) -> Option<i64> {
        let count: u64 = self.buckets.iter().copied().map(u64::from).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a rank is a whole number, and `as` saturates"
        )]
        let rank = ((count as f64 * percent / 100.0).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (bucket, &samples) in self.buckets.iter().enumerate() {
            seen += u64::from(samples);
            if seen >= rank {
                let middle = i64::try_from(Self::middle(bucket)).unwrap_or(i64::MAX);
                return Some(middle.clamp(min, max));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_sketch_has_no_percentiles() {
        assert_eq!(Sketch::default().percentile(50.0, 0, 0), None);
    }

    #[test]
    fn ends_are_the_exact_ones() {
        let mut sketch = Sketch::default();
        for nanos in [-5, 3, 1 << 40] {
            sketch.record(nanos);
        }
        assert_eq!(sketch.percentile(0.0, -5, 1 << 40), Some(128));
        assert_eq!(sketch.percentile(100.0, -5, 100), Some(100));
    }

    #[test]
    fn takes_half_a_kilobyte() {
        assert!(size_of::<Sketch>() <= 512);
    }

    proptest! {
        #[test]
        fn percentiles_are_within_an_eighth(
            mut samples in proptest::collection::vec(256i64..60_000_000_000, 1..300),
            percent in 1u32..=100,
        ) {
            let mut sketch = Sketch::default();
            for &sample in &samples {
                sketch.record(sample);
            }
            samples.sort_unstable();
            let rank = (samples.len() * percent as usize).div_ceil(100);
            let exact = samples[rank - 1];
            let (min, max) = (samples[0], samples[samples.len() - 1]);
            let found = sketch.percentile(f64::from(percent), min, max).unwrap();
            prop_assert!(found.abs_diff(exact) <= exact.unsigned_abs() / 8, "{found} for {exact}");
        }
    }
}
