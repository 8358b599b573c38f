//! Test support: the kernel's side of a [`Queue`], in memory.
//!
//! [`pair`] connects a queue to a [`KernelSide`] by rings in private memory. No socket is opened and
//! no privilege needed, so that tests of a worker push thousands of packets through the very code
//! that runs on a NIC, on one thread or two.
//!
//! ```
//! use xsk::testing::pair;
//! use xsk::{RingSizes, Umem, UmemConfig};
//!
//! let umem = Umem::allocate(&UmemConfig { frames: 16, ..UmemConfig::default() })?;
//! // Cursors start just below the wrap.
//! let (mut queue, mut kernel) = pair(umem, RingSizes::default(), u32::MAX - 3);
//!
//! assert!(kernel.deliver(b"an Ethernet frame", b"meta"));
//! let mut batch = Vec::new();
//! queue.receive(&mut batch, 64);
//! assert_eq!(queue.umem().data(&batch[0]), b"an Ethernet frame");
//! assert_eq!(queue.umem().metadata(&batch[0], 4), Some(&b"meta"[..]));
//!
//! queue.transmit(&mut batch);
//! assert_eq!(kernel.transmitted(), [b"an Ethernet frame"]);
//! assert_eq!(queue.complete(), 1);
//! assert_eq!(queue.audit().unwrap().held, 0);
//! # Ok::<(), xsk::Error>(())
//! ```

#![expect(
    unsafe_code,
    reason = "plays the kernel in memory shared with the queue"
)]

use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::config::RingSizes;
use crate::mmap::Mapping;
use crate::queue::Queue;
use crate::ring::{Consumer, Offsets, Producer, Ring};
use crate::socket::{Kernel, Wake};
use crate::sys::{Plain, XDP_PACKET_HEADROOM};
use crate::tx_metadata;
use crate::umem::Umem;

/// A queue over `umem` and the kernel's side of its rings, whose cursors all start at
/// `start_cursor`. As with [`Socket::open`](crate::Socket::open) the fill ring is full, and the tx
/// ring asks for wake-ups.
///
/// # Panics
/// If a ring size is no power of two from 1 to 65 536, memory is short, or chunks of `umem` are lent
/// to another kernel side.
pub fn pair(umem: Umem, sizes: RingSizes, start_cursor: u32) -> (Queue, KernelSide) {
    let ring_size = sizes.check();
    assert!(ring_size.is_ok(), "{ring_size:?}");
    // The other side may still write to them, and this one could be made to give them away.
    assert_eq!(
        umem.census().kernel,
        0,
        "chunks are lent to another kernel side"
    );
    let (fill, kernel_fill) = private_ring(sizes.fill, start_cursor).into_sides();
    let (kernel_completion, completion) = private_ring(sizes.completion, start_cursor).into_sides();
    let (kernel_rx, rx) = private_ring(sizes.rx, start_cursor).into_sides();
    let (tx, kernel_tx) = private_ring(sizes.tx, start_cursor).into_sides();
    kernel_tx.ask_for_wakeup(true);
    let kernel = KernelSide {
        memory: Arc::clone(umem.memory()),
        size: umem.size(),
        chunk_size: umem.chunk_size(),
        offset: XDP_PACKET_HEADROOM.wrapping_add(umem.headroom()),
        tx_metadata: umem.tx_metadata(),
        forged: vec![false; umem.census().total as usize],
        fill: kernel_fill,
        completion: kernel_completion,
        rx: kernel_rx,
        tx: kernel_tx,
        tx_invalid: 0,
        stamp: None,
        stamps_asked: 0,
        doorbell: Doorbell::default(),
    };
    let mut queue = Queue::new(umem, fill, completion, rx, tx);
    queue.refill();
    (queue, kernel)
}

