//! The loop guard: what might be answered for ever is not answered at all.

use std::net::{Ipv4Addr, Ipv6Addr};

use ebpf::{Generation, ListenerCounts, Rule, Verdict};
use testbed::frames::CUSTOMER_TAG;
use testbed::{Need, skip_unless};

use crate::bench::in_namespace;
use crate::rules::{
    HERE, PEER_V4, PEER_V6, PORT, RULE, RulesBench, V4, V6, answering, frame, in_vlans, key,
    request, session,
};

#[test]
fn a_packet_from_an_own_address_is_dropped() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let mut generation = answering(Rule::open(RULE));
        // Ours, though no listener's.
        generation.own_addresses.push((0, [198, 51, 100, 1].into()));
        let bench = RulesBench::new(&generation);
        for port in [PORT, 40_000] {
            for own in [
                request((V4, port)),
                request((V6, port)),
                request(([198, 51, 100, 1], port)),
            ] {
                bench.assert_dropped(&own.build(), Verdict::DroppedOwnSource);
            }
        }
        bench.assert_redirected(&request(([198, 51, 100, 2], 40_000)).build());
        let counts = ListenerCounts {
            admitted: 1,
            loops: 6,
            ..ListenerCounts::default()
        };
        assert_eq!(bench.shared.listener_counts(RULE).unwrap(), counts);
    });
}

#[test]
fn every_one_of_many_own_addresses_is_known() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let mut generation = answering(Rule::open(RULE));
        let v4 = |n: u8| Ipv4Addr::new(10, n.reverse_bits(), 7, n);
        let v6 = |n: u8| Ipv6Addr::new(0x2001, 0xdb8, n.into(), 0, u16::from(n) << 8, 0, 0, 5);
        // Few enough for the filter to let some through without a look-up, too.
        generation.own_addresses = (0..20)
            .flat_map(|n| [(0, v4(n).into()), (0, v6(n).into())])
            .collect();
        let bench = RulesBench::new(&generation);
        for n in 0..20 {
            for own in [request((v4(n), 40_000)), request((v6(n), 40_000))] {
                bench.assert_dropped(&own.build(), Verdict::DroppedOwnSource);
            }
        }
        for n in 20..=255 {
            for other in [request((v4(n), 40_000)), request((v6(n), 40_000))] {
                assert!(bench.redirects(&other.build()));
            }
        }
    });
}

#[test]
fn an_address_is_own_in_its_domain_alone() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        // As large as an interface's index can be.
        let domain = u32::MAX >> 1;
        let in_domain = Rule {
            domain,
            ..Rule::open(RULE)
        };
        let mut generation = answering(Rule::open(RULE));
        generation.own_addresses = vec![(domain, V4.into())];
        for vid in [100, 200] {
            let key = key(in_vlans(vid, 0), V4, PORT);
            generation.listeners.push((key, in_domain));
        }
        let in_session = session(in_vlans(100, 0), (V4, 40_001));
        generation.sessions.push((in_session, in_domain));
        let bench = RulesBench::new(&generation);
        for port in [40_000, 40_001] {
            let from_own = request((V4, port));
            bench.assert_redirected(&from_own.clone().build());
            // Said once, for however many VLANs.
            for vid in [100, 200] {
                let tagged = from_own.clone().vlan(CUSTOMER_TAG, vid).build();
                bench.assert_dropped(&tagged, Verdict::DroppedOwnSource);
            }
        }
    });
}

#[test]
fn a_link_local_address_is_own_in_its_scope_alone() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let (first, last) = (
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0xfebf, u16::MAX, 0, 0, 0, 0, 0, 1),
        );
        let mut generation = answering(Rule::open(RULE));
        generation.link_local = vec![(HERE, first), (HERE, last)];
        let in_vlan = key(in_vlans(100, 0), V6, PORT);
        generation.listeners.push((in_vlan, Rule::open(RULE)));
        let bench = RulesBench::new(&generation);
        for own in [first, last] {
            let from_own = request((own, 40_000));
            bench.assert_dropped(&from_own.clone().build(), Verdict::DroppedOwnSource);
            bench.assert_redirected(&from_own.vlan(CUSTOMER_TAG, 100).build());
        }
    });
}

#[test]
fn a_packet_from_a_general_listeners_port_in_its_scope_is_dropped() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let elsewhere = in_vlans(100, 0);
        let mut generation = answering(Rule::open(RULE));
        generation.general_ports = vec![(HERE, 900), (HERE, PORT), (HERE, 870), (elsewhere, 880)];
        generation
            .listeners
            .push((key(elsewhere, V4, PORT), Rule::open(2)));
        let bench = RulesBench::new(&generation);
        for port in [PORT, 870, 900] {
            for frame in [request((PEER_V4, port)), request((PEER_V6, port))] {
                bench.assert_dropped(&frame.build(), Verdict::DroppedListenerPort);
            }
        }
        // Between them, and beyond.
        for port in [1, PORT - 1, PORT + 1, 880, 899, 901, 65_535] {
            bench.assert_redirected(&request((PEER_V4, port)).build());
        }
        let tagged = |port| request((PEER_V4, port)).vlan(CUSTOMER_TAG, 100).build();
        bench.assert_dropped(&tagged(880), Verdict::DroppedListenerPort);
        assert_eq!(bench.assert_redirected(&tagged(900)).rule, 2);
        assert_eq!(bench.shared.listener_counts(RULE).unwrap().loops, 6);
    });
}

#[test]
fn where_ports_are_not_guarded_all_are_answered() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&answering(Rule {
            guard_ports: false,
            ..Rule::open(RULE)
        }));
        for port in [0, 1, PORT, 65_535] {
            bench.assert_redirected(&request((PEER_V4, port)).build());
        }
        bench.assert_dropped(&request((V4, PORT)).build(), Verdict::DroppedOwnSource);
    });
}

#[test]
fn an_exact_session_may_come_from_any_port_and_from_no_own_address() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let mut generation = answering(Rule::open(RULE));
        generation.sessions = vec![
            (session(HERE, (PEER_V4, PORT)), Rule::open(2)),
            (session(HERE, (V4, 40_000)), Rule::open(2)),
        ];
        let bench = RulesBench::new(&generation);
        assert_eq!(
            bench
                .assert_redirected(&request((PEER_V4, PORT)).build())
                .rule,
            2
        );
        bench.assert_dropped(
            &request((PEER_V6, PORT)).build(),
            Verdict::DroppedListenerPort,
        );
        bench.assert_dropped(&request((V4, 40_000)).build(), Verdict::DroppedOwnSource);
    });
}

#[test]
fn marks_are_no_listeners() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let bench = RulesBench::new(&Generation {
            own_addresses: vec![(0, V6.into()), (PORT.into(), V6.into())],
            link_local: vec![(HERE, link_local)],
            general_ports: vec![(HERE, PORT)],
            ..Generation::default()
        });
        let to = |destination| frame((PEER_V6, 40_000).into(), destination).build();
        for nobody in [
            (V6, PORT),
            (V6, 0),
            (link_local, 0),
            ([0_u16; 8].into(), PORT),
        ] {
            bench.assert_passed(&to(nobody.into()), Verdict::PassedNoListener);
        }
    });
}
