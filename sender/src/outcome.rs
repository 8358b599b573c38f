//! The results of a run, ready to be reported.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::measure::Peer;
use crate::measure::counts::Counts;
use crate::measure::distribution::Summary;
use crate::receiving::Received;
use crate::report::units::counted;
use crate::sending::{SenderClock, Sent};
use crate::transport::{IcmpKind, Trouble};
use crate::warning::Warning;

/// Everything a run found out.
#[derive(Debug)]
pub struct Outcome {
    /// The reflector, as the user named it.
    pub target: String,
    /// The address that was used.
    pub address: SocketAddr,
    /// Source address and port of the first session.
    pub source: SocketAddr,
    /// Number of sessions.
    pub sessions: usize,
    /// Octets of UDP payload per probe.
    pub size: usize,
    /// Limit between received and late.
    pub timeout: Duration,
    /// What became of the probes.
    pub counts: Counts,
    /// Slots of the schedule in which nothing was sent, because their time had passed.
    pub skipped: u64,
    /// Probes not sent because the way out was full.
    pub congested: u64,
    /// Probes the system refused to send.
    pub refused: u64,
    /// Slots not reached because the run was stopped.
    pub not_reached: u64,
    /// Round-trip time without the reflector's residence.
    pub round_trip: Option<Summary>,
    /// Forward delay, with the offset between the clocks.
    pub forward: Option<Summary>,
    /// Backward delay, with the offset between the clocks.
    pub backward: Option<Summary>,
    /// Time spent in the reflector.
    pub residence: Option<Summary>,
    /// Round-trip delay variation between consecutive probes.
    pub ipdv: Option<Summary>,
    /// RFC 3550 jitter of the round trip in nanoseconds, mean over the sessions.
    pub jitter: Option<f64>,
    /// What the replies say of the reflector.
    pub peer: Peer,
    /// Our own clock.
    pub clock: SenderClock,
    /// Packets per second asked for.
    pub rate_asked: f64,
    /// Packets per second from the first to the last; `None` below two packets.
    pub rate_achieved: Option<f64>,
    /// From the first packet sent to the last.
    pub duration: Duration,
    /// How long replies were waited for after the last probe, if a signal cut that short.
    pub cut_short: Option<Duration>,
    /// What went wrong on the way in.
    pub trouble: Trouble,
    /// Doubts about the figures.
    pub warnings: Vec<Warning>,
}

/// Where a run went.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints {
    /// The reflector.
    pub address: SocketAddr,
    /// Source of the first session.
    pub source: SocketAddr,
}

impl Outcome {
    /// Puts together what the two threads brought home.
    pub(crate) fn new(
        config: &Config,
        endpoints: Endpoints,
        sent: &Sent,
        received: &Received,
    ) -> Self {
        let measurement = &received.measurement;
        let duration = match (sent.first, sent.last) {
            (Some(first), Some(last)) => last.saturating_sub(first),
            _ => Duration::ZERO,
        };
        let mut outcome = Self {
            target: config.target.to_string(),
            address: endpoints.address,
            source: endpoints.source,
            sessions: config.sessions,
            size: config.size,
            timeout: config.timeout,
            counts: measurement.counts(),
            skipped: sent.skipped,
            congested: sent.congested,
            refused: sent.refused,
            not_reached: sent.not_reached,
            round_trip: measurement.round_trip.summary(),
            forward: measurement.forward.summary(),
            backward: measurement.backward.summary(),
            residence: measurement.residence.summary(),
            ipdv: measurement.ipdv.summary(),
            jitter: measurement.jitter(),
            peer: measurement.peer(),
            clock: sent.clock,
            rate_asked: config.pace.per_second(),
            rate_achieved: rate(sent.probes, duration),
            duration,
            cut_short: received.cut_short,
            trouble: received.trouble,
            warnings: Vec::new(),
        };
        outcome.warnings = Warning::all_of(&outcome, sent.refusal.as_ref(), received.clock_steps);
        outcome
    }

    /// Whether both ends said all the time that their clocks follow UTC. Otherwise one-way delays
    /// contain the offset between the clocks. `None` without stamped replies.
    pub fn one_way_trusted(&self) -> Option<bool> {
        let reflector = self.peer.always_synchronised()?;
        Some(reflector && self.clock.synchronised && self.peer.ptp == 0)
    }

