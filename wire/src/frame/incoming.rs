//! A frame taken apart once, to be judged, answered and sent back in place.
//!
//! What [`Packet`](super::Packet) and [`turn_around`](super::turn_around) do for any frame at any time,
//! without looking twice where the parts are: the reflector's way, per packet.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksums::{head_and_tail, judge};
use super::layout::offset;
use super::{ChecksumPlan, FlowLabel, FrameError, UdpChecksum, ethernet, ipv4, ipv6, udp, vlan};
use crate::checksum::Sum;

/// IP and UDP header in one piece, by IP version.
pub trait Headers: sealed::Sealed {}

/// IPv4 without options, and UDP.
#[derive(Debug)]
pub struct V4(());

/// IPv6 without extension headers, and UDP.
#[derive(Debug)]
pub struct V6(());

/// A frame with a UDP datagram that can be answered.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// Over IPv4.
    V4(Request<'a, V4>),
    /// Over IPv6.
    V6(Request<'a, V6>),
}

/// The parts of a frame, of this IP version.
#[derive(Debug)]
pub struct Request<'a, H: Headers> {
    addresses: &'a mut [u8; ethernet::ADDRESSES_LEN],
    /// Everything between the addresses and the IP header.
    tags: &'a [u8],
    ip: &'a mut H::Ip,
    udp: &'a mut [u8; udp::HEADER_LEN],
    /// The payload, and all the memory after it.
    payload: &'a mut [u8],
    payload_len: u16,
}

impl<'a> Incoming<'a> {
    /// Takes apart the frame in `buffer[..frame_len]`; if the buffer is shorter, the frame is what there
    /// is.
    ///
    /// # Errors
    /// As [`Packet::parse`](super::Packet::parse); but what ends within its headers may be called
    /// something else than truncated, by what lies behind it.
    #[inline]
    pub fn parse(buffer: &'a mut [u8], frame_len: usize) -> Result<Self, FrameError> {
        let beyond = buffer.len().saturating_sub(frame_len);
        let (ethernet, after) = buffer
            .split_first_chunk_mut::<{ ethernet::HEADER_LEN }>()
            .ok_or(FrameError::Truncated)?;
        let ether_type = ethernet::ETHER_TYPE.read_u16(ethernet);
        let addresses = ethernet.first_chunk_mut().ok_or(FrameError::Truncated)?;
        match ether_type {
            ethernet::IPV4 => Request::of(addresses, &[], after, beyond).map(Self::V4),
            ethernet::IPV6 => Request::of(addresses, &[], after, beyond).map(Self::V6),
            tag if vlan::is_tag(tag) => Self::tagged(addresses, after, beyond),
            _ => Err(FrameError::NotIp),
        }
    }

    #[inline(never)]
    fn tagged(
        addresses: &'a mut [u8; ethernet::ADDRESSES_LEN],
        after: &'a mut [u8],
        beyond: usize,
    ) -> Result<Self, FrameError> {
        let tagged = vlan::split(after)?;
        let (tags, ether_type) = (tagged.tags.len(), tagged.ether_type);
        let (tags, packet) = after
            .split_at_mut_checked(tags)
            .ok_or(FrameError::Truncated)?;
        match ether_type {
            ethernet::IPV4 => Request::of(addresses, tags, packet, beyond).map(Self::V4),
            ethernet::IPV6 => Request::of(addresses, tags, packet, beyond).map(Self::V6),
            _ => Err(FrameError::NotIp),
        }
    }
}

impl<'a, H: Headers> Request<'a, H> {
    /// `beyond` octets at the end of `packet` are not of the frame.
    #[inline]
    fn of(
        addresses: &'a mut [u8; ethernet::ADDRESSES_LEN],
        tags: &'a [u8],
        packet: &'a mut [u8],
        beyond: usize,
    ) -> Result<Self, FrameError> {
        let (ip, body) = H::split(packet).ok_or(FrameError::Truncated)?;
        let len = H::body_len(ip)?;
        if len.saturating_add(beyond) > body.len() {
            return Err(FrameError::Truncated);
        }
        let (udp, payload) = body
            .split_first_chunk_mut::<{ udp::HEADER_LEN }>()
            .ok_or(FrameError::UdpLength)?;
        let udp_len = udp::LENGTH.read_u16(udp);
        if usize::from(udp_len) != len {
            return Err(FrameError::UdpLength);
        }
        let payload_len = udp_len
            .checked_sub(udp::HEADER_LEN_U16)
            .ok_or(FrameError::UdpLength)?;
        Ok(Self {
            addresses,
            tags,
            ip,
            udp,
            payload,
            payload_len,
        })
    }

