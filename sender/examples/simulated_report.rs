//! Writes all outputs of a simulated run into a folder, to look at them without a network:
//!
//! ```text
//! cargo run -p sender --example simulated_report -- FOLDER
//! ```
//!
//! Ten minutes at 1 000 packets/s in eight sessions, over a path whose delay grows in two queues,
//! one short and frequent, one long and rare, with an outage of 4 s, some single losses and one
//! session that loses more than the others.

use std::error::Error;
use std::f64::consts::TAU;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::Duration;

use sender::measure::distribution::Distribution;
use sender::measure::interval::Intervals;
use sender::measure::overview::Overview;
use sender::report::csv::{IntervalCsv, PacketCsv, PacketEvent, PacketRow};
use sender::report::hdr_log::HdrLog;
use sender::report::html::{self, Page, Table, Tile, Trust};
use sender::report::units;
use wire::time::{Nanos, Utc};

const ORIGIN: Utc = Utc::from_nanos(1_790_000_000_000_000_000);
const PACKETS: u32 = 600_000;
const SESSIONS: u32 = 8;

/// The reflector's clock runs this far behind ours.
const OFFSET: i64 = -1_870_000;

/// A small generator, so that every run is the same.
struct Random(u64);

impl Random {
    /// Evenly from 0 to 1.
    fn even(&mut self) -> f64 {
        // Xorshift of 64 bits (Marsaglia 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.even().max(1e-12).ln()
    }
}

/// Delays of one packet in nanoseconds: there, in the reflector, and back.
struct Path {
    forward: i64,
    residence: i64,
    backward: i64,
}

fn path(random: &mut Random, second: f64) -> Path {
    // A queue that fills for some seconds every minute and a half.
    let busy = (second / 95.0 * TAU).sin().max(0.0).powi(6);
    let short = random.exponential(9_000.0 + 60_000.0 * busy);
    let long = if random.even() < 0.012 + 0.05 * busy {
        260_000.0 + random.exponential(120_000.0)
    } else {
        0.0
    };
    let back = random.exponential(6_000.0);
    #[expect(clippy::cast_possible_truncation, reason = "far below 2^63")]
    let whole = |nanos: f64| nanos.round() as i64;
    Path {
        forward: whole(152_000.0 + short + long),
        residence: whole(1_800.0 + random.exponential(700.0)),
        backward: whole(148_000.0 + back),
    }
}

/// Everything the outputs are made from.
struct Run {
    intervals: Intervals,
    overview: Overview,
    round_trip: Distribution,
    forward: Distribution,
    backward: Distribution,
    residence: Distribution,
    ipdv: Distribution,
    lost: u32,
    per_session: Vec<(Distribution, u32)>,
}

fn simulate(packets: &mut PacketCsv<impl std::io::Write>) -> Result<Run, Box<dyn Error>> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut run = Run {
        intervals: Intervals::new(Duration::from_secs(1), ORIGIN),
        overview: Overview::new(ORIGIN, SESSIONS as usize),
        round_trip: Distribution::default(),
        forward: Distribution::default(),
        backward: Distribution::default(),
        residence: Distribution::default(),
        ipdv: Distribution::default(),
        lost: 0,
        per_session: (0..SESSIONS).map(|_| (Distribution::coarse(), 0)).collect(),
    };
    let mut previous = vec![None; SESSIONS as usize];
    for number in 0..PACKETS {
        let t1 = ORIGIN + Nanos::from_nanos(i64::from(number) * 1_000_000);
        let second = f64::from(number) / 1_000.0;
        let session = number % SESSIONS;
        let index = session as usize;
        run.intervals.sent(t1);
        run.overview.sent(t1, index);
        let outage = (372.0..376.0).contains(&second);
        let share = if session == 5 { 0.0015 } else { 0.000_04 };
        let path = path(&mut random, second);
        let mut row = PacketRow::lost(session, number / SESSIONS, t1, Some(t1));
        if outage || random.even() < share {
            run.lost += 1;
            run.per_session[index].1 += 1;
            run.intervals.lost(t1);
            run.overview.lost(t1, index);
            previous[index] = None;
            packets.write(&row)?;
            continue;
        }
        let [round_trip, forward, backward, residence] = [
            path.forward + path.backward,
            path.forward + OFFSET,
            path.backward - OFFSET,
            path.residence,
        ]
        .map(Nanos::from_nanos);
        run.intervals
            .received(t1, round_trip, Some(forward), Some(backward));
        run.overview.received(t1, round_trip);
        run.round_trip.record(round_trip);
        run.forward.record(forward);
        run.backward.record(backward);
        run.residence.record(residence);
        run.per_session[index].0.record(round_trip);
        if let Some(before) = previous[index].replace(round_trip) {
            run.ipdv.record(round_trip - before);
            run.intervals.ipdv(t1, round_trip - before);
        }
        row.event = PacketEvent::Received;
        row.t2 = Some((t1 + forward).nanos());
        row.t3 = Some((t1 + forward + residence).nanos());
        row.t4 = Some(t1 + round_trip + residence);
        row.round_trip = Some(round_trip);
        row.forward = Some(forward);
        row.backward = Some(backward);
        row.residence = Some(residence);
        packets.write(&row)?;
    }
    Ok(run)
}

fn tile(name: &str, value: String, note: &str) -> Tile {
    Tile {
        name: name.to_owned(),
        value,
        note: note.to_owned(),
        alarming: false,
    }
}

