//! The octets that all probes of a run share.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    SingleVlanHeader, UdpHeader, VlanId, VlanPcp,
};
use wire::twamp::REQUEST_LEN;

use super::FrameError;

/// What all probes of a run share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameSpec {
    /// MAC address of the interface.
    pub source_mac: [u8; 6],
    /// MAC address of the next hop.
    pub destination_mac: [u8; 6],
    /// VLAN tags, the outermost first; at most two.
    pub tags: Vec<VlanTag>,
    /// Source address of the filled template; each probe may have another.
    pub source: IpAddr,
    /// The reflector.
    pub target: SocketAddr,
    /// TTL or Hop Limit.
    pub ttl: u8,
    /// TOS or Traffic Class octet: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Don't Fragment; nothing over IPv6, where routers never fragment.
    pub dont_fragment: bool,
    /// UDP payload, padding included; what is in the header of the probe does not matter.
    pub payload: Vec<u8>,
}

/// A VLAN tag (IEEE 802.1Q section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanTag {
    /// `EtherType` that announces the tag: 0x8100, or 0x88a8 for the outer one of two.
    pub tpid: u16,
    /// Priority, 0 to 7.
    pub pcp: u8,
    /// Drop eligible.
    pub dei: bool,
    /// VLAN identifier, 0 to 4095.
    pub vid: u16,
}

/// The frame and where its parts are.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// The whole, with source port and all checksums 0.
    pub(super) octets: Box<[u8]>,
    /// Offset of the IP header.
    pub(super) l3: usize,
    /// Offset of the UDP header.
    pub(super) l4: usize,
}

impl Template {
    /// Builds the frame.
    pub(super) fn build(spec: &FrameSpec) -> Result<Self, FrameError> {
        let udp_len = udp_len(spec)?;
        let udp = UdpHeader {
            source_port: 0,
            destination_port: spec.target.port(),
            length: udp_len,
            checksum: 0,
        };
        let (ether_type, ip) = match (spec.source, spec.target.ip()) {
            (IpAddr::V4(source), IpAddr::V4(target)) => (
                EtherType::IPV4,
                ipv4(spec, source.octets(), target.octets(), udp_len),
            ),
            (IpAddr::V6(source), IpAddr::V6(target)) => (
                EtherType::IPV6,
                ipv6(spec, source.octets(), target.octets(), udp_len),
            ),
            _ => return Err(FrameError::Family),
        };
        let mut octets = link(spec, ether_type)?;
        let l3 = octets.len();
        octets.extend(ip);
        let l4 = octets.len();
        octets.extend(udp.to_bytes());
        octets.extend(&spec.payload);
        Ok(Self {
            octets: octets.into_boxed_slice(),
            l3,
            l4,
        })
    }
}

/// Length of the UDP datagram.
fn udp_len(spec: &FrameSpec) -> Result<u16, FrameError> {
    let len = spec.payload.len();
    let headers = if spec.target.is_ipv4() {
        Ipv4Header::MIN_LEN + UdpHeader::LEN
    } else {
        // The payload length of IPv6 does not count its own header.
        UdpHeader::LEN
    };
    let most = usize::from(u16::MAX) - headers;
    let too_long = |_| FrameError::PayloadLength { len, most };
    if !(REQUEST_LEN..=most).contains(&len) {
        return Err(FrameError::PayloadLength { len, most });
    }
    u16::try_from(UdpHeader::LEN + len).map_err(too_long)
}

/// Ethernet header and tags.
fn link(spec: &FrameSpec, ether_type: EtherType) -> Result<Vec<u8>, FrameError> {
    let tags = &spec.tags;
    if tags.len() > 2 {
        return Err(FrameError::Tags(tags.len()));
    }
    // Each tag announces what follows it, so the types shift by one place.
    let mut types = tags
        .iter()
        .map(|tag| EtherType(tag.tpid))
        .chain([ether_type]);
    let header = Ethernet2Header {
        source: spec.source_mac,
        destination: spec.destination_mac,
        ether_type: types.next().unwrap_or(ether_type),
    };
    let mut octets = header.to_bytes().to_vec();
    for (tag, ether_type) in tags.iter().zip(types) {
        let &VlanTag { pcp, dei, vid, .. } = tag;
        let out_of_range = FrameError::Tag { pcp, vid };
        let header = SingleVlanHeader {
            pcp: VlanPcp::try_new(pcp).map_err(|_| out_of_range)?,
            drop_eligible_indicator: dei,
            vlan_id: VlanId::try_new(vid).map_err(|_| out_of_range)?,
            ether_type,
        };
        octets.extend(header.to_bytes());
    }
    Ok(octets)
}

fn ipv4(spec: &FrameSpec, source: [u8; 4], destination: [u8; 4], udp_len: u16) -> Vec<u8> {
    let header = Ipv4Header {
        dscp: IpDscp::try_new(spec.tos >> 2).unwrap_or_default(),
        ecn: IpEcn::try_new(spec.tos & 0b11).unwrap_or_default(),
        // `udp_len` checked the sum.
        total_len: udp_len.saturating_add(Ipv4Header::MIN_LEN_U16),
        dont_fragment: spec.dont_fragment,
        time_to_live: spec.ttl,
        protocol: IpNumber::UDP,
        source,
        destination,
        ..Ipv4Header::default()
    };
    header.to_bytes().to_vec()
}

fn ipv6(spec: &FrameSpec, source: [u8; 16], destination: [u8; 16], udp_len: u16) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: spec.tos,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: udp_len,
        next_header: IpNumber::UDP,
        hop_limit: spec.ttl,
        source,
        destination,
    };
    header.to_bytes().to_vec()
}
