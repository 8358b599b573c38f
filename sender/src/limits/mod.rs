//! Limits a run has to keep, for use in scripts: `--fail-if 'rtt.p99>500us'`.

pub mod figure;
mod outcome;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

pub use self::figure::{Figure, FigureError, Metric, Percentile, Quantity, Statistic};
use crate::report::units;

/// A condition on one figure under which a run has failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// The figure.
    figure: Figure,
    /// How it may not compare to the value.
    comparison: Comparison,
    /// The value, as [`Figures`] gives it.
    value: f64,
    /// The value as the user wrote it.
    written: String,
}

/// How a figure compares to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Why a text is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// There is nothing to compare with.
    #[error(
        "'{0}' is no limit: write FIGURE, then >, >=, < or <=, then a value, like rtt.p99>500us"
    )]
    NoComparison(String),
    /// There is no such figure.
    #[error(transparent)]
    Figure(#[from] FigureError),
    /// The value is none for this figure.
    #[error("'{written}' is no value for {figure}: {}", expected(*.figure))]
    Value {
        /// The figure.
        figure: Figure,
        /// The value as written.
        written: String,
    },
}

/// What a value has to be, as an instruction.
fn expected(figure: Figure) -> String {
    match figure.quantity() {
        Quantity::Share => format!("write a share in percent, like {figure}>0.1%"),
        Quantity::Count => format!("write a number, like {figure}>10"),
        Quantity::Rate => format!("write packets per second, like {figure}<10k"),
        Quantity::Time => {
            format!("write a time in ns, us, ms or s, like {figure}>500us")
        }
    }
}

/// The figures of a run.
pub trait Figures {
    /// A figure in nanoseconds, as a ratio from 0 to 1, as a number, or in packets per second,
    /// whichever [`Figure::quantity`] says; `None` if it was not measured.
    fn figure(&self, figure: Figure) -> Option<f64>;
}

/// A limit that was not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// The limit.
    pub limit: Limit,
    /// The figure; `None` if it was not measured.
    pub value: Option<f64>,
}

impl Limit {
    /// The breach of this limit, if it was not kept. What was not measured keeps no limit.
    pub fn check(&self, figures: &impl Figures) -> Option<Breach> {
        let value = figures.figure(self.figure).filter(|value| !value.is_nan());
        let kept = value.is_some_and(|value| !self.comparison.holds(value, self.value));
        (!kept).then(|| Breach {
            limit: self.clone(),
            value,
        })
    }
}

impl Comparison {
    fn holds(self, value: f64, limit: f64) -> bool {
        let order = value.partial_cmp(&limit);
        match self {
            Self::Above => order == Some(Ordering::Greater),
            Self::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Self::Below => order == Some(Ordering::Less),
            Self::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        }
    }

    /// As it is written.
    fn sign(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }
}

impl FromStr for Limit {
    type Err = LimitError;

    /// Accepts a figure, `>`, `>=`, `<` or `<=`, and a value in the unit of the figure, with or
    /// without spaces between them. 0 needs no unit.
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let no_comparison = || LimitError::NoComparison(text.to_owned());
        let at = text.find(['<', '>']).ok_or_else(no_comparison)?;
        let (name, rest) = text.split_at(at);
        // Two characters before one.
        let (comparison, written) = [
            Comparison::AtLeast,
            Comparison::AtMost,
            Comparison::Above,
            Comparison::Below,
        ]
        .into_iter()
        .find_map(|comparison| Some((comparison, rest.strip_prefix(comparison.sign())?)))
        .ok_or_else(no_comparison)?;
        let (name, written) = (name.trim(), written.trim());
        if name.is_empty() || written.is_empty() {
            return Err(no_comparison());
        }
        let figure: Figure = name.parse()?;
        let (value, written) =
            parse_value(figure.quantity(), written).ok_or_else(|| LimitError::Value {
                figure,
                written: written.to_owned(),
            })?;
        Ok(Self {
            figure,
            comparison,
            value,
            written,
        })
    }
}

