//! `struct rx_meta`: what an XDP program tells the reader of a frame.

use core::mem::{offset_of, size_of};

/// `RX_META_VERSION`: the last four octets before a redirected frame.
pub const RX_META_VERSION: u32 = 0x5457_0002;

/// Which clock [`RxMeta::arrival_ns`] was read from (`enum stamp_source`).
///
/// A newtype and not an enum: the octet comes from shared memory and may hold anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampSource(pub u8);

impl StampSource {
    /// `bpf_ktime_get_tai_ns()` in the driver: nanoseconds since 1970 TAI.
    pub const KERNEL_TAI: Self = Self(1);
}

/// `struct rx_meta`: what either XDP program writes just below a redirected frame.
///
/// Offsets count from the first octet of the frame. They come from memory that user space shares
/// with the kernel, so a reader checks them against the frame all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RxMeta {
    /// Arrival time in nanoseconds of the clock that `stamp_source` names: T2 in the reflector, T4
    /// in the sender.
    pub arrival_ns: u64,
    /// What matched: [`Rule::id`](crate::Rule::id) of the listener in the reflector, the session's number
    /// ([`SessionRange`](crate::SessionRange)) in the sender.
    pub rule: u32,
    /// Offset of the IPv4 or IPv6 header.
    pub l3: u16,
    /// Offset of the UDP header.
    pub l4: u16,
    /// Offset of the UDP payload.
    pub payload: u16,
    /// Octets of UDP payload, from the UDP length.
    pub payload_len: u16,
    /// Which clock the arrival was read from.
    pub stamp_source: StampSource,
    /// VLAN tags standing in the frame, 0 to 2.
    pub vlan_tags: u8,
    /// [`Generation::number`](crate::Generation::number) of the rule, in the reflector; the sender has
    /// no generations: 0.
    pub generation: u16,
}

/// The octets of `struct rx_meta` in memory.
#[repr(C)]
struct RawRxMeta {
    arrival_ns: u64,
    rule: u32,
    l3: u16,
    l4: u16,
    payload: u16,
    payload_len: u16,
    stamp_source: u8,
    vlan_tags: u8,
    generation: u16,
    reserved: [u8; 4],
    version: u32,
}

impl RxMeta {
    /// Octets of metadata below the frame.
    pub const SIZE: usize = size_of::<RawRxMeta>();

    /// Reads the metadata; `None` unless it carries [`RX_META_VERSION`].
    #[inline]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if u32_at(offset_of!(RawRxMeta, version)) != RX_META_VERSION {
            return None;
        }
        let mut arrival_ns = [0; 8];
        arrival_ns.copy_from_slice(&bytes[..8]);
        Some(Self {
            arrival_ns: u64::from_ne_bytes(arrival_ns),
            rule: u32_at(offset_of!(RawRxMeta, rule)),
            l3: u16_at(offset_of!(RawRxMeta, l3)),
            l4: u16_at(offset_of!(RawRxMeta, l4)),
            payload: u16_at(offset_of!(RawRxMeta, payload)),
            payload_len: u16_at(offset_of!(RawRxMeta, payload_len)),
            stamp_source: StampSource(bytes[offset_of!(RawRxMeta, stamp_source)]),
            vlan_tags: bytes[offset_of!(RawRxMeta, vlan_tags)],
            generation: u16_at(offset_of!(RawRxMeta, generation)),
        })
    }

    /// The octets the XDP program would have written.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.arrival_ns.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.rule.to_ne_bytes());
        bytes[12..14].copy_from_slice(&self.l3.to_ne_bytes());
        bytes[14..16].copy_from_slice(&self.l4.to_ne_bytes());
        bytes[16..18].copy_from_slice(&self.payload.to_ne_bytes());
        bytes[18..20].copy_from_slice(&self.payload_len.to_ne_bytes());
        bytes[20] = self.stamp_source.0;
        bytes[21] = self.vlan_tags;
        bytes[22..24].copy_from_slice(&self.generation.to_ne_bytes());
        bytes[28..].copy_from_slice(&RX_META_VERSION.to_ne_bytes());
        bytes
    }
}

const _: () = {
    assert!(RxMeta::SIZE == 32);
    assert!(offset_of!(RawRxMeta, arrival_ns) == 0);
    assert!(offset_of!(RawRxMeta, rule) == 8);
    assert!(offset_of!(RawRxMeta, l3) == 12);
    assert!(offset_of!(RawRxMeta, l4) == 14);
    assert!(offset_of!(RawRxMeta, payload) == 16);
    assert!(offset_of!(RawRxMeta, payload_len) == 18);
    assert!(offset_of!(RawRxMeta, stamp_source) == 20);
    assert!(offset_of!(RawRxMeta, vlan_tags) == 21);
    assert!(offset_of!(RawRxMeta, generation) == 22);
    assert!(offset_of!(RawRxMeta, version) == 28);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survives_the_round_trip() {
        let meta = RxMeta {
            arrival_ns: 0x0102_0304_0506_0708,
            rule: 9,
            l3: 14,
            l4: 34,
            payload: 42,
            payload_len: 44,
            stamp_source: StampSource::KERNEL_TAI,
            vlan_tags: 0,
            generation: 0x0a0b,
        };
        assert_eq!(RxMeta::from_bytes(&meta.to_bytes()), Some(meta));
    }

    #[test]
    fn stale_memory_is_no_metadata() {
        assert_eq!(RxMeta::from_bytes(&[0; RxMeta::SIZE]), None);
        assert_eq!(RxMeta::from_bytes(&[0xff; RxMeta::SIZE]), None);
    }
}
