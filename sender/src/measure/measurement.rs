//! Everything a worker measures, fed with departures and replies.

use std::collections::TryReserveError;

use wire::error_estimate::ErrorEstimate;
use wire::time::{Nanos, Utc};

use super::counts::Counts;
use super::delay::{Delays, ReflectorTimes, Split};
use super::header::HeaderFields;
use super::session::Session;
use super::totals::Totals;
use crate::flight::{Answer, Closed, Correction, Departed, Flight, GiveUp, Ordinal, Remembered};
use crate::matching::Numbering;
use crate::recorder::{ClosedRecord, Recorder, ReplyRecord};

/// The figures of one worker: of its sessions, and of all of them together.
#[derive(Debug)]
pub struct Measurement {
    timeout: Nanos,
    /// TTL of our probes.
    ttl: u8,
    numbering: Numbering,
    flight: Flight,
    sessions: Vec<Session>,
    totals: Totals,
}

/// How a measurement is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Number of sessions, at least 1.
    pub sessions: usize,
    /// How many of them, the first ones, have a histogram of their own.
    pub histograms: usize,
    /// A reply that arrives more than this after T1 is late.
    pub timeout: Nanos,
    /// TTL or Hop Limit of our probes.
    pub ttl: u8,
    /// How the sessions are numbered in the run.
    pub numbering: Numbering,
}

/// Where T4 was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum T4Source {
    /// By our XDP program, in the driver.
    Xdp,
    /// By the kernel, as the datagram came up from the driver.
    Kernel,
    /// In user space, after the system call that fetched the datagram returned.
    UserSpace,
}

/// When and where a reply was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    /// T4.
    pub t4: Utc,
    /// Who took it.
    pub source: T4Source,
}

/// What a reply says of the reflector's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyStamps {
    /// T2 and T3, with the reflector's Error Estimate.
    Stamped(ReflectorTimes, ErrorEstimate),
    /// No T2 and T3: they are zero, or the reply is the request sent back.
    EchoOnly,
}

/// A reply to a probe that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// T4.
    pub reception: Reception,
    /// T2 and T3.
    pub stamps: ReplyStamps,
    /// The reflector's own sequence number; `None` in an echo, which has none.
    pub reflector: Option<u32>,
    /// What the IP headers tell.
    pub headers: HeaderFields,
    /// It is a STAMP packet whose Session-Sender Identifier is 0 although ours is not.
    pub ssid_missing: bool,
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// First reply to its probe, within the timeout.
    Received {
        /// Its round-trip time.
        round_trip: Nanos,
    },
    /// First reply to its probe, after the timeout.
    Late,
    /// A further reply to its probe.
    Duplicate,
}

/// How many later probes of a session are searched for one that overtook a reordered packet. An
/// extent beyond it is reported as 1, its least value.
const EXTENT_REACH: usize = 4096;

impl Measurement {
    /// A measurement on `terms` of the probes in `departed`.
    ///
    /// # Errors
    ///
    /// There is not enough memory.
    pub fn new(terms: Terms, departed: Departed) -> Result<Self, TryReserveError> {
        let mut sessions = Vec::new();
        sessions.try_reserve_exact(terms.sessions)?;
        sessions.extend((0..terms.sessions).map(|index| Session::new(index < terms.histograms)));
        Ok(Self {
            timeout: terms.timeout,
            ttl: terms.ttl,
            numbering: terms.numbering,
            flight: Flight::new(departed, terms.sessions)?,
            sessions,
            totals: Totals::default(),
        })
    }

    /// Notices what was sent since the last call.
    pub fn notice(&mut self) {
        self.flight.open();
    }

    /// Whether sending is over and everything sent has been noticed.
    pub fn sending_over(&mut self) -> bool {
        // In this order: what was announced before the end is noticed after it was seen.
        let over = self.flight.over();
        self.notice();
        over
    }

