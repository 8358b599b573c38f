//! Random listeners, hosts and packets: the rulebook agrees with a look at every listener, and what
//! it gives to XDP says the same.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use wire::time::TimestampFormat;

use super::super::*;
use crate::clients::Clients;
use crate::listener::{Limits, RefusedPolicy, Vlan};
use crate::rule::{Format, SequencePolicy, ShortPolicy};

const ADDRESSES: [&str; 10] = [
    "192.0.2.1",
    "192.0.2.100",
    "10.0.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.0.2.77",
    "192.0.2.255",
    "10.0.0.255",
    "fe80::1",
    "fe80::5",
];
const PORTS: [u16; 3] = [862, 900, 5000];
const VLANS: [Vlan; 4] = [
    Vlan::Untagged,
    Vlan::Tag(100),
    Vlan::Tag(7),
    Vlan::QinQ(200, 300),
];

// The first of each comes most often, so that listeners meet.

fn a_port() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(PORTS[0]), 1 => select(&PORTS)]
}

fn a_vlan() -> impl Strategy<Value = Vlan> {
    prop_oneof![2 => Just(VLANS[0]), 1 => select(&VLANS)]
}

fn a_vrf() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![6 => Just(None), 1 => select(&["red", "blue", "green"]).prop_map(Some)]
}

fn an_address() -> impl Strategy<Value = IpAddr> {
    select(&ADDRESSES).prop_map(|text| text.parse().unwrap())
}

fn a_socket_address() -> impl Strategy<Value = SocketAddr> {
    (an_address(), a_port()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn a_client_list() -> impl Strategy<Value = Arc<Clients>> {
    let nets = ["192.0.2.0/24", "192.0.2.64/26", "0.0.0.0/0", "fe80::/10"];
    let nets = nets.map(|text| text.parse::<IpNet>().unwrap());
    (subsequence(nets.to_vec(), 1..=4), any::<[bool; 4]>()).prop_map(|(nets, allowed)| {
        let side = |wanted| -> Vec<IpNet> {
            let pairs = nets.iter().zip(allowed);
            pairs
                .filter(|(_, allowed)| *allowed == wanted)
                .map(|(net, _)| *net)
                .collect()
        };
        Arc::new(Clients::read(&side(true), &side(false), None).unwrap())
    })
}

prop_compose! {
    fn a_listener()(
        interfaces in subsequence(vec!["eth1", "eth2"], 0..=2),
        vlan in a_vlan(),
        vrf in a_vrf(),
        addresses in prop::collection::vec(an_address(), 0..3),
        port in a_port(),
        peers in prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(a_socket_address(), 1..3)],
        clients in proptest::option::of(a_client_list()),
        guard_ports: bool,
    ) -> Listener {
        Listener {
            rule: Rule {
                listener: 0,
                format: Format::default(),
                timestamps: TimestampFormat::default(),
                sequence: SequencePolicy::default(),
                dscp: crate::rule::DscpPolicy::default(),
                ecn: crate::rule::EcnPolicy::default(),
                flow_label: crate::rule::FlowLabelPolicy::default(),
                short: ShortPolicy::default(),
                refuse_replies: true,
            },
            interfaces: interfaces.into_iter().map(str::to_owned).collect(),
            vlan,
            vrf: vrf.map(str::to_owned),
            addresses,
            port,
            peers,
            clients,
            refused: RefusedPolicy::default(),
            limits: Limits::default(),
            guard_ports,
        }
    }
}

fn listeners() -> impl Strategy<Value = Vec<Listener>> {
    prop::collection::vec(a_listener(), 1..8).prop_map(|mut listeners| {
        for (number, listener) in (0..).zip(&mut listeners) {
            listener.rule.listener = number;
        }
        listeners
    })
}

/// The host of the other tests, with some addresses gone.
fn hosts() -> impl Strategy<Value = HostView> {
    let whole = super::host();
    let addresses = whole.addresses.clone();
    let count = addresses.len();
    subsequence(addresses, count / 2..=count).prop_map(move |addresses| HostView {
        addresses,
        ..whole.clone()
    })
}

fn flows() -> impl Strategy<Value = Flow> {
    let scope = (select(&[2_u32, 3]), a_vlan()).prop_map(|(ifindex, vlan)| {
        let (outer_vid, inner_vid) = vlan.ids();
        super::scope(ifindex, outer_vid, inner_vid)
    });
    (scope, a_socket_address(), a_socket_address()).prop_map(|(scope, source, destination)| Flow {
        scope,
        source,
        destination,
    })
}

/// What is local where this listener's packets with this scope come in; `None`: none do.
fn view(listener: &Listener, host: &HostView, scope: Scope) -> Option<BTreeSet<IpAddr>> {
    let link = host.by_index(scope.ifindex).unwrap();
    let serves = listener.interfaces.is_empty() || listener.interfaces.contains(&link.name);
    if !serves || listener.vlan.ids() != (scope.outer_vid, scope.inner_vid) {
        return None;
    }
    let device = host
        .l3_device(link.index, scope.outer_vid, scope.inner_vid)
        .map_or(link.index, |device| device.index);
    let local = host.local_addresses(device);
    let Some(name) = &listener.vrf else {
        return Some(local);
    };
    let vrf = host.link(name)?;
    let of_vrf = host.local_addresses(vrf.index);
    let link_local =
        |address: &IpAddr| matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let here = host
        .addresses
        .iter()
        .filter(|address| address.ifindex == device);
    let here = here.map(|address| address.ip).filter(link_local);
    Some(
        of_vrf
            .into_iter()
            .filter(|address| !link_local(address))
            .chain(here)
            .collect(),
    )
}

/// What is to be in no packet's source where this listener answers.
fn own(listener: &Listener, host: &HostView, scope: Scope) -> BTreeSet<IpAddr> {
    let local = view(listener, host, scope).unwrap_or_default();
    // All subnets of these hosts have prefixes of 24 bits.
    let broadcast = local.clone().into_iter().filter_map(|own| match own {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Some(IpAddr::from([a, b, c, 255]))
        }
        IpAddr::V6(_) => None,
    });
    local.iter().copied().chain(broadcast).collect()
}

