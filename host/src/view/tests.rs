//! What follows from recorded and from made-up links and addresses.

use super::*;

const RECORDED: &str = include_str!("../recorded/vlans_and_vrfs.txt");
const OTHER_NAMESPACE: &str = include_str!("../recorded/other_namespace.txt");

/// Reads a recording; its head says how it was made.
fn recorded(text: &str) -> HostView {
    let mut view = HostView::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (kind, digits) = line.split_once(' ').unwrap();
        let octets: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        match kind {
            "link" => view.links.push(link::read(&octets).unwrap()),
            "address" => view.addresses.push(address::read(&octets).unwrap()),
            other => panic!("{other}"),
        }
    }
    view
}

fn name(link: Option<&Link>) -> Option<&str> {
    link.map(|link| link.name.as_str())
}

fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Names of the VLAN device and the VRF for frames with these tags on an interface.
fn reached<'a>(
    view: &'a HostView,
    interface: &str,
    outer: u16,
    inner: u16,
) -> (Option<&'a str>, Option<&'a str>) {
    let interface = view.link(interface).unwrap().index;
    let device = view.l3_device(interface, outer, inner);
    let vrf = device.and_then(|device| view.vrf_of(device.index));
    (name(device), name(vrf))
}

#[test]
fn vlan_and_vrf_devices_are_read_as_such() {
    let view = recorded(RECORDED);
    let kind = |name| view.link(name).unwrap().kind;
    let parent = |name| view.link(name).unwrap().index;
    let customer = |of, id| LinkKind::Vlan {
        parent: parent(of),
        id,
        service: false,
    };
    assert_eq!(kind("eth0.10"), customer("eth0", 10));
    assert_eq!(kind("eth0.100.20"), customer("eth0.100", 20));
    assert_eq!(kind("bond0.40"), customer("bond0", 40));
    let service = LinkKind::Vlan {
        parent: parent("eth0"),
        id: 100,
        service: true,
    };
    assert_eq!(kind("eth0.100"), service);
    assert_eq!(kind("red"), LinkKind::Vrf { table: 1001 });
    assert_eq!(kind("blue"), LinkKind::Vrf { table: 1002 });
    for other in ["lo", "eth0", "eth1", "eth2", "bond0", "br0"] {
        assert_eq!(kind(other), LinkKind::Other, "{other}");
    }
    let named = view.link("uplink-to-the-provider-edge");
    assert_eq!(name(named), Some("eth0"));
    assert_eq!(named.unwrap().mac, Some([0x52, 0x54, 0, 0, 0x10, 1]));
}

#[test]
fn frames_reach_the_device_and_the_vrf_that_their_tags_belong_to() {
    let view = recorded(RECORDED);
    for ((interface, outer, inner), expected) in [
        (("eth0", 0, 0), (Some("eth0"), None)),
        (("eth0", 10, 0), (Some("eth0.10"), Some("red"))),
        // A priority tag before the VLAN's.
        (("eth0", 0, 10), (Some("eth0.10"), Some("red"))),
        (("eth0", 100, 0), (Some("eth0.100"), None)),
        (("eth0", 100, 20), (Some("eth0.100.20"), Some("blue"))),
        (("eth0", 10, 20), (None, None)),
        (("eth0", 20, 0), (None, None)),
        // It was moved to another namespace.
        (("eth0", 30, 0), (None, None)),
        // A port of a bond.
        (("eth1", 0, 0), (Some("bond0"), None)),
        (("eth1", 40, 0), (Some("bond0.40"), None)),
        (("bond0", 40, 0), (Some("bond0.40"), None)),
        (("eth0", 40, 0), (None, None)),
        // A VRF belongs to itself.
        (("red", 0, 0), (Some("red"), Some("red"))),
    ] {
        let found = reached(&view, interface, outer, inner);
        assert_eq!(found, expected, "{interface} {outer} {inner}");
    }
    assert_eq!(view.l3_device(4711, 0, 0), None);
    assert_eq!(view.l3_device(4711, 10, 0), None);
}

#[test]
fn a_vlan_device_whose_parent_is_elsewhere_has_none_here() {
    let view = recorded(OTHER_NAMESPACE);
    let away = view.link("away").unwrap();
    let expected = LinkKind::Vlan {
        parent: 0,
        id: 30,
        service: false,
    };
    assert_eq!(away.kind, expected);
}

