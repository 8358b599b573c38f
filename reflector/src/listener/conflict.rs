//! Listeners that contradict each other.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{Listener, Vlan};

/// What two listeners, or one of them twice, cannot both have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// Two listeners claim the same packets.
    #[error(
        "two listeners, ({first}) and ({second}), claim the same packets: {packets}; give one of \
         them another port, VLAN, interface or address"
    )]
    SamePackets {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// What both claim.
        packets: String,
    },
    /// The same session, twice.
    #[error("peer {peer} is given twice for the same packets: {packets}")]
    SamePeer {
        /// The peer.
        peer: SocketAddr,
        /// Where.
        packets: String,
    },
}

/// Packets, as far as a listener claims them; `None` is every interface or address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Claim<'a> {
    interface: Option<&'a str>,
    vlan: Vlan,
    address: Option<IpAddr>,
    port: u16,
}

impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, self.interface.as_slice(), self.vlan)?;
        match self.address {
            None => write!(f, ", any address, port {}", self.port),
            Some(address) => write!(f, ", {address} port {}", self.port),
        }
    }
}

/// Interfaces and VLAN, as a person writes them.
pub(super) fn write_place(
    f: &mut fmt::Formatter<'_>,
    interfaces: &[impl AsRef<str>],
    vlan: Vlan,
) -> fmt::Result {
    match interfaces {
        [] => f.write_str("every interface")?,
        [first, rest @ ..] => {
            f.write_str(first.as_ref())?;
            for name in rest {
                write!(f, " and {}", name.as_ref())?;
            }
        }
    }
    match vlan {
        Vlan::Untagged => Ok(()),
        vlan => write!(f, ", VLAN {vlan}"),
    }
}

/// Refuses listeners that claim the same packets. One that names an address comes before one for
/// every address, and a session before both, so those may go together.
pub(super) fn check(listeners: &[Listener]) -> Result<(), Conflict> {
    let mut general = Claims::default();
    for listener in listeners.iter().filter(|listener| listener.is_general()) {
        for claim in claims(listener) {
            if let Some((first, packets)) = general.add(claim, None, listener) {
                return Err(Conflict::SamePackets {
                    first: first.to_string(),
                    second: listener.to_string(),
                    packets: packets.to_string(),
                });
            }
        }
    }
    let mut sessions = Claims::default();
    for listener in listeners {
        for &peer in &listener.peers {
            for claim in claims(listener) {
                if let Some((_, packets)) = sessions.add(claim, Some(peer), listener) {
                    let packets = packets.to_string();
                    return Err(Conflict::SamePeer { peer, packets });
                }
            }
        }
    }
    Ok(())
}

/// Everything a listener claims.
fn claims(listener: &Listener) -> impl Iterator<Item = Claim<'_>> {
    let interfaces = all_or_each(listener.interfaces.iter().map(String::as_str));
    interfaces.flat_map(move |interface| {
        all_or_each(listener.addresses.iter().copied()).map(move |address| Claim {
            interface,
            vlan: listener.vlan,
            address,
            port: listener.port,
        })
    })
}

fn all_or_each<T>(each: impl ExactSizeIterator<Item = T>) -> impl Iterator<Item = Option<T>> {
    let all = (each.len() == 0).then_some(None);
    all.into_iter().chain(each.map(Some))
}

/// Claims by all but the interface, and whose they are.
#[derive(Default)]
struct Claims<'a> {
    by_place: HashMap<(Claim<'a>, Option<SocketAddr>), ByInterface<'a>>,
}

#[derive(Default)]
struct ByInterface<'a> {
    every: Option<&'a Listener>,
    one: HashMap<&'a str, &'a Listener>,
}

impl<'a> Claims<'a> {
    /// Adds a claim; if another has it already, says whose it is, and for which packets.
    fn add(
        &mut self,
        claim: Claim<'a>,
        peer: Option<SocketAddr>,
        owner: &'a Listener,
    ) -> Option<(&'a Listener, Claim<'a>)> {
        let place = Claim {
            interface: None,
            ..claim
        };
        let there = self.by_place.entry((place, peer)).or_default();
        let before = match claim.interface {
            None => there
                .one
                .iter()
                .next()
                .map(|(&name, &owner)| (owner, Some(name))),
            Some(name) => there.one.get(name).map(|&owner| (owner, Some(name))),
        };
        let before = there.every.map(|owner| (owner, claim.interface)).or(before);
        match claim.interface {
            None => there.every = Some(owner),
            Some(name) => drop(there.one.insert(name, owner)),
        }
        before.map(|(owner, interface)| (owner, Claim { interface, ..place }))
    }
}
