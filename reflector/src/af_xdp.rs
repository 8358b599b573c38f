//! Every interface that is served over AF_XDP.

use host::HostView;
use tracing::warn;
use xsk::Socket;

use crate::args::{Args, Poll};
use crate::cpus::Cpus;
use crate::error::Error;
use crate::interface::Interface;
use crate::listener::Listener;
use crate::publisher::Publisher;
use crate::served::{Figures, Means, Served, queue_count};
use crate::shared::Shared;
use crate::stop::Stop;

/// The interfaces, and what their workers share.
#[derive(Debug)]
pub struct AfXdp {
    shared: Shared,
    served: Vec<Served>,
}

impl AfXdp {
    /// Attaches programs and starts workers on every interface that a listener names.
    ///
    /// # Errors
    ///
    /// Whatever keeps one of them from being served; nothing is left behind.
    pub fn start(args: &Args, publisher: &mut Publisher, shared: &Shared) -> Result<Self, Error> {
        let interfaces = interfaces(publisher.listeners())?;
        let mut counts = Vec::with_capacity(interfaces.len());
        for (_, interface) in &interfaces {
            if !interface.up {
                return Err(Error::InterfaceDown(interface.name.clone()));
            }
            let count = queue_count(args.queues, interface)?;
            warn_of_unserved_queues(interface, count);
            counts.push(count);
        }
        let cpus = Cpus::plan(args.cpus.as_ref(), &counts)?;
        if args.poll == Poll::Busy && Cpus::are_shared(&cpus) {
            warn!(
                "several queues spin on one processor: give --cpus more, or do not use --poll busy"
            );
        }
        // Asked first: without AF_XDP the program's socket map is refused, for no stated reason. What
        // permissions are missing, loading the program says better.
        if let Err(error @ xsk::Error::Unsupported) = Socket::probe() {
            return Err(error.into());
        }
        let means = Means {
            args,
            maps: publisher.open_kernel()?,
            shared,
        };
        let mut all = Self {
            shared: shared.clone(),
            served: Vec::with_capacity(interfaces.len()),
        };
        for ((asked, interface), cpus) in interfaces.into_iter().zip(cpus) {
            match Served::start(interface, &asked, cpus, means) {
                Ok(served) => all.served.push(served),
                Err(error) => {
                    all.finish();
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    /// Flags that become raised when a worker ends by itself.
    pub fn stops(&self) -> impl Iterator<Item = &Stop> {
        self.served.iter().filter_map(Served::stop)
    }

    /// Brings everything in line with the interfaces as they are now. An interface that has another
    /// name by now goes by both in `host`, since listeners know the one that was typed.
    ///
    /// # Errors
    ///
    /// See [`Served::refresh`].
    pub fn refresh(
        &mut self,
        args: &Args,
        publisher: &Publisher,
        host: &mut HostView,
    ) -> Result<(), Error> {
        let Some(maps) = publisher.maps() else {
            return Ok(());
        };
        let means = Means {
            args,
            maps,
            shared: &self.shared,
        };
        for served in &mut self.served {
            served.refresh(means)?;
            // The index of one that is away may be another's by now.
            if served.is_live() {
                host.also_call(served.interface().index, served.asked());
            }
        }
        Ok(())
    }

    /// Packets can arrive on an interface at least.
    pub fn is_running(&self) -> bool {
        self.served.iter().any(Served::is_running)
    }

    /// What an operator should know of how interfaces are served.
    pub fn doubts(&self) -> impl Iterator<Item = String> {
        self.served.iter().filter_map(Served::doubt)
    }

    /// An interface is away, or something about it is worth another try.
    pub fn is_waiting(&self) -> bool {
        self.served.iter().any(Served::is_waiting)
    }

    /// The interfaces that are there and have no carrier.
    pub fn without_carrier(&self) -> impl Iterator<Item = &str> {
        let waiting = self.served.iter().filter(|served| !served.is_running());
        waiting.map(|served| served.interface().name.as_str())
    }

    /// Interfaces, ports and how they are served, in one line for people.
    pub fn description(&self, ports: &str) -> String {
        let each = self.served.iter().map(|served| {
            let name = &served.interface().name;
            match served.description() {
                Some(how) if served.is_running() => format!("{name} {ports}, {how}"),
                Some(how) => format!("{name} (no carrier) {ports}, {how}"),
                None => format!("{name} (away)"),
            }
        });
        each.collect::<Vec<_>>().join("; ")
    }

    /// Ends serving. Returns what happened on each interface, and the first failure.
    pub fn finish(self) -> (Vec<(String, Figures)>, Option<Error>) {
        let mut interfaces = Vec::with_capacity(self.served.len());
        let mut first = None;
        for served in self.served {
            let (name, figures, failure) = served.finish();
            interfaces.push((name, figures));
            first = first.or(failure);
        }
        (interfaces, first)
    }
}

/// Every interface that a listener names, once, by the name that was typed.
fn interfaces(listeners: &[Listener]) -> Result<Vec<(String, Interface)>, Error> {
    let mut found: Vec<(String, Interface)> = Vec::new();
    for name in listeners.iter().flat_map(|listener| &listener.interfaces) {
        if found.iter().any(|(asked, _)| asked == name) {
            continue;
        }
        let interface = Interface::by_name(name)?;
        if let Some((other, _)) = found
            .iter()
            .find(|(_, known)| known.index == interface.index)
        {
            return Err(Error::OneInterface {
                one: other.clone(),
                other: name.clone(),
            });
        }
        found.push((name.clone(), interface));
    }
    Ok(found)
}

fn warn_of_unserved_queues(interface: &Interface, count: u32) {
    if count < interface.receive_queues {
        warn!(
            "queues {count} to {} of {} stay with the kernel: test packets there take the slow path",
            interface.receive_queues - 1,
            interface.name
        );
    }
}
