//! Rings shared with the kernel: one private memory type, and a producing and a consuming side.
//!
//! | ring       | we      | entry      | type               |
//! |------------|---------|------------|--------------------|
//! | fill       | produce | address    | [`FillRing`]       |
//! | completion | consume | address    | [`CompletionRing`] |
//! | tx         | produce | descriptor | [`TxRing`]         |
//! | rx         | consume | descriptor | [`RxRing`]         |
//!
//! Side and entry make the four distinct types, so that a ring cannot take the place of another.
//! Verbs come in pairs that bracket a batch: `reserve`, `push`…, `commit` on the producing side and
//! `ready`, `pop`…, `release` on the consuming side. Only the first and the last of each touch
//! shared cursors: one acquire and one release per batch. The ordering is that of
//! `net/xdp/xsk_queue.h`, "producer / consumer" A to D.

#![expect(unsafe_code, reason = "access to memory shared with the kernel")]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::cursor::Cursors;
use crate::mmap::Mapping;
use crate::sys::Plain;

/// `u64` addresses of free chunks, ours to produce.
pub(crate) type FillRing = Producer<u64>;
/// `u64` addresses of transmitted packets, ours to consume.
pub(crate) type CompletionRing = Consumer<u64>;
/// Packets to transmit, ours to produce.
pub(crate) type TxRing = Producer<libc::xdp_desc>;
/// Received packets, ours to consume.
pub(crate) type RxRing = Consumer<libc::xdp_desc>;

/// Where a ring's parts lie in its mapping, in octets (`struct xdp_ring_offset`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    pub(crate) producer: usize,
    pub(crate) consumer: usize,
    pub(crate) flags: usize,
    pub(crate) slots: usize,
}

impl Offsets {
    /// `None` if an offset exceeds the address space.
    pub(crate) fn from_kernel(raw: &libc::xdp_ring_offset) -> Option<Offsets> {
        Some(Offsets {
            producer: raw.producer.try_into().ok()?,
            consumer: raw.consumer.try_into().ok()?,
            flags: raw.flags.try_into().ok()?,
            slots: raw.desc.try_into().ok()?,
        })
    }

    /// Octets a ring of `entries` slots of `T` takes.
    pub(crate) fn span<T>(&self, entries: u32) -> usize {
        (entries as usize)
            .saturating_mul(size_of::<T>())
            .saturating_add(self.slots)
    }
}

/// The memory of one ring of `T`, with both cursors, before its sides are given out.
///
/// The addresses are within `memory` and aligned.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    memory: Arc<Mapping>,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    entries: u32,
}

// SAFETY: cursors and flags are atomic. A ring gives out one `Producer` and one `Consumer` at most,
// and the cursors hand each slot from one to the other.
unsafe impl<T: Plain + Send> Send for Ring<T> {}

impl<T: Plain> Ring<T> {
    /// `None` if the parts do not fit the mapping or `entries` is no power of two.
    ///
    /// The mapping is taken whole, so that there is one ring and hence one producer and one consumer
    /// per mapping in this process; the kernel has the other side of a socket's ring.
    pub(crate) fn new(memory: Mapping, offsets: &Offsets, entries: u32) -> Option<Ring<T>> {
        if !entries.is_power_of_two() {
            return None;
        }
        Some(Ring {
            producer: memory.at(offsets.producer, 1)?,
            consumer: memory.at(offsets.consumer, 1)?,
            flags: memory.at(offsets.flags, 1)?,
            slots: memory.at(offsets.slots, entries as usize)?,
            memory: Arc::new(memory),
            entries,
        })
    }

    /// Moves both cursors to `start`: for a ring in private memory.
    pub(crate) fn start_at(self, start: u32) -> Ring<T> {
        self.producer().store(start, Ordering::Relaxed);
        self.consumer().store(start, Ordering::Relaxed);
        self
    }

    /// The producing side of an empty ring whose consumer is the kernel.
    pub(crate) fn into_producer(self) -> Producer<T> {
        let start = self.producer().load(Ordering::Relaxed);
        Producer {
            cursors: Cursors::empty_at(start, self.entries),
            ring: self,
            corrupt: 0,
        }
    }

