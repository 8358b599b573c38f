//! The neighbour table: MAC addresses of next hops.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use host::{ChangeWatch, Link, Netlink};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use nix::errno::Errno;

use super::PathError;
use super::route::family;

/// Longest pause between two looks at the table, in case some news went by.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What the table says of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// Its MAC address. Also of an entry that is to be confirmed, and of an interface without
    /// address resolution, where the kernel has a fixed answer.
    Known([u8; 6]),
    /// The kernel is asking.
    Pending,
    /// The kernel has asked in vain.
    Failed,
    /// Nothing.
    Absent,
}

/// MAC address of a next hop. If the kernel does not know it, it is made to ask, as it does for
/// `ip neighbour add … use`.
pub(super) fn resolve(
    netlink: &mut Netlink,
    link: &Link,
    next_hop: IpAddr,
    timeout: Duration,
) -> Result<[u8; 6], PathError> {
    let no_answer = || PathError::NoAnswer {
        next_hop,
        interface: link.name.clone(),
    };
    let table = PathError::system("read the neighbour table");
    let known = look_up(netlink, link.index, next_hop).map_err(table)?;
    let news = ChangeWatch::neighbours().map_err(PathError::system("watch the neighbour table"))?;
    // An entry that is known may be old: the kernel confirms it then, while it is used.
    let asked = ask(netlink, link.index, next_hop);
    if let Entry::Known(mac) = known {
        return Ok(mac);
    }
    asked.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM) => PathError::NotAllowed { next_hop },
        Some(Errno::ENETDOWN) => PathError::Down(link.name.clone()),
        _ => PathError::system("ask for the MAC address of the next hop")(error),
    })?;
    let start = Instant::now();
    loop {
        let waited = start.elapsed();
        let table = PathError::system("read the neighbour table");
        match look_up(netlink, link.index, next_hop).map_err(table)? {
            Entry::Known(mac) => return Ok(mac),
            Entry::Failed => return Err(no_answer()),
            // An entry may be dropped from a full table.
            Entry::Pending | Entry::Absent => {}
        }
        let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return Err(no_answer());
        };
        news.wait(left.min(LONGEST_PAUSE))
            .map_err(PathError::system("watch the neighbour table"))?;
    }
}

fn message(ifindex: u32, next_hop: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(next_hop);
    message.header.ifindex = ifindex;
    let address = match next_hop {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    message
        .attributes
        .push(NeighbourAttribute::Destination(address));
    message
}

/// Makes the kernel use the entry (`NTF_USE`), so that it resolves or confirms it.
fn ask(netlink: &mut Netlink, ifindex: u32, next_hop: IpAddr) -> io::Result<()> {
    let mut message = message(ifindex, next_hop);
    message.header.flags = NeighbourFlags::Use;
    netlink.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE)
}

fn look_up(netlink: &mut Netlink, ifindex: u32, next_hop: IpAddr) -> io::Result<Entry> {
    let question = RouteNetlinkMessage::GetNeighbour(message(ifindex, next_hop));
    match netlink.get(question) {
        Ok(RouteNetlinkMessage::NewNeighbour(answer)) => Ok(read(&answer)),
        Ok(_) => Err(io::Error::other("the kernel's answer is of another kind")),
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(Entry::Absent),
        Err(error) => Err(error),
    }
}

fn read(answer: &NeighbourMessage) -> Entry {
    let mac = answer
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(octets) => octets.as_slice().try_into().ok(),
            _ => None,
        });
    match (answer.header.state, mac) {
        (
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Noarp
            | NeighbourState::Permanent,
            Some(mac),
        ) => Entry::Known(mac),
        (NeighbourState::Failed, _) => Entry::Failed,
        (NeighbourState::None, _) => Entry::Absent,
        _ => Entry::Pending,
    }
}
