//! A Poisson process (RFC 2330 section 11.1): gaps that are exponentially distributed, so that no
//! slot tells when the next one comes.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;

use super::exponential;
use super::pace::Pace;
use super::places::Slots;
use crate::seed::Seed;

/// Longest gap, in mean gaps. Of the gaps one in 22 000 would be longer; cutting them off makes the
/// mean shorter by 0.005 %.
pub const GAP_MAX: u32 = 10;

/// The slots of a Poisson process, one after the other.
#[derive(Debug)]
pub(super) struct Poisson {
    generator: Pcg64,
    /// Mean gap, in units of 2^-32 ns.
    mean: u128,
    /// When the slot in hand is due, in units of 2^-32 ns from the start.
    due: u128,
}

impl Poisson {
    /// Slots of `burst` packets each, together at `pace`; the first one a gap after the start.
    pub fn new(pace: Pace, burst: u32, seed: Seed) -> Self {
        let mut poisson = Self {
            generator: seed.generator(),
            mean: pace.gap_scaled(burst, 1),
            due: 0,
        };
        poisson.advance();
        poisson
    }

    /// Three uniformly distributed words.
    #[expect(clippy::cast_possible_truncation, reason = "two words of one number")]
    fn words(&mut self) -> [u32; 3] {
        let two = self.generator.next_u64();
        [two as u32, (two >> 32) as u32, self.generator.next_u32()]
    }
}

impl Slots for Poisson {
    fn due(&self) -> u64 {
        u64::try_from(self.due >> 32).unwrap_or(u64::MAX)
    }

    fn advance(&mut self) {
        let [word, one, other] = self.words();
        let gap = exponential::deviate_of_three(word, [one, other], || self.generator.next_u32());
        let capped = u128::from(gap.min(u64::from(GAP_MAX) << 32));
        let product = match u64::try_from(self.mean) {
            // Up to 4 s, and then this is a single multiplication.
            Ok(mean) => u128::from(mean) * capped,
            Err(_) => self.mean.saturating_mul(capped),
        };
        self.due = self.due.saturating_add(product >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gaps of a process of 1000 slots/s, in milliseconds.
    fn gaps(seed: u128, count: usize) -> Vec<f64> {
        let mut poisson = Poisson::new(Pace::from_rate(1000.0).unwrap(), 1, Seed::new(seed));
        let mut before = 0;
        let mut gap = || {
            let due = poisson.due();
            poisson.advance();
            let gap = due - std::mem::replace(&mut before, due);
            f64::from(u32::try_from(gap).unwrap()) / 1e6
        };
        (0..count).map(|_| gap()).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
    fn share(gaps: &[f64], of: impl Fn(&f64) -> bool) -> f64 {
        gaps.iter().filter(|gap| of(gap)).count() as f64 / gaps.len() as f64
    }

    #[test]
    fn gaps_are_exponentially_distributed() {
        let gaps = gaps(1, 1_000_000);
        let mean = gaps.iter().sum::<f64>() / 1e6;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 1e6;
        // Four standard errors of a million gaps: 0.004 of the mean, 0.0114 of the variance.
        assert!((mean - 1.0).abs() < 0.004, "{mean}");
        assert!((variance - 1.0).abs() < 0.0114, "{variance}");
        for tenths in 1..80 {
            let limit = f64::from(tenths) / 10.0;
            let (found, expected) = (share(&gaps, |&gap| gap > limit), (-limit).exp());
            let error = 4.5 * (expected * (1.0 - expected) / 1e6).sqrt();
            assert!(
                (found - expected).abs() < error,
                "share above {limit}: {found}, not {expected}"
            );
        }
    }

    #[test]
    fn a_gap_says_nothing_of_the_next() {
        let gaps = gaps(2, 1_000_000);
        let products: f64 = gaps
            .windows(2)
            .map(|two| (two[0] - 1.0) * (two[1] - 1.0))
            .sum();
        let correlation = products / 999_999.0;
        assert!(correlation.abs() < 0.004, "{correlation}");
    }

    #[test]
    fn no_gap_is_longer_than_ten_mean_gaps() {
        let gaps = gaps(3, 1_000_000);
        let capped = share(&gaps, |&gap| gap > 9.999_99) * 1e6;
        // e^-10 of a million are 45.
        assert!((20.0..75.0).contains(&capped), "{capped}");
        assert!(gaps.iter().all(|&gap| gap < 10.000_01));
    }

    #[test]
    fn a_seed_gives_the_same_slots_again() {
        assert_eq!(gaps(4, 1000), gaps(4, 1000));
        assert_ne!(gaps(4, 1000), gaps(5, 1000));
    }
}
