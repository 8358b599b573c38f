//! Where the parts of a frame are.

use core::fmt;

use super::{Packet, ethernet, ipv4, ipv6, udp, vlan};

/// The IP version of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Offsets into a frame, in octets from the destination MAC address.
///
/// A `Layout` made by [`Self::parse`] fits the frame it was made from. One made by hand is safe to
/// use all the same: functions that take it check it against the frame they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// VLAN tags in the frame, 0 to 2.
    pub vlan_tags: u8,
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset of the UDP header.
    pub l4: u16,
    /// Offset of the UDP payload.
    pub payload: u16,
    /// Octets of UDP payload according to the UDP header. The frame may be longer: short packets
    /// are padded to the Ethernet minimum.
    pub payload_len: u16,
    /// Which IP header is at `l3`.
    pub ip: IpVersion,
}

/// Why a frame is not a UDP datagram that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame ends before its headers, or before the IP packet does.
    Truncated,
    /// The `EtherType` is neither IPv4 nor IPv6.
    NotIp,
    /// There are more than two VLAN tags.
    VlanDepth,
    /// The version is not 4, or the header length is below the minimum.
    Ipv4Header,
    /// The IPv4 header has options.
    Ipv4Options,
    /// The IPv4 total length is below the header length.
    Ipv4Length,
    /// The packet is a fragment.
    Fragment,
    /// The transport protocol is not UDP.
    NotUdp,
    /// The version is not 6.
    Ipv6Header,
    /// An IPv6 extension header comes first.
    ExtensionHeader,
    /// The UDP length is below 8 or is not what the IP header states; or a payload length would
    /// exceed what the headers can say.
    UdpLength,
    /// Offsets that were handed in are not those of the frame.
    LayoutMismatch,
}

impl Layout {
    /// Finds the UDP payload of an Ethernet frame.
    ///
    /// # Errors
    /// The frame is none that [the module](super) answers. Checksums are not looked at.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        Packet::parse(frame).map(|packet| packet.layout())
    }

    /// The offsets that follow from the rest; at most two tags are counted.
    #[inline]
    pub(super) fn of(vlan_tags: u8, ip: IpVersion, payload_len: u16) -> Self {
        let vlan_tags = vlan_tags.min(vlan::MAX_TAGS);
        let l3 = offset(ethernet::HEADER_LEN) + offset(vlan::TAG_LEN) * u16::from(vlan_tags);
        let l4 = l3 + ip.header_len();
        Self {
            vlan_tags,
            l3,
            l4,
            payload: l4 + offset(udp::HEADER_LEN),
            payload_len,
            ip,
        }
    }

    /// Whether the offsets are those of some frame with these tags and this IP version.
    #[inline]
    pub(super) fn is_consistent(&self) -> bool {
        *self == Self::of(self.vlan_tags, self.ip, self.payload_len)
    }

    /// Whether this layout, which came from elsewhere (XDP metadata), is that of `frame`.
    ///
    /// # Errors
    /// The frame cannot be parsed, or parses to another layout.
    #[inline]
    pub fn check(&self, frame: &[u8]) -> Result<(), FrameError> {
        if *self == Self::parse(frame)? {
            Ok(())
        } else {
            Err(FrameError::LayoutMismatch)
        }
    }
}

impl IpVersion {
    /// Octets of the IP header, without options or extension headers.
    #[inline]
    pub const fn header_len(self) -> u16 {
        match self {
            Self::V4 => offset(ipv4::HEADER_LEN),
            Self::V6 => offset(ipv6::HEADER_LEN),
        }
    }
}

/// The length of a header as the type of offsets.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "no header is longer than 40 octets"
)]
pub(super) const fn offset(header_len: usize) -> u16 {
    header_len as u16
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated",
            Self::NotIp => "not IP",
            Self::VlanDepth => "more than two VLAN tags",
            Self::Ipv4Header => "bad IPv4 header",
            Self::Ipv4Options => "IPv4 options",
            Self::Ipv4Length => "bad IPv4 length",
            Self::Fragment => "fragment",
            Self::NotUdp => "not UDP",
            Self::Ipv6Header => "bad IPv6 header",
            Self::ExtensionHeader => "IPv6 extension header",
            Self::UdpLength => "bad UDP length",
            Self::LayoutMismatch => "offsets do not match the frame",
        })
    }
}

impl core::error::Error for FrameError {}
