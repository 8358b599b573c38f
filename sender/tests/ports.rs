//! Reserving source ports, in namespaces of their own, where every port is free at first.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr, UdpSocket};

use sender::transport::OpenError;
use sender::transport::ports::{PortPlan, RESERVED_MAX, reserve};
use testbed::{Namespace, Need, Veth, skip_unless};

const TARGET: &str = "127.0.0.9:862";

fn plan(addresses: &[IpAddr], first: Option<u16>, sessions: usize) -> PortPlan<'_> {
    PortPlan {
        target: TARGET.parse().unwrap(),
        addresses,
        first,
        sessions,
        vrf: None,
    }
}

fn loopback(count: u8) -> Vec<IpAddr> {
    (1..=count).map(|host| [127, 0, 0, host].into()).collect()
}

fn in_namespace(work: impl FnOnce() + Send) {
    Namespace::new().unwrap().run(work);
}

fn is_free(address: IpAddr, port: u16) -> bool {
    UdpSocket::bind((address, port)).is_ok()
}

#[test]
fn free_ports_in_a_row_are_found_and_held() {
    skip_unless!(Need::NetworkNamespace);
    in_namespace(|| {
        let addresses = loopback(2);
        let _somebody = UdpSocket::bind("127.0.0.2:32770").unwrap();
        let _somebody_else = UdpSocket::bind("0.0.0.0:32775").unwrap();
        let ports = reserve(&plan(&addresses, None, 10)).unwrap();
        // Five at each address: the first row that is free at both.
        let sources = ports.sources();
        assert_eq!(sources.first_port(), 32_776);
        assert_eq!(sources.ports_per_address(), 5);
        assert_eq!(ports.reserved(), 10);
        for session in 0..10 {
            let (address, port) = sources.of(session).unwrap();
            assert!(!is_free(address, port), "{address} {port}");
        }
        // The next run finds the next row.
        let more = reserve(&plan(&addresses, None, 2)).unwrap();
        assert_eq!(more.sources().first_port(), 32_768);
        let more = reserve(&plan(&addresses, None, 10)).unwrap();
        assert_eq!(more.sources().first_port(), 32_781);
        let (address, port) = ports.sources().of(9).unwrap();
        drop(ports);
        assert!(is_free(address, port));
    });
}

#[test]
fn a_held_port_takes_datagrams_of_the_target_only_and_answers_none() {
    skip_unless!(Need::NetworkNamespace);
    in_namespace(|| {
        let addresses = loopback(1);
        let ports = reserve(&plan(&addresses, Some(40_000), 1)).unwrap();
        let target = UdpSocket::bind(TARGET).unwrap();
        target.connect("127.0.0.1:40000").unwrap();
        for _ in 0..100 {
            target.send(&[0; 1000]).unwrap();
        }
        assert!(target.take_error().unwrap().is_none());
        // A stranger is told that nobody is there.
        let stranger = UdpSocket::bind("127.0.0.8:0").unwrap();
        stranger.connect("127.0.0.1:40000").unwrap();
        stranger.send(&[0]).unwrap();
        let refused = stranger.recv(&mut [0]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        drop(ports);
    });
}

#[test]
fn ports_asked_for_are_taken_or_the_one_in_use_is_named() {
    skip_unless!(Need::NetworkNamespace);
    in_namespace(|| {
        let addresses = loopback(2);
        let ports = reserve(&plan(&addresses, Some(862), 3)).unwrap();
        assert_eq!(ports.sources().first_port(), 862);
        assert_eq!(ports.reserved(), 3);
        let first = u16::try_from(RESERVED_MAX).unwrap() + 2000;
        // One among those held, one beyond.
        for taken in [5001, 5000 + first] {
            let _somebody = UdpSocket::bind(("127.0.0.1", taken)).unwrap();
            let error = reserve(&plan(&loopback(1), Some(5000), usize::from(first) + 1));
            assert_eq!(
                error.unwrap_err().to_string(),
                format!("source port {taken} is in use; choose another --source-port")
            );
        }
    });
}

#[test]
fn a_hundred_thousand_sessions_have_ports_and_the_first_of_them_are_held() {
    skip_unless!(Need::NetworkNamespace);
    in_namespace(|| {
        let ports = reserve(&plan(&loopback(2), None, 100_000)).unwrap();
        let sources = ports.sources();
        assert_eq!(sources.first_port(), 1024);
        assert_eq!(ports.reserved(), RESERVED_MAX);
        let (address, port) = sources.of(RESERVED_MAX - 1).unwrap();
        assert!(!is_free(address, port));
        let (address, port) = sources.of(RESERVED_MAX).unwrap();
        assert!(is_free(address, port));
        assert_eq!(
            sources.of(99_999),
            Some(([127, 0, 0, 2].into(), 1024 + 49_999))
        );
    });
}

#[test]
fn more_sessions_than_ports_are_refused_with_what_would_fit() {
    skip_unless!(Need::NetworkNamespace);
    in_namespace(|| {
        let fit = |addresses: &[IpAddr], first, sessions| match reserve(&plan(
            addresses, first, sessions,
        ))
        .unwrap_err()
        {
            OpenError::Ports { fit, .. } => fit,
            error => panic!("{error}"),
        };
        assert_eq!(fit(&loopback(1), None, 64_513), 64_512);
        assert_eq!(fit(&loopback(2), None, 129_025), 129_024);
        assert_eq!(fit(&loopback(2), Some(65_535), 3), 2);
        assert_eq!(fit(&[], None, 1), 0);
        let _somebody = UdpSocket::bind("127.0.0.1:21024").unwrap();
        assert_eq!(fit(&loopback(1), None, 50_000), 65_535 - 21_024);
        let error = reserve(&plan(&loopback(1), None, 50_000)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "50000 sessions need more source ports in a row than are free: there is room for \
             44511; add source addresses by --source-range, choose another --source-port or lower \
             --sessions"
        );
    });
}

#[test]
fn addresses_must_be_of_this_host_and_of_the_family_of_the_target() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    veth.sender.namespace.run(|| {
        let target = SocketAddr::from((veth.reflector.ipv6, 862));
        let try_from = |address: IpAddr| {
            let plan = PortPlan {
                target,
                addresses: &[address],
                first: None,
                sessions: 2,
                vrf: None,
            };
            reserve(&plan).map(|ports| ports.reserved())
        };
        assert_eq!(try_from(veth.sender.ipv6.into()).unwrap(), 2);
        let error = try_from(veth.reflector.ipv6.into()).unwrap_err();
        assert!(matches!(error, OpenError::NotLocal(_)), "{error}");
        let error = try_from(veth.sender.ipv4.into()).unwrap_err();
        assert!(matches!(error, OpenError::Family { .. }), "{error}");
        let error = try_from("fe80::1".parse().unwrap()).unwrap_err();
        assert!(matches!(error, OpenError::NoScope(_)), "{error}");
    });
}
