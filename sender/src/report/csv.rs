//! Comma-separated values for other tools (RFC 4180, first line with names): one row for each
//! interval, or one for each packet.
//!
//! The two have different columns and so are different files, `--csv-intervals FILE` and
//! `--csv-packets FILE`. All times are in nanoseconds; what is unknown is an empty field.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};
use wire::time::{Nanos, Utc};

use super::sink::{self, OutputError, Sink};
use crate::measure::distribution::Distribution;
use crate::measure::interval::Interval;

const INTERVALS: &str = "intervals";
const PACKETS: &str = "packets";

/// Writes a row for each interval and hands it on at once, so that the file can be followed.
#[derive(Debug)]
pub struct IntervalCsv<W: Write> {
    sink: Sink<Rows<W>>,
    origin: Utc,
}

/// Writes a row for each packet whose fate is known, some thousand at a time.
#[derive(Debug)]
pub struct PacketCsv<W: Write> {
    sink: Sink<Rows<W>>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PacketEvent {
    /// A reply in time.
    Received,
    /// A reply after the timeout. The packet has a row as lost as well.
    Late,
    /// A further reply.
    Duplicate,
    /// No reply within the timeout.
    Lost,
}

/// A row of [`PacketCsv`]; the fields are the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PacketRow {
    /// What became of the packet.
    pub event: PacketEvent,
    /// Session, from 0.
    pub session: u32,
    /// Sequence number of the probe.
    pub sequence: u32,
    /// The reflector's own sequence number.
    pub reflector_sequence: Option<u32>,
    /// T1, since 1970 in UTC.
    #[serde(rename = "t1_ns", serialize_with = "utc")]
    pub t1: Utc,
    /// When the schedule wanted the probe sent.
    #[serde(rename = "intended_send_ns", serialize_with = "maybe_utc")]
    pub intended_send: Option<Utc>,
    /// T2 since 1970, in the reflector's scale.
    #[serde(rename = "t2_ns")]
    pub t2: Option<i64>,
    /// T3 since 1970, in the reflector's scale.
    #[serde(rename = "t3_ns")]
    pub t3: Option<i64>,
    /// T4, since 1970 in UTC.
    #[serde(rename = "t4_ns", serialize_with = "maybe_utc")]
    pub t4: Option<Utc>,
    /// Round-trip time without residence.
    #[serde(rename = "rtt_ns", serialize_with = "span")]
    pub round_trip: Option<Nanos>,
    /// T2 - T1.
    #[serde(rename = "forward_ns", serialize_with = "span")]
    pub forward: Option<Nanos>,
    /// T4 - T3.
    #[serde(rename = "backward_ns", serialize_with = "span")]
    pub backward: Option<Nanos>,
    /// T3 - T2.
    #[serde(rename = "residence_ns", serialize_with = "span")]
    pub residence: Option<Nanos>,
    /// TTL or hop limit of the reply as it arrived.
    pub ttl: Option<u8>,
    /// TOS octet or traffic class of the reply as it arrived.
    pub tos: Option<u8>,
}

impl PacketRow {
    /// The row of a probe that nothing came back for.
    #[must_use]
    pub const fn lost(session: u32, sequence: u32, t1: Utc, intended_send: Option<Utc>) -> Self {
        Self {
            event: PacketEvent::Lost,
            session,
            sequence,
            reflector_sequence: None,
            t1,
            intended_send,
            t2: None,
            t3: None,
            t4: None,
            round_trip: None,
            forward: None,
            backward: None,
            residence: None,
            ttl: None,
            tos: None,
        }
    }
}

