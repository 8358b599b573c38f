//! Frames against etherparse, which reads them and computes their checksums from nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{EtherType, IpNumber, LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use wire::error_estimate::ErrorEstimate;
use wire::twamp::Request;

use super::*;

/// What a probe of the session says.
#[derive(Debug, Clone, Copy)]
struct Fields {
    address: IpAddr,
    port: u16,
    sequence: u32,
    ssid: Option<u16>,
    error_estimate: u16,
    t1: [u8; 8],
}

fn spec(target: &str, payload: usize) -> FrameSpec {
    let target: SocketAddr = target.parse().unwrap();
    FrameSpec {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        tags: Vec::new(),
        source: match target {
            SocketAddr::V4(_) => "10.0.0.1".parse().unwrap(),
            SocketAddr::V6(_) => "fd00::1".parse().unwrap(),
        },
        target,
        ttl: 255,
        tos: 0,
        dont_fragment: true,
        payload: (0..payload).map(|at| at.to_le_bytes()[0]).collect(),
    }
}

fn fields(address: IpAddr) -> Fields {
    Fields {
        address,
        port: 50_000,
        sequence: 7,
        ssid: None,
        error_estimate: 0x8001,
        t1: [1, 2, 3, 4, 5, 6, 7, 8],
    }
}

fn write(writer: &FrameWriter, frame: &mut [u8], fields: &Fields) {
    let pending = writer
        .prepare(
            frame,
            (fields.address, fields.port),
            fields.sequence,
            fields.ssid,
            ErrorEstimate::from_bits(fields.error_estimate),
        )
        .unwrap();
    writer.stamp(frame, pending, fields.t1).unwrap();
}

/// Reads the frame as a stranger would and compares all of it.
fn check(frame: &[u8], spec: &FrameSpec, fields: &Fields, id: u16) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    check_link(&packet, spec);
    let Some(TransportSlice::Udp(udp)) = &packet.transport else {
        panic!("no UDP: {packet:?}");
    };
    let header = udp.to_header();
    assert_eq!(header.source_port, fields.port);
    assert_eq!(header.destination_port, spec.target.port());
    assert_eq!(usize::from(header.length), 8 + spec.payload.len());
    let checksum = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.dscp.value() << 2 | ip.ecn.value(), spec.tos);
            assert_eq!(ip.time_to_live, spec.ttl);
            assert_eq!(ip.dont_fragment, spec.dont_fragment);
            assert!(!ip.is_fragmenting_payload());
            assert_eq!(ip.identification, id);
            assert_eq!(ip.protocol, IpNumber::UDP);
            assert_eq!(IpAddr::from(ip.source), fields.address);
            assert_eq!(IpAddr::from(ip.destination), spec.target.ip());
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            header.calc_checksum_ipv4(&ip, udp.payload()).unwrap()
        }
        NetSlice::Ipv6(ip) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.traffic_class, spec.tos);
            assert_eq!(ip.flow_label.value(), 0);
            assert_eq!(ip.hop_limit, spec.ttl);
            assert_eq!(ip.next_header, IpNumber::UDP);
            assert_eq!(IpAddr::from(ip.source), fields.address);
            assert_eq!(IpAddr::from(ip.destination), spec.target.ip());
            header.calc_checksum_ipv6(&ip, udp.payload()).unwrap()
        }
        NetSlice::Arp(_) => panic!("no IP: {packet:?}"),
    };
    assert_eq!(header.checksum, checksum);
    assert_ne!(header.checksum, 0, "0 would say that there is none");
    let request = Request::parse(udp.payload()).unwrap();
    assert_eq!(request.sequence(), fields.sequence);
    assert_eq!(request.timestamp(), fields.t1);
    assert_eq!(request.error_estimate().to_bits(), fields.error_estimate);
    let mut padding = spec.payload[14..].to_vec();
    if let Some(ssid) = fields.ssid {
        padding[..2].copy_from_slice(&ssid.to_be_bytes());
    }
    assert_eq!(request.padding(), padding);
}

