//! Round-trip time and loss over the time of the run.

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, Frame, Plot, Role};
use crate::measure::counts::ratio;
use crate::measure::overview::{Overview, Step};
use crate::report::units;

/// A step of time with replies.
struct Point {
    /// Middle of the step in seconds.
    at: f64,
    min: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const LOSS_HEIGHT: f64 = 54.0;

/// The chart, this many pixels wide; `None` when nothing was sent.
pub(super) fn chart(overview: &Overview, width: f64) -> Option<String> {
    let width_of_step = overview.width().as_secs_f64();
    let steps = overview.steps();
    #[expect(clippy::cast_precision_loss, reason = "at most 600 steps")]
    let seconds = steps.len() as f64 * width_of_step;
    if steps.is_empty() {
        return None;
    }
    let height = if width < 600.0 { 330.0 } else { 380.0 };
    Some(canvas::draw(width, height, |canvas| {
        let loss = Frame {
            left: LEFT,
            right: canvas.width() - RIGHT,
            top: canvas.height() - 24.0 - LOSS_HEIGHT,
            bottom: canvas.height() - 24.0,
        };
        let delay = Frame {
            top: 10.0,
            bottom: loss.top - 26.0,
            ..loss
        };
        let time = time_axis(seconds, width);
        for tick in &time.ticks {
            let x = loss.left + (loss.right - loss.left) * tick.at / seconds;
            canvas.hair((x, delay.top), (x, delay.bottom), Role::Grid);
            canvas.hair((x, loss.top), (x, loss.bottom), Role::Grid);
            canvas.text(
                (x, loss.bottom + 6.0),
                Anchor::Top,
                Role::Muted,
                &tick.label,
            );
        }
        delays(canvas, delay, steps, width_of_step, seconds);
        losses(canvas, loss, steps, width_of_step, seconds);
    }))
}

/// Half the labels where they would run into each other.
pub(super) fn time_axis(seconds: f64, width: f64) -> Axis {
    let mut axis = Axis::time(seconds);
    if width < 600.0 && axis.ticks.len() > 5 {
        let mut index = 0;
        axis.ticks.retain(|_| {
            index += 1;
            index % 2 == 1
        });
    }
    axis
}

fn delays(canvas: &Canvas<'_>, frame: Frame, steps: &[Step], width_of_step: f64, seconds: f64) {
    let runs = runs(steps, width_of_step);
    let points = || runs.iter().flatten();
    let min = points()
        .map(|point| point.min)
        .fold(f64::INFINITY, f64::min);
    let max = points()
        .map(|point| point.max)
        .fold(f64::NEG_INFINITY, f64::max);
    if min > max {
        let middle = (
            f64::midpoint(frame.left, frame.right),
            f64::midpoint(frame.top, frame.bottom),
        );
        canvas.text(middle, Anchor::Top, Role::Muted, "no reply in time");
        return;
    }
    let axis = Axis::delays(min, max);
    let plot = canvas.plot(frame, 0.0..seconds, axis.low..axis.high);
    grid(canvas, &plot, frame, &axis);
    outages(&plot, steps, width_of_step, &axis);
    for run in &runs {
        let band = |low: fn(&Point) -> f64, high: fn(&Point) -> f64| -> Vec<_> {
            run.iter()
                .map(|point| (point.at, axis.place(low(point)), axis.place(high(point))))
                .collect()
        };
        let line = |value: fn(&Point) -> f64| -> Vec<_> {
            run.iter()
                .map(|point| (point.at, axis.place(value(point))))
                .collect()
        };
        if let [point] = run.as_slice() {
            // Alone between losses: no line to draw, but not to be missed either.
            plot.line(
                [
                    (point.at, axis.place(point.min)),
                    (point.at, axis.place(point.max)),
                ],
                Role::RoundTrip,
                1.0,
                0.4,
            );
            plot.dot((point.at, axis.place(point.p50)), 1.4, Role::RoundTrip);
            continue;
        }
        plot.band(
            &band(|point| point.p99, |point| point.max),
            Role::RoundTrip,
            0.13,
        );
        plot.band(
            &band(|point| point.min, |point| point.p99),
            Role::RoundTrip,
            0.3,
        );
        plot.line(line(|point| point.max), Role::RoundTrip, 0.6, 0.45);
        plot.line(line(|point| point.p50), Role::RoundTrip, 1.7, 1.0);
    }
}

/// Lines across the chart at the labels of `axis`, which stand to the left.
pub(super) fn grid(canvas: &Canvas<'_>, plot: &Plot<'_>, frame: Frame, axis: &Axis) {
    for tick in &axis.ticks {
        let (_, y) = plot.pixel(0.0, tick.at);
        canvas.hair((frame.left, y), (frame.right, y), Role::Grid);
        canvas.text(
            (frame.left - 7.0, y),
            Anchor::Right,
            Role::Muted,
            &tick.label,
        );
    }
}

/// The steps with replies, cut where packets were sent and none was answered. Steps in which
/// nothing was sent do not cut.
fn runs(steps: &[Step], width_of_step: f64) -> Vec<Vec<Point>> {
    let mut runs = vec![Vec::new()];
    for (i, step) in (0u32..).zip(steps) {
        let at = (f64::from(i) + 0.5) * width_of_step;
        if let Some(point) = point(step, at) {
            if let Some(run) = runs.last_mut() {
                run.push(point);
            }
        } else if step.lost() > 0 {
            runs.push(Vec::new());
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[expect(clippy::cast_precision_loss, reason = "a pixel is some per cent")]
fn point(step: &Step, at: f64) -> Option<Point> {
    Some(Point {
        at,
        min: step.min()?.nanos() as f64,
        p50: step.percentile(50.0)?.nanos() as f64,
        p99: step.percentile(99.0)?.nanos() as f64,
        max: step.max()?.nanos() as f64,
    })
}

/// A shade where every packet was lost.
fn outages(plot: &Plot<'_>, steps: &[Step], width_of_step: f64, axis: &Axis) {
    for (i, step) in (0u32..).zip(steps) {
        if step.lost() > 0 && step.received() == 0 {
            let from = f64::from(i) * width_of_step;
            let corners = ((from, axis.low), (from + width_of_step, axis.high));
            plot.bar(corners.0, corners.1, Role::Loss, 0.14);
        }
    }
}

fn losses(canvas: &Canvas<'_>, frame: Frame, steps: &[Step], width_of_step: f64, seconds: f64) {
    let loss = |step: &Step| ratio(step.lost(), step.received() + step.lost()).unwrap_or(0.0);
    let worst = steps.iter().map(loss).fold(0.0, f64::max);
    let top = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
        .into_iter()
        .find(|&top| top >= worst)
        .unwrap_or(1.0);
    let plot = canvas.plot(frame, 0.0..seconds, 0.0..top);
    for value in [0.0, top] {
        let (_, y) = plot.pixel(0.0, value);
        canvas.hair((frame.left, y), (frame.right, y), Role::Grid);
        let label = format!("{} %", value * 100.0);
        canvas.text((frame.left - 7.0, y), Anchor::Right, Role::Muted, &label);
    }
    let caption = if worst > 0.0 {
        format!("lost, worst step {}", units::percent(worst))
    } else {
        "lost: none".to_owned()
    };
    canvas.text(
        (frame.left, frame.top - 10.0),
        Anchor::Left,
        Role::Muted,
        &caption,
    );
    let pixel = seconds / (frame.right - frame.left);
    for (i, step) in (0u32..).zip(steps) {
        if step.lost() == 0 {
            continue;
        }
        let from = f64::from(i) * width_of_step;
        // A lone lost packet among thousands is to be seen as well.
        let to = from + width_of_step.max(1.6 * pixel);
        let height = loss(step).max(top * 0.06);
        plot.bar((from, 0.0), (to, height), Role::Loss, 1.0);
    }
}
