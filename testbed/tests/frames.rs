//! Crafted frames, read back by etherparse's dissector and against octets made elsewhere.

#![cfg(test)]

use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Checksum, Datagram, UdpFrame};

fn v4() -> UdpFrame {
    UdpFrame::v4(
        "10.86.2.2:4000".parse().unwrap(),
        "10.86.2.1:862".parse().unwrap(),
    )
}

fn v6() -> UdpFrame {
    UdpFrame::v6(
        "[fd00:862::2]:4000".parse().unwrap(),
        "[fd00:862::1]:862".parse().unwrap(),
    )
}

fn parse(frame: &UdpFrame) -> Datagram {
    Datagram::parse(&frame.build()).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let octets = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    octets.collect::<Result<_, _>>().unwrap()
}

/// The expected octets were made by scapy 2.5.0 from the fields named here.
#[test]
fn frames_are_those_of_an_independent_crafter() {
    let payload: Vec<u8> = (1..15).collect();
    let plain = v4().ttl(64).tos(0xb8).payload(&payload).build();
    let expected = "020000000001020000000002080045b8002a000040004011215d0a5602020a560201\
                    0fa0035e0016a2dd0102030405060708090a0b0c0d0e";
    assert_eq!(plain, hex(expected));

    let tagged = v6()
        .vlan(SERVICE_TAG, 100)
        .vlan(CUSTOMER_TAG, 7)
        .tos(0x2e)
        .hop_by_hop();
    let expected = "02000000000102000000000288a800648100000786dd62e00000001e00ff\
                    fd000862000000000000000000000002fd000862000000000000000000000001\
                    11000104000000000fa0035e0016b0c30102030405060708090a0b0c0d0e";
    assert_eq!(tagged.payload(&payload).build(), hex(expected));
}

#[test]
fn sound_frames_read_back_whole() {
    for frame in [v4(), v6()] {
        let found = parse(
            &frame
                .macs([2; 6], [4; 6])
                .ttl(64)
                .tos(0xb9)
                .payload(b"payload"),
        );
        assert_eq!((found.source_mac, found.destination_mac), ([2; 6], [4; 6]));
        assert_eq!((found.source.port(), found.destination.port()), (4000, 862));
        assert_eq!((found.ttl, found.tos), (64, 0xb9));
        assert_eq!(found.payload, b"payload");
        assert_eq!(found.vlan_ids, [0u16; 0]);
        assert!(found.udp_checksum_valid);
    }
    assert_eq!(parse(&v4()).source, "10.86.2.2:4000".parse().unwrap());
    assert_eq!(
        parse(&v6()).destination,
        "[fd00:862::1]:862".parse().unwrap()
    );
}

#[test]
fn checksums_are_what_was_asked_for() {
    for frame in [v4(), v6()].map(|frame| frame.payload(b"odd")) {
        let right = parse(&frame.clone().checksum(Checksum::Valid));
        let partial = parse(&frame.clone().checksum(Checksum::Partial));
        let absent = parse(&frame.clone().checksum(Checksum::Absent));
        let wrong = parse(&frame.clone().checksum(Checksum::Wrong));
        assert!(right.udp_checksum_valid);
        assert!(!partial.udp_checksum_valid && !absent.udp_checksum_valid);
        assert!(!wrong.udp_checksum_valid);
        assert_eq!(absent.udp_checksum, 0);
        let others = [0, right.udp_checksum, partial.udp_checksum];
        assert!(!others.contains(&wrong.udp_checksum));
    }
}

#[test]
fn a_computed_zero_is_sent_as_all_ones() {
    // Ports and lengths are fixed: look for a payload whose checksum is the all-ones zero.
    let zero = (0..=u16::MAX)
        .map(|word| v4().payload(&word.to_be_bytes()))
        .map(|frame| parse(&frame))
        .find(|found| found.udp_checksum == 0xffff)
        .expect("one of all 16-bit words completes the sum");
    assert!(zero.udp_checksum_valid);
}

#[test]
fn vlan_tags_nest_in_the_order_given() {
    let found = parse(&v6().vlan(SERVICE_TAG, 100).vlan(CUSTOMER_TAG, 7));
    assert_eq!(found.vlan_ids, [100, 7]);
    let octets = v4().vlan(SERVICE_TAG, 100).vlan(CUSTOMER_TAG, 7).build();
    assert_eq!(
        octets[12..22],
        [0x88, 0xa8, 0, 100, 0x81, 0x00, 0, 7, 0x08, 0x00]
    );
}

#[test]
fn tags_and_flow_labels_are_written_whole() {
    // PCP 5, DEI set, VLAN id 100; PCP 0, DEI clear, VLAN id 7.
    let frame = v6()
        .tag(SERVICE_TAG, 0xb064)
        .tag(CUSTOMER_TAG, 7)
        .tos(0xb8)
        .flow_label(0xf_1234);
    let octets = frame.build();
    assert_eq!(octets[12..22], hex("88a8b0648100000786dd"));
    assert_eq!(octets[22..26], hex("6b8f1234"));
    let found = parse(&frame);
    assert_eq!(found.vlan_ids, [100, 7]);
    assert_eq!((found.tos, found.flow_label), (0xb8, 0xf_1234));
    assert_eq!(parse(&v4()).flow_label, 0);
}

#[test]
fn padding_lies_outside_the_datagram() {
    let frame = v4().payload(&[7; 14]).pad_to(60).build();
    assert_eq!(frame.len(), 60);
    assert_eq!(frame[56..], [0xee; 4]);
    let found = Datagram::parse(&frame).unwrap();
    assert_eq!(found.payload, [7; 14]);
    assert!(found.udp_checksum_valid);
    assert_eq!(
        v4().payload(&[0; 100]).pad_to(60).build().len(),
        14 + 20 + 8 + 100
    );
}

#[test]
fn broken_frames_do_not_read_as_datagrams() {
    let broken = [
        v4().wrong_ipv4_checksum(),
        v4().udp_length(7),
        v4().payload(&[0; 8]).udp_length(400),
        v4().fragment(3, false),
        v6().fragment(3, true),
    ];
    for frame in broken {
        assert!(Datagram::parse(&frame.build()).is_err(), "{frame:?}");
    }
    let whole = v4().payload(&[0; 14]).build();
    for length in 0..whole.len() {
        assert!(
            Datagram::parse(&whole[..length]).is_err(),
            "{length} octets"
        );
    }
}

#[test]
fn options_and_extension_headers_stand_before_udp() {
    let found = parse(&v4().ipv4_options(&[1, 1, 1, 0]).payload(b"x"));
    assert_eq!(
        (found.payload.as_slice(), found.udp_checksum_valid),
        (&b"x"[..], true)
    );
    let plain = v6().payload(b"x").build();
    let extended = v6().hop_by_hop().payload(b"x").build();
    assert_eq!(extended[20], 0, "next header is hop-by-hop");
    assert_eq!(extended[54..62], [17, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(extended[62..], plain[54..]);
    let found = Datagram::parse(&extended).unwrap();
    assert_eq!(
        (found.payload.as_slice(), found.udp_checksum_valid),
        (&b"x"[..], true)
    );
}

#[test]
fn fragments_say_so_in_their_header() {
    let v4 = v4().fragment(3, true).build();
    assert_eq!(u16::from_be_bytes([v4[20], v4[21]]), 0x2003);
    let v6 = v6().hop_by_hop().fragment(3, true).build();
    assert_eq!((v6[20], v6[54], v6[62]), (0, 44, 17));
    assert_eq!(u16::from_be_bytes([v6[64], v6[65]]), 3 << 3 | 1);
}
