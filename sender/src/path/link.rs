//! Interfaces.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use nix::errno::Errno;

use super::PathError;
use super::netlink::Netlink;

/// What is to know of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Its index.
    pub(super) index: u32,
    /// Its name.
    pub(super) name: String,
    /// Its MAC address, if it is an Ethernet interface.
    pub(super) mac: Option<[u8; 6]>,
    /// Octets of the longest IP packet.
    pub(super) mtu: u32,
    /// Whether the administrator wants it up.
    pub(super) is_up: bool,
    /// Whether it is a VRF device.
    pub(super) is_vrf: bool,
    /// The bridge, bond or VRF that it belongs to.
    pub(super) controller: Option<u32>,
}

/// Looks an interface up by its name.
pub(super) fn by_name(netlink: &mut Netlink, name: &str) -> Result<Link, PathError> {
    let mut question = LinkMessage::default();
    question
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    ask(netlink, question, || name.to_owned())
}

/// Looks an interface up by its index.
pub(super) fn by_index(netlink: &mut Netlink, index: u32) -> Result<Link, PathError> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    ask(netlink, question, || format!("with index {index}"))
}

fn ask(
    netlink: &mut Netlink,
    mut question: LinkMessage,
    what: impl FnOnce() -> String,
) -> Result<Link, PathError> {
    question
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    match netlink.get(RouteNetlinkMessage::GetLink(question)) {
        Ok(RouteNetlinkMessage::NewLink(link)) => Ok(read(link)),
        Ok(_) => Err(unexpected()),
        Err(error) => Err(match error.raw_os_error().map(Errno::from_raw) {
            // ERANGE: the name is too long; EINVAL: it is empty.
            Some(Errno::ENODEV | Errno::ERANGE | Errno::EINVAL) => PathError::NoInterface(what()),
            _ => PathError::system("ask for an interface")(error),
        }),
    }
}

fn unexpected() -> PathError {
    PathError::system("ask for an interface")(io::Error::other(
        "the kernel's answer is of another kind",
    ))
}

fn read(message: LinkMessage) -> Link {
    let header = &message.header;
    let ethernet = header.link_layer_type == LinkLayerType::Ether;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        mac: None,
        mtu: u32::from(u16::MAX),
        is_up: header.flags.contains(LinkFlags::Up),
        is_vrf: false,
        controller: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(octets) if ethernet => link.mac = octets.try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::LinkInfo(info) => {
                link.is_vrf = info.contains(&LinkInfo::Kind(InfoKind::Vrf));
            }
            _ => {}
        }
    }
    link
}
