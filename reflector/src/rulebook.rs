//! Which rule a packet meets: listeners held against this host's links and addresses. Pure data, one
//! generation of it, never changed.
//!
//! A packet is matched by where it came in ([`Scope`]), its destination address and its port. Exact
//! provisioned sessions come first, then a listener that names the address, then one that answers on
//! every address of this host. Only addresses that are this host's are ever answered on: on a routing
//! host anything else would hijack transit traffic.

mod expand;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use foldhash::fast::RandomState;

use crate::address::is_one_host;
use crate::listener::{Listener, Vlan};
use crate::rule::{ListenerId, Rule};
use host::HostView;

/// What the header fields of a packet say that a rule is found by; a provisioned session is one, too.
pub use ebpf::FlowKey as Flow;
/// A destination that packets are answered at.
pub use ebpf::ListenerKey as Place;
pub use ebpf::Scope;

/// What becomes of a packet as far as its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission<'a> {
    /// It is answered by this rule, unless a policer or its payload is against it.
    Answer(&'a Rule),
    /// It is this listener's, and not answered.
    Refused {
        /// The listener.
        listener: ListenerId,
        /// Why.
        reason: Refusal,
    },
    /// No listener's, and no session's.
    NotOurs,
}

/// Why a packet that a rule matches is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No single other host can have sent it (unspecified, loopback, multicast, broadcast, reserved),
    /// or its port is 0.
    Source,
    /// Its source address is local where it came in, or a broadcast address: a reply would come back to
    /// this host, or go to a whole subnet.
    OwnSource,
    /// Its source port is a general listener's there: the other side might be a reflector like us.
    ListenerPort,
    /// The listener's client list is against it, or the listener is for its sessions alone.
    Client,
}

/// What becomes of packets to a [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answering {
    /// Whose they are, but for those in a session.
    pub by: Answerer,
    /// It is a general listener, which answers them. One that is for its sessions alone refuses them.
    pub general: bool,
    /// There are provisioned sessions as well: [`Rulebook::sessions`].
    pub sessions: bool,
}

/// A listener, and what is local where it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answerer {
    /// Its number.
    pub listener: ListenerId,
    /// The interfaces that share their addresses there: index of their VRF device, 0 for those in none.
    pub domain: u32,
}

/// One generation of rules.
#[derive(Debug, Clone)]
pub struct Rulebook {
    generation: u16,
    listeners: Vec<Listener>,
    places: HashMap<Place, Answering, RandomState>,
    sessions: HashMap<Flow, Answerer, RandomState>,
    /// By domain.
    own: HashSet<(u32, IpAddr), RandomState>,
    link_local: HashSet<(Scope, Ipv6Addr), RandomState>,
    general_ports: HashSet<(Scope, u16), RandomState>,
    /// What reaches the kernel's sockets through a device.
    devices: HashMap<u32, Vec<Scope>, RandomState>,
}

impl Rulebook {
    /// Holds `listeners`, in the order of their numbers, against the links and addresses of `host`.
    ///
    /// Interfaces, VRFs and addresses that are not there are left out: they may come.
    pub fn build(generation: u16, listeners: &[Listener], host: &HostView) -> Self {
        expand::rulebook(generation, listeners, host)
    }

