//! The kernel's tables as they are, in namespaces of their own.

#![cfg(test)]

use std::collections::BTreeSet;
use std::net::IpAddr;

use host::{ChangeWatch, HostView, Link, LinkKind};
use testbed::{
    DEFAULT_TIMEOUT, Namespace, Need, Veth, VethConfig, skip_unless, wait_for, wait_until,
};

fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn view_of(namespace: &Namespace) -> HostView {
    namespace.run(|| HostView::read().unwrap())
}

/// A namespace with a veth pair in it, `near` and `far`, both down.
fn with_pair() -> Namespace {
    let namespace = Namespace::new().unwrap();
    namespace
        .ip("link add near type veth peer name far")
        .unwrap();
    namespace
}

#[test]
fn a_link_is_found_by_each_of_its_names_and_its_index() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::with(&VethConfig {
        mtu: 9000,
        ..VethConfig::default()
    })
    .unwrap();
    let end = &veth.reflector;
    for name in ["uplink", "a-name-that-is-longer-than-IFNAMSIZ"] {
        let line = format!("link property add dev {} altname {name}", end.interface);
        end.namespace.ip(&line).unwrap();
    }
    let view = view_of(&end.namespace);
    let expected = Link {
        index: end.ifindex,
        name: end.interface.to_owned(),
        alternative_names: ["uplink", "a-name-that-is-longer-than-IFNAMSIZ"]
            .map(str::to_owned)
            .to_vec(),
        mac: Some(end.mac),
        mtu: 9000,
        up: true,
        running: true,
        kind: LinkKind::Other,
        controller: None,
    };
    assert_eq!(view.link(end.interface), Some(&expected));
    assert_eq!(view.link("uplink"), Some(&expected));
    assert_eq!(
        view.link("a-name-that-is-longer-than-IFNAMSIZ"),
        Some(&expected)
    );
    assert_eq!(view.by_index(end.ifindex), Some(&expected));
    assert_eq!((view.link("veth-s"), view.by_index(4711)), (None, None));
    let loopback = view.link("lo").unwrap();
    assert_eq!((loopback.index, loopback.mac), (1, None));
}

#[test]
fn a_link_says_whether_it_is_up_and_has_a_carrier() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = with_pair();
    let state = || {
        let view = view_of(&namespace);
        let link = view.link("near").unwrap();
        (link.up, link.running)
    };
    assert_eq!(state(), (false, false));
    namespace.ip("link set near up").unwrap();
    assert_eq!(state(), (true, false), "its peer is down");
    namespace.ip("link set far up").unwrap();
    wait_until("near has a carrier", DEFAULT_TIMEOUT, || {
        state() == (true, true)
    });
}

#[test]
fn frames_reach_the_bridge_that_an_interface_belongs_to() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = with_pair();
    for line in [
        "link add bridge type bridge",
        "link set near master bridge",
        "address add 192.0.2.1/24 dev bridge",
        "address add fe80::1/64 dev bridge nodad",
        "address add fe80::2/64 dev far nodad",
    ] {
        namespace.ip(line).unwrap();
    }
    let view = view_of(&namespace);
    let index = |name| view.link(name).unwrap().index;
    assert_eq!(view.link("near").unwrap().controller, Some(index("bridge")));
    let device = view.l3_device(index("near"), 0, 0).unwrap();
    assert_eq!(device.name, "bridge");
    assert_eq!(view.vrf_of(index("near")), None);
    for name in ["near", "bridge"] {
        let local = view.local_addresses(index(name));
        assert_eq!(local, ips(&["192.0.2.1", "fe80::1"]), "{name}");
    }
}

#[test]
fn loopback_and_foreign_link_local_addresses_are_left_out() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = with_pair();
    for line in [
        "address add 198.51.100.1/32 dev lo",
        "address add 2001:db8::1/128 dev lo",
        "address add 192.0.2.1/24 dev near",
        "address add 192.0.2.2/24 dev near",
        "address add 203.0.113.1 peer 203.0.113.2/32 dev far",
        "address add 2001:db8:1::1 peer 2001:db8:1::2/128 dev far nodad",
        "address add fe80::1/64 dev near nodad",
        "address add fe80::2/64 dev far nodad",
    ] {
        namespace.ip(line).unwrap();
    }
    let view = view_of(&namespace);
    let local = |name| view.local_addresses(view.link(name).unwrap().index);
    let everywhere = [
        "198.51.100.1",
        "2001:db8::1",
        "192.0.2.1",
        "192.0.2.2",
        "203.0.113.1",
        "2001:db8:1::1",
    ];
    let with = |more: &[&str]| ips(&[&everywhere, more].concat());
    assert_eq!(local("near"), with(&["fe80::1"]));
    assert_eq!(local("far"), with(&["fe80::2"]));
    assert_eq!(local("lo"), with(&[]));
    assert_eq!(view.local_addresses(4711), ips(&[]));
}

