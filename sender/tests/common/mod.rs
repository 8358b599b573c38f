//! A small UDP reflector on loopback that does to chosen probes what a network or a bad peer does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use clock::{Clock, SystemClock};
use sender::args;
use sender::config::Config;
use sender::control::Control;
use sender::error::Error;
use sender::outcome::Outcome;
use sender::warning::Warning;
use wire::error_estimate::ErrorEstimate;
use wire::time::{NtpTimestamp, PtpTimestamp, Tai};
use wire::twamp::{ReplyFields, Request, reply_len, write_reply, write_ssid, write_transmit};

/// What becomes of the reply to one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is sent.
    Reply,
    /// It is not sent, though the probe is counted.
    Drop,
    /// There is none: the probe does not reach the reflector.
    LoseProbe,
    /// It is sent this many times.
    Copies(u32),
    /// The probe reaches the reflector twice, and each copy is answered.
    DoubleProbe,
    /// It is sent right after the reply to probe `until` of the same session.
    HoldUntil { until: u32 },
    /// It is sent once this much time has passed since T1.
    HoldFor(Duration),
    /// It is sent, and once more when this much time has passed since T1.
    ReplyAndAgainAfter(Duration),
    /// It is sent with one octet inverted.
    Corrupt { octet: usize },
    /// Only its first octets are sent.
    Cut { len: usize },
}

/// How the reflector stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As TWAMP Light in NTP format, with these Error Estimate bits.
    Ntp(u16),
    /// As a stateful STAMP reflector that knows RFC 8972: in NTP format, with sequence numbers of its
    /// own for each source, and with the sender's identifier.
    Stateful,
    /// In PTPv2 format, 37 s ahead of UTC.
    Ptp,
    /// T2 and T3 zero.
    NoStamps,
    /// T3 a second before T2.
    Backwards,
    /// The request unchanged.
    Echo,
}

/// Sequence numbers of the probes received, by source, in order of arrival.
pub type Seen = BTreeMap<SocketAddr, Vec<u32>>;

pub struct Reflector {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    last: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reflector {
    /// An honest reflector on 127.0.0.1, but for what `fate` does to the probe with a given
    /// sequence number.
    pub fn start(fate: impl Fn(u32) -> Fate + Send + 'static) -> Self {
        Self::start_as(Style::Ntp(0x0001), "127.0.0.1:0", fate)
    }

    pub fn start_as(style: Style, bind: &str, fate: impl Fn(u32) -> Fate + Send + 'static) -> Self {
        let socket = UdpSocket::bind(bind).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::new()));
        let last = Arc::new(Mutex::new(Vec::new()));
        let mut worker = Worker {
            socket,
            style,
            held: Vec::new(),
            numbers: BTreeMap::new(),
            seen: Arc::clone(&seen),
            last: Arc::clone(&last),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                worker.step(&fate);
            }
        });
        Self {
            address,
            stop,
            seen,
            last,
            thread: Some(thread),
        }
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// The octets of the last probe received.
    pub fn last_probe(&self) -> Vec<u8> {
        self.last.lock().unwrap().clone()
    }

    /// Number of probes received.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().values().map(Vec::len).sum()
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(
                outcome.is_ok() || std::thread::panicking(),
                "the reflector thread panicked"
            );
        }
    }
}

struct Held {
    payload: Vec<u8>,
    to: SocketAddr,
    until: Until,
}

enum Until {
    Probe(u32),
    Utc(i64),
}

struct Worker {
    socket: UdpSocket,
    style: Style,
    held: Vec<Held>,
    /// The next number of a stateful reflector, by source.
    numbers: BTreeMap<SocketAddr, u32>,
    seen: Arc<Mutex<Seen>>,
    last: Arc<Mutex<Vec<u8>>>,
}

