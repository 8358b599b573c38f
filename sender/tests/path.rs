//! Looking up the way to the target in the kernel's tables, in namespaces of their own.

#![cfg(test)]

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sender::path::{Path, PathError, PathRequest, find};
use testbed::{End, Need, Veth, VethConfig, skip_unless};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn to(target: &str) -> PathRequest {
    PathRequest {
        // Only the tests of silence wait so long.
        timeout: Duration::from_secs(30),
        target: ip(target),
        scope: 0,
        source: None,
        interface: None,
        vrf: None,
        next_hop_mac: None,
    }
}

fn find_at(end: &End, request: &PathRequest) -> Result<Path, PathError> {
    end.namespace.run(|| find(request))
}

/// What the error says.
fn refusal(end: &End, request: &PathRequest) -> String {
    find_at(end, request).unwrap_err().to_string()
}

/// The path over the veth pair, whose other end is the next hop.
fn over(veth: &Veth, source: IpAddr, next_hop: IpAddr) -> Path {
    Path {
        ifindex: veth.sender.ifindex,
        interface: veth.sender.interface.to_owned(),
        source,
        source_mac: veth.sender.mac,
        next_hop,
        next_hop_mac: veth.reflector.mac,
        mtu: 1500,
    }
}

/// The address that the kernel gave an interface by itself.
fn link_local(end: &End) -> Ipv6Addr {
    let found = end.namespace.run(|| {
        nix::ifaddrs::getifaddrs()
            .unwrap()
            .filter(|found| found.interface_name == end.interface)
            .filter_map(|found| Some(found.address?.as_sockaddr_in6()?.ip()))
            .find(Ipv6Addr::is_unicast_link_local)
    });
    found.unwrap()
}

#[test]
fn a_neighbour_on_the_link_is_resolved_by_the_kernel() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    for (source, target) in [
        (IpAddr::from(veth.sender.ipv4), veth.reflector.ipv4.into()),
        (veth.sender.ipv6.into(), veth.reflector.ipv6.into()),
    ] {
        let request = to(&format!("{target}"));
        // The first time the table is empty, the second time it is not.
        for _ in 0..2 {
            let path = find_at(&veth.sender, &request).unwrap();
            assert_eq!(path, over(&veth, source, target));
        }
    }
}

#[test]
fn a_link_local_target_is_looked_for_on_its_interface() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let (near, far) = (link_local(&veth.sender), link_local(&veth.reflector));
    let mut request = PathRequest {
        scope: veth.sender.ifindex,
        ..to(&far.to_string())
    };
    let expected = over(&veth, near.into(), far.into());
    assert_eq!(find_at(&veth.sender, &request).unwrap(), expected);
    request.source = Some(near.into());
    request.interface = Some(veth.sender.interface.to_owned());
    assert_eq!(find_at(&veth.sender, &request).unwrap(), expected);
    request.source = Some(far.into());
    assert_eq!(
        refusal(&veth.sender, &request),
        format!(
            "source address {far} is no address of this host; `ip address` lists those that are"
        )
    );
    request.interface = Some("lo".to_owned());
    assert_eq!(
        refusal(&veth.sender, &request),
        format!("{far} belongs to another interface than lo; leave --interface out")
    );
}

#[test]
fn beyond_a_gateway_the_gateway_is_the_next_hop() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let namespace = &veth.sender.namespace;
    let (gateway_v4, gateway_v6) = (veth.reflector.ipv4, veth.reflector.ipv6);
    let link_local_gateway = link_local(&veth.reflector);
    for route in [
        format!("route add 192.0.2.0/24 via {gateway_v4}"),
        format!("route add 198.51.100.0/24 via inet6 {gateway_v6} dev veth-s"),
        format!("-6 route add 2001:db8:1::/48 via {gateway_v6} mtu 1300"),
        format!("-6 route add 2001:db8:2::/48 via {link_local_gateway} dev veth-s"),
    ] {
        namespace.ip(&route).unwrap();
    }
    let (source_v4, source_v6) = (veth.sender.ipv4.into(), veth.sender.ipv6.into());
    for (target, expected) in [
        ("192.0.2.9", over(&veth, source_v4, gateway_v4.into())),
        ("198.51.100.9", over(&veth, source_v4, gateway_v6.into())),
        (
            "2001:db8:1::9",
            Path {
                mtu: 1300,
                ..over(&veth, source_v6, gateway_v6.into())
            },
        ),
        (
            "2001:db8:2::9",
            over(&veth, source_v6, link_local_gateway.into()),
        ),
    ] {
        let path = find_at(&veth.sender, &to(target)).unwrap();
        assert_eq!(path, expected, "{target}");
    }
}

