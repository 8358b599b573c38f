//! Malformed packets of each kind: counted by name, not answered, not logged.

use std::collections::HashMap;
use std::net::SocketAddr;

use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Checksum, Need, UdpFrame, skip_unless};

use crate::rig::{
    BOTH, Ip, Rig, counted, light, nothing_more_comes, stamp, the_last_is_answered_first,
};

/// How often each is sent: a line in the log for each would show.
const TIMES: usize = 3;

const DROPPED: &str = "dropped by the reflector";
const DROPPED_BY_XDP: &str = "dropped by the XDP program";
const DROPPED_BY_SOCKET: &str = "dropped after a UDP socket";
const PASSED: &str = "passed to the kernel";

const OPTIONS: &str = "IP options or extension headers";
const TOO_SHORT: &str = "payload shorter than 14 octets";

/// Offsets in a frame with this many tags.
const fn l3(tags: usize) -> usize {
    14 + 4 * tags
}

/// A kind of malformed packet: the frame, and where it is counted in which words.
struct Kind {
    frame: Vec<u8>,
    counted: Vec<(&'static str, &'static str)>,
}

fn kind(label: &'static str, meaning: &'static str, frame: Vec<u8>) -> Kind {
    let counted = vec![(label, meaning)];
    Kind { frame, counted }
}

/// Changes octets of a frame.
fn spoilt(frame: &UdpFrame, spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut octets = frame.build();
    spoil(&mut octets);
    octets
}

/// What XDP cannot make sense of goes to the kernel, which drops it.
fn senseless(rig: &Rig, ip: Ip) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for tags in 0..=2 {
        let good = rig.request(ip, 5000, 862).payload(&light(44));
        let good = match tags {
            0 => good,
            1 => good.vlan(CUSTOMER_TAG, 100),
            _ => good.vlan(SERVICE_TAG, 100).vlan(CUSTOMER_TAG, 7),
        };
        let cut = |len: usize| spoilt(&good, |octets| octets.truncate(len));
        let ip_len = if ip == Ip::V4 { 20 } else { 40 };
        let l4 = l3(tags) + ip_len;
        let whole = good.build().len();
        for len in [l3(tags) + 1, l4 - 1, l4, l4 + 7, l4 + 8, whole - 1] {
            kinds.push(kind(PASSED, "truncated", cut(len)));
        }
        if tags > 0 {
            // In the middle of the last tag.
            kinds.push(kind(PASSED, "truncated", cut(l3(tags) - 2)));
        }
        for length in [0, 7, 8 + 44 + 1, u16::MAX] {
            let frame = good.clone().udp_length(length);
            kinds.push(kind(
                PASSED,
                "UDP length disagrees with IP length",
                frame.build(),
            ));
        }
        let at = l3(tags);
        let malformed = |octet: usize, value: u8| {
            let frame = spoilt(&good, |octets| octets[octet] = value);
            kind(PASSED, "malformed IP header", frame)
        };
        match ip {
            Ip::V4 => {
                // Versions 0 and 6, a header of 16 octets, a total length of 19.
                kinds.extend([0x05, 0x65, 0x44].map(|value| malformed(at, value)));
                kinds.push(malformed(at + 3, 19));
            }
            Ip::V6 => kinds.push(malformed(at, 0x40)),
        }
    }
    let good = rig.request(ip, 5000, 862).payload(&light(44));
    // The rest never comes.
    let meaning = match ip {
        Ip::V4 => "IP fragment",
        Ip::V6 => OPTIONS,
    };
    let fragment = good.clone().fragment(0, true);
    kinds.push(kind(PASSED, meaning, fragment.build()));
    let deep = [(SERVICE_TAG, 100), (CUSTOMER_TAG, 7), (CUSTOMER_TAG, 7)];
    let deep = deep
        .into_iter()
        .fold(good, |frame, (tag, id)| frame.vlan(tag, id));
    kinds.push(kind(PASSED, "more than two VLAN tags", deep.build()));
    kinds
}

/// What XDP takes for a test packet, or drops, and the worker does not answer.
fn wrong_in_detail(rig: &Rig, ip: Ip) -> Vec<Kind> {
    let good = rig.request(ip, 5000, 862).payload(&light(44));
    let (ours, theirs) = (rig.veth.reflector.mac, rig.veth.sender.mac);
    let from = |source: &str| {
        let from = source.parse().unwrap();
        rig.frame(from, target(rig, ip)).payload(&light(44))
    };
    let (own, nobodys) = match ip {
        Ip::V4 => (
            "10.86.2.1:5000",
            &["0.0.0.0:1", "127.0.0.1:1", "224.0.0.1:1", "240.0.0.1:1"][..],
        ),
        Ip::V6 => (
            "[fd00:862::1]:5000",
            &["[::]:1", "[::1]:1", "[ff02::1]:1"][..],
        ),
    };
    let from_port = |port| rig.request(ip, port, 862).payload(&light(44));
    let with_checksum = |checksum| good.clone().checksum(checksum);
    let with_payload = |payload: &[u8]| good.clone().payload(payload);
    let mut all = vec![
        (
            DROPPED,
            "wrong UDP checksum",
            with_checksum(Checksum::Wrong),
        ),
        (DROPPED, TOO_SHORT, with_payload(&[])),
        (DROPPED, TOO_SHORT, with_payload(&light(13))),
        (DROPPED, "looks like a reply", with_payload(&reply())),
        (DROPPED, "source port 0", from_port(0)),
        (
            DROPPED_BY_XDP,
            "a listener's port as source",
            from_port(862),
        ),
        (DROPPED_BY_XDP, "our own address as source", from(own)),
        (
            PASSED,
            "another destination MAC address",
            good.clone().macs(theirs, [2, 9, 9, 9, 9, 9]),
        ),
        match ip {
            Ip::V4 => (
                DROPPED,
                "wrong IPv4 header checksum",
                good.clone().wrong_ipv4_checksum(),
            ),
            Ip::V6 => (
                DROPPED,
                "no UDP checksum over IPv6",
                with_checksum(Checksum::Absent),
            ),
        },
    ];
    let stations = [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0; 6], ours];
    all.extend(stations.map(|mac| {
        let frame = good.clone().macs(mac, ours);
        (DROPPED, "source MAC address that cannot be answered", frame)
    }));
    all.extend(nobodys.iter().map(|source| {
        let frame = from(source);
        (DROPPED, "source address that cannot be answered", frame)
    }));
    let kinds = all.into_iter();
    kinds
        .map(|(label, meaning, frame)| kind(label, meaning, frame.build()))
        .collect()
}

