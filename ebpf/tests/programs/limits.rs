//! Policers: how much of whom is let through.
//!
//! Bursts are counted, and packets so far apart (50 s and more) that no test lives to see another one
//! fall due.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ebpf::policer::{BitLimit, Limits, PacketLimit};
use ebpf::{Generation, ListenerCounts, Rule, SourceLimit, Verdict};
use testbed::{Need, UdpFrame, skip_unless};

use crate::bench::in_namespace;
use crate::rules::{
    HERE, PEER_PORT, PEER_V4, PEER_V6, RULE, RulesBench, V4, answering, frame, key, request,
    session, v4, v6,
};

/// More than any limit here.
const FLOOD: u32 = 1000;

/// Lets so many packets through, and no more while a test lasts.
fn packets(count: u32) -> PacketLimit {
    const EVERY: Duration = Duration::from_secs(50);
    PacketLimit::every(EVERY, EVERY * (count - 1)).unwrap()
}

fn source_limit(count: u32) -> SourceLimit {
    SourceLimit {
        packets: packets(count),
        prefix_v4: 24,
        prefix_v6: 64,
    }
}

fn limited(limits: Limits, source_limit: Option<SourceLimit>) -> Generation {
    answering(Rule {
        source_limit,
        limits,
        ..Rule::open(RULE)
    })
}

fn of_packets(count: u32) -> Limits {
    Limits {
        packets: Some(packets(count)),
        bits: None,
    }
}

/// How many of a flood are let through.
fn admitted(bench: &RulesBench, frame: &UdpFrame) -> u64 {
    bench.flood(&frame.build(), FLOOD, Verdict::Redirected)
}

#[test]
fn a_listener_takes_no_more_packets_than_its_limit() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&limited(of_packets(5), None));
        let frame = v4().build();
        assert_eq!(bench.flood(&frame, FLOOD, Verdict::DroppedRate), 995);
        bench.assert_dropped(&v6().build(), Verdict::DroppedRate);
        let counts = ListenerCounts {
            admitted: 5,
            over_limit: 996,
            ..ListenerCounts::default()
        };
        assert_eq!(bench.shared.listener_counts(RULE).unwrap(), counts);
    });
}

#[test]
fn a_listener_takes_no_more_octets_than_its_limit() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        // An IP packet of 1250 octets takes 10 s: one, and three in the burst. Ethernet does not count.
        let bits = |burst| BitLimit::per_second(1000, Duration::from_secs(burst)).unwrap();
        let limits = Limits {
            packets: None,
            bits: Some(bits(30)),
        };
        for (frame, headers) in [(v4(), 28), (v6(), 48)] {
            let bench = RulesBench::new(&limited(limits, None));
            let frame = frame.payload(&vec![0; 1250 - headers]);
            assert_eq!(admitted(&bench, &frame), 4);
            bench.assert_dropped(&v4().build(), Verdict::DroppedRate);
        }
        // Padding of the frame does not count either: 42 octets, 0.336 s each.
        let bench = RulesBench::new(&limited(
            Limits {
                bits: Some(bits(500)),
                ..limits
            },
            None,
        ));
        let runt = v4().payload(&[0; 14]).pad_to(60);
        let expected = u64::try_from(1 + 500_000 / 336).unwrap();
        let passed = bench.flood(&runt.build(), 2000, Verdict::Redirected);
        // Each third of a second that goes by meanwhile makes room for another one.
        assert!(
            (expected..expected + 30).contains(&passed),
            "{passed} packets"
        );
    });
}

#[test]
fn what_one_limit_refuses_is_not_at_the_cost_of_the_other() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let limits = Limits {
            packets: Some(packets(5)),
            bits: Some(BitLimit::per_second(1000, Duration::from_secs(15)).unwrap()),
        };
        let bench = RulesBench::new(&limited(limits, None));
        let long = v4().payload(&[0; 1250 - 28]);
        assert_eq!(admitted(&bench, &long), 2);
        // The flood that the octets refused has taken two of the five packets.
        bench.shared.publish(&limited(of_packets(5), None)).unwrap();
        assert_eq!(admitted(&bench, &v4()), 3);
    });
}

#[test]
fn a_source_prefix_takes_no_more_than_its_limit() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&limited(Limits::default(), Some(source_limit(3))));
        let from_v4 = |host: [u8; 4]| request((host, PEER_PORT));
        let from_v6 = |host: &str| request((host.parse::<Ipv6Addr>().unwrap(), PEER_PORT));
        assert_eq!(admitted(&bench, &from_v4([10, 0, 0, 1])), 3);
        let neighbour = from_v4([10, 0, 0, 255]).build();
        bench.assert_dropped(&neighbour, Verdict::DroppedSourceRate);
        assert_eq!(admitted(&bench, &from_v4([10, 0, 1, 1])), 3);

        assert_eq!(admitted(&bench, &from_v6("2001:db8:0:1::1")), 3);
        let neighbour = from_v6("2001:db8:0:1:ffff::1").build();
        bench.assert_dropped(&neighbour, Verdict::DroppedSourceRate);
        assert_eq!(admitted(&bench, &from_v6("2001:db8:0:2::1")), 3);

        let counts = bench.shared.listener_counts(RULE).unwrap();
        assert_eq!((counts.admitted, counts.over_source_limit), (12, 3990));
    });
}

