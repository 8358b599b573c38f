//! Drawing with plotters into SVG that takes its colours from the page.
//!
//! Two things plotters' SVG backend does not do by itself. It knows only fixed colours, so each
//! [`Role`] is drawn in a colour of its own that becomes a CSS variable afterwards: the page then
//! follows light, dark and print. And it has whole pixels only, so all is drawn [`FINE`] times too
//! large and the view box scales it down.

use std::ops::Range;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, RGBColor, ShapeStyle, TextStyle};

/// Steps per pixel.
const FINE: f64 = 8.0;

/// Size of the labels in pixels.
const TEXT: f64 = 11.5;

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Important text.
    Ink,
    /// Labels of axes.
    Muted,
    /// Lines of the grid.
    Grid,
    /// Round-trip times.
    RoundTrip,
    /// What is lost.
    Loss,
    /// Forward delays.
    Forward,
    /// Backward delays.
    Backward,
    /// Delay variation.
    Variation,
}

/// All roles with their CSS variables.
const ROLES: [(Role, &str); 8] = [
    (Role::Ink, "var(--ink)"),
    (Role::Muted, "var(--muted)"),
    (Role::Grid, "var(--grid)"),
    (Role::RoundTrip, "var(--rtt)"),
    (Role::Loss, "var(--loss)"),
    (Role::Forward, "var(--forward)"),
    (Role::Backward, "var(--backward)"),
    (Role::Variation, "var(--variation)"),
];

/// A drawing in progress. Coordinates are pixels from the upper left.
pub(super) struct Canvas<'a> {
    root: DrawingArea<SVGBackend<'a>, Shift>,
    width: f64,
    height: f64,
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// A part of the drawing with coordinates of its own.
pub(super) struct Plot<'a> {
    area: DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
    x: Range<f64>,
    y: Range<f64>,
}

/// Where a text is held.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    /// At its right end, in the middle of its height.
    Right,
    /// At its left end, in the middle of its height.
    Left,
    /// In the middle of its upper edge.
    Top,
}

/// Draws an SVG element of this size in pixels.
pub(super) fn draw(width: f64, height: f64, paint: impl FnOnce(&Canvas<'_>)) -> String {
    let mut svg = String::new();
    let size = (fine(width).unsigned_abs(), fine(height).unsigned_abs());
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let canvas = Canvas {
            root,
            width,
            height,
        };
        paint(&canvas);
        // Nothing below can fail: the target is a string.
        let _ = canvas.root.present();
    }
    for (role, variable) in ROLES {
        let RGBColor(r, g, b) = role.colour();
        svg = svg.replace(
            &format!("\"#{r:02X}{g:02X}{b:02X}\""),
            &format!("\"{variable}\""),
        );
    }
    // Its size is the page's to choose.
    let fixed = format!("<svg width=\"{}\" height=\"{}\" ", size.0, size.1);
    svg.replacen(&fixed, "<svg aria-hidden=\"true\" ", 1)
        .replace(" opacity=\"1\"", "")
        .replace(" stroke=\"none\"", "")
}

/// About how wide a label is in pixels, rather more.
pub(super) fn text_width(text: &str) -> f64 {
    let letters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    f64::from(letters) * TEXT * 0.6
}

/// A coordinate in the backend's whole steps.
fn fine(pixels: f64) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "charts are some thousand pixels wide, and `as` saturates"
    )]
    {
        (pixels * FINE).round() as i32
    }
}

impl Role {
    /// Colours that nothing else has.
    fn colour(self) -> RGBColor {
        let number = ROLES.iter().position(|&(role, _)| role == self);
        RGBColor(
            1,
            254,
            number.and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
        )
    }

    fn fill(self, opacity: f64) -> ShapeStyle {
        self.colour().mix(opacity).filled()
    }

    fn stroke(self, width: f64, opacity: f64) -> ShapeStyle {
        self.colour()
            .mix(opacity)
            .stroke_width(fine(width).unsigned_abs())
    }
}

impl<'a> Canvas<'a> {
    /// Width in pixels.
    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// Height in pixels.
    pub(super) fn height(&self) -> f64 {
        self.height
    }

