//! A worker with the kernel's side of its rings, rules and sessions to choose, and frames to feed it.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{SocketAddrV4, SocketAddrV6};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use clock::Clock;
use ebpf::{RxMeta, StampSource};
use reflector::counters::QueueCounters;
use reflector::datagram::Flow;
use reflector::reflect::Timescale;
use reflector::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, ListenerId, Padding, Rule, SequencePolicy,
    ShortPolicy,
};
use reflector::worker::{Parts, Rules, Sessions, SharedTimescale, Worker};
use testbed::UdpFrame;
use testbed::frames::{CUSTOMER_TAG, Checksum, SERVICE_TAG};
use wire::error_estimate::ErrorEstimate;
use wire::frame::Layout;
use wire::time::{Tai, TaiOffset, TimestampFormat, Utc};
use xsk::testing::{Doorbell, KernelSide, pair};
use xsk::{RingSizes, Umem, UmemConfig};

/// 2023-11-14T22:13:20 UTC, on the TAI scale of a kernel that knows of 37 leap seconds.
pub const NOW: Tai = Tai::from_nanos(1_700_000_037_000_000_000);
pub const TIMESCALE: Timescale = Timescale {
    tai_offset: TaiOffset::from_seconds(37),
    error_estimate: ErrorEstimate::from_bits(0x8587),
};
pub const FRAMES: u32 = 256;
/// The interface that packets come in by.
pub const IFINDEX: u32 = 3;
/// What [`meta_of`] says was matched.
pub const LISTENER: ListenerId = 1;

/// TWAMP-Light without state.
pub const RULE: Rule = Rule {
    listener: LISTENER,
    format: Format::TwampLight(Padding::SameOffset),
    timestamps: TimestampFormat::Ntp,
    sequence: SequencePolicy::Stateless,
    dscp: DscpPolicy::Copy,
    ecn: EcnPolicy::Clear,
    flow_label: FlowLabelPolicy::Copy,
    short: ShortPolicy::Answer,
    refuse_replies: true,
};

/// Rules by number, and one for what has to be looked up.
#[derive(Debug, Default)]
pub struct Book {
    pub generation: u16,
    pub rules: HashMap<ListenerId, Rule>,
    pub found: Option<Rule>,
    /// What was looked up.
    pub asked: Mutex<Vec<(u32, Flow)>>,
}

impl Book {
    /// One rule for everything.
    pub fn of(rule: Rule) -> Self {
        Self {
            rules: HashMap::from([(LISTENER, rule)]),
            found: Some(rule),
            ..Self::default()
        }
    }
}

impl Rules for Book {
    fn generation(&self) -> u16 {
        self.generation
    }

    fn rule(&self, listener: ListenerId) -> Option<&Rule> {
        self.rules.get(&listener)
    }

    fn find(&self, ifindex: u32, flow: &Flow) -> Option<&Rule> {
        self.asked.lock().unwrap().push((ifindex, *flow));
        self.found.as_ref()
    }
}

/// A session's name.
pub type Name = (ListenerId, Flow, u16);

/// A session table without a limit, until it is full.
#[derive(Debug, Default)]
pub struct Counts {
    pub full: AtomicBool,
    pub large: AtomicBool,
    pub next: Mutex<HashMap<Name, u32>>,
    pub touched: Mutex<Vec<Name>>,
}

impl Sessions for Counts {
    type Key = Name;

    fn key(listener: ListenerId, flow: &Flow, ssid: u16) -> Name {
        (listener, *flow, ssid)
    }

    fn next(&self, name: &Name) -> Option<u32> {
        if self.full.load(Ordering::Relaxed) {
            return None;
        }
        let mut sessions = self.next.lock().unwrap();
        let next = sessions.entry(*name).or_default();
        *next += 1;
        Some(*next - 1)
    }

    fn is_large(&self) -> bool {
        self.large.load(Ordering::Relaxed)
    }

    fn touch(&self, names: &[Name]) {
        self.touched.lock().unwrap().extend(names);
    }
}

/// Each reading is a microsecond later than the last.
#[derive(Debug, Default)]
pub struct TickingClock(Cell<i64>);

impl Clock for TickingClock {
    fn tai(&self) -> Tai {
        self.0.set(self.0.get() + 1_000);
        Tai::from_nanos(NOW.nanos() + self.0.get())
    }

