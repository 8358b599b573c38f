//! VLAN tags: 802.1Q and, outside it, 802.1ad.

use crate::field::Field;

pub(super) const TAG_LEN: usize = 4;
pub(super) const MAX_TAGS: u8 = 2;

// The EtherType that announces a tag is counted to what is before it, the one after it to the tag.
pub(super) const CONTROL: Field<0, 2> = Field;
pub(super) const ETHER_TYPE: Field<2, 2> = Field;

/// The part of the control word that is the VLAN identifier.
pub(super) const ID_MASK: u16 = 0x0fff;

/// Whether an `EtherType` announces a tag.
#[inline]
pub(super) const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, 0x8100 | 0x88a8)
}
