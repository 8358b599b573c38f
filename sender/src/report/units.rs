//! Figures for people: times in the unit that fits, large counts in groups.

use std::time::{Duration, UNIX_EPOCH};

use wire::time::{Nanos, Utc};

/// A time in nanoseconds with the largest unit that keeps a digit before the point, and four
/// significant digits: `843 ns`, `12.35 µs`, `1.204 ms`, `-37.00 s`.
pub fn time(nanos: f64) -> String {
    const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    // What rounds to zero has no sign.
    let nanos = if nanos.abs() < 0.05 { 0.0 } else { nanos };
    let magnitude = nanos.abs();
    let largest_that_fits = UNITS
        .into_iter()
        .rev()
        // Rounding to four digits must not print 1000 of the smaller unit.
        .find(|&(_, size)| magnitude >= size * 0.999_95)
        .unwrap_or(UNITS[0]);
    let (unit, size) = largest_that_fits;
    let value = nanos / size;
    let decimals = match value.abs() {
        _ if size <= 1.0 => usize::from(value.fract() != 0.0),
        v if v < 9.9995 => 3,
        v if v < 99.995 => 2,
        v if v < 999.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// As [`time`].
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
pub fn span(span: Nanos) -> String {
    time(span.nanos() as f64)
}

/// A count with a narrow gap between groups of three digits: `50 000`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count and what is counted, in the right number: `1 packet`, `2 000 packets`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A share in percent, never rounded to 0 or 100 unless it is exactly that.
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent > 0.0 && percent < 0.001 {
        "<0.001 %".to_owned()
    } else if percent < 100.0 && percent > 99.999 {
        ">99.999 %".to_owned()
    } else {
        format!("{percent:.3} %")
    }
}

/// A point in time, to the second: `2026-11-25 18:56:44 UTC`.
pub fn moment(at: Utc) -> String {
    let nanos = u64::try_from(at.nanos()).unwrap_or(0);
    let time = UNIX_EPOCH + Duration::from_nanos(nanos);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

/// A rate in packets per second.
pub fn rate(per_second: f64) -> String {
    if per_second >= 1000.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1000 or more here, and `as` saturates"
        )]
        let whole = per_second.round() as u64;
        format!("{}/s", count(whole))
    } else {
        // Three decimals, and more where those would not show four digits.
        let mut decimals = 3;
        let mut leading = per_second;
        while leading > 0.0 && leading < 1.0 {
            leading *= 10.0;
            decimals += 1;
        }
        format!("{}/s", trim(format!("{per_second:.decimals$}")))
    }
}

/// Without the zeros at the end of a decimal fraction.
pub fn trim(mut text: String) -> String {
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_four_digits_and_a_fitting_unit() {
        for (nanos, text) in [
            (0.0, "0 ns"),
            (843.0, "843 ns"),
            (843.25, "843.2 ns"),
            (-1.0, "-1 ns"),
            (-0.0, "0 ns"),
            (-0.04, "0 ns"),
            (-0.06, "-0.1 ns"),
            (1_000.0, "1.000 µs"),
            (12_345.6, "12.35 µs"),
            (999_949.0, "999.9 µs"),
            (999_999.0, "1.000 ms"),
            (1_204_000.0, "1.204 ms"),
            (-995_000_000.0, "-995.0 ms"),
            (37_000_000_000.0, "37.00 s"),
            (3_600_000_000_000.0, "3600 s"),
        ] {
            assert_eq!(time(nanos), text, "{nanos}");
        }
    }

    #[test]
    fn counts_are_grouped() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (50_000, "50 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn a_moment_is_in_utc() {
        let at = Utc::from_nanos(1_700_000_000_999_999_999);
        assert_eq!(moment(at), "2023-11-14 22:13:20 UTC");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1, "reply", "replies"), "1 reply");
        assert_eq!(counted(0, "reply", "replies"), "0 replies");
        assert_eq!(counted(2_000, "reply", "replies"), "2 000 replies");
    }

    #[test]
    fn a_share_is_not_rounded_away() {
        for (ratio, text) in [
            (0.0, "0.000 %"),
            (0.000_001, "<0.001 %"),
            (0.000_02, "0.002 %"),
            (0.5, "50.000 %"),
            (0.999_999, ">99.999 %"),
            (1.0, "100.000 %"),
        ] {
            assert_eq!(percent(ratio), text);
        }
    }

    #[test]
    fn rates_show_what_is_significant() {
        for (per_second, text) in [
            (0.0, "0/s"),
            (1.0 / 3600.0, "0.0002778/s"),
            (0.000_001, "0.000001/s"),
            (0.1, "0.1/s"),
            (0.333_333_3, "0.3333/s"),
            (10.0, "10/s"),
            (33.333_333, "33.333/s"),
            (9_999.8, "10 000/s"),
            (100_000.0, "100 000/s"),
        ] {
            assert_eq!(rate(per_second), text);
        }
    }
}