/// A value in the unit of a quantity, and how to show it.
fn parse_value(quantity: Quantity, text: &str) -> Option<(f64, String)> {
    /// Units, how they are shown, and the power of ten they stand for.
    type Units = &'static [(&'static str, &'static str, i32)];
    const TIMES: Units = &[
        ("ns", " ns", 0),
        ("us", " µs", 3),
        // The micro sign and the Greek letter.
        ("\u{b5}s", " µs", 3),
        ("\u{3bc}s", " µs", 3),
        ("ms", " ms", 6),
        ("s", " s", 9),
    ];
    const SHARES: Units = &[("%", " %", -2)];
    const COUNTS: Units = &[("", "", 0), ("k", "k", 3), ("M", "M", 6)];
    const RATES: Units = &[
        ("", "/s", 0),
        ("k", "k/s", 3),
        ("M", "M/s", 6),
        ("/s", "/s", 0),
        ("k/s", "k/s", 3),
        ("M/s", "M/s", 6),
    ];

    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+');
    let end = text.find(|c| !is_number(c)).unwrap_or(text.len());
    let (digits, unit) = (&text[..end], text[end..].trim_start());
    if digits.parse() == Ok(0.0) && unit.is_empty() {
        return Some((0.0, "0".to_owned()));
    }
    let units = match quantity {
        Quantity::Time => TIMES,
        Quantity::Share => SHARES,
        Quantity::Count => COUNTS,
        Quantity::Rate => RATES,
    };
    let &(_, shown, power) = units.iter().find(|(known, ..)| *known == unit)?;
    // Read with its power of ten: 0.7 % is then the very number that 7 / 1000 is.
    let value: f64 = format!("{digits}e{power}").parse().ok()?;
    let signed = quantity == Quantity::Time;
    (signed || value >= 0.0).then(|| (value, format!("{digits}{shown}")))
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, written) = (self.comparison.sign(), &self.written);
        write!(f, "{} {sign} {written}", self.figure)
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit {
            figure,
            comparison,
            written,
            ..
        } = &self.limit;
        let side = match comparison {
            Comparison::Above => "above",
            Comparison::AtLeast => "not below",
            Comparison::Below => "below",
            Comparison::AtMost => "not above",
        };
        match self.value {
            Some(value) => {
                let value = shown(figure.quantity(), value, self.limit.value);
                write!(f, "{figure} is {value}, {side} the limit of {written}")
            }
            None => write!(
                f,
                "{figure} was not measured, so nothing shows that it is not {side} the limit of \
                 {written}",
                side = side
                    .replace("not below", "at or above")
                    .replace("not above", "at or below"),
            ),
        }
    }
}