#[test]
fn an_address_counts_once_duplicate_address_detection_is_through() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = with_pair();
    // Without a carrier, detection does not even begin.
    namespace.ip("link set near up").unwrap();
    namespace.ip("address add 2001:db8::1/64 dev near").unwrap();
    namespace
        .ip("address add 2001:db8::2/64 dev near nodad")
        .unwrap();
    let local = || {
        let view = view_of(&namespace);
        let mut local = view.local_addresses(view.link("near").unwrap().index);
        // The kernel's own.
        local.retain(|ip| !ip.to_string().starts_with("fe80"));
        local
    };
    let tentative = || namespace.ip("address show dev near tentative").unwrap();
    assert!(tentative().contains("2001:db8::1"));
    assert_eq!(local(), ips(&["2001:db8::2"]));
    namespace.ip("link set far up").unwrap();
    wait_until("detection is through", DEFAULT_TIMEOUT, || {
        local() == ips(&["2001:db8::1", "2001:db8::2"])
    });
    assert!(!tentative().contains("2001:db8::1"));
}

#[test]
fn an_address_of_another_host_is_none_of_ours() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let end = &veth.reflector;
    // The testbed makes interfaces without it.
    for (whose, setting) in [
        ("all", "accept_dad"),
        (end.interface, "accept_dad"),
        (end.interface, "dad_transmits"),
    ] {
        let setting = format!("net/ipv6/conf/{whose}/{setting}");
        end.namespace.sysctl(&setting, "1").unwrap();
    }
    let taken = veth.sender.ipv6;
    let line = format!("address add {taken}/64 dev {}", end.interface);
    end.namespace.ip(&line).unwrap();
    let view = wait_for("detection has failed", DEFAULT_TIMEOUT, || {
        let shown = end.namespace.ip("address show dadfailed").unwrap();
        let found = shown.contains(&taken.to_string());
        found.then(|| view_of(&end.namespace))
    })
    .unwrap();
    let address = view.addresses.iter().find(|found| found.ip == taken);
    assert!(!address.unwrap().usable);
    let local = view.local_addresses(end.ifindex);
    assert!(!local.contains(&taken.into()));
    assert!(local.contains(&end.ipv6.into()));
}

#[test]
fn a_table_of_many_datagrams_is_read_to_its_end() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = Namespace::new().unwrap();
    let lines = "for i in $(seq 0 999); do \
                 echo address add 10.1.$((i / 256)).$((i % 256))/32 dev lo; done | ip -batch -";
    namespace.command("sh", &["-c", lines]).unwrap();
    let local = view_of(&namespace).local_addresses(1);
    assert_eq!(local.len(), 1000);
    assert!(local.contains(&"10.1.3.231".parse().unwrap()));
}

#[test]
fn changes_of_links_and_addresses_ring() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = Namespace::new().unwrap();
    let watch = namespace.run(|| ChangeWatch::open().unwrap());
    for change in [
        "address add 192.0.2.1/32 dev lo",
        "address del 192.0.2.1/32 dev lo",
        "address add 2001:db8::1/128 dev lo",
        "address del 2001:db8::1/128 dev lo",
        "link add bridge type bridge",
        "link set bridge mtu 1400",
        "link del bridge",
    ] {
        while watch.drain().unwrap() {}
        namespace.ip(change).unwrap();
        let heard = watch.wait(DEFAULT_TIMEOUT).unwrap();
        assert!(heard, "{change}");
    }
}

#[test]
fn changes_of_the_neighbour_table_ring_for_whoever_asked() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let end = &veth.reflector;
    let watch = end.namespace.run(|| ChangeWatch::neighbours().unwrap());
    while watch.drain().unwrap() {}
    let line = format!(
        "neighbour add 10.86.2.77 lladdr 02:00:00:00:00:77 dev {}",
        end.interface
    );
    end.namespace.ip(&line).unwrap();
    assert!(watch.wait(DEFAULT_TIMEOUT).unwrap());
}
