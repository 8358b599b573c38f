//! One worker: takes datagrams from its sockets, decides, answers. The only place that sees sockets
//! and decisions together.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use host::is_link_local;
use nix::errno::Errno;
use wire::time::Tai;

use super::counters::{SendError, SocketCounters, Unanswered};
use super::receive::{Arrival, BATCH, Batch, Family};
use super::send::{Header, Outgoing, Sender};
use crate::reflect::{self, Departure, Pending, Received, Timescale, Verdict};
use crate::rule::Rule;
use crate::rulebook::{Admission, Rulebook};
use crate::session::SessionKey;
use crate::shared::Shared;

/// TTL of a request whose own cannot be read (RFC 5357 section 4.2.1).
const UNKNOWN_TTL: u8 = 255;

/// A socket and what is known of it.
#[derive(Debug)]
pub struct Endpoint {
    socket: UdpSocket,
    family: Family,
    port: u16,
}

/// Answers what arrives on sockets.
#[derive(Debug)]
pub struct Worker<C> {
    clock: C,
    shared: Shared,
    counters: Arc<SocketCounters>,
    tx_batch: usize,
    batch: Batch,
    sender: Sender,
    /// Answered, not yet stamped.
    waiting: Vec<(Outgoing, Pending)>,
    /// Stamped, in runs of one [`Header`].
    sealed: Vec<Outgoing>,
}

/// What the datagrams of a batch have in common.
#[derive(Clone, Copy)]
struct Common<'a> {
    rulebook: &'a Rulebook,
    timescale: Timescale,
    /// Port they were sent to.
    port: u16,
    /// The policer's time.
    now: Duration,
}

impl Endpoint {
    /// Of a bound socket.
    ///
    /// # Errors
    ///
    /// The kernel does not tell where it is bound.
    pub fn new(socket: UdpSocket) -> std::io::Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            family: local.ip().into(),
            port: local.port(),
        })
    }

    /// The socket.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}

impl<C: Clock> Worker<C> {
    /// A worker, at most `tx_batch` of whose replies share one T3.
    pub fn new(clock: C, shared: Shared, counters: Arc<SocketCounters>, tx_batch: usize) -> Self {
        Self {
            clock,
            shared,
            counters,
            tx_batch: tx_batch.clamp(1, BATCH),
            batch: Batch::new(),
            sender: Sender::new(),
            waiting: Vec::with_capacity(BATCH),
            sealed: Vec::with_capacity(BATCH),
        }
    }

    /// Answers a batch of what has arrived at `endpoint`, and tells how many datagrams that were:
    /// [`BATCH`] if there may be more. Never blocks.
    ///
    /// # Errors
    ///
    /// The socket is of no use any more. What the network did to it is counted and no error.
    pub fn turn(&mut self, endpoint: &Endpoint) -> Result<usize, Errno> {
        let received = match self.batch.receive(&endpoint.socket, endpoint.family) {
            Ok(received) => received,
            Err(error) if is_fatal(error) => return Err(error),
            Err(_) => {
                self.counters.receive_errors.add(1);
                return Ok(0);
            }
        };
        self.counters.received.add(received as u64);
        let timescale = self.shared.timescale.load();
        let rulebook = self.shared.rulebook.load();
        let common = Common {
            rulebook: &rulebook,
            timescale,
            port: endpoint.port,
            now: self.shared.started.elapsed(),
        };
        for place in 0..received {
            match self.answer(place, &common) {
                Ok(reply) => self.waiting.push(reply),
                Err(reason) => self.counters.count(reason),
            }
            if self.waiting.len() >= self.tx_batch {
                self.send(endpoint, timescale);
            }
        }
        self.send(endpoint, timescale);
        Ok(received)
    }

