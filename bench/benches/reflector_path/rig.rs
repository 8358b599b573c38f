//! The reflector's worker on rings in memory: its path in user space and nothing else.
//!
//! ```text
//!   not measured:   deliver ─► rx ring                    tx ring ─► transmitted
//!   measured:                     └─► turns: check, decide, stamp ─┘
//! ```
//!
//! What the kernel and the network do is done between the measured stretches. Waking the kernel is a
//! call that does nothing. Every reply of the last stretch is checked.

#[path = "../common/processor_time.rs"]
mod processor_time;

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clock::SystemClock;
use ebpf::{RxMeta, StampSource};
use processor_time::processor_time;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};
use reflector::counters::QueueCounters;
use reflector::datagram::Flow;
use reflector::reflect::Timescale;
use reflector::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, ListenerId, Rule, SequencePolicy, ShortPolicy,
};
use reflector::session::{self, DEFAULT_IDLE, DEFAULT_LIMIT, SessionKey};
use reflector::worker::{Parts, RX_BATCH, Rules, Sessions, SharedTimescale, Worker};
use testbed::{Datagram, UdpFrame};
use wire::error_estimate::ErrorEstimate;
use wire::frame::Layout;
use wire::time::{TaiOffset, TimestampFormat};
use xsk::testing::{self, KernelSide};
use xsk::{Kernel, RingSizes, Umem, UmemConfig, Wake};

/// Turns per measured stretch: so many that reading the clock around them costs little.
const TURNS: usize = 8;
/// Packets per measured stretch.
pub const STRETCH: usize = TURNS * RX_BATCH;
const RING: u32 = 1024;
const LISTENER: ListenerId = 3;
/// Ports of a source address.
const PORTS: u32 = 1000;

/// What is sent, and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a choice of its own, named where it is made"
)]
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// Over IPv6.
    pub v6: bool,
    /// Octets of payload.
    pub len: usize,
    /// The XDP program left metadata.
    pub meta: bool,
    /// By the session's own count.
    pub stateful: bool,
    /// Sessions of a batch are brought into the cache before it is answered, as the table wants it.
    pub touching: bool,
    /// Replies that share one T3: 64 in zero-copy mode, 8 in copy mode.
    pub tx_batch: usize,
}

impl Case {
    /// A TWAMP-Light packet of 41 octets over IPv4, answered without state.
    pub const PLAIN: Self = Self {
        name: "v4-41",
        v6: false,
        len: 41,
        meta: true,
        stateful: false,
        touching: true,
        tx_batch: 64,
    };

    /// All that is measured.
    pub const ALL: [Self; 8] = [
        Self::PLAIN,
        Self {
            name: "v4-41-stateful",
            stateful: true,
            ..Self::PLAIN
        },
        Self {
            name: "v4-41-batches-of-8",
            tx_batch: 8,
            ..Self::PLAIN
        },
        Self {
            name: "v4-41-no-metadata",
            meta: false,
            ..Self::PLAIN
        },
        Self {
            name: "v4-14",
            len: 14,
            ..Self::PLAIN
        },
        Self {
            name: "v4-44-stamp",
            len: 44,
            ..Self::PLAIN
        },
        Self {
            name: "v4-1400",
            len: 1400,
            ..Self::PLAIN
        },
        Self {
            name: "v6-41",
            v6: true,
            ..Self::PLAIN
        },
    ];
}

/// One rule for everything.
#[derive(Debug)]
struct OneRule(Rule);

impl Rules for OneRule {
    fn generation(&self) -> u16 {
        0
    }

    fn rule(&self, listener: ListenerId) -> Option<&Rule> {
        (listener == self.0.listener).then_some(&self.0)
    }

    fn find(&self, _ifindex: u32, flow: &Flow) -> Option<&Rule> {
        (flow.destination.port() == wire::twamp::UDP_PORT).then_some(&self.0)
    }
}

/// The reflector's own table, whose wish to have its slots touched need not be heard.
#[derive(Debug)]
struct Table {
    sessions: session::Sessions,
    touching: bool,
}

impl Sessions for Table {
    type Key = SessionKey;

