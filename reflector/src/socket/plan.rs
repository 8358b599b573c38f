//! Which sockets the listeners need on this host. Pure.
//!
//! A listener that names an interface, a VLAN or a VRF gets a socket bound to its device: the
//! interface itself (or the bond or bridge it is part of), the VLAN device, the VRF device. One that
//! names none gets a socket for all devices, or one on each where another listener's socket has to
//! stand beside it: the kernel lets either one socket have a port on all devices, or several have it
//! on one device each. Either reaches all devices but those in VRFs (as long as
//! `net.ipv4.udp_l3mdev_accept` is 0).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use host::{HostView, Link, is_link_local};

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
    /// The device is no part of the VRF, whose sockets get no packets from it.
    Member {
        /// The device.
        device: String,
        /// The VRF.
        vrf: String,
    },
}

impl fmt::Display for Missing {
    /// Reads after "has no socket".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "on {name}: there is no such interface"),
            Self::VlanDevice { interface, vlan } => {
                if let Some(name) = interface {
                    write!(f, "on {name} ")?;
                }
                write!(f, "for VLAN {vlan}: there is no VLAN device for it")
            }
            Self::Vrf(name) => write!(f, "in {name}: there is no such VRF device"),
            Self::Member { device, vrf } => {
                write!(f, "in {vrf} for {device}: it is no part of that VRF")
            }
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
        devices_of(host, Vlan::Untagged)
            .into_iter()
            .map(|device| Self {
                device: Some(device),
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

/// The devices outside of VRFs that packets reach sockets through.
fn devices_of(host: &HostView, vlan: Vlan) -> BTreeSet<Device> {
    let links = host.links.iter().filter(|link| !link.is_vrf());
    links
        .filter_map(|link| through(link, vlan, host))
        .filter(|device| host.vrf_of(device.index).is_none())
        .map(Device::from)
        .collect()
}

fn addresses(listener: &Listener) -> Vec<IpAddr> {
    if listener.is_any() {
        vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
    } else {
        listener.addresses.clone()
    }
}

/// The devices a listener's packets come through; `None`: whichever.
fn devices(listener: &Listener, host: &HostView, gaps: &mut Vec<Gap>) -> BTreeSet<Option<Device>> {
    let mut miss = |missing| {
        gaps.push(Gap {
            listener: listener.rule.listener,
            missing,
        });
    };
    let vlan = listener.vlan;
    let vrf = match &listener.vrf {
        None => None,
        Some(name) => {
            let found = host.link(name).filter(|link| link.is_vrf());
            if found.is_none() {
                miss(Missing::Vrf(name.clone()));
                return BTreeSet::new();
            }
            found
        }
    };
    let mut found = BTreeSet::new();
    if listener.interfaces.is_empty() {
        if let Some(vrf) = vrf {
            found.insert(Some(vrf.into()));
        } else if vlan == Vlan::Untagged {
            found.insert(None);
        } else {
            found.extend(devices_of(host, vlan).into_iter().map(Some));
        }
        if found.is_empty() {
            let interface = None;
            miss(Missing::VlanDevice { interface, vlan });
        }
    }
    for name in &listener.interfaces {
        let Some(link) = host.link(name) else {
            miss(Missing::Interface(name.clone()));
            continue;
        };
        let Some(device) = through(link, vlan, host) else {
            let interface = Some(name.clone());
            miss(Missing::VlanDevice { interface, vlan });
            continue;
        };
        match vrf {
            None => {
                found.insert(Some(device.into()));
            }
            Some(vrf) if host.vrf_of(device.index) == Some(vrf) => {
                found.insert(Some(vrf.into()));
            }
            Some(vrf) => miss(Missing::Member {
                device: device.name.clone(),
                vrf: vrf.name.clone(),
            }),
        }
    }
    found
}

/// The device that the kernel's sockets see a link's packets with these tags on.
fn through<'a>(link: &Link, vlan: Vlan, host: &'a HostView) -> Option<&'a Link> {
    let (outer, inner) = vlan.ids();
    host.l3_device(link.index, outer, inner)
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

#[cfg(test)]
mod tests;
