//! One queue's loop: the only place that sees rings and decisions together.
//!
//! A turn takes back what was sent, gives the kernel empty frames, takes what arrived, and answers it
//! in place, in sub-batches: each is stamped and sent when the last of its packets is answered. T3 is
//! read once per sub-batch, after everything else is written; the sub-batch bounds how old T3 can be
//! when its packets leave.
//!
//! A packet is taken only if the transmit ring has a slot for its reply, so no reply ever waits in
//! user space: while the ring is stuck, packets stay in the receive ring, and the kernel drops (and
//! counts) the newest.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use clock::Clock;
use ebpf::RxMeta;
use wire::error_estimate::ErrorEstimate;
use wire::frame::Packet;
use wire::time::{Tai, TaiOffset};
use xsk::{Frame, Kernel, Queue, Wake};

use crate::counters::QueueCounters;
use crate::datagram::{self, Arrival, Flow, Matched, Payload, Reply, Unanswered};
use crate::reflect::{self, Departure, Timescale};
use crate::rule::{ListenerId, Rule, SequencePolicy};
use crate::rulebook::{self, Rulebook, Scope};
use crate::session::{self, SessionKey};

/// Packets taken from the receive ring per turn.
pub const RX_BATCH: usize = 64;

/// One generation of rules, as workers see it: immutable while it is in force.
pub trait Rules {
    /// Which generation.
    fn generation(&self) -> u16;

    /// The rule of a listener of this generation.
    fn rule(&self, listener: ListenerId) -> Option<&Rule>;

    /// The rule for a packet that came in by interface `ifindex` and that the XDP program has
    /// admitted; `None` if nobody listens for it any more.
    fn find(&self, ifindex: u32, flow: &Flow) -> Option<&Rule>;
}

/// The sessions' own counts of packets, shared by all workers.
pub trait Sessions {
    /// What tells sessions apart.
    type Key;

    /// The session of packets with these ends and this SSID that are answered as `listener` says.
    fn key(listener: ListenerId, flow: &Flow, ssid: u16) -> Self::Key;

    /// The next Sequence Number of a session, which begins if there was none; `None` if there is no
    /// room for it.
    fn next(&self, key: &Self::Key) -> Option<u32>;

    /// Whether there are so many that a session is rarely in the processor's cache.
    fn is_large(&self) -> bool;

    /// Brings the counts of these sessions into the cache.
    fn touch(&self, keys: &[Self::Key]);
}

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

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts<K, C, R, S> {
    /// The rings and their memory.
    pub queue: Queue,
    /// The kernel's side of them.
    pub kernel: K,
    /// Where T3 comes from, and T2 where the XDP program could not stamp.
    pub clock: C,
    /// How readings are written into packets.
    pub timescale: Arc<SharedTimescale>,
    /// What happens to packets.
    pub counters: Arc<QueueCounters>,
    /// The rules in force.
    pub rules: Arc<ArcSwap<R>>,
    /// The sessions of stateful rules.
    pub sessions: Arc<S>,
    /// The interface that packets come in by.
    pub ifindex: u32,
    /// Replies that share one T3, at most.
    pub tx_batch: usize,
}

/// Reflects the packets of one receive queue.
#[derive(Debug)]
pub struct Worker<K, C, R, S: Sessions> {
    queue: Queue,
    kernel: K,
    clock: C,
    timescale: Arc<SharedTimescale>,
    counters: Arc<QueueCounters>,
    rules: Arc<ArcSwap<R>>,
    sessions: Arc<S>,
    ifindex: u32,
    tx_batch: usize,
    arrived: Vec<Frame>,
    /// The sub-batch: answered, not yet stamped. Its frames and replies go together.
    answered: Vec<Frame>,
    replies: Vec<Reply>,
    /// Sessions of the batch to be touched.
    keys: Vec<S::Key>,
    /// The kernel asked to be woken again for what the transmit ring holds.
    kick_again: bool,
    /// The transmit ring was full.
    stuck: bool,
}

/// What a turn of the loop did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Packets taken from the receive ring.
    pub received: usize,
    /// Replies handed to the transmit ring.
    pub sent: usize,
}

