//! Which sessions lost packets when.

use super::canvas::{self, Anchor, Frame, Role};
use super::timeline::time_axis;
use crate::measure::overview::{Cell, Overview};

/// Columns at most, so that a map with loss everywhere stays below a megabyte.
const COLUMNS: usize = 150;

const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;

/// Shares of loss from which a darker shade is used, with the shades.
const SHADES: [(f64, f64); 5] = [
    (0.0, 0.3),
    (0.001, 0.45),
    (0.01, 0.6),
    (0.1, 0.8),
    (0.5, 1.0),
];

/// The map, this many pixels wide; `None` when nothing was lost.
pub(super) fn chart(overview: &Overview, width: f64) -> Option<String> {
    let steps = overview.steps();
    if steps.iter().all(|step| step.lost() == 0) {
        return None;
    }
    let columns = if width < 600.0 { COLUMNS / 2 } else { COLUMNS };
    let together = steps.len().div_ceil(columns);
    let groups = overview.groups();
    #[expect(clippy::cast_precision_loss, reason = "at most 600 steps, 64 groups")]
    let (count, rows, together_steps) = (steps.len() as f64, groups as f64, together as f64);
    let seconds = count * overview.width().as_secs_f64();
    let row = (200.0 / rows).clamp(5.0, 22.0);
    let height = rows * row + 34.0;
    Some(canvas::draw(width, height, |canvas| {
        let frame = Frame {
            left: LEFT,
            right: canvas.width() - RIGHT,
            top: 6.0,
            bottom: 6.0 + rows * row,
        };
        // Time from left to right in steps, groups from the top down.
        let plot = canvas.plot(frame, 0.0..count, 0.0..rows);
        plot.bar((0.0, 0.0), (count, rows), Role::Grid, 0.6);
        for tick in time_axis(seconds, width).ticks {
            let x = frame.left + (frame.right - frame.left) * tick.at / seconds;
            canvas.hair((x, frame.bottom), (x, frame.bottom + 4.0), Role::Muted);
            canvas.text(
                (x, frame.bottom + 7.0),
                Anchor::Top,
                Role::Muted,
                &tick.label,
            );
        }
        for (index, group) in (0u32..).zip(0..groups) {
            let top = rows - f64::from(index);
            // Every label that has room: eight rows of five pixels hold three.
            if f64::from(index) * row % 40.0 < row || row > 14.0 {
                let (_, y) = plot.pixel(0.0, top - 0.5);
                let (first, last) = overview.sessions_of(group);
                let label = if first == last {
                    format!("# {first}")
                } else {
                    format!("# {first}–{last}")
                };
                canvas.text((frame.left - 7.0, y), Anchor::Right, Role::Muted, &label);
            }
            let shades = steps.chunks(together).map(|chunk| {
                let cells = chunk.iter().filter_map(|step| step.cells().get(group));
                let sum = cells.fold(Cell::default(), |sum, cell| Cell {
                    sent: sum.sent + cell.sent,
                    lost: sum.lost + cell.lost,
                });
                shade(sum)
            });
            // Neighbours of one shade are one bar.
            let shades: Vec<_> = shades.collect();
            let mut column = 0u32;
            for same in shades.chunk_by(|one, other| one == other) {
                let from = f64::from(column) * together_steps;
                column += u32::try_from(same.len()).unwrap_or(0);
                if let Some(Some(shade)) = same.first() {
                    let to = f64::from(column) * together_steps;
                    let corners = ((from, top - 0.95), (to, top - 0.05));
                    plot.bar(corners.0, corners.1, Role::Loss, *shade);
                }
            }
        }
    }))
}

/// How dark a cell is; `None` without loss.
fn shade(cell: Cell) -> Option<f64> {
    if cell.lost == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "five shades")]
    let ratio = cell.lost as f64 / cell.sent.max(1) as f64;
    let darkest = SHADES.iter().rev().find(|&&(from, _)| ratio >= from);
    darkest.map(|&(_, shade)| shade)
}

#[cfg(test)]
mod tests {
    use wire::time::Utc;

    use super::*;

    #[test]
    fn there_is_no_map_without_loss() {
        let mut overview = Overview::new(Utc::from_nanos(0), 2);
        overview.sent(Utc::from_nanos(0), 0);
        assert_eq!(chart(&overview, 1000.0), None);
    }

    #[test]
    fn more_loss_is_darker() {
        let shades: Vec<_> = [(1, 100_000), (1, 500), (1, 50), (1, 5), (5, 5)]
            .map(|(lost, sent)| shade(Cell { sent, lost }))
            .to_vec();
        assert!(shades.is_sorted() && shades[0] < shades[4], "{shades:?}");
        assert_eq!(shade(Cell { sent: 9, lost: 0 }), None);
    }

    #[test]
    fn a_map_with_loss_everywhere_stays_below_two_megabytes() {
        let mut overview = Overview::new(Utc::from_nanos(0), 1_000);
        for i in 0..600 * 64 * 4i64 {
            let session = usize::try_from(i % 1_000).unwrap();
            let at = Utc::from_nanos(i / 256 * 1_000_000);
            overview.sent(at, session);
            if i % 3 == 0 {
                overview.lost(at, session);
            }
        }
        let both = [1000.0, 360.0].map(|width| chart(&overview, width).unwrap().len());
        assert!(both[0] + both[1] < 2_000_000, "{both:?}");
    }
}
