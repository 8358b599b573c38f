//! A Session-Reflector on a UDP socket that does exactly as it is told, quirks of real ones included,
//! and keeps the truth about it.
//!
//! Plain offsets and its own arithmetic, not crate `wire`: an oracle independent of the code under
//! test. It answers the unauthenticated packets of TWAMP-Test (RFC 5357 section 4.2) and STAMP (RFC
//! 8762 section 4.3).

mod reply;
mod socket;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::background::{Background, Bell};
use crate::{Error, Namespace, wait_for};
use reply::{Answer, Request};
use socket::{Received, Socket};

/// What may vary: `ReflectorConfig { stateful: true, ..ReflectorConfig::default() }`.
///
/// By default an honest, stateless TWAMP Light reflector.
#[derive(Debug, Clone)]
pub struct ReflectorConfig {
    /// Send requests back as they came and do nothing else, like a UDP echo server.
    pub echo: bool,
    /// Count replies per session (sender's address and port, and SSID with [`Layout::Stamp`]) from 0,
    /// instead of copying the sender's Sequence Number.
    pub stateful: bool,
    /// With `stateful`: the reply to the packet with this place in its session, counted from 0, has
    /// number 0 again, as after a restart.
    pub restart_at: Option<u32>,
    /// Format of T2 and T3, and the Z bit of the Error Estimate (RFC 8186).
    pub format: Format,
    /// The Error Estimate but for its Z bit: S in bit 15, Scale in 13 to 8, Multiplier in 7 to 0.
    /// 0x0001 by default: unsynchronised, 2⁻³² s.
    pub error_estimate: u16,
    /// How far its clock is ahead of the system's, in nanoseconds.
    pub clock_offset: i64,
    /// What T2 and T3 tell.
    pub stamps: Stamps,
    /// The fields of a reply.
    pub layout: Layout,
    /// The length of a reply.
    pub size: ReplySize,
    /// Sender TTL in replies, if not that of the request's IP header.
    pub sender_ttl: Option<u8>,
    /// TTL or hop limit of replies; 255 by default.
    pub ttl: u8,
    /// TOS or traffic class octet of replies; `None`, the default: the request's DSCP and ECN 0.
    pub tos: Option<u8>,
}

/// A timestamp format of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Seconds since 1900 in UTC, and 2⁻³² s (RFC 5905 section 6).
    Ntp,
    /// Seconds since 1970 in TAI, 37 s ahead of UTC, and nanoseconds (RFC 8186).
    Ptp,
}

/// What T2 and T3 tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// The clock when the packet was read, and just before the reply is sent.
    Clock,
    /// The clock when the packet was read, and exactly this long later, when the reply is sent.
    Residence(Duration),
    /// T3 is this long before T2.
    Backwards(Duration),
    /// Both all zero.
    Zero,
}

/// The fields of a reply; unless [`ReplySize`] says otherwise it is as long as the request, and at
/// least as long as these fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// 41 octets (RFC 5357 section 4.2.1).
    Light,
    /// 44 octets: the request's DSCP and ECN at octet 41 (RFC 7750 section 2.2).
    DscpEcn,
    /// 44 octets: the SSID copied to octets 14 and 15 (RFC 8972 section 3).
    Stamp,
}

/// The length of a reply's UDP payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplySize {
    /// The request's, and at least the layout's.
    Rule,
    /// The request's, whatever it cuts off.
    Request,
    /// This many octets.
    Exactly(usize),
}

impl Default for ReflectorConfig {
    fn default() -> Self {
        Self {
            echo: false,
            stateful: false,
            restart_at: None,
            format: Format::Ntp,
            error_estimate: 0x0001,
            clock_offset: 0,
            stamps: Stamps::Clock,
            layout: Layout::Light,
            size: ReplySize::Rule,
            sender_ttl: None,
            ttl: 255,
            tos: None,
        }
    }
}

/// A request that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reflection {
    /// The Session-Sender's address and port.
    pub sender: SocketAddr,
    /// The request's Sequence Number.
    pub sequence: u32,
    /// The reply's Sequence Number; with `echo` the same.
    pub own_sequence: u32,
    /// TTL or hop limit with which the request came.
    pub ttl: u8,
    /// TOS or traffic class octet with which the request came.
    pub tos: u8,
    /// Octets of the request's UDP payload.
    pub request_len: usize,
    /// Octets of the reply's UDP payload.
    pub reply_len: usize,
    /// T2 by the reflector's clock, in nanoseconds since 1970 in UTC, whatever the reply tells.
    pub t2: i64,
    /// T3 likewise.
    pub t3: i64,
}

/// A running reflector. Dropping it stops it, and panics if it had failed.
///
/// ```
/// use testbed::reflector::{ReflectorConfig, ScriptedReflector};
/// # fn main() -> Result<(), testbed::Error> {
/// let config = ReflectorConfig { stateful: true, ..ReflectorConfig::default() };
/// let reflector = ScriptedReflector::start("127.0.0.1:0".parse().unwrap(), config)?;
/// println!("answers at {}", reflector.address());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ScriptedReflector {
    address: SocketAddr,
    /// Declared first of what the thread shares, so stopped first.
    background: Background,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    reflections: Mutex<Vec<Reflection>>,
    /// Datagrams dropped at the socket, as last told with one that was not.
    dropped: AtomicU32,
}

