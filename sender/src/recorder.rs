//! What is kept over time, beside the figures of the whole run: intervals, an overview for charts,
//! the last second for the live view, each packet for a file. Only what was asked for.

use std::fs::File;
use std::io::BufWriter;
use std::time::Duration;

use wire::time::{Nanos, Utc};

use crate::measure::Verdict;
use crate::measure::delay::{Delays, ReflectorTimes};
use crate::measure::header::HeaderFields;
use crate::measure::interval::{Interval, Intervals};
use crate::measure::overview::Overview;
use crate::measure::recent::Recent;
use crate::report::csv::{PacketCsv, PacketEvent, PacketRow};
use crate::report::sink::OutputError;

/// A valid reply, as the recorder wants to know of it.
#[derive(Debug, Clone, Copy)]
pub struct ReplyRecord {
    /// What it is to its probe.
    pub verdict: Verdict,
    /// Session of the run.
    pub session: usize,
    /// Sequence number of the probe, as on the wire.
    pub sequence: u32,
    /// When the probe should have left, if that is remembered.
    pub intended: Option<Utc>,
    /// The reflector's own number; `None` in an echo.
    pub reflector: Option<u32>,
    /// T1, corrected where that is possible.
    pub t1: Utc,
    /// T2 and T3, if the reply carries them.
    pub times: Option<ReflectorTimes>,
    /// T4.
    pub t4: Utc,
    /// What they amount to.
    pub delays: Delays,
    /// The delay variations that this reply completes: to the probe before, and of the one after.
    pub ipdv: [Option<Nanos>; 2],
    /// A later probe's reply overtook it.
    pub reordered: bool,
    /// What the IP headers tell.
    pub headers: HeaderFields,
}

/// A probe whose fate is settled, as the recorder wants to know of it.
#[derive(Debug, Clone, Copy)]
pub struct ClosedRecord {
    /// Session of the run.
    pub session: usize,
    /// Its sequence number, as on the wire.
    pub sequence: u32,
    /// When it should have left, if that is remembered.
    pub intended: Option<Utc>,
    /// T1.
    pub t1: Utc,
    /// Whether it was answered in time; else it is lost.
    pub on_time: bool,
}

/// What a recorder keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Figures per interval, and how long one is.
    pub intervals: Option<Duration>,
    /// An overview, and of how many sessions.
    pub overview: Option<usize>,
}

/// Keeps what happens over time.
#[derive(Debug, Default)]
pub struct Recorder {
    /// What to keep.
    wanted: Wanted,
    /// When the run began.
    origin: Option<Utc>,
    /// T1 of the last probe whose fate is settled.
    last_sent: Option<Utc>,
    /// Figures per interval.
    intervals: Option<Intervals>,
    /// The run in bounded memory.
    overview: Option<Overview>,
    /// The last second.
    pub recent: Option<Recent>,
    /// Each packet.
    pub packets: Option<PacketFile>,
    /// Per worker: the fate of everything sent before is settled; `None` when it sends no more and
    /// all is settled.
    settled: Vec<Option<Utc>>,
}

impl Recorder {
    /// A recorder that keeps what is wanted from [`Recorder::begin`] on.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// The run begins now, at `origin`, with this many workers.
    pub fn begin(&mut self, origin: Utc, workers: usize) {
        self.origin = Some(origin);
        self.settled = vec![Some(Utc::from_nanos(i64::MIN)); workers];
        let Wanted {
            intervals,
            overview,
        } = self.wanted;
        self.intervals = intervals.map(|width| Intervals::new(width, origin));
        self.overview = overview.map(|sessions| Overview::new(origin, sessions));
    }

    /// When the run began; `None` if it did not.
    pub fn origin(&self) -> Option<Utc> {
        self.origin
    }

    /// Whether there is nothing to record.
    pub fn is_idle(&self) -> bool {
        self.wanted == Wanted::default() && self.recent.is_none() && self.packets.is_none()
    }

    /// Takes a valid reply.
    pub fn reply(&mut self, reply: &ReplyRecord) {
        let round_trip = reply.delays.round_trip;
        if let Some(intervals) = &mut self.intervals {
            match reply.verdict {
                Verdict::Received { .. } => {
                    let split = reply.delays.split;
                    let forward = split.map(|split| split.forward);
                    let backward = split.map(|split| split.backward);
                    intervals.received(reply.t1, round_trip, forward, backward);
                    for difference in reply.ipdv.into_iter().flatten() {
                        intervals.ipdv(reply.t1, difference);
                    }
                    if reply.reordered {
                        intervals.reordered(reply.t1);
                    }
                }
                Verdict::Late => intervals.late(reply.t1),
                Verdict::Duplicate => intervals.duplicate(reply.t1),
            }
        }
        if let Some(packets) = &mut self.packets {
            packets.write(&reply_row(reply));
        }
        if matches!(reply.verdict, Verdict::Received { .. }) {
            if let Some(overview) = &mut self.overview {
                overview.received(reply.t1, round_trip);
            }
            if let Some(recent) = &mut self.recent {
                recent.record(round_trip);
            }
        }
    }

