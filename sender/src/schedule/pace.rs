//! How fast: an exact ratio of packets to time.

use std::str::FromStr;
use std::time::Duration;

/// Nanoseconds in a second.
pub(super) const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A rate as an exact ratio: `packets` per `nanos` nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// 1 to 10^18.
    pub(super) packets: u64,
    nanos: u64,
}

/// Fastest rate that can be asked for, in packets per second.
pub const RATE_MAX: f64 = 10_000_000.0;

/// Why a text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaceError {
    /// It is no number above zero.
    #[error(
        "'{0}' is no rate: write packets per second above zero, like 50, 10k, 1.5M or 0.1, or a unit \
         like 1/min"
    )]
    Text(String),
    /// It is above [`RATE_MAX`].
    #[error("a rate is 10M packets/s at most")]
    TooFast,
}

impl Pace {
    /// Resolution of a rate: millionths of a packet per second.
    const RATE_UNIT: u64 = 1_000_000;

    /// The pace of `rate` packets per second, to a millionth; `None` below that, for what is not a
    /// number, and above 10^12.
    pub fn from_rate(rate: f64) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "10^6 is exact")]
        let scaled = (rate * Self::RATE_UNIT as f64).round();
        if !(1.0..=1e18).contains(&scaled) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked against the range just above"
        )]
        let packets = scaled as u64;
        Some(Self {
            packets,
            nanos: NANOS_PER_SECOND * Self::RATE_UNIT,
        })
    }

    /// The pace of one packet per `interval`; `None` for zero and for more than 584 years.
    pub fn from_interval(interval: Duration) -> Option<Self> {
        let nanos = u64::try_from(interval.as_nanos())
            .ok()
            .filter(|&nanos| nanos > 0)?;
        Some(Self { packets: 1, nanos })
    }

    /// When slot `slot` is due, from the start.
    pub fn due(self, slot: u64) -> Duration {
        Duration::from_nanos(self.split(u128::from(slot)).0)
    }

    /// When slot `slot` is due, in whole nanoseconds from the start, and what that is short of in
    /// `1 / packets` ns.
    pub(super) fn split(self, slot: u128) -> (u64, u64) {
        let packets = u128::from(self.packets);
        let exact = slot.saturating_mul(u128::from(self.nanos));
        let whole = u64::try_from(exact / packets).unwrap_or(u64::MAX);
        // Below `packets`, so it fits.
        let rest = u64::try_from(exact % packets).unwrap_or(0);
        (whole, rest)
    }

    /// Mean time between bursts of `burst` packets, in units of 2^-32 times `unit` ns, rounded.
    pub(super) fn gap_scaled(self, burst: u32, unit: u64) -> u128 {
        // Below 2^96, so that it can be shifted.
        let exact = (u128::from(burst) * u128::from(self.nanos)) << 32;
        let divisor = u128::from(self.packets) * u128::from(unit);
        exact / divisor + u128::from(exact % divisor >= divisor.div_ceil(2))
    }

    /// Number of slots due before `elapsed` has passed, which is the first slot due at or after it.
    pub fn slots_before(self, elapsed: Duration) -> u64 {
        // `as_nanos` of the longest Duration times 10^18 still fits for any run below 10^11 years.
        let slots = elapsed
            .as_nanos()
            .saturating_mul(u128::from(self.packets))
            .div_ceil(u128::from(self.nanos));
        u64::try_from(slots).unwrap_or(u64::MAX)
    }

    /// As [`Pace::slots_before`], for slots of `burst` packets each.
    pub(super) fn slots_before_nanos(self, elapsed: u64, burst: u32) -> u64 {
        let interval = u128::from(burst.max(1)) * u128::from(self.nanos);
        let slots = (u128::from(elapsed) * u128::from(self.packets)).div_ceil(interval);
        u64::try_from(slots).unwrap_or(u64::MAX)
    }

    /// Packets per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate is reported as a float")]
    pub fn per_second(self) -> f64 {
        self.packets as f64 * NANOS_PER_SECOND as f64 / self.nanos as f64
    }

    /// One part of this pace if it is dealt out equally to `workers`.
    #[must_use]
    pub fn divided(self, workers: u32) -> Self {
        let workers = u64::from(workers.max(1));
        Self {
            packets: self.packets,
            // Beyond 584 years a packet is as good as never.
            nanos: self.nanos.saturating_mul(workers),
        }
    }

    /// Time between two packets, rounded down to a nanosecond.
    pub fn interval(self) -> Duration {
        self.due(1)
    }
}

