//! Client lists: who may ask.

use std::net::{Ipv4Addr, Ipv6Addr};

use ebpf::{Clients, Generation, ListenerCounts, Refused, Rule, Verdict};
use ipnet::IpNet;
use testbed::{Need, UdpFrame, skip_unless};

use crate::bench::in_namespace;
use crate::rules::{HERE, PEER_PORT, RULE, RulesBench, answering, key, request, v4, v6};

const LIST: u16 = 3;

/// For whom the listener asks the list in slot [`LIST`].
fn asking(refused: Refused) -> Generation {
    answering(Rule {
        clients: Clients::Listed(LIST),
        refused,
        ..Rule::open(RULE)
    })
}

fn list(entries: &[(&str, bool)]) -> Vec<(IpNet, bool)> {
    entries
        .iter()
        .map(|(prefix, allowed)| (prefix.parse().unwrap(), *allowed))
        .collect()
}

fn from_v4(address: &str) -> UdpFrame {
    request((address.parse::<Ipv4Addr>().unwrap(), PEER_PORT))
}

fn from_v6(address: &str) -> UdpFrame {
    request((address.parse::<Ipv6Addr>().unwrap(), PEER_PORT))
}

#[test]
fn the_longest_prefix_counts() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&asking(Refused::Dropped));
        let entries = list(&[
            ("10.0.0.0/8", true),
            ("10.1.0.0/16", false),
            ("10.1.2.0/24", true),
            ("10.1.2.3/32", false),
            ("2001:db8:1::/48", true),
            ("2001:db8:1:1::/64", false),
            ("2001:db8:1:1::5/128", true),
        ]);
        bench.shared.set_client_list(LIST, entries).unwrap();
        for allowed in [
            from_v4("10.0.0.0"),
            from_v4("10.255.255.255"),
            from_v4("10.2.0.1"),
            from_v4("10.1.2.4"),
            from_v6("2001:db8:1::1"),
            from_v6("2001:db8:1:2::5"),
            from_v6("2001:db8:1:1::5"),
        ] {
            bench.assert_redirected(&allowed.build());
        }
        for denied in [
            from_v4("9.255.255.255"),
            from_v4("11.0.0.0"),
            from_v4("10.1.3.1"),
            from_v4("10.1.2.3"),
            from_v6("2001:db8:2::1"),
            from_v6("2001:db8:1:1::6"),
        ] {
            bench.assert_dropped(&denied.build(), Verdict::DroppedClient);
        }
        let counts = ListenerCounts {
            admitted: 7,
            not_clients: 6,
            ..ListenerCounts::default()
        };
        assert_eq!(bench.shared.listener_counts(RULE).unwrap(), counts);
    });
}

#[test]
fn a_prefix_of_one_family_says_nothing_about_the_other() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&asking(Refused::Dropped));
        let (v4, v6) = (v4().build(), v6().build());
        let set = |entries| bench.shared.set_client_list(LIST, list(entries)).unwrap();
        set(&[("::/0", true)]);
        bench.assert_redirected(&v6);
        bench.assert_dropped(&v4, Verdict::DroppedClient);
        set(&[("0.0.0.0/0", true)]);
        bench.assert_dropped(&v6, Verdict::DroppedClient);
        bench.assert_redirected(&v4);
        set(&[("0.0.0.0/0", true), ("::/0", false)]);
        bench.assert_redirected(&v4);
        set(&[("::/0", true), ("0.0.0.0/0", true)]);
        bench.assert_redirected(&v4);
        bench.assert_redirected(&v6);
    });
}

#[test]
fn who_is_refused_goes_to_the_kernel_where_told() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&asking(Refused::ToKernel));
        bench.shared.set_client_list(LIST, []).unwrap();
        bench.assert_passed(&v4().build(), Verdict::PassedClient);
        bench.assert_passed(&v6().build(), Verdict::PassedClient);
        assert_eq!(bench.shared.listener_counts(RULE).unwrap().not_clients, 2);
    });
}

#[test]
fn without_its_list_a_listener_answers_nobody() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&asking(Refused::Dropped));
        let frame = v4().build();
        bench.assert_dropped(&frame, Verdict::DroppedClient);
        let everybody = list(&[("0.0.0.0/0", true)]);
        bench.shared.set_client_list(0, everybody.clone()).unwrap();
        bench.assert_dropped(&frame, Verdict::DroppedClient);
        bench.shared.set_client_list(LIST, everybody).unwrap();
        bench.assert_redirected(&frame);
    });
}

#[test]
fn each_listener_has_its_list() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let mut generation = answering(Rule::open(RULE));
        let rule = |id, list| Rule {
            clients: Clients::Listed(list),
            ..Rule::open(id)
        };
        let [first, second] = [(900, rule(1, 0)), (901, rule(2, 1))];
        for (port, rule) in [first, second] {
            let key = key(HERE, crate::rules::V4, port);
            generation.listeners.push((key, rule));
        }
        let bench = RulesBench::new(&generation);
        for (slot, prefix) in [(0, "10.0.0.0/24"), (1, "10.0.1.0/24")] {
            let entries = list(&[(prefix, true)]);
            bench.shared.set_client_list(slot, entries).unwrap();
        }
        let from = |host: [u8; 4], port| {
            let to = (crate::rules::V4, port).into();
            crate::rules::frame((host, PEER_PORT).into(), to).build()
        };
        bench.assert_redirected(&from([10, 0, 0, 1], 900));
        bench.assert_dropped(&from([10, 0, 0, 1], 901), Verdict::DroppedClient);
        bench.assert_dropped(&from([10, 0, 1, 1], 900), Verdict::DroppedClient);
        bench.assert_redirected(&from([10, 0, 1, 1], 901));
        bench.assert_redirected(&v4().build());
    });
}

#[test]
fn a_hundred_thousand_prefixes_are_told_apart() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        const PREFIXES: u32 = 100_000;
        let address = |n: u32| Ipv4Addr::from(0x0a00_0000 + 2 * n);
        let bench = RulesBench::new(&asking(Refused::Dropped));
        let entries = (0..PREFIXES).map(|n| (IpNet::from(std::net::IpAddr::V4(address(n))), true));
        bench.shared.set_client_list(LIST, entries).unwrap();
        for n in [0, 1, 4711, PREFIXES - 1] {
            bench.assert_redirected(&request((address(n), PEER_PORT)).build());
            let beside = Ipv4Addr::from(u32::from(address(n)) + 1);
            let beside = request((beside, PEER_PORT)).build();
            bench.assert_dropped(&beside, Verdict::DroppedClient);
        }
    });
}

#[test]
fn slots_beyond_those_there_are_are_refused() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::empty(true);
        assert!(bench.shared.set_client_list(4, []).is_err());
        let mut generation = asking(Refused::Dropped);
        for (_, rule) in &mut generation.listeners {
            rule.clients = Clients::Listed(4);
        }
        let error = bench.shared.publish(&generation).unwrap_err().to_string();
        assert!(error.contains("no room for client list 4"), "{error}");
    });
}
