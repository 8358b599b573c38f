//! Packet memory.
//!
//! ```text
//!   chunk                           packet            packet + max_len
//!   │                               │                               │
//!   ├──────────────┬────────────────┼────────────────────┬──────────┤
//!   │ 256+headroom │ … XDP metadata │ len octets of data │   room   │
//!   └──────────────┴────────────────┴────────────────────┴──────────┘
//!   ◄────────── offset ────────────►                       chunk_size
//! ```

#![expect(unsafe_code, reason = "slices of memory shared with the kernel")]

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::UmemConfig;
use crate::error::Error;
use crate::frame::{Extent, Frame, TooLong, TxStamp};
use crate::ledger::{Census, Imbalance, Ledger, Owner, Passing};
use crate::mmap::Mapping;
use crate::sys::XDP_PACKET_HEADROOM;
use crate::tx_metadata;

/// Shortest packet handed to the kernel: an Ethernet header (`ETH_HLEN`). The kernel drops an empty
/// one from the tx ring without completing it (`xp_aligned_validate_desc`,
/// `net/xdp/xsk_queue.h`), which would lose the chunk, and drivers expect a header.
const SHORTEST: u32 = 14;

/// Why a received descriptor yields no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Outside the UMEM, or in a chunk the kernel was not lent to receive into.
    NotLent,
    /// The packet would leave its chunk. The chunk went back to the pool.
    Length,
}

/// Why a frame cannot be transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsendable {
    /// A token of another UMEM.
    Foreign,
    /// Too short for the kernel. The chunk went back to the pool.
    Runt,
    /// Too near its chunk's start for TX metadata. The chunk went back to the pool.
    Headroom,
}

/// Packet memory shared with the kernel, in chunks of equal size.
///
/// A table of owners is what makes safe access sound: a token is made only for a chunk that the
/// table says is free or was lent to the kernel, so whatever appears in ring memory there is never a
/// second token for a chunk.
///
/// A `Umem` moves between threads but is not shared by them:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<xsk::Umem>();
/// ```
#[derive(Debug)]
pub struct Umem {
    /// Unique in this process.
    id: u32,
    /// [`Queue`](crate::Queue) by whose rings chunks may move; 0 before there is one.
    bound_to: u64,
    memory: Arc<Mapping>,
    base: NonNull<u8>,
    chunk_size: u32,
    /// Of the chunk size, a power of two.
    chunk_shift: u32,
    headroom: u32,
    tx_metadata: bool,
    ledger: Ledger,
    /// By chunk, where the packet lies that it was last lent to transmit with.
    sent: Box<[Extent]>,
    foreign: u64,
    not_sync: PhantomData<Cell<()>>,
}

// SAFETY: `base` points into `memory`, which lives as long and is tied to no thread.
unsafe impl Send for Umem {}

