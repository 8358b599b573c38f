//! The report as one page for a browser: charts, figures and the conditions of the run.
//!
//! The page stands alone: no scripts, nothing is fetched, so it can be attached to a ticket and
//! opened years later. It follows the reader's light or dark theme, fits a phone and prints.
//! Everything from outside passes through maud, which escapes it. It takes about 200 KB, and
//! below 3 MB with loss everywhere in many sessions.

mod axis;
mod canvas;
mod loss_map;
mod shape;
mod timeline;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::canvas::Role;
use self::shape::Curve;
use super::units;
use crate::measure::distribution::Distribution;
use crate::measure::overview::Overview;

/// Width of the charts over the whole width in pixels: on a desk, and on a phone.
const WIDTHS: [(&str, f64); 2] = [("wide", 1000.0), ("narrow", 400.0)];

/// What a page shows. Texts are plain and need no escaping.
#[derive(Debug)]
pub struct Page<'a> {
    /// What was measured, such as `Round trip to reflector.example:862`.
    pub title: String,
    /// When and how, in a line.
    pub subtitle: String,
    /// The figures to see first, about six.
    pub tiles: Vec<Tile>,
    /// Doubts about the figures, one sentence each.
    pub warnings: Vec<String>,
    /// The conditions of the run, by name.
    pub conditions: Vec<(String, String)>,
    /// What became of the packets: name, count, remark.
    pub counts: Vec<(String, String, String)>,
    /// Further figures that fit no table: name and value.
    pub facts: Vec<(String, String)>,
    /// The run over time.
    pub overview: &'a Overview,
    /// Round-trip times.
    pub round_trip: &'a Distribution,
    /// Forward delays.
    pub forward: &'a Distribution,
    /// Backward delays.
    pub backward: &'a Distribution,
    /// Times spent in the reflector.
    pub residence: &'a Distribution,
    /// Round-trip delay variation between consecutive probes.
    pub ipdv: &'a Distribution,
    /// Whether one-way delays are to be believed.
    pub one_way: Trust,
    /// A table of sessions.
    pub sessions: Option<Table>,
    /// What made the page, such as `sender 0.1.0`.
    pub made_by: String,
}

/// A figure to see first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// What it is.
    pub name: String,
    /// The figure with its unit.
    pub value: String,
    /// A remark below, or nothing.
    pub note: String,
    /// Whether it calls for attention, as loss does.
    pub alarming: bool,
}

/// Whether one-way delays are to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Both clocks said all the time that they follow UTC. The text says how well.
    Trusted(String),
    /// They contain the unknown offset between the clocks. The text says why.
    Untrusted(String),
}

/// A table with a line of headings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Headings. The first column is text, the others are figures.
    pub head: Vec<String>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<String>>,
    /// A remark below, such as how many rows were left out; or nothing.
    pub note: String,
}

/// The page as a document.
pub fn render(page: &Page<'_>) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    header {
                        h1 { (page.title) }
                        p { (page.subtitle) }
                    }
                    (tiles(&page.tiles))
                    (warnings(&page.warnings))
                    (over_time(page))
                    (distribution(page))
                    (one_way(page))
                    (loss_map(page.overview))
                    (figures(page))
                    @if let Some(sessions) = &page.sessions { (section("Sessions", &table(sessions))) }
                    (conditions(page))
                    footer { "Made by " (page.made_by) "." }
                }
            }
        }
    }
    .into_string()
}

fn section(title: &str, content: &Markup) -> Markup {
    html! { section { h2 { (title) } (content) } }
}

fn tiles(tiles: &[Tile]) -> Markup {
    html! {
        div.tiles {
            @for tile in tiles {
                div.tile.alarming[tile.alarming] {
                    div.name { (tile.name) }
                    div.value { (tile.value) }
                    div.note { (tile.note) }
                }
            }
        }
    }
}

fn warnings(warnings: &[String]) -> Markup {
    html! {
        @if !warnings.is_empty() {
            aside.warnings {
                h2 { (units::counted(warnings.len() as u64, "warning", "warnings")) }
                ul { @for warning in warnings { li { (warning) } } }
            }
        }
    }
}

fn over_time(page: &Page<'_>) -> Markup {
    let step = page.overview.width().as_secs_f64() * 1e9;
    section(
        "Round-trip time over the run",
        &html! {
            p.legend {
                span.key.line { "p50" }
                span.key.band { "minimum to p99" }
                span.key.tail { "p99 to maximum" }
                span.key.loss { "lost" }
                span.remark { "steps of " (units::time(step)) ", by sending time" }
            }
            (both(
                "Round-trip time and loss over time",
                |width| timeline::chart(page.overview, width),
            ))
        },
    )
}

/// A chart in two widths, one of which the style sheet hides.
fn both(name: &str, chart: impl Fn(f64) -> Option<String>) -> Markup {
    html! {
        @for (class, width) in WIDTHS {
            @if let Some(svg) = chart(width) {
                div class=(class) role="img" aria-label=(name) { (PreEscaped(svg)) }
            } @else if class == "wide" {
                p.remark { "Nothing to show." }
            }
        }
    }
}

