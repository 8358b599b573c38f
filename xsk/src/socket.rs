//! The AF_XDP socket: set-up, bind, wake-up, statistics.

use std::io;
use std::ops::Add;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{BindMode, BusyPoll, RingSizes, SocketConfig};
use crate::error::Error;
use crate::mmap::Mapping;
use crate::nic::Nic;
use crate::queue::Queue;
use crate::ring::{Offsets, Ring};
use crate::sys::{self, Plain};
use crate::tx_metadata;
use crate::umem::Umem;

/// How long a busy queue is tried again. A socket outlives its process, and even its close(2), for
/// a moment, because the kernel lets go of the queue in a work item (`xp_put_pool`,
/// `net/xdp/xsk_buff_pool.c`).
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// `AF_XDP` with the type of `sxdp_family`.
#[expect(clippy::cast_possible_truncation, reason = "it is 44")]
const FAMILY: libc::sa_family_t = libc::AF_XDP as libc::sa_family_t;

/// `XDP_UMEM_PGOFF_FILL_RING` and `XDP_UMEM_PGOFF_COMPLETION_RING` with mmap(2)'s type.
const FILL_PAGE: libc::off_t = 0x1_0000_0000;
const COMPLETION_PAGE: libc::off_t = 0x1_8000_0000;

/// How a wake-up went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after Retry packets may still wait on the tx ring"]
pub enum Wake {
    /// The kernel took note, and in copy mode sent what was on the tx ring.
    Done,
    /// The kernel is busy, short of memory or at the end of its batch: wake it again later. The
    /// packets stay on the ring.
    Retry,
}

/// The wake-up half of a kernel, so that a worker's loop runs on a [`Socket`] or on the in-memory
/// [`KernelSide`](crate::testing::KernelSide) alike.
pub trait Kernel {
    /// Makes the kernel look at the tx ring.
    ///
    /// # Errors
    /// Anything but "again later": ENETDOWN while the link is down, ENXIO after the interface was
    /// removed. The rings keep what they hold; a caller may carry on and try again.
    fn wake_tx(&self) -> io::Result<Wake>;

    /// Makes the kernel look at the fill ring.
    ///
    /// # Errors
    /// As [`wake_tx`](Self::wake_tx).
    fn wake_rx(&self) -> io::Result<Wake>;
}

impl<K: Kernel + ?Sized> Kernel for &K {
    fn wake_tx(&self) -> io::Result<Wake> {
        (**self).wake_tx()
    }

    fn wake_rx(&self) -> io::Result<Wake> {
        (**self).wake_rx()
    }
}

/// The kernel's counters of one socket (`XDP_STATISTICS`, `struct xdp_statistics`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets dropped for other reasons, as one longer than a chunk or, in copy mode, no chunk on
    /// the fill ring.
    pub rx_dropped: u64,
    /// Addresses on the fill ring the kernel refused.
    pub rx_invalid_descs: u64,
    /// Descriptors on the tx ring the kernel refused; it does not complete them.
    pub tx_invalid_descs: u64,
    /// Packets dropped because the rx ring was full.
    pub rx_ring_full: u64,
    /// How often the kernel found the fill ring empty.
    pub rx_fill_ring_empty_descs: u64,
    /// How often the kernel found the tx ring empty.
    pub tx_ring_empty_descs: u64,
}

impl Add for Statistics {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rx_dropped: self.rx_dropped.wrapping_add(other.rx_dropped),
            rx_invalid_descs: self.rx_invalid_descs.wrapping_add(other.rx_invalid_descs),
            tx_invalid_descs: self.tx_invalid_descs.wrapping_add(other.tx_invalid_descs),
            rx_ring_full: self.rx_ring_full.wrapping_add(other.rx_ring_full),
            rx_fill_ring_empty_descs: self
                .rx_fill_ring_empty_descs
                .wrapping_add(other.rx_fill_ring_empty_descs),
            tx_ring_empty_descs: self
                .tx_ring_empty_descs
                .wrapping_add(other.tx_ring_empty_descs),
        }
    }
}

/// An AF_XDP socket bound to one queue of an interface. The packets flow by the [`Queue`] opened
/// with it; after the socket is dropped the queue moves no more packets.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    zero_copy: bool,
}

impl Socket {
    /// Whether this kernel has AF_XDP sockets and lets this process open one.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Permission`] or [`Error::Io`].
    pub fn probe() -> Result<(), Error> {
        unbound().map(drop)
    }

