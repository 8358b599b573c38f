//! Scales and their labels.

use crate::report::units;

/// A scale for values on one side of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    log: bool,
    /// In the scale's own measure.
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<Tick>,
}

/// A labelled place on an axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    /// In the scale's own measure.
    pub(super) at: f64,
    pub(super) label: String,
}

/// About the largest number of labels.
const TICKS: f64 = 7.0;

/// From this ratio of largest to smallest on, delays are shown on a logarithmic scale: on a linear
/// one a single slow packet would flatten all others to a line.
const LOG_FROM: f64 = 12.0;

impl Axis {
    /// For delays in nanoseconds: logarithmic if they are positive and far apart.
    pub(super) fn delays(min: f64, max: f64) -> Self {
        if min > 0.0 && max / min > LOG_FROM {
            Self::logarithmic(min, max)
        } else {
            Self::linear_delays(min, max)
        }
    }

    /// For delays in nanoseconds, evenly spaced.
    pub(super) fn linear_delays(min: f64, max: f64) -> Self {
        // Small differences are seen better without the way down to zero.
        let min = if min > 0.0 && min < 0.4 * max {
            0.0
        } else {
            min
        };
        let unit = Unit::of(min.abs().max(max.abs()));
        Self::linear(min, max, |value, step| unit.label(value, step))
    }

    /// For counts from 1, logarithmic.
    pub(super) fn log_counts(max: f64) -> Self {
        // With room above for the names of the marks.
        let high = max.max(10.0).log10() * 1.09;
        let powers = std::iter::successors(Some(0u32), |power| Some(power + 1));
        let ticks = powers
            .take_while(|&power| f64::from(power) <= high)
            .map(|power| Tick {
                at: f64::from(power),
                label: units::count(10u64.saturating_pow(power)),
            })
            .collect();
        Self {
            log: true,
            // A count of 1 is to be seen.
            low: -0.2,
            high,
            ticks,
        }
    }

    /// For time since the start, in seconds.
    pub(super) fn time(seconds: f64) -> Self {
        const STEPS: [f64; 19] = [
            1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0,
            7200.0, 10800.0, 21600.0, 43200.0, 86400.0, 172_800.0,
        ];
        let wanted = seconds / 8.0;
        let step = STEPS
            .into_iter()
            .find(|&step| step >= wanted)
            .unwrap_or_else(|| (wanted / 86400.0).ceil() * 86400.0);
        if wanted < 0.5 {
            let mut axis = Self::linear(0.0, seconds, |value, step| {
                Unit::of(seconds * 1e9).label(value * 1e9, step * 1e9)
            });
            axis.high = seconds;
            axis.ticks.retain(|tick| tick.at <= seconds);
            return axis;
        }
        let ticks = std::iter::successors(Some(0.0), |at| Some(at + step))
            .take_while(|&at| at <= seconds)
            .map(|at| Tick {
                at,
                label: clock(at),
            })
            .collect();
        Self {
            log: false,
            low: 0.0,
            high: seconds,
            ticks,
        }
    }

    /// The place of a value in the scale's own measure.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.log {
            // Nothing is below the lowest power of a scale chosen for these values.
            value.max(f64::MIN_POSITIVE).log10().max(self.low)
        } else {
            value
        }
    }

    /// Whether the scale is logarithmic.
    pub(super) fn is_log(&self) -> bool {
        self.log
    }

    fn linear(min: f64, max: f64, label: impl Fn(f64, f64) -> String) -> Self {
        let span = (max - min).max(max.abs() * 1e-3).max(1e-12);
        let step = nice(span / (TICKS - 1.0));
        let first = (min / step).floor();
        let last = ((max / step).ceil()).max(first + 1.0);
        let ticks = std::iter::successors(Some(first), |n| Some(n + 1.0))
            .take_while(|&n| n <= last)
            .map(|n| Tick {
                at: n * step,
                label: label(n * step, step),
            })
            .collect();
        Self {
            log: false,
            low: first * step,
            high: last * step,
            ticks,
        }
    }

    fn logarithmic(min: f64, max: f64) -> Self {
        let (low, high) = ((min * 0.93).log10(), (max * 1.08).log10());
        // Few decades have room for more labels than their powers.
        let digits: &[f64] = match high - low {
            decades if decades < 1.6 => &[1.0, 2.0, 3.0, 5.0],
            decades if decades < 3.2 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let decades = std::iter::successors(Some(low.floor()), |decade| Some(decade + 1.0));
        let ticks = decades
            .take_while(|&decade| decade <= high)
            .flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powf(decade)))
            .filter(|value| (low..=high).contains(&value.log10()))
            .map(|value| Tick {
                at: value.log10(),
                label: Unit::of(value).label(value, value),
            })
            .collect();
        Self {
            log: true,
            low,
            high,
            ticks,
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|&nice| nice >= step * 0.999)
        .unwrap_or(10.0 * power)
}

