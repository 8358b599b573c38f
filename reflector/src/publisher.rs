//! The rules in force: listeners held against this host's links and addresses, told to whoever goes by
//! them. Each change is a generation of its own.
//!
//! Workers are told first, then the XDP programs, so that no frame is noted with a generation that its
//! worker has not heard of. A frame noted with an earlier one is matched anew.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ebpf::{
    Clients, Generation, ListenerCounts, MapError, Refused, Rule, SharedMaps, Sizes, SourceLimit,
};
use host::HostView;
use tracing::info;

use crate::clients;
use crate::error::Error;
use crate::listener::{Listener, RefusedPolicy};
use crate::rulebook::{Answerer, Place, Rulebook};

/// Makes the rules, and tells them.
#[derive(Debug)]
pub struct Publisher {
    listeners: Vec<Listener>,
    rulebook: Arc<ArcSwap<Rulebook>>,
    kernel: Option<Kernel>,
}

/// What the XDP programs go by.
#[derive(Debug)]
struct Kernel {
    maps: SharedMaps,
    /// By number of the listener.
    rules: Vec<Rule>,
    /// The generation that they go by.
    told: u16,
}

impl Publisher {
    /// Rules that nothing matches yet.
    pub fn new(listeners: Vec<Listener>) -> Self {
        let none = Rulebook::build(0, &listeners, &HostView::default());
        Self {
            listeners,
            rulebook: Arc::new(ArcSwap::from_pointee(none)),
            kernel: None,
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
        let told = self.rulebook.load().generation();
        Ok(&self.kernel.insert(Kernel { maps, rules, told }).maps)
    }

    /// Does without XDP programs: their maps go with them.
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
    pub fn publish(&mut self, host: &HostView) -> Result<(), MapError> {
        let now = self.rulebook.load_full();
        let next = Rulebook::build(now.generation().wrapping_add(1), &self.listeners, host);
        let changed = !next.is_alike(&now);
        let in_force = if changed { Arc::new(next) } else { now.clone() };
        if changed {
            self.rulebook.store(Arc::clone(&in_force));
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.tell(&in_force)?;
        }
        if changed {
            log_changes(&now, &in_force);
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
    /// Lets the XDP programs go by these rules, unless they do already.
    fn tell(&mut self, rulebook: &Rulebook) -> Result<(), MapError> {
        if self.told != rulebook.generation() {
            self.maps.publish(&self.generation(rulebook))?;
            self.told = rulebook.generation();
        }
        Ok(())
    }

    fn generation(&self, rulebook: &Rulebook) -> Generation {
        let rule = |Answerer { listener, domain }| {
            let rule = *self.rules.get(listener as usize)?;
            Some(Rule { domain, ..rule })
        };
        Generation {
            number: rulebook.generation(),
            listeners: rulebook
                .places()
                .filter_map(|(place, answering)| Some((*place, rule(answering.by)?)))
                .collect(),
            sessions: rulebook
                .sessions()
                .filter_map(|(session, by)| Some((*session, rule(by)?)))
                .collect(),
            own_addresses: rulebook.own_addresses().collect(),
            link_local: rulebook.link_local_addresses().collect(),
            general_ports: rulebook.general_ports().collect(),
        }
    }
}

/// Says where packets are answered that were not before, and the reverse.
fn log_changes(now: &Rulebook, next: &Rulebook) {
    let of = |book: &Rulebook| -> BTreeSet<Place> {
        let answering = book.places().filter(|(_, at)| at.general || at.sessions);
        answering.map(|(place, _)| *place).collect()
    };
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
        clients: match list {
            Some(list) => Clients::Listed(list),
            None if listener.is_general() => Clients::All,
            None => Clients::SessionsOnly,
        },
        refused,
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