impl Shared {
    fn reflections(&self) -> MutexGuard<'_, Vec<Reflection>> {
        self.reflections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScriptedReflector {
    /// Starts one on `bind`, an address of the calling thread's namespace; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn start(bind: SocketAddr, config: ReflectorConfig) -> Result<Self, Error> {
        let socket = Socket::bind(bind)?;
        let address = socket.address()?;
        let shared = Arc::<Shared>::default();
        let mut worker = Worker {
            socket,
            config,
            shared: Arc::clone(&shared),
            sessions: HashMap::new(),
            pending: Vec::new(),
        };
        let background = Background::start("reflector", move |bell| worker.run(bell))?;
        Ok(Self {
            address,
            background,
            shared,
        })
    }

    /// Starts one inside `namespace`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_in(
        namespace: &Namespace,
        bind: impl Into<SocketAddr>,
        config: ReflectorConfig,
    ) -> Result<Self, Error> {
        let bind = bind.into();
        namespace.run(|| Self::start(bind, config))
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was answered so far, in the order in which the replies left.
    pub fn reflections(&self) -> Vec<Reflection> {
        self.shared.reflections().clone()
    }

    /// Requests that the kernel dropped at the socket before the last that was read.
    pub fn kernel_drops(&self) -> u32 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until this many requests were answered, and returns them all.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `timeout`, or at once if the reflector has failed.
    pub fn wait_for_count(
        &self,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Reflection>, Error> {
        let description = format!("{count} requests are answered");
        wait_for(&description, timeout, || {
            let ended = self.background.has_ended();
            let reflections = self.shared.reflections();
            if reflections.len() >= count {
                Some(Ok(reflections.clone()))
            } else {
                ended.then(|| Err(Error::Reflector("it has stopped".to_owned())))
            }
        })?
    }

    /// Stops it; replies that are not due yet are dropped.
    ///
    /// # Errors
    /// If it had failed.
    pub fn stop(&mut self) -> Result<Vec<Reflection>, Error> {
        self.background.stop()?;
        Ok(self.reflections())
    }
}

/// What makes a session: the sender's address and port, and the SSID.
type Session = (SocketAddr, [u8; 2]);

struct Worker {
    socket: Socket,
    config: ReflectorConfig,
    shared: Arc<Shared>,
    /// Packets of each session so far.
    sessions: HashMap<Session, u32>,
    /// Replies that leave later, in the order in which they are due.
    pending: Vec<Answer>,
}

impl Worker {
    fn run(&mut self, bell: &Bell) -> Result<(), Error> {
        const BATCH: usize = 64;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        while !bell.stopped() {
            bell.wait(&[self.socket.as_fd()], self.until_next()?)?;
            for _ in 0..BATCH {
                let Some(received) = self.socket.receive(&mut buffer)? else {
                    break;
                };
                let t2 = self.now()?;
                let payload = buffer.get(..received.len).unwrap_or_default();
                self.answer(payload, received, t2)?;
            }
            self.send_due()?;
        }
        Ok(())
    }

    /// Answers a request, now or later; what is no request is ignored.
    fn answer(&mut self, payload: &[u8], received: Received, t2: i64) -> Result<(), Error> {
        if let Some(dropped) = received.dropped {
            self.shared.dropped.store(dropped, Ordering::Relaxed);
        }
        let Some(request) = Request::parse(payload, received) else {
            return Ok(());
        };
        let number = self.number(&request);
        let answer = Answer::new(&self.config, &request, number, t2);
        if answer.due.is_some() {
            self.pending.push(answer);
            return Ok(());
        }
        self.send(answer)
    }

    /// The Sequence Number of the reply.
    fn number(&mut self, request: &Request<'_>) -> u32 {
        if !self.config.stateful {
            return request.sequence();
        }
        let ssid = match self.config.layout {
            Layout::Stamp => request.ssid(),
            Layout::Light | Layout::DscpEcn => [0; 2],
        };
        let came = self.sessions.entry((request.sender(), ssid)).or_default();
        let place = *came;
        *came += 1;
        match self.config.restart_at {
            Some(restart) if place >= restart => place - restart,
            _ => place,
        }
    }

    fn send_due(&mut self) -> Result<(), Error> {
        let now = self.now()?;
        let due = |answer: &Answer| answer.due.is_none_or(|due| due <= now);
        // The residence is the same for all, so that they are due in the order in which they came.
        let count = self.pending.iter().take_while(|answer| due(answer)).count();
        let ready: Vec<_> = self.pending.drain(..count).collect();
        ready.into_iter().try_for_each(|answer| self.send(answer))
    }

    fn send(&self, mut answer: Answer) -> Result<(), Error> {
        // Locked first, so that whoever has received the reply finds it among the reflections.
        let mut reflections = self.shared.reflections();
        let reflection = answer.finish(&self.config, self.now()?);
        self.socket
            .send(&answer.payload, reflection.sender, answer.ttl, answer.tos)?;
        reflections.push(reflection);
        Ok(())
    }

    /// How long until the next reply is due.
    fn until_next(&self) -> Result<Option<Duration>, Error> {
        let Some(due) = self.pending.first().and_then(|answer| answer.due) else {
            return Ok(None);
        };
        let left = due.saturating_sub(self.now()?);
        Ok(Some(Duration::from_nanos(left.try_into().unwrap_or(0))))
    }

    /// The reflector's clock, in nanoseconds since 1970 in UTC.
    fn now(&self) -> Result<i64, Error> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since
            .ok()
            .and_then(|since| i64::try_from(since.as_nanos()).ok())
            .and_then(|now| now.checked_add(self.config.clock_offset))
            .ok_or_else(|| Error::Reflector("its clock is out of range".to_owned()))
    }
}