    /// Octets of the frame before the UDP header.
    #[inline]
    pub fn udp_offset(&self) -> u16 {
        let tags = u16::try_from(self.tags.len()).unwrap_or(0);
        offset(ethernet::HEADER_LEN) + tags + H::LEN
    }

    /// Octets of the frame before the payload.
    #[inline]
    pub fn payload_offset(&self) -> u16 {
        self.udp_offset() + udp::HEADER_LEN_U16
    }

    /// Octets of payload, according to the UDP header.
    #[inline]
    pub fn payload_len(&self) -> u16 {
        self.payload_len
    }

    /// The payload, and all the memory after it.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.payload
    }

    /// Source and destination MAC address.
    #[inline]
    pub fn stations(&self) -> [[u8; 6]; 2] {
        [
            ethernet::SOURCE.read(self.addresses),
            ethernet::DESTINATION.read(self.addresses),
        ]
    }

    /// VLAN identifiers of the tags, outermost first; 0 where there is none.
    #[inline]
    pub fn vlan_ids(&self) -> [u16; 2] {
        vlan::ids(self.tags).map(Option::unwrap_or_default)
    }

    /// Source IP address.
    #[inline]
    pub fn source_address(&self) -> IpAddr {
        H::ends(self.ip)[0]
    }

    /// UDP source port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        udp::SOURCE_PORT.read_u16(self.udp)
    }

    /// Source and destination.
    #[inline]
    pub fn ends(&self) -> [SocketAddr; 2] {
        let [source, destination] = H::ends(self.ip);
        [
            SocketAddr::new(source, udp::SOURCE_PORT.read_u16(self.udp)),
            SocketAddr::new(destination, udp::DESTINATION_PORT.read_u16(self.udp)),
        ]
    }

    /// TTL or Hop Limit.
    #[inline]
    pub fn ttl(&self) -> u8 {
        H::ttl(self.ip)
    }

    /// TOS or Traffic Class: DSCP in the upper six bits, ECN in the lower two.
    #[inline]
    pub fn tos(&self) -> u8 {
        H::tos(self.ip)
    }

    /// Whether the checksum of the IPv4 header is right; true for IPv6, which has none.
    #[inline]
    pub fn verify_ip_header(&self) -> bool {
        H::verify(self.ip)
    }

    /// UDP checksum field.
    #[inline]
    pub fn udp_checksum(&self) -> u16 {
        udp::CHECKSUM.read_u16(self.udp)
    }

    /// As [`Packet::judge_udp`](super::Packet::judge_udp).
    #[inline]
    pub fn judge_udp(&self) -> (UdpChecksum, ChecksumPlan) {
        let payload = self
            .payload
            .get(..usize::from(self.payload_len))
            .unwrap_or_default();
        let ends = H::ends_sum(self.ip);
        judge(ends, self.udp, head_and_tail(payload), H::NEEDS_CHECKSUM)
    }

    /// As [`turn_around`](super::turn_around).
    #[inline]
    pub fn turn_around(&mut self, tos: u8, flow_label: FlowLabel) {
        ethernet::turn_around(self.addresses);
        H::turn_around(self.ip, tos, flow_label);
        udp::turn_around(self.udp);
    }

    /// Changes the length of the payload to `len` in the UDP and IP headers, and updates the IPv4 header
    /// checksum. False if there is no room for it, or the headers cannot express it.
    #[inline]
    pub fn set_payload_len(&mut self, len: u16) -> bool {
        let Some(udp_len) = len.checked_add(udp::HEADER_LEN_U16) else {
            return false;
        };
        if self.payload.len() < usize::from(len) || !H::set_body_len(self.ip, udp_len) {
            return false;
        }
        udp::LENGTH.write_u16(self.udp, udp_len);
        self.payload_len = len;
        true
    }
}

mod sealed {
    use super::{FlowLabel, FrameError, IpAddr, Sum};

