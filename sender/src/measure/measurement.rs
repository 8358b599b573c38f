//! Everything a run measures, fed with probes sent and replies received.

use std::collections::TryReserveError;

use wire::error_estimate::ErrorEstimate;
use wire::time::{Nanos, NtpTimestamp, TimestampFormat, Utc};

use super::counts::Counts;
use super::delay::{Delays, ReflectorTimes};
use super::distribution::Distribution;
use super::jitter::Jitter;
use super::reordering::{Arrival, Reordering};
use crate::session::{Answer, Outstanding, ProbeNumber};

/// The figures of a run, over all its sessions.
#[derive(Debug)]
pub struct Measurement {
    timeout: Nanos,
    sessions: Vec<Session>,
    counts: Counts,
    /// (T4 - T1) - (T3 - T2).
    pub round_trip: Distribution,
    /// T2 - T1.
    pub forward: Distribution,
    /// T4 - T3.
    pub backward: Distribution,
    /// T3 - T2.
    pub residence: Distribution,
    /// Differences of the round trips of consecutive probes of a session (RFC 3393).
    pub ipdv: Distribution,
    peer: Peer,
}

#[derive(Debug)]
struct Session {
    outstanding: Outstanding,
    reordering: Reordering,
    jitter: Jitter,
}

/// Where T4 was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum T4Source {
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

/// What a reply says of the reflector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyStamps {
    /// T2 and T3, with the reflector's Error Estimate.
    Stamped(ReflectorTimes, ErrorEstimate),
    /// No T2 and T3: they are zero, or the reply is the request sent back.
    EchoOnly,
}

/// What the replies received in time say of the reflector and of our own stamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peer {
    /// T4 taken by the kernel.
    pub t4_kernel: u64,
    /// T4 taken in user space.
    pub t4_user_space: u64,
    /// Replies without T2 and T3.
    pub echo_only: u64,
    /// Replies with T2 and T3.
    pub stamped: u64,
    /// Stamped replies whose Error Estimate has the S bit: the reflector's clock follows UTC.
    pub synchronised: u64,
    /// Stamped replies in PTPv2 format (Z bit), whose epoch is TAI.
    pub ptp: u64,
    /// Stamped replies with an Error Estimate of multiplier 0, which RFC 4656 forbids.
    pub error_unknown: u64,
    /// Largest error, in nanoseconds, that the reflector's Error Estimates admit.
    pub error_max: Option<u64>,
    /// Replies with T3 before T2.
    pub residence_negative: u64,
    /// Replies with T3 - T2 above T4 - T1, which make the round-trip time negative.
    pub round_trip_negative: u64,
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

impl Measurement {
    /// A measurement of `sessions` sessions, each of which remembers `window` probes. A reply
    /// that arrives more than `timeout` after T1 is late.
    ///
    /// # Errors
    ///
    /// There is not enough memory.
    pub fn new(sessions: usize, window: usize, timeout: Nanos) -> Result<Self, TryReserveError> {
        let session = || {
            Ok(Session {
                outstanding: Outstanding::new(window, 0)?,
                reordering: Reordering::new(window)?,
                jitter: Jitter::default(),
            })
        };
        Ok(Self {
            timeout,
            sessions: std::iter::repeat_with(session)
                .take(sessions)
                .collect::<Result<_, TryReserveError>>()?,
            counts: Counts::default(),
            round_trip: Distribution::default(),
            forward: Distribution::default(),
            backward: Distribution::default(),
            residence: Distribution::default(),
            ipdv: Distribution::default(),
            peer: Peer::default(),
        })
    }

