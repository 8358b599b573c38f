//! Reads a frame back, as an oracle independent of the code under test.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LinkSlice, NetSlice, SlicedPacket, TransportSlice};

use crate::Error;

/// A UDP datagram as etherparse reads it from an Ethernet frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Source MAC address.
    pub source_mac: [u8; 6],
    /// Destination MAC address.
    pub destination_mac: [u8; 6],
    /// VLAN ids, outermost first.
    pub vlan_ids: Vec<u16>,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The whole TOS or traffic class octet.
    pub tos: u8,
    /// The IPv6 flow label; 0 over IPv4.
    pub flow_label: u32,
    /// The UDP checksum field as it stands.
    pub udp_checksum: u16,
    /// Whether the UDP checksum is the right one; 0 never is.
    pub udp_checksum_valid: bool,
    /// The UDP payload, by the UDP length.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// Reads a frame; what follows the datagram (Ethernet padding) is ignored.
    ///
    /// # Errors
    /// Unless it is an Ethernet frame with a whole, unfragmented UDP datagram whose IPv4 header
    /// checksum, if there is one, is right.
    pub fn parse(frame: &[u8]) -> Result<Self, Error> {
        let bad = |why: &str| Error::Dissect(why.to_owned());
        let packet = SlicedPacket::from_ethernet(frame)
            .map_err(|error| Error::Dissect(error.to_string()))?;
        let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else {
            return Err(bad("no Ethernet header"));
        };
        let Some(TransportSlice::Udp(udp)) = &packet.transport else {
            return Err(bad("no UDP"));
        };
        let (source, destination, ttl, tos, flow_label, checksum) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header().to_header();
                if header.header_checksum != header.calc_header_checksum() {
                    return Err(bad("wrong IPv4 header checksum"));
                }
                let tos = header.dscp.value() << 2 | header.ecn.value();
                let checksum = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
                let source = IpAddr::V4(header.source.into());
                (
                    source,
                    IpAddr::V4(header.destination.into()),
                    header.time_to_live,
                    tos,
                    0,
                    checksum,
                )
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header().to_header();
                let checksum = udp.to_header().calc_checksum_ipv6(&header, udp.payload());
                let source = IpAddr::V6(header.source.into());
                let destination = IpAddr::V6(header.destination.into());
                (
                    source,
                    destination,
                    header.hop_limit,
                    header.traffic_class,
                    header.flow_label.value(),
                    checksum,
                )
            }
            _ => return Err(bad("neither IPv4 nor IPv6")),
        };
        Ok(Self {
            source_mac: ethernet.source(),
            destination_mac: ethernet.destination(),
            vlan_ids: packet.vlan_ids().iter().map(|id| id.value()).collect(),
            source: (source, udp.source_port()).into(),
            destination: (destination, udp.destination_port()).into(),
            ttl,
            tos,
            flow_label,
            udp_checksum: udp.checksum(),
            udp_checksum_valid: checksum.is_ok_and(|right| right == udp.checksum()),
            payload: udp.payload().to_vec(),
        })
    }
}
