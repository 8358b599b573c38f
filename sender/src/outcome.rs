//! The results of a run, ready to be reported.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use wire::time::Nanos;

use crate::af_xdp::outbox::{StampClock, TxStamps};
use crate::config::Config;
use crate::flight::Ordinal;
use crate::matching::Numbering;
use crate::measure::counts::Counts;
use crate::measure::distribution::Summary;
use crate::measure::session::Session;
use crate::measure::{Finished, Peer, Totals};
use crate::own_clock::SenderClock;
use crate::report::units::counted;
use crate::run::{Done, RunTerms};
use crate::seed::Seed;
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
    /// How probes left and replies came in.
    pub transport: Transport,
    /// What came of the stamps that tell when packets left.
    pub tx_stamps: TxStamps,
    /// Number of sessions.
    pub sessions: usize,
    /// Whether the probes were STAMP packets.
    pub stamp: bool,
    /// Octets of UDP payload per probe.
    pub size: usize,
    /// TOS or Traffic Class octet of the probes.
    pub tos: u8,
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
    /// Probes that waited on this machine after they were stamped, because the system did not take
    /// them: their round trips contain that wait.
    pub held: u64,
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
    /// Delay variation between consecutive probes.
    pub ipdv: IpdvSummaries,
    /// RFC 3550 jitter of the round trip in nanoseconds, mean over the sessions.
    pub jitter: Option<f64>,
    /// How much later than intended the probes were stamped.
    pub send_error: Option<Summary>,
    /// What the replies say of the reflector.
    pub peer: Peer,
    /// Losses by direction; `None` where the reflector does not tell.
    pub directions: Option<Directions>,
    /// Our own clock.
    pub clock: SenderClock,
    /// Packets per second asked for; `None` for as fast as it goes.
    pub rate_asked: Option<f64>,
    /// Packets per second from the first burst to the last; `None` below two bursts, which are
    /// packets unless the user asked for more.
    pub rate_achieved: Option<f64>,
    /// From the first packet sent to the last.
    pub duration: Duration,
    /// How long replies were waited for after the last probe, if a signal cut that short.
    pub cut_short: Option<Duration>,
    /// What chance followed from, if there was any.
    pub seed: Option<Seed>,
    /// Busy share of this machine's processors.
    pub cpu_busy: Option<f64>,
    /// What went wrong on the way in.
    pub trouble: Trouble,
    /// All figures, for what needs more than summaries.
    pub totals: Totals,
    /// Each session, in the order of their numbers.
    pub per_session: Vec<SessionOutcome>,
    /// Doubts about the figures.
    pub warnings: Vec<Warning>,
}

/// How probes left and replies came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// By UDP sockets.
    Socket {
        /// Why not by `AF_XDP`, if that was tried.
        instead: Option<String>,
    },
    /// By `AF_XDP`.
    AfXdp {
        /// The interface.
        interface: String,
        /// Queues that sent.
        queues: usize,
        /// The driver read and wrote the packet memory itself.
        zero_copy: bool,
        /// The XDP program ran in the driver.
        native: bool,
        /// Whose stamps of departure were asked for.
        stamps: Option<StampClock>,
    },
}

/// Delay variation between consecutive probes (RFC 3393).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IpdvSummaries {
    /// Of the round trip.
    pub round_trip: Option<Summary>,
    /// Of the forward delay.
    pub forward: Option<Summary>,
    /// Of the backward delay.
    pub backward: Option<Summary>,
}

/// Losses by direction, among the probes up to the last one answered in each session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directions {
    /// Lost on the way to the reflector.
    pub forward: u64,
    /// Lost on the way back.
    pub backward: u64,
    /// Sent after the last probe answered: their fate is undecidable.
    pub undecided: u64,
    /// How often the reflector began to count anew.
    pub restarts: u64,
}

