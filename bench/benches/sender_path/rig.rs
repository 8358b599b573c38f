//! The sender's `AF_XDP` worker on rings in memory: its path in user space and nothing else.
//!
//! ```text
//!   measured:      send_turns ─► tx ring          rx ring ─► receive_turns     whole_turns: both
//!   not measured:                   └─► carry ─► answers ─► deliver ─┘
//! ```
//!
//! What the kernel, the network and the reflector do is done between the measured stretches. The
//! answers are those of our reflector, with checksums that have to be verified. Waking the kernel is
//! a call that does nothing.

#[path = "../common/processor_time.rs"]
mod processor_time;

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use clock::{Clock, Discipline, SystemClock};
use ebpf::{RxMeta, StampSource};
use processor_time::processor_time;
use reflector::datagram::{Unanswered, answer, look};
use reflector::reflect::{Departure, Timescale};
use reflector::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, Rule, SequencePolicy, ShortPolicy,
};
use sender::af_xdp::exchange::exchanges;
use sender::af_xdp::outbox::{Endpoints, Outbox, OutboxParts};
use sender::af_xdp::worker::{Arrivals, RX_BATCH, Turns, Worker};
use sender::control::Control;
use sender::flight::{self, GiveUp};
use sender::frame::{FrameSpec, FrameWriter};
use sender::matching::{Matcher, Numbering};
use sender::measure::{Measurement, Terms};
use sender::own_clock::OwnClock;
use sender::pacer::{Pacer, SystemTimer};
use sender::probe::{Padding, Probe, ProbeSpec};
use sender::schedule::{Limit, Schedule, Times};
use sender::stamp::StampFormat;
use sender::transport::sources::Sources;
use sender::waiting::Site;
use wire::error_estimate::ErrorEstimate;
use wire::time::{Nanos, TimestampFormat};
use xsk::testing::{self, KernelSide};
use xsk::{Kernel, RingSizes, Umem, UmemConfig, Wake};

/// Probes that leave together, as in a run as fast as it goes.
pub const BATCH: usize = 32;
/// Turns per measured stretch: so many that reading the clock around them costs little.
const TURNS: usize = 8;
/// Probes per measured stretch.
pub const STRETCH: usize = TURNS * BATCH;

/// As the sender sets them up: `TX_RING` and `RX_RING` of `af_xdp::setup`.
const TX_RING: u32 = sender::af_xdp::setup::TX_RING;
const RX_RING: u32 = 4096;
/// Probes remembered in a run as fast as it goes: `WINDOW_UNPACED` of `config`.
const WINDOW: usize = 1 << 22;
const TIMEOUT: Duration = Duration::from_secs(2);
const PORT: u16 = 32_768;
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 86, 2, 1);
/// How the reflector answers: as it does unless told otherwise, without state.
const RULE: Rule = Rule {
    listener: 0,
    format: Format::ByLength,
    timestamps: TimestampFormat::Ntp,
    sequence: SequencePolicy::Stateless,
    dscp: DscpPolicy::Copy,
    ecn: EcnPolicy::Clear,
    flow_label: FlowLabelPolicy::Copy,
    short: ShortPolicy::Answer,
    refuse_replies: true,
};
/// Ports of a source address.
const PORTS: usize = 25_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Taking back frames, taking send times, writing, stamping and announcing probes, transmitting.
    Send,
    /// Taking replies in, reading, matching and measuring them, and settling the probes' fates.
    Receive,
    /// Whole turns of the worker: both of the above, looking at clocks and at what has timed out.
    Both,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Send, Self::Receive, Self::Both];

    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Both => "both",
        }
    }
}

/// What outlives the worker.
#[derive(Debug, Default)]
pub struct Shared {
    control: Control,
    unfinished: AtomicUsize,
}

/// A kernel that is woken for nothing and loses nothing.
#[derive(Debug)]
pub struct Idle;

impl Kernel for Idle {
    fn wake_tx(&self) -> io::Result<Wake> {
        Ok(Wake::Done)
    }

