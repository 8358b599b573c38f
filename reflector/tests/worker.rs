//! The worker on in-memory rings: no socket, no privileges. Whatever arrives, it neither crashes nor
//! loses a frame nor answers what it should not, and every answer is checked by etherparse.

#![cfg(test)]

use std::cell::Cell;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use clock::Clock;
use ebpf::{RxMeta, StampSource};
use etherparse::checksum::Sum16BitWords;
use proptest::prelude::*;
use proptest::sample::Index;
use reflector::counters::QueueCounters;
use reflector::datagram::Unanswered;
use reflector::reflect::Timescale;
use reflector::worker::{Parts, SharedTimescale, Worker};
use testbed::frames::{CUSTOMER_TAG, Checksum, SERVICE_TAG};
use testbed::{Datagram, UdpFrame};
use wire::error_estimate::ErrorEstimate;
use wire::frame::{IpVersion, Layout};
use wire::time::{NtpTimestamp, Tai, TaiOffset, Utc};
use wire::twamp::Reply;
use xsk::testing::{Doorbell, KernelSide, pair};
use xsk::{RingSizes, Umem, UmemConfig};

/// 2023-11-14T22:13:20 UTC, on the TAI scale of a kernel that knows of 37 leap seconds.
const NOW: Tai = Tai::from_nanos(1_700_000_037_000_000_000);
const TIMESCALE: Timescale = Timescale {
    tai_offset: TaiOffset::from_seconds(37),
    error_estimate: ErrorEstimate::from_bits(0x8587),
};
const FRAMES: u32 = 256;

/// Each reading is a microsecond later than the last.
#[derive(Debug, Default)]
struct TickingClock(Cell<i64>);

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
struct Bench {
    worker: Worker<Doorbell, TickingClock>,
    kernel: KernelSide,
    counters: Arc<QueueCounters>,
}

