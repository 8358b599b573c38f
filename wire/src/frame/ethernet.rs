//! Ethernet II header.

use crate::field::Field;

pub(super) const HEADER_LEN: usize = 14;
/// Both addresses, the part before any VLAN tag.
pub(super) const ADDRESSES_LEN: usize = 12;

pub(super) const DESTINATION: Field<0, 6> = Field;
pub(super) const SOURCE: Field<6, 6> = Field;
pub(super) const ETHER_TYPE: Field<12, 2> = Field;

pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;

/// Sends a frame with these addresses back to where it came from.
#[inline]
pub(super) fn turn_around(addresses: &mut [u8; ADDRESSES_LEN]) {
    let (destination, source) = (DESTINATION.read(addresses), SOURCE.read(addresses));
    DESTINATION.write(addresses, source);
    SOURCE.write(addresses, destination);
}
