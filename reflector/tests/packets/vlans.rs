//! VLAN tags: which listener they lead to, and that a reply carries them unchanged.

use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Need, UdpFrame, skip_unless};

use crate::rig::{BOTH, Ip, Rig, built, light};

const C: u16 = 0x8100;
const S: u16 = 0x88a8;

/// Adds tags of this type and Tag Control Information.
fn tagged(frame: UdpFrame, tags: &[(u16, u16)]) -> UdpFrame {
    tags.iter().fold(frame, |frame, &(protocol, control)| {
        let protocol = if protocol == S {
            SERVICE_TAG
        } else {
            CUSTOMER_TAG
        };
        frame.tag(protocol, control)
    })
}

/// The tags' octets as they stand behind the MAC addresses.
fn octets(tags: &[(u16, u16)]) -> Vec<u8> {
    let words = tags
        .iter()
        .flat_map(|&(protocol, control)| [protocol, control]);
    words.flat_map(u16::to_be_bytes).collect()
}

/// TOS octet of the replies of the listeners of [`every_tag_comes_back_bit_for_bit`].
const UNTAGGED: u8 = 0x20;
const TAG: u8 = 0x40;
const QINQ: u8 = 0x60;

/// Of Tag Control Information the upper three bits are the priority (PCP), then comes drop eligibility
/// (DEI), then the VLAN ID: 100 is 0x064.
const TAGS: [(&[(u16, u16)], u8); 17] = [
    (&[], UNTAGGED),
    // A priority tag: no VLAN.
    (&[(C, 0x0000)], UNTAGGED),
    (&[(C, 0xe000)], UNTAGGED),
    (&[(S, 0xd000)], UNTAGGED),
    (&[(C, 100)], TAG),
    (&[(C, 0xa064)], TAG),
    (&[(C, 0x1064)], TAG),
    (&[(C, 0xf064)], TAG),
    (&[(S, 0x7064)], TAG),
    // Behind it a priority tag.
    (&[(S, 0x4064), (C, 0x6000)], TAG),
    (&[(S, 100), (C, 7)], QINQ),
    (&[(S, 0xb064), (C, 0x7007)], QINQ),
    (&[(S, 0xe064), (C, 7)], QINQ),
    (&[(S, 100), (C, 0xf007)], QINQ),
    (&[(C, 0x2064), (C, 0x5007)], QINQ),
    (&[(S, 0x3064), (S, 0x9007)], QINQ),
    (&[(C, 0x3064), (S, 0x9007)], QINQ),
];

#[test]
fn every_tag_comes_back_bit_for_bit() {
    skip_unless!(Need::Xdp);
    for mode in ["native", "generic"] {
        let rig = Rig::new();
        let listeners = ["dscp=cs1", "vlan=100,dscp=cs2", "vlan=100.7,dscp=cs3"];
        let reflector = rig.start_with(&listeners, &["--xdp-mode", mode]);
        let mut answered = 0;
        for ip in BOTH {
            for (tags, tos) in TAGS {
                // Shorter than the reply, or than the least frame; a STAMP packet and more.
                // And what fills the MTU, to which a raw socket lets one customer tag be added.
                let headers = if ip == Ip::V4 { 28 } else { 48 };
                let full = match tags {
                    [] | [(C, _)] => 1500 - headers,
                    _ => 1500 - 4 * tags.len() - headers,
                };
                for len in [14, 15, 41, 44, 300, full] {
                    let sent = light(len);
                    let frame = rig.request(ip, 5000 + answered, 862).payload(&sent);
                    let answer = rig.ask(&tagged(frame, tags).ttl(61).pad_to(60));
                    let context = format!("{mode} {ip:?} {tags:04x?} {len} octets");
                    let [to, from] = [&answer.frame[..6], &answer.frame[6..12]];
                    assert_eq!(to, rig.veth.sender.mac, "{context}");
                    assert_eq!(from, rig.veth.reflector.mac, "{context}");
                    let end = 12 + 4 * tags.len();
                    assert_eq!(answer.frame[12..end], octets(tags), "{context}");
                    let protocol = [answer.frame[end], answer.frame[end + 1]];
                    assert!(matches!(protocol, [0x08, 0x00] | [0x86, 0xdd]), "{context}");

                    let datagram = answer.datagram;
                    assert_eq!(datagram.tos, tos, "whose listener: {context}");
                    assert!(datagram.udp_checksum_valid, "{context}");
                    assert_eq!(datagram.payload.len(), len.max(41), "{context}");
                    assert_eq!(datagram.payload[24..38], sent[..14], "{context}");
                    assert_eq!(datagram.payload[40], 61, "Sender TTL: {context}");
                    answered += 1;
                }
            }
        }
        let answered = u64::from(answered);
        let summary = reflector.stop();
        assert_eq!(summary.row("total"), [answered, answered, 0]);
        assert_eq!(summary.sockets(), [0, 0]);
        assert!(summary.0.contains(&format!("{mode} XDP")), "{}", summary.0);
    }
}

#[test]
fn other_tags_are_not_ours() {
    skip_unless!(Need::Xdp);
    for mode in ["native", "generic"] {
        let rig = Rig::new();
        let reflector = rig.start_with(&["vlan=100", "vlan=200.7"], &["--xdp-mode", mode]);
        let others: [&[(u16, u16)]; 12] = [
            &[],
            &[(C, 0xe000)],
            &[(C, 101)],
            &[(C, 0x1063)],
            // 100 but for one bit, with priority.
            &[(C, 0x80e4)],
            &[(C, 4095)],
            // One tag is not two, nor two one.
            &[(C, 200)],
            &[(C, 7)],
            &[(S, 100), (C, 7)],
            // The right IDs in the wrong places.
            &[(S, 200), (C, 8)],
            &[(S, 7), (C, 200)],
            &[(C, 0), (C, 100)],
        ];
        let deep: [&[(u16, u16)]; 3] = [
            &[(S, 100), (C, 100), (C, 100)],
            &[(S, 200), (C, 7), (C, 1)],
            &[(C, 100), (C, 0), (C, 0)],
        ];
        for ip in BOTH {
            let request = |tags| tagged(rig.request(ip, 5000, 862).payload(&light(44)), tags);
            let forbidden: Vec<UdpFrame> = others
                .iter()
                .chain(&deep)
                .map(|tags| request(tags))
                .collect();
            for good in [&[(C, 100)][..], &[(S, 200), (C, 7)]] {
                rig.only_the_last_is_answered(&built(&forbidden), &request(good));
            }
        }
        let summary = reflector.stop();
        assert_eq!(summary.row("total"), [4, 4, 0], "{mode}");
        assert_eq!(summary.sockets(), [0, 0]);
        let unmatched = summary.count("UDP for no listener");
        assert_eq!(unmatched, 4 * 12, "{}", summary.0);
        assert_eq!(summary.count("more than two VLAN tags"), 4 * 3);
    }
}

#[test]
fn the_slow_path_answers_priority_tagged_packets_but_without_their_tag() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let reflector = rig.start(&["dscp=cs1"]);
    for ip in BOTH {
        let request = rig.request(ip, 5000, 862).payload(&light(44));
        let request = tagged(request, &[(C, 0xe000)]);
        let answer = rig.ask(&request.ipv4_options(&[1; 4]).hop_by_hop());
        assert_eq!(answer.datagram.tos, UNTAGGED);
        // The kernel takes the tag off, and its sockets are not told.
        assert_eq!(answer.datagram.vlan_ids, [0_u16; 0]);
    }
    assert_eq!(reflector.stop().sockets(), [2, 2]);
}
