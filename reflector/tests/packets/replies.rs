//! What a reply's headers and timestamps say, by the listener's policy.

use clock::{Clock, Discipline, SystemClock};
use testbed::{Need, UdpFrame, skip_unless};
use wire::time::TaiOffset;

use crate::rig::{Answer, BOTH, Ip, PORT, Rig, light, stamp};

/// Octets of a reply: T3, Error Estimate, T2.
const T3: std::ops::Range<usize> = 4..12;
const ERROR_ESTIMATE: std::ops::Range<usize> = 12..14;
const T2: std::ops::Range<usize> = 16..24;

/// Through XDP, and as packets that XDP leaves to the slow path: with IP options.
fn both_ways(frame: &UdpFrame) -> [UdpFrame; 2] {
    let slow = frame.clone().ipv4_options(&[1; 4]).hop_by_hop();
    [frame.clone(), slow]
}

#[test]
fn dscp_and_ecn_are_chosen_apart() {
    skip_unless!(Need::Xdp);
    let policies = [
        ("dscp=copy,ecn=clear", 0xfc, 0),
        ("dscp=copy,ecn=copy", 0xff, 0),
        ("dscp=af41,ecn=clear", 0, 34 << 2),
        ("dscp=af41,ecn=copy", 0x03, 34 << 2),
        ("dscp=zero,ecn=clear", 0, 0),
        ("dscp=zero,ecn=copy", 0x03, 0),
        ("dscp=63,ecn=copy", 0x03, 63 << 2),
    ];
    let rig = Rig::new();
    let listeners: Vec<String> = (900..)
        .zip(policies)
        .map(|(port, (policy, ..))| format!("port={port},{policy}"))
        .collect();
    let listeners: Vec<&str> = listeners.iter().map(String::as_str).collect();
    let reflector = rig.start(&listeners);
    let mut answered = 0;
    for (port, (policy, kept, set)) in (900..).zip(policies) {
        for ip in BOTH {
            // Not-ECT, ECT(1), ECT(0), CE, and every DSCP bit.
            for tos in [0x00, 0x01, 0xba, 0xff, 0x54, 0xab] {
                let frame = rig.request(ip, 5000 + answered, port);
                let frame = frame.tos(tos).payload(&light(44));
                for (way, frame) in both_ways(&frame).iter().enumerate() {
                    let Answer { datagram, .. } = rig.ask(frame);
                    let context = format!("{policy} {ip:?} {tos:#04x}, way {way}");
                    assert_eq!(datagram.tos, (tos & kept) | set, "{context}");
                    assert_eq!(datagram.payload.len(), 44, "{context}");
                }
                answered += 1;
            }
        }
    }
    let summary = reflector.stop();
    let each = u64::from(answered);
    assert_eq!(summary.row("total"), [each, each, 0]);
    assert_eq!(summary.sockets(), [each, each]);
}

#[test]
fn the_flow_label_is_copied_or_none() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let _reflector = rig.start(&["port=900", "port=901,flow-label=zero,dscp=zero"]);
    for (number, label) in [(0, 0), (1, 1), (2, 0xf_ffff), (3, 0xa_5a5a)] {
        for (port, expected) in [(900, label), (901, 0)] {
            // Its neighbours in the header: the traffic class.
            let frame = rig.request(Ip::V6, 5000 + number, port).tos(0xfc);
            let frame = frame.flow_label(label).payload(&light(60));
            let answer = rig.ask(&frame).datagram;
            assert_eq!(answer.flow_label, expected, "{label:#x} to port {port}");
            assert_eq!(answer.tos, if port == 900 { 0xfc } else { 0 });
            assert!(answer.udp_checksum_valid, "no part of the checksum");
            // Sockets are not told the label, and so send none.
            assert_eq!(rig.ask(&frame.hop_by_hop()).datagram.flow_label, 0);
        }
    }
}

#[test]
fn ttl_is_255_and_the_one_received_is_told() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let _reflector = rig.start(&["format=twamp-light", "port=900,format=stamp"]);
    for ip in BOTH {
        for port in [PORT, 900] {
            for ttl in [1, 2, 64, 254, 255] {
                let frame = rig.request(ip, 5000 + u16::from(ttl), port).ttl(ttl);
                for frame in both_ways(&frame.payload(&stamp(1, 0, &[]))) {
                    // `ask` holds every reply against TTL 255.
                    assert_eq!(rig.ask(&frame).datagram.payload[40], ttl);
                }
            }
        }
    }
}

