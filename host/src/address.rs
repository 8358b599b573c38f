//! Addresses.

use std::net::IpAddr;

use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeader};

/// An IP address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub ifindex: u32,
    /// The address.
    pub ip: IpAddr,
    /// Leading bits that the addresses of its network share.
    pub prefix_len: u8,
    /// Duplicate address detection (RFC 4862 section 5.4) is through with it, or not needed, or
    /// optimistic (RFC 4429), and found no other owner.
    pub usable: bool,
}

/// Octets of `struct ifaddrmsg` (`include/uapi/linux/if_addr.h`).
const HEADER: usize = 8;

/// Reads an `RTM_NEWADDR` message, if it is of an IP address. An attribute that the library cannot
/// read counts as absent: newer kernels add some.
pub(crate) fn read(message: &[u8]) -> Option<Address> {
    let header = AddressHeader::parse(message).ok()?;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return None;
    }
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    let (mut local, mut address) = (None, None);
    for attribute in NlasIterator::new(message.get(HEADER..)?) {
        match AddressAttribute::parse(&attribute.ok()?) {
            Ok(AddressAttribute::Local(ip)) => local = Some(ip),
            Ok(AddressAttribute::Address(ip)) => address = Some(ip),
            // All 32; the header has room for 8.
            Ok(AddressAttribute::Flags(all)) => flags = all,
            _ => {}
        }
    }
    Some(Address {
        ifindex: header.index,
        // On a point-to-point link, IFA_ADDRESS is the peer's.
        ip: local.or(address)?,
        prefix_len: header.prefix_len,
        usable: is_usable(flags),
    })
}

fn is_usable(flags: AddressFlags) -> bool {
    let undecided =
        flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    !undecided && !flags.contains(AddressFlags::Dadfailed)
}
