//! Frames built, read and checked by etherparse, which shares no code with this crate.

use std::net::IpAddr;

use etherparse::{
    LinkExtSlice, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, UdpSlice, VlanId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::error_estimate::ErrorEstimate;
use wire::frame::{
    FlowLabel, Layout, Packet, UdpChecksum, set_payload_len, turn_around, verify_ipv4_header,
    verify_udp,
};
use wire::twamp::{
    Reply, ReplyFields, Request, reply_len, transmit_sum, write_reply, write_transmit,
};

use crate::frames::mutated_frame;

/// What a frame is built from.
#[derive(Clone, Debug)]
struct Parts {
    macs: [[u8; 6]; 2],
    vlan_ids: Vec<u16>,
    addresses: Addresses,
    ttl: u8,
    ports: [u16; 2],
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Addresses {
    V4([[u8; 4]; 2]),
    V6([[u8; 16]; 2]),
}

fn parts() -> impl Strategy<Value = Parts> {
    let addresses = prop_oneof![
        any::<[[u8; 4]; 2]>().prop_map(Addresses::V4),
        any::<[[u8; 16]; 2]>().prop_map(Addresses::V6),
    ];
    let vlan_ids = vec(0_u16..4096, 0..3);
    let payload = vec(any::<u8>(), 14..200);
    (
        any::<[[u8; 6]; 2]>(),
        vlan_ids,
        addresses,
        any::<u8>(),
        any::<[u16; 2]>(),
        payload,
    )
        .prop_map(|(macs, vlan_ids, addresses, ttl, ports, payload)| Parts {
            macs,
            vlan_ids,
            addresses,
            ttl,
            ports,
            payload,
        })
}

fn build(parts: &Parts) -> Vec<u8> {
    let id = |at: usize| VlanId::try_new(parts.vlan_ids[at]).unwrap();
    let link = PacketBuilder::ethernet2(parts.macs[0], parts.macs[1]);
    let mut frame = Vec::new();
    // Each step of the builder is a type of its own.
    macro_rules! finish {
        ($link:expr) => {
            match parts.addresses {
                Addresses::V4([from, to]) => $link
                    .ipv4(from, to, parts.ttl)
                    .udp(parts.ports[0], parts.ports[1])
                    .write(&mut frame, &parts.payload),
                Addresses::V6([from, to]) => $link
                    .ipv6(from, to, parts.ttl)
                    .udp(parts.ports[0], parts.ports[1])
                    .write(&mut frame, &parts.payload),
            }
            .unwrap()
        };
    }
    match parts.vlan_ids.len() {
        0 => finish!(link),
        1 => finish!(link.single_vlan(id(0))),
        _ => finish!(link.double_vlan(id(0), id(1))),
    }
    frame
}

fn udp<'a>(sliced: &SlicedPacket<'a>) -> Option<UdpSlice<'a>> {
    match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => Some(udp.clone()),
        _ => None,
    }
}

/// Whether etherparse computes the IPv4 header checksum and the UDP checksum that are in `frame`.
fn checksums_are_right(frame: &[u8]) -> bool {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let udp = udp(&sliced).unwrap();
    let (header, payload) = (udp.to_header(), udp.payload());
    match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header().to_header();
            ip.calc_header_checksum() == ip.header_checksum
                && header.calc_checksum_ipv4(&ip, payload) == Ok(header.checksum)
        }
        NetSlice::Ipv6(ip) => {
            let ip = ip.header().to_header();
            header.calc_checksum_ipv6(&ip, payload) == Ok(header.checksum)
        }
        NetSlice::Arp(_) => false,
    }
}