#[test]
fn the_dscp_and_ecn_received_are_reported_as_rfc_7750_says() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let light_with_report = "format=twamp-light,dscp-report=on";
    let reflector = rig.start(&[
        light_with_report,
        &format!("port=900,{light_with_report},padding=shift,dscp=zero"),
        "port=901,format=twamp-light",
    ]);
    for ip in BOTH {
        for (tos, len) in [(0xbb, 14), (0x01, 41), (0xff, 44), (0x2e, 100), (0, 43)] {
            let sent = light(len);
            let request = |port| rig.request(ip, 5000, port).tos(tos).payload(&sent);
            for frame in both_ways(&request(PORT)) {
                let answer = rig.ask(&frame).datagram;
                assert_eq!(answer.payload.len(), len.max(44), "{len} octets sent");
                assert_eq!(answer.payload[41], tos, "S-DSCP-ECN, verbatim");
                assert_eq!(answer.payload[42..44], [0, 0], "must be zero");
                assert_eq!(answer.tos, tos & 0xfc, "ECN of the reply: Not-ECT");
                if len > 44 {
                    assert_eq!(answer.payload[44..], sent[44..], "the same offset");
                }
            }
            let answer = rig.ask(&request(900)).datagram;
            assert_eq!(
                (answer.payload[41], answer.tos),
                (tos, 0),
                "what came, not what goes"
            );
            // 30 octets of padding are used up by the longer header.
            let padding = len.saturating_sub(44);
            assert_eq!(answer.payload[44..], sent[14..14 + padding]);

            let answer = rig.ask(&request(901)).datagram;
            assert_eq!(
                answer.payload.len(),
                len.max(41),
                "no such octet unless told"
            );
        }
    }
    assert_eq!(reflector.stop().sockets(), [10, 10]);
}

#[test]
fn ptp_timestamps_are_the_kernels_tai() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let reflector = rig.start(&["timestamps=ptp", "port=900,timestamps=ntp"]);
    let kernel = Discipline::read().unwrap();
    let warned = reflector.process().stderr();
    let warned = warned.contains("PTPv2 timestamps, but the kernel does not know TAI-UTC");
    assert_eq!(warned, kernel.tai_offset == TaiOffset::default());

    let estimate = |answer: &Answer| {
        let octets = answer.datagram.payload[ERROR_ESTIMATE].try_into().unwrap();
        u16::from_be_bytes(octets)
    };
    let (synchronised, ptp_format) = (0x8000, 0x4000);
    for ip in BOTH {
        for (source, payload) in [(5001, light(14)), (5002, stamp(7, 0xbeef, &[]))] {
            let request = rig.request(ip, source, PORT).payload(&payload);
            for frame in both_ways(&request) {
                let before = SystemClock.tai().nanos();
                let answer = rig.ask(&frame);
                let after = SystemClock.tai().nanos();
                // RFC 8186: 32 bits of seconds since 1970 TAI, and of nanoseconds.
                let at = |field: std::ops::Range<usize>| {
                    let octets = &answer.datagram.payload[field];
                    let [seconds, nanos] = [0, 4].map(|at| {
                        let word = octets[at..at + 4].try_into().unwrap();
                        i64::from(u32::from_be_bytes(word))
                    });
                    assert!(nanos < 1_000_000_000, "{nanos}");
                    seconds * 1_000_000_000 + nanos
                };
                let (t2, t3) = (at(T2), at(T3));
                assert!(
                    before <= t2 && t2 <= t3 && t3 <= after,
                    "{before} {t2} {t3} {after}"
                );
                let bits = estimate(&answer);
                assert_eq!(bits & ptp_format, ptp_format, "Z");
                let may_be = !warned && kernel.synchronised;
                assert_eq!(bits & synchronised != 0, may_be, "S");
                assert_ne!(bits & 0xff, 0, "a multiplier of 0 is none");
                let sender = &answer.datagram.payload[24..38];
                assert_eq!(
                    sender,
                    [&payload[..4], &payload[4..14]].concat(),
                    "a bit copy"
                );
            }
        }
        let ntp = rig.ask(&rig.request(ip, 5003, 900).payload(&light(44)));
        let bits = estimate(&ntp);
        assert_eq!(bits & ptp_format, 0);
        assert_eq!(bits & synchronised != 0, kernel.synchronised);
    }
}

#[test]
fn ptp_estimates_without_a_tai_offset_are_warned_of_once() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let listeners = [
        "port=900,timestamps=ptp",
        "port=901,timestamps=ptp",
        "port=902",
    ];
    let reflector = rig.start(&listeners);
    let stderr = reflector.process().stderr();
    let unknown = Discipline::read().unwrap().tai_offset == TaiOffset::default();
    assert_eq!(
        stderr.matches("PTPv2").count(),
        usize::from(unknown),
        "{stderr}"
    );
    reflector.stop();
    let stderr = rig.start(&["port=902"]).process().stderr();
    assert!(!stderr.contains("PTPv2"), "nothing to warn of: {stderr}");
}
