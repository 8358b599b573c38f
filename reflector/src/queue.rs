//! One receive queue: its AF_XDP socket and the pinned thread that serves it.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clock::SystemClock;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use xsk::{BindMode, ChunkFit, Rejected, Socket, SocketConfig, Statistics, Umem, UmemConfig};

use crate::args::{Args, Poll};
use crate::counters::QueueCounters;
use crate::cpus;
use crate::error::Error;
use crate::interface::Interface;
use crate::rulebook::Rulebook;
use crate::session::Sessions;
use crate::shared::Shared;
use crate::stop::Stop;
use crate::wait::Waiter;
use crate::worker::{Parts, Worker};

type QueueWorker = Worker<Socket, SystemClock, Rulebook, Sessions>;

/// Zero-copy: everything leaves after the commit, so a larger batch costs T3 nothing. Copy mode: the
/// kernel sends one descriptor after the other, about a microsecond each, all with one T3.
const TX_BATCH_ZERO_COPY: usize = 64;
const TX_BATCH_COPY: usize = 8;

/// Bound on seeing the last replies off: a link that is down takes none.
const DRAIN_MAX: Duration = Duration::from_millis(100);

/// What a queue is to be.
#[derive(Debug)]
pub struct QueuePlan<'a> {
    /// On which interface.
    pub interface: &'a Interface,
    /// Its number.
    pub queue: u32,
    /// Where its worker runs.
    pub cpu: usize,
    /// The XDP program runs in generic mode, which has no zero-copy.
    pub generic: bool,
    /// The command line.
    pub args: &'a Args,
    /// Its figures, which go on from before if it was served before.
    pub counters: Arc<QueueCounters>,
}

/// A queue being served.
#[derive(Debug)]
pub struct QueueHandle {
    queue: u32,
    frame_limit: u16,
    zero_copy: bool,
    counters: Arc<QueueCounters>,
    /// A second descriptor of the worker's socket, for the XSKMAP.
    socket: OwnedFd,
    worker: Option<JoinHandle<Outcome>>,
}

/// What a worker leaves behind.
#[derive(Debug)]
struct Outcome {
    statistics: Option<Statistics>,
    rejected: Rejected,
    unsent: u64,
    error: Option<io::Error>,
}

/// A queue's figures at the end.
#[derive(Debug)]
pub struct QueueSummary {
    /// Its number.
    pub queue: u32,
    /// Packets as the worker counted them.
    pub counters: Arc<QueueCounters>,
    /// Packets as the kernel counted them (`XDP_STATISTICS`), where it still could.
    pub statistics: Option<Statistics>,
    /// Descriptors from the kernel that made no sense.
    pub rejected: Rejected,
    /// Replies that the kernel had not taken at the end.
    pub unsent: u64,
}

impl QueueSummary {
    /// Adds what happened when the queue was served again, with the same counters.
    pub fn add(&mut self, later: &Self) {
        self.statistics = match (self.statistics, later.statistics) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        self.rejected = self.rejected + later.rejected;
        self.unsent += later.unsent;
    }

    /// Descriptors in either direction that the other side could not use: a fault of the driver or
    /// of ours, never of a packet.
    pub fn nonsense(&self) -> u64 {
        let by_kernel = self
            .statistics
            .map_or(0, |statistics| statistics.rx_invalid_descs);
        self.rejected.total() + by_kernel
    }
}

impl QueueHandle {
    /// Opens the socket and starts the worker.
    ///
    /// # Errors
    ///
    /// The socket cannot be opened or bound, or no thread can be started.
    pub fn start(plan: &QueuePlan<'_>, shared: &Shared, stop: &Stop) -> Result<Self, Error> {
        let fit = ChunkFit::for_mtu(plan.interface.mtu);
        let umem = Umem::allocate(&UmemConfig {
            // Fill ring and receive ring full; what is being sent comes out of the latter.
            frames: plan.args.ring_size.saturating_mul(2),
            chunk_size: fit.chunk_size,
            ..UmemConfig::default()
        })?;
        let (socket, queue) =
            Socket::open(&socket_config(plan), umem).map_err(|error| match error {
                xsk::Error::Memlock { needed, limit } => Error::LockedMemory { needed, limit },
                other => other.into(),
            })?;
        let zero_copy = socket.zero_copy();
        let counters = Arc::clone(&plan.counters);
        let descriptor = socket
            .as_fd()
            .try_clone_to_owned()
            .map_err(Error::system("duplicating a socket descriptor"))?;

        let default = if zero_copy {
            TX_BATCH_ZERO_COPY
        } else {
            TX_BATCH_COPY
        };
        let worker = Worker::new(Parts {
            queue,
            kernel: socket,
            clock: SystemClock,
            timescale: Arc::clone(&shared.timescale),
            counters: Arc::clone(&counters),
            rules: Arc::clone(&shared.rulebook),
            sessions: Arc::clone(&shared.sessions),
            ifindex: plan.interface.index,
            tx_batch: plan.args.tx_batch.map_or(default, usize::from),
        });
        let (cpu, poll, stop) = (plan.cpu, plan.args.poll, stop.clone());
        let thread = thread::Builder::new()
            .name(format!("queue-{}", plan.queue))
            .spawn(move || serve(worker, cpu, poll, &stop))
            .map_err(Error::system("starting a worker thread"))?;

        Ok(Self {
            queue: plan.queue,
            frame_limit: fit.frame_limit,
            zero_copy,
            counters,
            socket: descriptor,
            worker: Some(thread),
        })
    }

