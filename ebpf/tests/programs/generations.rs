//! Listeners and exact sessions, by scope, and what changes from one generation to the next.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ebpf::{Clients, Generation, ListenerCounts, ReflectorProgram, Refused, Rule, Verdict};
use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Need, skip_unless};

use crate::bench::{Bench, in_namespace};
use crate::rules::{
    HERE, PEER_PORT, PEER_V4, PEER_V6, PORT, RulesBench, V4, V6, answering, frame, in_vlans, key,
    request, session, v4, v6,
};

#[test]
fn nothing_is_answered_before_a_generation_and_after_the_last() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::empty(true);
        bench.assert_passed(&v4().build(), Verdict::PassedNoListener);
        bench.shared.withdraw().unwrap();
        bench.shared.publish(&answering(Rule::open(1))).unwrap();
        bench.assert_redirected(&v4().build());
        bench.shared.withdraw().unwrap();
        bench.assert_passed(&v4().build(), Verdict::PassedNoListener);
        bench.shared.publish(&Generation::default()).unwrap();
        bench.assert_passed(&v4().build(), Verdict::PassedNoListener);
    });
}

#[test]
fn overlapping_addresses_are_kept_apart_by_their_vlans() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        // Three VRFs, each with the same loopback address, and a port of its own.
        let scopes = [in_vlans(100, 0), in_vlans(200, 0), in_vlans(100, 7)];
        let ports = [900, 901, 902];
        let listeners = (1..).zip(scopes.into_iter().zip(ports));
        let bench = RulesBench::new(&Generation {
            listeners: listeners
                .map(|(id, (scope, port))| (key(scope, V4, port), Rule::open(id)))
                .collect(),
            ..Generation::default()
        });
        for (scope, id) in scopes.into_iter().zip(1..) {
            for port in ports {
                let frame = frame((PEER_V4, PEER_PORT).into(), (V4, port).into());
                let frame = match scope.inner_vid {
                    0 => frame.vlan(CUSTOMER_TAG, scope.outer_vid),
                    inner => frame
                        .vlan(SERVICE_TAG, scope.outer_vid)
                        .vlan(CUSTOMER_TAG, inner),
                };
                if port == 899 + u16::try_from(id).unwrap() {
                    let meta = bench.assert_redirected(&frame.build());
                    assert_eq!(meta.rule, id);
                    assert_eq!(meta.vlan_tags, 1 + u8::from(scope.inner_vid > 0));
                } else {
                    bench.assert_passed(&frame.build(), Verdict::PassedNoListener);
                }
            }
        }
        let untagged = frame((PEER_V4, PEER_PORT).into(), (V4, 900).into());
        bench.assert_passed(&untagged.build(), Verdict::PassedNoListener);
    });
}

#[test]
fn an_exact_session_takes_what_the_listener_would_get() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let mut generation = answering(Rule::open(1));
        generation.sessions = vec![
            (session(HERE, (PEER_V4, PEER_PORT)), Rule::open(2)),
            (session(HERE, (PEER_V6, PEER_PORT)), Rule::open(3)),
        ];
        let bench = RulesBench::new(&generation);
        let rule = |frame: &[u8]| bench.assert_redirected(frame).rule;
        assert_eq!(rule(&v4().build()), 2);
        assert_eq!(rule(&v6().build()), 3);
        for other in [(PEER_V4, PEER_PORT + 1), ([192, 0, 2, 3].into(), PEER_PORT)] {
            assert_eq!(rule(&request(other).build()), 1);
        }
        assert_eq!(rule(&request((PEER_V6, PEER_PORT - 1)).build()), 1);
        // A session in a VLAN is another's.
        bench.assert_passed(
            &v4().vlan(CUSTOMER_TAG, 5).build(),
            Verdict::PassedNoListener,
        );
    });
}

#[test]
fn a_listener_for_its_sessions_alone_refuses_everybody_else() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let rule = |refused| Rule {
            clients: Clients::SessionsOnly,
            refused,
            ..Rule::open(2)
        };
        let generation = |refused| Generation {
            number: 5,
            sessions: vec![(session(HERE, (PEER_V4, PEER_PORT)), rule(refused))],
            ..answering(rule(refused))
        };
        let bench = RulesBench::new(&generation(Refused::Dropped));
        let (other, other_family) = (request((PEER_V4, PEER_PORT + 1)).build(), v6().build());
        let meta = bench.assert_redirected(&v4().build());
        assert_eq!((meta.rule, meta.generation), (2, 5));
        bench.assert_dropped(&other, Verdict::DroppedClient);
        bench.assert_dropped(&other_family, Verdict::DroppedClient);
        // What might be answered for ever is so for everybody.
        let own = request((V4, PEER_PORT)).build();
        bench.assert_dropped(&own, Verdict::DroppedOwnSource);

        let to_kernel = generation(Refused::ToKernel);
        bench.shared.publish(&to_kernel).unwrap();
        bench.assert_redirected(&v4().build());
        bench.assert_passed(&other, Verdict::PassedClient);
        bench.assert_passed(&other_family, Verdict::PassedClient);
        let counts = ListenerCounts {
            admitted: 2,
            loops: 1,
            not_clients: 4,
            ..ListenerCounts::default()
        };
        assert_eq!(bench.shared.listener_counts(2).unwrap(), counts);
    });
}

