//! Crafts UDP frames, sound or broken on purpose.
//!
//! Built with etherparse and not with `wire`, so that a mistake in `wire` cannot hide in its own
//! tests.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Ethernet2Header, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options,
    Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header, UdpHeader, VlanId,
};

/// 802.1Q customer tag (IEEE 802.1Q-2018, table 9-1).
pub const CUSTOMER_TAG: EtherType = EtherType::VLAN_TAGGED_FRAME;
/// 802.1ad service tag, the outer one of two (IEEE 802.1Q-2018, table 9-1).
pub const SERVICE_TAG: EtherType = EtherType::PROVIDER_BRIDGING;

/// What goes into the UDP checksum field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// The right one; a computed 0 as 0xffff (RFC 768).
    #[default]
    Valid,
    /// The folded sum of the pseudo-header alone, uncomplemented: what a local veth or virtio peer
    /// leaves there for checksum offload to finish.
    Partial,
    /// Zero: "not computed" over IPv4, forbidden over IPv6 (RFC 8200 section 8.1).
    Absent,
    /// Off by one bit, and none of the above.
    Wrong,
}

/// A UDP datagram in an Ethernet frame; sound unless told otherwise.
///
/// ```
/// use testbed::UdpFrame;
/// let (from, to) = ("10.0.0.2:4000".parse().unwrap(), "10.0.0.1:862".parse().unwrap());
/// let frame = UdpFrame::v4(from, to).payload(&[0; 14]).build();
/// assert_eq!(frame.len(), 14 + 20 + 8 + 14);
/// ```
#[derive(Debug, Clone)]
pub struct UdpFrame {
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    /// Outermost first: type, and Tag Control Information.
    vlan_tags: Vec<(EtherType, u16)>,
    addresses: Addresses,
    source_port: u16,
    destination_port: u16,
    ttl: u8,
    tos: u8,
    flow_label: Ipv6FlowLabel,
    ipv4_options: Ipv4Options,
    ipv4_checksum_wrong: bool,
    hop_by_hop: bool,
    fragment: Option<Fragment>,
    udp_length: Option<u16>,
    checksum: Checksum,
    payload: Vec<u8>,
    minimum: usize,
}

#[derive(Debug, Clone, Copy)]
enum Addresses {
    V4 {
        source: Ipv4Addr,
        destination: Ipv4Addr,
    },
    V6 {
        source: Ipv6Addr,
        destination: Ipv6Addr,
    },
}

#[derive(Debug, Clone, Copy)]
struct Fragment {
    offset: IpFragOffset,
    more: bool,
}

impl UdpFrame {
    /// A frame over IPv4: TTL 255, TOS 0, don't fragment, locally administered MAC addresses.
    pub fn v4(source: SocketAddrV4, destination: SocketAddrV4) -> Self {
        let addresses = Addresses::V4 {
            source: *source.ip(),
            destination: *destination.ip(),
        };
        Self::new(addresses, source.port(), destination.port())
    }

    /// A frame over IPv6: hop limit 255, traffic class and flow label 0.
    pub fn v6(source: SocketAddrV6, destination: SocketAddrV6) -> Self {
        let addresses = Addresses::V6 {
            source: *source.ip(),
            destination: *destination.ip(),
        };
        Self::new(addresses, source.port(), destination.port())
    }

    fn new(addresses: Addresses, source_port: u16, destination_port: u16) -> Self {
        Self {
            source_mac: [2, 0, 0, 0, 0, 2],
            destination_mac: [2, 0, 0, 0, 0, 1],
            vlan_tags: Vec::new(),
            addresses,
            source_port,
            destination_port,
            ttl: 255,
            tos: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            ipv4_options: Ipv4Options::new(),
            ipv4_checksum_wrong: false,
            hop_by_hop: false,
            fragment: None,
            udp_length: None,
            checksum: Checksum::Valid,
            payload: Vec::new(),
            minimum: 0,
        }
    }

