//! The intervals of a run as an `HdrHistogram` V2 interval log, which the standard tools read
//! (`HistogramLogProcessor`, `HistogramLogAnalyzer` and the readers of most languages).
//!
//! Three metrics, told apart by tags: `rtt`, `forward` and `backward`, in nanoseconds. HDR
//! histograms hold nothing below zero, and one-way delays between clocks that differ can be: such
//! samples are left out, and a comment before the line says how many.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use wire::time::Utc;

use super::sink::{OutputError, Sink};
use crate::measure::distribution::Distribution;
use crate::measure::interval::Interval;

const WHAT: &str = "the histogram log";

/// Writes a line for each interval and metric.
#[derive(Debug)]
pub struct HdrLog<W: Write> {
    sink: Sink<W>,
    serializer: Serializer,
}

/// Keeps its buffers from one line to the next.
#[derive(Default)]
struct Serializer(V2DeflateSerializer);

impl std::fmt::Debug for Serializer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serializer").finish_non_exhaustive()
    }
}

impl<W: Write> HdrLog<W> {
    /// Writes the head to `writer`, which errors call `name`.
    ///
    /// # Errors
    ///
    /// The system does not take it.
    pub fn new(writer: W, name: String, origin: Utc, about: &str) -> Result<Self, OutputError> {
        let mut log = Self {
            sink: Sink::new(WHAT, name, writer),
            serializer: Serializer::default(),
        };
        let since_epoch = Duration::from_nanos(u64::try_from(origin.nanos()).unwrap_or(0));
        log.sink.attempt(|writer| {
            head(writer, UNIX_EPOCH + since_epoch, about)?;
            writer.flush()
        })?;
        Ok(log)
    }

    /// Writes the lines of `interval`: one for `rtt`, and one each for `forward` and `backward` if
    /// there were any.
    ///
    /// # Errors
    ///
    /// The system does not take it. Later lines are dropped without another error.
    pub fn write(&mut self, interval: &Interval) -> Result<(), OutputError> {
        let serializer = &mut self.serializer.0;
        self.sink.attempt(|writer| {
            for (metric, distribution) in [
                ("rtt", &interval.round_trip),
                ("forward", &interval.forward),
                ("backward", &interval.backward),
            ] {
                // An interval without replies is a line as well, or a gap in the round trip would
                // look like a gap in the log.
                if distribution.count() > 0 || metric == "rtt" {
                    line(writer, serializer, metric, distribution, interval)?;
                }
            }
            writer.flush()
        })
    }
}

fn head(writer: &mut impl Write, start: SystemTime, about: &str) -> io::Result<()> {
    // Lines end a comment.
    let about = about.replace(['\n', '\r'], " ");
    IntervalLogWriterBuilder::new()
        .add_comment(&format!("[{about}]"))
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[Values in nanoseconds]")
        .with_start_time(start)
        .with_base_time(start)
        .begin_log_with(writer, &mut V2DeflateSerializer::new())?;
    // The builder has no legend, and the Java tools expect it after the head.
    writeln!(
        writer,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )
}

/// The line of one metric, after a comment if some samples are left out.
fn line(
    writer: &mut impl Write,
    serializer: &mut V2DeflateSerializer,
    metric: &str,
    distribution: &Distribution,
    interval: &Interval,
) -> io::Result<()> {
    // The crate's writer borrows the file for its whole life. A new one for each line, without
    // settings and so without a head of its own, borrows it for as long as it is needed.
    let mut log = IntervalLogWriterBuilder::new().begin_log_with(writer, serializer)?;
    let negative = distribution.count_negative();
    if negative > 0 {
        log.write_comment(&format!(
            "[{metric} at {:.3}: {negative} negative samples left out]",
            interval.start.as_secs_f64()
        ))?;
    }
    let (start, width, tag) = (interval.start, interval.width, Tag::new(metric));
    let written = match distribution.positive() {
        Some(histogram) => log.write_histogram(&histogram, start, width, tag),
        None if negative == 0 => log.write_histogram(&nothing()?, start, width, tag),
        None => return Ok(()),
    };
    written.map_err(|error| match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
    })
}