impl Worker {
    fn step(&mut self, fate: &impl Fn(u32) -> Fate) {
        let mut buffer = vec![0u8; 65_536];
        if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            self.take(&mut buffer, len, from, fate);
        }
        let now = SystemClock.utc().nanos();
        self.release(|_, until| matches!(until, Until::Utc(at) if now >= *at));
    }

    fn take(
        &mut self,
        buffer: &mut [u8],
        len: usize,
        from: SocketAddr,
        fate: &impl Fn(u32) -> Fate,
    ) {
        let request = Request::parse(&buffer[..len]).unwrap();
        buffer[..len].clone_into(&mut self.last.lock().unwrap());
        let sequence = request.sequence();
        let now = SystemClock.utc();
        let t1 = NtpTimestamp::from_bytes(request.timestamp())
            .to_utc(now)
            .nanos();
        self.seen
            .lock()
            .unwrap()
            .entry(from)
            .or_default()
            .push(sequence);
        let fate = fate(sequence);
        if fate == Fate::LoseProbe {
            return;
        }
        let mut payload = self.reply(buffer, len, sequence, from);
        match fate {
            Fate::DoubleProbe => {
                self.send(&payload, from);
                // The copy is the same but for what the reflector writes.
                if self.style == Style::Stateful {
                    let number = self.next_number(from);
                    payload[..4].copy_from_slice(&number.to_be_bytes());
                }
                self.send(&payload, from);
            }
            Fate::Reply => self.send(&payload, from),
            Fate::Drop | Fate::LoseProbe => {}
            Fate::Copies(copies) => (0..copies).for_each(|_| self.send(&payload, from)),
            Fate::HoldUntil { until } => {
                self.held.push(Held {
                    payload,
                    to: from,
                    until: Until::Probe(until),
                });
            }
            Fate::HoldFor(time) | Fate::ReplyAndAgainAfter(time) => {
                if matches!(fate, Fate::ReplyAndAgainAfter(_)) {
                    self.send(&payload, from);
                }
                let at = t1 + i64::try_from(time.as_nanos()).unwrap();
                self.held.push(Held {
                    payload,
                    to: from,
                    until: Until::Utc(at),
                });
            }
            Fate::Corrupt { octet } => {
                let mut corrupt = payload;
                corrupt[octet] = !corrupt[octet];
                self.send(&corrupt, from);
            }
            Fate::Cut { len } => self.send(&payload[..len], from),
        }
        self.release(|to, until| {
            to == from && matches!(until, Until::Probe(probe) if *probe == sequence)
        });
    }

    fn release(&mut self, due: impl Fn(SocketAddr, &Until) -> bool) {
        let (now, later) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held: &Held| due(held.to, &held.until));
        self.held = later;
        for held in now {
            self.send(&held.payload, held.to);
        }
    }

    fn next_number(&mut self, source: SocketAddr) -> u32 {
        let next = self.numbers.entry(source).or_default();
        let number = *next;
        *next += 1;
        number
    }

    fn reply(
        &mut self,
        buffer: &mut [u8],
        len: usize,
        sequence: u32,
        source: SocketAddr,
    ) -> Vec<u8> {
        if self.style == Style::Echo {
            return buffer[..len].to_vec();
        }
        let reply = &mut buffer[..reply_len(len)];
        let t2 = self.stamp(0);
        let fields = ReplyFields {
            sequence: match self.style {
                Style::Stateful => self.next_number(source),
                _ => sequence,
            },
            receive_timestamp: t2,
            sender_ttl: 255,
        };
        let ssid = [reply[14], reply[15]];
        write_reply(reply, len, &fields).unwrap();
        if self.style == Style::Stateful {
            write_ssid(reply, u16::from_be_bytes(ssid)).unwrap();
        }
        let (t3, error) = match self.style {
            Style::Ntp(bits) => (self.stamp(0), bits),
            Style::Stateful => (self.stamp(0), 0x0001),
            Style::Ptp => (self.stamp(0), 0x4001),
            Style::Backwards => (self.stamp(-1_000_000_000), 0x0001),
            Style::NoStamps | Style::Echo => (t2, 0x0001),
        };
        write_transmit(reply, t3, ErrorEstimate::from_bits(error)).unwrap();
        reply.to_vec()
    }

    fn stamp(&self, offset: i64) -> [u8; 8] {
        let now = SystemClock.utc().nanos() + offset;
        match self.style {
            Style::NoStamps => [0; 8],
            Style::Ptp => PtpTimestamp::from_tai(Tai::from_nanos(now + 37_000_000_000)).to_bytes(),
            _ => NtpTimestamp::from_utc(wire::time::Utc::from_nanos(now)).to_bytes(),
        }
    }

    fn send(&self, payload: &[u8], to: SocketAddr) {
        // The sender may be gone when the last replies are sent.
        let _ = self.socket.send_to(payload, to);
    }
}

/// A run from the look-up to the results.
pub fn run(config: &Config, control: &Control) -> Result<Outcome, Error> {
    sender::run::run(config, &sender::run::resolve(config)?, control, None)
}

/// Whether there is an IPv6 loopback; says so if not.
pub fn has_ipv6() -> bool {
    let ipv6 = UdpSocket::bind("[::1]:0").is_ok();
    if !ipv6 {
        testbed::privilege::skip("this host has no IPv6 loopback");
    }
    ipv6
}

/// The configuration of a run to `address`.
pub fn config(address: SocketAddr, options: &str) -> Config {
    let line = format!("sender {address} {options}");
    Config::try_from(args::parse(line.split_whitespace()).unwrap()).unwrap()
}

/// A run to `address` with these options.
pub fn measure(address: SocketAddr, options: &str) -> Outcome {
    run(&config(address, options), &Control::default()).unwrap()
}

/// The codes of a run's warnings.
pub fn codes(outcome: &Outcome) -> Vec<&'static str> {
    // A busy machine may skip or miss send times in any run.
    outcome
        .warnings
        .iter()
        .map(Warning::code)
        .filter(|code| !["skipped", "cpu_saturated", "send_error"].contains(code))
        .collect()
}

/// An address whose port was free a moment ago.
pub fn closed_port(bind: &str) -> SocketAddr {
    UdpSocket::bind(bind).unwrap().local_addr().unwrap()
}
