//! The plan against hosts made by hand.

use host::LinkKind;
use wire::time::TimestampFormat;

use super::*;
use crate::listener::{Limits, RefusedPolicy};
use crate::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, Rule, SequencePolicy, ShortPolicy,
};

const ETH0: u32 = 2;
const ETH1: u32 = 3;
const VLAN10: u32 = 10;
const QINQ: u32 = 11;
const RED: u32 = 20;
const ETH2: u32 = 21;
const VLAN20: u32 = 22;
const BOND: u32 = 30;

fn link(index: u32, name: &str, kind: LinkKind) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind,
        ..Link::default()
    }
}

/// eth0 with VLAN 10 and VLAN 100 inside of it; a VRF of eth2 and its VLAN 20; eth1 in a bond.
fn host() -> HostView {
    let vlan = |parent, id| LinkKind::Vlan {
        parent,
        id,
        service: false,
    };
    let within = |controller, link| Link {
        controller: Some(controller),
        ..link
    };
    HostView {
        links: vec![
            link(ETH0, "eth0", LinkKind::Other),
            within(BOND, link(ETH1, "eth1", LinkKind::Other)),
            link(VLAN10, "eth0.10", vlan(ETH0, 10)),
            link(QINQ, "eth0.10.100", vlan(VLAN10, 100)),
            link(RED, "red", LinkKind::Vrf { table: 5 }),
            within(RED, link(ETH2, "eth2", LinkKind::Other)),
            within(RED, link(VLAN20, "eth2.20", vlan(ETH2, 20))),
            link(BOND, "bond0", LinkKind::Other),
        ],
        addresses: Vec::new(),
    }
}

/// On every interface and address, at port 862.
fn listener(number: ListenerId) -> Listener {
    Listener {
        rule: Rule {
            listener: number,
            format: Format::ByLength,
            timestamps: TimestampFormat::Ntp,
            sequence: SequencePolicy::Stateless,
            dscp: DscpPolicy::Copy,
            ecn: EcnPolicy::Clear,
            flow_label: FlowLabelPolicy::Copy,
            short: ShortPolicy::Answer,
            refuse_replies: true,
        },
        interfaces: Vec::new(),
        vlan: Vlan::Untagged,
        vrf: None,
        addresses: Vec::new(),
        port: 862,
        peers: Vec::new(),
        clients: None,
        refused: RefusedPolicy::Drop,
        limits: Limits::default(),
        guard_ports: true,
    }
}

fn on(number: ListenerId, interface: &str, vlan: Vlan, addresses: &[&str]) -> Listener {
    Listener {
        interfaces: vec![interface.to_owned()],
        vlan,
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        ..listener(number)
    }
}

/// `device address:port listeners`, one line for each binding.
fn sockets(plan: &Plan) -> Vec<String> {
    let lines = plan.bindings.iter().map(|binding| {
        let device = binding.device.as_ref().map_or("*", |device| &device.name);
        let listeners: Vec<_> = binding.listeners.iter().map(ToString::to_string).collect();
        let at = std::net::SocketAddr::new(binding.address, binding.port);
        format!("{device} {at} {}", listeners.join("+"))
    });
    lines.collect()
}

fn gaps(plan: &Plan) -> Vec<String> {
    let lines = plan.gaps.iter();
    lines
        .map(|gap| format!("{} {}", gap.listener, gap.missing))
        .collect()
}

#[test]
fn a_listener_on_everything_needs_a_socket_of_each_family() {
    let plan = Plan::new(&[listener(0)], &host());
    assert_eq!(sockets(&plan), ["* 0.0.0.0:862 0", "* [::]:862 0"]);
    assert_eq!(plan.gaps, []);
}

#[test]
fn vlan_devices_keep_equal_addresses_apart() {
    let listeners = [
        on(0, "eth0", Vlan::Untagged, &["192.0.2.1"]),
        on(1, "eth0", Vlan::Tag(10), &["192.0.2.1"]),
        on(2, "eth0", Vlan::QinQ(10, 100), &["192.0.2.1"]),
    ];
    let plan = Plan::new(&listeners, &host());
    assert_eq!(
        sockets(&plan),
        [
            "eth0 192.0.2.1:862 0",
            "eth0.10 192.0.2.1:862 1",
            "eth0.10.100 192.0.2.1:862 2",
        ]
    );
    assert_eq!(plan.gaps, []);
}

#[test]
fn what_the_kernel_has_no_device_for_has_no_socket() {
    let listeners = [
        on(0, "eth0", Vlan::Untagged, &["192.0.2.1"]),
        on(1, "eth1", Vlan::Tag(10), &["192.0.2.1"]),
        on(2, "eth7", Vlan::Untagged, &["192.0.2.1"]),
        Listener {
            vlan: Vlan::Tag(11),
            ..listener(3)
        },
        Listener {
            vrf: Some("eth1".to_owned()),
            ..listener(4)
        },
    ];
    let plan = Plan::new(&listeners, &host());
    assert_eq!(sockets(&plan), ["eth0 192.0.2.1:862 0"]);
    assert_eq!(
        gaps(&plan),
        [
            "1 on eth1 for VLAN 10: there is no VLAN device for it",
            "2 on eth7: there is no such interface",
            "3 for VLAN 11: there is no VLAN device for it",
            "4 in eth1: there is no such VRF device",
        ]
    );
    let unserved: Vec<_> = plan.unserved(&listeners).map(|l| l.rule.listener).collect();
    assert_eq!(unserved, [1, 2, 3, 4]);
}

