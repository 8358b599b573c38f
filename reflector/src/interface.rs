//! Facts of the network interface, read anew each time they are asked for.

use std::collections::BTreeSet;

use nix::ifaddrs::getifaddrs;
use xsk::Nic;

use crate::error::Error;

/// Destination, source, `EtherType`, and the two VLAN tags a frame may carry.
const LINK_HEADER_MAX: u32 = 14 + 2 * 4;

/// An interface by name, as it was when it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name in this network namespace.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its receive queues in use.
    pub queues: u32,
    /// Largest IP packet it carries, in octets.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Up, and the link has a carrier.
    pub running: bool,
}

impl Interface {
    /// Looks an interface up.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it is not Ethernet.
    pub fn find(name: &str) -> Result<Self, Error> {
        let sort = |error| sort(name, error);
        let nic = Nic::by_name(name).map_err(sort)?;
        let flags = nic.flags().map_err(sort)?;
        let mac = nic.mac().map_err(sort)?.filter(|_| !flags.is_loopback());
        Ok(Self {
            name: name.to_owned(),
            index: nic.index(),
            mac: mac.ok_or_else(|| Error::NotEthernet(name.to_owned()))?,
            queues: nic.channels().map_err(sort)?.rx,
            mtu: nic.mtu().map_err(sort)?,
            up: flags.is_up(),
            running: flags.is_running(),
        })
    }

    /// Longest frame it can receive, VLAN tags included.
    pub const fn frame_max(&self) -> u32 {
        self.mtu.saturating_add(LINK_HEADER_MAX)
    }
}

/// It may also vanish between two questions.
fn sort(name: &str, error: xsk::Error) -> Error {
    match error {
        xsk::Error::NoSuchInterface { .. } => Error::NoInterface {
            name: name.to_owned(),
            known: names(),
        },
        other => other.into(),
    }
}

/// Every interface of this network namespace; none if the kernel does not tell.
fn names() -> BTreeSet<String> {
    getifaddrs()
        .into_iter()
        .flatten()
        .map(|entry| entry.interface_name)
        .collect()
}