/// A figure for people; in full if rounding could hide on which side of `limit` it is.
fn shown(quantity: Quantity, value: f64, limit: f64) -> String {
    let distance = (value - limit).abs();
    let close = distance > 0.0 && distance <= limit.abs() * 1e-3;
    match quantity {
        Quantity::Share if close => {
            format!("{} %", units::trim(format!("{:.10}", value * 100.0)))
        }
        Quantity::Share => units::percent(value),
        Quantity::Time if close => format!("{value} ns"),
        Quantity::Time => units::time(value),
        Quantity::Rate if close => format!("{value}/s"),
        Quantity::Rate => units::rate(value),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are whole and not negative, and `as` saturates"
        )]
        Quantity::Count => units::count(value as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run in which a single figure was measured.
    struct Measured(&'static str, f64);

    impl Figures for Measured {
        fn figure(&self, figure: Figure) -> Option<f64> {
            (figure == self.0.parse().unwrap()).then_some(self.1)
        }
    }

    /// The sentence about the breach of a limit, if it is one.
    fn breach(limit: &str, name: &'static str, value: f64) -> Option<String> {
        let limit: Limit = limit.parse().unwrap();
        let breach = limit.check(&Measured(name, value))?;
        assert_eq!(breach.limit.figure, limit.figure);
        Some(breach.to_string())
    }

    #[test]
    fn a_breach_is_a_sentence() {
        for (limit, name, value, sentence) in [
            (
                "rtt.p99>500us",
                "rtt.p99",
                612_400.0,
                "rtt.p99 is 612.4 µs, above the limit of 500 µs",
            ),
            (
                "loss > 0.1%",
                "loss",
                0.5,
                "loss is 50.000 %, above the limit of 0.1 %",
            ),
            (
                "loss > 49.99%",
                "loss",
                0.5,
                "loss is 50 %, above the limit of 49.99 %",
            ),
            (
                "jitter>=1ms",
                "jitter",
                2e6,
                "jitter is 2.000 ms, not below the limit of 1 ms",
            ),
            (
                "reordered>0",
                "reordered",
                3.0,
                "reordered is 3, above the limit of 0",
            ),
            (
                "received<10k",
                "received",
                1500.0,
                "received is 1 500, below the limit of 10k",
            ),
            (
                "rate<=1.5M",
                "rate",
                1e6,
                "rate is 1 000 000/s, not above the limit of 1.5M/s",
            ),
            (
                "forward.min<-2.5s",
                "forward.min",
                -37e9,
                "forward.min is -37.00 s, below the limit of -2.5 s",
            ),
            (
                "ipdv.p999>0",
                "ipdv.p99.9",
                5.0,
                "ipdv.p99.9 is 5 ns, above the limit of 0",
            ),
        ] {
            assert_eq!(breach(limit, name, value).as_deref(), Some(sentence));
        }
    }

    #[test]
    fn rounding_does_not_hide_the_breach() {
        for (limit, name, value, text) in [
            ("rtt.p99>500us", "rtt.p99", 500_001.0, "500001 ns"),
            ("loss>0.1%", "loss", 0.001_000_5, "is 0.10005 %,"),
            ("rate<1000", "rate", 999.999_9, "999.9999/s"),
        ] {
            let sentence = breach(limit, name, value).unwrap();
            assert!(sentence.contains(text), "{sentence}");
        }
    }

    #[test]
    fn a_limit_is_kept_or_not_to_the_last_digit() {
        // For each comparison: does it fail below, at and above the value?
        for (sign, below, at, above) in [
            (">", false, false, true),
            (">=", false, true, true),
            ("<", true, false, false),
            ("<=", true, true, false),
        ] {
            let limit = format!("rtt.max{sign}500us");
            let fails = |nanos| breach(&limit, "rtt.max", nanos).is_some();
            assert_eq!(
                (fails(499_999.0), fails(500_000.0), fails(500_001.0)),
                (below, at, above),
                "{sign}"
            );
        }
    }

    #[test]
    fn a_share_is_compared_as_the_fraction_it_is() {
        for thousandths in 0..=1000u32 {
            let limit = format!("loss>{}.{}%", thousandths / 10, thousandths % 10);
            let ratio = f64::from(thousandths) / 1000.0;
            assert_eq!(breach(&limit, "loss", ratio), None, "{limit}");
            let one_more = f64::from(thousandths * 1000 + 1) / 1e6;
            assert!(breach(&limit, "loss", one_more).is_some(), "{limit}");
        }
    }

    #[test]
    fn what_was_not_measured_keeps_no_limit() {
        for (limit, sentence) in [
            (
                "rtt.p99>500us",
                "rtt.p99 was not measured, so nothing shows that it is not above the limit of 500 µs",
            ),
            (
                "rtt.min<=1ms",
                "rtt.min was not measured, so nothing shows that it is not at or below the limit \
                 of 1 ms",
            ),
        ] {
            assert_eq!(breach(limit, "loss", 1.0).as_deref(), Some(sentence));
        }
        let nan = breach("rtt.mean>1s", "rtt.mean", f64::NAN).unwrap();
        assert!(nan.contains("was not measured"), "{nan}");
    }

    #[test]
    fn values_are_read_in_the_units_of_engineers() {
        for (text, value, shown) in [
            ("rtt.max>500us", 500e3, "rtt.max > 500 µs"),
            ("rtt.max>500µs", 500e3, "rtt.max > 500 µs"),
            ("rtt.max>500μs", 500e3, "rtt.max > 500 µs"),
            ("rtt.max > 0.5 ms", 500e3, "rtt.max > 0.5 ms"),
            ("rtt.max>=12ns", 12.0, "rtt.max >= 12 ns"),
            ("forward.mean<-1.5s", -1.5e9, "forward.mean < -1.5 s"),
            ("loss>0", 0.0, "loss > 0"),
            ("loss.forward<=100%", 1.0, "loss.forward <= 100 %"),
            ("sent<1.5M", 1.5e6, "sent < 1.5M"),
            ("rate<10k/s", 1e4, "rate < 10k/s"),
        ] {
            let limit: Limit = text.parse().unwrap();
            assert!((limit.value - value).abs() < 1e-12, "{text}");
            assert_eq!(limit.to_string(), shown);
        }
    }

    #[test]
    fn refuses_what_is_no_limit_and_says_what_would_be() {
        for (text, named) in [
            ("", "FIGURE"),
            ("loss", "like rtt.p99>500us"),
            ("loss=0", "like rtt.p99>500us"),
            (">0", "like rtt.p99>500us"),
            ("loss>", "like rtt.p99>500us"),
            ("lost>0", "loss.forward"),
            ("rtt>1ms", "rtt, forward"),
            ("loss>0.1", "in percent, like loss>0.1%"),
            ("loss>1ms", "in percent"),
            ("loss>-1%", "in percent"),
            ("rtt.p99>500", "ns, us, ms or s, like rtt.p99>500us"),
            ("rtt.p99>5%", "ns, us, ms or s"),
            ("rtt.p99>5min", "ns, us, ms or s"),
            ("rtt.p99>us", "ns, us, ms or s"),
            ("rtt.p99>1.2.3us", "ns, us, ms or s"),
            ("rtt.p99>1e3us", "ns, us, ms or s"),
            ("rtt.p99>infs", "ns, us, ms or s"),
            ("received<1s", "a number, like received>10"),
            ("received<-1", "a number"),
            ("reordered>1%", "a number"),
            ("rate<1ms", "packets per second, like rate<10k"),
            ("loss>>1%", "in percent"),
            ("loss=>1%", "'loss='"),
        ] {
            let error = text.parse::<Limit>().unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