    /// Whether another generation would answer alike.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.listeners == other.listeners
            && self.places == other.places
            && self.sessions == other.sessions
            && self.own == other.own
            && self.link_local == other.link_local
            && self.general_ports == other.general_ports
            && self.devices == other.devices
    }

    /// Its number, which the XDP program notes in each frame it redirects.
    pub const fn generation(&self) -> u16 {
        self.generation
    }

    /// The listeners it was made from, in the order of their numbers.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// A listener.
    #[inline]
    pub fn listener(&self, listener: ListenerId) -> Option<&Listener> {
        self.listeners.get(usize::try_from(listener).ok()?)
    }

    /// The rule of a listener.
    #[inline]
    pub fn rule(&self, listener: ListenerId) -> Option<&Rule> {
        self.listener(listener).map(|listener| &listener.rule)
    }

    /// The rule of a packet, its source unexamined: for what the XDP program has admitted.
    #[inline]
    pub fn find(&self, flow: &Flow) -> Option<&Rule> {
        let found = self.find_listener(flow)?;
        (found.kind != Match::SessionsOnly).then_some(&found.listener.rule)
    }

    /// The rule of a packet that the XDP program has not judged, or why it is refused.
    #[inline]
    pub fn admit(&self, flow: &Flow) -> Admission<'_> {
        self.find_listener(flow)
            .map_or(Admission::NotOurs, |found| self.judge(&found, flow))
    }

    /// As [`Self::admit`], for a packet from a socket, which tells the device it came through last
    /// and not its tags: the VLAN device where there is one.
    ///
    /// So the packet may have come in where one listener answers or where another does. The one that says
    /// more of where decides, as it does in XDP; of those that say as much, one that refuses it.
    pub fn admit_from_device(
        &self,
        device: u32,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Admission<'_> {
        let judgements = self.scopes_of_device(device).iter().filter_map(|&scope| {
            let flow = Flow {
                scope,
                source,
                destination,
            };
            let found = self.find_listener(&flow)?;
            let refused = |admission| matches!(admission, Admission::Refused { .. });
            let admission = self.judge(&found, &flow);
            let weight = (specificity(found.listener), refused(admission));
            Some((weight, admission))
        });
        let heavier = |first: (_, _), next: (_, _)| if next.0 > first.0 { next } else { first };
        judgements
            .reduce(heavier)
            .map_or(Admission::NotOurs, |(_, admission)| admission)
    }

    /// The scopes whose packets the kernel's sockets get through this device.
    pub fn scopes_of_device(&self, device: u32) -> &[Scope] {
        self.devices.get(&device).map_or(&[], Vec::as_slice)
    }

    /// Every destination that is answered at.
    pub fn places(&self) -> impl ExactSizeIterator<Item = (&Place, Answering)> {
        self.places
            .iter()
            .map(|(place, &answering)| (place, answering))
    }

    /// The addresses that a listener answers on now, by itself or for its peers.
    pub fn addresses_of(&self, listener: ListenerId) -> BTreeSet<IpAddr> {
        let by_itself = self
            .places()
            .filter(|(_, answering)| answering.by.listener == listener)
            .map(|(place, _)| place.address);
        let provisioned = self
            .sessions()
            .filter(|(_, by)| by.listener == listener)
            .map(|(session, _)| session.destination.ip());
        by_itself.chain(provisioned).collect()
    }

    /// Every provisioned session, and whose it is.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (&Flow, Answerer)> {
        self.sessions.iter().map(|(session, &by)| (session, by))
    }

    /// The addresses that no other host has, by [`Answerer::domain`]: those of this host, but for
    /// link-local ones, and the broadcast addresses of its subnets.
    pub fn own_addresses(&self) -> impl ExactSizeIterator<Item = (u32, IpAddr)> {
        self.own.iter().copied()
    }

    /// The IPv6 link-local addresses of this host, per scope that has a listener.
    pub fn link_local_addresses(&self) -> impl ExactSizeIterator<Item = (Scope, Ipv6Addr)> {
        self.link_local.iter().copied()
    }

    /// The ports of general listeners, per scope.
    pub fn general_ports(&self) -> impl ExactSizeIterator<Item = (Scope, u16)> {
        self.general_ports.iter().copied()
    }

    #[inline]
    fn find_listener(&self, flow: &Flow) -> Option<Found<'_>> {
        let place = Place {
            scope: flow.scope,
            address: flow.destination.ip(),
            port: flow.destination.port(),
        };
        let answering = self.places.get(&place)?;
        let session = answering.sessions.then(|| {
            let session = session(place, flow.source);
            self.sessions.get(&session).copied()
        });
        let (by, kind) = match session.flatten() {
            Some(by) => (by, Match::Session),
            None if answering.general => (answering.by, Match::General),
            None => (answering.by, Match::SessionsOnly),
        };
        Some(Found {
            listener: self.listener(by.listener)?,
            domain: by.domain,
            kind,
        })
    }

    #[inline]
    fn judge<'a>(&self, found: &Found<'a>, flow: &Flow) -> Admission<'a> {
        match self.refusal(found, flow) {
            None => Admission::Answer(&found.listener.rule),
            Some(reason) => Admission::Refused {
                listener: found.listener.rule.listener,
                reason,
            },
        }
    }

    /// In the order of the XDP program: loop guard, then client list. The ports of general listeners are
    /// nothing to a session, which was provisioned with its own.
    #[inline]
    fn refusal(&self, found: &Found<'_>, flow: &Flow) -> Option<Refusal> {
        let (source, port) = (flow.source.ip(), flow.source.port());
        if port == 0 || !is_one_host(source) {
            return Some(Refusal::Source);
        }
        let own = match source {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                self.link_local.contains(&(flow.scope, v6))
            }
            shared => self.own.contains(&(found.domain, shared)),
        };
        if own {
            return Some(Refusal::OwnSource);
        }
        let guarded = found.listener.guard_ports && found.kind != Match::Session;
        if guarded && self.general_ports.contains(&(flow.scope, port)) {
            return Some(Refusal::ListenerPort);
        }
        let may_ask = match &found.listener.clients {
            _ if found.kind == Match::SessionsOnly => false,
            Some(clients) => clients.allows(source),
            None => true,
        };
        (!may_ask).then_some(Refusal::Client)
    }
}

/// Whose a packet is.
struct Found<'a> {
    listener: &'a Listener,
    /// As [`Answerer::domain`].
    domain: u32,
    kind: Match,
}

/// By what a packet was found to be ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    /// It is in a session.
    Session,
    /// A general listener has its place.
    General,
    /// A listener has its place that is for its sessions alone.
    SessionsOnly,
}

/// The session of a peer at a place, without flow labels and zones, which are no part of what was
/// configured.
#[inline]
fn session(place: Place, peer: SocketAddr) -> Flow {
    Flow {
        scope: place.scope,
        source: SocketAddr::new(peer.ip(), peer.port()),
        destination: SocketAddr::new(place.address, place.port),
    }
}

/// How much a listener says of where its packets come in. What names an interface comes before what
/// names a VLAN on whichever.
fn specificity(listener: &Listener) -> (bool, bool) {
    (
        !listener.interfaces.is_empty(),
        listener.vlan != Vlan::Untagged,
    )
}
