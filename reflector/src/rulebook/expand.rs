//! Listeners × interfaces × addresses.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use host::{HostView, Link};

use super::{Place, Rulebook, Scope, Session};
use crate::listener::Listener;

pub(super) fn rulebook(generation: u16, listeners: &[Listener], host: &HostView) -> Rulebook {
    let mut expansion = Expansion {
        book: Rulebook {
            generation,
            listeners: listeners.to_vec(),
            places: HashMap::default(),
            sessions: HashMap::default(),
            own: HashSet::default(),
            open_ports: HashSet::default(),
            devices: HashMap::default(),
        },
        views: Views::new(host),
        known: HashSet::new(),
    };
    // What names an address comes first and stays.
    let (named, any): (Vec<_>, Vec<_>) = listeners.iter().partition(|entry| !entry.is_any());
    for listener in named.into_iter().chain(any) {
        for link in links(listener, host) {
            expansion.add(listener, link);
        }
    }
    expansion.book
}

/// The links a listener serves. A VRF device receives what its members do.
fn links<'a>(
    listener: &'a Listener,
    host: &'a HostView,
) -> Box<dyn Iterator<Item = &'a Link> + 'a> {
    if listener.interfaces.is_empty() {
        return Box::new(host.links.iter().filter(|link| !link.is_vrf()));
    }
    let named = listener.interfaces.iter();
    Box::new(named.filter_map(|name| host.link(name)))
}

struct Expansion<'a> {
    book: Rulebook,
    views: Views<'a>,
    /// Scopes, and the VRFs in which their own addresses were looked up.
    known: HashSet<(Scope, Domain)>,
}

impl<'a> Expansion<'a> {
    fn add(&mut self, listener: &Listener, link: &'a Link) {
        let (outer_vid, inner_vid) = listener.vlan.ids();
        let scope = Scope {
            ifindex: link.index,
            outer_vid,
            inner_vid,
        };
        let host = self.views.host;
        // Where the kernel has no device for the tags it sees none of their packets, and the
        // interface's own addresses stand in.
        let device = host.l3_device(link.index, outer_vid, inner_vid);
        if let Some(device) = device {
            let scopes = self.book.devices.entry(device.index).or_default();
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        let device = device.or_else(|| host.l3_device(link.index, 0, 0));
        let device = device.unwrap_or(link).index;
        let Some(domain) = self.views.domain(device, listener.vrf.as_deref()) else {
            return;
        };
        let shared = self.views.shared(domain, device);
        let local = shared.iter().chain(self.views.link_local(device)).copied();
        if self.known.insert((scope, domain)) {
            self.book.own.extend(local.clone().map(|own| (scope, own)));
        }
        if listener.peers.is_empty() {
            self.book.open_ports.insert((scope, listener.port));
        }
        let asked = |address: &IpAddr| listener.is_any() || listener.addresses.contains(address);
        for address in local.filter(asked) {
            let place = Place {
                scope,
                address,
                port: listener.port,
            };
            answer(&mut self.book, listener, place);
        }
    }
}

fn answer(book: &mut Rulebook, listener: &Listener, place: Place) {
    if listener.peers.is_empty() {
        let answering = book.places.entry(place).or_default();
        answering.listener.get_or_insert(listener.rule.listener);
        return;
    }
    let same_family = |peer: &&SocketAddr| peer.is_ipv4() == place.address.is_ipv4();
    for &peer in listener.peers.iter().filter(same_family) {
        if let Entry::Vacant(free) = book.sessions.entry(Session { place, peer }) {
            free.insert(listener.rule.listener);
        }
        book.places.entry(place).or_default().sessions = true;
    }
}

/// Devices that share their addresses: a VRF, or all that are in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Domain(Option<u32>);

/// Local addresses, looked up once for all devices that share them: hosts with thousands of VLAN
/// devices exist.
struct Views<'a> {
    host: &'a HostView,
    shared: HashMap<Domain, Rc<[IpAddr]>>,
    link_local: HashMap<u32, Vec<IpAddr>>,
}

impl<'a> Views<'a> {
    fn new(host: &'a HostView) -> Self {
        let mut link_local: HashMap<u32, Vec<IpAddr>> = HashMap::new();
        let usable = host.addresses.iter().filter(|address| address.usable);
        for address in usable.filter(|address| is_link_local(address.ip)) {
            link_local
                .entry(address.ifindex)
                .or_default()
                .push(address.ip);
        }
        Self {
            host,
            shared: HashMap::new(),
            link_local,
        }
    }

    /// The VRF told, or else the one the device is in; `None`: there is no VRF of this name.
    fn domain(&self, device: u32, vrf: Option<&str>) -> Option<Domain> {
        let index = match vrf {
            None => self.host.vrf_of(device).map(|vrf| vrf.index),
            Some(name) => {
                let vrf = self.host.link(name).filter(|link| link.is_vrf())?;
                Some(vrf.index)
            }
        };
        Some(Domain(index))
    }

    /// What packets may be destined to that arrive on any device of `domain`; `device` is one if the
    /// domain is no VRF.
    fn shared(&mut self, domain: Domain, device: u32) -> Rc<[IpAddr]> {
        let host = self.host;
        let found = self.shared.entry(domain).or_insert_with(|| {
            let local = host.local_addresses(domain.0.unwrap_or(device));
            let shared = local.into_iter().filter(|address| !is_link_local(*address));
            shared.collect()
        });
        Rc::clone(found)
    }

    /// What packets may be destined to that arrive on this device alone.
    fn link_local(&self, device: u32) -> &[IpAddr] {
        self.link_local.get(&device).map_or(&[], Vec::as_slice)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