impl Bench {
    fn new(start_cursor: u32) -> Self {
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

    fn with_rings(sizes: RingSizes, start_cursor: u32) -> Self {
        let config = UmemConfig {
            frames: FRAMES,
            ..UmemConfig::default()
        };
        let (queue, kernel) = pair(Umem::allocate(&config).unwrap(), sizes, start_cursor);
        let counters = Arc::new(QueueCounters::default());
        let worker = Worker::new(Parts {
            queue,
            kernel: kernel.doorbell(),
            clock: TickingClock::default(),
            timescale: Arc::new(SharedTimescale::new(TIMESCALE)),
            counters: Arc::clone(&counters),
            rules: Arc::new(ArcSwap::from_pointee(Book::default())),
            sessions: Arc::new(Counts::default()),
            ifindex: IFINDEX,
            tx_batch: 8,
        });
        Self {
            worker,
            kernel,
            counters,
        }
    }

    /// Delivers one frame, lets the worker turn, and returns what it sent.
    fn exchange(&mut self, frame: &[u8], meta: &[u8]) -> Option<Vec<u8>> {
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
    fn assert_conserved(&self) {
        let census = self.worker.queue().audit().unwrap();
        assert_eq!(census.held, 0, "{census:?}");
        let counters = &self.counters;
        assert_eq!(
            counters.received.value(),
            counters.reflected.value() + counters.unanswered_total()
        );
    }
}

fn v4() -> UdpFrame {
    let (from, to): (SocketAddrV4, SocketAddrV4) = (
        "192.0.2.2:4000".parse().unwrap(),
        "192.0.2.1:862".parse().unwrap(),
    );
    UdpFrame::v4(from, to)
}

fn v6() -> UdpFrame {
    let (from, to): (SocketAddrV6, SocketAddrV6) = (
        "[2001:db8::2]:4000".parse().unwrap(),
        "[2001:db8::1]:862".parse().unwrap(),
    );
    UdpFrame::v6(from, to)
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// What the XDP program would have written below `frame`.
fn meta_of(frame: &[u8]) -> Option<RxMeta> {
    let layout = Layout::parse(frame).ok()?;
    Some(RxMeta {
        arrival_ns: u64::try_from(NOW.nanos()).unwrap(),
        rule: 0,
        l3: layout.l3,
        l4: layout.l4,
        payload: layout.payload,
        payload_len: layout.payload_len,
        stamp_source: StampSource::KERNEL_TAI,
        vlan_tags: layout.vlan_tags,
    })
}

fn good_frames() -> Vec<Vec<u8>> {
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

/// Whether a reflector may answer this frame, by etherparse's reading of it.
fn may_be_answered(frame: &[u8]) -> bool {
    let Ok(request) = Datagram::parse(frame) else {
        return false;
    };
    let checksum_ok = request.udp_checksum_valid
        || is_partial(&request)
        || (request.udp_checksum == 0 && request.source.is_ipv4());
    let source_ok = match request.source.ip() {
        IpAddr::V4(ip) => ip.octets()[0] != 0 && ip.octets()[0] != 127 && ip.octets()[0] < 224,
        IpAddr::V6(ip) => {
            !ip.is_unspecified()
                && !ip.is_loopback()
                && !ip.is_multicast()
                && ip.to_ipv4_mapped().is_none()
        }
    };
    let [first, ..] = request.source_mac;
    let station_ok = first % 2 == 0
        && request.source_mac != [0; 6]
        && request.source_mac != request.destination_mac;
    checksum_ok
        && source_ok
        && station_ok
        && request.source.port() != 0
        && request.payload.len() >= 14
}

/// The checksum field holds the folded pseudo-header sum: left to offload.
fn is_partial(request: &Datagram) -> bool {
    let len = u16::try_from(8 + request.payload.len()).unwrap();
    let sum = match (request.source.ip(), request.destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Sum16BitWords::new()
            .add_4bytes(from.octets())
            .add_4bytes(to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => Sum16BitWords::new()
            .add_16bytes(from.octets())
            .add_16bytes(to.octets()),
        _ => return false,
    };
    let sum = sum.add_2bytes([0, 17]).add_2bytes(len.to_be_bytes());
    request.udp_checksum == u16::from_be(!sum.ones_complement())
}

/// The reserved bit of the IPv4 flags (RFC 3514). Etherparse does not keep it, and so finds a header
/// checksum right that is wrong.
fn has_evil_bit(frame: &[u8], layout: &Layout) -> bool {
    layout.ip == IpVersion::V4 && frame[usize::from(layout.l3) + 6] & 0x80 != 0
}

/// A reply must be the request turned round and filled in, whatever the request held.
fn assert_answers(reply: &[u8], request: &[u8]) {
    let (reply, request) = (
        Datagram::parse(reply).unwrap(),
        Datagram::parse(request).unwrap(),
    );
    assert_eq!(
        (reply.source, reply.destination),
        (request.destination, request.source)
    );
    assert_eq!(reply.source_mac, request.destination_mac);
    assert_eq!(reply.destination_mac, request.source_mac);
    assert_eq!(reply.vlan_ids, request.vlan_ids);
    assert_eq!((reply.ttl, reply.tos), (255, request.tos & !0b11));
    if request.udp_checksum == 0 {
        assert_eq!(reply.udp_checksum, 0);
    } else {
        assert!(reply.udp_checksum_valid, "{:#06x}", reply.udp_checksum);
    }

    assert_eq!(reply.payload.len(), request.payload.len().max(41));
    let fields = Reply::parse(&reply.payload).unwrap();
    assert_eq!(
        reply.payload[24..38],
        request.payload[..14],
        "the sender's fields"
    );
    assert_eq!(fields.sequence(), fields.sender_sequence());
    assert_eq!(fields.sender_ttl(), Some(request.ttl));
    assert_eq!(fields.error_estimate(), TIMESCALE.error_estimate);
    let now = NOW.to_utc(TIMESCALE.tai_offset);
    let at = |bytes| NtpTimestamp::from_bytes(bytes).to_utc(now);
    let (t2, t3) = (at(fields.receive_timestamp()), at(fields.timestamp()));
    assert!(now <= t2 && t2 <= t3, "{t2:?} {t3:?}");
    assert!(
        reply
            .payload
            .iter()
            .skip(41)
            .eq(request.payload.iter().skip(41))
    );
}

#[test]
fn good_frames_are_answered_with_and_without_metadata() {
    let mut bench = Bench::new(u32::MAX - 100);
    for frame in good_frames() {
        let meta = meta_of(&frame).unwrap().to_bytes();
        for meta in [&meta[..], &[]] {
            let reply = bench.exchange(&frame, meta);
            assert_eq!(reply.is_some(), may_be_answered(&frame));
            if let Some(reply) = reply {
                assert_answers(&reply, &frame);
            }
        }
    }
    assert!(bench.counters.user_space_stamps.value() > 0);
}

#[test]
fn metadata_of_an_earlier_packet_is_not_believed() {
    let mut bench = Bench::new(0);
    let frame = v4().payload(&payload(44)).build();
    let meta = meta_of(&frame).unwrap().to_bytes();
    // Every chunk has carried metadata once.
    for _ in 0..FRAMES {
        bench.exchange(&frame, &meta).unwrap();
    }
    let stamped = bench.counters.user_space_stamps.value();
    for count in 1..=u64::from(FRAMES) {
        bench.exchange(&frame, &[]).unwrap();
        assert_eq!(bench.counters.user_space_stamps.value(), stamped + count);
    }
}

#[test]
fn one_stamp_serves_a_sub_batch_and_no_more() {
    let mut bench = Bench::new(0);
    let frame = v4().payload(&payload(44)).build();
    let meta = meta_of(&frame).unwrap().to_bytes();
    for _ in 0..20 {
        assert!(bench.kernel.deliver(&frame, &meta));
    }
    assert_eq!(bench.worker.turn().sent, 20);
    let stamps: Vec<[u8; 8]> = bench
        .kernel
        .transmitted()
        .iter()
        .map(|reply| {
            Reply::parse(&Datagram::parse(reply).unwrap().payload)
                .unwrap()
                .timestamp()
        })
        .collect();
    let runs: Vec<usize> = stamps.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    assert_eq!(runs, [8, 8, 4]);
    assert!(stamps.is_sorted());
}

#[test]
fn a_stuck_transmit_ring_holds_packets_back_and_loses_none() {
    // Room for 16 replies; the kernel takes none.
    let mut bench = Bench::with_rings(
        RingSizes {
            rx: 64,
            tx: 16,
            fill: 64,
            completion: 64,
        },
        u32::MAX - 7,
    );
    let frame = v4().payload(&payload(14)).build();
    let meta = meta_of(&frame).unwrap().to_bytes();
    let mut delivered = 0_u64;
    for _ in 0..8 {
        while bench.kernel.deliver(&frame, &meta) {
            delivered += 1;
        }
        bench.worker.turn();
    }
    assert!(bench.worker.is_backed_up());
    let in_hand = bench.counters.received.value() - bench.counters.reflected.value();
    assert_eq!(bench.counters.reflected.value(), 16);
    assert!(in_hand <= RX_BATCH as u64, "{in_hand} replies wait");

    // The kernel wakes up: everything delivered is answered, in time order.
    let mut sent = 0;
    while sent < delivered {
        sent += bench.kernel.transmitted().len() as u64;
        bench.worker.turn();
    }
    assert_eq!(sent, delivered);
    assert!(!bench.worker.is_backed_up());
    bench.assert_conserved();
}

#[test]
fn a_kernel_that_says_again_is_kicked_again() {
    let mut bench = Bench::new(0);
    let frame = v4().payload(&payload(44)).build();
    let doorbell = bench.kernel.doorbell();
    doorbell.answer_retry();
    bench.kernel.deliver(&frame, &[]);
    bench.worker.turn();
    assert!(
        bench.worker.is_backed_up(),
        "the reply still waits in the ring"
    );
    let kicks = doorbell.tx_count();
    bench.worker.turn();
    assert_eq!(doorbell.tx_count(), kicks + 1);

    doorbell.answer_done();
    assert_eq!(bench.kernel.transmitted().len(), 1);
    bench.worker.turn();
    assert!(!bench.worker.is_backed_up());
    // Asked while the link was down: counted, survived.
    doorbell.answer_error(100);
    bench.kernel.deliver(&frame, &[]);
    bench.worker.turn();
    assert_eq!(bench.counters.kick_errors.value(), 1);
    assert!(
        !bench.worker.is_backed_up(),
        "no use in spinning until the link is up"
    );
}

/// One thing done to a good frame.
#[derive(Debug, Clone)]
enum Mutation {
    SetOctet(Index, u8),
    FlipBit(Index, u8),
    SetWord(Index, u16),
    Truncate(Index),
    Append(Vec<u8>),
    Replace(Vec<u8>),
}

/// What stands below the frame.
#[derive(Debug, Clone)]
enum Below {
    /// What the XDP program would write for the frame before it was mutated.
    Meta,
    Nothing,
    /// The same with an octet changed (never the version).
    Spoilt(usize, u8),
    Random(Vec<u8>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Mutation::SetOctet(at, value)),
        4 => (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Mutation::FlipBit(at, bit)),
        4 => (any::<Index>(), any::<u16>()).prop_map(|(at, value)| Mutation::SetWord(at, value)),
        2 => any::<Index>().prop_map(Mutation::Truncate),
        1 => prop::collection::vec(any::<u8>(), 1..64).prop_map(Mutation::Append),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Mutation::Replace),
    ]
}

fn below() -> impl Strategy<Value = Below> {
    prop_oneof![
        3 => Just(Below::Meta),
        3 => Just(Below::Nothing),
        2 => (0..28_usize, any::<u8>()).prop_map(|(at, value)| Below::Spoilt(at, value)),
        1 => prop::collection::vec(any::<u8>(), 32).prop_map(Below::Random),
    ]
}

fn mutate(frame: &mut Vec<u8>, mutation: &Mutation) {
    match mutation {
        Mutation::Replace(octets) => frame.clone_from(octets),
        Mutation::Append(octets) => frame.extend(octets),
        Mutation::Truncate(at) => frame.truncate(at.index(frame.len() + 1)),
        _ if frame.len() < 2 => {}
        Mutation::SetOctet(at, value) => {
            let at = at.index(frame.len());
            frame[at] = *value;
        }
        Mutation::FlipBit(at, bit) => {
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
        }
        Mutation::SetWord(at, value) => {
            let at = at.index(frame.len() - 1);
            frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
    }
}

fn octets_below(below: &Below, original: &[u8]) -> Vec<u8> {
    let meta = meta_of(original).unwrap();
    match below {
        Below::Meta => meta.to_bytes().to_vec(),
        Below::Nothing => Vec::new(),
        Below::Spoilt(at, value) => {
            let mut octets = meta.to_bytes();
            octets[*at] = *value;
            octets.to_vec()
        }
        Below::Random(octets) => octets.clone(),
    }
}

/// A frame to start from, what is done to it, and what stands below it.
type Case = (Index, Vec<Mutation>, Below);

fn cases() -> impl Strategy<Value = Vec<Case>> {
    let case = (
        any::<Index>(),
        prop::collection::vec(mutation(), 0..4),
        below(),
    );
    prop::collection::vec(case, 250)
}

proptest! {
    // 400 runs of 250 frames: 100 000 mutated frames, each run through one worker.
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_however_mutated_crashes_it_leaks_or_gets_a_wrong_answer(
        cases in cases(),
        start_cursor in any::<u32>(),
    ) {
        let mut bench = Bench::new(start_cursor);
        let frames = good_frames();
        for (start, mutations, below) in &cases {
            let original = start.get(&frames);
            let mut frame = original.clone();
            for mutation in mutations {
                mutate(&mut frame, mutation);
            }
            let reply = bench.exchange(&frame, &octets_below(below, original));
            // Without metadata the worker finds its own way: then whatever may be answered and is of
            // the form that the fast path takes must be.
            let must_be = matches!(below, Below::Nothing)
                && Layout::parse(&frame).is_ok_and(|layout| !has_evil_bit(&frame, &layout))
                && may_be_answered(&frame);
            prop_assert!(reply.is_some() || !must_be, "unanswered {frame:02x?}");
            if let Some(reply) = reply {
                prop_assert!(may_be_answered(&frame), "answered {frame:02x?}");
                if !matches!(below, Below::Spoilt(..)) {
                    assert_answers(&reply, &frame);
                }
            }
        }
        prop_assert_eq!(bench.counters.received.value(), cases.len() as u64);
        prop_assert_eq!(bench.worker.queue().rejected(), xsk::Rejected::default());
    }
}

#[test]
fn reasons_are_counted_one_by_one() {
    let cases = [
        (v4().payload(&payload(13)), Unanswered::TooShort),
        (
            v4().payload(&payload(44)).checksum(Checksum::Wrong),
            Unanswered::UdpChecksum,
        ),
        (
            v6().payload(&payload(44)).checksum(Checksum::Absent),
            Unanswered::UdpChecksum,
        ),
        (
            v4().payload(&payload(44)).wrong_ipv4_checksum(),
            Unanswered::Ipv4Checksum,
        ),
        (
            v4().payload(&payload(44)).fragment(0, true),
            Unanswered::Malformed,
        ),
    ];
    for (frame, reason) in cases {
        let mut bench = Bench::new(0);
        assert_eq!(bench.exchange(&frame.build(), &[]), None);
        assert_eq!(bench.counters.unanswered(reason), 1);
        assert_eq!(bench.counters.unanswered_total(), 1);
    }
}
