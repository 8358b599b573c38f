//! Which sockets the listeners need on this host. Pure.
//!
//! A listener that names an interface, a VLAN or a VRF gets a socket bound to its device: the
//! interface itself, the VLAN device, the VRF device. One that names none gets a socket for all
//! devices, or one on each where another listener's socket has to stand beside it: the kernel lets
//! either one socket have a port on all devices, or several have it on one device each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host_view::{HostView, Link, LinkKind};
use crate::listener::{Listener, Vlan};
use crate::rule::ListenerId;

/// The sockets that listeners need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// No two of them claim the same packet.
    pub bindings: Vec<Binding>,
    /// Where listeners have none.
    pub gaps: Vec<Gap>,
}

/// A socket to be bound, once or by each of several workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// To which device; `None`: to none.
    pub device: Option<Device>,
    /// Local address; unspecified: every one of its family.
    pub address: IpAddr,
    /// UDP port.
    pub port: u16,
    /// The listeners that share it.
    pub listeners: BTreeSet<ListenerId>,
}

/// A network device by both its names. Gone and back, it has another index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// Why a listener gets no packets from the kernel, and so has no slow path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The listener.
    pub listener: ListenerId,
    /// What is missing.
    pub missing: Missing,
}

/// What a socket would be bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The interface.
    Interface(String),
    /// A device of the kernel's for packets with these tags: without one it drops them.
    VlanDevice {
        /// The interface they arrive on; `None`: any.
        interface: Option<String>,
        /// Their tags.
        vlan: Vlan,
    },
    /// The VRF device, or the device of this name is none.
    Vrf(String),
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener {} has no socket", self.listener)?;
        match &self.missing {
            Missing::Interface(name) => write!(f, " on {name}: there is no such interface"),
            Missing::VlanDevice { interface, vlan } => {
                if let Some(name) = interface {
                    write!(f, " on {name}")?;
                }
                write!(f, " for VLAN {vlan}: there is no VLAN device for it")
            }
            Missing::Vrf(name) => write!(f, " in {name}: there is no such VRF device"),
        }
    }
}

impl Plan {
    /// What `listeners` need on `host`.
    pub fn new(listeners: &[Listener], host: &HostView) -> Self {
        let mut gaps = Vec::new();
        let mut wants: BTreeMap<PortOf, Vec<Want>> = BTreeMap::new();
        for listener in listeners {
            let devices = devices(listener, host, &mut gaps);
            for address in addresses(listener) {
                let port = PortOf {
                    port: listener.port,
                    v6: address.is_ipv6(),
                };
                let listener = listener.rule.listener;
                wants
                    .entry(port)
                    .or_default()
                    .extend(devices.iter().map(|device| Want {
                        listener,
                        device: device.clone(),
                        address,
                    }));
            }
        }
        let bindings = wants
            .into_iter()
            .flat_map(|(PortOf { port, .. }, wants)| bindings(port, wants, host))
            .collect();
        Self { bindings, gaps }
    }

    /// The listeners that no socket serves at all.
    pub fn unserved<'a>(&self, listeners: &'a [Listener]) -> impl Iterator<Item = &'a Listener> {
        let served: BTreeSet<_> = self
            .bindings
            .iter()
            .flat_map(|binding| binding.listeners.iter().copied())
            .collect();
        listeners
            .iter()
            .filter(move |listener| !served.contains(&listener.rule.listener))
    }
}

/// What never meets: another port, another family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PortOf {
    port: u16,
    v6: bool,
}

/// One listener on one device at one address.
#[derive(Debug, Clone)]
struct Want {
    listener: ListenerId,
    device: Option<Device>,
    address: IpAddr,
}

impl Want {
    fn overlaps(&self, other: &Self) -> bool {
        self.address == other.address
            || self.address.is_unspecified()
            || other.address.is_unspecified()
    }

    /// The same on every device of its own.
    fn spread(&self, host: &HostView) -> Vec<Self> {
        real_links(host)
            .map(|link| Self {
                device: Some(link.into()),
                ..self.clone()
            })
            .collect()
    }
}

impl From<&Link> for Device {
    fn from(link: &Link) -> Self {
        Self {
            index: link.index,
            name: link.name.clone(),
        }
    }
}

