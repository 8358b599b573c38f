//! Checksums of a packet in its frame: judged on arrival, made right on departure.

use super::{Layout, Packet, udp};
use crate::checksum::{Sum, udp_wire, update};

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
        let field = self.udp_checksum();
        if field == 0 {
            return match self.ipv4_header_sum() {
                Some(_) => UdpChecksum::Absent,
                None => UdpChecksum::Wrong,
            };
        }
        let pseudo_header = self.pseudo_header();
        if pseudo_header.plus(self.datagram_sum()).checksum() == 0 {
            UdpChecksum::Valid
        } else if field == pseudo_header.fold() {
            UdpChecksum::Partial
        } else {
            UdpChecksum::Wrong
        }
    }
}

/// Octets at the start of the payload that [`ChecksumPlan::Incremental`] watches: the longest reply
/// header, that of STAMP and RFC 7750.
const WATCHED_LEN: u16 = 44;

/// What it takes to get the UDP checksum of the reply right.
///
/// A checksum that was right is updated by what changed, so that a payload damaged on its way
/// through the reflector is still found out. Swapping addresses and ports changes no sum.
#[derive(Clone, Copy, Debug)]
pub enum ChecksumPlan {
    /// Update the request's checksum by the change of the first 44 octets of payload and of the
    /// length.
    ///
    /// A reply that changes octets beyond, as
    /// [`PaddingPolicy::Shift`](crate::twamp::PaddingPolicy::Shift) does, needs [`Self::Full`].
    Incremental {
        /// Sum of the first 44 octets of the request's payload, or of all if it is shorter.
        old: Sum,
        /// Octets of the request's payload.
        old_len: u16,
        /// Checksum of the request.
        checksum: u16,
    },
    /// Compute it from nothing.
    Full,
    /// Send none, since the request had none.
    Zero,
}

impl ChecksumPlan {
    /// Captures what will be needed while the request is still in the frame. `None` if the request
    /// deserves no answer: its checksum is wrong, or the layout does not fit the frame.
    #[inline]
    pub fn plan(frame: &[u8], layout: &Layout, verified: UdpChecksum) -> Option<Self> {
        match verified {
            UdpChecksum::Valid => {
                let packet = Packet::new(frame, layout).ok()?;
                Some(Self::Incremental {
                    old: watched_sum(packet.payload()),
                    old_len: layout.payload_len,
                    checksum: packet.udp_checksum(),
                })
            }
            UdpChecksum::Partial => Some(Self::Full),
            UdpChecksum::Absent => Some(Self::Zero),
            UdpChecksum::Wrong => None,
        }
    }

    /// Writes the UDP checksum of the finished reply. Does nothing if the layout does not fit the
    /// frame.
    #[inline]
    pub fn seal(self, frame: &mut [u8], layout: &Layout) {
        let Ok(packet) = Packet::new(frame, layout) else {
            return;
        };
        let checksum = match self {
            Self::Zero => 0,
            Self::Full => full(&packet),
            Self::Incremental {
                old,
                old_len,
                checksum,
            } => {
                let payload = packet.payload();
                let new_len = layout.payload_len;
                if new_len == old_len {
                    udp_wire(update(checksum, old, watched_sum(payload)))
                } else if old_len <= WATCHED_LEN {
                    // All of the old payload was watched. The length counts twice, in the header
                    // and in the pseudo-header; that it lacks the same 8 here and there cancels.
                    let old = old.add_u16(old_len).add_u16(old_len);
                    let new = Sum::new().add(payload).add_u16(new_len).add_u16(new_len);
                    udp_wire(update(checksum, old, new))
                } else {
                    full(&packet)
                }
            }
        };
        write_checksum(frame, layout, checksum);
    }
}

/// Sum of the octets of a payload that a reply may change.
#[inline]
fn watched_sum(payload: &[u8]) -> Sum {
    Sum::new().add(payload.get(..usize::from(WATCHED_LEN)).unwrap_or(payload))
}

/// The checksum as it is sent, whatever the field holds now.
#[inline]
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

#[inline]
fn write_checksum(frame: &mut [u8], layout: &Layout, checksum: u16) {
    let header = frame
        .get_mut(usize::from(layout.l4)..)
        .and_then(<[u8]>::first_chunk_mut);
    if let Some(header) = header {
        udp::CHECKSUM.write_u16::<{ udp::HEADER_LEN }>(header, checksum);
    }
}
