//! ICMP errors about probes, heard on a raw socket in a namespace of its own.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use sender::transport::IcmpKind;
use sender::transport::icmp_raw::IcmpWatch;
use sender::transport::sources::Sources;
use socket2::{Domain, Socket, Type};
use testbed::{DEFAULT_TIMEOUT, Need, Veth, VethConfig, skip_unless, wait_until};

/// Sends a datagram, as a probe of the session with this source port would leave.
fn send(source: IpAddr, port: u16, target: SocketAddr) {
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, None).unwrap();
    // The one before may live a moment longer, in a child of another test that is yet to execute.
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::new(source, port).into()).unwrap();
    socket.send_to(&[0; 44], &target.into()).unwrap();
}

fn veth() -> Veth {
    let veth = Veth::with(&VethConfig {
        reflector_addresses: vec!["10.86.2.11/24".to_owned(), "fd00:862::11/64".to_owned()],
        ..VethConfig::default()
    })
    .unwrap();
    // No limit for one destination; one for all of them stays.
    for setting in ["net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"] {
        veth.reflector.namespace.sysctl(setting, "0").unwrap();
    }
    veth
}

#[test]
fn a_closed_port_is_reported_to_the_session_and_nobody_elses_trouble_is() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    for (source, target, other) in [
        (
            IpAddr::from(veth.sender.ipv4),
            IpAddr::from(veth.reflector.ipv4),
            "10.86.2.11",
        ),
        (
            veth.sender.ipv6.into(),
            veth.reflector.ipv6.into(),
            "fd00:862::11",
        ),
    ] {
        let other: IpAddr = other.parse().unwrap();
        let closed = SocketAddr::new(target, 862);
        let sources = Arc::new(Sources::new([source], 40_000, 10).unwrap());
        veth.sender.namespace.run(|| {
            let mut watch = IcmpWatch::open(closed, sources, None).unwrap();
            // Errors about other programs' datagrams, ours by all but one number.
            for _ in 0..5 {
                send(source, 40_010, closed);
                send(source, 39_999, closed);
                send(source, 40_000, SocketAddr::new(target, 863));
                send(source, 40_000, SocketAddr::new(other, 862));
            }
            let mut taken = Vec::new();
            // The kernel limits the rate of errors, so a datagram may stay without one.
            wait_until("the sessions have heard", DEFAULT_TIMEOUT, || {
                for port in [40_009, 40_000, 40_004] {
                    send(source, port, closed);
                }
                while watch.receive(&mut |error| taken.push(error)).unwrap() {}
                let heard: BTreeSet<usize> = taken.iter().map(|error| error.session).collect();
                [0, 4, 9].iter().all(|session| heard.contains(session))
            });
            let strangers = taken
                .iter()
                .any(|error| ![0, 4, 9].contains(&error.session));
            assert!(!strangers, "{taken:?}");
            assert!(
                taken
                    .iter()
                    .all(|error| error.kind == IcmpKind::PortUnreachable)
            );
            let total = u64::try_from(taken.len()).unwrap();
            assert_eq!(watch.counts().total(), total);
            assert_eq!(watch.counts().of(IcmpKind::PortUnreachable), total);
        });
    }
}

#[test]
fn a_flood_is_taken_in_turns() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let closed = SocketAddr::new(veth.reflector.ipv4.into(), 862);
    let source = IpAddr::from(veth.sender.ipv4);
    let sources = Arc::new(Sources::new([source], 40_000, 1).unwrap());
    veth.sender.namespace.run(|| {
        let mut watch = IcmpWatch::open(closed, sources, None).unwrap();
        let socket = UdpSocket::bind((source, 40_000)).unwrap();
        // The kernel limits the rate of errors, so many a datagram stays without one.
        wait_until(
            "more errors are there than a turn takes",
            DEFAULT_TIMEOUT,
            || {
                for _ in 0..100 {
                    socket.send_to(&[0; 44], closed).unwrap();
                }
                unreachables_heard() >= 100
            },
        );
        let mut taken = 0;
        watch.receive(&mut |_| taken += 1).unwrap();
        assert_eq!(taken, 64);
    });
}

/// How many ICMP errors of this kind came to the namespace, counted after raw sockets had them.
fn unreachables_heard() -> u64 {
    let counters = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = counters.lines().filter(|line| line.starts_with("Icmp: "));
    let [names, values] = [lines.next().unwrap(), lines.next().unwrap()];
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, value) = columns.find(|(name, _)| *name == "InDestUnreachs").unwrap();
    value.parse().unwrap()
}
