//! How delays are distributed: percentile curves and histograms.

use wire::time::Nanos;

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, Frame, Plot, Role};
use super::timeline::grid;
use crate::measure::distribution::{Bucket, Distribution};
use crate::report::units;

/// One curve.
#[derive(Clone, Copy)]
pub(super) struct Curve<'a> {
    /// What is shown.
    pub(super) of: &'a Distribution,
    /// Its colour.
    pub(super) role: Role,
    /// Show delays above the smallest, which the offset between two clocks does not change.
    pub(super) above_minimum: bool,
}

/// Size of the charts in pixels. They stand in two columns where there is room.
const WIDTH: f64 = 430.0;
const HEIGHT: f64 = 270.0;

const FRAME: Frame = Frame {
    left: 62.0,
    top: 12.0,
    right: WIDTH - 30.0,
    bottom: HEIGHT - 28.0,
};

/// Bars of a histogram.
const BARS: u32 = 64;

/// Percentile curves as `HdrHistogram` plots them: each nine has the same room. `None` when there
/// is no sample.
pub(super) fn percentiles(curves: &[Curve<'_>]) -> Option<String> {
    let curves: Vec<_> = curves.iter().filter(|curve| curve.of.count() > 0).collect();
    let most = curves.iter().map(|curve| curve.of.count()).max()?;
    let axis = curves
        .iter()
        .filter_map(|curve| curve.range())
        .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
        .map(|(min, max)| Axis::delays(min, max))?;
    let nines = nines(most, most).max(1.0);
    Some(canvas::draw(WIDTH, HEIGHT, |canvas| {
        let plot = canvas.plot(FRAME, 0.0..nines, axis.low..axis.high);
        grid(canvas, &plot, FRAME, &axis);
        let labels = [
            "0 %",
            "90 %",
            "99 %",
            "99.9 %",
            "99.99 %",
            "99.999 %",
            "99.9999 %",
        ];
        let mut free = 0.0;
        for (nine, label) in (0u32..).zip(labels) {
            let (x, _) = plot.pixel(f64::from(nine), axis.low);
            if f64::from(nine) > nines {
                break;
            }
            canvas.hair((x, FRAME.top), (x, FRAME.bottom), Role::Grid);
            // Labels that would run into the one before are left out.
            let half = canvas::text_width(label) / 2.0;
            if x - half >= free {
                canvas.text((x, FRAME.bottom + 7.0), Anchor::Top, Role::Muted, label);
                free = x + half + 6.0;
            }
        }
        for curve in &curves {
            plot.line(curve.points(&plot, &axis), curve.role, 1.8, 1.0);
        }
        if let [curve] = curves.as_slice() {
            curve.mark(canvas, &plot, &axis, nines);
        }
    }))
}

/// A histogram with its median and 99th percentile marked; `None` when there is no sample.
///
/// Counts are logarithmic, so that the few slow packets are as visible as the many others.
pub(super) fn histogram(of: &Distribution, role: Role) -> Option<String> {
    let summary = of.summary()?;
    let axis = histogram_axis(of)?;
    let width = (axis.high - axis.low) / f64::from(BARS);
    let bars = bars(&of.buckets(), &axis, width);
    let highest = bars.iter().copied().fold(1.0, f64::max);
    let counts = Axis::log_counts(highest);
    #[expect(clippy::cast_precision_loss, reason = "compared with a half")]
    let beyond = (of.count() as f64 - bars.iter().sum::<f64>()).round();
    Some(canvas::draw(WIDTH, HEIGHT, |canvas| {
        let plot = canvas.plot(FRAME, axis.low..axis.high, counts.low..counts.high);
        grid(canvas, &plot, FRAME, &counts);
        let mut free = 0.0;
        for tick in &axis.ticks {
            let (x, _) = plot.pixel(tick.at, 0.0);
            canvas.hair((x, FRAME.bottom), (x, FRAME.bottom + 4.0), Role::Muted);
            // Labels that would run into the one before are left out.
            let half = canvas::text_width(&tick.label) / 2.0;
            if x - half >= free {
                let at = (x, FRAME.bottom + 7.0);
                canvas.text(at, Anchor::Top, Role::Muted, &tick.label);
                free = x + half + 6.0;
            }
        }
        for (i, &count) in (0u32..).zip(&bars) {
            if count > 0.0 {
                let from = axis.low + f64::from(i) * width;
                // A hair between bars; and the share of a sample is as good as one.
                let height = counts.place(count.max(1.0));
                let (left, right) = (from + width * 0.07, from + width * 0.93);
                plot.bar((left, counts.low), (right, height), role, 0.85);
            }
        }
        for (name, value, row) in [("p50", summary.p50, 8.0), ("p99", summary.p99, 24.0)] {
            let (x, _) = plot.pixel(axis.place(float(value)), 0.0);
            canvas.hair((x, FRAME.top), (x, FRAME.bottom), Role::Muted);
            let label = format!("{name} {}", units::time(float(value)));
            // On the side away from the other mark, where there is room.
            let room = if name == "p50" {
                FRAME.left + 100.0
            } else {
                FRAME.right - 100.0
            };
            let (anchor, gap) = if x > room {
                (Anchor::Right, -5.0)
            } else {
                (Anchor::Left, 5.0)
            };
            canvas.text((x + gap, FRAME.top + row), anchor, Role::Ink, &label);
        }
        if beyond > 0.5 {
            let at = (FRAME.right, FRAME.top + 40.0);
            canvas.text(at, Anchor::Right, Role::Muted, &format!("{beyond} beyond"));
        }
    }))
}

/// From the smallest to the largest sample; without the outermost of a thousand if a linear scale
/// would show little else than those.
fn histogram_axis(of: &Distribution) -> Option<Axis> {
    let summary = of.summary()?;
    let (mut min, mut max) = (float(summary.min), float(summary.max));
    let axis = Axis::delays(min, max);
    if axis.is_log() || min >= max {
        return Some(axis);
    }
    let (low, high) = (of.percentile(0.05)?, of.percentile(99.95)?);
    let most = float(high - low);
    if most > 0.0 && max - min > 6.0 * most {
        (min, max) = (float(low), float(high));
    }
    let mut axis = Axis::linear_delays(min, max);
    // The samples fill the width; the labels do not have to end it.
    let margin = (max - min) * 0.02;
    (axis.low, axis.high) = (min - margin, max + margin);
    axis.ticks
        .retain(|tick| (min - margin..=max + margin).contains(&tick.at));
    Some(axis)
}

/// Samples in each bar. A bucket that reaches over several bars is shared among them.
fn bars(buckets: &[Bucket], axis: &Axis, width: f64) -> Vec<f64> {
    let mut bars = vec![0.0; BARS as usize];
    for bucket in buckets {
        let from = (axis.place(float(bucket.low)) - axis.low) / width;
        // A bucket ends where the next whole nanosecond begins.
        let to = (axis.place(float(bucket.high) + 1.0) - axis.low) / width;
        #[expect(clippy::cast_precision_loss, reason = "a pixel is some per cent")]
        let share = bucket.count as f64 / (to - from).max(f64::MIN_POSITIVE);
        for (i, bar) in (0u32..).zip(&mut bars) {
            let (start, end) = (f64::from(i), f64::from(i + 1));
            let covered = to.min(end) - from.max(start);
            if covered > 0.0 {
                *bar += share * covered;
            }
        }
    }
    bars
}

/// How many nines a percentile of `rank` among `count` has: 99 % is 2. The largest sample has as
/// many as can be told from `count` samples.
fn nines(rank: u64, count: u64) -> f64 {
    // Half a sample above the last, since nothing is known beyond it.
    #[expect(clippy::cast_precision_loss, reason = "a pixel is some per cent")]
    let (above, count) = ((count - rank) as f64, count as f64);
    (count / above.max(0.5)).log10()
}

impl Curve<'_> {
    /// Smallest and largest value shown, in nanoseconds.
    fn range(&self) -> Option<(f64, f64)> {
        let summary = self.of.summary()?;
        let (min, max) = (float(summary.min), float(summary.max));
        Some((min - self.base(min), max - self.base(min)))
    }

    fn base(&self, min: f64) -> f64 {
        if self.above_minimum { min } else { 0.0 }
    }

    /// The curve, without the points that would fall on the same spot.
    fn points(&self, plot: &Plot<'_>, axis: &Axis) -> Vec<(f64, f64)> {
        let count = self.of.count();
        let buckets = self.of.buckets();
        let base = buckets
            .first()
            .map_or(0.0, |first| self.base(float(first.low)));
        let mut points: Vec<(f64, f64)> = Vec::new();
        let mut last = (f64::NEG_INFINITY, 0.0);
        let mut rank = 0;
        for (i, bucket) in buckets.iter().enumerate() {
            let middle = f64::midpoint(float(bucket.low), float(bucket.high));
            let value = axis.place(middle - base);
            // Each value holds from the rank of the last to its own.
            let (from, to) = (nines(rank, count), nines(rank + bucket.count, count));
            rank += bucket.count;
            let pixel = plot.pixel(to, value);
            let moved = (pixel.0 - last.0).abs() + (pixel.1 - last.1).abs();
            if moved > 0.6 || i + 1 == buckets.len() {
                points.extend([(from, value), (to, value)]);
                last = pixel;
            }
        }
        points
    }

    fn mark(&self, canvas: &Canvas<'_>, plot: &Plot<'_>, axis: &Axis, nines: f64) {
        for percent in [50.0, 90.0, 99.0, 99.9, 99.99] {
            let x = (100.0f64 / (100.0 - percent)).log10();
            let Some(value) = self.of.percentile(percent).map(float) else {
                return;
            };
            if x > nines {
                return;
            }
            let y = axis.place(value);
            plot.dot((x, y), 3.2, self.role);
            let (x, y) = plot.pixel(x, y);
            // Right below the curve, which rises to the right; the median above it, so that the
            // two are apart where the curve is flat.
            let (anchor, x, y) = if x < FRAME.left + 40.0 || y > FRAME.bottom - 16.0 {
                (Anchor::Left, x - 3.0, y - 11.0)
            } else if x < FRAME.right - 64.0 {
                (Anchor::Left, x + 5.0, y + 9.0)
            } else {
                (Anchor::Right, x - 6.0, y - 8.0)
            };
            canvas.text((x, y), anchor, Role::Ink, &units::time(value));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a pixel is some per cent")]
fn float(nanos: Nanos) -> f64 {
    nanos.nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_is_a_step() {
        for (rank, nine) in [(0, 0.0), (900, 1.0), (990, 2.0), (999, 3.0)] {
            assert!((nines(rank, 1000) - nine).abs() < 1e-9);
        }
        assert!(nines(1000, 1000).is_finite());
        assert!(nines(1000, 1000) > nines(999, 1000));
    }

    #[test]
    fn bars_hold_all_samples_even_if_buckets_are_wider() {
        let mut distribution = Distribution::default();
        for i in 0..10_000 {
            distribution.record(Nanos::from_nanos(5_000_000 + i * 20));
        }
        let axis = histogram_axis(&distribution).unwrap();
        let width = (axis.high - axis.low) / f64::from(BARS);
        let bars = bars(&distribution.buckets(), &axis, width);
        assert!((bars.iter().sum::<f64>() - 10_000.0).abs() < 1.0);
        assert!(bars.iter().all(|&count| count < 170.0), "{bars:?}");
    }

    #[test]
    fn a_curve_of_millions_stays_small() {
        let mut distribution = Distribution::default();
        for i in 0..200_000i64 {
            distribution.record(Nanos::from_nanos(1_000 + i * i / 1_000));
        }
        let curve = Curve {
            of: &distribution,
            role: Role::RoundTrip,
            above_minimum: false,
        };
        let svg = percentiles(&[curve]).unwrap();
        assert!(svg.len() < 40_000, "{}", svg.len());
        assert!(svg.contains("99.999 %"));
        assert_eq!(percentiles(&[]), None);
    }
}