/// A row of [`IntervalCsv`].
#[derive(Debug, Serialize)]
struct IntervalRow {
    index: u64,
    start_ns: i64,
    width_ns: u64,
    sent: u64,
    received: u64,
    lost: u64,
    loss_ratio: Option<f64>,
    late: u64,
    duplicates: u64,
    reordered: u64,
    carried: u64,
    rtt_min_ns: Option<i64>,
    rtt_mean_ns: Option<f64>,
    rtt_p50_ns: Option<i64>,
    rtt_p90_ns: Option<i64>,
    rtt_p95_ns: Option<i64>,
    rtt_p99_ns: Option<i64>,
    rtt_p999_ns: Option<i64>,
    rtt_max_ns: Option<i64>,
    pdv_p95_ns: Option<i64>,
    pdv_p99_ns: Option<i64>,
    pdv_p999_ns: Option<i64>,
    forward_min_ns: Option<i64>,
    forward_mean_ns: Option<f64>,
    forward_p50_ns: Option<i64>,
    forward_p99_ns: Option<i64>,
    forward_max_ns: Option<i64>,
    backward_min_ns: Option<i64>,
    backward_mean_ns: Option<f64>,
    backward_p50_ns: Option<i64>,
    backward_p99_ns: Option<i64>,
    backward_max_ns: Option<i64>,
    ipdv_min_ns: Option<i64>,
    ipdv_p50_ns: Option<i64>,
    ipdv_p99_ns: Option<i64>,
    ipdv_max_ns: Option<i64>,
}

impl<W: Write> IntervalCsv<W> {
    /// Writes to `writer`, which errors call `name`.
    pub fn new(writer: W, name: String, origin: Utc) -> Self {
        Self {
            sink: Sink::new(INTERVALS, name, Rows::new(writer)),
            origin,
        }
    }

    /// Writes the row of `interval`.
    ///
    /// # Errors
    ///
    /// The system does not take it. Later rows are dropped without another error.
    pub fn write(&mut self, interval: &Interval) -> Result<(), OutputError> {
        if self.sink.failed() {
            return Ok(());
        }
        let row = IntervalRow::new(interval, self.origin);
        self.sink.attempt(|rows| {
            rows.write(&row)?;
            rows.flush()
        })
    }
}

impl PacketCsv<BufWriter<File>> {
    /// Opens the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let (file, name) = sink::create(PACKETS, path)?;
        Ok(Self::new(file, name))
    }
}

impl<W: Write> PacketCsv<W> {
    /// Writes to `writer`, which errors call `name`.
    pub fn new(writer: W, name: String) -> Self {
        Self {
            sink: Sink::new(PACKETS, name, Rows::new(writer)),
        }
    }

    /// Writes a row.
    ///
    /// # Errors
    ///
    /// The system did not take the rows gathered so far. Later rows are dropped without another
    /// error.
    pub fn write(&mut self, row: &PacketRow) -> Result<(), OutputError> {
        self.sink.attempt(|rows| rows.write(row))
    }

    /// Hands the last rows on.
    ///
    /// # Errors
    ///
    /// The system does not take them.
    pub fn finish(mut self) -> Result<(), OutputError> {
        self.sink.attempt(Rows::flush)
    }
}

/// A CSV writer whose errors are those of the system.
struct Rows<W: Write>(csv::Writer<W>);

impl<W: Write> std::fmt::Debug for Rows<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl<W: Write> Rows<W> {
    fn new(writer: W) -> Self {
        Self(csv::Writer::from_writer(writer))
    }

