//! The reflector's worker on rings in memory: its path in user space and nothing else.
//!
//! ```text
//!   not measured:   deliver ─► rx ring                    tx ring ─► transmitted
//!   measured:                     └─► turns: check, decide, stamp ─┘
//! ```
//!
//! What the kernel and the network do is done between the measured stretches. Waking the kernel is a
//! call that does nothing. Every reply of the last stretch is checked.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use clock::SystemClock;
use ebpf::{RxMeta, StampSource};
use nix::time::{ClockId, clock_gettime};
use reflector::counters::QueueCounters;
use reflector::datagram::Flow;
use reflector::reflect::Timescale;
use reflector::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, ListenerId, Rule, SequencePolicy, ShortPolicy,
};
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

/// What is sent, and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// Over IPv6.
    pub v6: bool,
    /// Octets of payload.
    pub len: usize,
    /// The XDP program left metadata.
    pub meta: bool,
    /// By the session's own count, which is a single counter here.
    pub stateful: bool,
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

/// One session: what a table costs is for the benchmarks of the table.
#[derive(Debug, Default)]
struct OneSession(AtomicU32);

impl Sessions for OneSession {
    type Key = (ListenerId, Flow, u16);

    fn key(listener: ListenerId, flow: &Flow, ssid: u16) -> Self::Key {
        (listener, *flow, ssid)
    }

    fn next(&self, session: &Self::Key) -> Option<u32> {
        std::hint::black_box(session);
        Some(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn is_large(&self) -> bool {
        false
    }

    fn touch(&self, _sessions: &[Self::Key]) {}
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
    worker: Worker<Idle, SystemClock, OneRule, OneSession>,
    kernel: KernelSide,
    counters: Arc<QueueCounters>,
    case: Case,
    frame: Vec<u8>,
    meta: Vec<u8>,
    delivered: u64,
}

impl Rig {
    /// A worker that has seen nothing yet.
    pub fn new(case: Case) -> Result<Self, Box<dyn Error>> {
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
            listener: 3,
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
        let frame = frame(&case)?;
        let meta = meta(&frame, rule.listener)?;
        let worker = Worker::new(Parts {
            queue,
            kernel: Idle,
            clock: SystemClock,
            timescale: Arc::new(SharedTimescale::new(timescale)),
            counters: Arc::clone(&counters),
            rules: Arc::new(ArcSwap::from_pointee(OneRule(rule))),
            sessions: Arc::new(OneSession::default()),
            ifindex: 1,
            tx_batch: case.tx_batch,
        });
        let mut rig = Self {
            worker,
            kernel,
            counters,
            case,
            frame,
            meta: if case.meta { meta } else { Vec::new() },
            delivered: 0,
        };
        // The first turn fills the fill ring.
        rig.worker.turn();
        Ok(rig)
    }

    /// Lets [`STRETCH`] packets pass; returns how much processor time the worker took.
    pub fn stretch(&mut self) -> Result<Duration, Box<dyn Error>> {
        for _ in 0..STRETCH {
            if !self.kernel.deliver(&self.frame, &self.meta) {
                return Err("no room for a request".into());
            }
        }
        self.delivered += STRETCH as u64;
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

    /// Fails unless every packet was answered, and stamped as the case says.
    pub fn check(&self) -> Result<(), Box<dyn Error>> {
        let counters = &self.counters;
        let unstamped = if self.case.meta { 0 } else { self.delivered };
        let sound = counters.reflected.value() == self.delivered
            && counters.user_space_stamps.value() == unstamped;
        if !sound {
            return Err(format!("the rig does not hold: {counters:?}").into());
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

/// A request as a sender on another host sends it.
fn frame(case: &Case) -> Result<Vec<u8>, Box<dyn Error>> {
    const HOSTS: [(IpAddr, IpAddr); 2] = [
        (
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        ),
        (
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        ),
    ];
    let (source, destination) = HOSTS[usize::from(case.v6)];
    let source = SocketAddr::new(source, 40_000);
    let destination = SocketAddr::new(destination, wire::twamp::UDP_PORT);
    let frame = match (source, destination) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => UdpFrame::v4(from, to),
        (SocketAddr::V6(from), SocketAddr::V6(to)) => UdpFrame::v6(from, to),
        _ => return Err("two families".into()),
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
fn meta(frame: &[u8], listener: ListenerId) -> Result<Vec<u8>, Box<dyn Error>> {
    let layout = Layout::parse(frame)?;
    let meta = RxMeta {
        arrival_ns: 1_700_000_037_123_456_789,
        rule: listener,
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

/// Processor time of this thread so far: what others do on the processor does not count.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(time))
}