    /// The Ethernet addresses.
    #[must_use]
    pub fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        self.source_mac = source;
        self.destination_mac = destination;
        self
    }

    /// The UDP payload.
    ///
    /// # Panics
    /// If it does not fit into an IPv4 datagram with the longest options (65 467 octets).
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        assert!(
            payload.len() <= 65_467,
            "{} octets do not fit into a datagram",
            payload.len()
        );
        self.payload = payload.to_vec();
        self
    }

    /// TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The whole TOS or traffic class octet: DSCP in the upper six bits, ECN in the lower two.
    #[must_use]
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// Adds a VLAN tag inside those already there: `.vlan(SERVICE_TAG, 100).vlan(CUSTOMER_TAG, 7)`.
    ///
    /// # Panics
    /// If `id` exceeds 12 bits.
    #[must_use]
    pub fn vlan(mut self, protocol: EtherType, id: u16) -> Self {
        assert!(id <= VlanId::MAX_U16, "not a VLAN id: {id}");
        self.vlan_tags.push((protocol, id));
        self
    }

    /// As [`vlan`](Self::vlan), with the whole Tag Control Information: priority (PCP) in the upper
    /// three bits, then drop eligibility (DEI), then the VLAN id.
    #[must_use]
    pub fn tag(mut self, protocol: EtherType, control: u16) -> Self {
        self.vlan_tags.push((protocol, control));
        self
    }

    /// IPv6 flow label; no effect over IPv4.
    ///
    /// # Panics
    /// If it exceeds 20 bits.
    #[must_use]
    pub fn flow_label(mut self, label: u32) -> Self {
        let label = Ipv6FlowLabel::try_new(label);
        assert!(label.is_ok(), "not a flow label: {label:?}");
        self.flow_label = label.unwrap_or_default();
        self
    }

    /// IPv4 options as they stand in the header; no effect over IPv6.
    ///
    /// # Panics
    /// If they are longer than 40 octets or no multiple of 4.
    #[must_use]
    pub fn ipv4_options(mut self, options: &[u8]) -> Self {
        let options = Ipv4Options::try_from(options);
        assert!(options.is_ok(), "not IPv4 options: {options:?}");
        self.ipv4_options = options.unwrap_or_default();
        self
    }

    /// Spoils the IPv4 header checksum; no effect over IPv6.
    #[must_use]
    pub fn wrong_ipv4_checksum(mut self) -> Self {
        self.ipv4_checksum_wrong = true;
        self
    }

    /// Puts a hop-by-hop header of one `PadN` option between IPv6 and UDP; no effect over IPv4.
    #[must_use]
    pub fn hop_by_hop(mut self) -> Self {
        self.hop_by_hop = true;
        self
    }

    /// Marks the packet as a fragment at `offset` (in units of 8 octets): by the IPv4 header, or by
    /// an IPv6 fragment header. The UDP header and payload stay as they are.
    ///
    /// # Panics
    /// If `offset` exceeds 13 bits.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        let offset = IpFragOffset::try_new(offset);
        assert!(offset.is_ok(), "not a fragment offset: {offset:?}");
        self.fragment = offset.ok().map(|offset| Fragment { offset, more });
        self
    }

    /// What the UDP length field says, whatever the payload's real length.
    #[must_use]
    pub fn udp_length(mut self, length: u16) -> Self {
        self.udp_length = Some(length);
        self
    }

    /// What goes into the UDP checksum field.
    #[must_use]
    pub fn checksum(mut self, checksum: Checksum) -> Self {
        self.checksum = checksum;
        self
    }

    /// Pads the frame with octets of 0xee up to `minimum`, as Ethernet hardware pads to 60.
    ///
    /// The padding is no zeros on purpose: who counts it in gets a wrong checksum.
    #[must_use]
    pub fn pad_to(mut self, minimum: usize) -> Self {
        self.minimum = minimum;
        self
    }

    /// The frame's octets, without the frame check sequence.
    pub fn build(&self) -> Vec<u8> {
        let datagram = self.datagram();
        let (protocol, header) = match self.addresses {
            Addresses::V4 {
                source,
                destination,
            } => (
                EtherType::IPV4,
                self.ipv4_header(source, destination, datagram.len()),
            ),
            Addresses::V6 {
                source,
                destination,
            } => (
                EtherType::IPV6,
                self.ipv6_headers(source, destination, datagram.len()),
            ),
        };
        let mut frame = self.ethernet_header(protocol);
        frame.extend(header);
        frame.extend(datagram);
        frame.resize(frame.len().max(self.minimum), 0xee);
        frame
    }

    fn ethernet_header(&self, protocol: EtherType) -> Vec<u8> {
        // Each tag announces what follows it, so the types shift by one place.
        let following = self
            .vlan_tags
            .iter()
            .skip(1)
            .map(|&(tag, _)| tag)
            .chain([protocol]);
        let header = Ethernet2Header {
            source: self.source_mac,
            destination: self.destination_mac,
            ether_type: self.vlan_tags.first().map_or(protocol, |&(tag, _)| tag),
        };
        let mut octets = header.to_bytes().to_vec();
        for (&(_, control), ether_type) in self.vlan_tags.iter().zip(following) {
            octets.extend(control.to_be_bytes());
            octets.extend(ether_type.0.to_be_bytes());
        }
        octets
    }

    fn ipv4_header(&self, source: Ipv4Addr, destination: Ipv4Addr, datagram: usize) -> Vec<u8> {
        let mut header = Ipv4Header {
            dscp: IpDscp::try_new(self.tos >> 2).unwrap_or_default(),
            ecn: IpEcn::try_new(self.tos & 0b11).unwrap_or_default(),
            dont_fragment: self.fragment.is_none(),
            more_fragments: self.fragment.is_some_and(|fragment| fragment.more),
            fragment_offset: self
                .fragment
                .map_or(IpFragOffset::ZERO, |fragment| fragment.offset),
            time_to_live: self.ttl,
            protocol: IpNumber::UDP,
            source: source.octets(),
            destination: destination.octets(),
            options: self.ipv4_options.clone(),
            ..Ipv4Header::default()
        };
        header.total_len = length(header.header_len() + datagram);
        header.header_checksum = header.calc_header_checksum();
        if self.ipv4_checksum_wrong {
            header.header_checksum ^= 0x0100;
        }
        header.to_bytes().to_vec()
    }

    fn ipv6_headers(&self, source: Ipv6Addr, destination: Ipv6Addr, datagram: usize) -> Vec<u8> {
        // Built from the inside out: each header names the one after it.
        let mut next = IpNumber::UDP;
        let mut extensions = Vec::new();
        if let Some(Fragment { offset, more }) = self.fragment {
            let header = Ipv6FragmentHeader::new(next, offset, more, 0x0862_0862);
            extensions.splice(0..0, header.to_bytes());
            next = IpNumber::IPV6_FRAGMENTATION_HEADER;
        }
        if self.hop_by_hop {
            let pad_n = [1, 4, 0, 0, 0, 0];
            extensions.splice(0..0, [next.0, 0].into_iter().chain(pad_n));
            next = IpNumber::IPV6_HEADER_HOP_BY_HOP;
        }
        let header = Ipv6Header {
            traffic_class: self.tos,
            flow_label: self.flow_label,
            payload_length: length(extensions.len() + datagram),
            next_header: next,
            hop_limit: self.ttl,
            source: source.octets(),
            destination: destination.octets(),
        };
        let mut octets = header.to_bytes().to_vec();
        octets.extend(extensions);
        octets
    }

    /// UDP header and payload.
    fn datagram(&self) -> Vec<u8> {
        let mut header = UdpHeader {
            source_port: self.source_port,
            destination_port: self.destination_port,
            length: self
                .udp_length
                .unwrap_or_else(|| length(UdpHeader::LEN + self.payload.len())),
            checksum: 0,
        };
        header.checksum = match self.checksum {
            Checksum::Valid => self.full_checksum(&header),
            Checksum::Partial => !self.pseudo_header(&header).ones_complement().to_be(),
            Checksum::Absent => 0,
            Checksum::Wrong => self.wrong_checksum(&header),
        };
        let mut octets = header.to_bytes().to_vec();
        octets.extend(&self.payload);
        octets
    }

    /// The sum of the pseudo-header (RFC 768; RFC 8200 section 8.1).
    fn pseudo_header(&self, header: &UdpHeader) -> Sum16BitWords {
        let sum = Sum16BitWords::new();
        let addresses = match self.addresses {
            Addresses::V4 {
                source,
                destination,
            } => sum
                .add_slice(&source.octets())
                .add_slice(&destination.octets()),
            Addresses::V6 {
                source,
                destination,
            } => sum
                .add_slice(&source.octets())
                .add_slice(&destination.octets()),
        };
        addresses
            .add_2bytes([0, IpNumber::UDP.0])
            .add_2bytes(header.length.to_be_bytes())
    }

    fn full_checksum(&self, header: &UdpHeader) -> u16 {
        self.pseudo_header(header)
            .add_2bytes(header.source_port.to_be_bytes())
            .add_2bytes(header.destination_port.to_be_bytes())
            .add_2bytes(header.length.to_be_bytes())
            .add_slice(&self.payload)
            .to_ones_complement_with_no_zero()
            .to_be()
    }

    fn wrong_checksum(&self, header: &UdpHeader) -> u16 {
        let right = self.full_checksum(header);
        let partial = !self.pseudo_header(header).ones_complement().to_be();
        // Three candidates: at most one of them is the partial sum, and at most one is zero.
        [0x0001, 0x0002, 0x0004]
            .map(|bit| right ^ bit)
            .into_iter()
            .find(|&candidate| candidate != 0 && candidate != partial)
            .unwrap_or(right ^ 0x0001)
    }
}

/// A length field; what does not fit saturates and so makes the frame malformed.
fn length(octets: usize) -> u16 {
    u16::try_from(octets).unwrap_or(u16::MAX)
}
