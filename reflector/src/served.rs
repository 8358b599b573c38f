//! An interface that is served over AF_XDP: the program on it and a worker for each of its queues, or,
//! while the interface is away, what is needed to begin again.

use std::sync::Arc;

use ebpf::{Mode, SharedMaps, VerdictCounts};
use host::HostView;
use tracing::{info, warn};

use crate::args::{Args, Queues};
use crate::counters::QueueCounters;
use crate::cpus::Cpus;
use crate::error::Error;
use crate::interface::Interface;
use crate::program::{self, AttachedProgram};
use crate::queue::{QueueHandle, QueuePlan, QueueSummary};
use crate::shared::Shared;
use crate::stop::Stop;
use crate::vlan_offload::VlanOffload;

/// What all interfaces are served with.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The command line.
    pub args: &'a Args,
    /// The rules, as the XDP programs know them.
    pub maps: &'a SharedMaps,
    /// What workers share.
    pub shared: &'a Shared,
}

/// An interface and what serves it.
#[derive(Debug)]
pub struct Served {
    /// As it was typed: another interface of this name takes its place.
    asked: String,
    /// As it was last seen.
    interface: Interface,
    /// Where its workers run, in turn.
    cpus: Cpus,
    live: Option<Live>,
    /// It could not be served again, for this reason, which has been told.
    trouble: Option<String>,
    /// Figures of what served it before.
    past: Figures,
}

/// What serves an interface that is there.
#[derive(Debug)]
struct Live {
    program: AttachedProgram,
    queues: Vec<QueueHandle>,
    /// Raised to end the workers, and by a worker that ends by itself.
    stop: Stop,
    tags: VlanOffload,
}

/// What happened on an interface.
#[derive(Debug, Default)]
pub struct Figures {
    /// By queue.
    pub queues: Vec<QueueSummary>,
    /// What the XDP program did with every packet.
    pub verdicts: VerdictCounts,
    /// Where the XDP program ran last.
    pub mode: Option<Mode>,
}

impl Served {
    /// Attaches the program and starts the workers. No packet is claimed before rules are published.
    ///
    /// # Errors
    ///
    /// Whatever keeps the interface from being served; nothing is left behind.
    pub fn start(
        interface: Interface,
        asked: &str,
        cpus: Cpus,
        means: Means<'_>,
    ) -> Result<Self, Error> {
        let mut served = Self {
            asked: asked.to_owned(),
            live: None,
            interface,
            cpus,
            trouble: None,
            past: Figures::default(),
        };
        served.bring_up(means)?;
        Ok(served)
    }

    fn bring_up(&mut self, means: Means<'_>) -> Result<(), Error> {
        let live = Live::start(&self.interface, &self.cpus, means, &self.past)?;
        self.live = Some(live);
        Ok(())
    }

    /// As it was last seen.
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The name it was asked for by.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// Its workers' flag, while it is served: raised by a worker that ends by itself.
    pub fn stop(&self) -> Option<&Stop> {
        self.live.as_ref().map(|live| &live.stop)
    }

    /// It is there and served.
    pub const fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// It is served, and its link has a carrier.
    pub const fn is_running(&self) -> bool {
        self.live.is_some() && self.interface.running
    }

    /// Its queues and how they are served, for people; `None` while it is away.
    pub fn description(&self) -> Option<String> {
        let live = self.live.as_ref()?;
        let count = live.queues.len();
        Some(format!(
            "{count} queue{}, {} XDP, {}",
            if count == 1 { "" } else { "s" },
            live.program.mode().name(),
            if live.queues.iter().all(QueueHandle::is_zero_copy) {
                "zero-copy"
            } else {
                "copy mode"
            },
        ))
    }

    /// Brings everything in line with the interface as it is now: it may have another name, MAC
    /// address or number of queues, or be gone, or back.
    ///
    /// # Errors
    ///
    /// A worker ended by itself while its interface is there, or the kernel refused something.
    pub fn refresh(&mut self, host: &HostView, means: Means<'_>) -> Result<(), Error> {
        if self.live.is_none() {
            self.look_for_return(host, means);
            return Ok(());
        }
        match Interface::by_index(self.interface.index) {
            Err(Error::Socket(xsk::Error::NoSuchInterface { .. })) => {
                warn!(
                    "interface {} disappeared: answering there again once it is back",
                    self.interface.name
                );
                // Its workers end with it; that they failed is no news.
                let _ = self.take_down();
                Ok(())
            }
            found => self.follow(found?, means),
        }
    }

    /// The interface is there, and was before.
    fn follow(&mut self, now: Interface, means: Means<'_>) -> Result<(), Error> {
        self.interface = now;
        let Some(live) = &mut self.live else {
            return Ok(());
        };
        if live.stop.is_raised() {
            return self.take_down().map_or(Ok(()), Err);
        }
        live.tell(&self.interface)?;
        live.tags.keep_off()?;
        live.serve_new_queues(&self.interface, &self.cpus, means, &self.past)
    }

