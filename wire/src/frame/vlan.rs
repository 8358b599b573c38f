//! VLAN tags: 802.1Q and, outside it, 802.1ad.

use super::FrameError;
use crate::field::Field;

pub(super) const TAG_LEN: usize = 4;
pub(super) const MAX_TAGS: u8 = 2;

// The EtherType that announces a tag is counted to what is before it, the one after it to the tag.
const CONTROL: Field<0, 2> = Field;
pub(super) const ETHER_TYPE: Field<2, 2> = Field;

/// The part of the control word that is the VLAN identifier.
const ID_MASK: u16 = 0x0fff;

/// Whether an `EtherType` announces a tag.
#[inline]
pub(super) const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, 0x8100 | 0x88a8)
}

/// What follows an Ethernet header that announces a tag.
pub(super) struct Tagged<'a> {
    /// All tags.
    pub(super) tags: &'a [u8],
    /// The `EtherType` behind the last.
    pub(super) ether_type: u16,
    pub(super) rest: &'a [u8],
}

/// Steps over the tags.
pub(super) fn split(after_header: &[u8]) -> Result<Tagged<'_>, FrameError> {
    for count in 1..=usize::from(MAX_TAGS) {
        let (tags, rest) = after_header
            .split_at_checked(count * TAG_LEN)
            .ok_or(FrameError::Truncated)?;
        let last = tags.last_chunk().ok_or(FrameError::Truncated)?;
        let ether_type = ETHER_TYPE.read_u16::<TAG_LEN>(last);
        if !is_tag(ether_type) {
            return Ok(Tagged {
                tags,
                ether_type,
                rest,
            });
        }
    }
    Err(FrameError::VlanDepth)
}

/// Identifiers of the tags, outermost first.
#[inline]
pub(super) fn ids(tags: &[u8]) -> [Option<u16>; 2] {
    let (tags, _) = tags.as_chunks::<TAG_LEN>();
    let id = |at: usize| tags.get(at).map(|tag| CONTROL.read_u16(tag) & ID_MASK);
    [id(0), id(1)]
}