    fn key(listener: ListenerId, flow: &Flow, ssid: u16) -> SessionKey {
        <session::Sessions as Sessions>::key(listener, flow, ssid)
    }

    fn next(&self, key: &SessionKey) -> Option<u32> {
        self.sessions.next(key)
    }

    fn is_large(&self) -> bool {
        self.touching && self.sessions.is_large()
    }

    fn touch(&self, keys: &[SessionKey]) {
        self.sessions.touch(keys);
    }
}

/// A kernel that is busy as it is.
#[derive(Debug)]
struct Idle;

impl Kernel for Idle {
    fn wake_tx(&self) -> io::Result<Wake> {
        Ok(Wake::Done)
    }

    fn wake_rx(&self) -> io::Result<Wake> {
        Ok(Wake::Done)
    }
}

/// The worker and what it is fed with.
pub struct Rig {
    worker: Worker<Idle, SystemClock, OneRule, Table>,
    kernel: KernelSide,
    counters: Arc<QueueCounters>,
    sessions: Arc<Table>,
    case: Case,
    requests: Arc<Requests>,
    random: Pcg64Mcg,
    delivered: usize,
}

impl Rig {
    /// A worker that has seen nothing yet, and will see packets of these flows: each once in order,
    /// then any at random.
    pub fn new(case: Case, requests: Arc<Requests>) -> Result<Self, Box<dyn Error>> {
        let umem = Umem::allocate(&UmemConfig {
            frames: 2 * RING,
            ..UmemConfig::default()
        })?;
        let sizes = RingSizes {
            rx: RING,
            fill: RING,
            tx: RING,
            completion: RING,
        };
        let (queue, kernel) = testing::pair(umem, sizes, 0);
        let counters = Arc::new(QueueCounters::default());
        let timescale = Timescale {
            tai_offset: TaiOffset::from_seconds(37),
            error_estimate: ErrorEstimate::from_nanos(1_000, true, TimestampFormat::Ntp),
        };
        let rule = Rule {
            listener: LISTENER,
            format: Format::ByLength,
            timestamps: TimestampFormat::Ntp,
            sequence: if case.stateful {
                SequencePolicy::Stateful
            } else {
                SequencePolicy::Stateless
            },
            dscp: DscpPolicy::Copy,
            ecn: EcnPolicy::Clear,
            flow_label: FlowLabelPolicy::Copy,
            short: ShortPolicy::Answer,
            refuse_replies: true,
        };
        let sessions = Arc::new(Table {
            sessions: session::Sessions::new(DEFAULT_LIMIT as usize, DEFAULT_IDLE)?,
            touching: case.touching,
        });
        let worker = Worker::new(Parts {
            queue,
            kernel: Idle,
            clock: SystemClock,
            timescale: Arc::new(SharedTimescale::new(timescale)),
            counters: Arc::clone(&counters),
            rules: Arc::new(ArcSwap::from_pointee(OneRule(rule))),
            sessions: Arc::clone(&sessions),
            ifindex: 1,
            tx_batch: case.tx_batch,
        });
        let mut rig = Self {
            worker,
            kernel,
            counters,
            sessions,
            case,
            requests,
            random: Pcg64Mcg::seed_from_u64(1),
            delivered: 0,
        };
        // The first turn fills the fill ring.
        rig.worker.turn();
        Ok(rig)
    }

    /// Lets [`STRETCH`] packets pass; returns how much processor time the worker took.
    pub fn stretch(&mut self) -> Result<Duration, Box<dyn Error>> {
        let flows = self.requests.flows();
        for _ in 0..STRETCH {
            let flow = if self.delivered < flows {
                self.delivered
            } else {
                usize::try_from(self.random.next_u32())? % flows
            };
            let frame = self.requests.frame(flow).ok_or("no such flow")?;
            if !self.kernel.deliver(frame, &self.requests.meta) {
                return Err("no room for a request".into());
            }
            self.delivered += 1;
        }
        let start = processor_time()?;
        self.turns();
        let took = processor_time()?.saturating_sub(start);
        let replies = self.kernel.transmitted();
        if replies.len() != STRETCH {
            return Err(format!("{} replies instead of {STRETCH}", replies.len()).into());
        }
        let last = replies.last().ok_or("no reply")?;
        let reply = Datagram::parse(last).map_err(|error| format!("{error:?}"))?;
        let sound = reply.udp_checksum_valid
            && reply.payload.len() == self.case.len.max(41)
            && reply.source.port() == wire::twamp::UDP_PORT;
        if !sound {
            return Err(format!("a wrong reply: {reply:?}").into());
        }
        Ok(took)
    }