/// A ring in private memory, laid out as the kernel lays out its own: cursors on cache lines of
/// their own (`struct xdp_ring`, `net/xdp/xsk_queue.h`).
pub(crate) fn private_ring<T: Plain>(entries: u32, start_cursor: u32) -> Ring<T> {
    let offsets = Offsets {
        producer: 0,
        consumer: 64,
        flags: 68,
        slots: 128,
    };
    let ring = Mapping::anonymous(offsets.span::<T>(entries), false)
        .ok()
        .and_then(|memory| Ring::new(memory, &offsets, entries));
    #[expect(clippy::expect_used, reason = "test support, and documented to panic")]
    ring.expect("memory for a ring").start_at(start_cursor)
}

/// The kernel's side of a queue's rings.
///
/// It keeps the kernel's rules: it takes a chunk from the fill ring for each packet, sends what is
/// on the tx ring in order and completes it. It can break them too, to show that the queue
/// survives: see [`inject_rx`](Self::inject_rx) and [`inject_completion`](Self::inject_completion).
#[derive(Debug)]
pub struct KernelSide {
    memory: Arc<Mapping>,
    size: u64,
    chunk_size: u32,
    /// Where in its chunk a received packet starts.
    offset: u32,
    /// Whether the UMEM was registered with TX metadata.
    tx_metadata: bool,
    /// Chunks named by an injected entry. The queue may believe it has them while they are on our
    /// rings as well, so their memory is never touched again: no data race by safe code.
    forged: Vec<bool>,
    fill: Consumer<u64>,
    completion: Producer<u64>,
    rx: Producer<libc::xdp_desc>,
    tx: Consumer<libc::xdp_desc>,
    tx_invalid: u64,
    /// The next answer to a request for a stamp, if any is given.
    stamp: Option<u64>,
    stamps_asked: u64,
    doorbell: Doorbell,
}

impl KernelSide {
    /// Receives a packet: takes a chunk from the fill ring, writes `metadata` just below and
    /// `packet` at the usual place, and puts it on the rx ring.
    ///
    /// `false`, and nothing has happened, if there is no chunk on the fill ring, no room on the rx
    /// ring, or packet or metadata do not fit a chunk: then a NIC would drop the packet.
    pub fn deliver(&mut self, packet: &[u8], metadata: &[u8]) -> bool {
        let room = self.chunk_size.wrapping_sub(self.offset) as usize;
        if packet.len() > room || metadata.len() > self.offset as usize || self.rx.reserve(1) == 0 {
            return false;
        }
        let (Some(chunk), Ok(len)) = (self.next_chunk(), u32::try_from(packet.len())) else {
            return false;
        };
        let addr = chunk.wrapping_add(self.offset.into());
        self.write(addr.wrapping_sub(metadata.len() as u64), metadata);
        self.write(addr, packet);
        self.rx.push(libc::xdp_desc {
            addr,
            len,
            options: 0,
        });
        self.rx.commit();
        true
    }

    /// Transmits everything on the tx ring for which the completion ring has room: returns the
    /// packets in order, and completes their chunks.
    ///
    /// Descriptors the kernel would not accept are dropped without completion, as it does, and
    /// counted in [`tx_invalid`](Self::tx_invalid).
    pub fn transmitted(&mut self) -> Vec<Vec<u8>> {
        self.transmitted_at_most(usize::MAX)
    }

    /// As [`transmitted`](Self::transmitted), but takes `max` descriptors at most and leaves the
    /// rest on the ring: a slow or a batching kernel.
    pub fn transmitted_at_most(&mut self, max: usize) -> Vec<Vec<u8>> {
        let room = self.completion.reserve(max);
        let mut packets = Vec::new();
        for _ in 0..self.tx.ready(room) {
            let Some(descriptor) = self.tx.pop() else {
                break;
            };
            match self.chunk_of(&descriptor) {
                Some(chunk) => {
                    // A forged chunk's memory may be the queue's now: complete it unread.
                    if self.forged.get(chunk) == Some(&false) {
                        packets.push(self.read(descriptor.addr, descriptor.len as usize));
                        self.answer(&descriptor);
                    }
                    self.completion.push(descriptor.addr);
                }
                None => self.tx_invalid = self.tx_invalid.wrapping_add(1),
            }
        }
        self.tx.release();
        self.completion.commit();
        packets
    }

