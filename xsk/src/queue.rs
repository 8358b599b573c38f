//! A UMEM with its four rings: how frames flow.

use std::iter;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::frame::Frame;
use crate::ledger::{Census, Imbalance};
use crate::ring::{CompletionRing, FillRing, RxRing, TxRing};
use crate::umem::{Refusal, Umem, Unsendable};

/// What the kernel or the caller handed in and was refused. All zero in a healthy program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Received descriptors whose address is outside the UMEM or in a chunk that was not lent to
    /// receive into. No chunk changed hands.
    pub rx_address: u64,
    /// Received packets said to leave their chunk. The chunk was recycled.
    pub rx_length: u64,
    /// Descriptors of packets in several chunks (`XDP_PKT_CONTD`), or with options unknown to this
    /// crate. The chunks were recycled.
    pub rx_options: u64,
    /// Completed addresses outside the UMEM or in a chunk that was not being transmitted. No chunk
    /// changed hands.
    pub completion_address: u64,
    /// Frames to transmit that were shorter than an Ethernet header (14 octets). They were
    /// recycled.
    pub tx_runt: u64,
    /// Frames to transmit in a UMEM with TX metadata that start within 16 octets of their chunk,
    /// where it has no room. They were recycled.
    pub tx_headroom: u64,
    /// Frames of another UMEM to transmit or to release. Their chunks stay held there.
    pub foreign: u64,
    /// Looks at a kernel cursor that pointed where it cannot be. Nothing moved.
    pub cursor: u64,
}

impl Add for Rejected {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rx_address: self.rx_address.wrapping_add(other.rx_address),
            rx_length: self.rx_length.wrapping_add(other.rx_length),
            rx_options: self.rx_options.wrapping_add(other.rx_options),
            completion_address: self
                .completion_address
                .wrapping_add(other.completion_address),
            tx_runt: self.tx_runt.wrapping_add(other.tx_runt),
            tx_headroom: self.tx_headroom.wrapping_add(other.tx_headroom),
            foreign: self.foreign.wrapping_add(other.foreign),
            cursor: self.cursor.wrapping_add(other.cursor),
        }
    }
}

impl Rejected {
    /// All of them together.
    pub fn total(&self) -> u64 {
        let Rejected {
            rx_address,
            rx_length,
            rx_options,
            completion_address,
            tx_runt,
            tx_headroom,
            foreign,
            cursor,
        } = self;
        rx_address
            + rx_length
            + rx_options
            + completion_address
            + tx_runt
            + tx_headroom
            + foreign
            + cursor
    }
}

/// A UMEM and the four rings of one AF_XDP socket.
///
/// Every verb works on a batch and reads and writes the shared cursors once. None allocates, except
/// [`receive`](Self::receive) and [`reclaim`](Self::reclaim) into a vector without capacity.
#[derive(Debug)]
pub struct Queue {
    /// Bound to `number` as long as the rings speak of it. A caller may put another UMEM in its
    /// place ([`umem_mut`](Self::umem_mut)), and chunks of the one must not move by the rings of
    /// the other.
    umem: Umem,
    /// Unique in this process.
    number: u64,
    fill: FillRing,
    completion: CompletionRing,
    rx: RxRing,
    tx: TxRing,
    rejected: Rejected,
    /// Inside a packet in several chunks: refuse descriptors up to its last.
    in_fragments: bool,
}

impl Queue {
    pub(crate) fn new(
        mut umem: Umem,
        fill: FillRing,
        completion: CompletionRing,
        rx: RxRing,
        tx: TxRing,
    ) -> Queue {
        // 0 is no queue's; 2^64 are never reached.
        static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        umem.bind_to(number);
        Queue {
            umem,
            number,
            fill,
            completion,
            rx,
            tx,
            rejected: Rejected::default(),
            in_fragments: false,
        }
    }