    fn wake_rx(&self) -> io::Result<Wake> {
        Ok(Wake::Done)
    }
}

impl Arrivals for Idle {
    fn dropped(&self) -> u64 {
        0
    }

    /// What there is to receive is in the ring before a stretch begins.
    fn wait(&self, _most: Duration) {}
}

/// A worker, and the other side of its rings.
pub struct Rig<'a> {
    worker: Worker<'a, Idle, SystemTimer, SystemClock>,
    turns: Turns,
    kernel: KernelSide,
    timescale: Timescale,
    sessions: usize,
    /// Ordinal of the next probe to be answered.
    next: usize,
    replies: Vec<(Vec<u8>, [u8; RxMeta::SIZE])>,
}

impl<'a> Rig<'a> {
    /// A worker with so many sessions.
    pub fn new(shared: &'a Shared, sessions: usize) -> Result<Self, Box<dyn Error>> {
        let umem = Umem::allocate(&UmemConfig {
            frames: 2 * RX_RING + TX_RING,
            ..UmemConfig::default()
        })?;
        let sizes = RingSizes {
            rx: RX_RING,
            fill: RX_RING,
            tx: TX_RING,
            completion: TX_RING,
        };
        let (mut queue, kernel) = testing::pair(umem, sizes, 0);
        let exchange = exchanges(1, 1).pop().ok_or("no exchange")?;
        let addresses = (2u8..).take(sessions.div_ceil(PORTS));
        let addresses = addresses.map(|host| IpAddr::from([10, 86, 2, host]));
        let sources = Sources::new(addresses, PORT, sessions).ok_or("too many sessions")?;
        let spec = ProbeSpec {
            size: wire::twamp::STAMP_LEN,
            padding: Padding::Zero,
            ssid: None,
        };
        let probe = Probe::new(&spec);
        let writer = FrameWriter::new(&FrameSpec {
            source_mac: [2, 0, 0, 0, 0, 2],
            destination_mac: [2, 0, 0, 0, 0, 1],
            tags: Vec::new(),
            source: IpAddr::from([10, 86, 2, 2]),
            target: (TARGET, wire::twamp::UDP_PORT).into(),
            ttl: 255,
            tos: 0,
            dont_fragment: false,
            payload: probe.octets().to_vec(),
        })?;
        let (departures, departed) = flight::open(WINDOW)?;
        let parts = OutboxParts {
            writer,
            endpoints: Endpoints::new(&sources, &exchange),
            ssid: None,
            format: StampFormat::Ntp,
            departures,
            stamps: None,
        };
        let outbox = Outbox::new(parts, &exchange, &mut queue, TX_RING as usize);
        let terms = Terms {
            sessions,
            histograms: 16,
            timeout: Nanos::from_nanos(i64::try_from(TIMEOUT.as_nanos())?),
            ttl: 255,
            numbering: Numbering::ALL,
        };
        let worker = Worker {
            queue,
            kernel: Idle,
            schedule: Schedule::new(Times::Max, 1.try_into()?, Limit::packets(u64::MAX)),
            pacer: Pacer::new(SystemTimer::start(), false),
            clock: OwnClock::new(SystemClock, Discipline::read, StampFormat::Ntp, false),
            outbox,
            tx_batch: BATCH,
            matcher: Matcher {
                format: StampFormat::Ntp,
                probe,
                reports_tos: false,
                numbering: Numbering::ALL,
            },
            measurement: Measurement::new(terms, departed)?,
            exchange,
            sources: Arc::new(sources),
            icmp: None,
            site: Site {
                worker: 0,
                control: &shared.control,
                recorder: None,
            },
            timeout: TIMEOUT,
            unfinished: None,
            others: &shared.unfinished,
        };
        let discipline = Discipline::read()?;
        let turns = worker.begin();
        Ok(Self {
            worker,
            turns,
            kernel,
            timescale: Timescale {
                tai_offset: discipline.tai_offset,
                error_estimate: ErrorEstimate::from_nanos(1_000, true, TimestampFormat::Ntp),
            },
            sessions,
            next: 0,
            replies: Vec::new(),
        })
    }