    /// How many descriptors on the tx ring broke the kernel's rules.
    pub fn tx_invalid(&self) -> u64 {
        self.tx_invalid
    }

    /// Answers requests for TX stamps with `first`, `first + 1` and so on, in the order of
    /// transmission, from now on. Before this is called none is answered, as by a driver without
    /// stamps; an answer of 0 is none.
    pub fn stamp_from(&mut self, first: u64) {
        self.stamp = Some(first);
    }

    /// How many packets were transmitted with a request for a stamp.
    pub fn stamps_asked(&self) -> u64 {
        self.stamps_asked
    }

    /// How many packets can be delivered before the fill ring is empty.
    pub fn fill_ready(&mut self) -> usize {
        self.fill.ready(usize::MAX)
    }

    /// Hostile: puts any descriptor on the rx ring, `false` without room.
    ///
    /// From then on the kernel side neither receives into the chunk it names nor reads it: found on
    /// the fill ring it is dropped, and found on the tx ring it is completed unread.
    pub fn inject_rx(&mut self, address: u64, len: u32, options: u32) -> bool {
        self.forge(address);
        let room = self.rx.reserve(1) == 1;
        if room {
            self.rx.push(libc::xdp_desc {
                addr: address,
                len,
                options,
            });
            self.rx.commit();
        }
        room
    }

    /// Hostile: puts any address on the completion ring, `false` without room. The chunk it names
    /// is treated as after [`inject_rx`](Self::inject_rx).
    pub fn inject_completion(&mut self, address: u64) -> bool {
        self.forge(address);
        let room = self.completion.reserve(1) == 1;
        if room {
            self.completion.push(address);
            self.completion.commit();
        }
        room
    }

    /// Sets what [`Queue::tx_needs_wakeup`] and [`Queue::fill_needs_wakeup`] say.
    pub fn ask_for_wakeups(&mut self, tx: bool, fill: bool) {
        self.tx.ask_for_wakeup(tx);
        self.fill.ask_for_wakeup(fill);
    }

    /// A handle that a worker can own as its [`Kernel`] while the test keeps this side.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// The next chunk on the fill ring whose memory is ours to write, by its address.
    fn next_chunk(&mut self) -> Option<u64> {
        let mut next = None;
        while next.is_none() && self.fill.ready(1) == 1 {
            // The kernel ignores the offset too (`xp_check_aligned`, `net/xdp/xsk_buff_pool.c`).
            next = self
                .fill
                .pop()
                .map(|address| address & self.chunk_mask())
                .filter(|&address| {
                    self.chunk_at(address)
                        .and_then(|chunk| self.forged.get(chunk))
                        == Some(&false)
                });
        }
        self.fill.release();
        next
    }

    /// Keeps the address of the chunk and cuts the offset in it.
    fn chunk_mask(&self) -> u64 {
        !u64::from(self.chunk_size.wrapping_sub(1))
    }

    fn chunk_at(&self, address: u64) -> Option<usize> {
        let chunk = usize::try_from(address >> self.chunk_size.trailing_zeros()).ok()?;
        (address < self.size).then_some(chunk)
    }

    /// The chunk of a descriptor on the tx ring, if the kernel would accept it
    /// (`xp_aligned_validate_desc`, `net/xdp/xsk_queue.h`).
    fn chunk_of(&self, descriptor: &libc::xdp_desc) -> Option<usize> {
        let chunk = self.chunk_at(descriptor.addr)?;
        let offset = descriptor.addr & !self.chunk_mask();
        let end = offset.checked_add(descriptor.len.into())?;
        let headroom = if self.tx_metadata {
            tx_metadata::LEN
        } else {
            0
        };
        let valid = descriptor.len > 0
            && offset >= headroom.into()
            && end <= self.chunk_size.into()
            && match descriptor.options {
                0 => true,
                libc::XDP_TX_METADATA => self.tx_metadata,
                _ => false,
            };
        valid.then_some(chunk)
    }

