//! The reflector as a running thing: set up in order, watch over it, take it down.
//!
//! Set-up order matters. The program is attached first, because some drivers reset the link then;
//! sockets are bound and workers started; listeners come last, once the link is up again, so that
//! no packet is claimed before it can be answered.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use clock::Discipline;
use ebpf::{ListenerKey, Mode, Rule};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{debug, info, warn};
use wire::time::TimestampFormat;

use crate::addresses::{self, ChangeWatch};
use crate::args::{Args, Queues};
use crate::cpus;
use crate::error::Error;
use crate::interface::Interface;
use crate::program::{self, AttachedProgram};
use crate::queue::{QueueHandle, QueuePlan};
use crate::reflect::Timescale;
use crate::summary::Summary;
use crate::wait::Stop;
use crate::worker::SharedTimescale;

/// How often the clock's state is read. RFC 4656 asks for an honest Error Estimate, and the kernel's
/// bound grows by 500 ppm: half a millisecond per second.
const TICK_MS: u16 = 1_000;

/// A running reflector.
#[derive(Debug)]
pub struct Service {
    args: Args,
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
    /// Sets everything up but the listeners, which [`Self::run`] adds once the link is up.
    ///
    /// # Errors
    ///
    /// Whatever keeps the reflector from working; nothing is left behind.
    pub fn start(args: Args) -> Result<Self, Error> {
        let signals = signal_stream().map_err(Error::system("catching signals"))?;
        let interface = Interface::find(&args.interface)?;
        if !interface.up {
            return Err(Error::InterfaceDown(interface.name));
        }
        let count = queue_count(args.queues, &interface)?;
        let cpus = cpus::plan(args.cpus.as_ref(), count)?;
        let changes = ChangeWatch::open().map_err(Error::system("watching for address changes"))?;
        let stop = Stop::new().map_err(Error::system("creating an event descriptor"))?;
        let timescale = Arc::new(SharedTimescale::new(read_timescale()?));

        let program = program::attach(&interface, count, args.xdp_mode)?;
        let mut service = Self {
            args,
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
        if let Err(error) = &outcome {
            debug!("stopping because {error}");
        }
        let summary = self.shut_down();
        outcome.and(Ok(summary))
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
            self.program.program.set_socket(queue, handle.socket())?;
            info!(
                "queue {queue}: {}, pinned to processor {cpu}",
                if handle.is_zero_copy() {
                    "zero-copy"
                } else {
                    "copy mode"
                }
            );
            self.queues.push(handle);
        }
        Ok(())
    }

    fn serve(&mut self) -> Result<(), Error> {
        self.refresh_interface()?;
        if !self.ready {
            warn!(
                "{} has no carrier: waiting for the link",
                self.interface.name
            );
        }
        loop {
            match self.wait()? {
                Event::Signal => return Ok(()),
                Event::Change => self.refresh_interface()?,
                Event::Tick => self.timescale.store(read_timescale()?),
            }
            // Workers raise it when they cannot go on.
            if self.stop.is_raised() {
                return self.failed_worker();
            }
            // A change of carrier is told by netlink; ask anyway, so that none can be missed.
            if !self.ready {
                self.refresh_interface()?;
            }
        }
    }

    fn wait(&self) -> Result<Event, Error> {
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, TICK_MS) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Error::system("waiting for events")(error.into())),
        }
        let [signal, change, _] = fds.map(|fd| fd.any().unwrap_or(false));
        if signal {
            return Ok(Event::Signal);
        }
        if change {
            self.changes
                .drain()
                .map_err(Error::system("watching for address changes"))?;
            return Ok(Event::Change);
        }
        Ok(Event::Tick)
    }

    /// Brings MAC address, listeners and readiness in line with the interface as it is now.
    fn refresh_interface(&mut self) -> Result<(), Error> {
        let now = match Interface::find(&self.interface.name) {
            Ok(now) if now.index == self.interface.index => now,
            // Gone, or replaced by another of the same name.
            Ok(_) | Err(Error::NoInterface { .. }) => {
                return Err(Error::InterfaceGone(self.interface.name.clone()));
            }
            Err(error) => return Err(error),
        };
        self.program.program.set_interface(
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
        let wanted: BTreeSet<IpAddr> = if self.args.addresses.is_empty() {
            local
        } else {
            self.args
                .addresses
                .iter()
                .copied()
                .filter(|asked| local.contains(asked))
                .collect()
        };
        for address in self.active.difference(&wanted) {
            self.program
                .program
                .remove_listener(&self.listener(*address))?;
            info!("no longer answering on {address}");
        }
        for address in wanted.difference(&self.active) {
            self.program
                .program
                .add_listener(&self.listener(*address), Rule { id: 0 })?;
            info!("answering on {address} port {}", self.args.port);
        }
        self.active = wanted;
        Ok(())
    }

    fn announce(&self) {
        for missing in self
            .args
            .addresses
            .iter()
            .filter(|asked| !self.active.contains(asked))
        {
            warn!("{missing} is no address of this host: answering on it once it is");
        }
        if self.active.is_empty() && self.args.addresses.is_empty() {
            warn!("this host has no address yet: answering once it has one");
        }
        let line = format!(
            "ready: {} port {}, {} queue{}, {} XDP, {}",
            self.interface.name,
            self.args.port,
            self.queues.len(),
            if self.queues.len() == 1 { "" } else { "s" },
            self.program.mode().name(),
            if self.queues.iter().all(QueueHandle::is_zero_copy) {
                "zero-copy"
            } else {
                "copy mode"
            },
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
            port: self.args.port,
        }
    }

    fn frame_limit(&self) -> u16 {
        self.queues
            .iter()
            .map(QueueHandle::frame_limit)
            .min()
            .unwrap_or(0)
    }

    fn failed_worker(&mut self) -> Result<(), Error> {
        // The interface going away is the usual cause, and the better message.
        self.refresh_interface()?;
        match self.queues.iter_mut().find_map(QueueHandle::failure) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Stops claiming packets, lets the workers end, collects the figures.
    fn shut_down(mut self) -> Summary {
        for address in std::mem::take(&mut self.active) {
            if let Err(error) = self
                .program
                .program
                .remove_listener(&self.listener(address))
            {
                debug!("{error}");
            }
        }
        self.stop.raise();
        let statistics = self.queues.iter_mut().map(QueueHandle::finish).collect();
        let verdicts = self.program.program.verdicts().unwrap_or_default();
        Summary {
            interface: self.interface.name,
            port: self.args.port,
            mode: self.program.mode(),
            elapsed: self.started.elapsed(),
            queues: statistics,
            verdicts,
        }
    }
}

enum Event {
    Signal,
    Change,
    Tick,
}

fn queue_count(asked: Queues, interface: &Interface) -> Result<u32, Error> {
    match asked {
        Queues::All => Ok(interface.queues),
        Queues::First(count) if count <= interface.queues => {
            if count < interface.queues {
                warn!(
                    "queues {count} to {} of {} stay with the kernel: test packets there are not answered",
                    interface.queues - 1,
                    interface.name
                );
            }
            Ok(count)
        }
        Queues::First(count) => Err(Error::TooManyQueues {
            name: interface.name.clone(),
            asked: count,
            available: interface.queues,
        }),
    }
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
