//! Frames found and read: `Layout` and `Packet`.

use std::net::IpAddr;

use proptest::prelude::*;
use wire::frame::{
    FrameError, IpVersion, Layout, Packet, UdpChecksum, verify_ipv4_header, verify_udp,
};

use crate::frames::{
    REFLECTOR_MAC, REFLECTOR_V4, REFLECTOR_V6, SENDER_MAC, SENDER_V4, SENDER_V6, any_frame, shapes,
    test_frame,
};

const PAYLOAD: [u8; 44] = [0x5a; 44];

#[test]
fn finds_the_payload_behind_every_header() {
    for (tags, v6) in shapes() {
        let frame = test_frame(tags, v6, &PAYLOAD);
        let l3 = 14 + 4 * u16::try_from(tags).unwrap();
        let l4 = l3 + if v6 { 40 } else { 20 };
        let ip = if v6 { IpVersion::V6 } else { IpVersion::V4 };
        let vlan_tags = u8::try_from(tags).unwrap();
        let expected = Layout {
            vlan_tags,
            l3,
            l4,
            payload: l4 + 8,
            payload_len: 44,
            ip,
        };
        assert_eq!(Layout::parse(&frame), Ok(expected));
        assert_eq!(expected.check(&frame), Ok(()));
        assert!(verify_ipv4_header(&frame, &expected));
        assert_eq!(verify_udp(&frame, &expected), UdpChecksum::Valid);
    }
}

#[test]
fn reads_the_headers() {
    for (tags, v6) in shapes() {
        let frame = test_frame(tags, v6, &PAYLOAD);
        let packet = Packet::new(&frame, &Layout::parse(&frame).unwrap()).unwrap();
        let (source, destination) = if v6 {
            (IpAddr::from(SENDER_V6), IpAddr::from(REFLECTOR_V6))
        } else {
            (IpAddr::from(SENDER_V4), IpAddr::from(REFLECTOR_V4))
        };
        assert_eq!(
            (packet.source(), packet.destination()),
            (source, destination)
        );
        assert_eq!(
            (packet.source_mac(), packet.destination_mac()),
            (SENDER_MAC, REFLECTOR_MAC)
        );
        assert_eq!(
            (packet.source_port(), packet.destination_port()),
            (20_000, 862)
        );
        assert_eq!((packet.ttl(), packet.tos()), (64, 0xba));
        assert_eq!(packet.payload(), PAYLOAD);
        let ids = [[None, None], [Some(7), None], [Some(100), Some(7)]];
        assert_eq!(packet.vlan_ids(), ids[tags]);
        let at = frame.len() - 44 - 2;
        assert_eq!(packet.udp_checksum().to_be_bytes(), frame[at..at + 2]);
    }
}

#[test]
fn trims_ethernet_padding() {
    for (tags, v6) in shapes() {
        let mut frame = test_frame(tags, v6, &[1; 14]);
        let len = frame.len();
        frame.resize(len + 40, 0xee);
        let layout = Layout::parse(&frame).unwrap();
        assert_eq!(layout.payload_len, 14);
        assert_eq!(Packet::new(&frame, &layout).unwrap().payload(), [1; 14]);
        assert_eq!(verify_udp(&frame, &layout), UdpChecksum::Valid);
    }
}

#[test]
fn rejects_a_datagram_shorter_than_its_ip_packet() {
    for (v6, at) in [(false, 38), (true, 58)] {
        let mut frame = test_frame(0, v6, &PAYLOAD);
        frame[at..at + 2].copy_from_slice(&51_u16.to_be_bytes());
        assert_eq!(Layout::parse(&frame), Err(FrameError::UdpLength));
    }
}

#[test]
fn rejects_frames_truncated_at_every_length() {
    for (tags, v6) in shapes() {
        let frame = test_frame(tags, v6, &PAYLOAD);
        let layout = Layout::parse(&frame).unwrap();
        for len in 0..frame.len() {
            let error = Layout::parse(&frame[..len]).unwrap_err();
            assert_eq!(error, FrameError::Truncated, "{len} of {}", frame.len());
            assert_eq!(layout.check(&frame[..len]), Err(error));
            assert_eq!(Packet::new(&frame[..len], &layout).unwrap_err(), error);
        }
    }
}

/// A good frame with these octets put in at `at` is rejected for this reason.
fn rejects(v6: bool) -> impl Fn(&str, usize, &[u8], FrameError) {
    move |name, at, octets, error| {
        let mut frame = test_frame(0, v6, &PAYLOAD);
        frame[at..at + octets.len()].copy_from_slice(octets);
        assert_eq!(Layout::parse(&frame), Err(error), "{name}");
    }
}

