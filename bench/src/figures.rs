//! Medians and ranges of a few rounds.

use std::fmt;

/// The median of figures taken in rounds, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the middle two; 0 of nothing.
    pub median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// Of finite figures.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = match (figures.get(middle), figures.len() % 2) {
            (None, _) => 0.0,
            (Some(&median), 1) => median,
            (Some(&above), _) => f64::midpoint(figures[middle - 1], above),
        };
        Self {
            median,
            min: figures.first().copied().unwrap_or(0.0),
            max: figures.last().copied().unwrap_or(0.0),
        }
    }
}

impl fmt::Display for Spread {
    /// With as many decimals as the precision asks for, none unless told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(0);
        let Self { median, min, max } = self;
        write!(
            f,
            "{median:>10.decimals$} ({min:.decimals$}–{max:.decimals$})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(
            format!("{:.1}", Spread::of([9.0, 1.0, 5.0])).trim(),
            "5.0 (1.0–9.0)"
        );
        assert_eq!(
            format!("{}", Spread::of([9.0, 1.0, 5.0, 7.0])).trim(),
            "6 (1–9)"
        );
        assert_eq!(format!("{}", Spread::of([])).trim(), "0 (0–0)");
    }
}
