//! The reflector as a running thing: set up in order, watch over it, take it down.
//!
//! Set-up order matters. The program is attached first, because some drivers reset the link then;
//! sockets are bound and workers started; listeners come last, so that no packet is claimed before it
//! can be answered. `ready` waits for the link.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clock::Discipline;
use ebpf::{ListenerKey, Mode, Rule};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{debug, info, warn};
use wire::time::TimestampFormat;
use xsk::Socket;

use crate::addresses::{self, ChangeWatch};
use crate::args::{Args, Poll, Queues};
use crate::cpus;
use crate::error::Error;
use crate::interface::Interface;
use crate::listener::{self, Listener};
use crate::program::{self, AttachedProgram};
use crate::queue::{QueueHandle, QueuePlan};
use crate::reflect::Timescale;
use crate::stop::Stop;
use crate::summary::Summary;
use crate::worker::SharedTimescale;

/// How often the clock's state is read. RFC 4656 asks for an honest Error Estimate, and the kernel's
/// bound grows by 500 ppm: half a millisecond per second.
const TICK: Duration = Duration::from_secs(1);

/// A running reflector.
#[derive(Debug)]
pub struct Service {
    args: Args,
    listener: Listener,
    interface: Interface,
    program: AttachedProgram,
    queues: Vec<QueueHandle>,
    timescale: Arc<SharedTimescale>,
    stop: Stop,
    signals: UnixStream,
    changes: ChangeWatch,
    /// What the XDP program answers for at present.
    active: BTreeSet<IpAddr>,
    ready: bool,
    started: Instant,
}

impl Service {
    /// Sets everything up but the listeners, which [`Self::run`] adds.
    ///
    /// # Errors
    ///
    /// Whatever keeps the reflector from working; nothing is left behind.
    pub fn start(args: Args) -> Result<Self, Error> {
        let listener = only_listener(&args)?;
        let signals = signal_stream().map_err(Error::system("catching signals"))?;
        let interface = Interface::by_name(&listener.interfaces.concat())?;
        if !interface.up {
            return Err(Error::InterfaceDown(interface.name));
        }
        let count = queue_count(args.queues, &interface)?;
        let cpus = cpus::plan(args.cpus.as_ref(), count)?;
        if args.poll == Poll::Busy && has_repeats(&cpus) {
            warn!(
                "several queues spin on one processor: give --cpus more, or do not use --poll busy"
            );
        }
        let changes = ChangeWatch::open().map_err(Error::system("watching for address changes"))?;
        let stop = Stop::new().map_err(Error::system("creating an event descriptor"))?;
        let timescale = Arc::new(SharedTimescale::new(read_timescale()?));

        // Asked first: without AF_XDP the program's socket map is refused, for no stated reason. What
        // permissions are missing, loading the program says better.
        if let Err(error @ xsk::Error::Unsupported) = Socket::probe() {
            return Err(error.into());
        }
        let program = program::attach(&interface, count, args.xdp_mode)?;
        let mut service = Self {
            args,
            listener,
            program,
            queues: Vec::with_capacity(cpus.len()),
            timescale,
            stop,
            signals,
            changes,
            active: BTreeSet::new(),
            ready: false,
            started: Instant::now(),
            interface,
        };
        match service.start_queues(&cpus) {
            Ok(()) => Ok(service),
            Err(error) => {
                service.shut_down();
                Err(error)
            }
        }
    }

    /// Serves until SIGINT or SIGTERM, then stops the workers.
    ///
    /// # Errors
    ///
    /// A worker died, the interface vanished, or the kernel refused something.
    pub fn run(mut self) -> Result<Summary, Error> {
        let outcome = self.serve();
        let (summary, failure) = self.shut_down();
        outcome?;
        failure.map_or(Ok(summary), Err)
    }

    fn start_queues(&mut self, cpus: &[usize]) -> Result<(), Error> {
        for (queue, &cpu) in (0_u32..).zip(cpus) {
            let plan = QueuePlan {
                interface: &self.interface,
                queue,
                cpu,
                generic: self.program.mode() == Mode::Generic,
                args: &self.args,
            };
            let handle = QueueHandle::start(&plan, &self.timescale, &self.stop)?;
            self.program.set_socket(queue, handle.socket())?;
            info!(
                "queue {queue}: {}, pinned to processor {cpu}",
                copy_mode(handle.is_zero_copy())
            );
            self.queues.push(handle);
        }
        Ok(())
    }

    fn serve(&mut self) -> Result<(), Error> {
        self.refresh_interface()?;
        if !self.ready {
            let name = &self.interface.name;
            warn!("{name} has no carrier: waiting for the link");
        }
        let mut next_tick = Instant::now() + TICK;
        loop {
            let wake = self.wait(next_tick.saturating_duration_since(Instant::now()))?;
            if wake.signal {
                return Ok(());
            }
            if self.stop.is_raised() {
                // A worker ended by itself. Where the interface went, that is the better message.
                return self.refresh_interface();
            }
            let tick = Instant::now() >= next_tick;
            if tick {
                self.timescale.store(read_timescale()?);
                next_tick = Instant::now() + TICK;
            }
            // The carrier's return is told like any change; looking anyway costs nothing.
            if wake.change || (tick && !self.ready) {
                self.refresh_interface()?;
            }
        }
    }