impl Umem {
    /// Maps the memory and puts every chunk in the pool.
    ///
    /// # Errors
    /// [`Error::Config`] for a value out of range, [`Error::NoHugePages`], or [`Error::Io`] if the
    /// memory cannot be had.
    pub fn allocate(config: &UmemConfig) -> Result<Umem, Error> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(0);
        config.check()?;
        // Tokens name their UMEM by its number, so none is used twice.
        let next = |id: u32| id.checked_add(1);
        let id = NEXT_ID
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .map_err(|_| {
                let source = io::ErrorKind::QuotaExceeded.into();
                Error::Io {
                    operation: "number the packet memory",
                    source,
                }
            })?;
        // At most 2^20 chunks of 4096 octets.
        let len = (config.frames as usize).saturating_mul(config.chunk_size as usize);
        let memory = Mapping::anonymous(len, config.huge_pages).map_err(|source| {
            if config.huge_pages && source.raw_os_error() == Some(libc::ENOMEM) {
                Error::NoHugePages { needed: len }
            } else {
                Error::Io {
                    operation: "map the packet memory",
                    source,
                }
            }
        })?;
        Ok(Umem {
            id,
            bound_to: 0,
            base: memory.base(),
            memory: Arc::new(memory),
            chunk_size: config.chunk_size,
            chunk_shift: config.chunk_size.trailing_zeros(),
            headroom: config.headroom,
            tx_metadata: config.tx_metadata,
            ledger: Ledger::new(config.frames),
            sent: vec![Extent::default(); config.frames as usize].into(),
            foreign: 0,
            not_sync: PhantomData,
        })
    }

    /// A free chunk with an empty packet where the kernel would put a received one, or `None` if
    /// the pool is empty. [`set_len`](Self::set_len) makes room in it.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        let chunk = self.ledger.draw(Owner::User)?;
        // Below the chunk size, as `UmemConfig::check` has seen to.
        let offset = XDP_PACKET_HEADROOM.wrapping_add(self.headroom);
        Some(Frame {
            umem: self.id,
            chunk,
            offset,
            len: 0,
            stamp: TxStamp::Unasked,
        })
    }

    /// Returns a chunk to the pool. A frame of another UMEM is not taken; it is counted in
    /// [`Rejected::foreign`](crate::Rejected::foreign) and its chunk stays held there.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the token ends here")]
    pub fn release(&mut self, frame: Frame) {
        if frame.umem == self.id {
            self.ledger.pass(frame.chunk, Owner::User, Owner::Pool);
        } else {
            self.note_foreign();
        }
    }

    /// The packet. A frame of another UMEM yields an empty slice.
    #[inline]
    pub fn data<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.octets(frame, 0, frame.len).unwrap_or_default()
    }

    /// The packet, to be changed. A frame of another UMEM yields an empty slice.
    #[inline]
    pub fn data_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let len = frame.len;
        self.octets_mut(frame, 0, len).unwrap_or_default()
    }

    /// The `len` octets just below the packet, where an XDP program leaves metadata; `None` if they
    /// would leave the chunk or the frame is another UMEM's.
    ///
    /// Nothing in a descriptor says whether there is metadata: without a program that writes some,
    /// these octets are stale.
    #[inline]
    pub fn metadata<'a>(&'a self, frame: &'a Frame, len: usize) -> Option<&'a [u8]> {
        self.octets(frame, u32::try_from(len).ok()?, 0)
    }

    /// As [`metadata`](Self::metadata), to be changed.
    #[inline]
    pub fn metadata_mut<'a>(&'a self, frame: &'a mut Frame, len: usize) -> Option<&'a mut [u8]> {
        self.octets_mut(frame, u32::try_from(len).ok()?, 0)
    }

    /// The `below` octets of [`metadata_mut`](Self::metadata_mut) and the packet of
    /// [`data_mut`](Self::data_mut) at once; `None` if there is not that much below the packet.
    #[inline]
    pub fn metadata_and_data_mut<'a>(
        &'a self,
        frame: &'a mut Frame,
        below: usize,
    ) -> Option<(&'a mut [u8], &'a mut [u8])> {
        let len = frame.len;
        self.octets_mut(frame, u32::try_from(below).ok()?, len)?
            .split_at_mut_checked(below)
    }

    /// Makes the packet `len` octets long by cutting or growing its tail. Octets gained are zero,
    /// so that nothing of an earlier packet leaks.
    ///
    /// # Errors
    /// [`TooLong`] beyond [`max_len`](Self::max_len); the frame is unchanged then.
    #[inline]
    pub fn set_len(&mut self, frame: &mut Frame, len: usize) -> Result<(), TooLong> {
        let max = self.max_len(frame);
        match u32::try_from(len) {
            Ok(new) if len <= max => {
                let old = mem::replace(&mut frame.len, new) as usize;
                if let Some(gained) = self.data_mut(frame).get_mut(old..) {
                    gained.fill(0);
                }
                Ok(())
            }
            _ => Err(TooLong { len, max }),
        }
    }

    /// Octets from the packet's start to the end of its chunk; 0 for a frame of another UMEM.
    #[inline]
    pub fn max_len(&self, frame: &Frame) -> usize {
        if frame.umem != self.id {
            return 0;
        }
        self.chunk_size.saturating_sub(frame.offset) as usize
    }

    /// Octets per chunk.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Octets kept free before a packet in addition to the kernel's own 256.
    pub fn headroom(&self) -> u32 {
        self.headroom
    }

    /// Whether the kernel can be asked when packets left.
    #[inline]
    pub fn tx_metadata(&self) -> bool {
        self.tx_metadata
    }

    /// Who has how many chunks, from running counters: cheap.
    pub fn census(&self) -> Census {
        self.ledger.census()
    }

    /// Recounts every chunk from the table of owners: slow, for tests and doubts.
    ///
    /// # Errors
    /// [`Imbalance`] if table, pool and counters do not agree.
    pub fn audit(&self) -> Result<Census, Imbalance> {
        self.ledger.audit()
    }

    /// The queue by whose rings chunks may move.
    #[inline]
    pub(crate) fn bound_to(&self) -> u64 {
        self.bound_to
    }

    /// Ties the UMEM to a queue, and loosens it from any earlier one for good.
    pub(crate) fn bind_to(&mut self, queue: u64) {
        self.bound_to = queue;
    }

    /// The memory, to be registered with the kernel or shared with its double.
    pub(crate) fn memory(&self) -> &Arc<Mapping> {
        &self.memory
    }

    /// Octets in all chunks; the mapping may be longer.
    pub(crate) fn size(&self) -> u64 {
        self.address(self.ledger.census().total)
    }

    /// Chunks in the pool.
    #[inline]
    pub(crate) fn free(&self) -> usize {
        self.ledger.free()
    }

    /// Frames of other UMEMs that were handed in.
    pub(crate) fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Lends a free chunk to the kernel to receive into; the address goes on the fill ring.
    #[inline]
    pub(crate) fn lend_to_fill(&mut self) -> Option<u64> {
        self.ledger
            .draw(Owner::Fill)
            .map(|chunk| self.address(chunk))
    }

    /// Lends a frame to the kernel to transmit; the descriptor goes on the tx ring.
    #[inline]
    pub(crate) fn lend_to_tx(&mut self, mut frame: Frame) -> Result<libc::xdp_desc, Unsendable> {
        if frame.umem != self.id {
            self.note_foreign();
            return Err(Unsendable::Foreign);
        }
        if frame.len < SHORTEST {
            self.release(frame);
            return Err(Unsendable::Runt);
        }
        // With TX metadata the kernel wants room for it below every packet, requests or not, and
        // drops a descriptor without completing it (`xp_aligned_validate_desc`).
        if self.tx_metadata && frame.offset < tx_metadata::LEN {
            self.release(frame);
            return Err(Unsendable::Headroom);
        }
        let mut options = 0;
        if frame.stamp == TxStamp::Asked
            && let Some(octets) = self.octets_mut(&mut frame, tx_metadata::LEN, 0)
        {
            octets.copy_from_slice(&tx_metadata::REQUEST);
            options = libc::XDP_TX_METADATA;
        }
        self.ledger.pass(frame.chunk, Owner::User, Owner::Tx);
        if let Some(sent) = self.sent.get_mut(frame.chunk as usize) {
            *sent = Extent::of(&frame);
        }
        let addr = self.address(frame.chunk).wrapping_add(frame.offset.into());
        Ok(libc::xdp_desc {
            addr,
            len: frame.len,
            options,
        })
    }

    /// To take back packets from the rx ring.
    #[inline]
    pub(crate) fn receiving(&mut self) -> Receiving<'_> {
        Receiving {
            umem: self.id,
            chunk_size: self.chunk_size,
            chunk_shift: self.chunk_shift,
            chunks: self.ledger.passing(Owner::Fill, Owner::User),
        }
    }

    /// To lend transmitted chunks from the completion ring to the kernel again, to receive into.
    #[inline]
    pub(crate) fn recycling(&mut self) -> Recycling<'_> {
        Recycling {
            chunk_shift: self.chunk_shift,
            chunks: self.ledger.passing(Owner::Tx, Owner::Fill),
        }
    }

    /// Takes back a transmitted chunk from the completion ring, as the frame it was; `None` if it was
    /// not lent. Where the packet lies is known here and not believed of the ring.
    #[inline]
    pub(crate) fn reclaim(&mut self, address: u64) -> Option<Frame> {
        let (chunk, _) = locate(address, self.chunk_shift);
        let chunk = u32::try_from(chunk).ok()?;
        let sent = *self.sent.get(chunk as usize)?;
        if !self.ledger.pass(chunk, Owner::Tx, Owner::User) {
            return None;
        }
        Some(Frame {
            umem: self.id,
            chunk,
            offset: sent.offset(),
            len: sent.len(),
            stamp: sent.stamp(),
        })
    }

    /// Takes back a transmitted chunk from the completion ring into the pool; `false` if it was not
    /// lent.
    #[inline]
    pub(crate) fn take_completed(&mut self, address: u64) -> bool {
        let (chunk, _) = locate(address, self.chunk_shift);
        u32::try_from(chunk).is_ok_and(|chunk| self.ledger.pass(chunk, Owner::Tx, Owner::Pool))
    }

    /// Address of a chunk. The chunk size is a power of two.
    #[inline]
    fn address(&self, chunk: u32) -> u64 {
        u64::from(chunk).wrapping_shl(self.chunk_shift)
    }

    #[cold]
    fn note_foreign(&mut self) {
        self.foreign = self.foreign.wrapping_add(1);
    }

    /// Where in the memory the octets from `below` before the packet's start to `len` after it lie,
    /// if the frame is ours and they stay within its chunk.
    #[inline]
    fn range(&self, frame: &Frame, below: u32, len: u32) -> Option<Range<usize>> {
        let start = frame.offset.checked_sub(below)?;
        let end = frame.offset.checked_add(len)?;
        if frame.umem != self.id || end > self.chunk_size {
            return None;
        }
        let chunk = (frame.chunk as usize).wrapping_shl(self.chunk_shift);
        Some(chunk.wrapping_add(start as usize)..chunk.wrapping_add(end as usize))
    }

    /// The octets from `below` before the packet's start to `len` after it, if they are ours.
    #[inline]
    pub(crate) fn octets<'a>(&'a self, frame: &'a Frame, below: u32, len: u32) -> Option<&'a [u8]> {
        let range = self.range(frame, below, len)?;
        // SAFETY: a frame of ours names one of our chunks, and `range` stays within it.
        let start = unsafe { self.base.add(range.start) };
        // SAFETY: the memory is initialised and, by the table of owners, in this chunk touched by
        // nobody but the holder of the frame, which is borrowed for `'a` as the memory is.
        Some(unsafe { slice::from_raw_parts(start.as_ptr(), range.len()) })
    }

    /// As [`octets`](Self::octets), to be changed.
    #[inline]
    fn octets_mut<'a>(
        &'a self,
        frame: &'a mut Frame,
        below: u32,
        len: u32,
    ) -> Option<&'a mut [u8]> {
        let range = self.range(frame, below, len)?;
        // SAFETY: a frame of ours names one of our chunks, and `range` stays within it.
        let start = unsafe { self.base.add(range.start) };
        // SAFETY: as `octets`; and the frame, the only one for its chunk, is borrowed mutably.
        Some(unsafe { slice::from_raw_parts_mut(start.as_ptr(), range.len()) })
    }
}

