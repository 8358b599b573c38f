//! A request's frame becomes the reply's.

use super::layout::offset;
use super::{FrameError, IpVersion, Layout, ethernet, ipv4, ipv6, udp};
use crate::checksum::{Sum, update};
use crate::field::Field;

/// TTL or Hop Limit of every test packet (RFC 5357 section 4.2.1).
const TTL: u8 = 255;

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
                turn_around_link_and_ports(headers.addresses, headers.udp);
                turn_around_v4(headers.ip, tos);
            }
        }
        IpVersion::V6 => {
            if let Some(headers) = Headers::of(frame, layout) {
                turn_around_link_and_ports(headers.addresses, headers.udp);
                turn_around_v6(headers.ip, tos, flow_label);
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
    match layout.ip {
        IpVersion::V4 => {
            let total = udp_len
                .checked_add(offset(ipv4::HEADER_LEN))
                .ok_or(FrameError::UdpLength)?;
            let headers = Headers::of(frame, layout).ok_or(FrameError::Truncated)?;
            udp::LENGTH.write_u16(headers.udp, udp_len);
            let old = Sum::new().add_u16(ipv4::TOTAL_LENGTH.read_u16(headers.ip));
            ipv4::TOTAL_LENGTH.write_u16(headers.ip, total);
            update_header_checksum(headers.ip, old, Sum::new().add_u16(total));
        }
        IpVersion::V6 => {
            let headers =
                Headers::<{ ipv6::HEADER_LEN }>::of(frame, layout).ok_or(FrameError::Truncated)?;
            udp::LENGTH.write_u16(headers.udp, udp_len);
            ipv6::PAYLOAD_LENGTH.write_u16(headers.ip, udp_len);
        }
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

#[inline]
fn turn_around_link_and_ports(
    addresses: &mut [u8; ethernet::ADDRESSES_LEN],
    udp: &mut [u8; udp::HEADER_LEN],
) {
    swap(addresses, ethernet::SOURCE, ethernet::DESTINATION);
    // Both ports at once, and below both addresses: a rotation by half exchanges the halves.
    let ports = u32::from_ne_bytes(udp::PORTS.read(udp));
    udp::PORTS.write(udp, ports.rotate_left(16).to_ne_bytes());
}

#[inline]
fn turn_around_v4(header: &mut [u8; ipv4::HEADER_LEN], tos: u8) {
    let ends = u64::from_ne_bytes(ipv4::ENDS.read(header));
    ipv4::ENDS.write(header, ends.rotate_left(32).to_ne_bytes());
    // Whole words, since that is what the checksum is made of.
    let old = [
        ipv4::TOS_WORD.read_u16(header),
        ipv4::TTL_WORD.read_u16(header),
    ];
    let [version, _] = old[0].to_be_bytes();
    let [_, protocol] = old[1].to_be_bytes();
    let new = [
        u16::from_be_bytes([version, tos]),
        u16::from_be_bytes([TTL, protocol]),
    ];
    ipv4::TOS_WORD.write_u16(header, new[0]);
    ipv4::TTL_WORD.write_u16(header, new[1]);
    let sum = |words: [u16; 2]| Sum::new().add_u16(words[0]).add_u16(words[1]);
    update_header_checksum(header, sum(old), sum(new));
}

#[inline]
fn update_header_checksum(header: &mut [u8; ipv4::HEADER_LEN], old: Sum, new: Sum) {
    let checksum = update(ipv4::CHECKSUM.read_u16(header), old, new);
    ipv4::CHECKSUM.write_u16(header, checksum);
}

#[inline]
fn turn_around_v6(header: &mut [u8; ipv6::HEADER_LEN], tos: u8, flow_label: FlowLabel) {
    swap(header, ipv6::SOURCE, ipv6::DESTINATION);
    ipv6::HOP_LIMIT.write_u8(header, TTL);
    ipv6::set_class(header, tos, flow_label == FlowLabel::Keep);
}

/// Exchanges two fields of one size.
#[inline]
fn swap<const A: usize, const B: usize, const N: usize, const LEN: usize>(
    header: &mut [u8; LEN],
    a: Field<A, N>,
    b: Field<B, N>,
) {
    let (was_a, was_b) = (a.read(header), b.read(header));
    a.write(header, was_b);
    b.write(header, was_a);
}