    /// The consuming side of an empty ring whose producer is the kernel.
    pub(crate) fn into_consumer(self) -> Consumer<T> {
        let start = self.consumer().load(Ordering::Relaxed);
        Consumer {
            cursors: Cursors::empty_at(start, self.entries),
            ring: self,
            corrupt: 0,
        }
    }

    /// Both sides of an empty ring in private memory.
    pub(crate) fn into_sides(self) -> (Producer<T>, Consumer<T>) {
        let twin = Ring {
            memory: Arc::clone(&self.memory),
            ..self
        };
        (self.into_producer(), twin.into_consumer())
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: within the mapping, aligned, and only ever accessed atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as `producer`.
        unsafe { self.flags.as_ref() }
    }

    #[inline]
    fn slot(&self, cursor: u32) -> NonNull<T> {
        self.slots().at(cursor)
    }

    /// Where the slots are, to be kept in registers during a batch. Good as long as the ring.
    #[inline]
    fn slots(&self) -> Slots<T> {
        Slots {
            first: self.slots,
            // Entries is a power of two, so the mask keeps an index below it.
            mask: self.entries.wrapping_sub(1),
        }
    }
}

/// The slots of a ring.
struct Slots<T> {
    first: NonNull<T>,
    mask: u32,
}

impl<T> Slots<T> {
    #[inline]
    fn at(&self, cursor: u32) -> NonNull<T> {
        // SAFETY: the index is below the number of entries, and that many slots lie within the mapping.
        unsafe { self.first.add((cursor & self.mask) as usize) }
    }
}

/// The producing side of a ring.
#[derive(Debug)]
pub(crate) struct Producer<T> {
    ring: Ring<T>,
    cursors: Cursors,
    corrupt: u64,
}

impl<T: Plain> Producer<T> {
    /// How many of `wanted` entries may be pushed now. Looks at the consumer's cursor only if the
    /// slots known to be free do not suffice.
    #[inline]
    pub(crate) fn reserve(&mut self, wanted: usize) -> usize {
        if (self.cursors.free() as usize) < wanted {
            // Acquire: the consumer's reads of a slot come before our next write to it (D, A).
            let seen = self.ring.consumer().load(Ordering::Acquire);
            if self.cursors.observe_consumer(seen).is_err() {
                self.note_corruption();
            }
        }
        wanted.min(self.cursors.free() as usize)
    }

    /// Writes an entry that the consumer sees after [`commit`](Self::commit); `false` without room.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) -> bool {
        let Some(cursor) = self.cursors.produce() else {
            return false;
        };
        // SAFETY: the slot is in bounds, and `produce` says that the consumer has released it.
        unsafe { self.ring.slot(cursor).write_volatile(entry) };
        true
    }

    /// Pushes what `entries` yields, `count` at most and not beyond the room there is; returns how many.
    #[inline]
    pub(crate) fn push_each(&mut self, count: usize, entries: impl Iterator<Item = T>) -> usize {
        let (first, room) = (self.cursors.producer(), self.cursors.free_up_to(count));
        let slots = self.ring.slots();
        let mut pushed: u32 = 0;
        // In this order, so that no entry is taken that there is no slot for.
        for (step, entry) in (0..room).zip(entries) {
            let slot = slots.at(first.wrapping_add(step));
            // SAFETY: the slot is in bounds, and `free_up_to` says that the consumer has released it.
            unsafe { slot.write_volatile(entry) };
            pushed = step.wrapping_add(1);
        }
        self.cursors.produce_many(pushed);
        pushed as usize
    }

    /// Publishes everything pushed.
    #[inline]
    pub(crate) fn commit(&mut self) {
        // Release: the entries are written before the cursor that announces them (B, C).
        self.ring
            .producer()
            .store(self.cursors.producer(), Ordering::Release);
    }

    /// Whether the consumer asked to be woken after a commit (`XDP_RING_NEED_WAKEUP`).
    ///
    /// A consumer about to sleep sets the flag and then looks at the producer cursor once more; we
    /// have stored the cursor and now read the flag. Unless a full fence keeps that store before
    /// this read, both sides can miss each other, and the entries wait until the next kick.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        fence(Ordering::SeqCst);
        self.ring.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// Entries pushed that the consumer has not yet given back.
    pub(crate) fn pending(&mut self) -> usize {
        self.reserve(usize::MAX);
        self.cursors.filled() as usize
    }

    /// How often the consumer's cursor could not be believed.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt
    }

    #[cold]
    fn note_corruption(&mut self) {
        self.corrupt = self.corrupt.wrapping_add(1);
    }
}

