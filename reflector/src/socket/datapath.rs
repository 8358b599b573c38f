//! The workers as running threads, and the sockets they are given.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clock::SystemClock;

use super::counters::SocketCounters;
use super::open::{self, OpenError};
use super::plan::{Binding, Plan};
use super::receive::BATCH;
use super::watch::{Inbox, Watch};
use super::worker::{Endpoint, Worker};
use crate::args::{Args, Poll};
use crate::cpus;
use crate::error::Error;
use crate::shared::Shared;
use crate::stop::Stop;
use crate::wait::Waiter;

/// Batches taken from one socket before the next has its turn.
const TURN: usize = 8;
/// Upper bound on a sleep: a lost wake-up delays a packet by this much, not for ever.
const SLEEP_MAX_MS: u16 = 1_000;
/// Bound on answering what has arrived when the end comes.
const DRAIN_MAX: Duration = Duration::from_millis(100);
/// Bound on waiting for workers to let go of sockets.
const RELEASE_MAX: Duration = Duration::from_secs(5);

/// How the workers work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// A worker for each of these: the processor it is pinned to, or none.
    pub cpus: Vec<Option<usize>>,
    /// How they wait.
    pub poll: Poll,
    /// Replies that share one T3 at most. The kernel sends one after the other, about a microsecond
    /// each.
    pub tx_batch: usize,
}

impl Options {
    /// Replies that share one T3 unless told otherwise.
    pub const TX_BATCH: usize = 8;

    /// As the command line says: the whole reflector.
    ///
    /// # Errors
    ///
    /// The command line names a processor that this process may not run on.
    pub fn whole(args: &Args) -> Result<Self, Error> {
        let list = cpus::chosen(args.cpus.as_ref())?;
        let workers = args.socket_workers.map_or(list.len(), usize::from);
        Ok(Self {
            cpus: list.into_iter().cycle().map(Some).take(workers).collect(),
            poll: args.poll,
            tx_batch: args.tx_batch.map_or(Self::TX_BATCH, usize::from),
        })
    }

    /// One thread where the kernel puts it, asleep most of the time: beside AF_XDP.
    pub fn slow_path() -> Self {
        Self {
            cpus: vec![None],
            poll: Poll::Interrupt,
            tx_batch: Self::TX_BATCH,
        }
    }
}

/// Workers that answer on sockets.
#[derive(Debug)]
pub struct SocketDatapath {
    bound: Vec<Bound>,
    workers: Vec<Handle>,
    /// Drops of sockets that are closed, and what was still in them.
    closed_drops: u64,
}

/// What one worker did in total, or all of them.
#[derive(Debug)]
pub struct SocketFigures {
    /// By worker.
    pub workers: Vec<Arc<SocketCounters>>,
    /// Datagrams that no worker got: the kernel dropped them, most of them for want of room
    /// ([`open::kernel_drops`]), or they were in a socket that was closed.
    pub kernel_drops: u64,
}

/// A binding, and the socket of each worker.
#[derive(Debug)]
struct Bound {
    binding: Binding,
    endpoints: Vec<Arc<Endpoint>>,
}

