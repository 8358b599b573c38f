//! One queue's loop: the only place that sees rings and decisions together.
//!
//! A turn takes back what was sent, gives the kernel empty frames, takes what arrived, answers each
//! packet in place, then stamps and sends in sub-batches. T3 is read once per sub-batch, after
//! everything else is written; the sub-batch bounds how old T3 can be when its packets leave.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clock::Clock;
use ebpf::RxMeta;
use wire::error_estimate::ErrorEstimate;
use wire::time::TaiOffset;
use xsk::{Frame, Kernel, Queue, Wake};

use crate::counters::QueueCounters;
use crate::datagram::{self, Arrival, Reply, Unanswered};
use crate::reflect::Timescale;

/// Packets taken from the receive ring per turn.
pub const RX_BATCH: usize = 64;

/// Longest frame of a reply that outgrows its request: Ethernet, two VLAN tags, IPv6, UDP, 41 octets.
const SHORT_REPLY_MAX: usize = 14 + 2 * 4 + 40 + 8 + wire::twamp::REPLY_LEN;

/// The [`Timescale`] that the control thread keeps fresh and workers read: one word, so that offset
/// and estimate belong together.
#[derive(Debug)]
pub struct SharedTimescale(AtomicU64);

impl SharedTimescale {
    /// Starts with this state.
    pub fn new(timescale: Timescale) -> Self {
        Self(AtomicU64::new(Self::pack(timescale)))
    }

    /// Publishes a new state.
    pub fn store(&self, timescale: Timescale) {
        self.0.store(Self::pack(timescale), Ordering::Relaxed);
    }

    /// The state now.
    pub fn load(&self) -> Timescale {
        let [o0, o1, o2, o3, e0, e1, _, _] = self.0.load(Ordering::Relaxed).to_be_bytes();
        Timescale {
            tai_offset: TaiOffset::from_seconds(i32::from_be_bytes([o0, o1, o2, o3])),
            error_estimate: ErrorEstimate::from_bits(u16::from_be_bytes([e0, e1])),
        }
    }

    fn pack(timescale: Timescale) -> u64 {
        let [o0, o1, o2, o3] = timescale.tai_offset.seconds().to_be_bytes();
        let [e0, e1] = timescale.error_estimate.to_bits().to_be_bytes();
        u64::from_be_bytes([o0, o1, o2, o3, e0, e1, 0, 0])
    }
}

/// Reflects the packets of one receive queue.
#[derive(Debug)]
pub struct Worker<K, C> {
    queue: Queue,
    kernel: K,
    clock: C,
    timescale: Arc<SharedTimescale>,
    counters: Arc<QueueCounters>,
    tx_batch: usize,
    arrived: Vec<Frame>,
    /// Answered, not yet stamped: waiting for room in the transmit ring.
    waiting: VecDeque<(Frame, Reply)>,
    sealed: Vec<Frame>,
    /// The kernel asked to be woken again for what the transmit ring holds.
    kick_again: bool,
}

/// What a turn of the loop did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Packets taken from the receive ring.
    pub received: usize,
    /// Replies handed to the transmit ring.
    pub sent: usize,
}

impl<K: Kernel, C: Clock> Worker<K, C> {
    /// A worker over `queue`; `tx_batch` replies share one T3.
    pub fn new(
        queue: Queue,
        kernel: K,
        clock: C,
        timescale: Arc<SharedTimescale>,
        counters: Arc<QueueCounters>,
        tx_batch: usize,
    ) -> Self {
        Self {
            queue,
            kernel,
            clock,
            timescale,
            counters,
            tx_batch: tx_batch.clamp(1, RX_BATCH),
            arrived: Vec::with_capacity(RX_BATCH),
            waiting: VecDeque::with_capacity(RX_BATCH),
            sealed: Vec::with_capacity(RX_BATCH),
            kick_again: false,
        }
    }

    /// One pass over the rings. Never blocks.
    pub fn turn(&mut self) -> Turn {
        if self.kick_again {
            self.kick();
        }
        self.queue.complete();
        self.queue.refill();
        let timescale = self.timescale.load();
        let received = self.receive(timescale);
        let sent = self.send(timescale);
        if received == 0 && self.queue.fill_needs_wakeup() && self.kernel.wake_rx().is_err() {
            self.counters.kick_errors.add(1);
        }
        Turn { received, sent }
    }

    /// Whether replies wait for the transmit ring: for room in it, or for the kernel to take them.
    pub fn is_backed_up(&self) -> bool {
        self.kick_again || !self.waiting.is_empty()
    }