    fn answer(
        &mut self,
        place: usize,
        common: &Common<'_>,
    ) -> Result<(Outgoing, Pending), Unanswered> {
        let arrival = self.batch.arrival(place).ok_or(Unanswered::Malformed)?;
        let at = self.stamp(&arrival, common.timescale);
        let Arrival {
            source,
            destination,
            len,
            ..
        } = arrival;
        if !destination.unicast {
            return Err(Unanswered::Group);
        }
        let target = SocketAddr::new(destination.address, common.port);
        let rulebook = common.rulebook;
        let rule = match rulebook.admit_from_device(destination.device, source, target) {
            Admission::Answer(rule) => rule,
            Admission::Refused { reason, .. } => return Err(reason.into()),
            Admission::NotOurs => return Err(Unanswered::NotOurs),
        };
        self.charge(rule, &arrival, common)?;
        let received = Received {
            at,
            len,
            ttl: arrival.ttl.unwrap_or(UNKNOWN_TTL),
            tos: arrival.tos.unwrap_or(0),
        };
        let sessions = &self.shared.sessions;
        let next =
            |ssid| sessions.next(&SessionKey::new(rule.listener, source, target).with_ssid(ssid));
        let buffer = self.batch.buffer_mut(place);
        match reflect::decide(buffer, &received, rule, common.timescale, next) {
            Verdict::Reply(pending) => {
                let reply = Outgoing {
                    place,
                    len: pending.payload_len(),
                    to: source,
                    header: Header {
                        from: destination.address,
                        tos: rule.reply_tos(received.tos),
                        // A link-local address means nothing without its device. All else goes where
                        // the host's routes, or the socket's own device, say.
                        device: if is_link_local(destination.address) {
                            destination.device
                        } else {
                            0
                        },
                    },
                };
                Ok((reply, pending))
            }
            Verdict::Ignore(reason) => Err(reason.into()),
        }
    }

    fn charge(
        &self,
        rule: &Rule,
        arrival: &Arrival,
        common: &Common<'_>,
    ) -> Result<(), Unanswered> {
        let listeners = common.rulebook.listeners();
        let place = usize::try_from(rule.listener).ok();
        let Some(listener) = place.and_then(|place| listeners.get(place)) else {
            return Ok(());
        };
        // Of an IP packet without options and in one piece, as the socket does not tell.
        let headers = match arrival.source {
            SocketAddr::V4(_) => 20 + 8,
            SocketAddr::V6(_) => 40 + 8,
        };
        let octets = u32::try_from(headers + arrival.len).unwrap_or(u32::MAX);
        let policer = &self.shared.policer;
        policer.charge(
            rule.listener,
            &listener.limits,
            arrival.source.ip(),
            octets,
            common.now,
        )?;
        Ok(())
    }

    /// T2: from the kernel, on the scale of T3.
    fn stamp(&self, arrival: &Arrival, timescale: Timescale) -> Tai {
        let at = arrival.stamp.unwrap_or_else(|| {
            self.counters.user_space_stamps.add(1);
            self.clock.utc()
        });
        at.to_tai(timescale.tai_offset)
    }

    /// Stamps and sends what waits, run by run.
    fn send(&mut self, endpoint: &Endpoint, timescale: Timescale) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut rest = waiting.drain(..).peekable();
        while let Some((first, pending)) = rest.next() {
            // The last thing before the system call: what follows costs nanoseconds per packet.
            let t3 = self.clock.utc().to_tai(timescale.tai_offset);
            let departure = Departure::new(t3, timescale);
            self.sealed.clear();
            self.seal(&departure, first, pending);
            while let Some((next, pending)) =
                rest.next_if(|(reply, _)| reply.header == first.header)
            {
                self.seal(&departure, next, pending);
            }
            self.transmit(endpoint);
        }
        drop(rest);
        self.waiting = waiting;
    }

    fn seal(&mut self, departure: &Departure, reply: Outgoing, pending: Pending) {
        let payload = self.batch.buffer_mut(reply.place);
        if departure.finish(pending, payload) {
            self.sealed.push(reply);
        } else {
            self.counters.count(Unanswered::NoRoom);
        }
    }

    fn transmit(&mut self, endpoint: &Endpoint) {
        let mut run = self.sealed.as_slice();
        while !run.is_empty() {
            match self.sender.send(&endpoint.socket, &self.batch, run) {
                Ok(sent) => {
                    self.counters.reflected.add(sent as u64);
                    run = run.get(sent.max(1)..).unwrap_or_default();
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    let reason = SendError::from(error);
                    // A full queue stays full for longer than T3 would be true.
                    let unsent = if reason == SendError::Full {
                        run.len()
                    } else {
                        1
                    };
                    self.counters.count_unsent(reason, unsent as u64);
                    run = run.get(unsent..).unwrap_or_default();
                }
            }
        }
    }
}

/// Whether receiving makes no sense any more. Everything else is news of the network.
fn is_fatal(error: Errno) -> bool {
    matches!(
        error,
        Errno::EBADF | Errno::EFAULT | Errno::EINVAL | Errno::ENOTSOCK
    )
}