    /// Appends up to `max` received packets to `batch`, oldest first, and returns how many.
    ///
    /// Give `batch` the capacity once: with it, nothing is allocated. Descriptors are checked, and
    /// bad ones counted in [`rejected`](Self::rejected).
    #[inline(never)]
    pub fn receive(&mut self, batch: &mut Vec<Frame>, max: usize) -> usize {
        if !self.is_bound() {
            return 0;
        }
        let ready = self.rx.ready(max);
        if ready == 0 {
            return 0;
        }
        let before = batch.len();
        let mut receiving = self.umem.receiving();
        let mut in_fragments = self.in_fragments;
        for descriptor in self.rx.pop_each(ready) {
            let fragment = in_fragments || descriptor.options != 0;
            in_fragments = fragment && descriptor.options & libc::XDP_PKT_CONTD != 0;
            match receiving.take(descriptor.addr, descriptor.len) {
                Ok(frame) if !fragment => batch.push(frame),
                Ok(frame) => {
                    receiving.refuse(frame);
                    count(&mut self.rejected.rx_options);
                }
                Err(Refusal::NotLent) => count(&mut self.rejected.rx_address),
                Err(Refusal::Length) => count(&mut self.rejected.rx_length),
            }
        }
        drop(receiving);
        self.in_fragments = in_fragments;
        self.rx.release();
        batch.len().wrapping_sub(before)
    }

    /// [`complete`](Self::complete) and [`refill`](Self::refill) in one: transmitted chunks go straight
    /// to the fill ring as far as it has room, and free ones fill what room is left. Returns how many
    /// chunks were lent.
    #[inline(never)]
    pub fn recycle(&mut self) -> usize {
        if !self.is_bound() {
            return 0;
        }
        let ready = self.completion.ready(usize::MAX);
        let room = self.fill.reserve(ready);
        let mut recycling = self.umem.recycling();
        let mut foreign = 0;
        let chunks = self.completion.pop_each(room).filter_map(|address| {
            let again = recycling.lend_again(address);
            foreign += u64::from(again.is_none());
            again
        });
        let lent = self.fill.push_each(room, chunks);
        drop(recycling);
        self.rejected.completion_address = self.rejected.completion_address.wrapping_add(foreign);
        if lent > 0 {
            self.fill.commit();
        }
        if room > 0 {
            self.completion.release();
        }
        if room < ready {
            self.complete();
        }
        lent.wrapping_add(self.refill())
    }

    /// Lends free chunks to the kernel to receive into, as many as the fill ring has room for, and
    /// returns how many. See [`fill_needs_wakeup`](Self::fill_needs_wakeup).
    #[inline(never)]
    pub fn refill(&mut self) -> usize {
        if !self.is_bound() {
            return 0;
        }
        let room = self.fill.reserve(self.umem.free());
        if room == 0 {
            return 0;
        }
        let umem = &mut self.umem;
        let lent = self
            .fill
            .push_each(room, iter::from_fn(|| umem.lend_to_fill()));
        self.fill.commit();
        lent
    }

    /// Takes transmitted chunks back into the pool and returns how many. Not for those whose content
    /// is still of use: see [`reclaim`](Self::reclaim).
    #[inline(never)]
    pub fn complete(&mut self) -> usize {
        self.take_completions(Umem::take_completed)
    }

    /// Takes transmitted chunks back as the frames they were, with length and content as they were
    /// sent, appends them to `frames` in the order of completion and returns how many.
    ///
    /// So a sender keeps frames apart that are written once and changed in place for each packet.
    /// They never pass the pool, from which [`refill`](Self::refill) would take them to receive
    /// into. What [`complete`](Self::complete) and this take are the same completions: whichever is
    /// called gets all there are.
    #[inline]
    pub fn reclaim(&mut self, frames: &mut Vec<Frame>) -> usize {
        self.take_completions(|umem, address| {
            let Some(frame) = umem.reclaim(address) else {
                return false;
            };
            frames.push(frame);
            true
        })
    }

