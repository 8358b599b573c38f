//! The figures of a run by name.

use std::fmt;
use std::str::FromStr;

/// One figure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Figure {
    /// `loss`: share of the packets sent without a valid reply in time, 0 to 1.
    Loss,
    /// `loss.forward`: share lost on the way to the reflector, if it counts for itself.
    LossForward,
    /// `loss.backward`: share lost on the way back, if the reflector counts for itself.
    LossBackward,
    /// `late`: replies after the timeout.
    Late,
    /// `duplicates`: replies beyond the first to a packet.
    Duplicates,
    /// `reordered`: replies that a later one has overtaken (RFC 4737).
    Reordered,
    /// `sent`: packets that left.
    Sent,
    /// `received`: packets answered in time.
    Received,
    /// `skipped`: packets of the schedule whose time passed before they could leave.
    Skipped,
    /// `rate`: packets per second that left.
    Rate,
    /// `jitter`: RFC 3550 interarrival jitter, in nanoseconds.
    Jitter,
    /// Like `rtt.p99`: of the distribution of a delay, in nanoseconds.
    Delay(Metric, Statistic),
}

/// A delay, or a variation of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// `rtt`: round trip without the time in the reflector.
    RoundTrip,
    /// `forward`: one way to the reflector.
    Forward,
    /// `backward`: one way back.
    Backward,
    /// `residence`: time in the reflector.
    Residence,
    /// `ipdv`: difference between the round trips of consecutive packets.
    Ipdv,
    /// `pdv`: round trip above the shortest one.
    Pdv,
}

/// What is told of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// The smallest.
    Min,
    /// The arithmetic mean.
    Mean,
    /// The smallest that so many are not above.
    Percentile(Percentile),
    /// The largest.
    Max,
}

/// A percentile between the smallest and the largest, to a ten-thousandth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Percentile {
    /// Above 0 and below 1 000 000.
    per_million: u32,
}

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// A ratio, 0 to 1.
    Share,
    /// A number.
    Count,
    /// Packets per second.
    Rate,
    /// Nanoseconds.
    Time,
}

/// A name that no figure has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no figure: there are {names}, and .min, .mean, .max and percentiles like .p50, .p99 \
     or .p99.9 of {metrics}",
    names = listed(FIGURES.map(|(name, _)| name)),
    metrics = listed(METRICS.map(|(name, _)| name))
)]
pub struct FigureError(String);

const FIGURES: [(&str, Figure); 11] = [
    ("loss", Figure::Loss),
    ("loss.forward", Figure::LossForward),
    ("loss.backward", Figure::LossBackward),
    ("late", Figure::Late),
    ("duplicates", Figure::Duplicates),
    ("reordered", Figure::Reordered),
    ("sent", Figure::Sent),
    ("received", Figure::Received),
    ("skipped", Figure::Skipped),
    ("rate", Figure::Rate),
    ("jitter", Figure::Jitter),
];

const METRICS: [(&str, Metric); 6] = [
    ("rtt", Metric::RoundTrip),
    ("forward", Metric::Forward),
    ("backward", Metric::Backward),
    ("residence", Metric::Residence),
    ("ipdv", Metric::Ipdv),
    ("pdv", Metric::Pdv),
];

const STATISTICS: [(&str, Statistic); 3] = [
    ("min", Statistic::Min),
    ("mean", Statistic::Mean),
    ("max", Statistic::Max),
];

fn listed<const N: usize>(names: [&str; N]) -> String {
    names.join(", ")
}

/// The entry of a table by its name.
fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    let entry = table.iter().find(|(known, _)| *known == name);
    entry.map(|&(_, value)| value)
}

/// The name of an entry of a table.
fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    let entry = table.iter().find(|(_, known)| known == value);
    entry.map_or("", |&(name, _)| name)
}

impl Figure {
    /// What it is measured in.
    pub fn quantity(self) -> Quantity {
        match self {
            Self::Loss | Self::LossForward | Self::LossBackward => Quantity::Share,
            Self::Late
            | Self::Duplicates
            | Self::Reordered
            | Self::Sent
            | Self::Received
            | Self::Skipped => Quantity::Count,
            Self::Rate => Quantity::Rate,
            Self::Jitter | Self::Delay(..) => Quantity::Time,
        }
    }
}

