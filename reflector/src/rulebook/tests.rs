//! The rulebook against hosts and listeners made by hand, and against a model that looks at every
//! listener for every packet.

mod devices;
mod model;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Parser as _;
use host::{Address, Link, LinkKind};

use super::*;
use crate::args::Args;
use crate::listener::validate;

/// eth1 and eth2, and below eth1 the VLANs 100 in VRF red and 200.300 in none.
fn host() -> HostView {
    let link = |index, name: &str, kind, controller| Link {
        index,
        name: name.to_owned(),
        kind,
        controller,
        ..Link::default()
    };
    let vlan = |parent, id, service| LinkKind::Vlan {
        parent,
        id,
        service,
    };
    let address = |ifindex, ip: &str| Address {
        ifindex,
        ip: ip.parse().unwrap(),
        prefix_len: 24,
        usable: true,
    };
    HostView {
        links: vec![
            link(1, "lo", LinkKind::Other, None),
            link(2, "eth1", LinkKind::Other, None),
            link(3, "eth2", LinkKind::Other, None),
            link(4, "red", LinkKind::Vrf { table: 10 }, None),
            link(5, "eth1.100", vlan(2, 100, false), Some(4)),
            link(6, "eth1.200", vlan(2, 200, true), None),
            link(7, "eth1.200.300", vlan(6, 300, false), None),
            link(8, "blue", LinkKind::Vrf { table: 11 }, None),
        ],
        addresses: vec![
            address(1, "127.0.0.1"),
            address(1, "192.0.2.100"),
            address(2, "192.0.2.1"),
            address(2, "fe80::1"),
            address(3, "198.51.100.1"),
            address(3, "fe80::2"),
            address(4, "192.0.2.100"),
            address(5, "10.0.0.1"),
            address(5, "fe80::5"),
            address(7, "203.0.113.1"),
            address(8, "10.0.0.1"),
        ],
    }
}

fn book_at(host: &HostView, line: &str) -> Rulebook {
    let words = line.split_whitespace();
    let args = Args::try_parse_from(["reflector"].into_iter().chain(words)).unwrap();
    let listeners = validate(&args).unwrap_or_else(|error| panic!("{line}: {error}"));
    Rulebook::build(7, &listeners, host)
}

fn book(line: &str) -> Rulebook {
    book_at(&host(), line)
}

const fn scope(ifindex: u32, outer_vid: u16, inner_vid: u16) -> Scope {
    Scope {
        ifindex,
        outer_vid,
        inner_vid,
    }
}

const ETH1: Scope = scope(2, 0, 0);
const ETH2: Scope = scope(3, 0, 0);
const VLAN_100: Scope = scope(2, 100, 0);