/// All but the VRF devices, which see other devices' packets.
fn real_links(host: &HostView) -> impl Iterator<Item = &Link> {
    host.links.iter().filter(|link| !is_vrf(link))
}

fn is_vrf(link: &Link) -> bool {
    matches!(link.kind, LinkKind::Vrf { .. })
}

fn addresses(listener: &Listener) -> Vec<IpAddr> {
    if listener.is_any() {
        vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
    } else {
        listener.addresses.clone()
    }
}

/// The devices a listener's packets come through; `None`: whichever.
fn devices(listener: &Listener, host: &HostView, gaps: &mut Vec<Gap>) -> Vec<Option<Device>> {
    let mut miss = |missing| {
        gaps.push(Gap {
            listener: listener.rule.listener,
            missing,
        });
    };
    let vlan = listener.vlan;
    let tagged = vlan != Vlan::Untagged;
    let mut found = Vec::new();
    if listener.interfaces.is_empty() {
        if tagged {
            let devices = real_links(host).filter_map(|link| through(link, vlan, host));
            found.extend(devices.map(|device| Some(device.into())));
            if found.is_empty() {
                let interface = None;
                miss(Missing::VlanDevice { interface, vlan });
            }
        } else {
            found.push(None);
        }
    }
    for name in &listener.interfaces {
        let Some(link) = host.link(name) else {
            miss(Missing::Interface(name.clone()));
            continue;
        };
        match through(link, vlan, host) {
            Some(device) => found.push(Some(device.into())),
            None => miss(Missing::VlanDevice {
                interface: Some(name.clone()),
                vlan,
            }),
        }
    }
    match &listener.vrf {
        Some(name) if !found.is_empty() => {
            let Some(vrf) = host.link(name).filter(|link| is_vrf(link)) else {
                miss(Missing::Vrf(name.clone()));
                return Vec::new();
            };
            vec![Some(vrf.into())]
        }
        _ => found,
    }
}

/// The device that the kernel's sockets see a link's packets with these tags on.
fn through<'a>(link: &'a Link, vlan: Vlan, host: &'a HostView) -> Option<&'a Link> {
    match vlan.ids() {
        (0, _) => Some(link),
        (outer, inner) => host.vlan_device(link.index, outer, inner),
    }
}

/// The fewest sockets that `wants` can share, all of one port and family, none in another's way.
fn bindings(port: u16, wants: Vec<Want>, host: &HostView) -> Vec<Binding> {
    let (on_any, mut on_device): (Vec<_>, Vec<_>) =
        wants.into_iter().partition(|want| want.device.is_none());
    let meets = |any: &Want| on_device.iter().any(|bound| bound.overlaps(any));
    let mut whole = Vec::new();
    if on_any.iter().any(meets) {
        on_device.extend(on_any.iter().flat_map(|want| want.spread(host)));
    } else {
        // A link-local address is one on each link.
        let (link_local, rest): (Vec<_>, Vec<_>) = on_any
            .into_iter()
            .partition(|want| is_link_local(want.address));
        whole = rest;
        if whole.iter().any(|want| want.address.is_unspecified()) {
            whole.extend(link_local);
        } else {
            on_device.extend(link_local.iter().flat_map(|want| want.spread(host)));
        }
    }
    let mut by_device: BTreeMap<Option<Device>, Vec<Want>> = BTreeMap::new();
    for want in whole.into_iter().chain(on_device) {
        by_device.entry(want.device.clone()).or_default().push(want);
    }
    by_device
        .into_iter()
        .flat_map(|(device, wants)| share(port, device.as_ref(), wants))
        .collect()
}

/// On one device: one socket for every address, or one for each.
fn share(port: u16, device: Option<&Device>, wants: Vec<Want>) -> Vec<Binding> {
    let every = wants
        .iter()
        .map(|want| want.address)
        .find(IpAddr::is_unspecified);
    let mut by_address: BTreeMap<IpAddr, BTreeSet<ListenerId>> = BTreeMap::new();
    for want in wants {
        let address = every.unwrap_or(want.address);
        by_address.entry(address).or_default().insert(want.listener);
    }
    by_address
        .into_iter()
        .map(|(address, listeners)| Binding {
            device: device.cloned(),
            address,
            port,
            listeners,
        })
        .collect()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests;