    /// What differs between IPv4 and IPv6.
    pub trait Sealed {
        /// The octets of the IP header.
        type Ip: core::fmt::Debug + 'static;
        /// How many there are.
        const LEN: u16;
        /// A datagram without a UDP checksum is not valid.
        const NEEDS_CHECKSUM: bool;

        fn split(packet: &mut [u8]) -> Option<(&mut Self::Ip, &mut [u8])>;
        fn body_len(ip: &Self::Ip) -> Result<usize, FrameError>;
        fn verify(ip: &Self::Ip) -> bool;
        fn ends(ip: &Self::Ip) -> [IpAddr; 2];
        fn ends_sum(ip: &Self::Ip) -> Sum;
        fn ttl(ip: &Self::Ip) -> u8;
        fn tos(ip: &Self::Ip) -> u8;
        fn turn_around(ip: &mut Self::Ip, tos: u8, flow_label: FlowLabel);
        fn set_body_len(ip: &mut Self::Ip, len: u16) -> bool;
    }
}

impl Headers for V4 {}

impl sealed::Sealed for V4 {
    type Ip = [u8; ipv4::HEADER_LEN];
    const LEN: u16 = offset(ipv4::HEADER_LEN);
    const NEEDS_CHECKSUM: bool = false;

    #[inline]
    fn split(packet: &mut [u8]) -> Option<(&mut Self::Ip, &mut [u8])> {
        packet.split_first_chunk_mut()
    }

    #[inline]
    fn body_len(ip: &Self::Ip) -> Result<usize, FrameError> {
        ipv4::body_len(ip)
    }

    #[inline]
    fn verify(ip: &Self::Ip) -> bool {
        Sum::new().add_few(ip).checksum() == 0
    }

    #[inline]
    fn ends(ip: &Self::Ip) -> [IpAddr; 2] {
        [ipv4::SOURCE.read(ip), ipv4::DESTINATION.read(ip)]
            .map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
    }

    #[inline]
    fn ends_sum(ip: &Self::Ip) -> Sum {
        Sum::new().add_few(&ipv4::ENDS.read(ip))
    }

    #[inline]
    fn ttl(ip: &Self::Ip) -> u8 {
        ipv4::TTL.read_u8(ip)
    }

    #[inline]
    fn tos(ip: &Self::Ip) -> u8 {
        ipv4::TOS.read_u8(ip)
    }

    #[inline]
    fn turn_around(ip: &mut Self::Ip, tos: u8, _flow_label: FlowLabel) {
        ipv4::turn_around(ip, tos);
    }

    #[inline]
    fn set_body_len(ip: &mut Self::Ip, len: u16) -> bool {
        ipv4::set_body_len(ip, len)
    }
}

impl Headers for V6 {}

impl sealed::Sealed for V6 {
    type Ip = [u8; ipv6::HEADER_LEN];
    const LEN: u16 = offset(ipv6::HEADER_LEN);
    const NEEDS_CHECKSUM: bool = true;

    #[inline]
    fn split(packet: &mut [u8]) -> Option<(&mut Self::Ip, &mut [u8])> {
        packet.split_first_chunk_mut()
    }

    #[inline]
    fn body_len(ip: &Self::Ip) -> Result<usize, FrameError> {
        ipv6::body_len(ip)
    }

    #[inline]
    fn verify(_ip: &Self::Ip) -> bool {
        true
    }

    #[inline]
    fn ends(ip: &Self::Ip) -> [IpAddr; 2] {
        [ipv6::SOURCE.read(ip), ipv6::DESTINATION.read(ip)]
            .map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
    }

    #[inline]
    fn ends_sum(ip: &Self::Ip) -> Sum {
        Sum::new().add_few(&ipv6::ENDS.read(ip))
    }

    #[inline]
    fn ttl(ip: &Self::Ip) -> u8 {
        ipv6::HOP_LIMIT.read_u8(ip)
    }

    #[inline]
    fn tos(ip: &Self::Ip) -> u8 {
        ipv6::traffic_class(ip)
    }

    #[inline]
    fn turn_around(ip: &mut Self::Ip, tos: u8, flow_label: FlowLabel) {
        ipv6::turn_around(ip, tos, flow_label);
    }

    #[inline]
    fn set_body_len(ip: &mut Self::Ip, len: u16) -> bool {
        ipv6::PAYLOAD_LENGTH.write_u16(ip, len);
        true
    }
}