/// A worker's thread and what it shares with it.
#[derive(Debug)]
struct Handle {
    inbox: Arc<Inbox>,
    counters: Arc<SocketCounters>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Why the datapath did not start, or changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatapathError {
    /// A socket could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Anything else.
    #[error("{action} failed ({source})")]
    System {
        /// What was attempted.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(action: &'static str) -> impl Fn(E) -> DatapathError {
    move |error| DatapathError::System {
        action,
        source: error.into(),
    }
}

impl SocketDatapath {
    /// Opens the sockets of `plan` and starts the workers, which work until `stop` is raised. A
    /// worker that ends for another reason raises it.
    ///
    /// Of a family that this system does not have, listeners on every address do without a socket.
    ///
    /// # Errors
    ///
    /// A socket cannot be opened, or no thread be started; nothing is left behind then but `stop`
    /// raised, if there were threads already.
    pub fn start(
        plan: &Plan,
        shared: &Shared,
        stop: &Stop,
        options: &Options,
    ) -> Result<Self, DatapathError> {
        let workers = options.cpus.len();
        let mut datapath = Self {
            bound: Vec::with_capacity(plan.bindings.len()),
            workers: Vec::with_capacity(workers),
            closed_drops: 0,
        };
        for binding in &plan.bindings {
            match Bound::open(binding, workers) {
                Ok(bound) => datapath.bound.push(bound),
                Err(DatapathError::Open(OpenError::NoFamily(at))) if at.ip().is_unspecified() => {}
                Err(error) => return Err(error),
            }
        }
        for (place, &cpu) in options.cpus.iter().enumerate() {
            let endpoints = datapath.endpoints_of(place);
            match Handle::start(place, endpoints, cpu, options, shared, stop) {
                Ok(handle) => datapath.workers.push(handle),
                Err(error) => {
                    stop.raise();
                    let _ = datapath.finish();
                    return Err(error);
                }
            }
        }
        Ok(datapath)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Brings the sockets in line with another plan: closes what is no longer in it, opens what is
    /// new in it, and leaves the rest alone. Returns why sockets could not be opened; another call
    /// tries again.
    pub fn apply(&mut self, plan: &Plan) -> Vec<DatapathError> {
        let wanted = |bound: &Bound| plan.bindings.iter().any(|binding| bound.is_for(binding));
        let (kept, closing): (Vec<_>, Vec<_>) = std::mem::take(&mut self.bound)
            .into_iter()
            .partition(wanted);
        self.bound = kept;
        if !closing.is_empty() {
            self.publish();
            self.close(closing);
        }

        let mut errors = Vec::new();
        let mut opened = false;
        for binding in &plan.bindings {
            if let Some(bound) = self.bound.iter_mut().find(|bound| bound.is_for(binding)) {
                bound.binding.clone_from(binding);
                continue;
            }
            match Bound::open(binding, self.workers.len()) {
                Ok(bound) => {
                    self.bound.push(bound);
                    opened = true;
                }
                Err(DatapathError::Open(OpenError::NoFamily(at))) if at.ip().is_unspecified() => {}
                Err(error) => errors.push(error),
            }
        }
        if opened {
            self.publish();
        }
        errors
    }

    /// The figures now.
    pub fn figures(&self) -> SocketFigures {
        let open: u64 = self.bound.iter().map(Bound::kernel_drops).sum();
        SocketFigures {
            workers: self
                .workers
                .iter()
                .map(|worker| Arc::clone(&worker.counters))
                .collect(),
            kernel_drops: self.closed_drops + open,
        }
    }

    /// Waits for the workers, whose [`Stop`] must be raised. Returns the figures, and why a worker
    /// ended if nobody asked it to.
    pub fn finish(mut self) -> (SocketFigures, Option<DatapathError>) {
        let threads: Vec<_> = self
            .workers
            .iter_mut()
            .filter_map(|worker| worker.thread.take())
            .collect();
        let failures: Vec<_> = threads
            .into_iter()
            .filter_map(|thread| match thread.join() {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some(io::Error::other("it panicked; please report this")),
            })
            .collect();
        let failure = failures.into_iter().next().map(system("a socket worker"));
        self.closed_drops += self.bound.iter().map(Bound::left_over).sum::<u64>();
        (self.figures(), failure)
    }

    fn endpoints_of(&self, worker: usize) -> Vec<Arc<Endpoint>> {
        let bound = self.bound.iter();
        bound
            .filter_map(|bound| bound.endpoints.get(worker).map(Arc::clone))
            .collect()
    }

    /// Tells every worker which sockets are its own.
    fn publish(&self) {
        for (place, worker) in self.workers.iter().enumerate() {
            worker.inbox.replace(self.endpoints_of(place));
        }
    }

    /// Closes sockets once no worker holds them: their ports may be needed by the next ones.
    fn close(&mut self, closing: Vec<Bound>) {
        let deadline = Instant::now() + RELEASE_MAX;
        while closing.iter().any(Bound::is_held) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let drops = |bound: &Bound| bound.kernel_drops() + bound.left_over();
        self.closed_drops += closing.iter().map(drops).sum::<u64>();
        drop(closing);
    }
}

impl SocketFigures {
    /// The sum of a counter over all workers.
    pub fn total(&self, value: impl Fn(&SocketCounters) -> u64) -> u64 {
        self.workers.iter().map(|counters| value(counters)).sum()
    }
}

impl Bound {
    fn open(binding: &Binding, workers: usize) -> Result<Self, DatapathError> {
        let endpoints = open::open(binding, workers)?
            .into_iter()
            .map(|socket| Endpoint::new(socket).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(system("reading a socket's address"))?;
        Ok(Self {
            binding: binding.clone(),
            endpoints,
        })
    }

    /// The kernel binds to a device by its index: under another name it is the same.
    fn is_for(&self, binding: &Binding) -> bool {
        let at = |binding: &Binding| {
            let device = binding.device.as_ref().map(|device| device.index);
            (device, binding.address, binding.port)
        };
        at(&self.binding) == at(binding)
    }

    fn is_held(&self) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| Arc::strong_count(endpoint) > 1)
    }

    /// Datagrams that no worker takes any more.
    fn left_over(&self) -> u64 {
        self.endpoints
            .iter()
            .map(|endpoint| open::left_over(endpoint.socket()))
            .sum()
    }

    fn kernel_drops(&self) -> u64 {
        self.endpoints
            .iter()
            .filter_map(|endpoint| open::kernel_drops(endpoint.socket()).ok())
            .map(u64::from)
            .sum()
    }
}

impl Handle {
    fn start(
        place: usize,
        endpoints: Vec<Arc<Endpoint>>,
        cpu: Option<usize>,
        options: &Options,
        shared: &Shared,
        stop: &Stop,
    ) -> Result<Self, DatapathError> {
        let inbox = Inbox::new(endpoints).map_err(system("creating an event descriptor"))?;
        let watch = Watch::new(&inbox, stop).map_err(system("watching sockets"))?;
        let inbox = Arc::new(inbox);
        let counters = Arc::new(SocketCounters::default());
        let thread = {
            let (inbox, counters) = (Arc::clone(&inbox), Arc::clone(&counters));
            let (shared, stop) = (shared.clone(), stop.clone());
            let (poll, tx_batch) = (options.poll, options.tx_batch);
            thread::Builder::new()
                .name(format!("socket-{place}"))
                .spawn(move || {
                    let _raise = RaiseOnExit(&stop);
                    if let Some(cpu) = cpu {
                        cpus::pin_or_warn(cpu);
                    }
                    let worker = Worker::new(SystemClock, shared, counters, tx_batch);
                    serve(worker, watch, &inbox, poll, &stop)
                })
                .map_err(system("starting a worker thread"))?
        };
        Ok(Self {
            inbox,
            counters,
            thread: Some(thread),
        })
    }
}

/// Raised however the worker ends, by panic too: who waits for replies is better told.
struct RaiseOnExit<'a>(&'a Stop);

impl Drop for RaiseOnExit<'_> {
    fn drop(&mut self) {
        self.0.raise();
    }
}

