//! What is kept of one session: as much as an engineer wants to see of each, in bounded memory.

use wire::time::Nanos;

use super::direction::Numbers;
use super::distribution::Distribution;
use super::jitter::Jitter;
use super::loss_runs::LossRuns;
use super::reordering::Reordering;
use super::sketch::Sketch;

/// The figures of one session.
///
/// [`Session::OCTETS`] octets, and 32 for each of its probes that may still be answered. A session
/// with a histogram takes some ten to a hundred kilobytes more, as its delays spread.
#[derive(Debug)]
pub struct Session {
    pub(super) counts: SessionCounts,
    pub(super) round_trip: Spread,
    pub(super) jitter: Jitter,
    pub(super) reordering: Reordering,
    pub(super) numbers: Numbers,
    pub(super) loss_runs: LossRuns,
    pub(super) detail: Detail,
}

/// What became of the probes of one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Probes with a valid reply within the timeout.
    pub received: u64,
    /// Probes whose first reply came after the timeout.
    pub late: u64,
    /// Replies beyond the first of their probe.
    pub duplicates: u64,
    /// Received replies that a later probe's reply overtook.
    pub reordered: u64,
}

/// Exact figures of the round trips of one session, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// Smallest.
    pub min: i64,
    /// Largest.
    pub max: i64,
    sum: i128,
    count: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            min: i64::MAX,
            max: i64::MIN,
            sum: 0,
            count: 0,
        }
    }
}

impl Spread {
    fn record(&mut self, nanos: i64) {
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
        self.sum += i128::from(nanos);
        self.count += 1;
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Arithmetic mean; `None` without samples.
    #[expect(clippy::cast_precision_loss, reason = "a mean is reported as a float")]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

/// How the round trips of a session are remembered.
#[derive(Debug)]
pub(super) enum Detail {
    /// Half a kilobyte.
    Sketch(Box<Sketch>),
    /// A histogram of three digits.
    Histogram(Box<Distribution>),
}

/// As docs/sender.md says.
const _: () = assert!(Session::OCTETS < 1024);

impl Session {
    /// Memory of a session in octets, without the probes that may still be answered.
    pub const OCTETS: usize = size_of::<Self>() + size_of::<Sketch>();

    /// A session without replies. `histogram` gives it one of its own.
    pub fn new(histogram: bool) -> Self {
        Self {
            counts: SessionCounts::default(),
            round_trip: Spread::default(),
            jitter: Jitter::default(),
            reordering: Reordering::default(),
            numbers: Numbers::default(),
            loss_runs: LossRuns::default(),
            detail: if histogram {
                Detail::Histogram(Box::default())
            } else {
                Detail::Sketch(Box::default())
            },
        }
    }

    /// Takes a round trip.
    pub(super) fn record(&mut self, round_trip: Nanos) {
        self.round_trip.record(round_trip.nanos());
        match &mut self.detail {
            Detail::Sketch(sketch) => sketch.record(round_trip.nanos()),
            Detail::Histogram(histogram) => histogram.record(round_trip),
        }
    }

    /// Takes the numbers of the first reply to a probe; an echo has none of the reflector's.
    pub(super) fn number(&mut self, number: u64, reflector: Option<u32>) {
        if let Some(reflector) = reflector {
            self.numbers.reply(number, reflector);
        }
    }

    /// What became of its probes.
    pub fn counts(&self) -> SessionCounts {
        self.counts
    }

    /// Minimum, mean and maximum of its round trips.
    pub fn round_trip(&self) -> Spread {
        self.round_trip
    }

    /// RFC 3550 jitter of its round trips in nanoseconds.
    pub fn jitter(&self) -> Option<f64> {
        self.jitter.nanos()
    }

    /// Its runs of lost probes.
    pub fn loss_runs(&self) -> LossRuns {
        self.loss_runs
    }

    /// Its numbers and the reflector's.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Whether its percentiles come from a histogram (within 0.1 %) or from a sketch (11 %).
    pub fn has_histogram(&self) -> bool {
        matches!(self.detail, Detail::Histogram(_))
    }

    /// A percentile of its round trips, in percent; `None` without replies.
    pub fn percentile(&self, percent: f64) -> Option<Nanos> {
        match &self.detail {
            Detail::Sketch(sketch) => sketch
                .percentile(percent, self.round_trip.min, self.round_trip.max)
                .map(Nanos::from_nanos),
            Detail::Histogram(histogram) => histogram.percentile(percent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_what_is_kept() {
        for histogram in [false, true] {
            let mut session = Session::new(histogram);
            assert_eq!(session.percentile(50.0), None);
            for micros in 1..=100 {
                session.record(Nanos::from_nanos(1_000 * micros));
            }
            assert_eq!(session.has_histogram(), histogram);
            let p99 = session.percentile(99.0).unwrap().nanos();
            let off = p99.abs_diff(99_000);
            assert!(off <= if histogram { 99 } else { 10_890 }, "{p99}");
            assert_eq!(session.round_trip().mean(), Some(50_500.0));
        }
    }
}