impl FromStr for Pace {
    type Err = PaceError;

    /// Packets per second as a decimal number, with k, M or G for thousands, millions or billions,
    /// and per `/s`, `/min` or `/h`; [`RATE_MAX`] at most.
    fn from_str(text: &str) -> Result<Self, PaceError> {
        const SCALES: [(char, f64); 3] = [('k', 1e3), ('M', 1e6), ('G', 1e9)];
        const UNITS: [(&str, f64); 3] = [("/s", 1.0), ("/min", 60.0), ("/h", 3600.0)];
        let per = UNITS
            .into_iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
        let (amount, seconds) = per.unwrap_or((text, 1.0));
        let scaled = SCALES
            .into_iter()
            .find_map(|(prefix, scale)| Some((amount.strip_suffix(prefix)?, scale)));
        let (digits, scale) = scaled.unwrap_or((amount, 1.0));
        let pace = digits
            .parse()
            .ok()
            .and_then(|number: f64| Self::from_rate(number * scale / seconds))
            .ok_or_else(|| PaceError::Text(text.to_owned()))?;
        if pace.per_second() > RATE_MAX {
            return Err(PaceError::TooFast);
        }
        Ok(pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_hold_the_slots_an_engineer_expects() {
        let slots = |rate, seconds| {
            Pace::from_rate(rate)
                .unwrap()
                .slots_before(Duration::from_secs_f64(seconds))
        };
        assert_eq!(slots(10_000.0, 5.0), 50_000);
        assert_eq!(slots(3.0, 5.0), 15);
        assert_eq!(slots(0.1, 30.0), 3);
        assert_eq!(slots(10.0, 0.05), 1);
        assert_eq!(slots(10.0, 0.1), 1);
        assert_eq!(slots(10.0, 0.11), 2);
        let interval = Pace::from_interval(Duration::from_millis(10)).unwrap();
        assert_eq!(interval.slots_before(Duration::from_secs(1)), 100);
    }

    #[test]
    fn rounding_does_not_add_up() {
        let pace = Pace::from_rate(3.0).unwrap();
        assert_eq!(pace.due(3_000_000_000), Duration::from_secs(1_000_000_000));
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for rate in [0.0, -1.0, 1e-7, f64::NAN, f64::INFINITY, 1e13] {
            assert_eq!(Pace::from_rate(rate), None, "{rate}");
        }
        assert_eq!(Pace::from_interval(Duration::ZERO), None);
        assert_eq!(Pace::from_interval(Duration::MAX), None);
    }

    #[test]
    fn gives_the_rate_back() {
        assert!((Pace::from_rate(0.5).unwrap().per_second() - 0.5).abs() < 1e-12);
        let interval = Pace::from_interval(Duration::from_millis(20)).unwrap();
        assert!((interval.per_second() - 50.0).abs() < 1e-12);
        assert_eq!(interval.interval(), Duration::from_millis(20));
    }

    #[test]
    fn reads_rates_as_engineers_write_them() {
        for (text, rate) in [
            ("50", 50.0),
            ("10k", 10_000.0),
            ("1.5M", 1_500_000.0),
            ("0.1", 0.1),
            ("0.01G", 1e7),
            ("10k/s", 10_000.0),
            ("6/min", 0.1),
            ("36/h", 0.01),
            ("60k/min", 1000.0),
        ] {
            assert_eq!(text.parse(), Ok(Pace::from_rate(rate).unwrap()), "{text}");
        }
        for text in [
            "", "k", "fast", "0", "-1", "inf", "NaN", "10 k", "10K", "1/day", "1kk",
        ] {
            let error = text.parse::<Pace>().unwrap_err().to_string();
            assert!(error.contains("10k"), "{text}: {error}");
        }
        for text in ["10.1M", "1G"] {
            assert_eq!(text.parse::<Pace>(), Err(PaceError::TooFast), "{text}");
        }
    }
}
