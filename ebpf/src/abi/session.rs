//! What the sender's program looks up: the sessions a reply may belong to.

use core::mem::{offset_of, size_of};
use std::net::IpAddr;

use super::{Scope, as_ipv6, put};

/// `struct session_key`: what a packet must match, beside its destination port, to be a reply to
/// sessions of the sender's.
///
/// A reply comes with the VLAN tags of its request, so the VLAN IDs are those the requests carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Where the replies arrive.
    pub scope: Scope,
    /// Source address of the requests: destination of the replies.
    pub local: IpAddr,
    /// Address of the reflector: source of the replies.
    pub remote: IpAddr,
    /// UDP port of the reflector: source port of the replies.
    pub remote_port: u16,
}

#[repr(C)]
struct RawSessionKey {
    scope: [u8; Scope::SIZE],
    local: [u8; 16],
    remote: [u8; 16],
    remote_port: [u8; 2],
    reserved: [u16; 3],
}

impl SessionKey {
    /// Octets of a map key.
    pub const SIZE: usize = size_of::<RawSessionKey>();

    /// The map key: addresses as IPv6 (IPv4 mapped), the port in network byte order.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, 0, self.scope.to_bytes());
        put(&mut bytes, 8, as_ipv6(self.local));
        put(&mut bytes, 24, as_ipv6(self.remote));
        put(&mut bytes, 40, self.remote_port.to_be_bytes());
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
        put(&mut bytes, 0, self.first_session.to_ne_bytes());
        put(&mut bytes, 4, self.first_port.to_ne_bytes());
        put(&mut bytes, 6, self.ports.to_ne_bytes());
        bytes
    }
}

const _: () = {
    assert!(SessionKey::SIZE == 48);
    assert!(offset_of!(RawSessionKey, local) == 8);
    assert!(offset_of!(RawSessionKey, remote) == 24);
    assert!(offset_of!(RawSessionKey, remote_port) == 40);
    assert!(size_of::<RawSessionRange>() == 8);
    assert!(offset_of!(RawSessionRange, first_port) == 4);
    assert!(offset_of!(RawSessionRange, ports) == 6);
};