    /// The bound socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the socket still has its interface. One that was removed, or moved to another network
    /// namespace, is lost to it for good, even if it comes back (`xsk_notifier`, net/xdp/xsk.c).
    pub fn is_bound(&self) -> bool {
        let answer = recv(self.socket.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT);
        answer != Err(Errno::ENXIO)
    }

    /// The driver reads and writes the UMEM itself.
    pub const fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Longest frame in octets that fits in a chunk.
    pub const fn frame_limit(&self) -> u16 {
        self.frame_limit
    }

    /// Waits for the worker, whose [`Stop`] must be raised. Returns its figures, and why it ended if
    /// nobody asked it to.
    pub fn finish(mut self) -> (QueueSummary, Option<Error>) {
        let mut summary = QueueSummary {
            queue: self.queue,
            counters: Arc::clone(&self.counters),
            statistics: None,
            rejected: Rejected::default(),
            unsent: 0,
        };
        let failed = |reason: String| Error::Worker {
            queue: summary.queue,
            reason,
        };
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => {
                let error = outcome.error.map(|error| failed(error.to_string()));
                summary.statistics = outcome.statistics;
                summary.rejected = outcome.rejected;
                summary.unsent = outcome.unsent;
                (summary, error)
            }
            Some(Err(_)) => {
                let error = failed("it panicked; please report this".to_owned());
                (summary, Some(error))
            }
            None => (summary, None),
        }
    }
}

fn socket_config(plan: &QueuePlan<'_>) -> SocketConfig {
    let size = plan.args.ring_size;
    SocketConfig {
        rx_size: size,
        tx_size: size,
        fill_size: size,
        completion_size: size,
        mode: if plan.generic {
            BindMode::Copy
        } else {
            BindMode::Auto
        },
        ..SocketConfig::new(plan.interface.index, plan.queue)
    }
}

/// Raised however the worker ends, by panic too: its socket must not go on claiming packets.
struct RaiseOnExit<'a>(&'a Stop);

impl Drop for RaiseOnExit<'_> {
    fn drop(&mut self) {
        self.0.raise();
    }
}

fn serve(mut worker: QueueWorker, cpu: usize, poll: Poll, stop: &Stop) -> Outcome {
    let _raise = RaiseOnExit(stop);
    cpus::pin_or_warn(cpu);
    let error = reflect_until(&mut worker, poll, stop).err();
    Outcome {
        statistics: worker.kernel().statistics().ok(),
        rejected: worker.queue().rejected(),
        unsent: worker.unsent(),
        error,
    }
}

fn reflect_until(worker: &mut QueueWorker, poll: Poll, stop: &Stop) -> io::Result<()> {
    let mut waiter = Waiter::new(poll);
    loop {
        if stop.is_raised() {
            drain(worker);
            return Ok(());
        }
        let turn = worker.turn();
        if turn.received > 0 || turn.sent > 0 {
            waiter.packet_seen();
            continue;
        }
        waiter.idle(worker.kernel().as_fd(), stop, worker.awaited())?;
    }
}

/// Answers what has arrived and sees it off. Nothing more arrives: the listeners are gone.
fn drain(worker: &mut QueueWorker) {
    let deadline = Instant::now() + DRAIN_MAX;
    while Instant::now() < deadline {
        let turn = worker.turn();
        if turn.received == 0 && worker.unsent() == 0 {
            return;
        }
    }
}