#[test]
fn one_of_several_paths_is_taken() {
    skip_unless!(Need::NetworkNamespace);
    let config = VethConfig {
        reflector_addresses: vec!["10.86.2.11/24".to_owned(), "fd00:862::11/64".to_owned()],
        ..VethConfig::default()
    };
    let veth = Veth::with(&config).unwrap();
    let namespace = &veth.sender.namespace;
    for (target, first, second) in [
        ("192.0.2.9", "10.86.2.1", "10.86.2.11"),
        ("2001:db8::9", "fd00:862::1", "fd00:862::11"),
    ] {
        namespace
            .ip(&format!(
                "route add {target} nexthop via {first} dev veth-s nexthop via {second} dev veth-s"
            ))
            .unwrap();
        let path = find_at(&veth.sender, &to(target)).unwrap();
        assert!([ip(first), ip(second)].contains(&path.next_hop), "{path:?}");
        assert_eq!(path.next_hop_mac, veth.reflector.mac);
    }
}

#[test]
fn source_and_interface_asked_for_are_honoured() {
    skip_unless!(Need::NetworkNamespace);
    let config = VethConfig {
        sender_addresses: vec!["10.86.2.3/24".to_owned(), "fd00:862::3/64".to_owned()],
        ..VethConfig::default()
    };
    let veth = Veth::with(&config).unwrap();
    let namespace = &veth.sender.namespace;
    for (source, target) in [
        (ip("10.86.2.3"), IpAddr::from(veth.reflector.ipv4)),
        (ip("fd00:862::3"), veth.reflector.ipv6.into()),
    ] {
        let request = PathRequest {
            source: Some(source),
            ..to(&target.to_string())
        };
        let path = find_at(&veth.sender, &request).unwrap();
        assert_eq!(path, over(&veth, source, target));
    }
    // A second interface with a better route to the same target, which nobody answers on.
    namespace
        .ip("link add other type veth peer name rehto")
        .unwrap();
    namespace.ip("link set other up").unwrap();
    let target = veth.reflector.ipv4;
    namespace
        .ip(&format!("route add {target}/32 dev other src 10.86.2.3"))
        .unwrap();
    let mut request = PathRequest {
        next_hop_mac: Some([2, 0, 0, 0, 0, 9]),
        ..to(&target.to_string())
    };
    let path = find_at(&veth.sender, &request).unwrap();
    assert_eq!(
        (path.interface.as_str(), path.source),
        ("other", ip("10.86.2.3"))
    );
    request.interface = Some("veth-s".to_owned());
    let path = find_at(&veth.sender, &request).unwrap();
    assert_eq!(path.interface, "veth-s");
    // Addresses of a range that is local by a route only.
    namespace.ip("route add local 10.99.0.0/16 dev lo").unwrap();
    request.source = Some(ip("10.99.5.5"));
    let path = find_at(&veth.sender, &request).unwrap();
    assert_eq!(path.source, ip("10.99.5.5"));
}

#[test]
fn a_silent_neighbour_is_named() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    // The kernel gives up after three tries.
    for family in ["ipv4", "ipv6"] {
        let setting = format!("net/{family}/neigh/veth-s/retrans_time_ms");
        veth.sender.namespace.sysctl(&setting, "20").unwrap();
    }
    for target in ["10.86.2.77", "fd00:862::77"] {
        let silent = format!(
            "{target} does not answer on veth-s; check that it is up and on that link, or give its \
             MAC address by --next-hop-mac"
        );
        // Twice: the second time the table has a failed entry.
        assert_eq!(refusal(&veth.sender, &to(target)), silent);
        assert_eq!(refusal(&veth.sender, &to(target)), silent);
    }
    for family in ["ipv4", "ipv6"] {
        let setting = format!("net/{family}/neigh/veth-s/retrans_time_ms");
        veth.sender.namespace.sysctl(&setting, "600000").unwrap();
    }
    for target in ["10.86.2.78", "fd00:862::78"] {
        let request = PathRequest {
            timeout: Duration::from_millis(20),
            ..to(target)
        };
        let error = find_at(&veth.sender, &request).unwrap_err();
        assert!(matches!(error, PathError::NoAnswer { .. }), "{error}");
    }
}

#[test]
fn a_mac_address_given_spares_the_question() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let mac = [2, 0, 0, 0, 0, 7];
    for (source, target) in [
        (IpAddr::from(veth.sender.ipv4), "10.86.2.77"),
        (veth.sender.ipv6.into(), "fd00:862::77"),
    ] {
        let request = PathRequest {
            next_hop_mac: Some(mac),
            ..to(target)
        };
        let path = find_at(&veth.sender, &request).unwrap();
        let expected = Path {
            next_hop_mac: mac,
            ..over(&veth, source, ip(target))
        };
        assert_eq!(path, expected);
    }
    let table = veth.sender.namespace.ip("neighbour show").unwrap();
    assert!(!table.contains("77"), "{table}");
}