impl<K: Kernel, C: Clock, R: Rules, S: Sessions> Worker<K, C, R, S> {
    /// A worker that has seen no packet yet.
    pub fn new(parts: Parts<K, C, R, S>) -> Self {
        let Parts {
            queue,
            kernel,
            clock,
            timescale,
            counters,
            rules,
            sessions,
            ifindex,
            tx_batch,
        } = parts;
        Self {
            queue,
            kernel,
            clock,
            timescale,
            counters,
            rules,
            sessions,
            ifindex,
            tx_batch: tx_batch.clamp(1, RX_BATCH),
            arrived: Vec::with_capacity(RX_BATCH),
            answered: Vec::with_capacity(RX_BATCH),
            replies: Vec::with_capacity(RX_BATCH),
            keys: Vec::with_capacity(RX_BATCH),
            kick_again: false,
            stuck: false,
        }
    }

    /// One pass over the rings. Never blocks.
    pub fn turn(&mut self) -> Turn {
        if self.kick_again {
            self.kick();
        }
        self.queue.recycle();
        let room = self.queue.tx_free();
        self.stuck = room == 0;
        if self.stuck {
            // The kernel has not taken what the ring holds. Ask again.
            self.kick();
        }
        let received = self.queue.receive(&mut self.arrived, room.min(RX_BATCH));
        self.counters.received.add(received as u64);
        let sent = if received > 0 { self.reflect() } else { 0 };
        if received == 0 && self.queue.fill_needs_wakeup() && self.kernel.wake_rx().is_err() {
            self.counters.kick_errors.add(1);
        }
        Turn { received, sent }
    }

    /// Whether the transmit ring is what holds the worker up: it has no room, or the kernel has yet to
    /// take what it holds.
    pub fn is_backed_up(&self) -> bool {
        self.kick_again || self.stuck
    }

    /// Replies that the kernel has not taken yet.
    pub fn unsent(&mut self) -> u64 {
        self.queue.tx_pending() as u64
    }

    /// The kernel side: to wait on, and for its statistics.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The rings and their memory.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Answers what has arrived. Returns how many replies were sent.
    fn reflect(&mut self) -> usize {
        let rules = self.rules.load();
        let timescale = self.timescale.load();
        let mut arrived = mem::take(&mut self.arrived);
        if self.sessions.is_large() {
            self.touch_sessions(&arrived, &**rules);
        }
        let mut sent = 0;
        let mut taken = None;
        for mut frame in arrived.drain(..) {
            let answer = self.answer(&mut frame, &**rules, timescale, &mut taken);
            match answer {
                Ok(reply) => {
                    self.answered.push(frame);
                    self.replies.push(reply);
                    if self.replies.len() == self.tx_batch {
                        sent += self.send(timescale);
                    }
                }
                Err(reason) => self.discard(frame, reason),
            }
        }
        self.arrived = arrived;
        sent + self.send(timescale)
    }

    #[inline]
    fn answer(
        &mut self,
        frame: &mut Frame,
        rules: &R,
        timescale: Timescale,
        taken: &mut Option<Tai>,
    ) -> Result<Reply, Unanswered> {
        let (umem, frame_len) = (self.queue.umem_mut(), frame.len());
        let (arrival, octets) = match umem.metadata_and_data_mut(frame, RxMeta::SIZE) {
            Some((below, octets)) => (take_arrival(below), octets),
            None => (Arrival::UNKNOWN, umem.data_mut(frame)),
        };
        let at = arrival.stamp.unwrap_or_else(|| {
            self.counters.user_space_stamps.add(1);
            // One reading for all: they had all arrived when the batch was taken.
            *taken.get_or_insert_with(|| self.clock.tai())
        });
        let (rule, payload) = match arrival.matched.and_then(|matched| {
            let rule = rule_of(rules, matched)?;
            Some((rule, matched.payload))
        }) {
            Some(found) => found,
            None => look(octets, rules, self.ifindex)?,
        };
        let len = payload.reply_frame_len(rule);
        let octets = if len == frame_len {
            octets
        } else {
            umem.set_len(frame, len).map_err(|_| Unanswered::NoRoom)?;
            umem.data_mut(frame)
        };
        let next = |flow: &Flow, ssid| {
            let key = S::key(rule.listener, flow, ssid);
            self.sessions.next(&key)
        };
        datagram::answer(octets, frame_len, payload, rule, at, timescale, next)
    }

