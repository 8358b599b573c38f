//! Listeners × interfaces × addresses.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use host::{HostView, Link, is_link_local};

use super::{Answerer, Answering, Place, Rulebook, Scope};
use crate::listener::Listener;

pub(super) fn rulebook(generation: u16, listeners: &[Listener], host: &HostView) -> Rulebook {
    let mut expansion = Expansion {
        book: Rulebook {
            generation,
            listeners: listeners.to_vec(),
            places: HashMap::default(),
            sessions: HashMap::default(),
            own: HashSet::default(),
            link_local: HashSet::default(),
            general_ports: HashSet::default(),
            devices: HashMap::default(),
        },
        views: Views::new(host),
        known: BTreeSet::new(),
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
    /// Domains whose own addresses are known.
    known: BTreeSet<u32>,
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
        if self.known.insert(domain) {
            let own = shared.iter().chain(self.views.broadcast(domain));
            self.book.own.extend(own.map(|&own| (domain, own)));
        }
        let link_local = self.views.link_local(device);
        let own = link_local.iter().map(|&own| (scope, own));
        self.book.link_local.extend(own);
        if listener.is_general() {
            self.book.general_ports.insert((scope, listener.port));
        }
        let by = Answerer {
            listener: listener.rule.listener,
            domain,
        };
        let link_local = link_local.iter().map(|&address| address.into());
        let local = shared.iter().copied().chain(link_local);
        let asked = |address: &IpAddr| listener.is_any() || listener.addresses.contains(address);
        for address in local.filter(asked) {
            let place = Place {
                scope,
                address,
                port: listener.port,
            };
            answer(&mut self.book, listener, by, place);
        }
    }
}

fn answer(book: &mut Rulebook, listener: &Listener, by: Answerer, place: Place) {
    let general = listener.is_general();
    let answering = book.places.entry(place).or_insert(Answering {
        by,
        general,
        sessions: false,
    });
    if general && !answering.general {
        (answering.by, answering.general) = (by, true);
    }
    let same_family = |peer: &&SocketAddr| peer.is_ipv4() == place.address.is_ipv4();
    for &peer in listener.peers.iter().filter(same_family) {
        answering.sessions = true;
        let session = super::session(place, peer);
        book.sessions.entry(session).or_insert(by);
    }
}

/// Local addresses, looked up once for all devices that share them: hosts with thousands of VLAN
/// devices exist.
struct Views<'a> {
    host: &'a HostView,
    shared: HashMap<u32, Rc<[IpAddr]>>,
    broadcast: HashMap<u32, Vec<IpAddr>>,
    link_local: HashMap<u32, Vec<Ipv6Addr>>,
}

impl<'a> Views<'a> {
    fn new(host: &'a HostView) -> Self {
        let mut views = Self {
            host,
            shared: HashMap::new(),
            broadcast: HashMap::new(),
            link_local: HashMap::new(),
        };
        for address in host.addresses.iter().filter(|address| address.usable) {
            let ifindex = address.ifindex;
            match address.ip {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                    views.link_local.entry(ifindex).or_default().push(ip);
                }
                IpAddr::V6(_) => {}
                IpAddr::V4(ip) => {
                    let Some(broadcast) = broadcast(ip, address.prefix_len) else {
                        continue;
                    };
                    if host.by_index(ifindex).is_none() {
                        continue;
                    }
                    let domain = views.domain_of(ifindex);
                    let there = views.broadcast.entry(domain).or_default();
                    there.push(broadcast.into());
                }
            }
        }
        views
    }

    /// The domain that a device is in.
    fn domain_of(&self, device: u32) -> u32 {
        self.host.vrf_of(device).map_or(0, |vrf| vrf.index)
    }

    /// The VRF told, or else the one the device is in; `None`: there is no VRF of this name.
    fn domain(&self, device: u32, vrf: Option<&str>) -> Option<u32> {
        let Some(name) = vrf else {
            return Some(self.domain_of(device));
        };
        let vrf = self.host.link(name).filter(|link| link.is_vrf())?;
        Some(vrf.index)
    }

    /// What packets may be destined to that arrive on any device of `domain`; `device` is one if the
    /// domain is no VRF.
    fn shared(&mut self, domain: u32, device: u32) -> Rc<[IpAddr]> {
        let host = self.host;
        let found = self.shared.entry(domain).or_insert_with(|| {
            let local = host.local_addresses(if domain == 0 { device } else { domain });
            let shared = local.into_iter().filter(|address| !is_link_local(*address));
            shared.collect()
        });
        Rc::clone(found)
    }

    /// What goes to all hosts of a subnet of `domain`, and comes from none.
    fn broadcast(&self, domain: u32) -> &[IpAddr] {
        self.broadcast.get(&domain).map_or(&[], Vec::as_slice)
    }

    /// What packets may be destined to that arrive on this device alone.
    fn link_local(&self, device: u32) -> &[Ipv6Addr] {
        self.link_local.get(&device).map_or(&[], Vec::as_slice)
    }
}

/// The broadcast address of a subnet; one of two hosts or one has none (RFC 3021).
fn broadcast(address: Ipv4Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    let host = u32::MAX.checked_shr(prefix_len.into())?;
    (prefix_len <= 30).then(|| Ipv4Addr::from_bits(address.to_bits() | host))
}
