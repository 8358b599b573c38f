//! A request as it lies in a frame: found, checked, answered in place, sealed.
//!
//! The XDP program has matched interface, MAC address, listener and port. What it cannot check
//! cheaply is checked here: checksums, and that the metadata agrees with the octets.

use core::net::IpAddr;

use ebpf::{RxMeta, StampSource};
use wire::frame::{self, ChecksumPlan, IpVersion, Layout, Packet};
use wire::time::Tai;

use crate::reflect::{self, Ignored, Pending, Received, Timescale, Verdict};

/// Why a packet steered to the reflector is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Unanswered {
    /// The frame is no UDP datagram, or not where its metadata says.
    Malformed,
    /// The IPv4 header checksum is wrong.
    Ipv4Checksum,
    /// The UDP checksum is wrong, or absent over IPv6 (RFC 8200 section 8.1).
    UdpChecksum,
    /// The source's IP or MAC address is nobody's (unspecified, loopback, multicast, broadcast,
    /// reserved), or its port is 0: a reply would go nowhere or everywhere.
    Source,
    /// Fewer octets than a request has.
    TooShort,
    /// The reply does not fit in the UMEM chunk.
    NoRoom,
}

impl Unanswered {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::Ipv4Checksum,
        Self::UdpChecksum,
        Self::Source,
        Self::TooShort,
        Self::NoRoom,
    ];

    /// The reason in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Malformed => "malformed frame",
            Self::Ipv4Checksum => "wrong IPv4 header checksum",
            Self::UdpChecksum => "wrong UDP checksum",
            Self::Source => "source that cannot be answered",
            Self::TooShort => "payload shorter than 14 octets",
            Self::NoRoom => "no room for the reply",
        }
    }
}

impl From<Ignored> for Unanswered {
    fn from(reason: Ignored) -> Self {
        match reason {
            Ignored::TooShort => Self::TooShort,
            Ignored::NoRoom => Self::NoRoom,
        }
    }
}

/// When and where a frame arrived, as far as is known before its octets are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    layout: Option<Layout>,
    /// T2 as stamped by the XDP program; `None` where user space has to take it.
    pub stamp: Option<Tai>,
}

impl Arrival {
    /// Nothing is known: the driver gave no room for metadata.
    pub const UNKNOWN: Self = Self {
        layout: None,
        stamp: None,
    };

    /// What the XDP program noted. It lies in memory that others can write, so the layout is held
    /// against the frame ([`Layout::check`]) before it is believed.
    pub fn from_meta(meta: &RxMeta) -> Self {
        let layout = Layout {
            vlan_tags: meta.vlan_tags,
            l3: meta.l3,
            l4: meta.l4,
            payload: meta.payload,
            payload_len: meta.payload_len,
            // One tagless IPv4 or IPv6 header stands between the two offsets.
            ip: if meta.l4.wrapping_sub(meta.l3) == IPV4_HEADER {
                IpVersion::V4
            } else {
                IpVersion::V6
            },
        };
        let stamp = match meta.stamp_source {
            StampSource::KERNEL_TAI => i64::try_from(meta.arrival_ns).ok().map(Tai::from_nanos),
            _ => None,
        };
        Self {
            layout: Some(layout),
            stamp,
        }
    }
}

const IPV4_HEADER: u16 = 20;

/// A reply that lies in its frame, complete but for T3 and the UDP checksum.
#[derive(Debug)]
#[must_use = "a reply must be sealed before it is sent"]
pub struct Reply {
    layout: Layout,
    checksum: ChecksumPlan,
    pending: Pending,
}

