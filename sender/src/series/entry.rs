//! The result of one test, as it is kept and printed. The schema is documented in
//! docs/test-series.md: fields are added, not renamed or given another meaning.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::threshold::State;
use crate::measure::distribution::Summary;
use crate::outcome::Outcome;
use crate::report::units;
use crate::warning::Warning;

/// A time of day to the millisecond, in UTC as of RFC 3339, between the years 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(SystemTime);

impl At {
    /// Now.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::since_epoch(since)
    }

    /// So many seconds after the beginning of 1970.
    #[cfg(test)]
    pub fn from_secs(seconds: u64) -> Self {
        Self::since_epoch(Duration::from_secs(seconds))
    }

    fn since_epoch(since: Duration) -> Self {
        /// The last second of the year 9999.
        const LAST: u64 = 253_402_300_799;
        let (seconds, millis) = (since.as_secs().min(LAST), since.subsec_millis());
        Self(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis.into()))
    }
}

impl fmt::Display for At {
    /// To the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0))
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(de::Error::custom)?;
        Ok(Self::since_epoch(
            time.duration_since(UNIX_EPOCH).unwrap_or_default(),
        ))
    }
}

/// What is said of a test in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Replies came and no threshold is crossed.
    Ok,
    /// Replies came and a threshold is crossed.
    Crossed,
    /// No reply came in time.
    NoReply,
    /// The test could not be made.
    Failed,
    /// It was stopped before its end.
    Stopped,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Crossed => "crossed",
            Self::NoReply => "no reply",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

/// One test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The series.
    pub series: String,
    /// The test.
    pub test: String,
    /// When it began.
    pub start: At,
    /// When it was over, its last replies waited for.
    pub end: At,
    /// Starts that passed while the test before it still ran.
    pub starts_missed: u64,
    /// The reflector, as the file names it.
    pub target: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Why there was no reply, or why the test failed.
    pub problem: Option<String>,
    /// What was measured; nothing if the test failed.
    pub figures: Option<Figures>,
    /// How each threshold stands.
    pub thresholds: Vec<State>,
}

/// What was measured in a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Address and port that were used.
    pub target_address: String,
    /// Packets sent.
    pub sent: u64,
    /// Packets answered in time.
    pub received: u64,
    /// Packets not answered in time.
    pub lost: u64,
    /// Share lost, 0 to 1.
    pub loss_ratio: Option<f64>,
    /// Packets of the longest run of losses.
    pub loss_run_max: u64,
    /// Packets lost on the way there, if the reflector counts for itself.
    pub lost_forward: Option<u64>,
    /// Packets lost on the way back, if the reflector counts for itself.
    pub lost_backward: Option<u64>,
    /// Replies after the timeout.
    pub late: u64,
    /// Replies beyond the first to a packet.
    pub duplicates: u64,
    /// Replies that a later one has overtaken.
    pub reordered: u64,
    /// Send times that passed before anything could be sent.
    pub skipped: u64,
    /// Round trip without the reflector's residence.
    pub rtt_ns: Option<Delay>,
    /// One way there.
    pub forward_ns: Option<Delay>,
    /// One way back.
    pub backward_ns: Option<Delay>,
    /// Whether both clocks were synchronised, so that one-way delays mean something.
    pub one_way_trusted: Option<bool>,
    /// RFC 3550 jitter of the round trip.
    pub jitter_rfc3550_ns: Option<f64>,
    /// Codes of the doubts about the figures, as in docs/sender-json.md.
    pub warnings: Vec<String>,
}

/// One delay in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Delay {
    /// The smallest.
    pub min: i64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The median.
    pub p50: i64,
    /// The 99th percentile.
    pub p99: i64,
    /// The largest.
    pub max: i64,
}

impl From<Summary> for Delay {
    fn from(summary: Summary) -> Self {
        Self {
            min: summary.min.nanos(),
            mean: summary.mean,
            p50: summary.p50.nanos(),
            p99: summary.p99.nanos(),
            max: summary.max.nanos(),
        }
    }
}

impl From<&Outcome> for Figures {
    fn from(outcome: &Outcome) -> Self {
        let counts = &outcome.counts;
        let codes = outcome.warnings.iter().map(Warning::code);
        Self {
            target_address: outcome.address.to_string(),
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost(),
            loss_ratio: counts.loss_ratio(),
            loss_run_max: counts.loss_run_max,
            lost_forward: outcome.directions.map(|directions| directions.forward),
            lost_backward: outcome.directions.map(|directions| directions.backward),
            late: counts.late,
            duplicates: counts.duplicates,
            reordered: counts.reordered,
            skipped: outcome.skipped,
            rtt_ns: outcome.round_trip.map(Delay::from),
            forward_ns: outcome.forward.map(Delay::from),
            backward_ns: outcome.backward.map(Delay::from),
            one_way_trusted: outcome.one_way_trusted(),
            jitter_rfc3550_ns: outcome.jitter,
            warnings: codes.map(str::to_owned).collect(),
        }
    }
}