    /// Brings the counts that the batch will need into the cache, all at once instead of one after
    /// the other.
    #[cold]
    fn touch_sessions(&mut self, arrived: &[Frame], rules: &R) {
        self.keys.clear();
        let umem = self.queue.umem();
        for frame in arrived {
            let meta = umem
                .metadata(frame, RxMeta::SIZE)
                .and_then(<[u8]>::first_chunk)
                .and_then(RxMeta::from_bytes);
            let Ok(packet) = Packet::parse(umem.data(frame)) else {
                continue;
            };
            let flow = Flow::of(&packet);
            let rule = meta
                .and_then(|meta| rule_of(rules, Arrival::from_meta(&meta).matched?))
                .or_else(|| rules.find(self.ifindex, &flow));
            if let Some(rule) = rule
                && rule.sequence == SequencePolicy::Stateful
            {
                let ssid = reflect::session_ssid(rule, packet.payload());
                self.keys.push(S::key(rule.listener, &flow, ssid));
            }
        }
        self.sessions.touch(&self.keys);
    }

    /// Stamps and sends the sub-batch, for which the transmit ring has room. Returns how many replies
    /// went.
    fn send(&mut self, timescale: Timescale) -> usize {
        if self.replies.is_empty() {
            return 0;
        }
        // The last thing before the commit: what follows costs nanoseconds per packet.
        let departure = Departure::new(self.clock.tai(), timescale);
        let umem = self.queue.umem_mut();
        let mut sealed = 0;
        for reply in self.replies.drain(..) {
            let Some(frame) = self.answered.get_mut(sealed) else {
                break;
            };
            if reply.seal(umem.data_mut(frame), &departure) {
                sealed += 1;
            } else {
                umem.release(self.answered.remove(sealed));
                self.counters.count(Unanswered::NoRoom);
            }
        }
        let sent = self.queue.transmit(&mut self.answered);
        self.counters.reflected.add(sent as u64);
        // There was a slot for each, so nothing is left over; were it so, the frames would go home
        // rather than leave later with a stale T3.
        for frame in self.answered.drain(..) {
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

    #[cold]
    fn discard(&mut self, frame: Frame, reason: Unanswered) {
        self.queue.umem_mut().release(frame);
        self.counters.count(reason);
    }
}

/// The rule that the XDP program applied, if it is still in force.
#[inline]
fn rule_of<R: Rules>(rules: &R, matched: Matched) -> Option<&Rule> {
    if matched.generation != rules.generation() {
        return None;
    }
    rules.rule(matched.listener)
}

/// The rule that the frame says, and where its payload is.
#[cold]
fn look<'a, R: Rules>(
    frame: &[u8],
    rules: &'a R,
    ifindex: u32,
) -> Result<(&'a Rule, Payload), Unanswered> {
    let (payload, flow) = datagram::look(frame)?;
    let rule = rules.find(ifindex, &flow).ok_or(Unanswered::NoListener)?;
    Ok((rule, payload))
}

/// Reads the metadata that ends `below` a frame and wipes its version, so that what a later packet finds
/// in this chunk is never taken for that packet's.
#[inline]
fn take_arrival(below: &mut [u8]) -> Arrival {
    let meta = below.first_chunk().and_then(RxMeta::from_bytes);
    if let Some(version) = below.last_chunk_mut::<4>() {
        *version = [0; 4];
    }
    meta.map_or(Arrival::UNKNOWN, |meta| Arrival::from_meta(&meta))
}

impl Rules for Rulebook {
    fn generation(&self) -> u16 {
        self.generation()
    }

    fn rule(&self, listener: ListenerId) -> Option<&Rule> {
        self.rule(listener)
    }

    fn find(&self, ifindex: u32, flow: &Flow) -> Option<&Rule> {
        let [outer_vid, inner_vid] = flow.vlan_ids;
        self.find(&rulebook::Flow {
            scope: Scope {
                ifindex,
                outer_vid,
                inner_vid,
            },
            source: flow.source,
            destination: flow.destination,
        })
    }
}

impl Sessions for session::Sessions {
    type Key = SessionKey;

    fn key(listener: ListenerId, flow: &Flow, ssid: u16) -> SessionKey {
        SessionKey::new(listener, flow.source, flow.destination).with_ssid(ssid)
    }

    fn next(&self, key: &SessionKey) -> Option<u32> {
        self.next(key)
    }

    fn is_large(&self) -> bool {
        self.is_large()
    }

    fn touch(&self, keys: &[SessionKey]) {
        self.touch(keys);
    }
}