    /// Registers the UMEM, maps the rings, fills the fill ring and binds.
    ///
    /// A queue whose previous socket is just being closed is waited for, up to a second. Locked
    /// memory is raised if the UMEM needs it and the process may.
    ///
    /// # Errors
    /// Every variant of [`Error`] but `NoHugePages`; the UMEM is freed then.
    pub fn open(config: &SocketConfig, umem: Umem) -> Result<(Socket, Queue), Error> {
        config.check()?;
        let fd = unbound()?;
        register(fd.as_fd(), &umem)?;
        let mut queue = map_queue(fd.as_fd(), &config.ring_sizes(), umem)?;
        if let Some(busy_poll) = config.busy_poll {
            set_busy_poll(fd.as_fd(), busy_poll)?;
        }
        // Before the bind, so that the first packets find chunks.
        queue.refill();
        bind(fd.as_fd(), config)?;
        let options: libc::xdp_options = sys::option(fd.as_fd(), libc::SOL_XDP, libc::XDP_OPTIONS)
            .map_err(|source| Error::from_io("ask for the socket's mode", source))?;
        let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        Ok((Socket { fd, zero_copy }, queue))
    }

    /// Whether packets move without being copied (`XDP_OPTIONS`).
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Makes the kernel look at the tx ring: an empty, non-blocking sendto(2).
    ///
    /// # Errors
    /// As [`Kernel::wake_tx`].
    #[inline]
    pub fn wake_tx(&self) -> io::Result<Wake> {
        match sys::send_nothing(self.fd.as_fd()) {
            Ok(()) => Ok(Wake::Done),
            Err(error) => sort_wake_error(error),
        }
    }

    /// Makes the kernel look at the fill ring, and poll if busy polling is on: an empty,
    /// non-blocking recvfrom(2).
    ///
    /// # Errors
    /// As [`Kernel::wake_rx`].
    #[inline]
    pub fn wake_rx(&self) -> io::Result<Wake> {
        match sys::receive_nothing(self.fd.as_fd()) {
            Ok(()) => Ok(Wake::Done),
            Err(error) => sort_wake_error(error),
        }
    }

    /// The kernel's counters since the socket was opened.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Unsupported`] from a kernel that knows fewer.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let raw: libc::xdp_statistics =
            sys::option(self.fd.as_fd(), libc::SOL_XDP, libc::XDP_STATISTICS)
                .map_err(|source| Error::from_io("read the socket's statistics", source))?;
        Ok(Statistics {
            rx_dropped: raw.rx_dropped,
            rx_invalid_descs: raw.rx_invalid_descs,
            tx_invalid_descs: raw.tx_invalid_descs,
            rx_ring_full: raw.rx_ring_full,
            rx_fill_ring_empty_descs: raw.rx_fill_ring_empty_descs,
            tx_ring_empty_descs: raw.tx_ring_empty_descs,
        })
    }
}

impl Kernel for Socket {
    #[inline]
    fn wake_tx(&self) -> io::Result<Wake> {
        Socket::wake_tx(self)
    }

    #[inline]
    fn wake_rx(&self) -> io::Result<Wake> {
        Socket::wake_rx(self)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cold]
#[inline(never)]
fn sort_wake_error(error: io::Error) -> io::Result<Wake> {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) => Ok(Wake::Retry),
        _ => Err(error),
    }
}

fn unbound() -> Result<OwnedFd, Error> {
    sys::socket(libc::AF_XDP, libc::SOCK_RAW)
        .map_err(|source| Error::from_io("open an AF_XDP socket", source))
}

fn register(fd: BorrowedFd<'_>, umem: &Umem) -> Result<(), Error> {
    let request = libc::xdp_umem_reg {
        addr: umem.memory().base().addr().get() as u64,
        len: umem.size(),
        chunk_size: umem.chunk_size(),
        headroom: umem.headroom(),
        flags: if umem.tx_metadata() {
            libc::XDP_UMEM_TX_METADATA_LEN
        } else {
            0
        },
        tx_metadata_len: if umem.tx_metadata() {
            tx_metadata::LEN
        } else {
            0
        },
    };
    let attempt = || sys::set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &request);
    // ENOBUFS means RLIMIT_MEMLOCK (`xdp_umem_account_pages`, `net/xdp/xdp_umem.c`).
    let is_limit = |error: &io::Error| error.raw_os_error() == Some(libc::ENOBUFS);
    let mut result = attempt();
    let mut limit = 0;
    if result.as_ref().is_err_and(is_limit) {
        limit = sys::raise_memlock();
        result = attempt();
    }
    result.map_err(|source| match source.raw_os_error() {
        Some(libc::ENOBUFS) => Error::Memlock {
            needed: request.len,
            limit,
        },
        // A flag the kernel does not know (`xdp_umem_reg`); all else in the request was checked.
        Some(libc::EINVAL) if umem.tx_metadata() => Error::NoTxMetadata,
        _ => Error::from_io("register the packet memory", source),
    })
}

