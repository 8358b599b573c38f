//! A request's frame becomes the reply's.

use super::layout::offset;
use super::{FrameError, IpVersion, Layout, ethernet, ipv4, ipv6, udp};

/// What becomes of the IPv6 Flow Label of a frame that is sent back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FlowLabel {
    /// It stays: both directions hash alike.
    #[default]
    Keep,
    /// It becomes 0: no flow (RFC 6437 section 2).
    Zero,
}

/// Sends the frame back to where it came from: swaps MAC addresses, IP addresses and ports, sets
/// TTL or Hop Limit to 255 and TOS or Traffic Class to `tos`, and updates the IPv4 header checksum.
///
/// VLAN tags, IPv4 identification and flags stay. The UDP checksum stays too, and stays right: a sum
/// does not depend on the order. Does nothing if the layout does not fit the frame.
#[inline]
pub fn turn_around(frame: &mut [u8], layout: &Layout, tos: u8, flow_label: FlowLabel) {
    match layout.ip {
        IpVersion::V4 => {
            if let Some(headers) = Headers::of(frame, layout) {
                ethernet::turn_around(headers.addresses);
                udp::turn_around(headers.udp);
                ipv4::turn_around(headers.ip, tos);
            }
        }
        IpVersion::V6 => {
            if let Some(headers) = Headers::of(frame, layout) {
                ethernet::turn_around(headers.addresses);
                udp::turn_around(headers.udp);
                ipv6::turn_around(headers.ip, tos, flow_label);
            }
        }
    }
}

/// Changes the length of the UDP payload to `len` in the layout and in the UDP and IP headers, and
/// updates the IPv4 header checksum. What is in the payload, and the UDP checksum, is up to the
/// caller.
///
/// # Errors
/// [`FrameError::UdpLength`] if the headers cannot express the length, [`FrameError::Truncated`] if
/// the frame has no room for it, [`FrameError::LayoutMismatch`] if the layout contradicts itself.
/// Nothing is changed then.
#[inline]
pub fn set_payload_len(frame: &mut [u8], layout: &mut Layout, len: u16) -> Result<(), FrameError> {
    if !layout.is_consistent() {
        return Err(FrameError::LayoutMismatch);
    }
    if frame.len() < usize::from(layout.payload) + usize::from(len) {
        return Err(FrameError::Truncated);
    }
    let udp_len = len
        .checked_add(offset(udp::HEADER_LEN))
        .ok_or(FrameError::UdpLength)?;
    let fits = match layout.ip {
        IpVersion::V4 => {
            let headers = Headers::of(frame, layout).ok_or(FrameError::Truncated)?;
            let fits = ipv4::set_body_len(headers.ip, udp_len);
            if fits {
                udp::LENGTH.write_u16(headers.udp, udp_len);
            }
            fits
        }
        IpVersion::V6 => {
            let headers = Headers::of(frame, layout).ok_or(FrameError::Truncated)?;
            udp::LENGTH.write_u16(headers.udp, udp_len);
            ipv6::PAYLOAD_LENGTH.write_u16::<{ ipv6::HEADER_LEN }>(headers.ip, udp_len);
            true
        }
    };
    if !fits {
        return Err(FrameError::UdpLength);
    }
    layout.payload_len = len;
    Ok(())
}

/// The headers of a frame, to be written.
struct Headers<'a, const IP_LEN: usize> {
    addresses: &'a mut [u8; ethernet::ADDRESSES_LEN],
    ip: &'a mut [u8; IP_LEN],
    udp: &'a mut [u8; udp::HEADER_LEN],
}

impl<'a, const IP_LEN: usize> Headers<'a, IP_LEN> {
    /// `None` if the layout contradicts itself or the datagram is not all in the frame.
    #[inline]
    fn of(frame: &'a mut [u8], layout: &Layout) -> Option<Self> {
        let end = usize::from(layout.payload) + usize::from(layout.payload_len);
        if !layout.is_consistent() || frame.len() < end {
            return None;
        }
        let (packet, datagram) = frame.split_at_mut_checked(usize::from(layout.l4))?;
        let (link, ip) = packet.split_at_mut_checked(usize::from(layout.l3))?;
        Some(Self {
            addresses: link.first_chunk_mut()?,
            ip: ip.first_chunk_mut()?,
            udp: datagram.first_chunk_mut()?,
        })
    }
}