    /// Takes a probe whose fate is settled.
    pub fn closed(&mut self, closed: &ClosedRecord) {
        self.last_sent = self.last_sent.max(Some(closed.t1));
        if let Some(intervals) = &mut self.intervals {
            intervals.sent(closed.t1);
            if !closed.on_time {
                intervals.lost(closed.t1);
            }
        }
        if let Some(overview) = &mut self.overview {
            overview.sent(closed.t1, closed.session);
            if !closed.on_time {
                overview.lost(closed.t1, closed.session);
            }
        }
        if let Some(packets) = &mut self.packets
            && !closed.on_time
        {
            packets.write(&lost_row(closed));
        }
    }

    /// Notes that the fate of all that `worker` sent before `until` is settled.
    pub fn settle(&mut self, worker: usize, until: Utc) {
        if let Some(settled) = self.settled.get_mut(worker) {
            *settled = Some(until);
        }
    }

    /// Notes that `worker` sends no more and that the fate of all it sent is settled: intervals need
    /// not wait for it.
    pub fn retire(&mut self, worker: usize) {
        if let Some(settled) = self.settled.get_mut(worker) {
            *settled = None;
        }
    }

    /// The intervals left at the end of a run, the last of which ends where the next probe would have
    /// been due: `pause` after the last.
    pub fn last_intervals(&mut self, pause: Duration) -> Vec<Interval> {
        // A nanosecond at least, so that the last probe is within.
        let pause = i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX).max(1);
        let last = self.last_sent.or(self.origin);
        match (self.intervals.take(), last) {
            (Some(intervals), Some(last)) => intervals.finish(last + Nanos::from_nanos(pause)),
            _ => Vec::new(),
        }
    }

    /// The overview of the run.
    pub fn take_overview(&mut self) -> Option<Overview> {
        self.overview.take()
    }

    /// The intervals that are complete since the last call.
    pub fn complete_intervals(&mut self) -> Vec<Interval> {
        // When all workers are done, the end of the run tells where the last interval ends.
        let until = self.settled.iter().flatten().min().copied();
        match (&mut self.intervals, until) {
            (Some(intervals), Some(until)) => intervals.close_before(until),
            _ => Vec::new(),
        }
    }
}

/// A file of packets, and why it is not whole, if it is not.
#[derive(Debug)]
pub struct PacketFile {
    csv: PacketCsv<BufWriter<File>>,
    failure: Option<OutputError>,
}

impl PacketFile {
    /// Writes to `csv`.
    pub fn new(csv: PacketCsv<BufWriter<File>>) -> Self {
        Self { csv, failure: None }
    }

    fn write(&mut self, row: &PacketRow) {
        if let Err(error) = self.csv.write(row) {
            self.failure.get_or_insert(error);
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// The system did not take it all.
    pub fn finish(self) -> Result<(), OutputError> {
        let finished = self.csv.finish();
        self.failure.map_or(finished, Err)
    }
}

fn reply_row(reply: &ReplyRecord) -> PacketRow {
    let split = reply.delays.split;
    PacketRow {
        event: match reply.verdict {
            Verdict::Received { .. } => PacketEvent::Received,
            Verdict::Late => PacketEvent::Late,
            Verdict::Duplicate => PacketEvent::Duplicate,
        },
        session: u32::try_from(reply.session).unwrap_or(u32::MAX),
        sequence: reply.sequence,
        reflector_sequence: reply.reflector,
        t1: reply.t1,
        intended_send: reply.intended,
        t2: reply.times.map(|times| times.receive),
        t3: reply.times.map(|times| times.transmit),
        t4: Some(reply.t4),
        round_trip: Some(reply.delays.round_trip),
        forward: split.map(|split| split.forward),
        backward: split.map(|split| split.backward),
        residence: split.map(|split| split.residence),
        ttl: reply.headers.ttl,
        tos: reply.headers.tos,
    }
}

fn lost_row(closed: &ClosedRecord) -> PacketRow {
    let session = u32::try_from(closed.session).unwrap_or(u32::MAX);
    PacketRow::lost(session, closed.sequence, closed.t1, closed.intended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_do_not_wait_for_a_worker_that_is_done() {
        let at = |seconds: i64| Utc::from_nanos(seconds * 1_000_000_000);
        let mut recorder = Recorder::new(Wanted {
            intervals: Some(Duration::from_secs(1)),
            overview: None,
        });
        recorder.begin(at(0), 2);
        recorder.settle(0, at(3));
        assert_eq!(recorder.complete_intervals().len(), 0, "worker 1 lags");
        recorder.retire(1);
        assert_eq!(recorder.complete_intervals().len(), 3);
        recorder.retire(0);
        assert_eq!(recorder.complete_intervals().len(), 0);
        recorder.closed(&ClosedRecord {
            t1: at(4),
            session: 0,
            sequence: 7,
            intended: None,
            on_time: true,
        });
        let last = recorder.last_intervals(Duration::from_millis(250));
        let shape: Vec<_> = last.iter().map(|i| (i.sent, i.width)).collect();
        let (second, rest) = (Duration::from_secs(1), Duration::from_millis(250));
        assert_eq!(shape, [(0, second), (1, rest)]);
    }
}