/// Answers the request in `buffer[..frame_len]` in place; `buffer` extends to the end of the
/// memory that the reply may use. `at` is T2.
///
/// # Errors
///
/// The reason why there is no answer; the octets are then of no further use.
pub fn answer(
    buffer: &mut [u8],
    frame_len: usize,
    arrival: &Arrival,
    at: Tai,
    timescale: Timescale,
) -> Result<Reply, Unanswered> {
    let frame = buffer.get(..frame_len).ok_or(Unanswered::Malformed)?;
    let mut layout = locate(frame, arrival.layout)?;
    let (checksum, received, tos) = inspect(frame, &layout, at)?;

    let payload = buffer
        .get_mut(usize::from(layout.payload)..)
        .ok_or(Unanswered::Malformed)?;
    let pending = match reflect::decide(payload, &received, timescale) {
        Verdict::Reply(pending) => pending,
        Verdict::Ignore(reason) => return Err(reason.into()),
    };

    frame::turn_around(buffer, &layout, tos);
    if pending.payload_len() != received.len {
        let len = u16::try_from(pending.payload_len()).map_err(|_| Unanswered::NoRoom)?;
        frame::set_payload_len(buffer, &mut layout, len).map_err(|_| Unanswered::NoRoom)?;
    }
    Ok(Reply {
        layout,
        checksum,
        pending,
    })
}

fn locate(frame: &[u8], noted: Option<Layout>) -> Result<Layout, Unanswered> {
    let layout = match noted {
        Some(layout) => layout.check(frame).map(|()| layout),
        None => Layout::parse(frame),
    };
    layout.map_err(|_| Unanswered::Malformed)
}

/// Checks what the XDP program did not, and reads what the reply needs.
fn inspect(
    frame: &[u8],
    layout: &Layout,
    at: Tai,
) -> Result<(ChecksumPlan, Received, u8), Unanswered> {
    if !frame::verify_ipv4_header(frame, layout) {
        return Err(Unanswered::Ipv4Checksum);
    }
    let verified = frame::verify_udp(frame, layout);
    let checksum = ChecksumPlan::plan(frame, layout, verified).ok_or(Unanswered::UdpChecksum)?;

    let packet = Packet::new(frame, layout).map_err(|_| Unanswered::Malformed)?;
    let station = is_unicast(packet.source_mac(), packet.destination_mac());
    if packet.source_port() == 0 || !is_answerable(packet.source()) || !station {
        return Err(Unanswered::Source);
    }
    let received = Received {
        at,
        len: usize::from(layout.payload_len),
        ttl: packet.ttl(),
    };
    Ok((checksum, received, reply_tos(packet.tos())))
}

/// A reply to such a source has one receiver, and it is not this host. The rest are addresses that
/// no kernel takes a packet from (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5).
fn is_answerable(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            let reserved = first == 0 || first >= 240;
            !(reserved || v4.is_loopback() || v4.is_multicast())
        }
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some();
            !(mapped || v6.is_unspecified() || v6.is_loopback() || v6.is_multicast())
        }
    }
}

/// A reply to such a station is not flooded to a whole segment, nor to ourselves.
fn is_unicast(source: [u8; 6], own: [u8; 6]) -> bool {
    const GROUP: u8 = 1;
    source[0] & GROUP == 0 && source != [0; 6] && source != own
}

/// DSCP is copied; ECN is Not-ECT, because the reply reports no congestion (RFC 7750 section 2.2).
const fn reply_tos(received: u8) -> u8 {
    received & !0b11
}

impl Reply {
    /// Octets of the frame to send; Ethernet padding of the request is left behind.
    pub fn frame_len(&self) -> usize {
        usize::from(self.layout.payload) + self.pending.payload_len()
    }

    /// Writes T3 and, last, the UDP checksum. False, if `frame` is not the frame that
    /// [`answer`] left, in which case it must not be sent.
    pub fn seal(self, frame: &mut [u8], at: Tai, timescale: Timescale) -> bool {
        let Some(payload) = frame.get_mut(usize::from(self.layout.payload)..) else {
            return false;
        };
        let stamped = reflect::finish(self.pending, payload, at, timescale);
        self.checksum.seal(frame, &self.layout);
        stamped
    }
}