#[test]
fn rejects_what_it_does_not_answer_over_ipv4() {
    let reject = rejects(false);
    reject("ARP", 12, &[0x08, 0x06], FrameError::NotIp);
    reject(
        "pre-standard QinQ tag",
        12,
        &[0x91, 0x00],
        FrameError::NotIp,
    );
    reject("802.3 length", 12, &[0x00, 0x40], FrameError::NotIp);
    reject(
        "IPv4 behind the IPv6 EtherType",
        12,
        &[0x86, 0xdd],
        FrameError::Ipv6Header,
    );
    reject("version 5", 14, &[0x55], FrameError::Ipv4Header);
    reject("four words of header", 14, &[0x44], FrameError::Ipv4Header);
    reject("one word of options", 14, &[0x46], FrameError::Ipv4Options);
    reject("ten words of options", 14, &[0x4f], FrameError::Ipv4Options);
    reject("total length 19", 16, &[0, 19], FrameError::Ipv4Length);
    reject("total length 27", 16, &[0, 27], FrameError::UdpLength);
    reject(
        "total length beyond the frame",
        16,
        &[0, 73],
        FrameError::Truncated,
    );
    reject("first fragment", 20, &[0x20, 0], FrameError::Fragment);
    reject("last fragment", 20, &[0, 1], FrameError::Fragment);
    reject("far fragment", 20, &[0x10, 0], FrameError::Fragment);
    reject("TCP", 23, &[6], FrameError::NotUdp);
    reject("UDP-Lite", 23, &[136], FrameError::NotUdp);
    reject("UDP length 7", 38, &[0, 7], FrameError::UdpLength);
    reject("UDP length 0", 38, &[0, 0], FrameError::UdpLength);
    reject(
        "UDP length beyond the IP packet",
        38,
        &[0, 53],
        FrameError::UdpLength,
    );
}

#[test]
fn rejects_what_it_does_not_answer_over_ipv6() {
    let reject = rejects(true);
    reject(
        "IPv6 behind the IPv4 EtherType",
        12,
        &[0x08, 0x00],
        FrameError::Ipv4Header,
    );
    reject("version 4", 14, &[0x40], FrameError::Ipv6Header);
    reject("Hop-by-Hop Options", 20, &[0], FrameError::ExtensionHeader);
    reject("Routing", 20, &[43], FrameError::ExtensionHeader);
    reject("Fragment", 20, &[44], FrameError::Fragment);
    reject(
        "Destination Options",
        20,
        &[60],
        FrameError::ExtensionHeader,
    );
    reject("ICMPv6", 20, &[58], FrameError::NotUdp);
    reject("payload length 7", 18, &[0, 7], FrameError::UdpLength);
    reject("jumbogram", 18, &[0, 0], FrameError::UdpLength);
    reject(
        "payload length beyond the frame",
        18,
        &[0, 53],
        FrameError::Truncated,
    );
    reject(
        "UDP length beyond the IP packet",
        58,
        &[0, 53],
        FrameError::UdpLength,
    );
}

#[test]
fn accepts_harmless_flags() {
    for flags in [[0x40, 0], [0x80, 0], [0, 0]] {
        let mut frame = test_frame(0, false, &PAYLOAD);
        frame[20..22].copy_from_slice(&flags);
        assert_eq!(Layout::parse(&frame).unwrap().payload_len, 44, "{flags:?}");
    }
}

#[test]
fn accepts_two_tags_of_either_kind_and_no_third() {
    let tag = |ether_type: u16| [&ether_type.to_be_bytes()[..], &[0, 1]].concat();
    for outer in [0x8100, 0x88a8] {
        for inner in [0x8100, 0x88a8] {
            let mut frame = test_frame(0, false, &PAYLOAD);
            frame.splice(12..12, [tag(outer), tag(inner)].concat());
            assert_eq!(Layout::parse(&frame).unwrap().vlan_tags, 2);
            frame.splice(12..12, tag(outer));
            assert_eq!(Layout::parse(&frame), Err(FrameError::VlanDepth));
        }
    }
}

#[test]
fn notices_offsets_of_another_frame() {
    let frame = test_frame(1, false, &PAYLOAD);
    let layout = Layout::parse(&frame).unwrap();
    let wrong = [
        Layout {
            vlan_tags: 0,
            ..layout
        },
        Layout {
            l3: layout.l3 + 1,
            ..layout
        },
        Layout {
            l4: layout.l4 - 1,
            ..layout
        },
        Layout {
            payload: layout.payload + 2,
            ..layout
        },
        Layout {
            payload_len: 43,
            ..layout
        },
        Layout {
            ip: IpVersion::V6,
            ..layout
        },
    ];
    for wrong in wrong {
        let possible = wrong.payload_len == 43;
        let packet = Packet::new(&frame, &wrong);
        assert_eq!(
            packet.err(),
            (!possible).then_some(FrameError::LayoutMismatch),
            "{wrong:?}"
        );
        assert_eq!(
            wrong.check(&frame),
            Err(FrameError::LayoutMismatch),
            "{wrong:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_layout_found_lies_inside_the_frame(frame in any_frame()) {
        if let Ok(layout) = Layout::parse(&frame) {
            let end = usize::from(layout.payload) + usize::from(layout.payload_len);
            prop_assert!(end <= frame.len());
            prop_assert_eq!(layout.check(&frame), Ok(()));
            let packet = Packet::new(&frame, &layout).unwrap();
            prop_assert_eq!(packet.payload(), &frame[usize::from(layout.payload)..end]);
        }
    }
}