fn nothing() -> io::Result<Histogram<u64>> {
    Histogram::new(3).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use wire::time::Nanos;

    use std::fs::File;

    use super::*;
    use crate::measure::interval::Intervals;

    const ORIGIN: Utc = Utc::from_nanos(1_700_000_000_250_000_000);

    /// 1000 round trips of 1 to 1000 µs in the first second, with a forward clock offset of
    /// -200 µs, and nothing in the next.
    fn intervals() -> Vec<Interval> {
        let mut intervals = Intervals::new(Duration::from_secs(1), ORIGIN);
        for i in 1..=1_000 {
            let t1 = ORIGIN + Nanos::from_nanos(i * 900_000);
            intervals.sent(t1);
            let delay = |nanos| Some(Nanos::from_nanos(nanos));
            let forward = delay(i * 500 - 200_000);
            intervals.received(t1, Nanos::from_nanos(i * 1_000), forward, None);
        }
        intervals.finish(ORIGIN + Nanos::from_nanos(2_000_000_000))
    }

    fn log() -> Vec<u8> {
        let mut out = Vec::new();
        let mut log = HdrLog::new(&mut out, "out".to_owned(), ORIGIN, "to a\n#test").unwrap();
        for interval in intervals() {
            log.write(&interval).unwrap();
        }
        out
    }

    #[test]
    fn the_log_holds_what_was_measured() {
        let log = log();
        let mut lines = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            match entry.unwrap() {
                LogEntry::StartTime(time) | LogEntry::BaseTime(time) => {
                    assert_eq!(time.as_millis(), 1_700_000_000_250);
                }
                LogEntry::Interval(line) => {
                    let base64 = line.encoded_histogram();
                    let mut octets = Vec::new();
                    base64::read::DecoderReader::new(
                        base64.as_bytes(),
                        &base64::engine::general_purpose::STANDARD,
                    )
                    .read_to_end(&mut octets)
                    .unwrap();
                    let histogram: Histogram<u64> = Deserializer::new()
                        .deserialize(&mut octets.as_slice())
                        .unwrap();
                    let tag = line.tag().unwrap().as_str();
                    assert_eq!(line.duration(), Duration::from_secs(1));
                    lines.push((tag, line.start_timestamp().as_secs(), histogram));
                }
            }
        }
        let [first, forward, second] = lines.as_slice() else {
            panic!("{} lines", lines.len());
        };
        assert_eq!((first.0, first.1, first.2.len()), ("rtt", 0, 1_000));
        let p99 = first.2.value_at_percentile(99.0);
        assert!(p99.abs_diff(990_000) <= 990, "{p99}");
        assert_eq!((forward.0, forward.1, forward.2.len()), ("forward", 0, 601));
        assert_eq!((second.0, second.1, second.2.len()), ("rtt", 1, 0));
    }

    #[test]
    fn the_head_is_that_of_the_standard_tools() {
        let log = String::from_utf8(log()).unwrap();
        let head: Vec<_> = log.lines().take(6).collect();
        assert_eq!(
            head,
            [
                "#[to a #test]",
                "#[Histogram log format version 1.3]",
                "#[Values in nanoseconds]",
                "#[StartTime: 1700000000.250 (seconds since epoch)]",
                "#[BaseTime: 1700000000.250 (seconds since epoch)]",
                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
                 \"Interval_Compressed_Histogram\"",
            ]
        );
        assert!(log.contains("\n#[forward at 0.000: 399 negative samples left out]\n"));
        assert!(log.contains("\nTag=rtt,0.000,1.000,1000447.000,HISTFAAA"));
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let refused = HdrLog::new(
            File::create("/dev/full").unwrap(),
            "/dev/full".to_owned(),
            ORIGIN,
            "test",
        )
        .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot write the histogram log to /dev/full: No space left on device (os error 28)"
        );
    }
}