impl FromStr for Figure {
    type Err = FigureError;

    fn from_str(text: &str) -> Result<Self, FigureError> {
        let delay = || {
            let (metric, statistic) = text.split_once('.')?;
            let metric = named(&METRICS, metric)?;
            let statistic = named(&STATISTICS, statistic)
                .or_else(|| Percentile::parse(statistic).map(Statistic::Percentile))?;
            Some(Self::Delay(metric, statistic))
        };
        named(&FIGURES, text)
            .or_else(delay)
            .ok_or_else(|| FigureError(text.to_owned()))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay(metric, Statistic::Percentile(percentile)) => {
                write!(f, "{}.{percentile}", name_of(&METRICS, metric))
            }
            Self::Delay(metric, statistic) => {
                let statistic = name_of(&STATISTICS, statistic);
                write!(f, "{}.{statistic}", name_of(&METRICS, metric))
            }
            other => f.write_str(name_of(&FIGURES, other)),
        }
    }
}

impl Percentile {
    /// Reads `p99`, `p99.9`, and without a point `p999` for 99.9 and `p9999` for 99.99: digits after
    /// the second are decimals. `None` for what is no percentile, and for 0 and 100, which are the
    /// minimum and the maximum.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('p')?;
        let (whole, decimals) = match digits.split_once('.') {
            Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
            Some(_) => return None,
            // 100 is not 10.0.
            None if digits.starts_with("100") => return None,
            None => digits.split_at_checked(2).unwrap_or((digits, "")),
        };
        let all_digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
        if !(1..=2).contains(&whole.len())
            || decimals.len() > 4
            || !all_digits(whole)
            || !all_digits(decimals)
        {
            return None;
        }
        let per_million = format!("{whole}{decimals:0<4}").parse().ok()?;
        (per_million > 0).then_some(Self { per_million })
    }

    /// In parts of a million: 99.9 is 999 000.
    pub fn per_million(self) -> u32 {
        self.per_million
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.per_million / 10_000, self.per_million % 10_000);
        if decimals == 0 {
            return write!(f, "p{whole}");
        }
        let decimals = format!("{decimals:04}");
        write!(f, "p{whole}.{}", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_found_by_its_name_and_says_it_again() {
        for (name, figure) in FIGURES {
            assert_eq!(name.parse(), Ok(figure));
            assert_eq!(figure.to_string(), name);
        }
        for (metric, _) in METRICS {
            for statistic in [
                "min", "mean", "max", "p5", "p50", "p90", "p95", "p99", "p99.9",
            ] {
                let name = format!("{metric}.{statistic}");
                assert_eq!(name.parse::<Figure>().unwrap().to_string(), name);
            }
        }
    }

    #[test]
    fn percentiles_may_leave_out_the_point() {
        for (text, per_million, shown) in [
            ("p5", 50_000, "p5"),
            ("p05", 50_000, "p5"),
            ("p50", 500_000, "p50"),
            ("p99.9", 999_000, "p99.9"),
            ("p999", 999_000, "p99.9"),
            ("p9999", 999_900, "p99.99"),
            ("p99.9999", 999_999, "p99.9999"),
            ("p0.1", 1_000, "p0.1"),
            ("p99.0", 990_000, "p99"),
        ] {
            let percentile = Percentile::parse(text).unwrap();
            assert_eq!(percentile.per_million(), per_million, "{text}");
            assert_eq!(percentile.to_string(), shown);
        }
        for text in [
            "",
            "p",
            "p0",
            "p00",
            "p100",
            "p100.0",
            "p1000",
            "p101.5",
            "p-1",
            "p+1",
            "p9.",
            "p.9",
            "p99.99999",
            "99",
            "pfifty",
            "p9é",
            "pé9",
        ] {
            assert_eq!(Percentile::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        for name in [
            "",
            "los",
            "rtt",
            "rtt.",
            "rtt.p",
            "rtt.p100",
            "loss.p99",
            "jitter.max",
            "RTT.max",
        ] {
            let error = name.parse::<Figure>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("'{name}' is no figure")),
                "{error}"
            );
            assert!(
                error.contains("loss.backward") && error.contains("ipdv"),
                "{error}"
            );
            assert!(!error.contains('\n'));
        }
    }
}