/// One session.
#[derive(Debug)]
pub struct SessionOutcome {
    /// Its number, from 0.
    pub number: usize,
    /// Its source address and port, where they are told one by one.
    pub source: Option<SocketAddr>,
    /// Probes sent.
    pub sent: Ordinal,
    /// What became of them.
    pub figures: Session,
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
    /// Puts together what the workers brought home.
    pub(crate) fn new(config: &Config, terms: &RunTerms, done: Done, busy: Option<f64>) -> Self {
        let Done {
            endpoints,
            transport,
            sent,
            stamps,
            finished,
            sources,
            trouble,
            ending,
        } = done;
        let duration = match (sent.first, sent.last) {
            (Some(first), Some(last)) => last.saturating_sub(first),
            _ => Duration::ZERO,
        };
        let (totals, per_session) = gather(finished, &sources);
        let mut outcome = Self {
            target: config.target.to_string(),
            address: endpoints.address,
            source: endpoints.source,
            transport,
            tx_stamps: stamps,
            sessions: config.sessions,
            stamp: config.probe.ssid.is_some(),
            size: config.probe.size,
            tos: config.header.tos,
            timeout: config.timeout,
            counts: totals.counts,
            skipped: sent.skipped,
            congested: sent.congested,
            refused: sent.refused,
            held: sent.held,
            not_reached: sent.not_reached,
            round_trip: totals.round_trip.summary(),
            forward: totals.forward.summary(),
            backward: totals.backward.summary(),
            residence: totals.residence.summary(),
            ipdv: IpdvSummaries {
                round_trip: totals.ipdv.round_trip.summary(),
                forward: totals.ipdv.forward.summary(),
                backward: totals.ipdv.backward.summary(),
            },
            jitter: totals.jitter(),
            // As fast as it goes there are no intended times to miss.
            send_error: config.timing.times.pace().and(sent.send_error.summary()),
            peer: totals.peer,
            directions: directions(&totals, config.peer.stateful),
            clock: sent.clock,
            rate_asked: config.timing.per_second(),
            rate_achieved: rate(sent.probes, config.timing.burst, duration),
            duration,
            cut_short: ending.cut_short,
            seed: config.has_chance().then_some(config.timing.seed),
            cpu_busy: busy,
            trouble,
            totals,
            per_session,
            warnings: Vec::new(),
        };
        outcome.warnings = Warning::all_of(
            &outcome,
            sent.refusal.as_ref(),
            ending.clock_steps,
            terms.no_tai,
        );
        outcome
    }

    /// Whether both ends said all the time that their clocks follow UTC. Otherwise one-way delays
    /// contain the offset between the clocks. `None` without stamped replies.
    pub fn one_way_trusted(&self) -> Option<bool> {
        let reflector = self.peer.always_synchronised()?;
        Some(reflector && self.clock.synchronised && self.peer.ptp == 0)
    }

    /// How far one-way delays may be off, both Error Estimates together (RFC 7679 section 3.7.3);
    /// `None` when the reflector tells no error.
    pub fn one_way_error(&self) -> Option<Nanos> {
        let error = self.clock.error_max.saturating_add(self.peer.error_max?);
        Some(Nanos::from_nanos(i64::try_from(error).unwrap_or(i64::MAX)))
    }

    /// Whether a signal ended the run before all was sent, or all replies had their time.
    pub fn was_stopped(&self) -> bool {
        self.not_reached > 0 || self.cut_short.is_some()
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

/// All workers together, and each session in its place.
fn gather(
    finished: Vec<(Numbering, Finished)>,
    sources: &[SocketAddr],
) -> (Totals, Vec<SessionOutcome>) {
    let mut totals = Totals::default();
    let mut per_session = Vec::new();
    for (numbering, worker) in finished {
        totals.absorb(&worker.totals);
        let sessions = worker.sessions.into_iter().zip(worker.sent).enumerate();
        per_session.extend(sessions.map(|(local, (figures, sent))| SessionOutcome {
            number: numbering.global(local),
            source: sources.get(numbering.global(local)).copied(),
            sent,
            figures,
        }));
    }
    per_session.sort_unstable_by_key(|session| session.number);
    (totals, per_session)
}

/// What a stateful reflector's numbers tell. That it is stateful its numbers prove, or the user says.
fn directions(totals: &Totals, known: bool) -> Option<Directions> {
    let told = totals.direction;
    let counted = totals.counts.received + totals.counts.late > totals.peer.echo_only;
    ((told.stateful || known) && counted).then(|| Directions {
        forward: told.losses.forward,
        backward: told.losses.backward,
        undecided: totals.counts.sent.saturating_sub(told.decided),
        restarts: told.restarts,
    })
}

/// Packets per second between the first and the last of `packets`, which left in bursts: those of the
/// last burst do not count, for the time until the next one is not in `duration`.
#[expect(clippy::cast_precision_loss, reason = "a rate is reported as a float")]
fn rate(packets: u64, burst: NonZeroU32, duration: Duration) -> Option<f64> {
    let burst = NonZeroU64::from(burst);
    let before_last = packets.saturating_sub(1) / burst * burst.get();
    (before_last > 0 && !duration.is_zero()).then(|| before_last as f64 / duration.as_secs_f64())
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
pub(crate) mod tests;