#[test]
fn listeners_of_a_vrf_share_its_socket() {
    let red = |number, vlan| Listener {
        vrf: Some("red".to_owned()),
        ..on(number, "eth2", vlan, &["192.0.2.1"])
    };
    let strayed = Listener {
        interfaces: vec!["eth0".to_owned()],
        ..red(3, Vlan::Untagged)
    };
    let listeners = [
        red(0, Vlan::Untagged),
        red(1, Vlan::Tag(20)),
        red(2, Vlan::Tag(21)),
        strayed,
    ];
    let plan = Plan::new(&listeners, &host());
    assert_eq!(sockets(&plan), ["red 192.0.2.1:862 0+1"]);
    assert_eq!(
        gaps(&plan),
        [
            "2 on eth2 for VLAN 21: there is no VLAN device for it",
            "3 in red for eth0: it is no part of that VRF",
        ]
    );
}

#[test]
fn a_socket_on_everything_gives_way_to_one_on_a_device() {
    let listeners = [listener(0), on(1, "eth0", Vlan::Tag(10), &["192.0.2.1"])];
    let plan = Plan::new(&listeners, &host());
    assert_eq!(
        sockets(&plan),
        [
            "eth0 0.0.0.0:862 0",
            "eth0.10 0.0.0.0:862 0+1",
            "eth0.10.100 0.0.0.0:862 0",
            "bond0 0.0.0.0:862 0",
            "* [::]:862 0",
        ]
    );
}

#[test]
fn different_addresses_or_ports_need_not_give_way() {
    let anywhere = Listener {
        addresses: vec!["192.0.2.9".parse().unwrap()],
        ..listener(0)
    };
    let other_port = Listener {
        port: 863,
        ..on(2, "eth1", Vlan::Untagged, &["192.0.2.9"])
    };
    let listeners = [
        anywhere,
        on(1, "eth0", Vlan::Untagged, &["192.0.2.1"]),
        other_port,
    ];
    let plan = Plan::new(&listeners, &host());
    assert_eq!(
        sockets(&plan),
        [
            "* 192.0.2.9:862 0",
            "eth0 192.0.2.1:862 1",
            "bond0 192.0.2.9:863 2",
        ]
    );
}

#[test]
fn a_link_local_address_is_one_on_each_link() {
    let anywhere = Listener {
        addresses: vec!["fe80::1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ..listener(0)
    };
    let plan = Plan::new(&[anywhere], &host());
    assert_eq!(
        sockets(&plan),
        [
            "* [2001:db8::1]:862 0",
            "eth0 [fe80::1]:862 0",
            "eth0.10 [fe80::1]:862 0",
            "eth0.10.100 [fe80::1]:862 0",
            "bond0 [fe80::1]:862 0",
        ]
    );
}

#[test]
fn no_two_sockets_claim_the_same_packet() {
    let shapes: Vec<Listener> = [
        listener(0),
        on(0, "eth0", Vlan::Untagged, &[]),
        on(0, "eth0", Vlan::Tag(10), &["192.0.2.1"]),
        on(0, "eth1", Vlan::Untagged, &["192.0.2.1", "fe80::1"]),
        Listener {
            addresses: vec!["192.0.2.1".parse().unwrap(), "fe80::1".parse().unwrap()],
            ..listener(0)
        },
        Listener {
            addresses: vec!["192.0.2.2".parse().unwrap()],
            ..listener(0)
        },
    ]
    .to_vec();
    for chosen in 0_u32..1 << shapes.len() {
        let picked = shapes
            .iter()
            .enumerate()
            .filter(|(place, _)| chosen >> place & 1 == 1);
        let listeners: Vec<_> = picked
            .zip(0..)
            .map(|((_, shape), number)| {
                let mut listener = shape.clone();
                listener.rule.listener = number;
                listener
            })
            .collect();
        let plan = Plan::new(&listeners, &host());
        for (place, one) in plan.bindings.iter().enumerate() {
            for other in &plan.bindings[place + 1..] {
                let devices =
                    one.device.is_none() || other.device.is_none() || one.device == other.device;
                let addresses = one.address == other.address
                    || one.address.is_unspecified()
                    || other.address.is_unspecified();
                let families = one.address.is_ipv4() == other.address.is_ipv4();
                assert!(
                    !(devices && addresses && families),
                    "{one:?} and {other:?} of {listeners:?}"
                );
            }
        }
        assert_eq!(plan.unserved(&listeners).count(), 0);
    }
}
