//! Mirrors of `shared.h`, the header both sides agree on. Every size and offset is asserted.

use core::mem::{offset_of, size_of};
use std::net::IpAddr;

/// `RX_META_VERSION`: the last four octets before a redirected frame.
pub const RX_META_VERSION: u32 = 0x5457_0001;

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
    /// What matched: [`Rule::id`] of the listener in the reflector, the session's number
    /// ([`SessionRange`]) in the sender.
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
    reserved: [u8; 6],
    version: u32,
}

impl RxMeta {
    /// Octets of metadata below the frame.
    pub const SIZE: usize = size_of::<RawRxMeta>();

    /// Reads the metadata; `None` unless it carries [`RX_META_VERSION`].
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
        bytes[28..].copy_from_slice(&RX_META_VERSION.to_ne_bytes());
        bytes
    }
}

/// An address as the programs' keys hold it: IPv4 mapped into IPv6.
fn as_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// `struct listener_key`: what a packet must match to be the reflector's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerKey {
    /// Interface the packet arrives on.
    pub ifindex: u32,
    /// VLAN ID of the outermost tag; 0 for none.
    pub outer_vid: u16,
    /// VLAN ID of the second tag; 0 for none.
    pub inner_vid: u16,
    /// Destination address.
    pub address: IpAddr,
    /// UDP destination port.
    pub port: u16,
}

#[repr(C)]
struct RawListenerKey {
    ifindex: u32,
    outer_vid: u16,
    inner_vid: u16,
    address: [u8; 16],
    port: [u8; 2],
    reserved: u16,
}

impl ListenerKey {
    /// Octets of a map key.
    pub const SIZE: usize = size_of::<RawListenerKey>();

    /// The map key: the address as IPv6 (IPv4 mapped), the port in network byte order.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.ifindex.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.outer_vid.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.inner_vid.to_ne_bytes());
        bytes[8..24].copy_from_slice(&as_ipv6(self.address));
        bytes[24..26].copy_from_slice(&self.port.to_be_bytes());
        bytes
    }
}

/// `struct rule`: what a matching listener yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Named in [`RxMeta::rule`].
    pub id: u32,
}

#[repr(C)]
struct RawRule {
    id: u32,
    reserved: u32,
}

impl Rule {
    /// The map value.
    pub fn to_bytes(self) -> [u8; size_of::<RawRule>()] {
        let mut bytes = [0; size_of::<RawRule>()];
        bytes[..4].copy_from_slice(&self.id.to_ne_bytes());
        bytes
    }
}

/// `struct session_key`: what a packet must match, beside its destination port, to be a reply to
/// sessions of the sender's.
///
/// A reply comes with the VLAN tags of its request, so the VLAN IDs are those the requests carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Interface the replies arrive on.
    pub ifindex: u32,
    /// VLAN ID of the outermost tag; 0 for none.
    pub outer_vid: u16,
    /// VLAN ID of the second tag; 0 for none.
    pub inner_vid: u16,
    /// Source address of the requests: destination of the replies.
    pub local: IpAddr,
    /// Address of the reflector: source of the replies.
    pub remote: IpAddr,
    /// UDP port of the reflector: source port of the replies.
    pub remote_port: u16,
}

#[repr(C)]
struct RawSessionKey {
    ifindex: u32,
    outer_vid: u16,
    inner_vid: u16,
    local: [u8; 16],
    remote: [u8; 16],
    remote_port: [u8; 2],
    reserved: u16,
}

impl SessionKey {
    /// Octets of a map key.
    pub const SIZE: usize = size_of::<RawSessionKey>();

    /// The map key: addresses as IPv6 (IPv4 mapped), the port in network byte order.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.ifindex.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.outer_vid.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.inner_vid.to_ne_bytes());
        bytes[8..24].copy_from_slice(&as_ipv6(self.local));
        bytes[24..40].copy_from_slice(&as_ipv6(self.remote));
        bytes[40..42].copy_from_slice(&self.remote_port.to_be_bytes());
        bytes
    }
}

/// `struct session_range`: sessions on consecutive local ports, numbered consecutively. The session
/// of port `p` has the number `first_session + (p - first_port)`, modulo 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRange {
    /// Number of the session on `first_port`.
    pub first_session: u32,
    /// Lowest source port of the requests: destination port of the replies.
    pub first_port: u16,
    /// How many ports, and sessions.
    pub ports: u16,
}

#[repr(C)]
struct RawSessionRange {
    first_session: u32,
    first_port: u16,
    ports: u16,
}

impl SessionRange {
    /// The map value.
    pub fn to_bytes(self) -> [u8; size_of::<RawSessionRange>()] {
        let mut bytes = [0; size_of::<RawSessionRange>()];
        bytes[..4].copy_from_slice(&self.first_session.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.first_port.to_ne_bytes());
        bytes[6..].copy_from_slice(&self.ports.to_ne_bytes());
        bytes
    }
}

/// `struct interface`: facts of an interface the program is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The only destination MAC address that is taken for ours.
    pub mac: [u8; 6],
    /// Longest frame in octets that fits in a UMEM chunk; longer ones are passed to the kernel.
    pub frame_limit: u16,
}

#[repr(C)]
struct RawInterface {
    mac: [u8; 6],
    frame_limit: u16,
}

impl Interface {
    /// The map value.
    pub fn to_bytes(self) -> [u8; size_of::<RawInterface>()] {
        let mut bytes = [0; size_of::<RawInterface>()];
        bytes[..6].copy_from_slice(&self.mac);
        bytes[6..].copy_from_slice(&self.frame_limit.to_ne_bytes());
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
    assert!(offset_of!(RawRxMeta, version) == 28);
    assert!(ListenerKey::SIZE == 28);
    assert!(offset_of!(RawListenerKey, address) == 8);
    assert!(offset_of!(RawListenerKey, port) == 24);
    assert!(size_of::<RawRule>() == 8);
    assert!(SessionKey::SIZE == 44);
    assert!(offset_of!(RawSessionKey, local) == 8);
    assert!(offset_of!(RawSessionKey, remote) == 24);
    assert!(offset_of!(RawSessionKey, remote_port) == 40);
    assert!(size_of::<RawSessionRange>() == 8);
    assert!(offset_of!(RawSessionRange, first_port) == 4);
    assert!(offset_of!(RawSessionRange, ports) == 6);
    assert!(size_of::<RawInterface>() == 8);
    assert!(offset_of!(RawInterface, frame_limit) == 6);
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
        };
        assert_eq!(RxMeta::from_bytes(&meta.to_bytes()), Some(meta));
    }

    #[test]
    fn stale_memory_is_no_metadata() {
        assert_eq!(RxMeta::from_bytes(&[0; RxMeta::SIZE]), None);
        assert_eq!(RxMeta::from_bytes(&[0xff; RxMeta::SIZE]), None);
    }
}
