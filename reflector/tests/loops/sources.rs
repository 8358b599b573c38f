//! Sources that no other host can have: our own addresses, and those of many hosts or of none.

use std::net::{IpAddr, SocketAddr};

use testbed::{End, Need, UdpFrame, Veth, skip_unless};

use crate::common::arena::{Arena, FAMILIES, NEAR, request};
use crate::common::{Reflector, Summary};

const PORT: u16 = 862;
const SOURCE_PORT: u16 = 4000;

/// Addresses that the reflector's host has.
const OWN: [&str; 8] = [
    "10.86.2.1",
    "10.86.3.1",
    "192.0.2.1",
    // Not the one on loopback alone: those of other interfaces are as local.
    "198.51.100.1",
    "fd00:862::1",
    "fd00:863::1",
    "2001:db8::1",
    "fe80::862",
];

/// Addresses of nobody, or of several.
const NOBODY: [&str; 12] = [
    "0.0.0.0",
    "0.0.0.1",
    "127.0.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "ff02::1",
    "ff0e::862",
    "ff05::2",
];

/// Broadcast addresses of subnets that the reflector's host is in.
const BROADCAST: [&str; 2] = ["10.86.2.255", "10.86.3.255"];

fn arena() -> Arena {
    let arena = Arena::new();
    let namespace = &arena.veth.reflector.namespace;
    for line in [
        "address add 10.86.3.1/24 dev veth-r",
        "address add fd00:863::1/64 dev veth-r nodad",
        "address add fe80::862/64 dev veth-r nodad",
        "link set lo up",
        "address add 192.0.2.1/32 dev lo",
        "address add 2001:db8::1/128 dev lo",
        "link add dummy-r type veth peer name dummy-x",
        "address add 198.51.100.1/24 dev dummy-r",
    ] {
        namespace.ip(line).unwrap();
    }
    // Let as much as possible reach sockets: the kernel refuses martian sources by itself.
    for setting in [
        "net/ipv4/conf/all/accept_local",
        "net/ipv4/conf/veth-r/accept_local",
        "net/ipv4/conf/all/route_localnet",
    ] {
        namespace.sysctl(setting, "1").unwrap();
    }
    for setting in [
        "net/ipv4/conf/all/rp_filter",
        "net/ipv4/conf/veth-r/rp_filter",
    ] {
        namespace.sysctl(setting, "0").unwrap();
    }
    arena
}

fn frame(veth: &Veth, source: &str) -> UdpFrame {
    let end: &End = &veth.reflector;
    let frame = match SocketAddr::new(source.parse().unwrap(), SOURCE_PORT) {
        SocketAddr::V4(source) => UdpFrame::v4(source, end.socket_v4(PORT)),
        SocketAddr::V6(source) => UdpFrame::v6(source, end.socket_v6(PORT)),
    };
    frame.macs(veth.sender.mac, end.mac).payload(&request(44))
}

/// Sends a packet from each of `sources`, and then good packets; returns what the reflector, of which
/// nothing but answers to the latter was seen, says.
fn assert_unanswered(
    options: &[&str],
    sources: &[&str],
    dress: fn(UdpFrame) -> UdpFrame,
) -> Summary {
    let arena = arena();
    let reflector = Reflector::start(arena.end(NEAR), options);
    for source in sources {
        arena.send(NEAR, &dress(frame(&arena.veth, source)));
    }
    for family in FAMILIES {
        arena.pass_through_as(NEAR, family, PORT, dress);
    }
    let summary = reflector.stop();
    assert_eq!(summary.answered(), 2, "{}", summary.0);
    summary
}

fn plain(frame: UdpFrame) -> UdpFrame {
    frame
}

/// IP options, which XDP leaves to the kernel; IPv6 has an extension header for them.
fn with_options(frame: UdpFrame) -> UdpFrame {
    frame.ipv4_options(&[1, 1, 1, 0]).hop_by_hop()
}

#[test]
fn our_own_addresses_are_not_answered_over_af_xdp() {
    skip_unless!(Need::Xdp);
    for sequence in ["stateless", "stateful"] {
        let summary = assert_unanswered(&["--sequence", sequence], &OWN, plain);
        assert_eq!(summary.count("our own address as source"), 8);
        let summary = assert_unanswered(&["--sequence", sequence], &BROADCAST, plain);
        assert_eq!(summary.count("our own address as source"), 2);
    }
}

#[test]
fn sources_that_are_no_host_are_not_answered_over_af_xdp() {
    skip_unless!(Need::Xdp);
    let summary = assert_unanswered(&[], &NOBODY, plain);
    assert_eq!(summary.count("source address that cannot be answered"), 12);
}

#[test]
fn nor_are_they_over_sockets() {
    skip_unless!(Need::NetworkNamespace);
    let options = ["--datapath", "socket", "--socket-workers", "1"];
    let summary = assert_unanswered(&options, &[&OWN[..], &NOBODY, &BROADCAST].concat(), plain);
    // What the kernel lets through, with all of its own checks off that can be switched off.
    let own = summary.count("source is an address of this host");
    assert_eq!(own, 10, "{}", summary.0);
}

#[test]
fn nor_are_they_on_the_slow_path() {
    skip_unless!(Need::Xdp);
    let summary = assert_unanswered(&[], &[&OWN[..], &NOBODY, &BROADCAST].concat(), with_options);
    // The good packets went the same way, and so did what the other end's kernel has to say of its groups.
    assert!(summary.count("IP options or extension headers") >= 22 + 2);
    let own = summary.count("source is an address of this host");
    assert_eq!(own, 10, "{}", summary.0);
}

#[test]
fn sources_are_spelled_as_they_are_meant() {
    for source in OWN.iter().chain(&NOBODY).chain(&BROADCAST) {
        assert!(source.parse::<IpAddr>().is_ok(), "{source}");
    }
}