/// Where requests go.
fn target(rig: &Rig, ip: Ip) -> SocketAddr {
    match ip {
        Ip::V4 => SocketAddr::V4(rig.veth.reflector.socket_v4(862)),
        Ip::V6 => SocketAddr::V6(rig.veth.reflector.socket_v6(862)),
    }
}

/// Another reflector's reply: T3 a second after T2, and T1.
fn reply() -> Vec<u8> {
    let mut reply = stamp(1, 0, &[]);
    reply[16..24].copy_from_slice(&[0xe8, 0xfe, 0x6f, 0x7f, 1, 2, 3, 4]);
    reply[28..36].copy_from_slice(&[0xe8, 0xfe, 0x6f, 0x7e, 1, 2, 3, 4]);
    reply
}

/// With IP options, which XDP leaves to the slow path.
fn slow(frame: UdpFrame) -> UdpFrame {
    frame.ipv4_options(&[1; 4]).hop_by_hop()
}

/// What the slow path gets, and has to look through by itself.
fn wrong_beyond_options(rig: &Rig, ip: Ip) -> Vec<Kind> {
    let from_port = |port| rig.request(ip, port, 862).payload(&light(44));
    let with_payload = |payload: &[u8]| from_port(5000).payload(payload);
    let kinds = [
        (TOO_SHORT, with_payload(&[])),
        (TOO_SHORT, with_payload(&light(13))),
        ("looks like a reply", with_payload(&reply())),
        ("source port is a listener's", from_port(862)),
        ("source that cannot be answered", from_port(0)),
    ];
    let mut kinds: Vec<Kind> = kinds
        .map(|(meaning, frame)| kind(DROPPED_BY_SOCKET, meaning, slow(frame).build()))
        .into();
    if ip == Ip::V6 {
        // XDP has none of it, but the kernel takes it; an answer would go out over IPv4.
        let mapped = "[::ffff:10.86.2.2]:5000".parse().unwrap();
        let frame = rig.frame(mapped, target(rig, ip)).payload(&light(44));
        let mut mapped = kind(PASSED, "malformed IP header", frame.build());
        let refused = (DROPPED_BY_SOCKET, "source that cannot be answered");
        mapped.counted.push(refused);
        kinds.push(mapped);
    }
    kinds
}

#[test]
fn malformed_packets_of_each_kind_are_counted_by_name_and_not_logged() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let listeners = ["sequence=stateful", "vlan=100", "vlan=100.7"];
    // Even with every detail logged.
    let reflector = rig.start_with(&listeners, &["-vv"]);
    let good = |ip, source| rig.request(ip, source, 862).payload(&light(44));
    rig.ask(&good(Ip::V4, 6000));
    let said = reflector.process().stderr();

    let mut expected: HashMap<(&str, &str), u64> = HashMap::new();
    for ip in BOTH {
        let kinds = [senseless, wrong_in_detail, wrong_beyond_options].map(|kinds| kinds(&rig, ip));
        for (source, kind) in (10_000..).zip(kinds.into_iter().flatten()) {
            let by_socket = kind
                .counted
                .iter()
                .any(|(label, _)| *label == DROPPED_BY_SOCKET);
            // By the same way, so that they have been looked at before it.
            let good = good(ip, source);
            let good = if by_socket { slow(good) } else { good };
            let times = vec![kind.frame; TIMES];
            the_last_is_answered_first(&rig.peer, &times, &good);
            for place in kind.counted {
                *expected.entry(place).or_default() += TIMES as u64;
            }
        }
        nothing_more_comes(&rig.peer);
    }
    assert_eq!(reflector.process().stderr(), said, "no line per packet");

    let summary = reflector.stop();
    for ((label, meaning), count) in expected {
        let found = counted(&summary, label, meaning);
        if meaning == OPTIONS {
            // The good ones, and the host's own multicast reports.
            assert!(found >= count, "{meaning}: {found}, not {count}");
        } else {
            assert_eq!(found, count, "{label}: {meaning}, in:\n{}", summary.0);
        }
    }
    let [received, reflected, dropped] = summary.row("total");
    assert_eq!(received, reflected + dropped);
    // A session is what was answered, and nothing else.
    let [by_socket, answered] = summary.sockets();
    let sessions = counted(&summary, "sessions", "created");
    assert_eq!(sessions, reflected + answered);
    assert!(by_socket > answered);
}