fn map_queue(fd: BorrowedFd<'_>, sizes: &RingSizes, umem: Umem) -> Result<Queue, Error> {
    let set_size = |name, size: u32, operation| {
        sys::set_option(fd, libc::SOL_XDP, name, &size)
            .map_err(|source| Error::from_io(operation, source))
    };
    set_size(libc::XDP_UMEM_FILL_RING, sizes.fill, "size the fill ring")?;
    set_size(
        libc::XDP_UMEM_COMPLETION_RING,
        sizes.completion,
        "size the completion ring",
    )?;
    set_size(libc::XDP_RX_RING, sizes.rx, "size the rx ring")?;
    set_size(libc::XDP_TX_RING, sizes.tx, "size the tx ring")?;
    let offsets: libc::xdp_mmap_offsets = sys::option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)
        .map_err(|source| Error::from_io("ask where the rings are", source))?;

    let fill = map_ring(fd, &offsets.fr, sizes.fill, FILL_PAGE, "map the fill ring")?;
    let completion = map_ring(
        fd,
        &offsets.cr,
        sizes.completion,
        COMPLETION_PAGE,
        "map the completion ring",
    )?;
    let rx = map_ring(
        fd,
        &offsets.rx,
        sizes.rx,
        libc::XDP_PGOFF_RX_RING,
        "map the rx ring",
    )?;
    let tx = map_ring(
        fd,
        &offsets.tx,
        sizes.tx,
        libc::XDP_PGOFF_TX_RING,
        "map the tx ring",
    )?;
    Ok(Queue::new(
        umem,
        fill.into_producer(),
        completion.into_consumer(),
        rx.into_consumer(),
        tx.into_producer(),
    ))
}

fn map_ring<T: Plain>(
    fd: BorrowedFd<'_>,
    offsets: &libc::xdp_ring_offset,
    entries: u32,
    page_offset: libc::off_t,
    operation: &'static str,
) -> Result<Ring<T>, Error> {
    // Only a kernel with another ABI could give offsets that do not fit.
    let offsets = Offsets::from_kernel(offsets).ok_or(Error::Unsupported)?;
    let memory = Mapping::ring(fd, offsets.span::<T>(entries), page_offset)
        .map_err(|source| Error::from_io(operation, source))?;
    Ring::new(memory, &offsets, entries).ok_or(Error::Unsupported)
}

fn set_busy_poll(fd: BorrowedFd<'_>, busy_poll: BusyPoll) -> Result<(), Error> {
    let options = [
        (libc::SO_PREFER_BUSY_POLL, 1),
        (libc::SO_BUSY_POLL, busy_poll.usecs.into()),
        (libc::SO_BUSY_POLL_BUDGET, busy_poll.budget.into()),
    ];
    for (name, value) in options {
        let value: libc::c_int = value;
        sys::set_option(fd, libc::SOL_SOCKET, name, &value)
            .map_err(|source| Error::from_io("turn busy polling on", source))?;
    }
    Ok(())
}

fn bind(fd: BorrowedFd<'_>, config: &SocketConfig) -> Result<(), Error> {
    let address = libc::sockaddr_xdp {
        sxdp_family: FAMILY,
        sxdp_flags: config.bind_flags(),
        sxdp_ifindex: config.ifindex,
        sxdp_queue_id: config.queue,
        sxdp_shared_umem_fd: 0,
    };
    let deadline = Instant::now() + BUSY_PATIENCE;
    loop {
        match sys::bind_xdp(fd, &address) {
            Ok(()) => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline =>
            {
                thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err(sort_bind_error(error, config)),
        }
    }
}

/// Finds the words for the kernel's answer to bind(2) (`xsk_bind`, `net/xdp/xsk.c`, and
/// `xp_assign_dev`, `net/xdp/xsk_buff_pool.c`).
fn sort_bind_error(source: io::Error, config: &SocketConfig) -> Error {
    let &SocketConfig {
        ifindex,
        queue,
        mode,
        ..
    } = config;
    let nic = Nic::by_index(ifindex);
    let interface = match &nic {
        Ok(nic) => nic.name().to_owned(),
        Err(_) => format!("number {ifindex}"),
    };
    match source.raw_os_error() {
        Some(libc::ENODEV) => Error::NoSuchInterface { interface },
        Some(libc::EBUSY) => Error::Busy { interface, queue },
        Some(libc::EOPNOTSUPP) if mode == BindMode::ZeroCopy => Error::NoZeroCopy { interface },
        // EINVAL has many causes: look at the facts.
        Some(libc::EINVAL) => match nic.and_then(|nic| nic.channels()) {
            Ok(channels) if queue >= channels.rx.max(channels.tx) => Error::NoSuchQueue {
                interface,
                queue,
                queues: channels.rx.max(channels.tx),
            },
            _ => Error::Io {
                operation: "bind the AF_XDP socket to the queue",
                source,
            },
        },
        _ => Error::from_io("bind the AF_XDP socket to the queue", source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_kernel_is_no_error() {
        for errno in [libc::EAGAIN, libc::EBUSY, libc::ENOBUFS, libc::EINTR] {
            let wake = sort_wake_error(io::Error::from_raw_os_error(errno));
            assert_eq!(wake.unwrap(), Wake::Retry);
        }
        for errno in [libc::ENETDOWN, libc::ENXIO] {
            let error = sort_wake_error(io::Error::from_raw_os_error(errno)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno));
        }
    }
}