    /// Counts a probe of `session` about to be sent with timestamp `t1`. Sequence numbers are
    /// implied: the n-th probe of a session has number n - 1. Ignores a session out of range.
    pub fn sent(&mut self, session: usize, t1: Utc) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.outstanding.send(t1);
            self.counts.sent += 1;
        }
    }

    /// Takes back the last probe of `session`: the network did not take it.
    pub fn not_sent(&mut self, session: usize) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.outstanding.take_back();
            self.counts.sent = self.counts.sent.saturating_sub(1);
        }
    }

    /// The probe a reply answers: in memory, with this number, sent with this timestamp.
    pub fn find(&self, session: usize, sequence: u32, echo: NtpTimestamp) -> Option<ProbeNumber> {
        self.sessions.get(session)?.outstanding.find(sequence, echo)
    }

    /// Counts a datagram from the target that answers no probe in memory.
    pub fn invalid(&mut self) {
        self.counts.invalid += 1;
    }

    /// Measures a valid reply to the probe that [`Measurement::find`] found in `session`.
    pub fn reply(
        &mut self,
        session: usize,
        number: ProbeNumber,
        reception: Reception,
        stamps: ReplyStamps,
    ) -> Option<Verdict> {
        let session = self.sessions.get_mut(session)?;
        let t1 = session.outstanding.t1(number);
        let times = match stamps {
            ReplyStamps::Stamped(times, _) => Some(times),
            ReplyStamps::EchoOnly => None,
        };
        let delays = Delays::new(t1, reception.t4, times);
        let on_time = reception.t4 - t1 <= self.timeout;
        match session
            .outstanding
            .answer(number, on_time, delays.round_trip)
        {
            Answer::Duplicate { first } => {
                self.counts.duplicates += 1;
                self.counts.replicated += u64::from(first);
                return Some(Verdict::Duplicate);
            }
            Answer::Late => {
                self.counts.late += 1;
                return Some(Verdict::Late);
            }
            Answer::OnTime => self.counts.received += 1,
        }
        if let Arrival::Reordered { extent } = session.reordering.arrive(number) {
            self.counts.reordered += 1;
            self.counts.reorder_extent_max = self.counts.reorder_extent_max.max(extent);
        }
        session.jitter.arrive(delays.round_trip);
        // A pair of consecutive probes is complete when the second of the two replies is here,
        // whichever that is: each pair counts once, and none bridges a lost probe.
        let neighbour = |number: Option<u64>| session.outstanding.round_trip(number?);
        if let Some(previous) = neighbour(number.checked_sub(1)) {
            self.ipdv.record(delays.round_trip - previous);
        }
        if let Some(following) = neighbour(number.checked_add(1)) {
            self.ipdv.record(following - delays.round_trip);
        }
        self.record(delays);
        self.peer.observe(reception.source, stamps, delays);
        Some(Verdict::Received {
            round_trip: delays.round_trip,
        })
    }

    fn record(&mut self, delays: Delays) {
        self.round_trip.record(delays.round_trip);
        if let Some(split) = delays.split {
            self.forward.record(split.forward);
            self.backward.record(split.backward);
            self.residence.record(split.residence);
        }
    }

    /// Stops waiting for probes whose timeout has passed at `now`. A later reply still counts as
    /// what its T4 says.
    pub fn give_up(&mut self, now: Utc) {
        for session in &mut self.sessions {
            session.outstanding.give_up_before(now - self.timeout);
        }
    }

    /// Marks the probes sent so far, for [`Measurement::give_up_marked`].
    pub fn mark(&mut self) {
        for session in &mut self.sessions {
            session.outstanding.mark();
        }
    }

    /// Stops waiting for the marked probes, whatever their T1. For when our clock was set, and T1
    /// does not tell any more how long ago that was.
    pub fn give_up_marked(&mut self) {
        for session in &mut self.sessions {
            session.outstanding.give_up_marked();
        }
    }

    /// Number of probes that are neither answered nor given up.
    pub fn awaited(&self) -> u64 {
        self.sessions
            .iter()
            .map(|session| session.outstanding.awaited())
            .sum()
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the replies say of the reflector so far.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// RFC 3550 jitter in nanoseconds: the mean over the sessions that received two replies or
    /// more; `None` when none did.
    pub fn jitter(&self) -> Option<f64> {
        let mut sum = 0.0;
        let mut sessions = 0u32;
        for estimate in self
            .sessions
            .iter()
            .filter_map(|session| session.jitter.nanos())
        {
            sum += estimate;
            sessions += 1;
        }
        (sessions > 0).then(|| sum / f64::from(sessions))
    }
}

impl Peer {
    fn observe(&mut self, source: T4Source, stamps: ReplyStamps, delays: Delays) {
        match source {
            T4Source::Kernel => self.t4_kernel += 1,
            T4Source::UserSpace => self.t4_user_space += 1,
        }
        match stamps {
            ReplyStamps::EchoOnly => self.echo_only += 1,
            ReplyStamps::Stamped(_, error) => self.observe_error(error),
        }
        // Without T2 and T3, a negative round trip is a step of our own clock.
        if let Some(split) = delays.split {
            self.residence_negative += u64::from(split.residence < Nanos::ZERO);
            self.round_trip_negative += u64::from(delays.round_trip < Nanos::ZERO);
        }
    }

    fn observe_error(&mut self, error: ErrorEstimate) {
        self.stamped += 1;
        self.synchronised += u64::from(error.synchronised());
        self.ptp += u64::from(error.format() == TimestampFormat::Ptp);
        match error.error_nanos() {
            Some(nanos) => self.error_max = self.error_max.max(Some(nanos)),
            None => self.error_unknown += 1,
        }
    }

