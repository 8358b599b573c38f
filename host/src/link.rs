//! Interfaces.

use netlink_packet_core::{NlasIterator, ParseableParametrized};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    InfoData, InfoVlan, InfoVrf, LinkAttribute, LinkFlags, LinkHeader, LinkInfo, LinkLayerType,
    Prop, VlanProtocol,
};

/// What is to know of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index, from 1.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alternative names (`ip link property add altname`).
    pub alternative_names: Vec<String>,
    /// Its MAC address, if it is an Ethernet interface; loopback is none.
    pub mac: Option<[u8; 6]>,
    /// Octets of the longest IP packet.
    pub mtu: u32,
    /// Whether the administrator wants it up.
    pub up: bool,
    /// Whether it is up and has a carrier.
    pub running: bool,
    /// What it is made of.
    pub kind: LinkKind,
    /// Index of the bridge, bond or VRF that it belongs to.
    pub controller: Option<u32>,
}

/// What an interface is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkKind {
    /// A VLAN device.
    Vlan {
        /// Index of the interface whose tagged frames it takes; 0 if that is in another network
        /// namespace.
        parent: u32,
        /// VLAN ID.
        id: u16,
        /// The tag is that of a service VLAN (IEEE 802.1ad, `EtherType` 0x88a8) and not of a
        /// customer VLAN (802.1Q, 0x8100).
        service: bool,
    },
    /// A VRF device.
    Vrf {
        /// Its routing table.
        table: u32,
    },
    /// Anything else.
    #[default]
    Other,
}

impl Link {
    /// Whether it is a VRF device.
    pub const fn is_vrf(&self) -> bool {
        matches!(self.kind, LinkKind::Vrf { .. })
    }

    /// Whether it goes by this name.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.alternative_names.iter().any(|other| other == name)
    }
}

/// Octets of `struct ifinfomsg` (`include/uapi/linux/rtnetlink.h`).
const HEADER: usize = 16;

/// Reads an `RTM_NEWLINK` message. An attribute that the library cannot read counts as absent: newer
/// kernels add some, and each driver has its own.
pub(crate) fn read(message: &[u8]) -> Option<Link> {
    let header = LinkHeader::parse(message).ok()?;
    let ethernet = header.link_layer_type == LinkLayerType::Ether;
    let mut link = Link {
        index: header.index,
        mtu: u32::from(u16::MAX),
        up: header.flags.contains(LinkFlags::Up),
        running: header.flags.contains(LinkFlags::Running),
        ..Link::default()
    };
    let mut parent = 0;
    let mut foreign = false;
    for attribute in NlasIterator::new(message.get(HEADER..)?) {
        let attribute = LinkAttribute::parse_with_param(&attribute.ok()?, AddressFamily::Unspec);
        match attribute {
            Ok(LinkAttribute::IfName(name)) => link.name = name,
            Ok(LinkAttribute::PropList(list)) => link.alternative_names = alternative_names(list),
            Ok(LinkAttribute::Address(octets)) if ethernet => link.mac = octets.try_into().ok(),
            Ok(LinkAttribute::Mtu(mtu)) => link.mtu = mtu,
            Ok(LinkAttribute::Controller(index)) => link.controller = Some(index),
            Ok(LinkAttribute::Link(index)) => parent = index,
            Ok(LinkAttribute::LinkNetNsId(_)) => foreign = true,
            Ok(LinkAttribute::LinkInfo(info)) => link.kind = kind(&info),
            _ => {}
        }
    }
    if let LinkKind::Vlan { parent: of, .. } = &mut link.kind {
        // An index of another namespace means another interface here.
        *of = if foreign { 0 } else { parent };
    }
    Some(link)
}

fn alternative_names(list: Vec<Prop>) -> Vec<String> {
    list.into_iter()
        .filter_map(|property| match property {
            Prop::AltIfName(name) => Some(name),
            _ => None,
        })
        .collect()
}

fn kind(info: &[LinkInfo]) -> LinkKind {
    info.iter()
        .find_map(|part| match part {
            LinkInfo::Data(InfoData::Vlan(data)) => Some(vlan(data)),
            LinkInfo::Data(InfoData::Vrf(data)) => Some(vrf(data)),
            _ => None,
        })
        .unwrap_or_default()
}

fn vlan(data: &[InfoVlan]) -> LinkKind {
    let (mut id, mut service) = (0, false);
    for item in data {
        match item {
            InfoVlan::Id(vid) => id = *vid,
            InfoVlan::Protocol(protocol) => service = *protocol == VlanProtocol::Ieee8021Ad,
            _ => {}
        }
    }
    LinkKind::Vlan {
        parent: 0,
        id,
        service,
    }
}

fn vrf(data: &[InfoVrf]) -> LinkKind {
    let table = data.iter().find_map(|item| match item {
        InfoVrf::TableId(table) => Some(*table),
        _ => None,
    });
    LinkKind::Vrf {
        table: table.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct ifinfomsg` of Ethernet interface 9, up and without carrier, and attributes: by hand.
    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut octets = vec![0, 0];
        octets.extend(1_u16.to_ne_bytes());
        octets.extend(9_u32.to_ne_bytes());
        octets.extend(1_u32.to_ne_bytes());
        octets.extend(0_u32.to_ne_bytes());
        for (kind, value) in attributes {
            octets.extend(attribute(*kind, value));
        }
        octets
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        octets.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend(value);
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    const IFLA_ADDRESS: u16 = 1;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_LINK: u16 = 5;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_LINK_NETNSID: u16 = 37;

    #[test]
    fn an_attribute_that_makes_no_sense_counts_as_absent() {
        let link = read(&message(&[
            (IFLA_LINK, &[1]),
            (IFLA_ADDRESS, &[2, 0, 0]),
            (IFLA_LINKINFO, &[0xff; 5]),
            (IFLA_IFNAME, b"eth0\0"),
        ]));
        let expected = Link {
            index: 9,
            name: "eth0".to_owned(),
            mtu: 65535,
            up: true,
            ..Link::default()
        };
        assert_eq!(link, Some(expected));
        assert_eq!(read(&[0; 15]), None, "cut off");
    }

    #[test]
    fn an_index_of_another_namespace_is_no_parent_here() {
        // IFLA_INFO_KIND, IFLA_INFO_DATA with IFLA_VLAN_ID 30.
        let info = [
            attribute(1, b"vlan\0"),
            attribute(2, &attribute(1, &30_u16.to_ne_bytes())),
        ]
        .concat();
        let parent = 2_u32.to_ne_bytes();
        let mut attributes: Vec<(u16, &[u8])> = vec![(IFLA_LINK, &parent), (IFLA_LINKINFO, &info)];
        let kind = |attributes: &[(u16, &[u8])]| read(&message(attributes)).unwrap().kind;
        let vlan = |parent| LinkKind::Vlan {
            parent,
            id: 30,
            service: false,
        };
        assert_eq!(kind(&attributes), vlan(2));
        attributes.push((IFLA_LINK_NETNSID, &[0; 4]));
        assert_eq!(kind(&attributes), vlan(0));
    }
}