#[test]
fn whole_addresses_and_everybody_are_prefixes_too() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let limit = |prefix_v4, prefix_v6| {
            let limit = SourceLimit {
                packets: packets(1),
                prefix_v4,
                prefix_v6,
            };
            limited(Limits::default(), Some(limit))
        };
        let near_v4 = request(([192, 0, 2, 3], PEER_PORT)).build();
        let mut near = PEER_V6.octets();
        near[15] ^= 1;
        let near_v6 = request((Ipv6Addr::from(near), PEER_PORT)).build();
        for (generation, same) in [(limit(0, 0), true), (limit(32, 128), false)] {
            let bench = RulesBench::new(&generation);
            assert_eq!(admitted(&bench, &v4()), 1);
            // One family at a time: all of IPv4 is ::ffff:0:0, and no IPv6 source.
            assert_eq!(admitted(&bench, &v6()), 1);
            for frame in [&near_v4, &near_v6] {
                if same {
                    bench.assert_dropped(frame, Verdict::DroppedSourceRate);
                } else {
                    bench.assert_redirected(frame);
                }
            }
        }
    });
}

#[test]
fn the_bucket_of_a_source_is_charged_first() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&limited(of_packets(10), Some(source_limit(4))));
        let from = |network| request(([10, 0, network, 1], PEER_PORT));
        // A flood draws no more on the listener than its source may send.
        assert_eq!(admitted(&bench, &from(1)), 4);
        assert_eq!(admitted(&bench, &from(2)), 4);
        assert_eq!(admitted(&bench, &from(3)), 2);
        bench.assert_dropped(&from(4).build(), Verdict::DroppedRate);
    });
}

#[test]
fn a_well_behaved_source_loses_nothing_to_floods() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        // 256 floods and one session, each with room for 4; the listener has room for all of them.
        let total = PacketLimit::every(Duration::from_millis(100), Duration::from_millis(102_800));
        let limits = Limits {
            packets: Some(total.unwrap()),
            bits: None,
        };
        let bench = RulesBench::new(&limited(limits, Some(source_limit(4))));
        let mut sent = 0;
        for network in 0..=255 {
            let flood = request(([10, 0, network, 1], PEER_PORT)).build();
            let admitted = (0..20).filter(|_| bench.redirects(&flood));
            assert_eq!(admitted.count(), 4);
            if network % 64 == 0 {
                bench.assert_redirected(&v4().build());
                sent += 1;
            }
        }
        assert_eq!(sent, 4);
    });
}

#[test]
fn listeners_have_buckets_of_their_own_and_keep_them_from_one_generation_to_the_next() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let mut generation = limited(of_packets(4), Some(source_limit(3)));
        let other = Rule {
            id: RULE + 1,
            ..generation.listeners[0].1
        };
        generation.listeners.push((key(HERE, V4, 900), other));
        let bench = RulesBench::new(&generation);
        let second = frame((PEER_V4, PEER_PORT).into(), (V4, 900).into());
        assert_eq!(admitted(&bench, &v4()), 3);
        assert_eq!(admitted(&bench, &second), 3);
        generation.number += 1;
        bench.shared.publish(&generation).unwrap();
        assert_eq!(admitted(&bench, &v4()), 0);
        assert_eq!(admitted(&bench, &v6()), 1);
        bench.assert_dropped(&second.build(), Verdict::DroppedSourceRate);
    });
}

#[test]
fn an_exact_session_has_the_limits_of_its_own_rule() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let mut generation = limited(of_packets(2), None);
        let rule = Rule {
            limits: of_packets(6),
            ..Rule::open(2)
        };
        let flow = session(HERE, (PEER_V4, PEER_PORT));
        generation.sessions.push((flow, rule));
        let bench = RulesBench::new(&generation);
        assert_eq!(admitted(&bench, &v6()), 2);
        assert_eq!(admitted(&bench, &v4()), 6);
        let other = request((PEER_V4, PEER_PORT + 1)).build();
        bench.assert_dropped(&other, Verdict::DroppedRate);
    });
}

#[test]
fn what_the_kernel_gets_is_not_charged() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = RulesBench::new(&limited(of_packets(1), Some(source_limit(1))));
        let long = v4().payload(&[0; 1900]).build();
        assert_eq!(bench.flood(&long, FLOOD, Verdict::PassedTooLong), 1000);
        bench.assert_redirected(&v4().build());
    });
}

#[test]
fn more_sources_than_there_is_room_for_are_limited_still() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        /// Four times what there is room for.
        const SOURCES: u32 = 16_384;
        let bench = RulesBench::new(&limited(of_packets(9), Some(source_limit(1))));
        let from = |n: u32| {
            let source = Ipv4Addr::from(0x0a00_0000 + (n << 8));
            request((source, PEER_PORT)).build()
        };
        let admitted = (0..SOURCES).filter(|n| bench.redirects(&from(*n)));
        assert_eq!(admitted.count(), 9);
        // Of the sources, the last is still known, and the first forgotten.
        bench.assert_dropped(&from(SOURCES - 1), Verdict::DroppedSourceRate);
        bench.assert_dropped(&from(0), Verdict::DroppedRate);
    });
}
