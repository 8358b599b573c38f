//! The way to the target as the kernel would take it: interface, next hop and source address, for
//! a transport that writes frames itself.
//!
//! ```text
//! PathRequest ─► host:      the interface or VRF asked for
//!             ─► route:     RTM_GETROUTE ─► egress interface, next hop, source address, MTU
//!             ─► neighbour: RTM_GETNEIGH, after the kernel resolved it if need be ─► MAC address
//!             ─► Path
//! ```
//!
//! The kernel is asked over netlink (rtnetlink(7)) and decides by its own rules: policy routing,
//! the first of several paths that its hash picks, next hops of another address family. What it
//! answers is true at that moment; a route that changes later is not noticed.

mod error;
mod neighbour;
mod route;

pub use error::PathError;

use std::net::IpAddr;
use std::time::Duration;

use host::{HostView, Link, Netlink, is_link_local};
use route::{Query, Route};

/// How long a neighbour may take to answer: the kernel asks three times, a second apart.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A question for the way to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRequest {
    /// The reflector's address.
    pub target: IpAddr,
    /// Interface index that a link-local target belongs to; 0 for none.
    pub scope: u32,
    /// Source address, if not the one that the kernel prefers. It must be one of this host.
    pub source: Option<IpAddr>,
    /// Interface to leave by, whatever the routing table prefers. Where the table has no route by
    /// it, the kernel takes an IPv4 target to be on the link.
    pub interface: Option<String>,
    /// VRF whose routing table decides. With `interface`, that one must belong to the VRF.
    ///
    /// The look-up names the VRF device as the outgoing interface, as `ip route get … vrf` does
    /// (l3mdev, Documentation/networking/vrf.rst in the kernel). Written by the book: no kernel
    /// with VRFs was at hand to try it.
    pub vrf: Option<String>,
    /// MAC address of the next hop. The neighbour table is not asked then.
    pub next_hop_mac: Option<[u8; 6]>,
    /// How long to wait for the neighbour to answer.
    pub timeout: Duration,
}

/// The way to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Index of the interface that packets leave by.
    pub ifindex: u32,
    /// Its name.
    pub interface: String,
    /// Source address: the one asked for, or the one that the kernel prefers.
    pub source: IpAddr,
    /// MAC address of the interface.
    pub source_mac: [u8; 6],
    /// Address of the gateway, or the target itself; over IPv4 it may be an IPv6 address
    /// (RFC 9229).
    pub next_hop: IpAddr,
    /// MAC address of the next hop.
    pub next_hop_mac: [u8; 6],
    /// Octets of the longest IP packet: the interface's MTU, or what the route says if less.
    pub mtu: u32,
}

/// Finds the way to a target, in the calling thread's network namespace.
///
/// Blocks for the timeout at most, and only if the kernel does not know the neighbour.
///
/// # Errors
///
/// See [`PathError`]. [`PathError::Local`] and [`PathError::NotEthernet`] mean that sockets reach
/// the target and frames do not.
pub fn find(request: &PathRequest) -> Result<Path, PathError> {
    if request.target.is_multicast() || request.target.is_unspecified() {
        return Err(PathError::NotUnicast(request.target));
    }
    let mut netlink = Netlink::open().map_err(PathError::system("open a netlink socket"))?;
    let host = HostView::read().map_err(PathError::system("list the interfaces"))?;
    let oif = outgoing(&host, request)?;
    if let Some(source) = request.source {
        check_source(&mut netlink, request.target, source, oif)?;
    }
    let query = Query {
        target: request.target,
        source: request.source,
        oif,
    };
    let route = match (route::look_up(&mut netlink, &query), request.source) {
        // An address of this host can be reached from a loopback address, and is told as such.
        (Ok(_) | Err(PathError::NoRoute { .. }), Some(source)) if source.is_loopback() => {
            return Err(PathError::Loopback {
                target: request.target,
            });
        }
        (route, _) => route?,
    };
    let link = by_index(&host, route.oif)?;
    let source_mac = usable(link)?;
    let source = source_of(request, &route, link)?;
    let next_hop = route.next_hop.unwrap_or(request.target);
    let next_hop_mac = match request.next_hop_mac {
        Some(mac) => mac,
        None => neighbour::resolve(&mut netlink, link, next_hop, request.timeout)?,
    };
    Ok(Path {
        ifindex: link.index,
        source,
        source_mac,
        next_hop,
        next_hop_mac,
        mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
        interface: link.name.clone(),
    })
}