    /// Lets [`STRETCH`] probes pass; returns how much processor time the part that is measured took.
    pub fn stretch(&mut self, part: Part) -> Result<Duration, Box<dyn Error>> {
        if part == Part::Receive {
            self.send_turns();
            self.carry(true)?;
        }
        let start = processor_time()?;
        match part {
            Part::Send => self.send_turns(),
            Part::Receive => self.receive_turns(),
            Part::Both => self.whole_turns(),
        }
        let took = processor_time()?.saturating_sub(start);
        match part {
            Part::Send => {
                self.carry(false)?;
                self.worker.measurement.notice();
                self.worker.measurement.close(GiveUp::All, None);
            }
            Part::Receive => {}
            Part::Both => self.carry(true)?,
        }
        Ok(took)
    }

    /// Measures what is still on its way. Fails unless every reply was measured as one received in
    /// time.
    pub fn check(&mut self, part: Part) -> Result<(), Box<dyn Error>> {
        self.receive_turns();
        let counts = self.worker.measurement.counts();
        let lost = counts.sent - counts.received;
        let sound = counts.invalid == 0 && counts.sent == self.next as u64;
        if !sound || (part != Part::Send && lost > 0) {
            return Err(format!("the rig does not hold: {counts:?}").into());
        }
        Ok(())
    }

    #[inline(never)]
    fn send_turns(&mut self) {
        for _ in 0..TURNS {
            self.worker.reclaim();
            self.worker.send(&mut self.turns);
        }
    }

    #[inline(never)]
    fn receive_turns(&mut self) {
        for _ in 0..STRETCH.div_ceil(RX_BATCH) {
            self.worker.receive(&mut self.turns);
        }
        // What `Waiting` does every 20 ms.
        let now = self.worker.clock.utc();
        self.worker.measurement.give_up(now, None);
    }

    #[inline(never)]
    fn whole_turns(&mut self) {
        for _ in 0..TURNS {
            self.worker.turn(&mut self.turns);
        }
    }

    /// Takes what was transmitted, and brings the answers if `answers` says so.
    fn carry(&mut self, answers: bool) -> Result<(), Box<dyn Error>> {
        let packets = self.kernel.transmitted();
        if packets.len() != STRETCH {
            return Err(format!("{} probes instead of {STRETCH}", packets.len()).into());
        }
        for packet in packets {
            let session = self.next % self.sessions;
            self.next += 1;
            if answers {
                let reply = self.answer(packet, session)?;
                self.replies.push(reply);
            }
        }
        for (reply, meta) in self.replies.drain(..) {
            if !self.kernel.deliver(&reply, &meta) {
                return Err("no room for a reply".into());
            }
        }
        Ok(())
    }

    /// What our reflector answers, and what our XDP program writes below it.
    fn answer(
        &self,
        mut frame: Vec<u8>,
        session: usize,
    ) -> Result<(Vec<u8>, [u8; RxMeta::SIZE]), Box<dyn Error>> {
        let at = SystemClock.tai();
        let (payload, _) = look(&frame).map_err(Unanswered::meaning)?;
        let (frame_len, reply_len) = (frame.len(), payload.reply_frame_len(&RULE));
        frame.resize(reply_len, 0);
        let no_session = |_: &_, _| None;
        let reply = answer(
            &mut frame,
            frame_len,
            payload,
            &RULE,
            at,
            self.timescale,
            no_session,
        )
        .map_err(Unanswered::meaning)?;
        if !reply.seal(
            &mut frame,
            &Departure::new(SystemClock.tai(), self.timescale),
        ) {
            return Err("a reply cannot be sealed".into());
        }
        let meta = RxMeta {
            arrival_ns: SystemClock.tai().nanos().try_into()?,
            rule: session.try_into()?,
            // The sender looks for itself.
            l3: 0,
            l4: 0,
            payload: 0,
            payload_len: 0,
            stamp_source: StampSource::KERNEL_TAI,
            vlan_tags: 0,
            generation: 0,
        };
        Ok((frame, meta.to_bytes()))
    }
}