    /// Why there was no reply at all; `None` if there was one in time.
    pub fn silence(&self) -> Option<Silence> {
        if self.counts.received > 0 {
            return None;
        }
        let sent = self.counts.sent;
        Some(match self.trouble.icmp.leading() {
            _ if self.counts.late > 0 => Silence::Late {
                late: self.counts.late,
                timeout: self.timeout,
            },
            _ if self.counts.invalid > 0 => Silence::Invalid {
                datagrams: self.counts.invalid,
            },
            Some(IcmpKind::PortUnreachable) => Silence::PortUnreachable,
            Some(kind) => Silence::Unreachable { kind },
            None if sent == 0 => Silence::NothingSent,
            None => match self.cut_short {
                Some(waited) => Silence::Stopped { sent, waited },
                None => Silence::Total {
                    sent,
                    timeout: self.timeout,
                },
            },
        })
    }
}

/// Packets per second between the first and the last of `packets`.
#[expect(clippy::cast_precision_loss, reason = "a rate is reported as a float")]
fn rate(packets: u64, duration: Duration) -> Option<f64> {
    (packets > 1 && !duration.is_zero()).then(|| (packets - 1) as f64 / duration.as_secs_f64())
}

/// The likely reason for no reply in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The host answers that the port is closed.
    PortUnreachable,
    /// A router, a firewall or our own host says that there is no way.
    Unreachable {
        /// What it says.
        kind: IcmpKind,
    },
    /// Datagrams came, but not replies to our probes.
    Invalid {
        /// How many.
        datagrams: u64,
    },
    /// Replies came, all of them late.
    Late {
        /// How many.
        late: u64,
        /// The limit.
        timeout: Duration,
    },
    /// The run was stopped before the first probe.
    NothingSent,
    /// Nothing came before the run was stopped.
    Stopped {
        /// Probes sent.
        sent: u64,
        /// How long the last of them was waited for.
        waited: Duration,
    },
    /// Nothing came.
    Total {
        /// Probes sent.
        sent: u64,
        /// How long each was waited for.
        timeout: Duration,
    },
}

