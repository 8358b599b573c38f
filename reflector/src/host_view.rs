//! What the kernel knows of this host's links and addresses, as pure data.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// One network namespace at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostView {
    /// Its links.
    pub links: Vec<Link>,
    /// Their addresses.
    pub addresses: Vec<Address>,
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, where it has one.
    pub mac: Option<[u8; 6]>,
    /// Largest IP packet it carries, in octets.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Up, and with a carrier.
    pub running: bool,
    /// What it is.
    pub kind: LinkKind,
    /// The bridge, bond or VRF it belongs to.
    pub controller: Option<u32>,
}

/// What a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// One VLAN of another link.
    Vlan {
        /// That link.
        parent: u32,
        /// VLAN ID.
        id: u16,
        /// Tagged as 802.1ad.
        service: bool,
    },
    /// A VRF.
    Vrf {
        /// Its routing table.
        table: u32,
    },
    /// Anything else.
    Other,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link.
    pub ifindex: u32,
    /// The address.
    pub ip: IpAddr,
    /// Octets of its network.
    pub prefix_len: u8,
    /// Not known to be another host's.
    pub usable: bool,
}

impl HostView {
    /// The link of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The device that gets packets with these tags, if there is one; `inner` is 0 for one tag.
    pub fn vlan_device(&self, parent: u32, outer: u16, inner: u16) -> Option<&Link> {
        let tagged = |parent: u32, vid: u16| {
            self.links.iter().find(|link| {
                matches!(link.kind, LinkKind::Vlan { parent: below, id, .. }
                         if below == parent && id == vid)
            })
        };
        let outer = tagged(parent, outer)?;
        match inner {
            0 => Some(outer),
            inner => tagged(outer.index, inner),
        }
    }

    /// The VRF a device belongs to; a VRF's own device belongs to it.
    pub fn vrf_of(&self, ifindex: u32) -> Option<u32> {
        let mut at = Some(ifindex);
        // A bridge in a VRF is the longest chain there is.
        for _ in 0..4 {
            let link = self.links.iter().find(|link| Some(link.index) == at)?;
            if matches!(link.kind, LinkKind::Vrf { .. }) {
                return Some(link.index);
            }
            at = link.controller;
        }
        None
    }

    /// What a packet arriving on a device may be destined to: the usable addresses of its VRF, or of
    /// all devices outside of VRFs, but loopback addresses and the link-local ones of other devices.
    pub fn local_addresses(&self, ifindex: u32) -> BTreeSet<IpAddr> {
        let vrf = self.vrf_of(ifindex);
        self.addresses
            .iter()
            .filter(|address| address.usable && !address.ip.is_loopback())
            .filter(|address| self.vrf_of(address.ifindex) == vrf)
            .filter(|address| {
                let link_local = matches!(address.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
                !link_local || address.ifindex == ifindex
            })
            .map(|address| address.ip)
            .collect()
    }
}