    /// Fails unless every packet was answered and stamped as the case says, and every flow was a
    /// session if it is one that is counted.
    pub fn check(&self) -> Result<(), Box<dyn Error>> {
        let counters = &self.counters;
        let delivered = self.delivered as u64;
        let unstamped = if self.case.meta { 0 } else { delivered };
        let seen = self.requests.flows().min(self.delivered) as u64;
        let sessions = self.sessions.sessions.counts();
        let sound = counters.reflected.value() == delivered
            && counters.user_space_stamps.value() == unstamped
            && sessions.created == if self.case.stateful { seen } else { 0 }
            && sessions.refused == 0;
        if !sound {
            return Err(format!("the rig does not hold: {counters:?}, {sessions:?}").into());
        }
        Ok(())
    }

    #[inline(never)]
    fn turns(&mut self) {
        for _ in 0..TURNS {
            self.worker.turn();
        }
    }
}

/// What is sent, made before anything is measured: a frame for each flow, and metadata, which is
/// the same for all.
#[derive(Debug)]
pub struct Requests {
    frames: Vec<u8>,
    /// Octets of a frame.
    len: usize,
    meta: Vec<u8>,
}

impl Requests {
    /// Of so many flows, which differ in source address and port.
    pub fn new(case: &Case, flows: u32) -> Result<Arc<Self>, Box<dyn Error>> {
        let first = frame(case, 0)?;
        let meta = if case.meta { meta(&first)? } else { Vec::new() };
        let len = first.len();
        let mut frames = first;
        for flow in 1..flows {
            frames.extend(frame(case, flow)?);
        }
        Ok(Arc::new(Self { frames, len, meta }))
    }

    fn flows(&self) -> usize {
        self.frames.len() / self.len
    }

    fn frame(&self, flow: usize) -> Option<&[u8]> {
        self.frames.get(flow * self.len..(flow + 1) * self.len)
    }
}

/// A request of this flow as a sender on another host sends it.
fn frame(case: &Case, flow: u32) -> Result<Vec<u8>, Box<dyn Error>> {
    let host = 2 + flow / PORTS;
    let port = 20_000 + u16::try_from(flow % PORTS)?;
    let frame = if case.v6 {
        let [a, b, c, d] = host.to_be_bytes();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let from = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, high, low);
        let to = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        UdpFrame::v6(
            SocketAddrV6::new(from, port, 0, 0),
            SocketAddrV6::new(to, wire::twamp::UDP_PORT, 0, 0),
        )
    } else {
        let [_, b, c, d] = host.to_be_bytes();
        UdpFrame::v4(
            SocketAddrV4::new(Ipv4Addr::new(10, b, c, d), port),
            SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), wire::twamp::UDP_PORT),
        )
    };
    let mut payload = vec![0; case.len];
    let request = wire::twamp::RequestFields {
        sequence: 7,
        timestamp: [0xe8, 0xfe, 0x6f, 0x80, 1, 2, 3, 4],
        error_estimate: ErrorEstimate::from_nanos(1_000, true, TimestampFormat::Ntp),
    };
    request.emit(&mut payload)?;
    Ok(frame.payload(&payload).pad_to(60).build())
}

/// What the XDP program writes below it.
fn meta(frame: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let layout = Layout::parse(frame)?;
    let meta = RxMeta {
        arrival_ns: 1_700_000_037_123_456_789,
        rule: LISTENER,
        l3: layout.l3,
        l4: layout.l4,
        payload: layout.payload,
        payload_len: layout.payload_len,
        stamp_source: StampSource::KERNEL_TAI,
        vlan_tags: layout.vlan_tags,
        generation: 0,
    };
    Ok(meta.to_bytes().to_vec())
}