fn check_link(packet: &SlicedPacket<'_>, spec: &FrameSpec) {
    let Some(etherparse::LinkSlice::Ethernet2(ethernet)) = &packet.link else {
        panic!("no Ethernet: {packet:?}");
    };
    assert_eq!(ethernet.source(), spec.source_mac);
    assert_eq!(ethernet.destination(), spec.destination_mac);
    let mut announced = ethernet.ether_type();
    let mut tags = Vec::new();
    for extension in &packet.link_exts {
        let LinkExtSlice::Vlan(tag) = extension else {
            panic!("no VLAN tag: {extension:?}");
        };
        tags.push(VlanTag {
            tpid: announced.0,
            pcp: tag.priority_code_point().value(),
            dei: tag.drop_eligible_indicator(),
            vid: tag.vlan_identifier().value(),
        });
        announced = tag.ether_type();
    }
    assert_eq!(tags, spec.tags);
    let ip = if spec.target.is_ipv4() {
        EtherType::IPV4
    } else {
        EtherType::IPV6
    };
    assert_eq!(announced, ip);
}

fn any_address(v4: bool) -> BoxedStrategy<IpAddr> {
    if v4 {
        any::<Ipv4Addr>().prop_map(IpAddr::V4).boxed()
    } else {
        any::<Ipv6Addr>().prop_map(IpAddr::V6).boxed()
    }
}

fn any_tag() -> impl Strategy<Value = VlanTag> {
    (
        prop_oneof![Just(0x8100), Just(0x88a8)],
        0u8..8,
        any::<bool>(),
        0u16..4096,
    )
        .prop_map(|(tpid, pcp, dei, vid)| VlanTag {
            tpid,
            pcp,
            dei,
            vid,
        })
}

fn any_spec(v4: bool) -> impl Strategy<Value = FrameSpec> {
    (
        any::<([u8; 6], [u8; 6], u8, u8, bool, u16)>(),
        prop::collection::vec(any_tag(), 0..=2),
        any_address(v4),
        any_address(v4),
        prop_oneof![
            prop::collection::vec(any::<u8>(), 14..100),
            prop::collection::vec(any::<u8>(), 1400..1500)
        ],
    )
        .prop_map(|(numbers, tags, source, target, payload)| {
            let (source_mac, destination_mac, ttl, tos, dont_fragment, port) = numbers;
            FrameSpec {
                source_mac,
                destination_mac,
                tags,
                source,
                target: SocketAddr::new(target, port),
                ttl,
                tos,
                dont_fragment,
                payload,
            }
        })
}

fn any_fields(v4: bool) -> impl Strategy<Value = Fields> {
    (
        any_address(v4),
        any::<(u16, u32, Option<u16>, u16, [u8; 8])>(),
    )
        .prop_map(
            |(address, (port, sequence, ssid, error_estimate, t1))| Fields {
                address,
                port,
                sequence,
                ssid,
                error_estimate,
                t1,
            },
        )
}

fn any_run() -> impl Strategy<Value = (FrameSpec, Vec<Fields>)> {
    any::<bool>()
        .prop_flat_map(|v4| (any_spec(v4), prop::collection::vec(any_fields(v4), 1..5)))
        .prop_map(|(spec, mut probes)| {
            for probe in probes.iter_mut().filter(|_| spec.payload.len() < 16) {
                probe.ssid = None;
            }
            (spec, probes)
        })
}

proptest! {
    #[test]
    fn a_buffer_serves_any_session_after_any_other((spec, probes) in any_run()) {
        let writer = FrameWriter::new(&spec).unwrap();
        let mut frame = vec![0xee; writer.len()];
        writer.fill(&mut frame).unwrap();
        for (id, probe) in (0..).zip(&probes) {
            write(&writer, &mut frame, probe);
            check(&frame, &spec, probe, if spec.dont_fragment { 0 } else { id });
        }
    }
}

#[test]
fn every_size_odd_and_even_has_a_right_checksum() {
    for target in ["10.0.0.2:862", "[fd00::2]:862"] {
        for len in 14..200 {
            let spec = spec(target, len);
            let writer = FrameWriter::new(&spec).unwrap();
            let mut frame = vec![0; writer.len()];
            writer.fill(&mut frame).unwrap();
            let fields = fields(spec.source);
            write(&writer, &mut frame, &fields);
            check(&frame, &spec, &fields, 0);
        }
    }
}