    fn write(&mut self, row: &impl Serialize) -> io::Result<()> {
        self.0
            .serialize(row)
            .map_err(|error| match error.into_kind() {
                csv::ErrorKind::Io(error) => error,
                other => io::Error::other(format!("{other:?}")),
            })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl IntervalRow {
    fn new(interval: &Interval, origin: Utc) -> Self {
        let rtt = interval.round_trip.summary();
        let pdv = rtt.map(|rtt| rtt.pdv());
        let [forward, backward, ipdv] =
            [&interval.forward, &interval.backward, &interval.ipdv].map(Distribution::summary);
        let start = origin
            .nanos()
            .saturating_add_unsigned(whole(interval.start));
        Self {
            index: interval.index,
            start_ns: start,
            width_ns: whole(interval.width),
            sent: interval.sent,
            received: interval.received,
            lost: interval.lost,
            loss_ratio: interval.loss_ratio(),
            late: interval.late,
            duplicates: interval.duplicates,
            reordered: interval.reordered,
            carried: interval.carried,
            rtt_min_ns: rtt.map(|s| s.min.nanos()),
            rtt_mean_ns: rtt.map(|s| tenths(s.mean)),
            rtt_p50_ns: rtt.map(|s| s.p50.nanos()),
            rtt_p90_ns: rtt.map(|s| s.p90.nanos()),
            rtt_p95_ns: rtt.map(|s| s.p95.nanos()),
            rtt_p99_ns: rtt.map(|s| s.p99.nanos()),
            rtt_p999_ns: rtt.map(|s| s.p999.nanos()),
            rtt_max_ns: rtt.map(|s| s.max.nanos()),
            pdv_p95_ns: pdv.map(|p| p.p95.nanos()),
            pdv_p99_ns: pdv.map(|p| p.p99.nanos()),
            pdv_p999_ns: pdv.map(|p| p.p999.nanos()),
            forward_min_ns: forward.map(|s| s.min.nanos()),
            forward_mean_ns: forward.map(|s| tenths(s.mean)),
            forward_p50_ns: forward.map(|s| s.p50.nanos()),
            forward_p99_ns: forward.map(|s| s.p99.nanos()),
            forward_max_ns: forward.map(|s| s.max.nanos()),
            backward_min_ns: backward.map(|s| s.min.nanos()),
            backward_mean_ns: backward.map(|s| tenths(s.mean)),
            backward_p50_ns: backward.map(|s| s.p50.nanos()),
            backward_p99_ns: backward.map(|s| s.p99.nanos()),
            backward_max_ns: backward.map(|s| s.max.nanos()),
            ipdv_min_ns: ipdv.map(|s| s.min.nanos()),
            ipdv_p50_ns: ipdv.map(|s| s.p50.nanos()),
            ipdv_p99_ns: ipdv.map(|s| s.p99.nanos()),
            ipdv_max_ns: ipdv.map(|s| s.max.nanos()),
        }
    }
}

/// No more digits than a mean of nanoseconds has meaning.
fn tenths(mean: f64) -> f64 {
    (mean * 10.0).round() / 10.0
}

fn whole(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn utc<S: Serializer>(at: &Utc, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(at.nanos())
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn maybe_utc<S: Serializer>(at: &Option<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(Utc::nanos).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn span<S: Serializer>(span: &Option<Nanos>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(Nanos::nanos).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::interval::Intervals;

    const ORIGIN: Utc = Utc::from_nanos(1_700_000_000_000_000_000);

    fn lost() -> PacketRow {
        PacketRow {
            event: PacketEvent::Lost,
            session: 3,
            sequence: 4_294_967_295,
            reflector_sequence: None,
            t1: ORIGIN,
            intended_send: None,
            t2: None,
            t3: None,
            t4: None,
            round_trip: None,
            forward: None,
            backward: None,
            residence: None,
            ttl: None,
            tos: None,
        }
    }

    #[test]
    fn a_packet_is_a_row_and_what_is_unknown_an_empty_field() {
        let received = PacketRow {
            event: PacketEvent::Received,
            session: 0,
            sequence: 7,
            reflector_sequence: Some(6),
            intended_send: Some(ORIGIN + Nanos::from_nanos(-5)),
            t2: Some(1_700_000_036_999_999_990),
            t3: Some(1_700_000_036_999_999_995),
            t4: Some(ORIGIN + Nanos::from_nanos(100)),
            round_trip: Some(Nanos::from_nanos(95)),
            forward: Some(Nanos::from_nanos(-10)),
            backward: Some(Nanos::from_nanos(105)),
            residence: Some(Nanos::from_nanos(5)),
            ttl: Some(63),
            tos: Some(184),
            ..lost()
        };
        let mut out = Vec::new();
        let mut csv = PacketCsv::new(&mut out, "out".to_owned());
        csv.write(&received).unwrap();
        csv.write(&lost()).unwrap();
        csv.finish().unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "event,session,sequence,reflector_sequence,t1_ns,intended_send_ns,t2_ns,t3_ns,t4_ns,\
             rtt_ns,forward_ns,backward_ns,residence_ns,ttl,tos\n\
             received,0,7,6,1700000000000000000,1699999999999999995,1700000036999999990,\
             1700000036999999995,1700000000000000100,95,-10,105,5,63,184\n\
             lost,3,4294967295,,1700000000000000000,,,,,,,,,,\n"
        );
    }

    #[test]
    fn an_interval_is_a_row_with_every_column_where_it_belongs() {
        let mut intervals = Intervals::new(Duration::from_secs(1), ORIGIN);
        for i in 0..4 {
            let t1 = ORIGIN + Nanos::from_nanos(1_000_000_000 + i);
            intervals.sent(t1);
            if i == 3 {
                intervals.lost(t1);
                continue;
            }
            let (forward, backward) = (Nanos::from_nanos(-7 - i), Nanos::from_nanos(60 + i));
            intervals.received(
                t1,
                Nanos::from_nanos(100 * i),
                Some(forward),
                Some(backward),
            );
            intervals.ipdv(t1, Nanos::from_nanos(-i));
        }
        let mut out = Vec::new();
        let mut csv = IntervalCsv::new(&mut out, "out".to_owned(), ORIGIN);
        for interval in intervals.finish(ORIGIN + Nanos::from_nanos(2_000_000_000)) {
            csv.write(&interval).unwrap();
        }
        drop(csv);
        let mut reader = csv::Reader::from_reader(out.as_slice());
        let names = reader.headers().unwrap().clone();
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        let field = |row: usize, name: &str| {
            let column = names.iter().position(|column| column == name).unwrap();
            rows[row][column].to_owned()
        };
        assert_eq!(field(0, "sent"), "0");
        assert_eq!(field(0, "loss_ratio"), "");
        assert_eq!(field(0, "rtt_p50_ns"), "");
        for (name, value) in [
            ("index", "1"),
            ("start_ns", "1700000001000000000"),
            ("width_ns", "1000000000"),
            ("sent", "4"),
            ("received", "3"),
            ("lost", "1"),
            ("loss_ratio", "0.25"),
            ("rtt_min_ns", "0"),
            ("rtt_mean_ns", "100.0"),
            ("rtt_p50_ns", "100"),
            ("rtt_max_ns", "200"),
            ("pdv_p99_ns", "200"),
            ("forward_min_ns", "-9"),
            ("forward_max_ns", "-7"),
            ("backward_p50_ns", "61"),
            ("backward_mean_ns", "61.0"),
            ("ipdv_min_ns", "-2"),
            ("ipdv_p50_ns", "-1"),
        ] {
            assert_eq!(field(1, name), value, "{name}");
        }
    }

    #[test]
    fn a_full_disk_is_told_once_in_one_sentence() {
        let full = Path::new("/dev/full");
        let mut intervals =
            IntervalCsv::new(File::create(full).unwrap(), "/dev/full".to_owned(), ORIGIN);
        let closed = Intervals::new(Duration::from_secs(1), ORIGIN)
            .finish(ORIGIN + Nanos::from_nanos(1_000_000_000));
        let error = intervals.write(&closed[0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write intervals to /dev/full: No space left on device (os error 28)"
        );
        intervals.write(&closed[0]).unwrap();

        let mut packets = PacketCsv::create(full).unwrap();
        let errors = (0..20_000).filter(|_| packets.write(&lost()).is_err());
        assert_eq!(errors.count(), 1);
        packets.finish().unwrap();

        let mut packets = PacketCsv::create(full).unwrap();
        packets.write(&lost()).unwrap();
        assert!(packets.finish().is_err(), "the last rows as well");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_told_at_once() {
        let error = PacketCsv::create(Path::new("/no/such/folder/out.csv")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write packets to /no/such/folder/out.csv: No such file or directory (os error 2)"
        );
    }
}