    /// Empties the completion ring. `take` says whether the address was that of a chunk being
    /// transmitted; returns how many were.
    #[inline]
    fn take_completions(&mut self, mut take: impl FnMut(&mut Umem, u64) -> bool) -> usize {
        if !self.is_bound() {
            return 0;
        }
        let ready = self.completion.ready(usize::MAX);
        if ready == 0 {
            return 0;
        }
        let mut completed: usize = 0;
        for address in self.completion.pop_each(ready) {
            if take(&mut self.umem, address) {
                completed = completed.wrapping_add(1);
            } else {
                count(&mut self.rejected.completion_address);
            }
        }
        self.completion.release();
        completed
    }

    /// Hands packets to the kernel in order, as many as the tx ring has room for, and returns how
    /// many; the rest stays at the front of `frames`. See [`tx_needs_wakeup`](Self::tx_needs_wakeup).
    ///
    /// A packet shorter than an Ethernet header is recycled, as is one without room for TX metadata
    /// in a UMEM that has it, and one of another UMEM dropped; all are counted in [`rejected`](Self::rejected) and do not block the rest.
    #[inline(never)]
    pub fn transmit(&mut self, frames: &mut Vec<Frame>) -> usize {
        if !self.is_bound() {
            return 0;
        }
        let room = self.tx.reserve(frames.len());
        if room == 0 {
            return 0;
        }
        let (umem, rejected) = (&mut self.umem, &mut self.rejected);
        let descriptors = frames.drain(..room).filter_map(|frame| {
            let refusal = match umem.lend_to_tx(frame) {
                Ok(descriptor) => return Some(descriptor),
                Err(refusal) => refusal,
            };
            match refusal {
                Unsendable::Runt => count(&mut rejected.tx_runt),
                Unsendable::Headroom => count(&mut rejected.tx_headroom),
                // The UMEM counts these.
                Unsendable::Foreign => {}
            }
            None
        });
        let queued = self.tx.push_each(room, descriptors);
        self.tx.commit();
        queued
    }

    /// How many packets the tx ring has room for.
    #[inline]
    pub fn tx_free(&mut self) -> usize {
        self.tx.reserve(usize::MAX)
    }

    /// Packets on the tx ring that the kernel has not yet taken. In copy mode one
    /// [`wake_tx`](crate::Kernel::wake_tx) takes 32 at most (`xsk_generic_xmit`, `net/xdp/xsk.c`):
    /// wake again while this is not 0.
    #[inline]
    pub fn tx_pending(&mut self) -> usize {
        self.tx.pending()
    }

    /// Whether the kernel must be woken to receive, after [`refill`](Self::refill).
    #[inline]
    pub fn fill_needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }

    /// Whether the kernel must be woken to transmit, after [`transmit`](Self::transmit). In copy
    /// mode always.
    #[inline]
    pub fn tx_needs_wakeup(&self) -> bool {
        self.tx.needs_wakeup()
    }

    /// The packet memory.
    #[inline]
    pub fn umem(&self) -> &Umem {
        &self.umem
    }

    /// The packet memory, to take, change and release frames.
    ///
    /// Put another UMEM in its place, and nothing moves by the rings until this one is back; give
    /// this one to another queue, and nothing moves here ever again.
    #[inline]
    pub fn umem_mut(&mut self) -> &mut Umem {
        &mut self.umem
    }

    /// Who has how many chunks: cheap.
    pub fn census(&self) -> Census {
        self.umem.census()
    }

    /// Recounts every chunk: slow, for tests and doubts.
    ///
    /// # Errors
    /// [`Imbalance`] if the books do not agree.
    pub fn audit(&self) -> Result<Census, Imbalance> {
        self.umem.audit()
    }

    /// What was refused since the queue was made.
    pub fn rejected(&self) -> Rejected {
        let cursors = [
            self.fill.corrupt(),
            self.completion.corrupt(),
            self.rx.corrupt(),
            self.tx.corrupt(),
        ];
        Rejected {
            foreign: self.umem.foreign(),
            cursor: cursors.into_iter().fold(0, u64::wrapping_add),
            ..self.rejected
        }
    }

    #[inline]
    fn is_bound(&self) -> bool {
        self.umem.bound_to() == self.number
    }
}

/// One more of what should not happen.
#[cold]
fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}