fn flow(scope: Scope, source: &str, destination: &str) -> Flow {
    Flow {
        scope,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// The listener that answers, if one does.
fn answers(book: &Rulebook, scope: Scope, source: &str, destination: &str) -> Option<ListenerId> {
    let flow = flow(scope, source, destination);
    match book.admit(&flow) {
        Admission::Answer(rule) => {
            assert_eq!(book.find(&flow), Some(rule));
            Some(rule.listener)
        }
        _ => None,
    }
}

fn refused(book: &Rulebook, scope: Scope, source: &str, destination: &str) -> Option<Refusal> {
    match book.admit(&flow(scope, source, destination)) {
        Admission::Refused { reason, .. } => Some(reason),
        _ => None,
    }
}

const CLIENT: &str = "192.0.2.77:5000";
/// Another one.
const CLIENT_B: &str = "192.0.2.77:5001";

#[test]
fn any_address_is_every_address_of_this_host_and_no_other() {
    let book = book("-i eth1");
    assert_eq!(book.generation(), 7);
    let addresses: BTreeSet<_> = book.places().map(|(place, _)| place.address).collect();
    let expected = [
        "192.0.2.1",
        "192.0.2.100",
        "198.51.100.1",
        "203.0.113.1",
        "fe80::1",
    ];
    assert_eq!(
        addresses,
        expected.iter().map(|text| text.parse().unwrap()).collect()
    );
    assert_eq!(answers(&book, ETH1, CLIENT, "198.51.100.1:862"), Some(0));
    for (scope, destination) in [
        (ETH1, "198.51.100.2:862"),
        (ETH1, "198.51.100.1:863"),
        (ETH2, "198.51.100.1:862"),
        (VLAN_100, "198.51.100.1:862"),
        (ETH1, "10.0.0.1:862"),
        (ETH1, "127.0.0.1:862"),
    ] {
        let admission = book.admit(&flow(scope, CLIENT, destination));
        assert_eq!(admission, Admission::NotOurs, "{scope:?} {destination}");
    }
}

#[test]
fn an_address_that_is_asked_for_is_answered_on_while_it_is_ours() {
    let mut host = host();
    let line = "-i eth1 -a 192.0.2.1 -a 192.0.2.2";
    let book = book_at(&host, line);
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.1:862"), Some(0));
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.100:862"), None);
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.2:862"), None);
    host.addresses[2].ip = "192.0.2.2".parse().unwrap();
    let book = book_at(&host, line);
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.1:862"), None);
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.2:862"), Some(0));
}

#[test]
fn the_same_address_in_two_vrfs_is_two_places() {
    let book = book(
        "-i eth1 --address 192.0.2.100 --listener port=900 --listener vlan=100,port=901 \
         --listener vlan=101,vrf=blue,port=902,address=10.0.0.1",
    );
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.100:900"), Some(0));
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.100:901"), None);
    assert_eq!(answers(&book, VLAN_100, CLIENT, "192.0.2.100:901"), Some(1));
    assert_eq!(answers(&book, VLAN_100, CLIENT, "192.0.2.100:900"), None);
    // Where there is no VLAN device, the VRF is told.
    let vlan_101 = scope(2, 101, 0);
    assert_eq!(answers(&book, vlan_101, CLIENT, "10.0.0.1:902"), Some(2));
    assert!(book.scopes_of_device(2).contains(&ETH1));
    assert!(!book.scopes_of_device(2).contains(&vlan_101));
}

#[test]
fn a_vlan_without_a_device_has_the_addresses_of_its_interface() {
    let book = book("-i eth1 --vlan 7");
    assert_eq!(
        answers(&book, scope(2, 7, 0), CLIENT, "192.0.2.1:862"),
        Some(0)
    );
    assert_eq!(
        answers(&book, scope(2, 7, 0), "[fe80::9]:5000", "[fe80::1]:862"),
        Some(0)
    );
    assert_eq!(answers(&book, scope(2, 7, 0), CLIENT, "10.0.0.1:862"), None);
    assert!(
        book.scopes_of_device(2).is_empty(),
        "no socket gets its packets"
    );
}

#[test]
fn two_tags_are_a_place_of_their_own() {
    let book = book("-i eth1 --vlan 200.300");
    let both = scope(2, 200, 300);
    assert_eq!(answers(&book, both, CLIENT, "203.0.113.1:862"), Some(0));
    assert_eq!(
        answers(&book, scope(2, 200, 0), CLIENT, "203.0.113.1:862"),
        None
    );
    assert_eq!(book.scopes_of_device(7), [both]);
}

#[test]
fn link_local_addresses_belong_to_one_link() {
    let book = book("-i eth1 -i eth2");
    let peer = "[fe80::9]:5000";
    assert_eq!(answers(&book, ETH1, peer, "[fe80::1]:862"), Some(0));
    assert_eq!(answers(&book, ETH1, peer, "[fe80::2]:862"), None);
    assert_eq!(answers(&book, ETH2, peer, "[fe80::2]:862"), Some(0));
    // Not even in a VRF that is told by name.
    let book = self::book("-i eth2 --vlan 9 --vrf red");
    let addresses: BTreeSet<_> = book
        .places()
        .map(|(place, _)| place.address.to_string())
        .collect();
    assert_eq!(
        addresses,
        ["10.0.0.1", "192.0.2.100", "fe80::2"]
            .map(str::to_owned)
            .into()
    );
}

#[test]
fn what_is_not_there_is_left_out_until_it_comes() {
    for line in ["-i eth9", "-i eth1 --vrf green", "-i eth1 --vrf eth2"] {
        let book = book(line);
        assert_eq!(book.places().len(), 0, "{line}");
        assert_eq!(book.rule(0).map(|rule| rule.listener), Some(0), "{line}");
        assert_eq!(book.rule(1), None);
    }
}

#[test]
fn every_interface_is_served_where_none_is_named() {
    let book = book("--datapath socket --address 192.0.2.1");
    for ifindex in [1, 2, 3, 6, 7] {
        assert_eq!(
            answers(&book, scope(ifindex, 0, 0), CLIENT, "192.0.2.1:862"),
            Some(0)
        );
    }
    assert_eq!(
        answers(&book, scope(5, 0, 0), CLIENT, "192.0.2.1:862"),
        None,
        "in VRF red"
    );
    assert_eq!(
        answers(&book, scope(0, 0, 0), CLIENT, "192.0.2.1:862"),
        None
    );
}

#[test]
fn sessions_come_first_then_who_names_an_address_then_any() {
    let book = book(
        "-i eth1 --listener port=862 --listener address=192.0.2.1 \
         --listener peer=192.0.2.77:5000 --listener port=900,peer=192.0.2.77:5000",
    );
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.1:862"), Some(2));
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.100:862"), Some(2));
    assert_eq!(
        answers(&book, ETH1, "192.0.2.77:5001", "192.0.2.1:862"),
        Some(1)
    );
    assert_eq!(
        answers(&book, ETH1, "192.0.2.78:5000", "192.0.2.100:862"),
        Some(0)
    );
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.1:900"), Some(3));
    assert_eq!(
        refused(&book, ETH1, "192.0.2.77:5001", "192.0.2.1:900"),
        Some(Refusal::Client),
        "nobody else's port"
    );
}

#[test]
fn who_is_no_peer_is_refused_by_a_listener_for_its_peers_alone() {
    let book = book(
        "-i eth1 --listener port=900,peer=192.0.2.77:5000 \
         --listener address=192.0.2.1,port=900,peer=192.0.2.78:5000 \
         --listener port=900,peer=192.0.2.79:5000 --listener address=192.0.2.100,port=900",
    );
    let refused_by = |source: &str, destination: &str| {
        let flow = flow(ETH1, source, destination);
        match book.admit(&flow) {
            Admission::Refused { listener, reason } => {
                assert_eq!(reason, Refusal::Client);
                assert_eq!(book.find(&flow), None);
                Some(listener)
            }
            _ => None,
        }
    };
    // By the first of those that share the place; one that names the address comes first.
    assert_eq!(refused_by(CLIENT_B, "192.0.2.1:900"), Some(1));
    assert_eq!(refused_by(CLIENT_B, "198.51.100.1:900"), Some(0));
    // Of the other family nobody is a peer.
    let v6 = refused_by("[fe80::9]:5000", "[fe80::1]:900");
    assert_eq!(v6, Some(0));
    // Where a listener is for all, it answers.
    assert_eq!(answers(&book, ETH1, CLIENT_B, "192.0.2.100:900"), Some(3));
    assert_eq!(answers(&book, ETH1, CLIENT, "192.0.2.100:900"), Some(0));
    // The loop guard comes first, as for everybody.
    let own = refused(&book, ETH1, "198.51.100.1:5", "192.0.2.1:900");
    assert_eq!(own, Some(Refusal::OwnSource));
    let port = refused(&book, ETH1, "192.0.2.78:900", "192.0.2.1:900");
    assert_eq!(port, Some(Refusal::ListenerPort));
}

#[test]
fn sources_that_are_nobody_or_ourselves_are_refused() {
    let book = book("-i eth1");
    let to = "192.0.2.1:862";
    for source in [
        "0.0.0.0:5",
        "127.0.0.1:5",
        "224.0.0.1:5",
        "255.255.255.255:5",
        "240.0.0.1:5",
        "192.0.2.77:0",
    ] {
        assert_eq!(
            refused(&book, ETH1, source, to),
            Some(Refusal::Source),
            "{source}"
        );
    }
    for source in ["192.0.2.1:5", "192.0.2.100:5", "198.51.100.1:5"] {
        assert_eq!(
            refused(&book, ETH1, source, to),
            Some(Refusal::OwnSource),
            "{source}"
        );
    }
    // Another VRF's address is another host's.
    assert_eq!(answers(&book, ETH1, "10.0.0.1:5", to), Some(0));
    assert_eq!(answers(&book, ETH1, "10.0.0.255:5", to), Some(0));
    // Own addresses are refused even by a listener that does not answer on them.
    let book = self::book("-i eth1 --address 192.0.2.1");
    assert_eq!(
        refused(&book, ETH1, "192.0.2.100:5", to),
        Some(Refusal::OwnSource)
    );
}

#[test]
fn broadcast_addresses_of_subnets_are_no_source() {
    let mut host = host();
    host.addresses[3] = Address {
        ip: "172.16.5.6".parse().unwrap(),
        prefix_len: 30,
        ..host.addresses[2]
    };
    host.addresses[5] = Address {
        ip: "172.16.9.6".parse().unwrap(),
        prefix_len: 31,
        ..host.addresses[2]
    };
    let unusable = Address {
        ip: "172.16.8.1".parse().unwrap(),
        usable: false,
        ..host.addresses[2]
    };
    host.addresses.push(unusable);
    let book = book_at(&host, "-i eth1 --vlan none --address 192.0.2.1");
    let to = "192.0.2.1:862";
    for source in ["192.0.2.255:5", "198.51.100.255:5", "172.16.5.7:5"] {
        let reason = refused(&book, ETH1, source, to);
        assert_eq!(reason, Some(Refusal::OwnSource), "{source}");
    }
    for source in [
        "192.0.2.127:5",
        "172.16.5.4:5",
        "172.16.9.7:5",
        "172.16.8.255:5",
    ] {
        assert_eq!(answers(&book, ETH1, source, to), Some(0), "{source}");
    }
    assert!(
        book.own_addresses()
            .all(|own| own != (0, "10.0.0.255".parse().unwrap())),
        "VRF red's"
    );
    let to_broadcast = flow(ETH1, CLIENT, "192.0.2.255:862");
    assert_eq!(
        self::book("-i eth1").admit(&to_broadcast),
        Admission::NotOurs
    );
}

#[test]
fn ports_of_general_listeners_are_no_source() {
    let book = book(
        "-i eth1 --listener port=862 --listener port=900 --listener port=901,loop-guard-ports=off \
         --listener vlan=100,port=902 --listener port=903,peer=192.0.2.9:5000",
    );
    let from = |port: u16, to: u16| {
        let (source, destination) = (format!("192.0.2.77:{port}"), format!("192.0.2.1:{to}"));
        (
            answers(&book, ETH1, &source, &destination),
            refused(&book, ETH1, &source, &destination),
        )
    };
    let guarded = (None, Some(Refusal::ListenerPort));
    assert_eq!(from(862, 862), guarded);
    assert_eq!(from(900, 862), guarded);
    assert_eq!(
        from(901, 900),
        guarded,
        "it does not look, but it is looked for"
    );
    assert_eq!(from(862, 901), (Some(2), None));
    assert_eq!(from(902, 862), (Some(0), None), "another VLAN's");
    assert_eq!(from(903, 862), (Some(0), None), "a session's");
    // A session was provisioned with its port.
    let book = self::book("-i eth1 --listener port=900 --listener peer=192.0.2.77:900");
    assert_eq!(
        answers(&book, ETH1, "192.0.2.77:900", "192.0.2.1:862"),
        Some(1)
    );
}

#[test]
fn a_client_list_comes_last() {
    let book = book("-i eth1 --allow 192.0.2.0/24 --deny 192.0.2.128/25");
    let to = "192.0.2.1:862";
    assert_eq!(answers(&book, ETH1, CLIENT, to), Some(0));
    assert_eq!(
        refused(&book, ETH1, "192.0.2.129:5", to),
        Some(Refusal::Client)
    );
    assert_eq!(
        refused(&book, ETH1, "10.0.0.9:862", to),
        Some(Refusal::ListenerPort)
    );
    // For what XDP has admitted nobody looks again.
    let refused = flow(ETH1, "10.0.0.9:862", to);
    assert_eq!(book.find(&refused).map(|rule| rule.listener), Some(0));
}

#[test]
fn a_thousand_vlans_are_expanded_quickly() {
    let mut host = HostView::default();
    host.links.push(Link {
        index: 1,
        name: "eth1".to_owned(),
        ..Link::default()
    });
    let mut line = String::from("-i eth1");
    for id in 1..=1000_u16 {
        let index = u32::from(id) + 1;
        host.links.push(Link {
            index,
            name: format!("eth1.{id}"),
            kind: LinkKind::Vlan {
                parent: 1,
                id,
                service: false,
            },
            ..Link::default()
        });
        let [high, low] = id.to_be_bytes();
        let ip = IpAddr::from([10, high, low, 1]);
        host.addresses.push(Address {
            ifindex: index,
            ip,
            prefix_len: 24,
            usable: true,
        });
        write!(line, " --listener vlan={id},address={ip}").unwrap();
    }
    let book = book_at(&host, &line);
    assert_eq!(book.places().len(), 1000);
    // Each and its subnet's broadcast address, once for all VLANs.
    assert_eq!(book.own_addresses().len(), 2000);
    let own = flow(scope(1, 7, 0), "10.3.232.1:5", "10.0.7.1:862");
    let reason = Refusal::OwnSource;
    assert_eq!(
        book.admit(&own),
        Admission::Refused {
            listener: 6,
            reason
        }
    );
    assert_eq!(
        answers(&book, scope(1, 1000, 0), CLIENT, "10.3.232.1:862"),
        Some(999)
    );
}