    fn wait(&self, at_most: Duration) -> Result<Wake, Error> {
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
        ];
        // Rounded up, so that the end of the wait is not spent in turns of 0 ms.
        let milliseconds = u16::try_from(at_most.as_millis() + 1).unwrap_or(u16::MAX);
        match poll(&mut fds, milliseconds) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Error::system("waiting for events")(error.into())),
        }
        let [signal, change, _] = fds.map(|fd| fd.any().unwrap_or(false));
        if change {
            self.changes
                .drain()
                .map_err(Error::system("watching for address changes"))?;
        }
        Ok(Wake { signal, change })
    }

    /// Brings MAC address, listeners and readiness in line with the interface as it is now.
    fn refresh_interface(&mut self) -> Result<(), Error> {
        let now = match Interface::by_index(self.interface.index) {
            Err(Error::Socket(xsk::Error::NoSuchInterface { .. })) => {
                return Err(Error::InterfaceGone(self.interface.name.clone()));
            }
            found => found?,
        };
        self.program.set_interface(
            now.index,
            ebpf::Interface {
                mac: now.mac,
                frame_limit: self.frame_limit(),
            },
        )?;
        self.interface = now;
        self.refresh_listeners()?;
        if self.interface.running && !self.ready {
            self.ready = true;
            self.announce();
        }
        Ok(())
    }

    fn refresh_listeners(&mut self) -> Result<(), Error> {
        let local = addresses::local(&self.interface.name)
            .map_err(Error::system("reading this host's addresses"))?;
        let wanted: BTreeSet<IpAddr> = if self.listener.is_any() {
            local
        } else {
            self.listener
                .addresses
                .iter()
                .copied()
                .filter(|asked| local.contains(asked))
                .collect()
        };
        for address in self.active.difference(&wanted) {
            self.program.remove_listener(&self.listener(*address))?;
            info!("no longer answering on {address}");
        }
        for address in wanted.difference(&self.active) {
            self.program
                .add_listener(&self.listener(*address), Rule { id: 0 })?;
            info!("answering on {address} port {}", self.listener.port);
        }
        self.active = wanted;
        Ok(())
    }

    fn announce(&self) {
        for missing in self
            .listener
            .addresses
            .iter()
            .filter(|asked| !self.active.contains(asked))
        {
            let name = &self.interface.name;
            warn!(
                "{missing} is no address of this host that {name} can receive for: answering on it once it is"
            );
        }
        if self.active.is_empty() && self.listener.is_any() {
            warn!("this host has no address yet: answering once it has one");
        }
        let line = format!(
            "ready: {} port {}, {} queue{}, {} XDP, {}",
            self.interface.name,
            self.listener.port,
            self.queues.len(),
            if self.queues.len() == 1 { "" } else { "s" },
            self.program.mode().name(),
            copy_mode(self.queues.iter().all(QueueHandle::is_zero_copy)),
        );
        // Whoever waits for this line may have gone: no reason to stop answering.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn listener(&self, address: IpAddr) -> ListenerKey {
        ListenerKey {
            ifindex: self.interface.index,
            outer_vid: 0,
            inner_vid: 0,
            address,
            port: self.listener.port,
        }
    }

    fn frame_limit(&self) -> u16 {
        self.queues
            .iter()
            .map(QueueHandle::frame_limit)
            .min()
            .unwrap_or(0)
    }

    /// Stops claiming packets, lets the workers end, collects the figures and the first failure.
    fn shut_down(mut self) -> (Summary, Option<Error>) {
        for address in std::mem::take(&mut self.active) {
            if let Err(error) = self.program.remove_listener(&self.listener(address)) {
                debug!("{error}");
            }
        }
        self.stop.raise();
        let finished = self.queues.into_iter().map(QueueHandle::finish);
        let (queues, failures): (Vec<_>, Vec<_>) = finished.unzip();
        let summary = Summary {
            interface: self.interface.name,
            port: self.listener.port,
            mode: self.program.mode(),
            elapsed: self.started.elapsed(),
            queues,
            verdicts: self.program.verdicts().unwrap_or_default(),
        };
        (summary, failures.into_iter().flatten().next())
    }
}

/// What ended a wait.
struct Wake {
    signal: bool,
    change: bool,
}

/// One listener on one interface, untagged and open, is what this service can do so far.
fn only_listener(args: &Args) -> Result<Listener, Error> {
    let mut listeners = listener::validate(args)?;
    match (listeners.pop(), listeners.is_empty()) {
        (Some(only), true) if only.interfaces.len() == 1 && only.is_open() => Ok(only),
        _ => Err(Error::system("serving such listeners")(
            std::io::ErrorKind::Unsupported.into(),
        )),
    }
}

fn queue_count(asked: Queues, interface: &Interface) -> Result<u32, Error> {
    let count = match asked {
        Queues::All => interface.queues,
        Queues::First(count) if count <= interface.queues => count,
        Queues::First(count) => {
            return Err(Error::TooManyQueues {
                name: interface.name.clone(),
                asked: count,
                available: interface.queues,
            });
        }
    };
    if count < interface.receive_queues {
        warn!(
            "queues {count} to {} of {} stay with the kernel: test packets there are not answered",
            interface.receive_queues - 1,
            interface.name
        );
    }
    Ok(count)
}

const fn copy_mode(zero_copy: bool) -> &'static str {
    if zero_copy { "zero-copy" } else { "copy mode" }
}

fn has_repeats(cpus: &[usize]) -> bool {
    cpus.iter().collect::<BTreeSet<_>>().len() < cpus.len()
}

fn read_timescale() -> Result<Timescale, Error> {
    let state = Discipline::read().map_err(Error::system("reading the state of the clock"))?;
    Ok(Timescale {
        tai_offset: state.tai_offset,
        error_estimate: state.error_estimate(TimestampFormat::Ntp),
    })
}

/// A stream that becomes readable on SIGINT or SIGTERM.
fn signal_stream() -> std::io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGINT, write.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGTERM, write)?;
    Ok(read)
}