    /// Stamps a packet that is being transmitted, if its descriptor asks for it.
    fn answer(&mut self, descriptor: &libc::xdp_desc) {
        if descriptor.options & libc::XDP_TX_METADATA == 0 {
            return;
        }
        let metadata = descriptor.addr.wrapping_sub(tx_metadata::LEN.into());
        // The kernel would refuse other flags, and keep the descriptor for ever.
        if self.read(metadata, tx_metadata::REQUEST.len()) != tx_metadata::REQUEST {
            self.tx_invalid = self.tx_invalid.wrapping_add(1);
            return;
        }
        self.stamps_asked = self.stamps_asked.wrapping_add(1);
        if let Some(stamp) = self.stamp {
            self.write(descriptor.addr.wrapping_sub(8), &stamp.to_ne_bytes());
            self.stamp = Some(stamp.wrapping_add(1));
        }
    }

    fn forge(&mut self, address: u64) {
        if let Some(forged) = self
            .chunk_at(address)
            .and_then(|chunk| self.forged.get_mut(chunk))
        {
            *forged = true;
        }
    }

    fn at(&self, address: u64, len: usize) -> Option<NonNull<u8>> {
        self.memory.at(usize::try_from(address).ok()?, len)
    }

    /// Writes into a chunk that came from the fill ring or the tx ring.
    fn write(&mut self, address: u64, octets: &[u8]) {
        let Some(to) = self.at(address, octets.len()) else {
            return;
        };
        // SAFETY: within the memory; the queue lent us the chunk by the fill or the tx ring, it was
        // not yet given back and no injected entry named it, so nobody else touches it.
        unsafe { ptr::copy_nonoverlapping(octets.as_ptr(), to.as_ptr(), octets.len()) };
    }

    /// Reads in a chunk that came from the tx ring.
    fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let Some(from) = self.at(address, len) else {
            return Vec::new();
        };
        // SAFETY: within the memory; the queue lent us the chunk by the tx ring, it was not yet
        // completed and no injected entry named it, so nobody writes to it.
        unsafe { slice::from_raw_parts(from.as_ptr(), len) }.to_vec()
    }
}

impl Kernel for KernelSide {
    fn wake_tx(&self) -> io::Result<Wake> {
        self.doorbell.wake_tx()
    }

    fn wake_rx(&self) -> io::Result<Wake> {
        self.doorbell.wake_rx()
    }
}

/// A [`Kernel`] that counts wake-ups and answers as it is told. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Doorbell(Arc<DoorbellState>);

#[derive(Debug, Default)]
struct DoorbellState {
    tx: AtomicU64,
    rx: AtomicU64,
    /// 0 for [`Wake::Done`], `AGAIN` for [`Wake::Retry`], else an error number.
    answer: AtomicI32,
}

impl Doorbell {
    /// How often the tx ring's wake-up was rung.
    pub fn tx_count(&self) -> u64 {
        self.0.tx.load(Ordering::Relaxed)
    }

    /// How often the fill ring's wake-up was rung.
    pub fn rx_count(&self) -> u64 {
        self.0.rx.load(Ordering::Relaxed)
    }

    /// Answers [`Wake::Done`] from now on, as at first.
    pub fn answer_done(&self) {
        self.0.answer.store(0, Ordering::Relaxed);
    }

    /// Answers [`Wake::Retry`] from now on.
    pub fn answer_retry(&self) {
        self.0.answer.store(libc::EAGAIN, Ordering::Relaxed);
    }

    /// Answers with this error number from now on, as 100 (ENETDOWN).
    pub fn answer_error(&self, errno: i32) {
        self.0.answer.store(errno, Ordering::Relaxed);
    }

    fn ring(&self, count: &AtomicU64) -> io::Result<Wake> {
        count.fetch_add(1, Ordering::Relaxed);
        match self.0.answer.load(Ordering::Relaxed) {
            0 => Ok(Wake::Done),
            libc::EAGAIN => Ok(Wake::Retry),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Kernel for Doorbell {
    fn wake_tx(&self) -> io::Result<Wake> {
        self.ring(&self.0.tx)
    }

    fn wake_rx(&self) -> io::Result<Wake> {
        self.ring(&self.0.rx)
    }
}