/// Minutes and seconds, with hours and days where there are any.
fn clock(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "time since the start is positive, and `as` saturates"
    )]
    let seconds = seconds.round() as u64;
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{:02}", seconds % 60),
        (0, _) => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
        _ => format!("{days} d {hours}:{minutes:02}"),
    }
}

/// The unit of the labels of an axis of delays.
struct Unit {
    name: &'static str,
    nanos: f64,
}

impl Unit {
    fn of(nanos: f64) -> Self {
        let (name, nanos) = match nanos {
            n if n >= 0.9999e9 => ("s", 1e9),
            n if n >= 0.9999e6 => ("ms", 1e6),
            n if n >= 0.9999e3 => ("µs", 1e3),
            _ => ("ns", 1.0),
        };
        Self { name, nanos }
    }

    /// With as many decimals as the step has.
    fn label(&self, value: f64, step: f64) -> String {
        if value.abs() < step * 1e-6 {
            return "0".to_owned();
        }
        let mut step = step / self.nanos;
        let mut decimals = 0;
        while (step - step.round()).abs() > 1e-6 * step && decimals < 6 {
            step *= 10.0;
            decimals += 1;
        }
        format!("{:.decimals$} {}", value / self.nanos, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn delays_close_together_are_evenly_spaced_in_one_unit() {
        let axis = Axis::delays(310_000.0, 420_000.0);
        assert_eq!(
            labels(&axis),
            [
                "300 µs", "320 µs", "340 µs", "360 µs", "380 µs", "400 µs", "420 µs"
            ]
        );
        assert_eq!(
            labels(&Axis::delays(100_000.0, 1_050_000.0)),
            [
                "0", "0.2 ms", "0.4 ms", "0.6 ms", "0.8 ms", "1.0 ms", "1.2 ms"
            ]
        );
        assert_eq!(
            labels(&Axis::delays(-250.0, 400.0)),
            ["-400 ns", "-200 ns", "0", "200 ns", "400 ns"]
        );
    }

    #[test]
    fn delays_far_apart_are_logarithmic() {
        let axis = Axis::delays(80_000.0, 3_000_000.0);
        assert!(axis.is_log());
        assert_eq!(labels(&axis), ["100 µs", "300 µs", "1 ms", "3 ms"]);
        assert!((axis.place(100_000.0) - 5.0).abs() < 1e-9);
        assert!(
            (axis.place(0.0) - axis.low).abs() < 1e-12,
            "the edge, not minus infinity"
        );
        let wide = Axis::delays(900.0, 2e9);
        assert_eq!(
            labels(&wide),
            ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
        );
    }

    #[test]
    fn equal_delays_have_an_axis_as_well() {
        for value in [0.0, 1.0, 31_000.0, -31_000.0, 9e15] {
            let axis = Axis::delays(value, value);
            assert!(axis.low < axis.high, "{axis:?}");
            assert!((2..=8).contains(&axis.ticks.len()), "{axis:?}");
        }
    }

    #[test]
    fn time_is_told_as_on_a_clock() {
        assert_eq!(
            labels(&Axis::time(600.0)),
            ["0:00", "2:00", "4:00", "6:00", "8:00", "10:00"]
        );
        assert_eq!(
            labels(&Axis::time(2.5)),
            ["0", "0.5 s", "1.0 s", "1.5 s", "2.0 s", "2.5 s"]
        );
        assert_eq!(
            labels(&Axis::time(7_300.0)),
            ["0:00", "30:00", "1:00:00", "1:30:00", "2:00:00"]
        );
        let month = Axis::time(30.0 * 86400.0);
        assert_eq!(month.ticks[1].label, "4 d 0:00");
    }

    #[test]
    fn counts_are_told_by_powers_of_ten() {
        assert_eq!(
            labels(&Axis::log_counts(1_500.0)),
            ["1", "10", "100", "1 000"]
        );
        assert_eq!(labels(&Axis::log_counts(1.0)), ["1", "10"]);
    }
}
