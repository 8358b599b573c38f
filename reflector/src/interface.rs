//! Facts of the network interface, read anew each time they are asked for.

use std::collections::BTreeSet;

use nix::ifaddrs::getifaddrs;
use xsk::Nic;

use crate::error::Error;

/// An interface as it was when it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name in this network namespace: the kernel's own, not an alternative one.
    pub name: String,
    /// Its index, which stays when the name changes.
    pub index: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Queues that can be served: a packet is answered on the number it came in on, so only those
    /// that both receive and transmit.
    pub queues: u32,
    /// Queues that receive.
    pub receive_queues: u32,
    /// Queues that could receive (`ethtool -L`).
    pub receive_queues_max: u32,
    /// Largest IP packet it carries, in octets.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Up, and the link has a carrier.
    pub running: bool,
}

impl Interface {
    /// Looks an interface up by its name or an alternative one.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it is not Ethernet.
    pub fn by_name(name: &str) -> Result<Self, Error> {
        let unknown = |error| match error {
            xsk::Error::NoSuchInterface { .. } => Error::NoInterface {
                name: name.to_owned(),
                known: names(),
            },
            other => other.into(),
        };
        let index = Nic::by_name(name).map_err(unknown)?.index();
        Self::by_index(index).map_err(|error| match error {
            Error::Socket(error) => unknown(error),
            other => other,
        })
    }

    /// Looks up an interface that was there before.
    ///
    /// # Errors
    ///
    /// It is gone ([`xsk::Error::NoSuchInterface`]), or it is not Ethernet.
    pub fn by_index(index: u32) -> Result<Self, Error> {
        loop {
            let nic = Nic::by_index(index)?;
            let found = Self::of(&nic);
            // Facts are asked by name, and it may have been renamed between two questions.
            let renamed = || Nic::by_index(index).is_ok_and(|again| again.name() != nic.name());
            match found {
                Err(Error::Socket(xsk::Error::NoSuchInterface { .. })) if renamed() => {}
                found => return found,
            }
        }
    }

    fn of(nic: &Nic) -> Result<Self, Error> {
        let flags = nic.flags()?;
        let mac = nic.mac()?.filter(|_| !flags.is_loopback());
        let channels = nic.channels()?;
        Ok(Self {
            name: nic.name().to_owned(),
            index: nic.index(),
            mac: mac.ok_or_else(|| Error::NotEthernet(nic.name().to_owned()))?,
            queues: channels.rx.min(channels.tx),
            receive_queues: channels.rx,
            receive_queues_max: channels.rx_max,
            mtu: nic.mtu()?,
            up: flags.is_up(),
            running: flags.is_running(),
        })
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