    /// The probe of `session` with this sequence number on the wire, if it is remembered, and the T1
    /// it carried.
    pub fn find(&self, session: usize, sequence: u32) -> Option<(Ordinal, Utc)> {
        self.flight.find(session, sequence)
    }

    /// Counts a datagram from the target that answers no probe in memory.
    pub fn invalid(&mut self) {
        self.totals.counts.invalid += 1;
    }

    /// Corrects T1 of a probe to the true time of departure, if `plausible` says of the T1 it carried
    /// and that time that it can be one, and the reply is not measured yet.
    pub fn departed(
        &mut self,
        probe: Ordinal,
        at: Utc,
        plausible: impl FnOnce(Utc, Utc) -> bool,
    ) -> Correction {
        self.flight.correct(probe, at, plausible)
    }

    /// Measures a valid reply to the probe that [`Measurement::find`] found in `session`.
    pub fn reply(
        &mut self,
        session: usize,
        probe: Ordinal,
        arrived: Arrived,
        recorder: Option<&mut Recorder>,
    ) -> Option<Verdict> {
        let slot = self.sessions.get_mut(session)?;
        let t1 = self.flight.t1(probe);
        let times = match arrived.stamps {
            ReplyStamps::Stamped(times, _) => Some(times),
            ReplyStamps::EchoOnly => None,
        };
        let delays = Delays::new(t1, arrived.reception.t4, times);
        let mut judged = Judged {
            verdict: Verdict::Duplicate,
            reordered: false,
            ipdv: [None; 2],
        };
        let counts = &mut self.totals.counts;
        let number = self.flight.number(probe);
        // What was given up has been told as lost; a reply that was read so late is late as well.
        let in_time = arrived.reception.t4 - t1 <= self.timeout;
        let on_time = in_time && !self.flight.is_closed(probe);
        let remembered = remembered(delays);
        let reflector = arrived.reflector.unwrap_or_default();
        match self.flight.answer(probe, on_time, remembered, reflector) {
            Answer::Duplicate {
                first,
                reflector: of_first,
            } => {
                slot.counts.duplicates += 1;
                counts.duplicates += 1;
                counts.replicated += u64::from(first);
                if let Some(reflector) = arrived.reflector {
                    slot.numbers.duplicate(number, reflector, of_first);
                    counts.duplicates_forward += u64::from(reflector != of_first);
                }
            }
            Answer::Late => {
                slot.counts.late += 1;
                counts.late += 1;
                slot.number(number, arrived.reflector);
                judged.verdict = Verdict::Late;
            }
            Answer::OnTime => {
                slot.counts.received += 1;
                counts.received += 1;
                slot.number(number, arrived.reflector);
                judged = self.received(session, probe, number, remembered);
                self.totals.record(&arrived, delays, self.ttl);
            }
        }
        if let Some(recorder) = recorder {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the wire counts modulo 2^32"
            )]
            recorder.reply(&ReplyRecord {
                verdict: judged.verdict,
                session: self.numbering.global(session),
                sequence: number as u32,
                intended: self.flight.intended(probe),
                reflector: arrived.reflector,
                t1,
                times,
                t4: arrived.reception.t4,
                delays,
                ipdv: judged.ipdv,
                reordered: judged.reordered,
                headers: arrived.headers,
            });
        }
        Some(judged.verdict)
    }

    /// Measures the first reply, in time, to a probe with this `number` in `session`.
    fn received(
        &mut self,
        session: usize,
        probe: Ordinal,
        number: u64,
        delays: Remembered,
    ) -> Judged {
        let round_trip = delays.round_trip();
        let mut judged = Judged {
            verdict: Verdict::Received { round_trip },
            reordered: false,
            ipdv: [None; 2],
        };
        let Some(slot) = self.sessions.get_mut(session) else {
            return judged;
        };
        let arrival = slot.reordering.arrive(number);
        let in_order = arrival.reordered.is_none();
        self.flight.arrived(probe, arrival.index, in_order);
        if let Some(n_reordering) = arrival.reordered {
            slot.counts.reordered += 1;
            let overtaken = self
                .flight
                .overtaken_since(probe, arrival.index, EXTENT_REACH);
            self.totals
                .counts
                .reorder(overtaken.unwrap_or(1), n_reordering);
            judged.reordered = true;
        }
        slot.jitter.arrive(round_trip);
        slot.record(round_trip);
        // A pair of consecutive probes is complete when the second of the two replies is here,
        // whichever that is: each pair counts once, and none bridges a lost probe.
        if let Some(previous) = self.flight.before(probe) {
            self.totals.ipdv.record(previous, delays);
            judged.ipdv[0] = Some(round_trip - previous.round_trip());
        }
        if let Some(following) = self.flight.after(probe) {
            self.totals.ipdv.record(delays, following);
            judged.ipdv[1] = Some(following.round_trip() - round_trip);
        }
        judged
    }

    /// Settles the fate of probes, see [`GiveUp`].
    pub fn close(&mut self, give_up: GiveUp, mut recorder: Option<&mut Recorder>) {
        let Self {
            flight,
            sessions,
            numbering,
            ..
        } = self;
        let count = sessions.len() as u64;
        flight.close(give_up, |closed| {
            let Closed {
                probe,
                session,
                t1,
                intended,
                on_time,
            } = closed;
            if let Some(session) = sessions.get_mut(session) {
                session.loss_runs.close(!on_time);
            }
            if let Some(recorder) = recorder.as_deref_mut() {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the wire counts modulo 2^32"
                )]
                recorder.closed(&ClosedRecord {
                    session: numbering.global(session),
                    sequence: (probe / count) as u32,
                    intended,
                    t1,
                    on_time,
                });
            }
        });
    }

    /// Stops waiting for probes whose timeout has passed at `now`. A reply that is read later is late.
    pub fn give_up(&mut self, now: Utc, recorder: Option<&mut Recorder>) {
        self.close(GiveUp::Before(now - self.timeout), recorder);
    }

    /// The fate of everything sent before this is settled; `now` when nothing is out.
    pub fn settled_until(&self, now: Utc) -> Utc {
        self.flight.oldest_open().unwrap_or(now)
    }

    /// Marks the probes sent so far, for [`GiveUp::Marked`].
    pub fn mark(&mut self) {
        self.flight.mark();
    }

    /// Number of probes that are neither answered nor given up.
    pub fn awaited(&self) -> u64 {
        self.flight.awaited()
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        Counts {
            sent: self.flight.opened(),
            ..self.totals.counts
        }
    }

    /// Number of replies so far whose T4 was taken in user space.
    pub fn user_space_t4(&self) -> u64 {
        self.totals.peer.t4_user_space
    }

    /// Ends the measurement: what is not answered is lost.
    pub fn finish(mut self, recorder: Option<&mut Recorder>) -> Finished {
        self.notice();
        self.close(GiveUp::All, recorder);
        let mut totals = self.totals;
        totals.counts.sent = self.flight.opened();
        for session in &self.sessions {
            totals.add_session(session);
        }
        let sent = (0..self.sessions.len())
            .map(|session| self.flight.sent(session))
            .collect();
        Finished {
            totals,
            sessions: self.sessions,
            sent,
        }
    }
}

/// The verdict on a reply, and what only the session's history tells.
struct Judged {
    verdict: Verdict,
    reordered: bool,
    /// To the probe before, and of the one after.
    ipdv: [Option<Nanos>; 2],
}

fn remembered(delays: Delays) -> Remembered {
    match delays.split {
        Some(Split {
            forward, backward, ..
        }) => Remembered::Split { forward, backward },
        None => Remembered::Whole(delays.round_trip),
    }
}

/// A measurement that is over.
#[derive(Debug)]
pub struct Finished {
    /// All sessions together.
    pub totals: Totals,
    /// Each session.
    pub sessions: Vec<Session>,
    /// Probes sent by each session.
    pub sent: Vec<u64>,
}

#[cfg(test)]
mod tests;