fn serve(
    mut worker: Worker<SystemClock>,
    mut watch: Watch,
    inbox: &Inbox,
    poll: Poll,
    stop: &Stop,
) -> io::Result<()> {
    let mut waiter = Waiter::new(poll);
    loop {
        let spins = waiter.spins();
        let ready = watch.wait(if spins { 0 } else { SLEEP_MAX_MS })?;
        if stop.is_raised() {
            return drain(&mut worker, &watch);
        }
        if watch.is_change(ready) {
            watch.follow(inbox)?;
            continue;
        }
        let mut taken = 0;
        for place in 0..ready {
            if let Some(endpoint) = watch.endpoint(place) {
                taken += take_turn(&mut worker, endpoint)?;
            }
        }
        if taken > 0 {
            waiter.packet_seen();
        } else if spins {
            std::hint::spin_loop();
        }
    }
}

/// Answers what one socket has, up to its turn's share.
fn take_turn(worker: &mut Worker<SystemClock>, endpoint: &Endpoint) -> io::Result<usize> {
    let mut taken = 0;
    for _ in 0..TURN {
        let batch = worker.turn(endpoint)?;
        taken += batch;
        if batch < BATCH {
            break;
        }
    }
    Ok(taken)
}

/// Answers what has arrived.
fn drain(worker: &mut Worker<SystemClock>, watch: &Watch) -> io::Result<()> {
    let deadline = Instant::now() + DRAIN_MAX;
    while Instant::now() < deadline {
        let mut taken = 0;
        for endpoint in watch.endpoints() {
            taken += take_turn(worker, endpoint)?;
        }
        if taken == 0 {
            break;
        }
    }
    Ok(())
}