/// The consuming side of a ring.
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    ring: Ring<T>,
    cursors: Cursors,
    corrupt: u64,
}

impl<T: Plain> Consumer<T> {
    /// How many of `wanted` entries may be popped now. Looks at the producer's cursor only if the
    /// entries known to be there do not suffice.
    #[inline]
    pub(crate) fn ready(&mut self, wanted: usize) -> usize {
        if (self.cursors.filled() as usize) < wanted {
            // Acquire: the entries are written before the cursor that announces them (B, C).
            let seen = self.ring.producer().load(Ordering::Acquire);
            if self.cursors.observe_producer(seen).is_err() {
                self.note_corruption();
            }
        }
        wanted.min(self.cursors.filled() as usize)
    }

    /// Reads the next entry; the producer gets the slot back at [`release`](Self::release).
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        let cursor = self.cursors.consume()?;
        // Volatile: one read, so that what is checked is what is used, whatever the other side does.
        // SAFETY: the slot is in bounds, `consume` says that the producer has written it, and any
        // bits are a valid `T: Plain`.
        Some(unsafe { self.ring.slot(cursor).read_volatile() })
    }

    /// Reads the next `count` entries or as many as there are, each as [`pop`](Self::pop) does.
    #[inline]
    pub(crate) fn pop_each(&mut self, count: usize) -> impl Iterator<Item = T> + use<'_, T> {
        let (first, count) = self.cursors.consume_many(count);
        let slots = self.ring.slots();
        (0..count).map(move |step| {
            let slot = slots.at(first.wrapping_add(step));
            // SAFETY: as in `pop`; `consume_many` says that the producer has written it.
            unsafe { slot.read_volatile() }
        })
    }

    /// Gives back the slots of everything popped.
    #[inline]
    pub(crate) fn release(&mut self) {
        // Release: our reads of the slots come before the producer's next writes to them (D, A).
        self.ring
            .consumer()
            .store(self.cursors.consumer(), Ordering::Release);
    }

    /// Asks the producer to wake this side after a commit, or no longer.
    pub(crate) fn ask_for_wakeup(&self, wanted: bool) {
        let flags = if wanted {
            libc::XDP_RING_NEED_WAKEUP
        } else {
            0
        };
        self.ring.flags().store(flags, Ordering::Relaxed);
        // The other half of the handshake in `needs_wakeup`: look at the ring again after this.
        fence(Ordering::SeqCst);
    }

    /// How often the producer's cursor could not be believed.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt
    }

    #[cold]
    fn note_corruption(&mut self) {
        self.corrupt = self.corrupt.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::private_ring;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push(usize),
        Commit,
        Pop(usize),
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40_usize).prop_map(Step::Push),
            Just(Step::Commit),
            (0..40_usize).prop_map(Step::Pop),
            Just(Step::Release),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// The oracle is a queue with a capacity, and two counts of what is not yet published.
        #[test]
        fn agrees_with_an_oracle_from_any_start(
            start in prop_oneof![any::<u32>(), (u32::MAX - 100)..=u32::MAX],
            size_log in 0..6_u32,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let size = 1_usize << size_log;
            let (mut producer, mut consumer) = private_ring::<u64>(1 << size_log, start).into_sides();
            let mut next = 0_u64;
            let mut staged = VecDeque::new();
            let mut visible = VecDeque::new();
            let mut unreleased = 0;
            for step in steps {
                match step {
                    Step::Push(wanted) => {
                        let free = size - staged.len() - visible.len() - unreleased;
                        prop_assert_eq!(producer.reserve(wanted), wanted.min(free));
                        for _ in 0..wanted.min(free) {
                            prop_assert!(producer.push(next));
                            staged.push_back(next);
                            next += 1;
                        }
                        if wanted > free {
                            prop_assert!(!producer.push(u64::MAX));
                        }
                    }
                    Step::Commit => {
                        producer.commit();
                        visible.append(&mut staged);
                    }
                    Step::Pop(wanted) => {
                        let there = visible.len();
                        prop_assert_eq!(consumer.ready(wanted), wanted.min(there));
                        for _ in 0..wanted.min(there) {
                            prop_assert_eq!(consumer.pop(), visible.pop_front());
                            unreleased += 1;
                        }
                        if wanted > there {
                            prop_assert_eq!(consumer.pop(), None);
                        }
                    }
                    Step::Release => {
                        consumer.release();
                        unreleased = 0;
                    }
                }
                prop_assert_eq!(producer.pending(), staged.len() + visible.len() + unreleased);
            }
            prop_assert_eq!((producer.corrupt(), consumer.corrupt()), (0, 0));
        }
    }

    #[test]
    fn carries_entries_in_order_between_threads() {
        let count: u64 = if cfg!(miri) { 200 } else { 100_000 };
        let (mut producer, mut consumer) = private_ring::<u64>(64, u32::MAX - 999).into_sides();
        let sending = thread::spawn(move || {
            let mut next = 0;
            while next < count {
                for _ in 0..producer.reserve(16) {
                    producer.push(next);
                    next += 1;
                }
                producer.commit();
                thread::yield_now();
            }
        });
        let mut expected = 0;
        while expected < count {
            for _ in 0..consumer.ready(16) {
                assert_eq!(consumer.pop(), Some(expected));
                expected += 1;
            }
            consumer.release();
            thread::yield_now();
        }
        sending.join().unwrap();
        // The last batch may be padded beyond `count`, but never by more than one batch.
        assert!(consumer.ready(usize::MAX) < 16);
    }

    #[test]
    fn does_not_believe_impossible_cursors() {
        let (mut producer, mut consumer) = private_ring::<u64>(8, u32::MAX - 2).into_sides();
        assert_eq!(producer.reserve(4), 4);
        (0..4).for_each(|entry| assert!(producer.push(entry)));
        producer.commit();

        let truth = consumer
            .ring
            .producer()
            .swap((u32::MAX - 2).wrapping_add(9), Ordering::Relaxed);
        assert_eq!((consumer.ready(8), consumer.corrupt()), (0, 1));
        consumer.ring.producer().store(truth, Ordering::Relaxed);
        assert_eq!((consumer.ready(8), consumer.corrupt()), (4, 1));

        let truth = producer
            .ring
            .consumer()
            .swap(truth.wrapping_add(1), Ordering::Relaxed);
        assert_eq!((producer.reserve(8), producer.corrupt()), (4, 1));
        producer.ring.consumer().store(truth, Ordering::Relaxed);
        assert_eq!((producer.reserve(8), producer.corrupt()), (4, 1));
    }

    #[test]
    fn sees_the_request_for_a_wakeup() {
        let (producer, consumer) = private_ring::<u64>(1, 0).into_sides();
        assert!(!producer.needs_wakeup());
        consumer.ask_for_wakeup(true);
        assert!(producer.needs_wakeup());
        consumer.ask_for_wakeup(false);
        assert!(!producer.needs_wakeup());
    }

    #[test]
    fn a_ring_must_fit_its_mapping() {
        let offsets = Offsets {
            producer: 0,
            consumer: 64,
            flags: 68,
            slots: 128,
        };
        let fits = |offsets: &Offsets, entries| {
            let memory = Mapping::anonymous(4096, false).unwrap();
            Ring::<u64>::new(memory, offsets, entries).is_some()
        };
        assert!(fits(&offsets, 256));
        assert!(!fits(&offsets, 512), "too many entries");
        assert!(!fits(&offsets, 0), "no entries");
        assert!(!fits(&offsets, 100), "not a power of two");
        assert!(
            !fits(
                &Offsets {
                    consumer: 4096,
                    ..offsets
                },
                256
            ),
            "outside"
        );
        assert!(
            !fits(
                &Offsets {
                    slots: 132,
                    ..offsets
                },
                256
            ),
            "unaligned"
        );
    }
}
