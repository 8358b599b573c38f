//! Listeners × interfaces × addresses.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::{Place, Rulebook, Scope, Session};
use crate::host_view::{HostView, Link, LinkKind};
use crate::listener::Listener;

pub(super) fn rulebook(generation: u16, listeners: &[Listener], host: &HostView) -> Rulebook {
    let mut book = Rulebook {
        generation,
        listeners: listeners.to_vec(),
        places: HashMap::default(),
        sessions: HashMap::default(),
        own: HashSet::default(),
        open_ports: HashSet::default(),
        devices: HashMap::default(),
    };
    let mut views = Views {
        host,
        of_device: HashMap::new(),
    };
    // What names an address comes first and stays.
    let (named, any): (Vec<_>, Vec<_>) = listeners.iter().partition(|entry| !entry.is_any());
    for listener in named.into_iter().chain(any) {
        for link in links(listener, host) {
            add(&mut book, listener, link, &mut views);
        }
    }
    book
}

/// The links a listener serves. Those that carry other links' packets are no place of their own.
fn links<'a>(
    listener: &'a Listener,
    host: &'a HostView,
) -> Box<dyn Iterator<Item = &'a Link> + 'a> {
    if listener.interfaces.is_empty() {
        let carries = |link: &&Link| !matches!(link.kind, LinkKind::Vrf { .. });
        return Box::new(host.links.iter().filter(carries));
    }
    let named = listener.interfaces.iter();
    Box::new(named.filter_map(|name| host.link(name)))
}

fn add(book: &mut Rulebook, listener: &Listener, link: &Link, views: &mut Views<'_>) {
    let (outer_vid, inner_vid) = listener.vlan.ids();
    let scope = Scope {
        ifindex: link.index,
        outer_vid,
        inner_vid,
    };
    // The device the kernel sees the packets on; without a VLAN device it would see none, and the
    // interface's own addresses stand in.
    let vlan_device = match scope.outer_vid {
        0 => None,
        outer => views.host.vlan_device(link.index, outer, inner_vid),
    };
    let device = vlan_device.unwrap_or(link).index;
    if outer_vid == 0 || vlan_device.is_some() {
        let scopes = book.devices.entry(device).or_default();
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }

    let local = views.local(device, listener.vrf.as_deref());
    book.own
        .extend(local.iter().map(|&address| (scope, address)));
    let open = listener.peers.is_empty();
    if open {
        book.open_ports.insert((scope, listener.port));
    }
    let asked = |address: &IpAddr| listener.is_any() || listener.addresses.contains(address);
    for &address in local.iter().filter(|address| asked(address)) {
        let place = Place {
            scope,
            address,
            port: listener.port,
        };
        if open {
            let answering = book.places.entry(place).or_default();
            answering.listener.get_or_insert(listener.rule.listener);
        } else {
            add_sessions(book, listener, place);
        }
    }
}

fn add_sessions(book: &mut Rulebook, listener: &Listener, place: Place) {
    let family = |peer: &&SocketAddr| peer.is_ipv4() == place.address.is_ipv4();
    for &peer in listener.peers.iter().filter(family) {
        if let Entry::Vacant(free) = book.sessions.entry(Session { place, peer }) {
            free.insert(listener.rule.listener);
        }
        book.places.entry(place).or_default().sessions = true;
    }
}

/// Local addresses, read once for all listeners that share them.
struct Views<'a> {
    host: &'a HostView,
    of_device: HashMap<u32, BTreeSet<IpAddr>>,
}

impl Views<'_> {
    fn of(&mut self, device: u32) -> &BTreeSet<IpAddr> {
        let host = self.host;
        self.of_device
            .entry(device)
            .or_insert_with(|| host.local_addresses(device))
    }

    /// What a packet may be destined to that arrives on `device`, in the VRF it is told to be in.
    fn local(&mut self, device: u32, vrf: Option<&str>) -> BTreeSet<IpAddr> {
        let Some(name) = vrf else {
            return self.of(device).clone();
        };
        let Some(vrf) = self.host.link(name) else {
            return BTreeSet::new();
        };
        // Link-local addresses are the device's own, whatever its VRF.
        let mut local = self.of(vrf.index).clone();
        local.retain(|address| !is_link_local(*address));
        let own = self.of(device).iter().copied();
        local.extend(own.filter(|address| is_link_local(*address)));
        local
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
