//! Frames to test with, put together octet by octet.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use wire::frame::{IpVersion, Layout};

use crate::checksum::naive;

pub(crate) const REFLECTOR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];
pub(crate) const SENDER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub(crate) const SENDER_V4: [u8; 4] = [192, 0, 2, 1];
pub(crate) const REFLECTOR_V4: [u8; 4] = [198, 51, 100, 7];
pub(crate) const SENDER_V6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const REFLECTOR_V6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// An untagged frame with the given UDP datagram between these addresses, IPv4 or IPv6 by their
/// size. TTL 64, TOS 0xba.
pub(crate) fn around(source: &[u8], destination: &[u8], datagram: &[u8]) -> Vec<u8> {
    let len = u16::try_from(datagram.len()).unwrap();
    let mut frame = [REFLECTOR_MAC, SENDER_MAC].concat();
    if source.len() == 4 {
        let mut header = [0x45, 0xba, 0, 0, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0].to_vec();
        header[2..4].copy_from_slice(&(20 + len).to_be_bytes());
        header.extend_from_slice(source);
        header.extend_from_slice(destination);
        let checksum = !naive(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend_from_slice(&[0x08, 0x00]);
        frame.extend_from_slice(&header);
    } else {
        frame.extend_from_slice(&[0x86, 0xdd, 0x6b, 0xa5, 0x43, 0x21]);
        frame.extend_from_slice(&len.to_be_bytes());
        frame.extend_from_slice(&[17, 64]);
        frame.extend_from_slice(source);
        frame.extend_from_slice(destination);
    }
    frame.extend_from_slice(datagram);
    frame
}

/// A good frame from sender port 20000 to reflector port 862 with `tags` VLAN tags.
pub(crate) fn test_frame(tags: usize, v6: bool, payload: &[u8]) -> Vec<u8> {
    let (source, destination): (&[u8], &[u8]) = if v6 {
        (&SENDER_V6, &REFLECTOR_V6)
    } else {
        (&SENDER_V4, &REFLECTOR_V4)
    };
    let len = u16::try_from(8 + payload.len()).unwrap();
    let mut datagram = [20_000_u16, 862, len, 0].map(u16::to_be_bytes).concat();
    datagram.extend_from_slice(payload);
    let covered = [source, destination, &[0, 17], &len.to_be_bytes(), &datagram].concat();
    let checksum = match !naive(&covered) {
        0 => 0xffff,
        checksum => checksum,
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = around(source, destination, &datagram);
    // An 802.1ad tag with VLAN 100 outside, an 802.1Q tag with VLAN 7 and priority 5 inside.
    let all: [&[u8]; 2] = [&[0x88, 0xa8, 0, 100], &[0x81, 0, 0xa0, 7]];
    let tags = all[2 - tags..].concat();
    frame.splice(12..12, tags);
    frame
}

/// Good frames of every shape: tags, IP version, payload, and whatever follows the datagram.
pub(crate) fn good_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![vec(any::<u8>(), 14..60), vec(any::<u8>(), 0..300)];
    (0..3_usize, any::<bool>(), payload, vec(any::<u8>(), 0..20)).prop_map(
        |(tags, v6, payload, trailer)| {
            let mut frame = test_frame(tags, v6, &payload);
            frame.extend(trailer);
            frame
        },
    )
}

pub(crate) fn shapes() -> impl Iterator<Item = (usize, bool)> {
    (0..3).flat_map(|tags| [(tags, false), (tags, true)])
}

/// Any layout at all, near enough to real ones to be sometimes right.
pub(crate) fn any_layout() -> impl Strategy<Value = Layout> {
    let near = |most: u16| prop_oneof![3 => 0..most, 1 => any::<u16>()];
    let ip = prop_oneof![Just(IpVersion::V4), Just(IpVersion::V6)];
    let by_hand = (0..4_u8, near(30), near(80), near(90), near(100), ip).prop_map(
        |(vlan_tags, l3, l4, payload, payload_len, ip)| Layout {
            vlan_tags,
            l3,
            l4,
            payload,
            payload_len,
            ip,
        },
    );
    let of_another = (good_frame(), near(400)).prop_map(|(frame, payload_len)| Layout {
        payload_len,
        ..Layout::parse(&frame).unwrap()
    });
    prop_oneof![by_hand, of_another]
}

pub(crate) fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..150), good_frame(), mutated_frame()]
}

/// A good frame with some octets changed and perhaps its end cut off.
pub(crate) fn mutated_frame() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..4);
    let headers = vec((0..66_usize, any::<u8>()), 0..3);
    (good_frame(), changes, headers, any::<Option<Index>>()).prop_map(
        |(mut frame, changes, headers, cut)| {
            for (at, octet) in changes {
                *at.get_mut(&mut frame) = octet;
            }
            for (at, octet) in headers {
                if let Some(old) = frame.get_mut(at) {
                    *old = octet;
                }
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len()));
            }
            frame
        },
    )
}
