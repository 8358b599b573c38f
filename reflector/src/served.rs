//! An interface that is served over AF_XDP: the program on it and a worker for each of its queues, or,
//! while the interface is away, what is needed to begin again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ebpf::{Mode, SharedMaps, VerdictCounts};
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
use crate::told::Told;
use crate::vlan_offload::VlanOffload;

/// An interface that came back and cannot be served is tried again after this long. Somewhat less than
/// the service looks at it anyway.
const RETRY: Duration = Duration::from_millis(900);

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
    /// Why it is not served as it should be.
    trouble: Told,
    /// It is not tried again before.
    retry_at: Option<Instant>,
    /// Why some of its new queues are not served.
    short_of_queues: Told,
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
            trouble: Told::default(),
            retry_at: None,
            short_of_queues: Told::default(),
            past: Figures::default(),
        };
        served.bring_up(means)?;
        Ok(served)
    }

    fn bring_up(&mut self, means: Means<'_>) -> Result<(), Error> {
        let mut live = Live::attach(&self.interface, means)?;
        let outcome = live.serve_all(&self.interface, &self.cpus, means, &self.past);
        self.live = Some(live);
        if outcome.is_err() {
            // That it failed is told; what it did until then counts.
            let _ = self.take_down();
        }
        outcome
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

    /// What an operator should know of how it is served.
    pub fn doubt(&self) -> Option<String> {
        self.live.as_ref()?.tags.doubt()
    }

    /// It is there and served.
    pub const fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// It is away, or something about it did not work and is worth another try.
    pub fn is_waiting(&self) -> bool {
        self.live.is_none() || self.trouble.is_any()
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
    /// A worker ended by itself while its interface is there. Whatever else keeps the interface from
    /// being served is told, and the next call tries again.
    pub fn refresh(&mut self, means: Means<'_>) -> Result<(), Error> {
        if self.live.is_some() {
            self.follow(means)?;
        }
        if self.live.is_none() {
            self.look_for_return(means);
        }
        Ok(())
    }

    /// The interface was there the last time.
    fn follow(&mut self, means: Means<'_>) -> Result<(), Error> {
        let Some(live) = &mut self.live else {
            return Ok(());
        };
        match Interface::by_index(self.interface.index) {
            Ok(now) if live.is_bound() => self.interface = now,
            // It may be back already, but the sockets lost it for good.
            Ok(_) | Err(Error::Socket(xsk::Error::NoSuchInterface { .. })) => {
                warn!(
                    "interface {} disappeared: answering there again once it is back",
                    self.interface.name
                );
                // Its workers end with it; that they failed is no news.
                let _ = self.take_down();
                return Ok(());
            }
            Err(error) => {
                self.worry(&error);
                return Ok(());
            }
        }
        if live.stop.is_raised() {
            return self.take_down().map_or(Ok(()), Err);
        }
        let kept = live
            .tell(&self.interface)
            .and_then(|()| live.tags.keep_off());
        match kept {
            Ok(()) => self.serve_new_queues(means),
            // It went, or was renamed, just now: the news of it is on its way.
            Err(Error::Socket(xsk::Error::NoSuchInterface { .. })) => {}
            // A packet in a VLAN would be answered as an untagged one.
            Err(error @ Error::VlanTagsHidden { .. }) => self.give_up(&error),
            Err(error) => self.worry(&error),
        }
        Ok(())
    }

    /// `ethtool -L` may have given the interface more queues: without a socket the kernel's slow path
    /// has all their packets.
    fn serve_new_queues(&mut self, means: Means<'_>) {
        let Some(live) = &mut self.live else {
            return;
        };
        let served = u32::try_from(live.queues.len()).unwrap_or(u32::MAX);
        let (name, queues) = (&self.interface.name, self.interface.queues);
        self.trouble.are([]);
        if means.args.queues != Queues::All || queues <= served {
            self.short_of_queues.are([]);
            return;
        }
        info!("{name} has {queues} queues now");
        let numbers = served..queues;
        let outcome = live.serve_queues(numbers, &self.interface, &self.cpus, means, &self.past);
        // Tried again with the next change, not each second: it may take as long to fail.
        self.short_of_queues.are(outcome.err().map(|error| {
            format!(
                "{name} has {queues} queues now, but not all are served: {error}; test packets on the \
                 others take the slow path"
            )
        }));
    }

    /// Another interface of the same name, or the same one back from another network namespace; one
    /// that had been renamed may come by that name, too.
    fn look_for_return(&mut self, means: Means<'_>) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let found = match Interface::by_name(&self.asked) {
            Err(Error::NoInterface { .. }) => Interface::by_name(&self.interface.name),
            found => found,
        };
        let outcome = match found {
            // An interface that is down has no use for a program yet.
            Ok(interface) if !interface.up => return,
            Err(Error::NoInterface { .. }) => return,
            Ok(interface) => {
                self.interface = interface;
                self.bring_up(means)
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                self.trouble.are([]);
                self.retry_at = None;
                warn!(
                    "interface {} is back: answering there again",
                    self.interface.name
                );
            }
            Err(error) => {
                // What was tried and undone is news of the interface, which must not drive itself.
                self.retry_at = Some(Instant::now() + RETRY);
                self.trouble.are([format!(
                    "interface {} is back, but not served: {error}",
                    self.asked
                )]);
            }
        }
    }

    /// What the interface is like now cannot be told. It is served as it was.
    fn worry(&mut self, error: &Error) {
        self.trouble.are([format!(
            "interface {} is served as it was before, because it cannot be looked at: {error}",
            self.interface.name
        )]);
    }

    /// The interface is there, and cannot be served any more.
    fn give_up(&mut self, error: &Error) {
        // A worker that failed besides has nothing to add.
        let _ = self.take_down();
        self.trouble.are([format!(
            "interface {} is not served any more: {error}",
            self.interface.name
        )]);
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
    /// Attaches the program, which claims nothing without sockets.
    fn attach(interface: &Interface, means: Means<'_>) -> Result<Self, Error> {
        let count = queue_count(means.args.queues, interface)?;
        // Before the program: some drivers reset the link for either, and this one fails sooner.
        let tags = VlanOffload::off(interface.index)?;
        let room = interface.receive_queues_max.max(count);
        Ok(Self {
            program: program::attach(means.maps, interface, room, means.args.xdp_mode)?,
            queues: Vec::with_capacity(count as usize),
            stop: Stop::new().map_err(Error::system("creating an event descriptor"))?,
            tags,
        })
    }

    fn serve_all(
        &mut self,
        interface: &Interface,
        cpus: &Cpus,
        means: Means<'_>,
        past: &Figures,
    ) -> Result<(), Error> {
        let count = queue_count(means.args.queues, interface)?;
        self.serve_queues(0..count, interface, cpus, means, past)?;
        self.tell(interface)
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
            // Kept whatever comes next: its worker is to be ended with the others.
            self.queues
                .push(QueueHandle::start(&plan, means.shared, &self.stop)?);
            let Some(handle) = self.queues.last() else {
                continue;
            };
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
        }
        Ok(())
    }

    /// The interface has not gone from under the sockets.
    fn is_bound(&self) -> bool {
        self.queues.iter().all(QueueHandle::is_bound)
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

    fn end(mut self) -> (Figures, Option<Error>) {
        // First, so that every packet that was redirected is answered yet.
        self.program.detach();
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