/// Packets on their way from the rx ring.
#[derive(Debug)]
pub(crate) struct Receiving<'a> {
    umem: u32,
    chunk_size: u32,
    chunk_shift: u32,
    chunks: Passing<'a>,
}

impl Receiving<'_> {
    /// Takes back a packet.
    #[inline]
    pub(crate) fn take(&mut self, address: u64, len: u32) -> Result<Frame, Refusal> {
        let (chunk, offset) = locate(address, self.chunk_shift);
        if !self.chunks.pass(chunk) {
            return Err(Refusal::NotLent);
        }
        // What is in the table of owners has a number of 32 bits.
        let chunk = u32::try_from(chunk).map_err(|_| Refusal::NotLent)?;
        if len > self.chunk_size.wrapping_sub(offset) {
            self.chunks.give_up(chunk);
            return Err(Refusal::Length);
        }
        Ok(Frame {
            umem: self.umem,
            chunk,
            offset,
            len,
            stamp: TxStamp::Unasked,
        })
    }
}

impl Receiving<'_> {
    /// Sends a packet just taken to the pool: the token ends here.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the token ends here")]
    pub(crate) fn refuse(&mut self, frame: Frame) {
        self.chunks.give_up(frame.chunk);
    }
}

/// Chunks on their way from the completion ring to the fill ring.
#[derive(Debug)]
pub(crate) struct Recycling<'a> {
    chunk_shift: u32,
    chunks: Passing<'a>,
}

impl Recycling<'_> {
    /// The address to receive into, of the chunk that `address` is in; `None` if it was not lent.
    #[inline]
    pub(crate) fn lend_again(&mut self, address: u64) -> Option<u64> {
        let (chunk, offset) = locate(address, self.chunk_shift);
        let again = address.wrapping_sub(u64::from(offset));
        self.chunks.pass(chunk).then_some(again)
    }
}

/// Chunk and offset in it of an address; the chunk need not exist.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "addresses are 64 bits here (`lib.rs`), and an offset is below a chunk's 4096 octets"
)]
const fn locate(address: u64, chunk_shift: u32) -> (usize, u32) {
    let chunk = address.wrapping_shr(chunk_shift);
    let offset = address.wrapping_sub(chunk.wrapping_shl(chunk_shift));
    (chunk as usize, offset as u32)
}