    /// Whether every stamp of the reflector carried the S bit; `None` when there was no stamp.
    pub fn always_synchronised(&self) -> Option<bool> {
        (self.stamped > 0).then_some(self.synchronised == self.stamped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reception(t4: i64) -> Reception {
        Reception {
            t4: Utc::from_nanos(t4),
            source: T4Source::Kernel,
        }
    }

    fn stamped(t2: i64, t3: i64, error_bits: u16) -> ReplyStamps {
        let times = ReflectorTimes {
            receive: t2,
            transmit: t3,
        };
        ReplyStamps::Stamped(times, ErrorEstimate::from_bits(error_bits))
    }

    /// One session, timeout 1000 ns, probes sent at 0, 100, 200…
    fn measurement(probes: i64) -> Measurement {
        let mut measurement = Measurement::new(1, 64, Nanos::from_nanos(1000)).unwrap();
        for i in 0..probes {
            measurement.sent(0, Utc::from_nanos(100 * i));
        }
        measurement
    }

    #[test]
    fn ipdv_is_taken_in_sending_order_and_bridges_no_gap() {
        let mut m = measurement(5);
        // Round trips 10, 30, lost, 20, 70; probe 1 is answered after probe 0 and probe 4 before 3.
        for (number, t4) in [(0, 10), (1, 130), (4, 470), (3, 320)] {
            m.reply(0, number, reception(t4), ReplyStamps::EchoOnly)
                .unwrap();
        }
        let ipdv = m.ipdv.summary().unwrap();
        assert_eq!(ipdv.count, 2);
        assert_eq!((ipdv.min.nanos(), ipdv.max.nanos()), (20, 50));
    }

    #[test]
    fn a_late_reply_counts_as_late_and_stays_out_of_the_delays() {
        let mut m = measurement(2);
        assert_eq!(
            m.reply(0, 0, reception(1001), ReplyStamps::EchoOnly),
            Some(Verdict::Late)
        );
        let on_time = m.reply(0, 1, reception(1100), ReplyStamps::EchoOnly);
        assert_eq!(
            on_time,
            Some(Verdict::Received {
                round_trip: Nanos::from_nanos(1000)
            })
        );
        assert_eq!(
            (m.counts().late, m.counts().received, m.counts().lost()),
            (1, 1, 1)
        );
        assert_eq!(m.round_trip.count(), 1);
        assert_eq!(m.counts().reordered, 0);
        assert_eq!(m.ipdv.count(), 0);
    }

    #[test]
    fn waits_for_nothing_once_all_is_answered_or_given_up() {
        let mut m = measurement(3);
        assert_eq!(m.awaited(), 3);
        m.reply(0, 1, reception(150), ReplyStamps::EchoOnly)
            .unwrap();
        m.give_up(Utc::from_nanos(1001));
        assert_eq!(m.awaited(), 1);
        m.give_up(Utc::from_nanos(10_000));
        assert_eq!(m.awaited(), 0);
    }

    #[test]
    fn an_unsent_probe_is_neither_sent_nor_lost() {
        let mut m = measurement(3);
        m.not_sent(0);
        assert_eq!((m.counts().sent, m.awaited()), (2, 2));
    }

    #[test]
    fn jitter_is_the_mean_over_sessions_with_two_replies() {
        let mut m = Measurement::new(3, 8, Nanos::from_nanos(1000)).unwrap();
        for session in 0..3 {
            m.sent(session, Utc::from_nanos(0));
            m.sent(session, Utc::from_nanos(0));
        }
        for (session, number, t4) in [
            (0, 0, 100),
            (0, 1, 260),
            (1, 0, 100),
            (1, 1, 420),
            (2, 0, 9),
        ] {
            m.reply(session, number, reception(t4), ReplyStamps::EchoOnly)
                .unwrap();
        }
        assert_eq!(
            m.jitter(),
            Some(15.0),
            "160/16 and 320/16; the third has one reply"
        );
    }

    #[test]
    fn a_session_out_of_range_is_ignored() {
        let mut m = measurement(1);
        m.sent(7, Utc::from_nanos(0));
        m.not_sent(7);
        assert_eq!(m.find(7, 0, NtpTimestamp::from_bits(0)), None);
        assert_eq!(m.reply(7, 0, reception(1), ReplyStamps::EchoOnly), None);
        assert_eq!(m.counts().sent, 1);
    }

    #[test]
    fn a_negative_round_trip_without_t2_and_t3_is_not_the_reflectors() {
        let mut m = measurement(1);
        m.reply(0, 0, reception(-50), ReplyStamps::EchoOnly)
            .unwrap();
        assert_eq!(m.round_trip.summary().unwrap().min.nanos(), -50);
        assert_eq!(m.peer().round_trip_negative, 0);
    }

    #[test]
    fn notes_what_is_odd_about_a_reflector() {
        let mut m = measurement(4);
        m.reply(0, 0, reception(50), stamped(20, 15, 0x8001))
            .unwrap();
        m.reply(0, 1, reception(150), stamped(120, 220, 0x4100))
            .unwrap();
        m.reply(0, 2, reception(250), ReplyStamps::EchoOnly)
            .unwrap();
        let peer = m.peer();
        assert_eq!((peer.stamped, peer.echo_only, peer.ptp), (2, 1, 1));
        assert_eq!((peer.residence_negative, peer.round_trip_negative), (1, 1));
        assert_eq!((peer.error_unknown, peer.error_max), (1, Some(1)));
        assert_eq!(
            (peer.synchronised, peer.always_synchronised()),
            (1, Some(false))
        );
        assert_eq!((peer.t4_kernel, peer.t4_user_space), (3, 0));
        assert_eq!(m.forward.count(), 2);
        assert_eq!(m.round_trip.count(), 3);
    }
}
