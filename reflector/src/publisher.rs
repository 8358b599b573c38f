//! The rules in force: listeners held against this host's links and addresses, told to whoever goes by
//! them. Each change is a generation of its own.
//!
//! Workers are told first, then the XDP programs, so that no frame is noted with a generation that its
//! worker has not heard of. A frame noted with an earlier one is matched anew.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ebpf::{
    Clients, FlowKey, Generation, ListenerCounts, ListenerKey, MapError, Refused, Rule, SharedMaps,
    Sizes, SourceLimit,
};
use host::HostView;
use tracing::info;

use crate::clients;
use crate::error::Error;
use crate::listener::{Listener, RefusedPolicy};
use crate::rulebook::{Place, Rulebook, Scope};

/// Makes the rules, and tells them.
#[derive(Debug)]
pub struct Publisher {
    listeners: Vec<Listener>,
    rulebook: Arc<ArcSwap<Rulebook>>,
    kernel: Option<Kernel>,
    /// The kernel refused the rules in force.
    kernel_is_behind: bool,
}

/// What the XDP programs go by.
#[derive(Debug)]
struct Kernel {
    maps: SharedMaps,
    /// By number of the listener.
    rules: Vec<Rule>,
}

impl Publisher {
    /// Rules that nothing matches yet.
    pub fn new(listeners: Vec<Listener>) -> Self {
        let none = Rulebook::build(0, &listeners, &HostView::default());
        Self {
            listeners,
            rulebook: Arc::new(ArcSwap::from_pointee(none)),
            kernel: None,
            kernel_is_behind: false,
        }
    }

    /// The listeners.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The rules in force, for workers to follow.
    pub fn rulebook(&self) -> &Arc<ArcSwap<Rulebook>> {
        &self.rulebook
    }

    /// Makes the maps that XDP programs look rules up in, with the client lists in them.
    ///
    /// # Errors
    ///
    /// The kernel has no room for them, or refuses them.
    pub fn open_kernel(&mut self) -> Result<&SharedMaps, Error> {
        let count = u32::try_from(self.listeners.len()).unwrap_or(u32::MAX);
        let maps = SharedMaps::create(Sizes {
            listeners: count,
            client_lists: self.client_lists(),
            ..Sizes::default()
        })?;
        let mut slots = ClientLists::default();
        let mut rules = Vec::with_capacity(self.listeners.len());
        for listener in &self.listeners {
            let list = match &listener.clients {
                Some(clients) => Some(slots.load(clients, &maps)?),
                None => None,
            };
            rules.push(kernel_rule(listener, list));
        }
        Ok(&self.kernel.insert(Kernel { maps, rules }).maps)
    }

    /// Does without the maps after all: XDP does not work here.
    pub fn close_kernel(&mut self) {
        self.kernel = None;
    }

    /// The maps, where there are some.
    pub fn maps(&self) -> Option<&SharedMaps> {
        self.kernel.as_ref().map(|kernel| &kernel.maps)
    }

    /// Brings the rules in line with the host.
    ///
    /// # Errors
    ///
    /// The kernel has no room for the tables. The XDP programs go by the rules before then, and the
    /// workers match each packet anew; the next call tries again.
    pub fn publish(&mut self, host: &HostView) -> Result<(), Error> {
        let now = self.rulebook.load_full();
        let next = Rulebook::build(now.generation().wrapping_add(1), &self.listeners, host);
        let next = if next.is_alike(&now) {
            if !self.kernel_is_behind {
                return Ok(());
            }
            Arc::clone(&now)
        } else {
            let next = Arc::new(next);
            self.rulebook.store(Arc::clone(&next));
            log_changes(&now, &next);
            next
        };
        if let Some(kernel) = &self.kernel {
            self.kernel_is_behind = true;
            kernel.maps.publish(&kernel.generation(&next))?;
            self.kernel_is_behind = false;
        }
        Ok(())
    }

