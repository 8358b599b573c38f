//! Checksums of a packet in its frame: judged on arrival, made right on departure.

use super::{Layout, Packet, udp};
use crate::checksum::{Sum, udp_wire};
use crate::twamp::STAMP_LEN;

/// What the UDP checksum of a received packet is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UdpChecksum {
    /// It is right.
    Valid,
    /// It is the sum of the pseudo-header alone: a peer on the same host left the rest to an
    /// offload that a veth or virtio link never performs (Linux `CHECKSUM_PARTIAL`).
    Partial,
    /// It is 0 over IPv4: the sender computed none (RFC 768).
    Absent,
    /// Anything else, 0 over IPv6 included (RFC 8200 section 8.1).
    Wrong,
}

/// Whether the checksum of the IPv4 header is right. True for IPv6, which has none; false if the
/// layout does not fit the frame.
#[inline]
pub fn verify_ipv4_header(frame: &[u8], layout: &Layout) -> bool {
    Packet::new(frame, layout).is_ok_and(|packet| packet.verify_ipv4_header())
}

/// Judges the UDP checksum. [`UdpChecksum::Wrong`] if the layout does not fit the frame.
#[inline]
pub fn verify_udp(frame: &[u8], layout: &Layout) -> UdpChecksum {
    Packet::new(frame, layout).map_or(UdpChecksum::Wrong, |packet| packet.verify_udp())
}

impl Packet<'_> {
    /// As [`verify_ipv4_header`].
    #[inline]
    pub fn verify_ipv4_header(&self) -> bool {
        self.ipv4_header_sum().is_none_or(|sum| sum.checksum() == 0)
    }

    /// As [`verify_udp`].
    #[inline]
    pub fn verify_udp(&self) -> UdpChecksum {
        self.judge_udp().0
    }

    /// [`Self::verify_udp`], and what of the sums it takes the reply can use again. The latter is of
    /// no use if the checksum is [`UdpChecksum::Wrong`].
    #[inline]
    pub fn judge_udp(&self) -> (UdpChecksum, ChecksumPlan) {
        let needed = self.ipv4_header_sum().is_none();
        let sums = head_and_tail(self.payload());
        judge(self.ends_sum(), self.udp(), sums, needed)
    }
}

/// [`Packet::judge_udp`] of a datagram with this header, given the sum of the addresses and those of
/// [`head_and_tail`], where a checksum is `needed` or not.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "once per packet, and its arguments are better in registers: measured"
)]
pub(super) fn judge(
    ends: Sum,
    header: &[u8; udp::HEADER_LEN],
    (head, tail): (Sum, Sum),
    needed: bool,
) -> (UdpChecksum, ChecksumPlan) {
    let (field, len) = (udp::CHECKSUM.read_u16(header), udp::LENGTH.read_u16(header));
    if field == 0 {
        let verdict = if needed {
            UdpChecksum::Wrong
        } else {
            UdpChecksum::Absent
        };
        return (verdict, ChecksumPlan::Zero);
    }
    let kept = ends
        .add_few(&udp::PORTS.read(header))
        .add_u16(u16::from(udp::PROTOCOL))
        .plus(tail);
    // The length counts twice: in the datagram and in the pseudo-header.
    let all = kept.plus(head).add_u16(len).add_u16(len).add_u16(field);
    let verdict = if all.checksum() == 0 {
        UdpChecksum::Valid
    } else if field == pseudo_header(ends, len) {
        UdpChecksum::Partial
    } else {
        UdpChecksum::Wrong
    };
    (verdict, ChecksumPlan::Kept(kept))
}

/// The pseudo-header's sum as a word.
#[cold]
fn pseudo_header(ends: Sum, len: u16) -> u16 {
    ends.add_u16(u16::from(udp::PROTOCOL)).add_u16(len).fold()
}