#[test]
fn an_interface_without_address_resolution_has_a_fixed_answer() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    veth.sender.namespace.ip("link set veth-s arp off").unwrap();
    let path = find_at(&veth.sender, &to("10.86.2.1")).unwrap();
    // arp_constructor in net/ipv4/arp.c: the interface's own address.
    assert_eq!(path.next_hop_mac, veth.sender.mac);
}

#[test]
fn what_is_no_way_for_frames_is_said() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let namespace = &veth.sender.namespace;
    for route in [
        "add unreachable 192.0.2.1",
        "add prohibit 192.0.2.2",
        "add blackhole 192.0.2.3",
        "add 192.0.2.4 dev lo",
        "add unreachable 2001:db8::1",
        "add prohibit 2001:db8::2",
        "add blackhole 2001:db8::3",
    ] {
        namespace.ip(&format!("route {route}")).unwrap();
    }
    let says = |request: &PathRequest, expected: &str| {
        let said = refusal(&veth.sender, request);
        assert!(said.contains(expected), "{said}\n(not: {expected})");
    };
    for target in ["203.0.113.1", "2001:db8:9::1", "192.0.2.1", "2001:db8::1"] {
        says(&to(target), &format!("no route to {target} ("));
    }
    for target in ["192.0.2.2", "2001:db8::2"] {
        says(
            &to(target),
            &format!("no route to {target} (a route prohibits it)"),
        );
    }
    for target in ["192.0.2.3", "2001:db8::3"] {
        says(
            &to(target),
            &format!("no route to {target} (a route discards it)"),
        );
    }
    says(&to("192.0.2.4"), "lo is no Ethernet interface");
    for target in ["127.0.0.1", "::1", "10.86.2.2", "fd00:862::2"] {
        says(&to(target), &format!("{target} is an address of this host"));
    }
    for target in ["10.86.2.255", "224.0.0.1", "ff02::1", "0.0.0.0"] {
        says(
            &to(target),
            &format!("{target} is not the address of one host"),
        );
    }
    let with = |change: fn(&mut PathRequest)| {
        let mut request = to("10.86.2.1");
        change(&mut request);
        request
    };
    for name in ["", "nowhere0", "a-name-that-is-too-long-for-any-interface"] {
        let request = PathRequest {
            interface: Some(name.to_owned()),
            ..to("10.86.2.1")
        };
        says(&request, &format!("there is no interface '{name}'"));
    }
    says(
        &with(|request| request.scope = 999),
        "there is no interface 'with index 999'",
    );
    says(
        &with(|request| request.vrf = Some("veth-s".to_owned())),
        "veth-s is no VRF",
    );
    for source in ["10.86.2.1", "0.0.0.0", "224.0.0.1"] {
        let request = PathRequest {
            source: Some(ip(source)),
            ..to("10.86.2.1")
        };
        says(
            &request,
            &format!("source address {source} is no address of this host"),
        );
    }
    says(
        &with(|request| request.source = Some(Ipv6Addr::LOCALHOST.into())),
        "--source ::1 cannot reach 10.86.2.1",
    );
    namespace.ip("address flush dev veth-s").unwrap();
    namespace.ip("route add 10.86.2.1 dev veth-s").unwrap();
    says(
        &to("10.86.2.1"),
        "no address to send to 10.86.2.1 from; give veth-s one",
    );
    namespace.ip("link set veth-s down").unwrap();
    says(
        &with(|request| request.interface = Some("veth-s".to_owned())),
        "interface veth-s is down",
    );
}

#[test]
fn a_source_is_an_address_of_this_host() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let (near, far) = (link_local(&veth.sender), link_local(&veth.reflector));
    veth.sender.namespace.run(|| {
        for (source, interface, local) in [
            (ip("10.86.2.2"), None, true),
            (ip("10.86.2.1"), None, false),
            (ip("203.0.113.1"), None, false),
            (ip("127.0.0.9"), None, true),
            (ip("::1"), None, true),
            (ip("fd00:862::2"), None, true),
            (ip("fd00:862::2"), Some("veth-s"), true),
            (ip("fd00:862::1"), None, false),
            (near.into(), Some("veth-s"), true),
            (far.into(), Some("veth-s"), false),
        ] {
            let target = if source.is_ipv4() {
                "10.86.2.1"
            } else {
                "fd00:862::1"
            };
            let found = find(&PathRequest {
                source: Some(source),
                interface: interface.map(str::to_owned),
                ..to(target)
            });
            match found {
                Ok(path) => assert!(local && path.source == source, "{source} {interface:?}"),
                Err(PathError::NotLocal(of)) => assert!(!local && of == source, "{source}"),
                Err(PathError::Loopback { .. }) => {
                    assert!(local && source.is_loopback(), "{source}");
                }
                Err(error) => panic!("{source} {interface:?}: {error}"),
            }
        }
    });
}