    fn utc(&self) -> Utc {
        self.tai().to_utc(TIMESCALE.tai_offset)
    }
}

/// A worker and the kernel's side of its rings.
pub struct Bench {
    pub worker: Worker<Doorbell, TickingClock, Book, Counts>,
    pub kernel: KernelSide,
    pub counters: Arc<QueueCounters>,
    pub rules: Arc<ArcSwap<Book>>,
    pub sessions: Arc<Counts>,
}

impl Bench {
    pub fn new(start_cursor: u32) -> Self {
        Self::with_rings(
            RingSizes {
                rx: 64,
                tx: 64,
                fill: 64,
                completion: 64,
            },
            start_cursor,
        )
    }

    /// One that answers everything by `rule`.
    pub fn by(rule: Rule) -> Self {
        let bench = Self::new(0);
        bench.rules.store(Arc::new(Book::of(rule)));
        bench
    }

    pub fn with_rings(sizes: RingSizes, start_cursor: u32) -> Self {
        let config = UmemConfig {
            frames: FRAMES,
            ..UmemConfig::default()
        };
        let (queue, kernel) = pair(Umem::allocate(&config).unwrap(), sizes, start_cursor);
        let counters = Arc::new(QueueCounters::default());
        let rules = Arc::new(ArcSwap::from_pointee(Book::of(RULE)));
        let sessions = Arc::new(Counts::default());
        let worker = Worker::new(Parts {
            queue,
            kernel: kernel.doorbell(),
            clock: TickingClock::default(),
            timescale: Arc::new(SharedTimescale::new(TIMESCALE)),
            counters: Arc::clone(&counters),
            rules: Arc::clone(&rules),
            sessions: Arc::clone(&sessions),
            ifindex: IFINDEX,
            tx_batch: 8,
        });
        Self {
            worker,
            kernel,
            counters,
            rules,
            sessions,
        }
    }

    /// Delivers one frame, lets the worker turn, and returns what it sent.
    pub fn exchange(&mut self, frame: &[u8], meta: &[u8]) -> Option<Vec<u8>> {
        assert!(
            self.kernel.deliver(frame, meta),
            "the fill ring is never empty here"
        );
        self.worker.turn();
        let mut sent = self.kernel.transmitted();
        assert!(sent.len() <= 1, "one packet, one reply");
        self.worker.turn();
        self.assert_conserved();
        sent.pop()
    }

    /// Every frame is in the pool or with the kernel, and the counters add up.
    pub fn assert_conserved(&self) {
        let census = self.worker.queue().audit().unwrap();
        assert_eq!(census.held, 0, "{census:?}");
        let counters = &self.counters;
        assert_eq!(
            counters.received.value(),
            counters.reflected.value() + counters.unanswered_total()
        );
    }
}

pub fn v4() -> UdpFrame {
    let (from, to): (SocketAddrV4, SocketAddrV4) = (
        "192.0.2.2:4000".parse().unwrap(),
        "192.0.2.1:862".parse().unwrap(),
    );
    UdpFrame::v4(from, to)
}

pub fn v6() -> UdpFrame {
    let (from, to): (SocketAddrV6, SocketAddrV6) = (
        "[2001:db8::2]:4000".parse().unwrap(),
        "[2001:db8::1]:862".parse().unwrap(),
    );
    UdpFrame::v6(from, to)
}

pub fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// What the XDP program would have written below `frame`.
pub fn meta_of(frame: &[u8]) -> Option<RxMeta> {
    let layout = Layout::parse(frame).ok()?;
    Some(RxMeta {
        arrival_ns: u64::try_from(NOW.nanos()).unwrap(),
        rule: LISTENER,
        l3: layout.l3,
        l4: layout.l4,
        payload: layout.payload,
        payload_len: layout.payload_len,
        stamp_source: StampSource::KERNEL_TAI,
        vlan_tags: layout.vlan_tags,
        generation: 0,
    })
}

pub fn good_frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for len in [0, 13, 14, 15, 40, 41, 44, 45, 100, 1472] {
        for checksum in [Checksum::Valid, Checksum::Partial, Checksum::Absent] {
            for frame in [v4(), v6(), v4().vlan(SERVICE_TAG, 0).vlan(CUSTOMER_TAG, 0)] {
                frames.push(
                    frame
                        .payload(&payload(len))
                        .checksum(checksum)
                        .pad_to(60)
                        .build(),
                );
            }
        }
    }
    frames
}
