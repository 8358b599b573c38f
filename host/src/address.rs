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

/// Whether an address means nothing without its interface: IPv6 link-local unicast (RFC 4291 section
/// 2.5.6). To Linux, IPv4 has none of that kind: 169.254.0.0/16 is routed like any other network.
pub const fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ipv6_has_addresses_that_need_an_interface() {
        for (ip, expected) in [
            ("fe80::1", true),
            ("febf:ffff::", true),
            ("fec0::1", false),
            ("ff02::1", false),
            ("169.254.0.1", false),
            ("::ffff:169.254.0.1", false),
        ] {
            assert_eq!(is_link_local(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    /// `struct ifaddrmsg` and attributes, as the kernel lays them out: all by hand.
    fn message(family: u8, flags: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut octets = vec![family, 64, flags, 0];
        octets.extend(9_u32.to_ne_bytes());
        for (kind, value) in attributes {
            octets.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            octets.extend(kind.to_ne_bytes());
            octets.extend(*value);
            octets.resize(octets.len().next_multiple_of(4), 0);
        }
        octets
    }

    const INET: u8 = 2;
    const INET6: u8 = 10;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const IFA_FLAGS: u16 = 8;
    const V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    #[test]
    fn addresses_not_found_to_be_ours_are_not_usable() {
        let usable = |flags: u32| {
            let flags = flags.to_ne_bytes();
            let attributes: [(u16, &[u8]); 2] = [(IFA_ADDRESS, &V6), (IFA_FLAGS, &flags)];
            read(&message(INET6, 0x40, &attributes)).unwrap().usable
        };
        assert!(usable(0x80), "permanent");
        assert!(!usable(0xc0), "tentative");
        assert!(usable(0xc4), "tentative, but optimistic");
        assert!(!usable(0xc8), "a duplicate, still tentative");
        assert!(!usable(0x88), "a duplicate");
        assert!(usable(0x2a0), "permanent, deprecated, without prefix route");
        // Kernels before 3.14 have the flags in the header alone.
        let old = |flags| read(&message(INET6, flags, &[(IFA_ADDRESS, &V6)])).unwrap();
        assert!(old(0x80).usable);
        assert!(!old(0xc0).usable);
    }

    #[test]
    fn the_near_end_of_a_point_to_point_link_is_the_address() {
        let attributes: [(u16, &[u8]); 2] =
            [(IFA_ADDRESS, &[192, 0, 2, 2]), (IFA_LOCAL, &[192, 0, 2, 1])];
        let expected = Address {
            ifindex: 9,
            ip: [192, 0, 2, 1].into(),
            prefix_len: 64,
            usable: true,
        };
        assert_eq!(read(&message(INET, 0x80, &attributes)), Some(expected));
    }

    #[test]
    fn what_is_no_ip_address_is_left_out() {
        let attributes: [(u16, &[u8]); 1] = [(IFA_LOCAL, &[9])];
        let mctp = 45;
        assert_eq!(read(&message(mctp, 0x80, &attributes)), None);
        assert_eq!(read(&message(INET, 0x80, &[])), None, "no address");
        assert_eq!(read(&[INET, 24]), None, "cut off");
        // An attribute of impossible length, and one that a newer kernel may add.
        let broken: [(u16, &[u8]); 2] = [(IFA_LOCAL, &[1, 2, 3]), (99, &[])];
        assert_eq!(read(&message(INET, 0x80, &broken)), None);
        let newer: [(u16, &[u8]); 2] = [(99, &[1]), (IFA_LOCAL, &[192, 0, 2, 1])];
        assert!(read(&message(INET, 0x80, &newer)).is_some());
    }
}