    /// Another interface of the same name, or the same one back from another network namespace.
    fn look_for_return(&mut self, host: &HostView, means: Means<'_>) {
        let there = host.link(&self.asked).filter(|link| link.up);
        if there.is_none() {
            return;
        }
        let outcome = Interface::by_name(&self.asked).and_then(|interface| {
            self.interface = interface;
            self.bring_up(means)
        });
        match outcome {
            Ok(()) => {
                self.trouble = None;
                warn!("interface {} is back: answering there again", self.asked);
            }
            Err(error) => {
                // Tried again with every change; told once.
                let trouble = error.to_string();
                if self.trouble.as_ref() != Some(&trouble) {
                    warn!(
                        "interface {} is back, but not served: {trouble}",
                        self.asked
                    );
                }
                self.trouble = Some(trouble);
            }
        }
    }

    /// Ends the workers, detaches the program; returns why a worker ended before it was asked to.
    fn take_down(&mut self) -> Option<Error> {
        let live = self.live.take()?;
        let (figures, failure) = live.end();
        self.past.add(figures);
        failure
    }

    /// Ends serving. Returns the interface's name, what happened, and the first failure.
    pub fn finish(mut self) -> (String, Figures, Option<Error>) {
        let failure = self.take_down();
        (self.interface.name, self.past, failure)
    }
}

impl Live {
    fn start(
        interface: &Interface,
        cpus: &Cpus,
        means: Means<'_>,
        past: &Figures,
    ) -> Result<Self, Error> {
        // Before the program: some drivers reset the link for either, and this one fails sooner.
        let tags = VlanOffload::off(interface.index)?;
        let count = queue_count(means.args.queues, interface)?;
        let room = interface.receive_queues_max.max(count);
        let program = program::attach(means.maps, interface, room, means.args.xdp_mode)?;
        let stop = Stop::new().map_err(Error::system("creating an event descriptor"))?;
        let mut live = Self {
            program,
            queues: Vec::with_capacity(count as usize),
            stop,
            tags,
        };
        let outcome = live
            .serve_queues(0..count, interface, cpus, means, past)
            .and_then(|()| live.tell(interface));
        match outcome {
            Ok(()) => Ok(live),
            Err(error) => {
                live.end();
                Err(error)
            }
        }
    }

    fn serve_queues(
        &mut self,
        numbers: std::ops::Range<u32>,
        interface: &Interface,
        cpus: &Cpus,
        means: Means<'_>,
        past: &Figures,
    ) -> Result<(), Error> {
        for queue in numbers {
            let cpu = cpus.of(queue);
            let plan = QueuePlan {
                interface,
                queue,
                cpu,
                generic: self.program.mode() == Mode::Generic,
                args: means.args,
                counters: past.counters_of(queue),
            };
            let handle = QueueHandle::start(&plan, means.shared, &self.stop)?;
            self.program.set_socket(queue, handle.socket())?;
            info!(
                "{} queue {queue}: {}, pinned to processor {cpu}",
                interface.name,
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

    /// `ethtool -L` may have given the interface more queues: without a socket the kernel's slow path
    /// would have all their packets.
    fn serve_new_queues(
        &mut self,
        interface: &Interface,
        cpus: &Cpus,
        means: Means<'_>,
        past: &Figures,
    ) -> Result<(), Error> {
        let served = u32::try_from(self.queues.len()).unwrap_or(u32::MAX);
        if means.args.queues != Queues::All || interface.queues <= served {
            return Ok(());
        }
        info!("{} has {} queues now", interface.name, interface.queues);
        self.serve_queues(served..interface.queues, interface, cpus, means, past)
    }

    /// Tells the program what it must know of its interface.
    fn tell(&self, interface: &Interface) -> Result<(), Error> {
        let frame_limit = self.queues.iter().map(QueueHandle::frame_limit).min();
        let facts = ebpf::Interface {
            mac: interface.mac,
            frame_limit: frame_limit.unwrap_or(0),
        };
        self.program.set_interface(interface.index, facts)?;
        Ok(())
    }

    fn end(self) -> (Figures, Option<Error>) {
        self.stop.raise();
        let finished = self.queues.into_iter().map(QueueHandle::finish);
        let (queues, failures): (Vec<_>, Vec<_>) = finished.unzip();
        let figures = Figures {
            queues,
            verdicts: self.program.verdicts().unwrap_or_default(),
            mode: Some(self.program.mode()),
        };
        (figures, failures.into_iter().flatten().next())
    }
}

impl Figures {
    /// The counters that the worker of a queue goes on with, whose queue was served before.
    fn counters_of(&self, queue: u32) -> Arc<QueueCounters> {
        let before = self.queues.iter().find(|summary| summary.queue == queue);
        before.map_or_else(Arc::default, |summary| Arc::clone(&summary.counters))
    }

    /// Adds what happened later.
    fn add(&mut self, later: Self) {
        self.verdicts += later.verdicts;
        self.mode = later.mode.or(self.mode);
        for queue in later.queues {
            match self.queues.iter_mut().find(|own| own.queue == queue.queue) {
                Some(own) => own.add(&queue),
                None => self.queues.push(queue),
            }
        }
    }
}

/// How many queues of an interface are served.
///
/// # Errors
///
/// More are asked for than there are.
pub fn queue_count(asked: Queues, interface: &Interface) -> Result<u32, Error> {
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
    Ok(count)
}
