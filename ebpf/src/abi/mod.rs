//! Mirrors of `shared.h`, the header both sides agree on. Every size and offset is asserted.

mod keys;
mod rule;
mod rx_meta;
mod session;

use core::mem::{offset_of, size_of};
use std::net::IpAddr;

pub(crate) use keys::ClientKey;
pub use keys::{FlowKey, ListenerKey};
pub use rule::{Clients, Refused, Rule, SourceLimit};
pub(crate) use rule::{Context, OwnFilter};
pub use rx_meta::{RX_META_VERSION, RxMeta, StampSource};
pub use session::{SessionKey, SessionRange};

/// An address as the programs' keys hold it: IPv4 mapped into IPv6.
fn as_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Writes a field of a structure in memory.
fn put<const LEN: usize>(bytes: &mut [u8], at: usize, value: [u8; LEN]) {
    bytes[at..at + LEN].copy_from_slice(&value);
}

/// `struct scope`: where a packet came in. The same address may be somebody else's elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// Interface the packet arrives on.
    pub ifindex: u32,
    /// VLAN ID of the outermost tag; 0 for none and for priority tags.
    pub outer_vid: u16,
    /// VLAN ID of the second tag; 0 for none.
    pub inner_vid: u16,
}

#[repr(C)]
struct RawScope {
    ifindex: u32,
    outer_vid: u16,
    inner_vid: u16,
}

impl Scope {
    /// Octets of it in a key.
    const SIZE: usize = size_of::<RawScope>();

    /// What arrives on an interface without VLAN tags.
    pub const fn untagged(ifindex: u32) -> Self {
        Self {
            ifindex,
            outer_vid: 0,
            inner_vid: 0,
        }
    }

    fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, 0, self.ifindex.to_ne_bytes());
        put(&mut bytes, 4, self.outer_vid.to_ne_bytes());
        put(&mut bytes, 6, self.inner_vid.to_ne_bytes());
        bytes
    }
}

/// `struct interface`: facts of the interface a program is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The only destination MAC address that is taken for ours.
    pub mac: [u8; 6],
    /// Longest frame in octets that fits in a UMEM chunk; longer ones are passed to the kernel.
    pub frame_limit: u16,
}

#[repr(C)]
struct RawInterface {
    ifindex: u32,
    mac: [u8; 6],
    frame_limit: u16,
}

impl Interface {
    /// The map value.
    pub(crate) fn to_bytes(self, ifindex: u32) -> [u8; size_of::<RawInterface>()] {
        let mut bytes = [0; size_of::<RawInterface>()];
        put(&mut bytes, 0, ifindex.to_ne_bytes());
        put(&mut bytes, 4, self.mac);
        put(&mut bytes, 10, self.frame_limit.to_ne_bytes());
        bytes
    }
}

const _: () = {
    assert!(Scope::SIZE == 8);
    assert!(offset_of!(RawScope, outer_vid) == 4);
    assert!(offset_of!(RawScope, inner_vid) == 6);
    assert!(size_of::<RawInterface>() == 12);
    assert!(offset_of!(RawInterface, mac) == 4);
    assert!(offset_of!(RawInterface, frame_limit) == 10);
};