#[test]
fn a_packet_names_its_generation_and_meets_no_other_ones_rules() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::empty(true);
        // With exact sessions and without, so that both of their slots are used and emptied.
        for number in [1, 2, 3, 4, 0xffff, 0, 1] {
            let id = u32::from(number % 16);
            let mut generation = answering(Rule::open(id));
            generation.number = number;
            let peer_session = (session(HERE, (PEER_V4, PEER_PORT)), Rule::open(15 - id));
            if number != 3 {
                generation.sessions.push(peer_session);
            }
            bench.shared.publish(&generation).unwrap();
            let (v4, v6) = (
                bench.assert_redirected(&v4().build()),
                bench.assert_redirected(&v6().build()),
            );
            assert_eq!((v6.rule, v6.generation), (id, number));
            let expected = if number == 3 { id } else { 15 - id };
            assert_eq!((v4.rule, v4.generation), (expected, number));
        }
    });
}

#[test]
fn no_packet_is_judged_by_parts_of_two_generations() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        const GENERATIONS: u16 = 40;
        let rule_of = |number: u16| u32::from(number % 7);
        let generation = |number: u16| Generation {
            number,
            sessions: vec![(
                session(HERE, (PEER_V4, PEER_PORT)),
                Rule::open(7 + rule_of(number)),
            )],
            ..answering(Rule::open(rule_of(number)))
        };
        let bench = RulesBench::new(&generation(0));
        let (v4, v6) = (v4().build(), v6().build());
        let shared = &bench.shared;
        let mut seen = BTreeSet::new();
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                for number in 1..GENERATIONS {
                    shared.publish(&generation(number)).unwrap();
                }
            });
            while !publisher.is_finished() {
                let meta = bench.assert_redirected(&v4);
                assert_eq!(meta.rule, 7 + rule_of(meta.generation));
                seen.insert(meta.generation);
                let meta = bench.assert_redirected(&v6);
                assert_eq!(meta.rule, rule_of(meta.generation));
                seen.insert(meta.generation);
            }
        });
        assert!(seen.len() > 1, "generations seen: {seen:?}");
    });
}

#[test]
fn as_many_listeners_as_there_are_fit() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        const LISTENERS: u32 = 100_000;
        let address = |n: u32| Ipv4Addr::from(0x0a00_0000 + n);
        let bench = RulesBench::new(&Generation {
            listeners: (0..LISTENERS)
                .map(|n| (key(HERE, address(n), PORT), Rule::open(n % 16)))
                .collect(),
            ..Generation::default()
        });
        for n in [0, 1, LISTENERS / 2, LISTENERS - 1] {
            let frame = frame((PEER_V4, PEER_PORT).into(), (address(n), PORT).into());
            assert_eq!(bench.assert_redirected(&frame.build()).rule, n % 16);
        }
    });
}

#[test]
fn what_there_is_no_room_for_is_refused_and_the_generation_before_holds_on() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&answering(Rule::open(1)));
        let error = bench.shared.publish(&answering(Rule::open(16)));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no room for listener 16"), "{error}");
        assert_eq!(bench.assert_redirected(&v4().build()).rule, 1);
    });
}

#[test]
fn the_programs_of_a_process_share_rules_and_counters() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let first = RulesBench::new(&answering(Rule::open(1)));
        first.assert_redirected(&v4().build());
        // The queue has its socket already: what this one takes, it has to pass.
        let program = ReflectorProgram::load(&first.shared, 1, true).unwrap();
        let second = Bench::new(program, false);
        second.assert_passed(&v4().build(), Verdict::PassedNoSocket);
        let own = request((V4, PEER_PORT)).build();
        second.assert_dropped(&own, Verdict::DroppedOwnSource);
        let counts = ListenerCounts {
            admitted: 1,
            loops: 1,
            ..ListenerCounts::default()
        };
        assert_eq!(first.shared.listener_counts(1).unwrap(), counts);

        first.shared.withdraw().unwrap();
        second.assert_passed(&v4().build(), Verdict::PassedNoListener);
        assert_eq!(
            second.program.verdicts().unwrap().of(Verdict::Redirected),
            0
        );
    });
}

#[test]
fn packets_are_counted_for_their_listener() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let mut generation = answering(Rule::open(1));
        generation
            .listeners
            .push((key(HERE, V6, 900), Rule::open(2)));
        let bench = RulesBench::new(&generation);
        for _ in 0..3 {
            bench.assert_redirected(&v4().build());
        }
        let second = frame((PEER_V6, PEER_PORT).into(), (V6, 900).into()).build();
        bench.assert_redirected(&second);
        let admitted = |id| bench.shared.listener_counts(id).unwrap().admitted;
        assert_eq!([0, 1, 2].map(admitted), [0, 3, 1]);
        assert!(bench.shared.listener_counts(16).is_err());
    });
}

#[test]
fn an_address_of_one_family_is_none_of_the_other() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&Generation {
            listeners: vec![(key(HERE, IpAddr::V4(V4), PORT), Rule::open(1))],
            ..Generation::default()
        });
        let [a, b, c, d] = V4.octets();
        let compatible = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d];
        let frame = frame((PEER_V6, PEER_PORT).into(), (compatible, PORT).into());
        bench.assert_passed(&frame.build(), Verdict::PassedNoListener);
    });
}