/// The listener whose packet it is, by the rules as they are written down.
fn found<'a>(listeners: &'a [Listener], host: &HostView, flow: &Flow) -> Option<&'a Listener> {
    let destination = flow.destination.ip();
    let here: Vec<&Listener> = listeners
        .iter()
        .filter(|listener| listener.port == flow.destination.port())
        .filter(|listener| listener.is_any() || listener.addresses.contains(&destination))
        .filter(|listener| {
            view(listener, host, flow.scope).is_some_and(|own| own.contains(&destination))
        })
        .collect();
    let pick = |wanted: &dyn Fn(&Listener) -> bool| {
        let named = here
            .iter()
            .find(|listener| !listener.is_any() && wanted(listener));
        let any = here
            .iter()
            .find(|listener| listener.is_any() && wanted(listener));
        named.or(any).copied()
    };
    pick(&|listener| is_session(listener, flow))
        .or_else(|| pick(&|listener| listener.peers.is_empty()))
        .or_else(|| pick(&|_| true))
}

/// Whether an exact session of this listener matches.
fn is_session(listener: &Listener, flow: &Flow) -> bool {
    flow.source.is_ipv4() == flow.destination.is_ipv4() && listener.peers.contains(&flow.source)
}

/// Whether this listener is for this source, in a session of its own or not.
fn may_ask(listener: &Listener, in_session: bool, source: IpAddr) -> bool {
    let clients = listener.clients.as_ref();
    let listed = clients.is_none_or(|clients| clients.allows(source));
    listed && (in_session || listener.peers.is_empty())
}

fn expected<'a>(listeners: &'a [Listener], host: &HostView, flow: &Flow) -> Admission<'a> {
    let Some(listener) = found(listeners, host, flow) else {
        return Admission::NotOurs;
    };
    let source = flow.source.ip();
    let mut here = listeners
        .iter()
        .filter(|other| view(other, host, flow.scope).is_some());
    let reason = if own(listener, host, flow.scope).contains(&source) {
        Refusal::OwnSource
    } else if listener.guard_ports
        && !is_session(listener, flow)
        && here.any(|other| other.peers.is_empty() && other.port == flow.source.port())
    {
        Refusal::ListenerPort
    } else if !may_ask(listener, is_session(listener, flow), source) {
        Refusal::Client
    } else {
        return Admission::Answer(&listener.rule);
    };
    Admission::Refused {
        listener: listener.rule.listener,
        reason,
    }
}

/// What XDP makes of a packet, from what it is given of a rulebook.
fn in_xdp<'a>(book: &'a Rulebook, flow: &Flow) -> Admission<'a> {
    let place = Place {
        scope: flow.scope,
        address: flow.destination.ip(),
        port: flow.destination.port(),
    };
    let Some((_, answering)) = book.places().find(|(other, _)| **other == place) else {
        return Admission::NotOurs;
    };
    let session = book.sessions().find(|(other, _)| *other == flow);
    assert!(answering.sessions || session.is_none());
    let exact = session.is_some();
    let by = session.map_or(answering.by, |(_, by)| by);
    let listener = &book.listeners()[by.listener as usize];
    assert_eq!(answering.general, {
        let general = &book.listeners()[answering.by.listener as usize];
        general.is_general()
    });
    let source = flow.source.ip();
    let is_own = match source {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let mut own = book.link_local_addresses();
            own.any(|own| own == (flow.scope, v6))
        }
        _ => book.own_addresses().any(|own| own == (by.domain, source)),
    };
    let reason = if is_own {
        Refusal::OwnSource
    } else if listener.guard_ports
        && !exact
        && book
            .general_ports()
            .any(|port| port == (flow.scope, flow.source.port()))
    {
        Refusal::ListenerPort
    } else if !may_ask(listener, exact, source) {
        Refusal::Client
    } else {
        return Admission::Answer(&listener.rule);
    };
    Admission::Refused {
        listener: by.listener,
        reason,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_rulebook_agrees_with_a_look_at_every_listener(
        listeners in listeners(),
        host in hosts(),
        flows in prop::collection::vec(flows(), 32),
    ) {
        let book = Rulebook::build(0, &listeners, &host);
        for flow in &flows {
            let admission = book.admit(flow);
            prop_assert_eq!(admission, expected(&listeners, &host, flow), "{:?}", flow);
            prop_assert_eq!(admission, in_xdp(&book, flow), "{:?} in XDP", flow);
            let answering = found(&listeners, &host, flow)
                .filter(|listener| listener.peers.is_empty() || is_session(listener, flow));
            let rule = answering.map(|listener| &listener.rule);
            prop_assert_eq!(book.find(flow), rule, "{:?}", flow);
        }
    }
}
