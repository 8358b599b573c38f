//! The packet path allocates nothing, asked of the allocator itself.

#![cfg(test)]

use std::io;
use std::net::{SocketAddrV4, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use allocation_counter::measure;
use arc_swap::ArcSwap;
use clock::SystemClock;
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
use testbed::frames::{CUSTOMER_TAG, Checksum};
use wire::error_estimate::ErrorEstimate;
use wire::time::{TaiOffset, TimestampFormat};
use xsk::testing::{KernelSide, pair};
use xsk::{Kernel, RingSizes, Umem, UmemConfig, Wake};

const ROUNDS: usize = 1_000;

/// Rules by number; the last is for what has to be looked up.
#[derive(Debug)]
struct Book([Rule; 4]);

impl Rules for Book {
    fn generation(&self) -> u16 {
        0
    }

    fn rule(&self, listener: ListenerId) -> Option<&Rule> {
        self.0.get(usize::try_from(listener).unwrap())
    }

    fn find(&self, _ifindex: u32, _flow: &Flow) -> Option<&Rule> {
        self.0.last()
    }
}

/// One session.
#[derive(Debug, Default)]
struct Count(AtomicU32);

impl Sessions for Count {
    type Key = (Flow, u16);

    fn key(_listener: ListenerId, flow: &Flow, ssid: u16) -> (Flow, u16) {
        (*flow, ssid)
    }

    fn next(&self, _session: &(Flow, u16)) -> Option<u32> {
        Some(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn is_large(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 100
    }

    fn touch(&self, sessions: &[(Flow, u16)]) {
        std::hint::black_box(sessions);
    }
}

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

fn book() -> Book {
    let light = Rule {
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
    let stateful = Rule {
        listener: 1,
        sequence: SequencePolicy::Stateful,
        ..light
    };
    let shifting = Rule {
        listener: 2,
        format: Format::TwampLightDscp(Padding::Shift),
        timestamps: TimestampFormat::Ptp,
        ..light
    };
    let zeroing = Rule {
        listener: 3,
        format: Format::TwampLight(Padding::Zero),
        ..light
    };
    Book([light, stateful, shifting, zeroing])
}

/// Frames of every kind, answered or not, and what stands below them.
fn traffic() -> Vec<(Vec<u8>, Vec<u8>)> {
    let v4: (SocketAddrV4, SocketAddrV4) = (
        "192.0.2.2:4000".parse().unwrap(),
        "192.0.2.1:862".parse().unwrap(),
    );
    let v6: (SocketAddrV6, SocketAddrV6) = (
        "[2001:db8::2]:4000".parse().unwrap(),
        "[2001:db8::1]:862".parse().unwrap(),
    );
    let mut traffic = Vec::new();
    for len in [13, 14, 41, 44, 1400] {
        for checksum in [Checksum::Valid, Checksum::Partial, Checksum::Wrong] {
            let frames = [
                UdpFrame::v4(v4.0, v4.1),
                UdpFrame::v6(v6.0, v6.1),
                UdpFrame::v4(v4.0, v4.1).vlan(CUSTOMER_TAG, 7),
            ];
            for frame in frames {
                let frame = frame.payload(&vec![0; len]).checksum(checksum).pad_to(60);
                let frame = frame.build();
                traffic.push((frame.clone(), Vec::new()));
                for listener in 0..4 {
                    let meta = meta(&frame, listener).to_bytes().to_vec();
                    traffic.push((frame.clone(), meta));
                }
            }
        }
    }
    traffic
}

fn meta(frame: &[u8], listener: ListenerId) -> RxMeta {
    let layout = wire::frame::Layout::parse(frame).unwrap();
    RxMeta {
        arrival_ns: 1_700_000_037_123_456_789,
        rule: listener,
        l3: layout.l3,
        l4: layout.l4,
        payload: layout.payload,
        payload_len: layout.payload_len,
        stamp_source: StampSource::KERNEL_TAI,
        vlan_tags: layout.vlan_tags,
        generation: 0,
    }
}

struct Bench {
    worker: Worker<Idle, SystemClock, Book, Count>,
    kernel: KernelSide,
    allocations: u64,
}

impl Bench {
    /// All of the traffic, a batch at a time; only the worker's allocations are counted.
    fn round(&mut self, traffic: &[(Vec<u8>, Vec<u8>)]) {
        for batch in traffic.chunks(48) {
            for (frame, meta) in batch {
                assert!(self.kernel.deliver(frame, meta));
            }
            let worker = &mut self.worker;
            let turn = measure(|| {
                worker.turn();
            });
            self.allocations += turn.count_total;
            self.kernel.transmitted();
        }
    }
}

#[test]
fn no_packet_of_any_kind_costs_an_allocation() {
    let umem = Umem::allocate(&UmemConfig {
        frames: 256,
        ..UmemConfig::default()
    });
    let rings = RingSizes {
        rx: 64,
        tx: 64,
        fill: 64,
        completion: 64,
    };
    let (queue, kernel) = pair(umem.unwrap(), rings, 0);
    let counters = Arc::new(QueueCounters::default());
    let worker = Worker::new(Parts {
        queue,
        kernel: Idle,
        clock: SystemClock,
        timescale: Arc::new(SharedTimescale::new(Timescale {
            tai_offset: TaiOffset::from_seconds(37),
            error_estimate: ErrorEstimate::from_bits(0x8587),
        })),
        counters: Arc::clone(&counters),
        rules: Arc::new(ArcSwap::from_pointee(book())),
        sessions: Arc::new(Count::default()),
        ifindex: 1,
        tx_batch: 8,
    });
    let mut bench = Bench {
        worker,
        kernel,
        allocations: 0,
    };
    let traffic = traffic();
    bench.worker.turn();
    bench.round(&traffic);
    bench.allocations = 0;
    for _ in 0..ROUNDS {
        bench.round(&traffic);
    }
    assert_eq!(bench.allocations, 0);

    // The count is one that could be otherwise, and the traffic was what it should be.
    let boxed = measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(boxed.count_total, 1);
    let received = u64::try_from((ROUNDS + 1) * traffic.len()).unwrap();
    assert_eq!(counters.received.value(), received);
    assert!(counters.reflected.value() > received / 2);
    assert!(counters.unanswered_total() > 0);
}
