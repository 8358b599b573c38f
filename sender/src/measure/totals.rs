//! The figures of all sessions together.

use wire::error_estimate::ErrorEstimate;
use wire::time::{Nanos, TimestampFormat};

use super::counts::Counts;
use super::delay::Delays;
use super::direction::Losses;
use super::distribution::Distribution;
use super::header::Headers;
use super::measurement::{Arrived, ReplyStamps, T4Source};
use super::session::Session;
use crate::flight::Remembered;

/// The figures of all sessions of one worker, or of all workers.
#[derive(Debug, Default)]
pub struct Totals {
    /// What became of the probes.
    pub counts: Counts,
    /// (T4 - T1) - (T3 - T2).
    pub round_trip: Distribution,
    /// T2 - T1.
    pub forward: Distribution,
    /// T4 - T3.
    pub backward: Distribution,
    /// T3 - T2.
    pub residence: Distribution,
    /// Differences between consecutive probes of a session.
    pub ipdv: Ipdv,
    /// Hops, DSCP and ECN.
    pub headers: Headers,
    /// What the replies say of the reflector.
    pub peer: Peer,
    /// Losses by direction, where the reflector's numbers tell.
    pub direction: Direction,
    /// Sum of the jitter of the sessions that have one, in nanoseconds.
    jitter_sum: f64,
    jitter_sessions: u64,
}

/// IP packet delay variation between consecutive probes (RFC 3393, RFC 5481 section 4.1).
#[derive(Debug, Default)]
pub struct Ipdv {
    /// Of the round trip.
    pub round_trip: Distribution,
    /// Of the forward delay: needs no synchronised clocks.
    pub forward: Distribution,
    /// Of the backward delay: likewise.
    pub backward: Distribution,
    /// Sum of the magnitudes of the first, in nanoseconds.
    magnitudes: u128,
}

impl Ipdv {
    /// Mean of the magnitudes of the round trip's variation, in nanoseconds (MPPDV of RFC 5481);
    /// `None` without samples.
    #[expect(clippy::cast_precision_loss, reason = "a mean is a float")]
    pub fn mean_magnitude(&self) -> Option<f64> {
        let count = self.round_trip.count();
        (count > 0).then(|| self.magnitudes as f64 / count as f64)
    }

    /// Takes the delays of two consecutive probes.
    pub(super) fn record(&mut self, earlier: Remembered, later: Remembered) {
        let difference = later.round_trip() - earlier.round_trip();
        self.round_trip.record(difference);
        self.magnitudes += u128::from(difference.nanos().unsigned_abs());
        if let (
            Remembered::Split { forward, backward },
            Remembered::Split {
                forward: forward_later,
                backward: backward_later,
            },
        ) = (earlier, later)
        {
            self.forward.record(forward_later - forward);
            self.backward.record(backward_later - backward);
        }
    }
}

/// Losses by direction, summed over the sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Direction {
    /// Some reply proved that the reflector counts by itself.
    pub stateful: bool,
    /// Forward and backward losses among the decided probes, if the reflector is stateful.
    pub losses: Losses,
    /// Probes up to the last one answered in their session; the fate of the others is undecidable.
    pub decided: u64,
    /// How often the reflector began to count anew.
    pub restarts: u64,
}

/// What the replies received in time say of the reflector and of our own stamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peer {
    /// T4 taken by our XDP program.
    pub t4_xdp: u64,
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
    /// STAMP replies without our Session-Sender Identifier: the reflector does not know RFC 8972.
    pub ssid_missing: u64,
}

impl Totals {
    /// Takes a reply received in time, to a probe that left with `ttl`.
    pub(super) fn record(&mut self, arrived: &Arrived, delays: Delays, ttl: u8) {
        self.round_trip.record(delays.round_trip);
        if let Some(split) = delays.split {
            self.forward.record(split.forward);
            self.backward.record(split.backward);
            self.residence.record(split.residence);
        }
        self.headers.observe(arrived.headers, ttl);
        self.peer.observe(arrived, delays);
    }

    /// Adds the closing figures of a session.
    pub(super) fn add_session(&mut self, session: &Session) {
        let numbers = session.numbers();
        self.direction.stateful |= numbers.stateful();
        self.direction.losses = self.direction.losses.plus(numbers.losses());
        self.direction.decided += numbers.decided();
        self.direction.restarts += numbers.restarts();
        let runs = session.loss_runs();
        self.counts.loss_runs += runs.runs();
        self.counts.loss_run_max = self.counts.loss_run_max.max(runs.longest());
        if let Some(jitter) = session.jitter() {
            self.jitter_sum += jitter;
            self.jitter_sessions += 1;
        }
    }

    /// Adds the figures of another worker.
    pub fn absorb(&mut self, other: &Self) {
        self.counts.absorb(&other.counts);
        for (mine, theirs) in [
            (&mut self.round_trip, &other.round_trip),
            (&mut self.forward, &other.forward),
            (&mut self.backward, &other.backward),
            (&mut self.residence, &other.residence),
            (&mut self.ipdv.round_trip, &other.ipdv.round_trip),
            (&mut self.ipdv.forward, &other.ipdv.forward),
            (&mut self.ipdv.backward, &other.ipdv.backward),
        ] {
            mine.merge(theirs);
        }
        self.ipdv.magnitudes += other.ipdv.magnitudes;
        self.headers.absorb(&other.headers);
        self.peer.absorb(&other.peer);
        self.direction.stateful |= other.direction.stateful;
        self.direction.losses = self.direction.losses.plus(other.direction.losses);
        self.direction.decided += other.direction.decided;
        self.direction.restarts += other.direction.restarts;
        self.jitter_sum += other.jitter_sum;
        self.jitter_sessions += other.jitter_sessions;
    }

    /// RFC 3550 jitter in nanoseconds: the mean over the sessions that received two replies or
    /// more; `None` when none did.
    #[expect(clippy::cast_precision_loss, reason = "a mean is a float")]
    pub fn jitter(&self) -> Option<f64> {
        (self.jitter_sessions > 0).then(|| self.jitter_sum / self.jitter_sessions as f64)
    }
}

impl Peer {
    fn observe(&mut self, arrived: &Arrived, delays: Delays) {
        match arrived.reception.source {
            T4Source::Xdp => self.t4_xdp += 1,
            T4Source::Kernel => self.t4_kernel += 1,
            T4Source::UserSpace => self.t4_user_space += 1,
        }
        match arrived.stamps {
            ReplyStamps::EchoOnly => self.echo_only += 1,
            ReplyStamps::Stamped(_, error) => self.observe_error(error),
        }
        self.ssid_missing += u64::from(arrived.ssid_missing);
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

    fn absorb(&mut self, other: &Self) {
        self.t4_xdp += other.t4_xdp;
        self.t4_kernel += other.t4_kernel;
        self.t4_user_space += other.t4_user_space;
        self.echo_only += other.echo_only;
        self.stamped += other.stamped;
        self.synchronised += other.synchronised;
        self.ptp += other.ptp;
        self.error_unknown += other.error_unknown;
        self.error_max = self.error_max.max(other.error_max);
        self.residence_negative += other.residence_negative;
        self.round_trip_negative += other.round_trip_negative;
        self.ssid_missing += other.ssid_missing;
    }

    /// Whether every stamp of the reflector carried the S bit; `None` when there was no stamp.
    pub fn always_synchronised(&self) -> Option<bool> {
        (self.stamped > 0).then_some(self.synchronised == self.stamped)
    }
}
