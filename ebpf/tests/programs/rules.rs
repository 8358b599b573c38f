//! What the tests of the reflector's program have in common: addresses, frames, and a program with the
//! rules of its process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;

use ebpf::{
    FlowKey, Generation, ListenerKey, Reflector, ReflectorProgram, Rule, Scope, SharedMaps, Sizes,
};
use testbed::UdpFrame;

use crate::bench::{Bench, LOOPBACK, MAC};

/// Addresses the reflector answers on.
pub const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Who asks.
pub const PEER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const PEER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
pub const PORT: u16 = 862;
pub const PEER_PORT: u16 = 40_000;
/// The listener.
pub const RULE: u32 = 7;
/// Where test runs arrive.
pub const HERE: Scope = Scope::untagged(LOOPBACK);

/// A program with the maps of its process.
pub struct RulesBench {
    pub shared: SharedMaps,
    bench: Bench<Reflector>,
}

impl RulesBench {
    /// With nothing published, and a socket on queue 0 if asked for.
    pub fn empty(with_socket: bool) -> Self {
        let shared = SharedMaps::create(Sizes {
            listeners: 16,
            client_lists: 4,
            sources: 4096,
        })
        .unwrap();
        let program = ReflectorProgram::load(&shared, 1, true).unwrap();
        Self {
            bench: Bench::new(program, with_socket),
            shared,
        }
    }

    /// Answering by one generation.
    pub fn new(generation: &Generation) -> Self {
        let bench = Self::empty(true);
        bench.shared.publish(generation).unwrap();
        bench
    }
}

impl Deref for RulesBench {
    type Target = Bench<Reflector>;

    fn deref(&self) -> &Bench<Reflector> {
        &self.bench
    }
}

pub fn in_vlans(outer_vid: u16, inner_vid: u16) -> Scope {
    Scope {
        outer_vid,
        inner_vid,
        ..HERE
    }
}

pub fn key(scope: Scope, address: impl Into<IpAddr>, port: u16) -> ListenerKey {
    ListenerKey {
        scope,
        address: address.into(),
        port,
    }
}

/// A generation in which `rule` answers on [`V4`] and [`V6`] at [`PORT`], both of them ours.
pub fn answering(rule: Rule) -> Generation {
    let addresses = [IpAddr::V4(V4), IpAddr::V6(V6)];
    Generation {
        number: 1,
        listeners: addresses
            .map(|address| (key(HERE, address, PORT), rule))
            .into(),
        sessions: Vec::new(),
        own_addresses: addresses.map(|address| (0, address)).into(),
        link_local: Vec::new(),
        general_ports: vec![(HERE, PORT)],
    }
}

/// An exact session of a peer's with [`V4`] or [`V6`].
pub fn session(scope: Scope, source: impl Into<SocketAddr>) -> FlowKey {
    let source = source.into();
    let destination: IpAddr = if source.is_ipv4() {
        V4.into()
    } else {
        V6.into()
    };
    FlowKey {
        scope,
        source,
        destination: (destination, PORT).into(),
    }
}

/// A request from anybody to [`V4`] or [`V6`].
pub fn request(source: impl Into<SocketAddr>) -> UdpFrame {
    match source.into() {
        SocketAddr::V4(source) => frame(source.into(), (V4, PORT).into()),
        SocketAddr::V6(source) => frame(source.into(), (V6, PORT).into()),
    }
}

pub fn frame(source: SocketAddr, destination: SocketAddr) -> UdpFrame {
    match (source, destination) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => UdpFrame::v4(from, to),
        (SocketAddr::V6(from), SocketAddr::V6(to)) => UdpFrame::v6(from, to),
        _ => panic!("addresses of two families"),
    }
    .macs([2, 0, 0, 0, 0, 2], MAC)
    .payload(&[0xab; 44])
}

pub fn v4() -> UdpFrame {
    request((PEER_V4, PEER_PORT))
}

pub fn v6() -> UdpFrame {
    request((PEER_V6, PEER_PORT))
}