#[test]
fn a_checksum_of_zero_is_sent_as_all_ones() {
    let spec = spec("10.0.0.2:862", 44);
    let writer = FrameWriter::new(&spec).unwrap();
    let mut frame = vec![0; writer.len()];
    writer.fill(&mut frame).unwrap();
    let mut fields = fields(spec.source);
    fields.t1 = [0; 8];
    write(&writer, &mut frame, &fields);
    let checksum = 14 + 20 + 6;
    // T1 makes up for what is missing to a sum of all ones.
    fields.t1[..2].copy_from_slice(&frame[checksum..checksum + 2]);
    write(&writer, &mut frame, &fields);
    assert_eq!(frame[checksum..checksum + 2], [0xff, 0xff]);
    check(&frame, &spec, &fields, 0);
}

#[test]
fn packets_that_may_be_fragmented_are_numbered() {
    let mut spec = spec("10.0.0.2:862", 44);
    spec.dont_fragment = false;
    let writer = FrameWriter::new(&spec).unwrap();
    let mut frame = vec![0; writer.len()];
    writer.fill(&mut frame).unwrap();
    let fields = fields(spec.source);
    for id in (0..=u16::MAX).chain([0]) {
        write(&writer, &mut frame, &fields);
        assert_eq!(frame[18..20], id.to_be_bytes());
    }
    check(&frame, &spec, &fields, 0);
}

#[test]
fn says_what_makes_no_frame() {
    let v4 = spec("10.0.0.2:862", 14);
    let error = |change: fn(&mut FrameSpec)| {
        let mut spec = v4.clone();
        change(&mut spec);
        FrameWriter::new(&spec).unwrap_err()
    };
    let most = 65_507;
    assert_eq!(
        error(|spec| spec.payload = vec![0; 13]),
        FrameError::PayloadLength { len: 13, most }
    );
    assert_eq!(
        error(|spec| spec.payload = vec![0; 65_508]),
        FrameError::PayloadLength { len: 65_508, most }
    );
    let tag = |pcp, vid| VlanTag {
        tpid: 0x8100,
        pcp,
        dei: false,
        vid,
    };
    let with_tags = |tags: Vec<VlanTag>| {
        let spec = FrameSpec { tags, ..v4.clone() };
        FrameWriter::new(&spec).unwrap_err()
    };
    assert_eq!(with_tags(vec![tag(0, 1); 3]), FrameError::Tags(3));
    assert_eq!(
        with_tags(vec![tag(8, 1)]),
        FrameError::Tag { pcp: 8, vid: 1 }
    );
    assert_eq!(
        with_tags(vec![tag(0, 1), tag(0, 4096)]),
        FrameError::Tag { pcp: 0, vid: 4096 }
    );
    assert_eq!(
        error(|spec| spec.source = Ipv6Addr::LOCALHOST.into()),
        FrameError::Family
    );
    let longest = spec("[fd00::2]:1", 65_527);
    assert_eq!(
        FrameWriter::new(&longest).unwrap().len(),
        14 + 40 + 8 + 65_527
    );
}

#[test]
fn a_buffer_of_another_length_or_a_source_of_another_family_is_refused() {
    let spec = spec("10.0.0.2:862", 15);
    let writer = FrameWriter::new(&spec).unwrap();
    let estimate = ErrorEstimate::from_bits(1);
    let needed = writer.len();
    for len in [0, 14, needed - 1, needed + 1] {
        let refused = FrameError::Buffer { needed, len };
        let mut frame = vec![0xee; len];
        assert_eq!(writer.fill(&mut frame), Err(refused));
        let prepared = writer.prepare(&mut frame, (spec.source, 1), 0, None, estimate);
        assert_eq!(prepared.unwrap_err(), refused);
        let mut right = vec![0; needed];
        let pending = writer
            .prepare(&mut right, (spec.source, 1), 0, None, estimate)
            .unwrap();
        assert_eq!(writer.stamp(&mut frame, pending, [1; 8]), Err(refused));
        assert_eq!(frame, vec![0xee; len], "nothing is written");
    }
    let mut frame = vec![0; needed];
    let v6 = (Ipv6Addr::LOCALHOST.into(), 1);
    let prepared = writer.prepare(&mut frame, v6, 0, None, estimate);
    assert_eq!(prepared.unwrap_err(), FrameError::Family);
    let prepared = writer.prepare(&mut frame, (spec.source, 1), 0, Some(5), estimate);
    assert_eq!(prepared.unwrap_err(), FrameError::NoSsid);
}
