//! A UDP packet in its frame, to be read.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{FrameError, IpVersion, Layout, ethernet, ipv4, ipv6, udp, vlan};
use crate::checksum::{Sum, pseudo_header_v4, pseudo_header_v6};

/// A view of the headers and payload of a frame. Numbers are in host byte order.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    addresses: &'a [u8; ethernet::ADDRESSES_LEN],
    /// Everything between the Ethernet header and the IP header.
    tags: &'a [u8],
    ip: IpHeader<'a>,
    udp: &'a [u8; udp::HEADER_LEN],
    /// UDP header and payload.
    datagram: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum IpHeader<'a> {
    V4(&'a [u8; ipv4::HEADER_LEN]),
    V6(&'a [u8; ipv6::HEADER_LEN]),
}

impl<'a> Packet<'a> {
    /// Finds the UDP datagram of an Ethernet frame.
    ///
    /// # Errors
    /// The frame is none that [the module](super) answers. Checksums are not looked at.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Result<Self, FrameError> {
        let (ethernet, after) = frame
            .split_first_chunk::<{ ethernet::HEADER_LEN }>()
            .ok_or(FrameError::Truncated)?;
        let mut ether_type = ethernet::ETHER_TYPE.read_u16(ethernet);
        let (mut tags, mut rest): (&[u8], _) = (&[], after);
        if vlan::is_tag(ether_type) {
            let tagged = vlan::split(after)?;
            (tags, ether_type, rest) = (tagged.tags, tagged.ether_type, tagged.rest);
        }
        let (ip, datagram) = match ether_type {
            ethernet::IPV4 => {
                let (header, body) = ipv4::split(rest)?;
                (IpHeader::V4(header), body)
            }
            ethernet::IPV6 => {
                let (header, body) = ipv6::split(rest)?;
                (IpHeader::V6(header), body)
            }
            _ => return Err(FrameError::NotIp),
        };
        Ok(Self {
            addresses: ethernet.first_chunk().ok_or(FrameError::Truncated)?,
            tags,
            ip,
            udp: udp::header(datagram)?,
            datagram,
        })
    }

    /// Where its parts are.
    #[inline]
    pub fn layout(&self) -> Layout {
        let ip = match self.ip {
            IpHeader::V4(_) => IpVersion::V4,
            IpHeader::V6(_) => IpVersion::V6,
        };
        // Neither has more than its header says: 8 octets, and 65535.
        let tags = u8::try_from(self.tags.len() / vlan::TAG_LEN).unwrap_or(vlan::MAX_TAGS);
        let payload_len = u16::try_from(self.payload().len()).unwrap_or(u16::MAX);
        Layout::of(tags, ip, payload_len)
    }

    /// Views `frame` by `layout`.
    ///
    /// # Errors
    /// [`FrameError::LayoutMismatch`] if the layout contradicts itself, [`FrameError::Truncated`]
    /// if it reaches beyond the frame. What the headers say is not looked at again.
    #[inline]
    pub fn new(frame: &'a [u8], layout: &Layout) -> Result<Self, FrameError> {
        if !layout.is_consistent() {
            return Err(FrameError::LayoutMismatch);
        }
        Self::slice(frame, layout).ok_or(FrameError::Truncated)
    }

    #[inline]
    fn slice(frame: &'a [u8], layout: &Layout) -> Option<Self> {
        let (packet, datagram) = frame.split_at_checked(usize::from(layout.l4))?;
        let datagram = datagram.get(..udp::HEADER_LEN + usize::from(layout.payload_len))?;
        let (link, ip) = packet.split_at_checked(usize::from(layout.l3))?;
        let (ethernet, tags) = link.split_first_chunk::<{ ethernet::HEADER_LEN }>()?;
        Some(Self {
            addresses: ethernet.first_chunk()?,
            tags,
            ip: match layout.ip {
                IpVersion::V4 => IpHeader::V4(ip.first_chunk()?),
                IpVersion::V6 => IpHeader::V6(ip.first_chunk()?),
            },
            udp: datagram.first_chunk()?,
            datagram,
        })
    }

    /// Destination MAC address.
    #[inline]
    pub fn destination_mac(&self) -> [u8; 6] {
        ethernet::DESTINATION.read(self.addresses)
    }

    /// Source MAC address.
    #[inline]
    pub fn source_mac(&self) -> [u8; 6] {
        ethernet::SOURCE.read(self.addresses)
    }

    /// VLAN identifiers of the tags in the frame, outermost first.
    #[inline]
    pub fn vlan_ids(&self) -> [Option<u16>; 2] {
        vlan::ids(self.tags)
    }

    /// Source IP address.
    #[inline]
    pub fn source(&self) -> IpAddr {
        match self.ip {
            IpHeader::V4(ip) => IpAddr::V4(Ipv4Addr::from(ipv4::SOURCE.read(ip))),
            IpHeader::V6(ip) => IpAddr::V6(Ipv6Addr::from(ipv6::SOURCE.read(ip))),
        }
    }

    /// Destination IP address.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        match self.ip {
            IpHeader::V4(ip) => IpAddr::V4(Ipv4Addr::from(ipv4::DESTINATION.read(ip))),
            IpHeader::V6(ip) => IpAddr::V6(Ipv6Addr::from(ipv6::DESTINATION.read(ip))),
        }
    }

    /// TTL or Hop Limit.
    #[inline]
    pub fn ttl(&self) -> u8 {
        match self.ip {
            IpHeader::V4(ip) => ipv4::TTL.read_u8(ip),
            IpHeader::V6(ip) => ipv6::HOP_LIMIT.read_u8(ip),
        }
    }

    /// TOS or Traffic Class: DSCP in the upper six bits, ECN in the lower two.
    #[inline]
    pub fn tos(&self) -> u8 {
        match self.ip {
            IpHeader::V4(ip) => ipv4::TOS.read_u8(ip),
            IpHeader::V6(ip) => ipv6::traffic_class(ip),
        }
    }

    /// UDP source port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        udp::SOURCE_PORT.read_u16(self.udp)
    }

    /// UDP destination port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        udp::DESTINATION_PORT.read_u16(self.udp)
    }

    /// UDP checksum field.
    #[inline]
    pub fn udp_checksum(&self) -> u16 {
        udp::CHECKSUM.read_u16(self.udp)
    }

    /// UDP payload.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.datagram.get(udp::HEADER_LEN..).unwrap_or_default()
    }

    /// Sum of both addresses.
    #[inline]
    pub(super) fn ends_sum(&self) -> Sum {
        match self.ip {
            IpHeader::V4(ip) => Sum::new().add_few(&ipv4::ENDS.read(ip)),
            IpHeader::V6(ip) => Sum::new().add_few(&ipv6::ENDS.read(ip)),
        }
    }

    /// The UDP header.
    #[inline]
    pub(super) fn udp(&self) -> &'a [u8; udp::HEADER_LEN] {
        self.udp
    }

    /// Sum of the pseudo-header that belongs to the datagram.
    #[inline]
    pub(super) fn pseudo_header(&self) -> Sum {
        let len = udp::LENGTH.read_u16(self.udp);
        match self.ip {
            IpHeader::V4(ip) => pseudo_header_v4(
                ipv4::SOURCE.read(ip),
                ipv4::DESTINATION.read(ip),
                udp::PROTOCOL,
                len,
            ),
            IpHeader::V6(ip) => pseudo_header_v6(
                ipv6::SOURCE.read(ip),
                ipv6::DESTINATION.read(ip),
                udp::PROTOCOL,
                u32::from(len),
            ),
        }
    }

    /// Sum of UDP header, checksum field included, and payload.
    #[inline]
    pub(super) fn datagram_sum(&self) -> Sum {
        Sum::new().add(self.datagram)
    }

    /// Sum of the IPv4 header, checksum field included; `None` for IPv6.
    #[inline]
    pub(super) fn ipv4_header_sum(&self) -> Option<Sum> {
        match self.ip {
            IpHeader::V4(ip) => Some(Sum::new().add_few(ip)),
            IpHeader::V6(_) => None,
        }
    }
}