    /// Replies that the kernel has not taken yet.
    pub fn unsent(&mut self) -> u64 {
        (self.waiting.len() + self.queue.tx_pending()) as u64
    }

    /// The kernel side: to wait on, and for its statistics.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The rings and their memory.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Takes no more than leaves `waiting` within its bound: while the transmit ring is stuck,
    /// packets stay in the receive ring and the kernel drops (and counts) the newest.
    fn receive(&mut self, timescale: Timescale) -> usize {
        let room = RX_BATCH.saturating_sub(self.waiting.len());
        let received = self.queue.receive(&mut self.arrived, room);
        self.counters.received.add(received as u64);

        let mut arrived = std::mem::take(&mut self.arrived);
        for mut frame in arrived.drain(..) {
            match self.answer(&mut frame, timescale) {
                Ok(reply) => self.waiting.push_back((frame, reply)),
                Err(reason) => self.discard(frame, reason),
            }
        }
        self.arrived = arrived;
        received
    }

    fn answer(&mut self, frame: &mut Frame, timescale: Timescale) -> Result<Reply, Unanswered> {
        let arrival = self.arrival(frame);
        let at = arrival.stamp.unwrap_or_else(|| {
            self.counters.user_space_stamps.add(1);
            self.clock.tai()
        });

        let umem = self.queue.umem_mut();
        let frame_len = umem.data(frame).len();
        // The reply to a short request is longer than the request.
        let room = frame_len.max(SHORT_REPLY_MAX).min(umem.max_len(frame));
        umem.set_len(frame, room).map_err(|_| Unanswered::NoRoom)?;
        let reply = datagram::answer(umem.data_mut(frame), frame_len, &arrival, at, timescale)?;
        umem.set_len(frame, reply.frame_len())
            .map_err(|_| Unanswered::NoRoom)?;
        Ok(reply)
    }

    /// Reads the metadata below the frame and wipes it, so that what a later packet finds in this
    /// chunk is never another packet's.
    fn arrival(&self, frame: &mut Frame) -> Arrival {
        let Some(below) = self.queue.umem().metadata_mut(frame, RxMeta::SIZE) else {
            return Arrival::UNKNOWN;
        };
        let meta = below.first_chunk().and_then(RxMeta::from_bytes);
        below.fill(0);
        meta.map_or(Arrival::UNKNOWN, |meta| Arrival::from_meta(&meta))
    }

    fn send(&mut self, timescale: Timescale) -> usize {
        let mut total = 0;
        while !self.waiting.is_empty() {
            let count = self
                .waiting
                .len()
                .min(self.tx_batch)
                .min(self.queue.tx_free());
            if count == 0 {
                // The ring is full: the kernel has not taken what it holds. Ask again.
                self.kick();
                break;
            }
            total += self.send_batch(count, timescale);
        }
        total
    }

    fn send_batch(&mut self, count: usize, timescale: Timescale) -> usize {
        // The last thing before the commit: what follows costs nanoseconds per packet.
        let t3 = self.clock.tai();
        for (mut frame, reply) in self.waiting.drain(..count) {
            let umem = self.queue.umem_mut();
            if reply.seal(umem.data_mut(&mut frame), t3, timescale) {
                self.sealed.push(frame);
            } else {
                umem.release(frame);
                self.counters.count(Unanswered::Malformed);
            }
        }
        let sent = self.queue.transmit(&mut self.sealed);
        self.counters.reflected.add(sent as u64);
        // `count` was within the ring's free slots, so nothing is left over; were it so, the frames
        // would go home rather than leave later with a stale T3.
        for frame in self.sealed.drain(..) {
            self.queue.umem_mut().release(frame);
            self.counters.count(Unanswered::NoRoom);
        }
        self.kick();
        sent
    }

    /// Wakes the kernel if it wants to be woken. A kick fails while the link is down, for instance:
    /// the frames stay in the ring and leave with a later kick; the count tells.
    fn kick(&mut self) {
        self.kick_again = false;
        if !self.queue.tx_needs_wakeup() {
            return;
        }
        match self.kernel.wake_tx() {
            Ok(Wake::Done) => {}
            Ok(Wake::Retry) => self.kick_again = self.queue.tx_pending() > 0,
            Err(_) => self.counters.kick_errors.add(1),
        }
    }

    fn discard(&mut self, frame: Frame, reason: Unanswered) {
        self.queue.umem_mut().release(frame);
        self.counters.count(reason);
    }
}