/// The offsets of UDP header, and the length of its payload, by etherparse, if it is a packet that
/// [`Layout::parse`] should accept.
fn expected_datagram(frame: &[u8]) -> Option<(usize, usize)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let tags = sliced.link_exts.iter().all(|tag| {
        let LinkExtSlice::Vlan(_) = tag else {
            return false;
        };
        true
    });
    // etherparse takes 0x9100 for a tag as well: no standard does.
    let standard = (0..sliced.link_exts.len()).all(|tag| frame[12 + 4 * tag] != 0x91);
    let plain = match sliced.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            ip.header().options().is_empty() && !ip.header().is_fragmenting_payload()
        }
        NetSlice::Ipv6(ip) => {
            // A payload length of 0 is read as "all there is".
            ip.header().payload_length() >= 8 && ip.extensions().slice().is_empty()
        }
        NetSlice::Arp(_) => false,
    };
    let udp = udp(&sliced)?;
    let fills = sliced.ip_payload()?.payload.len() == udp.slice().len();
    let offset = udp.slice().as_ptr().addr() - frame.as_ptr().addr();
    let known =
        tags && standard && sliced.link_exts.len() <= 2 && plain && fills && udp.length() >= 8;
    known.then_some((offset, udp.payload().len()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn reads_what_etherparse_builds(parts in parts()) {
        let frame = build(&parts);
        let layout = Layout::parse(&frame).unwrap();
        prop_assert!(verify_ipv4_header(&frame, &layout));
        prop_assert_eq!(verify_udp(&frame, &layout), UdpChecksum::Valid);
        let packet = Packet::new(&frame, &layout).unwrap();
        prop_assert_eq!([packet.source_mac(), packet.destination_mac()], parts.macs);
        let ids: Vec<u16> = packet.vlan_ids().into_iter().flatten().collect();
        prop_assert_eq!(ids, parts.vlan_ids);
        let addresses: [IpAddr; 2] = match parts.addresses {
            Addresses::V4(addresses) => addresses.map(Into::into),
            Addresses::V6(addresses) => addresses.map(Into::into),
        };
        prop_assert_eq!([packet.source(), packet.destination()], addresses);
        prop_assert_eq!(packet.ttl(), parts.ttl);
        prop_assert_eq!([packet.source_port(), packet.destination_port()], parts.ports);
        prop_assert_eq!(packet.payload(), &parts.payload);
    }

    #[test]
    fn etherparse_reads_the_reply(
        parts in parts(), sequence: u32, stamps: [[u8; 8]; 2], tos: u8, estimate: u16,
    ) {
        let mut frame = build(&parts);
        let mut layout = Layout::parse(&frame).unwrap();
        let (_, plan) = Packet::parse(&frame).unwrap().judge_udp();
        let request_len = parts.payload.len();
        frame.resize(frame.len() + 27, 0xee);
        let fields =
            ReplyFields { sequence, receive_timestamp: stamps[0], sender_ttl: parts.ttl };
        let payload = &mut frame[usize::from(layout.payload)..];
        let estimate = ErrorEstimate::from_bits(estimate);
        let written = write_reply(payload, request_len, &fields).unwrap();
        write_transmit(payload, stamps[1], estimate).unwrap();
        turn_around(&mut frame, &layout, tos, FlowLabel::Keep);
        let len = u16::try_from(reply_len(request_len)).unwrap();
        set_payload_len(&mut frame, &mut layout, len).unwrap();
        plan.plus(written)
            .plus(transmit_sum(stamps[1], estimate))
            .plus_payload_len(len)
            .seal(&mut frame, &layout);

        prop_assert!(checksums_are_right(&frame));
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let ids: Vec<u16> = sliced.vlan_ids().iter().map(|id| id.value()).collect();
        prop_assert_eq!(ids, parts.vlan_ids);
        match (&parts.addresses, sliced.net.as_ref().unwrap()) {
            (Addresses::V4([from, to]), NetSlice::Ipv4(ip)) => {
                let ip = ip.header();
                prop_assert_eq!([ip.source(), ip.destination()], [*to, *from]);
                prop_assert_eq!(ip.ttl(), 255);
                prop_assert_eq!(ip.dcp().value() << 2 | ip.ecn().value(), tos);
                prop_assert_eq!(ip.total_len(), 28 + len);
            }
            (Addresses::V6([from, to]), NetSlice::Ipv6(ip)) => {
                let ip = ip.header();
                prop_assert_eq!([ip.source(), ip.destination()], [*to, *from]);
                prop_assert_eq!(ip.hop_limit(), 255);
                prop_assert_eq!(ip.traffic_class(), tos);
                prop_assert_eq!(ip.payload_length(), 8 + len);
            }
            other => prop_assert!(false, "{other:?}"),
        }
        let udp = udp(&sliced).unwrap();
        prop_assert_eq!([udp.destination_port(), udp.source_port()], parts.ports);
        prop_assert_eq!(udp.payload().len(), usize::from(len));

        let request = Request::parse(&parts.payload).unwrap();
        let reply = Reply::parse(udp.payload()).unwrap();
        prop_assert_eq!(reply.sequence(), sequence);
        prop_assert_eq!(reply.receive_timestamp(), stamps[0]);
        prop_assert_eq!(reply.timestamp(), stamps[1]);
        prop_assert_eq!(reply.sender_sequence(), request.sequence());
        prop_assert_eq!(reply.sender_timestamp(), request.timestamp());
        prop_assert_eq!(reply.sender_ttl(), Some(parts.ttl));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn accepts_exactly_what_etherparse_calls_a_plain_datagram(frame in mutated_frame()) {
        let found = Layout::parse(&frame)
            .ok()
            .map(|layout| (usize::from(layout.l4), usize::from(layout.payload_len)));
        prop_assert_eq!(found, expected_datagram(&frame));
    }
}
