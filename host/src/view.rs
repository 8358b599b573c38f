//! Links and addresses together, and what follows from them.

use std::collections::BTreeSet;
use std::io;
use std::iter;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use nix::libc;

use crate::address::{self, Address, is_link_local};
use crate::link::{self, Link, LinkKind};
use crate::netlink::Netlink;

/// The links and addresses of a network namespace at one moment.
///
/// Which device's IP stack a frame reaches follows the kernel (`__netif_receive_skb_core`,
/// net/core/dev.c): a tag goes to the VLAN device on the interface, else up to the bond or bridge
/// that the interface belongs to and to the VLAN device on that; without a tag the frame goes up
/// likewise. A VRF is where the way up ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostView {
    /// Every interface.
    pub links: Vec<Link>,
    /// Every IP address.
    pub addresses: Vec<Address>,
}

/// Devices a frame may pass on its way up: the kernel's own bound, `MAX_NEST_DEV` of
/// include/linux/netdevice.h.
const NESTING_MAX: usize = 8;

impl HostView {
    /// Reads both tables, in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub fn read() -> io::Result<Self> {
        let mut netlink = Netlink::open()?;
        let mut question = LinkMessage::default();
        question
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        // Links first: an address whose link came later counts for nothing, and is told of anyway.
        let links = RouteNetlinkMessage::GetLink(question);
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        Ok(Self {
            links: netlink.dump(&links, libc::RTM_NEWLINK, link::read)?,
            addresses: netlink.dump(&addresses, libc::RTM_NEWADDR, address::read)?,
        })
    }

    /// The interface of this name or alternative name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        // The kernel lets no two interfaces share a name. Only one from `also_call` can be another's,
        // too: then it goes first.
        let by_alternative = |link: &&Link| link.alternative_names.iter().any(|own| own == name);
        let found = self.links.iter().find(by_alternative);
        found.or_else(|| self.links.iter().find(|link| link.name == name))
    }

    /// Lets an interface go by one more name: one it had, say, when somebody spoke of it. Another
    /// interface that has the name by now is not found by it.
    pub fn also_call(&mut self, index: u32, name: &str) {
        if let Some(link) = self.links.iter_mut().find(|link| link.index == index)
            && !link.is_called(name)
        {
            link.alternative_names.push(name.to_owned());
        }
    }

    /// The interface of this index.
    pub fn by_index(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The VLAN device that takes frames with these VLAN IDs that arrive on `parent`, or on the
    /// bond or bridge that it belongs to; 0 is no tag or a priority tag.
    ///
    /// Where tags of both `EtherType`s have devices, two tags are taken to be a service VLAN's
    /// (IEEE 802.1ad) and a customer VLAN's (802.1Q), and one to be a customer VLAN's.
    pub fn vlan_device(&self, parent: u32, outer: u16, inner: u16) -> Option<&Link> {
        match (outer, inner) {
            (0, 0) => None,
            (id, 0) | (0, id) => self.vlans_on(parent, id, false).next(),
            (outer, inner) => self
                .vlans_on(parent, outer, true)
                .find_map(|device| self.vlans_on(device.index, inner, false).next()),
        }
    }

    /// The device whose IP stack a frame reaches that arrives on `interface` with these VLAN IDs:
    /// the one that a socket must be bound to. `None` if there is no such interface, or no VLAN
    /// device for the tags.
    pub fn l3_device(&self, interface: u32, outer: u16, inner: u16) -> Option<&Link> {
        let below = if (outer, inner) == (0, 0) {
            self.by_index(interface)?
        } else {
            self.vlan_device(interface, outer, inner)?
        };
        self.way_up(below.index).last()
    }

    /// The VRF device that packets arriving on an interface belong to. A VRF device belongs to
    /// itself.
    pub fn vrf_of(&self, ifindex: u32) -> Option<&Link> {
        let link = self.by_index(ifindex)?;
        if link.is_vrf() {
            return Some(link);
        }
        let top = self.way_up(ifindex).last()?;
        self.by_index(top.controller?).filter(|link| link.is_vrf())
    }

    /// The addresses that a packet arriving on `device` (an [`l3_device`](Self::l3_device)) may be
    /// destined to: all of the interfaces in the same VRF, or in none if it is in none, but loopback
    /// addresses, IPv6 link-local ones of other interfaces, and those that duplicate address
    /// detection has not found to be ours. None if there is no such device.
    pub fn local_addresses(&self, device: u32) -> BTreeSet<IpAddr> {
        let Some(device) = self.way_up(device).last() else {
            return BTreeSet::new();
        };
        let vrf = self.vrf_of(device.index).map(|vrf| vrf.index);
        let reachable = |address: &&Address| {
            address.usable
                && !address.ip.is_loopback()
                && (address.ifindex == device.index || !is_link_local(address.ip))
                && self.by_index(address.ifindex).is_some()
                && self.vrf_of(address.ifindex).map(|vrf| vrf.index) == vrf
        };
        self.addresses
            .iter()
            .filter(reachable)
            .map(|address| address.ip)
            .collect()
    }

    /// The interface, and the bonds and bridges that it belongs to, in the order in which a frame
    /// reaches them; without the VRF.
    fn way_up(&self, ifindex: u32) -> impl Iterator<Item = &Link> {
        let first = self.by_index(ifindex);
        iter::successors(first, |link| {
            self.by_index(link.controller?).filter(|up| !up.is_vrf())
        })
        .take(NESTING_MAX)
    }

    /// The VLAN devices with this ID for an interface, in the order in which they are to be
    /// considered.
    fn vlans_on(&self, ifindex: u32, vid: u16, service_first: bool) -> impl Iterator<Item = &Link> {
        self.way_up(ifindex).flat_map(move |parent| {
            [service_first, !service_first]
                .into_iter()
                .filter_map(move |service| {
                    let wanted = LinkKind::Vlan {
                        parent: parent.index,
                        id: vid,
                        service,
                    };
                    self.links.iter().find(|link| link.kind == wanted)
                })
        })
    }
}

#[cfg(test)]
mod tests;
