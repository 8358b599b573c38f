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
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use crate::listener::Listener;
use crate::rule::{ListenerId, Rule};
use host::HostView;

/// Where a packet came in.
///
/// The VLAN IDs are those that stood in its tags, 0 where there was none or a priority tag. No link
/// has index 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// Index of the interface the frame arrived on.
    pub ifindex: u32,
    /// VLAN ID of the outer tag.
    pub outer_vid: u16,
    /// VLAN ID of the inner tag.
    pub inner_vid: u16,
}

/// What the header fields of a packet say that a rule is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Where it came in.
    pub scope: Scope,
    /// Who asks.
    pub source: SocketAddr,
    /// Who is asked.
    pub destination: SocketAddr,
}

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
    /// Its source address is local where it came in: a reply would come back to this host.
    OwnSource,
    /// Its source port is an open listener's there: the other side might be a reflector like us.
    ListenerPort,
    /// The listener's client list is against it.
    Client,
}

/// A destination that packets are answered at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Where they come in.
    pub scope: Scope,
    /// Their destination address.
    pub address: IpAddr,
    /// Their destination port.
    pub port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.address, self.port)?;
        match (self.scope.outer_vid, self.scope.inner_vid) {
            (0, _) => Ok(()),
            (vid, 0) => write!(f, " in VLAN {vid}"),
            (outer, inner) => write!(f, " in VLAN {outer}.{inner}"),
        }
    }
}

/// Who answers at a [`Place`]: at least one of the two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answering {
    /// The listener that answers whoever has no session.
    pub listener: Option<ListenerId>,
    /// There are provisioned sessions as well: [`Rulebook::sessions`].
    pub sessions: bool,
}

/// An exact provisioned session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session {
    /// Where it is answered.
    pub place: Place,
    /// Its one source.
    pub peer: SocketAddr,
}

/// One generation of rules.
#[derive(Debug, Clone)]
pub struct Rulebook {
    generation: u16,
    listeners: Vec<Listener>,
    places: HashMap<Place, Answering, RandomState>,
    sessions: HashMap<Session, ListenerId, RandomState>,
    own: HashSet<(Scope, IpAddr), RandomState>,
    open_ports: HashSet<(Scope, u16), RandomState>,
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
            && self.open_ports == other.open_ports
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
        self.find_listener(flow).map(|(listener, _)| &listener.rule)
    }

    /// The rule of a packet that the XDP program has not judged, or why it is refused.
    #[inline]
    pub fn admit(&self, flow: &Flow) -> Admission<'_> {
        let Some((listener, kind)) = self.find_listener(flow) else {
            return Admission::NotOurs;
        };
        match self.refusal(listener, kind, flow) {
            None => Admission::Answer(&listener.rule),
            Some(reason) => Admission::Refused {
                listener: listener.rule.listener,
                reason,
            },
        }
    }

    /// As [`Self::admit`], for a packet from a socket, which tells the device it came through last
    /// and not its tags: the VLAN device where there is one.
    pub fn admit_from_device(
        &self,
        device: u32,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Admission<'_> {
        self.scopes_of_device(device)
            .iter()
            .map(|&scope| {
                self.admit(&Flow {
                    scope,
                    source,
                    destination,
                })
            })
            .find(|admission| *admission != Admission::NotOurs)
            .unwrap_or(Admission::NotOurs)
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
        let open = self
            .places()
            .filter(|(_, answering)| answering.listener == Some(listener))
            .map(|(place, _)| place.address);
        let provisioned = self
            .sessions()
            .filter(|(_, of)| *of == listener)
            .map(|(session, _)| session.place.address);
        open.chain(provisioned).collect()
    }

    /// Every provisioned session, and its listener.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (&Session, ListenerId)> {
        self.sessions
            .iter()
            .map(|(session, &listener)| (session, listener))
    }

    /// The addresses that are this host's, per scope that has a listener.
    pub fn own_addresses(&self) -> impl ExactSizeIterator<Item = (Scope, IpAddr)> {
        self.own.iter().copied()
    }

    /// The ports of listeners that answer sources without a session, per scope.
    pub fn open_ports(&self) -> impl ExactSizeIterator<Item = (Scope, u16)> {
        self.open_ports.iter().copied()
    }

    #[inline]
    fn find_listener(&self, flow: &Flow) -> Option<(&Listener, Match)> {
        let place = Place {
            scope: flow.scope,
            address: flow.destination.ip(),
            port: flow.destination.port(),
        };
        let answering = self.places.get(&place)?;
        let session = answering.sessions.then(|| {
            // Without flow label and zone, which are no part of what was configured.
            let peer = SocketAddr::new(flow.source.ip(), flow.source.port());
            self.sessions.get(&Session { place, peer }).copied()
        });
        let (number, kind) = match session.flatten() {
            Some(number) => (number, Match::Session),
            None => (answering.listener?, Match::Listener),
        };
        Some((self.listener(number)?, kind))
    }

    /// In the order of the XDP program: loop guard, then client list. The ports of open listeners are
    /// nothing to a session, which was provisioned with its own.
    #[inline]
    fn refusal(&self, listener: &Listener, kind: Match, flow: &Flow) -> Option<Refusal> {
        let (source, port) = (flow.source.ip(), flow.source.port());
        if port == 0 || !is_one_host(source) {
            return Some(Refusal::Source);
        }
        if self.own.contains(&(flow.scope, source)) {
            return Some(Refusal::OwnSource);
        }
        let guarded = listener.guard_ports && kind == Match::Listener;
        if guarded && self.open_ports.contains(&(flow.scope, port)) {
            return Some(Refusal::ListenerPort);
        }
        let refused = listener
            .clients
            .as_ref()
            .is_some_and(|clients| !clients.allows(source));
        refused.then_some(Refusal::Client)
    }
}

/// By what a packet was found to be ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Session,
    Listener,
}

/// Whether a reply to this source has one receiver, which is another host (RFC 1122 section 3.2.1.3,
/// RFC 4291 section 2.5).
fn is_one_host(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            !(first == 0 || first >= 240 || v4.is_loopback() || v4.is_multicast())
        }
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some();
            !(mapped || v6.is_unspecified() || v6.is_loopback() || v6.is_multicast())
        }
    }
}