    /// Sends every packet to the operating system again. Workers may answer what they have.
    ///
    /// # Errors
    ///
    /// The kernel refuses the change.
    pub fn withdraw(&self) -> Result<(), MapError> {
        self.maps().map_or(Ok(()), SharedMaps::withdraw)
    }

    /// What became of each listener's packets in XDP, where there is any.
    pub fn counts(&self) -> Vec<(String, ListenerCounts)> {
        let Some(kernel) = &self.kernel else {
            return Vec::new();
        };
        let counts = |listener: &Listener| {
            let counts = kernel.maps.listener_counts(listener.rule.listener);
            (listener.to_string(), counts.unwrap_or_default())
        };
        self.listeners.iter().map(counts).collect()
    }

    /// How many different client lists there are, at most.
    fn client_lists(&self) -> u32 {
        let lists = self
            .listeners
            .iter()
            .filter(|listener| listener.clients.is_some());
        u32::try_from(lists.count()).unwrap_or(u32::MAX)
    }
}

/// The slots of client lists. Listeners share a list that they were given in the same words.
#[derive(Debug, Default)]
struct ClientLists(HashMap<*const clients::Clients, u16>);

impl ClientLists {
    fn load(&mut self, list: &Arc<clients::Clients>, maps: &SharedMaps) -> Result<u16, MapError> {
        let next = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        if let Some(&slot) = self.0.get(&Arc::as_ptr(list)) {
            return Ok(slot);
        }
        maps.set_client_list(next, list.entries())?;
        self.0.insert(Arc::as_ptr(list), next);
        Ok(next)
    }
}

impl Kernel {
    fn generation(&self, rulebook: &Rulebook) -> Generation {
        let rule = |listener| self.rules.get(listener as usize).copied();
        let listeners = rulebook
            .places()
            .filter_map(|(place, answering)| Some((key(place), rule(answering.listener?)?)))
            .collect();
        let sessions = rulebook
            .sessions()
            .filter_map(|(session, listener)| {
                let flow = FlowKey {
                    scope: scope(session.place.scope),
                    source: session.peer,
                    destination: (session.place.address, session.place.port).into(),
                };
                Some((flow, rule(listener)?))
            })
            .collect();
        Generation {
            number: rulebook.generation(),
            listeners,
            sessions,
            own_addresses: rulebook
                .own_addresses()
                .map(|(at, address)| (scope(at), address))
                .collect(),
            open_ports: rulebook
                .open_ports()
                .map(|(at, port)| (scope(at), port))
                .collect(),
        }
    }
}

/// Says where packets are answered that were not before, and the reverse.
fn log_changes(now: &Rulebook, next: &Rulebook) {
    let of =
        |book: &Rulebook| -> BTreeSet<Place> { book.places().map(|(place, _)| *place).collect() };
    let (before, after) = (of(now), of(next));
    for place in before.difference(&after) {
        info!("no longer answering on {place}");
    }
    for place in after.difference(&before) {
        info!("answering on {place}");
    }
}

fn kernel_rule(listener: &Listener, list: Option<u16>) -> Rule {
    let refused = match listener.refused {
        RefusedPolicy::Drop => Refused::Dropped,
        RefusedPolicy::Pass => Refused::ToKernel,
    };
    Rule {
        clients: list.map(|list| Clients { list, refused }),
        guard_ports: listener.guard_ports,
        source_limit: listener.limits.source.map(|source| SourceLimit {
            packets: source.packets,
            prefix_v4: source.prefix.v4,
            prefix_v6: source.prefix.v6,
        }),
        limits: listener.limits.all,
        ..Rule::open(listener.rule.listener)
    }
}

fn key(place: &Place) -> ListenerKey {
    ListenerKey {
        scope: scope(place.scope),
        address: place.address,
        port: place.port,
    }
}

const fn scope(scope: Scope) -> ebpf::Scope {
    ebpf::Scope {
        ifindex: scope.ifindex,
        outer_vid: scope.outer_vid,
        inner_vid: scope.inner_vid,
    }
}
