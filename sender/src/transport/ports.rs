//! Source ports for a transport whose probes do not leave by sockets.
//!
//! A port of this host that no socket holds belongs to nobody: the kernel answers a datagram to it
//! with ICMP port unreachable, and may give the port to the next program that asks for one. So the
//! ports of the first [`RESERVED_MAX`] sessions are held by sockets, which nothing is read from.
//! The ports beyond are free when the run begins, and that is all: should another program take
//! one, it may see replies to its neighbour's probes, and a reply that the transport does not
//! catch is answered by the kernel.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::sources::Sources;
use super::sources::{per_address, room};
use super::{OpenError, descriptors, socket};

/// Most ports that sockets hold: each takes a file descriptor and about a kibioctet of the kernel's
/// memory.
pub const RESERVED_MAX: usize = 1024;

/// Ports for one-off use, by convention of Linux (`ip_local_port_range`) and IANA's together.
const EPHEMERAL_FIRST: u16 = 32_768;
/// The first port that needs no privileges.
const USER_FIRST: u16 = 1024;

/// Which ports to reserve.
#[derive(Debug, Clone, Copy)]
pub struct PortPlan<'a> {
    /// The reflector.
    pub target: SocketAddr,
    /// Source addresses of this host. Each gets the same ports.
    pub addresses: &'a [IpAddr],
    /// Port of the first session; the others take those after it. `None` and 0 leave the choice.
    pub first: Option<u16>,
    /// Number of sessions.
    pub sessions: usize,
    /// VRF that the addresses belong to, if any.
    pub vrf: Option<&'a str>,
}

/// Source ports, the first of them held as long as this lives.
#[derive(Debug)]
pub struct Ports {
    sources: Arc<Sources>,
    held: Vec<Socket>,
}

impl Ports {
    /// Which address and port each session has.
    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// How many sessions, the first ones, have a port that nobody else can take.
    pub fn reserved(&self) -> usize {
        self.held.len()
    }
}

/// Finds ports in a row that are free at every source address, and holds as many as it may.
///
/// Without a first port, the first row is taken that is long enough: from 32768 on, else from 1024
/// on.
///
/// # Errors
///
/// [`OpenError::Ports`]: there is no such row; [`OpenError::PortInUse`]: one of the ports asked for
/// is taken; [`OpenError::NotLocal`], [`OpenError::Family`], [`OpenError::NoScope`]: the addresses
/// are not to be used. Nothing stays open then.
pub fn reserve(plan: &PortPlan<'_>) -> Result<Ports, OpenError> {
    for &source_address in plan.addresses {
        if source_address.is_ipv4() != plan.target.is_ipv4() {
            return Err(OpenError::Family {
                source_address,
                target: plan.target,
            });
        }
    }
    let held = plan.sessions.min(RESERVED_MAX);
    descriptors::raise_limit(held, plan.sessions)?;
    if let Some(first) = plan.first.filter(|&port| port != 0) {
        let sources = sources(plan, first)?;
        let held = hold(plan, &sources, held)?;
        for session in held.len()..plan.sessions {
            if let Some((address, port)) = sources.of(session) {
                bound(plan, address, port)?;
            }
        }
        return Ok(Ports {
            sources: Arc::new(sources),
            held,
        });
    }
    let mut from = EPHEMERAL_FIRST;
    loop {
        let sources = sources(plan, search(plan, from)?)?;
        match hold(plan, &sources, held) {
            Ok(held) => {
                return Ok(Ports {
                    sources: Arc::new(sources),
                    held,
                });
            }
            // Somebody was faster. There are only so many ports, so this ends.
            Err(OpenError::PortInUse(port)) if port < u16::MAX => from = port + 1,
            Err(error) => return Err(error),
        }
    }
}

fn sources(plan: &PortPlan<'_>, first: u16) -> Result<Sources, OpenError> {
    let addresses = plan.addresses.iter().copied();
    Sources::new(addresses, first, plan.sessions).ok_or_else(|| too_many(plan, room(first)))
}

fn too_many(plan: &PortPlan<'_>, ports: usize) -> OpenError {
    OpenError::Ports {
        sessions: plan.sessions,
        fit: plan.addresses.len().saturating_mul(ports),
    }
}

/// Holds the ports of the first `count` sessions.
fn hold(plan: &PortPlan<'_>, sources: &Sources, count: usize) -> Result<Vec<Socket>, OpenError> {
    let held = (0..count).filter_map(|session| sources.of(session));
    held.map(|(address, port)| {
        let socket = bound(plan, address, port)?;
        // Whatever the transport lets pass is not for reading: the least buffer will do, and the
        // kernel rounds up. Connected, the socket takes datagrams of the target only.
        let _ = socket.set_recv_buffer_size(0);
        socket
            .connect(&plan.target.into())
            .map_err(|source| OpenError::Unreachable {
                target: plan.target,
                source,
            })?;
        Ok(socket)
    })
    .collect()
}

/// A socket that has the port.
fn bound(plan: &PortPlan<'_>, address: IpAddr, port: u16) -> Result<Socket, OpenError> {
    let domain = Domain::for_address(plan.target);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
        .map_err(socket::system("open a UDP socket"))?;
    if let Some(vrf) = plan.vrf {
        socket
            .bind_device(Some(vrf.as_bytes()))
            .map_err(socket::system("bind a socket to the VRF"))?;
    }
    socket::bind_to(&socket, address, port, plan.target)?;
    Ok(socket)
}

/// The first of enough free ports in a row, from `from` on if there are, else anywhere.
fn search(plan: &PortPlan<'_>, from: u16) -> Result<u16, OpenError> {
    let wanted =
        per_address(plan.sessions, plan.addresses.len()).ok_or_else(|| too_many(plan, 0))?;
    let wanted = wanted.max(1);
    if wanted > room(USER_FIRST) {
        return Err(too_many(plan, room(USER_FIRST)));
    }
    let mut longest = 0;
    for first in [from, USER_FIRST] {
        if wanted > room(first) {
            continue;
        }
        let mut row: u16 = 0;
        for port in first..=u16::MAX {
            row = if is_free(plan, port)? { row + 1 } else { 0 };
            if usize::from(row) == wanted {
                return Ok(port - (row - 1));
            }
            longest = longest.max(usize::from(row));
        }
    }
    Err(too_many(plan, longest))
}

/// Whether the port is free at every address.
fn is_free(plan: &PortPlan<'_>, port: u16) -> Result<bool, OpenError> {
    for &address in plan.addresses {
        match bound(plan, address, port) {
            Ok(_) => {}
            Err(OpenError::PortInUse(_) | OpenError::PortReserved(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