/// What it takes to get the UDP checksum of the reply right.
///
/// What the reply keeps of the request goes into its checksum as it was when the request was judged,
/// so that a payload damaged on its way through the reflector is still found out. Swapping addresses
/// and ports changes no sum.
#[derive(Clone, Copy, Debug)]
pub enum ChecksumPlan {
    /// The sum of what stays: both addresses, both ports, the protocol, and the payload from octet 44
    /// on. Add ([`Self::plus`]) the first 44 octets and the lengths.
    Kept(Sum),
    /// Compute it from nothing: what a reply that changes octets beyond needs.
    Full,
    /// Send none, since the request had none.
    Zero,
}

impl ChecksumPlan {
    /// With something more that the reply has.
    #[inline]
    #[must_use]
    pub const fn plus(self, sum: Sum) -> Self {
        match self {
            Self::Kept(kept) => Self::Kept(kept.plus(sum)),
            Self::Full | Self::Zero => self,
        }
    }

    /// With the length of a UDP payload of `len` octets, in the datagram and in the pseudo-header.
    #[inline]
    #[must_use]
    pub fn plus_payload_len(self, len: u16) -> Self {
        let len = len.wrapping_add(udp::HEADER_LEN_U16);
        self.plus(Sum::new().add_u16(len).add_u16(len))
    }

    /// For a reply whose payload differs from octet 44 on.
    #[inline]
    #[must_use]
    pub const fn with_new_tail(self) -> Self {
        match self {
            Self::Kept(_) | Self::Full => Self::Full,
            Self::Zero => Self::Zero,
        }
    }

    /// Writes the UDP checksum of the finished reply, every part of which must have been added to the
    /// plan. Does nothing if the layout does not fit the frame.
    #[inline]
    pub fn seal(self, frame: &mut [u8], layout: &Layout) {
        let checksum = match self {
            Self::Zero => 0,
            Self::Kept(sum) => udp_wire(sum.checksum()),
            Self::Full => match Packet::new(frame, layout) {
                Ok(packet) => full(&packet),
                Err(_) => return,
            },
        };
        let header = frame
            .get_mut(usize::from(layout.l4)..)
            .and_then(<[u8]>::first_chunk_mut);
        if let Some(header) = header {
            udp::CHECKSUM.write_u16::<{ udp::HEADER_LEN }>(header, checksum);
        }
    }

    /// [`Self::seal`] by the UDP header alone. False, and nothing is written, if that is not enough to
    /// go by ([`Self::Full`]).
    #[inline]
    pub fn seal_header(self, header: &mut [u8; 8]) -> bool {
        let checksum = match self {
            Self::Zero => 0,
            Self::Kept(sum) => udp_wire(sum.checksum()),
            Self::Full => return false,
        };
        udp::CHECKSUM.write_u16(header, checksum);
        true
    }
}

/// Sums of the first 44 octets of a payload and of the rest.
// Always, as `judge`.
#[inline(always)]
pub(super) fn head_and_tail(payload: &[u8]) -> (Sum, Sum) {
    /// What 41 and 44 octets, the lengths of nearly all test packets, have in common.
    const COMMON: usize = STAMP_LEN - 4;
    let Some((common, rest)) = payload.split_first_chunk::<COMMON>() else {
        return (Sum::new().add(payload), Sum::new());
    };
    let common = Sum::new().add_few(common);
    match rest {
        [last] => (common.add_few(&[*last, 0]), Sum::new()),
        _ => match rest.split_first_chunk::<{ STAMP_LEN - COMMON }>() {
            Some((last, tail)) => (common.add_few(last), Sum::new().add(tail)),
            None => (common.add(rest), Sum::new()),
        },
    }
}

/// The checksum as it is sent, whatever the field holds now.
#[inline(never)]
fn full(packet: &Packet<'_>) -> u16 {
    let present = Sum::new().add_u16(packet.udp_checksum());
    udp_wire(
        packet
            .pseudo_header()
            .plus(packet.datagram_sum())
            .minus(present)
            .checksum(),
    )
}