impl Entry {
    /// The lines about it: one for the test, one for each threshold that it crossed or that
    /// recovered, with line feeds. Names take `width` columns.
    pub fn lines(&self, width: usize) -> String {
        let head = format!("{} {:width$}", self.end, self.test);
        let mut text = format!("{head}  {}\n", self.summary());
        for state in self.thresholds.iter().filter(|state| state.changed) {
            let what = match &state.problem {
                Some(problem) => format!("crossed: {problem}"),
                None => format!("recovered: {} holds no longer", state.threshold),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{head}  {}", crate::cli::one_line(&what));
        }
        text
    }

    fn summary(&self) -> String {
        let mut parts = Vec::new();
        if let Some(figures) = &self.figures {
            let share = figures
                .loss_ratio
                .map(|ratio| format!(" ({})", units::percent(ratio)));
            parts.push(format!("sent {}", units::count(figures.sent)));
            let lost = units::count(figures.lost);
            parts.push(format!("lost {lost}{}", share.unwrap_or_default()));
            if let Some(rtt) = figures.rtt_ns {
                let (avg, p99) = (units::time(rtt.mean), time(rtt.p99));
                parts.push(format!("rtt avg {avg} p99 {p99}"));
            }
        }
        if self.starts_missed > 0 {
            parts.push(units::counted(
                self.starts_missed,
                "start missed",
                "starts missed",
            ));
        }
        parts.push(match &self.problem {
            Some(problem) => format!("{}: {}", self.verdict, crate::cli::one_line(problem)),
            None => self.verdict.to_string(),
        });
        parts.join("  ")
    }
}

/// A time in nanoseconds for people.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
pub fn time(nanos: i64) -> String {
    units::time(nanos as f64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::outcome::tests::sample;
    use crate::series::threshold::{Threshold, judge};

    /// The result of a test of four packets, one of them lost, that ended in that second.
    pub(in crate::series) fn entry(test: &str, second: u64) -> Entry {
        let outcome = sample();
        let end = At::from_secs(second);
        let thresholds = [
            Threshold::Limit("loss>1%".parse().unwrap()),
            Threshold::Limit("rtt.max>5ms".parse().unwrap()),
        ];
        Entry {
            series: "lab".to_owned(),
            test: test.to_owned(),
            start: end,
            end,
            starts_missed: 0,
            target: outcome.target.clone(),
            verdict: Verdict::Crossed,
            problem: None,
            figures: Some(Figures::from(&outcome)),
            thresholds: judge(&thresholds, &[], Some(&outcome), end),
        }
    }

    #[test]
    fn a_test_is_a_line_and_a_crossing_another() {
        let mut entry = entry("core", 1_000_000_000);
        assert_eq!(
            entry.lines(6),
            "2001-09-09T01:46:40Z core    sent 4  lost 1 (25.000 %)  rtt avg 2.333 ms p99 4.000 ms  \
             crossed\n\
             2001-09-09T01:46:40Z core    crossed: loss is 25.000 %, above the limit of 1 %\n"
        );
        entry.thresholds[0].problem = None;
        entry.thresholds[0].crossed = false;
        entry.verdict = Verdict::Ok;
        let lines = entry.lines(4);
        assert!(
            lines.ends_with("core  recovered: loss > 1 % holds no longer\n"),
            "{lines}"
        );
    }

    #[test]
    fn a_test_without_figures_says_why_on_its_line() {
        let mut entry = entry("core", 0);
        entry.figures = None;
        entry.thresholds.clear();
        entry.verdict = Verdict::Failed;
        entry.problem = Some("cannot resolve 'a\nb'".to_owned());
        entry.starts_missed = 2;
        let line = "1970-01-01T00:00:00Z core  2 starts missed  failed: cannot resolve 'a\\nb'\n";
        assert_eq!(entry.lines(0), line);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let entry = entry("core", 1_234_567_890);
        let text = serde_json::to_string(&entry).unwrap();
        assert!(
            text.contains("\"end\":\"2009-02-13T23:31:30.000Z\""),
            "{text}"
        );
        assert!(text.contains("\"verdict\":\"crossed\""), "{text}");
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
    }

    #[test]
    fn no_clock_is_too_wrong_for_a_time() {
        let end = At::since_epoch(Duration::MAX);
        assert_eq!(end.to_string(), "9999-12-31T23:59:59Z");
        let text = serde_json::to_string(&end).unwrap();
        assert_eq!(serde_json::from_str::<At>(&text).unwrap(), end);
    }
}