fn own(texts: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = texts.iter().map(|&(a, b)| (a.to_owned(), b.to_owned()));
    owned.collect()
}

fn conditions() -> Vec<(String, String)> {
    own(&[
        (
            "Command",
            "sender reflector.example --rate 1000 --count 600000 --sessions 8 --size 128 --dscp ef --report out.html",
        ),
        ("Target", "reflector.example (192.0.2.1:862)"),
        ("Source", "192.0.2.9:40000 to 40007"),
        ("Transport", "AF_XDP on eth1, copy mode, 2 queues"),
        ("Schedule", "periodic, 1 000/s"),
        ("Packet", "128 octets of UDP payload, DSCP 46 (EF), TTL 255"),
        ("Timeout", "2 s"),
        ("Started", "2026-09-21 14:13:20 UTC"),
        ("Ended", "2026-09-21 14:23:22 UTC"),
        ("Machine", "lab-7, Linux 6.12.9, 8 x Example CPU 3.2 GHz"),
        ("Version", "sender 0.1.0"),
    ])
}

fn page(run: &Run) -> Option<Page<'_>> {
    let summary = run.round_trip.summary()?;
    let ipdv = run.ipdv.summary()?;
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let time = |nanos: Nanos| units::time(nanos.nanos() as f64);
    let lost = units::percent(f64::from(run.lost) / f64::from(PACKETS));
    let sessions = run.per_session.iter().enumerate();
    let sessions = sessions.filter_map(|(number, (delays, lost))| {
        let summary = delays.summary()?;
        Some(vec![
            format!("{number}   192.0.2.9:{}", 40_000 + number),
            units::count(summary.count + u64::from(*lost)),
            units::count(u64::from(*lost)),
            time(summary.min),
            time(summary.p50),
            time(summary.p99),
            time(summary.max),
        ])
    });
    Some(Page {
        title: "Round trip to reflector.example (192.0.2.1:862)".to_owned(),
        subtitle: "Simulated: 10 min from 2026-09-21 14:13:20 UTC, 1 000 packets/s".to_owned(),
        tiles: vec![
            Tile {
                alarming: true,
                ..tile(
                    "Lost",
                    lost.clone(),
                    &format!("{} packets", units::count(run.lost.into())),
                )
            },
            tile(
                "RTT p50",
                time(summary.p50),
                &format!("min {}", time(summary.min)),
            ),
            tile(
                "RTT p99",
                time(summary.p99),
                &format!("p99.9 {}", time(summary.p999)),
            ),
            tile("RTT max", time(summary.max), "of 596 000 replies"),
            tile("PDV p99", time(summary.pdv().p99), "RTT above its minimum"),
            tile("IPDV p95", time(ipdv.p95), "consecutive probes"),
        ],
        warnings: vec![
            "The clocks are not synchronised: one-way delays contain the offset between them."
                .to_owned(),
            "12 packets were sent more than 50 µs late.".to_owned(),
        ],
        conditions: conditions(),
        counts: vec![
            (
                "sent".to_owned(),
                units::count(PACKETS.into()),
                String::new(),
            ),
            (
                "received".to_owned(),
                units::count(summary.count),
                String::new(),
            ),
            ("lost".to_owned(), units::count(run.lost.into()), lost),
            ("duplicates".to_owned(), "0".to_owned(), String::new()),
            ("reordered".to_owned(), "0".to_owned(), String::new()),
            (
                "late".to_owned(),
                "0".to_owned(),
                "after 2 s, also counted as lost".to_owned(),
            ),
        ],
        facts: own(&[
            ("Jitter", "14.21 µs (RFC 3550, of the round trip)"),
            ("Rate", "1 000/s asked, 1 000/s achieved"),
            ("T4", "all by the kernel"),
            ("Clock here", "synchronised, error up to 250.0 µs"),
            ("Clock there", "not synchronised"),
        ]),
        overview: &run.overview,
        round_trip: &run.round_trip,
        forward: &run.forward,
        backward: &run.backward,
        residence: &run.residence,
        ipdv: &run.ipdv,
        one_way: Trust::Untrusted("The reflector's Error Estimate has no S bit.".to_owned()),
        sessions: Some(Table {
            head: ["session", "sent", "lost", "min", "p50", "p99", "max"]
                .map(str::to_owned)
                .to_vec(),
            rows: sessions.collect(),
            note: String::new(),
        }),
        made_by: "the example simulated_report".to_owned(),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("which folder?")?);
    fs::create_dir_all(&folder)?;
    let mut packets = PacketCsv::create(&folder.join("packets.csv"))?;
    let run = simulate(&mut packets)?;
    packets.finish()?;
    let page = page(&run).ok_or("nothing was measured")?;
    fs::write(folder.join("report.html"), html::render(&page))?;
    let mut csv = IntervalCsv::new(
        File::create(folder.join("intervals.csv"))?,
        "intervals.csv".to_owned(),
        ORIGIN,
    );
    let mut log = HdrLog::new(
        BufWriter::new(File::create(folder.join("rtt.hlog"))?),
        "rtt.hlog".to_owned(),
        ORIGIN,
        "simulated_report",
    )?;
    let end = ORIGIN + Nanos::from_nanos(i64::from(PACKETS) * 1_000_000);
    for interval in run.intervals.finish(end) {
        csv.write(&interval)?;
        log.write(&interval)?;
    }
    Ok(())
}