#[test]
fn each_vrf_has_its_own_addresses() {
    let view = recorded(RECORDED);
    let local = |interface: &str, outer, inner| {
        let interface = view.link(interface).unwrap().index;
        view.local_addresses(view.l3_device(interface, outer, inner).unwrap().index)
    };
    let link_local = "fe80::5054:ff:fe00:1001";
    let red = ips(&["10.0.0.1", "10.9.9.1", link_local]);
    assert_eq!(local("eth0", 10, 0), red);
    let blue = ips(&["10.0.0.1", "10.9.9.2", link_local]);
    assert_eq!(local("eth0", 100, 20), blue);
    // Of a point-to-point link, the near end.
    let global = ["198.51.100.1", "192.0.2.1", "10.40.0.1"];
    let with = |own: &str| ips(&[&global[..], &[own]].concat());
    assert_eq!(local("eth0", 0, 0), with(link_local));
    assert_eq!(local("eth1", 40, 0), with("fe80::5054:ff:fe00:1101"));
    // The same address of the bond was tentative at that moment.
    assert_eq!(local("eth1", 0, 0), ips(&global));
    assert_eq!(local("red", 0, 0), ips(&["10.0.0.1", "10.9.9.1"]));
}

fn plain(index: u32, controller: Option<u32>) -> Link {
    Link {
        index,
        controller,
        ..Link::default()
    }
}

fn vlan(index: u32, parent: u32, id: u16, service: bool) -> Link {
    Link {
        index,
        kind: LinkKind::Vlan {
            parent,
            id,
            service,
        },
        ..Link::default()
    }
}

fn view(links: &[Link]) -> HostView {
    HostView {
        links: links.to_vec(),
        addresses: Vec::new(),
    }
}

#[test]
fn tags_of_either_ether_type_have_their_device() {
    let view = view(&[
        plain(1, None),
        // The same VLAN IDs by either EtherType.
        vlan(2, 1, 7, true),
        vlan(3, 1, 7, false),
        vlan(4, 2, 8, false),
        vlan(5, 3, 8, false),
        // Customer VLAN in customer VLAN, and a service VLAN by itself.
        vlan(6, 3, 9, false),
        vlan(7, 1, 10, true),
    ]);
    let index = |outer, inner| view.vlan_device(1, outer, inner).map(|link| link.index);
    assert_eq!(index(7, 0), Some(3), "one tag: the customer VLAN's");
    assert_eq!(index(7, 8), Some(4), "two tags: the service VLAN's first");
    assert_eq!(index(7, 9), Some(6), "the only one there is");
    assert_eq!(index(10, 0), Some(7), "the only one there is");
    assert_eq!(index(0, 0), None);
}

#[test]
fn a_vlan_device_on_the_port_comes_before_one_on_its_bridge() {
    let bridge = 3;
    let mut links = vec![
        plain(1, Some(bridge)),
        vlan(2, 1, 7, false),
        plain(bridge, None),
        vlan(4, bridge, 7, false),
        vlan(5, bridge, 8, false),
    ];
    // The VLAN device is itself the port of another bridge, which is in a VRF.
    links[1].controller = Some(6);
    links.push(plain(6, Some(9)));
    links.push(Link {
        index: 9,
        kind: LinkKind::Vrf { table: 1 },
        ..Link::default()
    });
    let view = view(&links);
    let device = |outer| view.l3_device(1, outer, 0).map(|link| link.index);
    assert_eq!(
        (device(7), device(8), device(0)),
        (Some(6), Some(5), Some(3))
    );
    let vrf = |ifindex| view.vrf_of(ifindex).map(|link| link.index);
    assert_eq!((vrf(2), vrf(6)), (Some(9), Some(9)));
    assert_eq!((vrf(1), vrf(4), vrf(4711)), (None, None, None));
}

#[test]
fn links_that_control_each_other_end_no_search_in_a_loop() {
    let view = view(&[plain(1, Some(2)), plain(2, Some(1))]);
    assert!(view.l3_device(1, 0, 0).is_some());
    assert_eq!(view.vlan_device(1, 7, 8), None);
    assert_eq!(view.vrf_of(1), None);
}

#[test]
fn a_name_that_is_remembered_goes_before_one_that_is_borne() {
    let mut view = view(&[plain(1, None), plain(2, None), plain(3, None)]);
    for (link, name) in view.links.iter_mut().zip(["b", "a", "c"]) {
        name.clone_into(&mut link.name);
    }
    // The first two swapped names since they were spoken of.
    view.also_call(1, "a");
    view.also_call(2, "b");
    view.also_call(3, "c");
    view.also_call(9, "c");
    let found = ["a", "b", "c"].map(|name| view.link(name).unwrap().index);
    assert_eq!(found, [1, 2, 3]);
    let names: Vec<_> = view.links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["b", "a", "c"], "their own names stay");
}

#[test]
fn an_address_of_an_unknown_link_counts_for_nothing() {
    let mut view = view(&[plain(1, None)]);
    for (ifindex, last) in [(1, 1), (2, 2)] {
        view.addresses.push(Address {
            ifindex,
            ip: IpAddr::from([192, 0, 2, last]),
            prefix_len: 24,
            usable: true,
        });
    }
    assert_eq!(view.local_addresses(1), ips(&["192.0.2.1"]));
}