    /// A text at `(x, y)`.
    pub(super) fn text(&self, (x, y): (f64, f64), anchor: Anchor, role: Role, text: &str) {
        let (horizontal, vertical) = match anchor {
            Anchor::Right => (HPos::Right, VPos::Center),
            Anchor::Left => (HPos::Left, VPos::Center),
            Anchor::Top => (HPos::Center, VPos::Top),
        };
        // The backend divides sizes by this, for the height of its letters.
        let font = FontDesc::new(
            FontFamily::Name("inherit"),
            TEXT * FINE * 1.24,
            FontStyle::Normal,
        );
        let colour = role.colour();
        let style = TextStyle::from(font)
            .color(&colour)
            .pos(Pos::new(horizontal, vertical));
        let _ = self
            .root
            .draw(&Text::new(text.to_owned(), (fine(x), fine(y)), style));
    }

    /// A straight line, a hair wide.
    pub(super) fn hair(&self, from: (f64, f64), to: (f64, f64), role: Role) {
        let points = [from, to].map(|(x, y)| (fine(x), fine(y)));
        let _ = self
            .root
            .draw(&PathElement::new(points, role.stroke(1.0, 1.0)));
    }

    /// Coordinates for `frame`: `x` from left to right, `y` from the bottom up.
    pub(super) fn plot(&self, frame: Frame, x: Range<f64>, y: Range<f64>) -> Plot<'a> {
        let pixels = (
            fine(frame.left)..fine(frame.right),
            fine(frame.bottom)..fine(frame.top),
        );
        let coordinates =
            Cartesian2d::<RangedCoordf64, RangedCoordf64>::new(x.clone(), y.clone(), pixels);
        Plot {
            area: self.root.apply_coord_spec(coordinates),
            x,
            y,
        }
    }
}

impl Plot<'_> {
    /// Where a point is on the canvas.
    pub(super) fn pixel(&self, x: f64, y: f64) -> (f64, f64) {
        let (x, y) = self.area.map_coordinate(&self.inside((x, y)));
        (f64::from(x) / FINE, f64::from(y) / FINE)
    }

    /// A line through all points.
    pub(super) fn line(
        &self,
        points: impl IntoIterator<Item = (f64, f64)>,
        role: Role,
        width: f64,
        opacity: f64,
    ) {
        let points: Vec<_> = points.into_iter().map(|at| self.inside(at)).collect();
        let _ = self
            .area
            .draw(&PathElement::new(points, role.stroke(width, opacity)));
    }

    /// The area between two lines over the same `x`: points are `(x, low, high)`.
    pub(super) fn band(&self, points: &[(f64, f64, f64)], role: Role, opacity: f64) {
        let high = points.iter().map(|&(x, _, high)| (x, high));
        let low = points.iter().rev().map(|&(x, low, _)| (x, low));
        let outline: Vec<_> = high.chain(low).map(|at| self.inside(at)).collect();
        let _ = self.area.draw(&Polygon::new(outline, role.fill(opacity)));
    }

    /// A filled rectangle between two corners.
    pub(super) fn bar(&self, one: (f64, f64), other: (f64, f64), role: Role, opacity: f64) {
        let corners = [self.inside(one), self.inside(other)];
        let _ = self.area.draw(&Rectangle::new(corners, role.fill(opacity)));
    }

    /// A dot with a radius in pixels.
    pub(super) fn dot(&self, at: (f64, f64), radius: f64, role: Role) {
        let _ = self
            .area
            .draw(&Circle::new(self.inside(at), fine(radius), role.fill(1.0)));
    }

    fn inside(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            x.clamp(self.x.start, self.x.end),
            y.clamp(self.y.start, self.y.end),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_the_pages() {
        let svg = draw(100.0, 50.0, |canvas| {
            for (role, _) in ROLES {
                canvas.hair((0.0, 0.0), (1.0, 1.0), role);
            }
            canvas.text((3.0, 3.0), Anchor::Left, Role::Ink, "a<b");
        });
        assert!(
            svg.starts_with("<svg aria-hidden=\"true\" viewBox=\"0 0 800 400\""),
            "{svg}"
        );
        for (_, variable) in ROLES {
            assert!(
                svg.contains(&format!("stroke=\"{variable}\"")),
                "{variable}"
            );
        }
        assert!(!svg.contains('#'), "{svg}");
        assert!(svg.contains("a&lt;b"));
        assert!(svg.contains("font-size=\"92\""));
    }

    #[test]
    fn what_is_outside_stays_at_the_edge() {
        draw(100.0, 50.0, |canvas| {
            let frame = Frame {
                left: 10.0,
                top: 5.0,
                right: 90.0,
                bottom: 45.0,
            };
            let plot = canvas.plot(frame, 0.0..1.0, 0.0..4.0);
            assert_eq!(plot.pixel(0.5, 1.0), (50.0, 35.0));
            assert_eq!(plot.pixel(-3.0, 9.0), (10.0, 5.0));
        });
    }
}