/// A chart with its name, for one of two columns. Nothing if there is nothing to show.
fn half(name: &str, svg: Option<String>, legend: &Markup) -> Markup {
    html! {
        @if let Some(svg) = svg {
            figure {
                figcaption { (name) " " (legend) }
                div role="img" aria-label=(name) { (PreEscaped(svg)) }
            }
        }
    }
}

fn distribution(page: &Page<'_>) -> Markup {
    if page.round_trip.count() == 0 {
        return html! {};
    }
    let curve = Curve {
        of: page.round_trip,
        role: Role::RoundTrip,
        above_minimum: false,
    };
    let nothing = html! {};
    section(
        "Distribution",
        &html! {
            div.columns {
                (half("Round-trip time by percentile", shape::percentiles(&[curve]), &nothing))
                (half(
                    "Packets by round-trip time",
                    shape::histogram(page.round_trip, Role::RoundTrip),
                    &nothing,
                ))
            }
        },
    )
}

fn one_way(page: &Page<'_>) -> Markup {
    let (trusted, reason) = match &page.one_way {
        Trust::Trusted(reason) => (true, reason),
        Trust::Untrusted(reason) => (false, reason),
    };
    let any = page.forward.count() + page.backward.count() > 0;
    let curve = |of, role| Curve {
        of,
        role,
        above_minimum: !trusted,
    };
    let curves = [
        curve(page.forward, Role::Forward),
        curve(page.backward, Role::Backward),
    ];
    let name = if trusted {
        "One-way delay"
    } else {
        "One-way delay above its minimum"
    };
    let legend = html! {
        span.key.forward { "forward" }
        span.key.backward { "backward" }
    };
    let variation = shape::histogram(page.ipdv, Role::Variation);
    if !any && variation.is_none() {
        return html! {};
    }
    let title = if any {
        "One-way delay and delay variation"
    } else {
        "Delay variation"
    };
    section(
        title,
        &html! {
            @if any {
                p.trust {
                    @if trusted {
                        strong.good { "Clocks synchronised." } " "
                    } @else {
                        strong.bad { "The clocks differ." } " "
                    }
                    (reason)
                    @if !trusted {
                        " The chart shows what that does not change: the delay above the smallest."
                    }
                }
            }
            div.columns {
                (half(name, shape::percentiles(&curves), &legend))
                (half("Packets by delay variation (IPDV)", variation, &html! {}))
            }
        },
    )
}

fn loss_map(overview: &Overview) -> Markup {
    let steps = overview.steps();
    if steps.iter().all(|step| step.lost() == 0) {
        return html! {};
    }
    section(
        "Loss map",
        &html! {
            p.legend {
                span.key.s1 { "below 0.1 %" }
                span.key.s2 { "0.1 %" }
                span.key.s3 { "1 %" }
                span.key.s4 { "10 %" }
                span.key.s5 { "50 % and more" }
                span.remark { "of the packets of a session, or of neighbours, lost in a step of time" }
            }
            (both("Loss by session and time", |width| loss_map::chart(overview, width)))
        },
    )
}

fn figures(page: &Page<'_>) -> Markup {
    let trusted = matches!(page.one_way, Trust::Trusted(_));
    let metrics = [
        ("Round trip", page.round_trip),
        (if trusted { "Forward" } else { "Forward*" }, page.forward),
        (
            if trusted { "Backward" } else { "Backward*" },
            page.backward,
        ),
        ("Residence", page.residence),
        ("IPDV", page.ipdv),
    ];
    let head = [
        "", "samples", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max",
    ];
    let rows: Vec<_> = metrics
        .into_iter()
        .filter_map(|(name, of)| Some(std::iter::once(name.to_owned()).chain(cells(of)?).collect()))
        .collect();
    let mut note = "Percentiles by nearest rank, over the replies received in time; lost packets \
                    have no delay. Residence is the time spent in the reflector, IPDV that of the \
                    round trip."
        .to_owned();
    if !trusted && page.forward.count() > 0 {
        note.push_str(" * Not synchronised: offset between clocks included.");
    }
    let delays = Table {
        head: head.map(str::to_owned).to_vec(),
        rows,
        note,
    };
    section(
        "Figures",
        &html! {
            div.columns.tables {
                table.counts {
                    @for (name, count, remark) in &page.counts {
                        tr { th scope="row" { (name) } td { (count) } td.remark { (remark) } }
                    }
                }
                dl { (pairs(&page.facts)) }
            }
            @if !delays.rows.is_empty() { (table(&delays)) }
        },
    )
}

fn cells(of: &Distribution) -> Option<[String; 9]> {
    let summary = of.summary()?;
    Some([
        units::count(summary.count),
        units::span(summary.min),
        units::time(summary.mean),
        units::span(summary.p50),
        units::span(summary.p90),
        units::span(summary.p95),
        units::span(summary.p99),
        units::span(summary.p999),
        units::span(summary.max),
    ])
}

fn table(table: &Table) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { @for name in &table.head { th scope="col" { (name) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
        @if !table.note.is_empty() { p.remark { (table.note) } }
    }
}

fn conditions(page: &Page<'_>) -> Markup {
    section(
        "Conditions",
        &html! { dl.conditions { (pairs(&page.conditions)) } },
    )
}

fn pairs(pairs: &[(String, String)]) -> Markup {
    html! {
        @for (name, value) in pairs { div { dt { (name) } dd { (value) } } }
    }
}

#[cfg(test)]
mod tests;