/// Whether `address` is one of this host, in the routing table that belongs to interface or VRF
/// device `oif` if that is not 0. Also true for a range that a local route covers
/// (`ip route add local 10.9.0.0/16 dev lo`).
fn local(netlink: &mut Netlink, address: IpAddr, oif: u32) -> Result<bool, PathError> {
    let query = Query {
        target: address,
        source: None,
        oif,
    };
    match route::look_up(netlink, &query) {
        Err(PathError::Local(_)) => Ok(true),
        Err(error @ PathError::System { .. }) => Err(error),
        // A way out, none, a group, a tunnel: not an address of this host in any case.
        Ok(_) | Err(_) => Ok(false),
    }
}

/// Index of the interface or VRF that the request names; 0 for none.
fn outgoing(host: &HostView, request: &PathRequest) -> Result<u32, PathError> {
    let interface = match &request.interface {
        Some(name) => Some(by_name(host, name)?),
        None if request.scope != 0 => Some(by_index(host, request.scope)?),
        None => None,
    };
    if let Some(link) = interface
        && request.scope != 0
        && link.index != request.scope
    {
        return Err(PathError::Scope {
            target: request.target,
            interface: link.name.clone(),
        });
    }
    let vrf = match &request.vrf {
        Some(name) => Some(by_name(host, name)?),
        None => None,
    };
    match (interface, vrf) {
        (_, Some(vrf)) if !vrf.is_vrf() => Err(PathError::NotVrf(vrf.name.clone())),
        (Some(link), Some(vrf)) if link.controller != Some(vrf.index) => {
            Err(PathError::OutsideVrf {
                interface: link.name.clone(),
                vrf: vrf.name.clone(),
            })
        }
        (Some(link), _) | (None, Some(link)) if !link.up => Err(PathError::Down(link.name.clone())),
        // The kernel finds the VRF of an interface that belongs to one.
        (Some(link), _) | (None, Some(link)) => Ok(link.index),
        (None, None) => Ok(0),
    }
}

fn by_name<'a>(host: &'a HostView, name: &str) -> Result<&'a Link, PathError> {
    host.link(name)
        .ok_or_else(|| PathError::NoInterface(name.to_owned()))
}

fn by_index(host: &HostView, index: u32) -> Result<&Link, PathError> {
    host.by_index(index)
        .ok_or_else(|| PathError::NoInterface(format!("with index {index}")))
}

/// Refuses a source that this host does not own, for which the kernel has less clear words, or
/// none.
fn check_source(
    netlink: &mut Netlink,
    target: IpAddr,
    source: IpAddr,
    oif: u32,
) -> Result<(), PathError> {
    if source.is_ipv4() != target.is_ipv4() {
        return Err(PathError::Family {
            source_address: source,
            target,
        });
    }
    // Any address of the host will do as a source, whatever the interface; a link-local one counts
    // on its own interface only, and VRFs have their own.
    // To the routing table, "unspecified" is this host.
    let is_address = !source.is_unspecified();
    if is_address
        && (local(netlink, source, oif)? || !is_link_local(source) && local(netlink, source, 0)?)
    {
        Ok(())
    } else {
        Err(PathError::NotLocal(source))
    }
}

/// MAC address of an interface that frames can leave by.
fn usable(link: &Link) -> Result<[u8; 6], PathError> {
    match link.mac {
        Some(mac) if link.up => Ok(mac),
        Some(_) => Err(PathError::Down(link.name.clone())),
        None => Err(PathError::NotEthernet(link.name.clone())),
    }
}

/// The address asked for, else the kernel's choice.
fn source_of(request: &PathRequest, route: &Route, link: &Link) -> Result<IpAddr, PathError> {
    request
        .source
        .or(route.source)
        .filter(|address| !address.is_unspecified())
        .ok_or_else(|| PathError::NoSource {
            target: request.target,
            interface: link.name.clone(),
        })
}
