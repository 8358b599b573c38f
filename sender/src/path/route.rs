//! The routing table.

use std::io;
use std::net::IpAddr;

use host::Netlink;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::PathError;

/// A question for a route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query {
    /// Where to.
    pub(super) target: IpAddr,
    /// Where from, if that is decided.
    pub(super) source: Option<IpAddr>,
    /// Index of the interface or VRF device to leave by; 0 for any.
    pub(super) oif: u32,
}

/// Where packets to a target go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// Index of the interface they leave by.
    pub(super) oif: u32,
    /// The gateway; `None` if the target is on the link.
    pub(super) next_hop: Option<IpAddr>,
    /// The source address that the kernel prefers.
    pub(super) source: Option<IpAddr>,
    /// The route's own MTU.
    pub(super) mtu: Option<u32>,
}

/// Asks where packets go.
pub(super) fn look_up(netlink: &mut Netlink, query: &Query) -> Result<Route, PathError> {
    let question = RouteNetlinkMessage::GetRoute(question(query));
    match netlink.get(question) {
        Ok(RouteNetlinkMessage::NewRoute(answer)) => read(answer, query.target),
        Ok(_) => Err(PathError::system("ask for the route")(io::Error::other(
            "the kernel's answer is of another kind",
        ))),
        Err(error) => Err(refusal(error, query.target)),
    }
}

fn question(query: &Query) -> RouteMessage {
    let mut message = RouteMessage::default();
    let prefix_length = if query.target.is_ipv4() { 32 } else { 128 };
    message.header.address_family = family(query.target);
    message.header.destination_prefix_length = prefix_length;
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(query.target.into()));
    if let Some(source) = query.source {
        message.header.source_prefix_length = prefix_length;
        attributes.push(RouteAttribute::Source(source.into()));
    }
    if query.oif != 0 {
        attributes.push(RouteAttribute::Oif(query.oif));
    }
    message
}

/// Address family of an address.
pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// What the kernel means by an error instead of a route (`inet_rtm_getroute` in
/// net/ipv4/route.c, `inet6_rtm_getroute` in net/ipv6/route.c).
fn refusal(error: io::Error, target: IpAddr) -> PathError {
    let reason = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH) => error.to_string(),
        Some(Errno::EACCES) => "a route prohibits it".to_owned(),
        // A blackhole route.
        Some(Errno::EINVAL) => "a route discards it".to_owned(),
        // The outgoing interface is down.
        Some(Errno::ENETDOWN | Errno::ENODEV) => "the interface is down".to_owned(),
        _ => return PathError::system("ask for the route")(error),
    };
    PathError::NoRoute { target, reason }
}

fn read(answer: RouteMessage, target: IpAddr) -> Result<Route, PathError> {
    let no_route = |reason: &str| PathError::NoRoute {
        target,
        reason: reason.to_owned(),
    };
    match answer.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Err(PathError::Local(target)),
        RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast => {
            return Err(PathError::NotUnicast(target));
        }
        RouteType::BlackHole => return Err(no_route("a route discards it")),
        RouteType::Prohibit => return Err(no_route("a route prohibits it")),
        RouteType::Unreachable => return Err(no_route("a route says it is unreachable")),
        _ => return Err(no_route("the route is of an unknown type")),
    }
    let mut route = Route {
        oif: 0,
        next_hop: None,
        source: None,
        mtu: None,
    };
    for attribute in answer.attributes {
        take(attribute, &mut route, target)?;
    }
    if route.oif == 0 {
        return Err(no_route("the route names no interface"));
    }
    Ok(route)
}

fn take(attribute: RouteAttribute, route: &mut Route, target: IpAddr) -> Result<(), PathError> {
    match attribute {
        RouteAttribute::Oif(index) => route.oif = index,
        RouteAttribute::Gateway(gateway) => route.next_hop = ip(&gateway),
        RouteAttribute::Via(RouteVia::Inet(v4)) => route.next_hop = Some(v4.into()),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => route.next_hop = Some(v6.into()),
        RouteAttribute::PrefSource(source) => route.source = ip(&source),
        RouteAttribute::Metrics(metrics) => {
            route.mtu = metrics.into_iter().find_map(|metric| match metric {
                RouteMetric::Mtu(mtu) if mtu != 0 => Some(mtu),
                _ => None,
            });
        }
        // A look-up gives the path that was picked, but a kernel may show them all.
        RouteAttribute::MultiPath(hops) => {
            if let Some(first) = hops.into_iter().next() {
                route.oif = first.interface_index;
                for attribute in first.attributes {
                    take(attribute, route, target)?;
                }
            }
        }
        RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => {
            return Err(PathError::Tunnel(target));
        }
        _ => {}
    }
    Ok(())
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match *address {
        RouteAddress::Inet(v4) => Some(v4.into()),
        RouteAddress::Inet6(v6) => Some(v6.into()),
        _ => None,
    }
}
