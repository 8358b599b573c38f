//! The veth topology: reachability, queues, addresses.

#![cfg(test)]

use std::fs;

use testbed::{Need, Veth, VethConfig, skip_unless};

/// One ping from the sender's end; the error is ping's own.
fn ping(veth: &Veth, address: &str) {
    let arguments = ["-n", "-c", "1", "-W", "10", address];
    veth.sender.namespace.command("ping", &arguments).unwrap();
}

#[test]
fn both_ends_reach_each_other_over_both_families() {
    skip_unless!(Need::NetworkNamespace, Need::Program("ping"));
    let veth = Veth::new().unwrap();
    ping(&veth, "10.86.2.1");
    ping(&veth, "fd00:862::1");
    // Without permanent entries the neighbours were asked for.
    let neighbours = veth.sender.namespace.ip("neighbour show").unwrap();
    assert!(
        neighbours.contains("10.86.2.1 dev veth-s lladdr"),
        "{neighbours}"
    );
    assert!(!neighbours.contains("PERMANENT"), "{neighbours}");
}

#[test]
fn addresses_are_usable_at_once() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    for end in [&veth.reflector, &veth.sender] {
        let tentative = end.namespace.ip("-6 address show tentative").unwrap();
        assert_eq!(tentative, "");
        let addresses = end.namespace.ip("address show").unwrap();
        assert!(addresses.contains(&end.ipv4.to_string()), "{addresses}");
        assert!(addresses.contains(&end.ipv6.to_string()), "{addresses}");
    }
}

#[test]
fn ends_know_their_index_and_mac_address() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    for end in [&veth.reflector, &veth.sender] {
        let shown = end
            .namespace
            .ip(&format!("-o link show {}", end.interface))
            .unwrap();
        let mac = end.mac.map(|octet| format!("{octet:02x}")).join(":");
        assert!(shown.starts_with(&format!("{}: ", end.ifindex)), "{shown}");
        assert!(shown.contains(&format!("link/ether {mac}")), "{shown}");
    }
}

#[test]
fn every_queue_asked_for_is_real() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::with(&VethConfig::queues(4)).unwrap();
    for end in [&veth.reflector, &veth.sender] {
        let folder = format!("/sys/class/net/{}/queues", end.interface);
        let queues = end.namespace.run_with_sysfs(|| {
            let listed = fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = listed
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        });
        let expected = [
            "rx-0", "rx-1", "rx-2", "rx-3", "tx-0", "tx-1", "tx-2", "tx-3",
        ]
        .map(str::to_owned);
        assert_eq!(queues.unwrap(), expected);
    }
}

#[test]
fn takes_mtu_and_more_addresses() {
    skip_unless!(Need::NetworkNamespace, Need::Program("ping"));
    let config = VethConfig {
        mtu: 9000,
        reflector_addresses: vec!["10.86.2.11/24".to_owned(), "fd00:862::11/64".to_owned()],
        sender_addresses: vec!["10.86.2.12/24".to_owned()],
        ..VethConfig::default()
    };
    let veth = Veth::with(&config).unwrap();
    ping(&veth, "10.86.2.11");
    ping(&veth, "fd00:862::11");
    let whole = [
        "-n",
        "-c",
        "1",
        "-W",
        "10",
        "-M",
        "do",
        "-s",
        "8972",
        "-I",
        "10.86.2.12",
    ];
    veth.sender
        .namespace
        .command("ping", &[&whole[..], &["10.86.2.1"]].concat())
        .unwrap();
}

#[test]
fn permanent_neighbours_need_no_questions() {
    skip_unless!(Need::NetworkNamespace);
    let config = VethConfig {
        permanent_neighbours: true,
        ..VethConfig::default()
    };
    let veth = Veth::with(&config).unwrap();
    for (end, other) in [
        (&veth.reflector, &veth.sender),
        (&veth.sender, &veth.reflector),
    ] {
        let known = end.namespace.ip("neighbour show nud permanent").unwrap();
        assert!(known.contains(&other.ipv4.to_string()), "{known}");
        assert!(known.contains(&other.ipv6.to_string()), "{known}");
    }
}

#[test]
fn many_can_stand_side_by_side() {
    skip_unless!(Need::NetworkNamespace, Need::Program("ping"));
    let several: Vec<_> = (0..3).map(|_| Veth::new().unwrap()).collect();
    for veth in &several {
        ping(veth, "10.86.2.1");
    }
}

#[test]
fn a_second_pair_joins_the_same_namespaces() {
    skip_unless!(Need::NetworkNamespace, Need::Program("ping"));
    let first = Veth::new().unwrap();
    let second = first.second(&VethConfig::default()).unwrap();
    assert_eq!(
        first.sender.namespace.inode().unwrap(),
        second.sender.namespace.inode().unwrap()
    );
    for to in ["10.86.2.1", "fd00:862::1", "10.86.3.1", "fd00:863::1"] {
        ping(&first, to);
    }
    let interfaces = (second.reflector.interface, second.sender.interface);
    assert_eq!(interfaces, ("veth-r2", "veth-s2"));
}
