//! What the reflector's program looks up: listeners, exact sessions, clients.

use core::mem::{offset_of, size_of};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::{Scope, as_ipv6, put};

/// `LISTENER_MARK`: no port.
const MARK: u64 = 0x10000;

/// `struct listener_key`: what a packet must match to be a listener's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerKey {
    /// Where the packet arrives.
    pub scope: Scope,
    /// Destination address.
    pub address: IpAddr,
    /// UDP destination port.
    pub port: u16,
}

#[repr(C)]
struct RawListenerKey {
    scope: [u8; Scope::SIZE],
    address: [u8; 16],
    port: u64,
}

impl ListenerKey {
    pub(crate) const SIZE: usize = size_of::<RawListenerKey>();

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        Self::raw(self.scope, as_ipv6(self.address), self.port.into())
    }

    /// The mark of an address that is ours in a domain.
    pub(crate) fn own_address(domain: u32, address: IpAddr) -> [u8; Self::SIZE] {
        Self::raw(Scope::untagged(0), as_ipv6(address), domain.into())
    }

    /// The mark of a link-local address that is ours in a scope.
    pub(crate) fn link_local(scope: Scope, address: Ipv6Addr) -> [u8; Self::SIZE] {
        Self::raw(scope, address.octets(), MARK)
    }

    /// The mark of a port that a general listener has.
    pub(crate) fn general_port(scope: Scope, port: u16) -> [u8; Self::SIZE] {
        Self::raw(scope, [0; 16], MARK + u64::from(port))
    }

    fn raw(scope: Scope, address: [u8; 16], port: u64) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, 0, scope.to_bytes());
        put(&mut bytes, 8, address);
        put(&mut bytes, 24, port.to_ne_bytes());
        bytes
    }
}

impl fmt::Display for ListenerKey {
    /// Without the interface, which has but a number here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.address, self.port)?;
        match (self.scope.outer_vid, self.scope.inner_vid) {
            (0, _) => Ok(()),
            (vid, 0) => write!(f, " in VLAN {vid}"),
            (outer, inner) => write!(f, " in VLAN {outer}.{inner}"),
        }
    }
}

/// `struct flow_key`: a UDP flow, as an exact session is provisioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Where the packet arrives.
    pub scope: Scope,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
}

#[repr(C)]
struct RawFlowKey {
    scope: [u8; Scope::SIZE],
    source: [u8; 16],
    destination: [u8; 16],
    source_port: [u8; 2],
    destination_port: [u8; 2],
    reserved: u32,
}

impl FlowKey {
    pub(crate) const SIZE: usize = size_of::<RawFlowKey>();

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, 0, self.scope.to_bytes());
        put(&mut bytes, 8, as_ipv6(self.source.ip()));
        put(&mut bytes, 24, as_ipv6(self.destination.ip()));
        put(&mut bytes, 40, self.source.port().to_be_bytes());
        put(&mut bytes, 42, self.destination.port().to_be_bytes());
        bytes
    }
}

/// `struct client_key`: an entry of a client list.
pub(crate) struct ClientKey;

#[repr(C)]
struct RawClientKey {
    prefix_len: u32,
    address: [u8; 16],
}

impl ClientKey {
    pub(crate) const SIZE: usize = size_of::<RawClientKey>();

    /// The key of a prefix.
    pub(crate) fn of(prefix: IpNet) -> [u8; Self::SIZE] {
        /// Bits before an IPv4 address that is mapped into IPv6.
        const MAPPED: u32 = 96;
        let mapped = if prefix.addr().is_ipv4() { MAPPED } else { 0 };
        let mut bytes = [0; Self::SIZE];
        put(
            &mut bytes,
            0,
            (mapped + u32::from(prefix.prefix_len())).to_ne_bytes(),
        );
        put(&mut bytes, 4, as_ipv6(prefix.addr()));
        bytes
    }
}

const _: () = {
    assert!(ListenerKey::SIZE == 32);
    assert!(offset_of!(RawListenerKey, address) == 8);
    assert!(offset_of!(RawListenerKey, port) == 24);
    assert!(FlowKey::SIZE == 48);
    assert!(offset_of!(RawFlowKey, source) == 8);
    assert!(offset_of!(RawFlowKey, destination) == 24);
    assert!(offset_of!(RawFlowKey, source_port) == 40);
    assert!(offset_of!(RawFlowKey, destination_port) == 42);
    assert!(ClientKey::SIZE == 20);
    assert!(offset_of!(RawClientKey, address) == 4);
};