impl fmt::Display for Silence {
    /// What is wrong and what to do, to follow "no reply from X: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortUnreachable => f.write_str(
                "nothing listens there (ICMP port unreachable); start a reflector on that port or \
                 check the port",
            ),
            Self::Unreachable { kind } => write!(
                f,
                "the network reports {kind} (ICMP); check the address, the route and any firewall"
            ),
            Self::Invalid { datagrams } => write!(
                f,
                "{} and none is a valid reply; is it a TWAMP-Light or STAMP reflector in \
                 unauthenticated mode?",
                counted(*datagrams, "datagram came back", "datagrams came back")
            ),
            Self::Late { late, timeout } => write!(
                f,
                "{} longer than {}; raise --timeout",
                counted(
                    *late,
                    "reply came, but it took",
                    "replies came, but all took"
                ),
                humantime::format_duration(*timeout)
            ),
            Self::NothingSent => {
                f.write_str("the run was stopped before the first packet was sent")
            }
            Self::Stopped { sent, waited } => write!(
                f,
                "{} sent, none answered before the run was stopped, {:.1} s after the last; that \
                 may have been too early to tell",
                counted(*sent, "packet", "packets"),
                waited.as_secs_f64()
            ),
            Self::Total { sent, timeout } => write!(
                f,
                "{} sent, none answered within {}; check the address, the route and any firewall",
                counted(*sent, "packet", "packets"),
                humantime::format_duration(*timeout)
            ),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::measure::{Measurement, Reception, ReplyStamps, T4Source};
    use crate::transport::IcmpCounts;
    use wire::error_estimate::ErrorEstimate;
    use wire::time::{Nanos, Utc};

    /// The outcome of four probes at 1000/s, of which the first three were answered, after 1, 2
    /// and 4 ms, by a synchronised reflector that kept each for 0.5 ms.
    pub(crate) fn sample() -> Outcome {
        let args = crate::args::parse(["sender", "reflector.example", "--rate", "1000"]);
        let config = Config::try_from(args.unwrap()).unwrap();
        let mut measurement = Measurement::new(1, 8, Nanos::from_nanos(2_000_000_000)).unwrap();
        for i in 0..4 {
            measurement.sent(0, Utc::from_nanos(i * 1_000_000));
        }
        for (number, delay) in [(0u32, 1_500_000), (1, 2_500_000), (2, 4_500_000)] {
            let t1 = i64::from(number) * 1_000_000;
            let times = crate::measure::delay::ReflectorTimes {
                receive: t1 + 400_000,
                transmit: t1 + 900_000,
            };
            let reception = Reception {
                t4: Utc::from_nanos(t1 + delay),
                source: T4Source::Kernel,
            };
            let stamps = ReplyStamps::Stamped(times, ErrorEstimate::from_bits(0x8f84));
            measurement.reply(0, u64::from(number), reception, stamps);
        }
        let sent = Sent {
            first: Some(Duration::ZERO),
            last: Some(Duration::from_millis(3)),
            probes: 4,
            clock: SenderClock {
                synchronised: true,
                error_max: 250_000,
            },
            ..Sent::default()
        };
        let endpoints = Endpoints {
            address: "192.0.2.1:862".parse().unwrap(),
            source: "192.0.2.9:40000".parse().unwrap(),
        };
        let received = Received {
            measurement,
            trouble: Trouble::default(),
            clock_steps: Nanos::ZERO,
            cut_short: None,
        };
        Outcome::new(&config, endpoints, &sent, &received)
    }

    /// An outcome with these counts and no reply in time.
    fn silent(counts: Counts, errors: &[IcmpKind]) -> Option<Silence> {
        let mut icmp = IcmpCounts::default();
        for &kind in errors {
            icmp.add(kind);
        }
        let outcome = Outcome {
            counts: Counts {
                sent: 9,
                received: 0,
                ..counts
            },
            trouble: Trouble {
                icmp,
                dropped_here: 0,
            },
            ..sample()
        };
        outcome.silence()
    }

    #[test]
    fn a_reply_in_time_is_no_silence() {
        assert_eq!(sample().silence(), None);
    }

    #[test]
    fn silence_has_its_likeliest_reason() {
        let timeout = Duration::from_secs(2);
        let none = Counts::default();
        let late = Counts {
            late: 3,
            invalid: 1,
            ..none
        };
        let invalid = Counts { invalid: 2, ..none };
        let refused = [IcmpKind::PortUnreachable];
        assert_eq!(silent(none, &[]), Some(Silence::Total { sent: 9, timeout }));
        assert_eq!(silent(none, &refused), Some(Silence::PortUnreachable));
        let kind = IcmpKind::HostUnreachable;
        assert_eq!(silent(none, &[kind]), Some(Silence::Unreachable { kind }));
        assert_eq!(
            silent(late, &refused),
            Some(Silence::Late { late: 3, timeout })
        );
        assert_eq!(
            silent(invalid, &refused),
            Some(Silence::Invalid { datagrams: 2 })
        );
    }

    #[test]
    fn a_run_that_was_stopped_waited_no_longer_than_that() {
        let waited = Duration::from_secs(1);
        let mut outcome = sample();
        outcome.counts.received = 0;
        outcome.cut_short = Some(waited);
        let stopped = Silence::Stopped { sent: 4, waited };
        assert_eq!(outcome.silence(), Some(stopped));
        outcome.counts.sent = 0;
        assert_eq!(outcome.silence(), Some(Silence::NothingSent));
    }

    #[test]
    fn reasons_are_sentences() {
        let timeout = Duration::from_millis(1_500);
        for (silence, text) in [
            (
                Silence::Total { sent: 1, timeout },
                "1 packet sent, none answered within 1s 500ms; check the address, the route and \
                 any firewall",
            ),
            (
                Silence::Stopped {
                    sent: 3,
                    waited: timeout,
                },
                "3 packets sent, none answered before the run was stopped, 1.5 s after the last; \
                 that may have been too early to tell",
            ),
            (
                Silence::Late { late: 2, timeout },
                "2 replies came, but all took longer than 1s 500ms; raise --timeout",
            ),
            (
                Silence::Invalid { datagrams: 1 },
                "1 datagram came back and none is a valid reply; is it a TWAMP-Light or STAMP \
                 reflector in unauthenticated mode?",
            ),
        ] {
            assert_eq!(silence.to_string(), text);
        }
    }

    #[test]
    fn one_way_delays_need_both_clocks_and_one_epoch() {
        let mut outcome = sample();
        assert_eq!(outcome.one_way_trusted(), Some(true));
        outcome.clock.synchronised = false;
        assert_eq!(outcome.one_way_trusted(), Some(false));
        outcome = sample();
        outcome.peer.synchronised -= 1;
        assert_eq!(outcome.one_way_trusted(), Some(false));
        outcome = sample();
        outcome.peer.ptp = 1;
        assert_eq!(outcome.one_way_trusted(), Some(false));
    }

    #[test]
    fn the_achieved_rate_is_that_between_first_and_last() {
        assert_eq!(rate(101, Duration::from_secs(10)), Some(10.0));
        assert_eq!(rate(1, Duration::ZERO), None);
        assert_eq!(rate(0, Duration::ZERO), None);
    }
}
