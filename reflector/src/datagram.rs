//! A request as it lies in a frame: found, checked, answered in place, sealed.
//!
//! The XDP program has matched interface, MAC address, listener and port. What it cannot check
//! cheaply is checked here: checksums, and that the metadata agrees with the octets.

use core::net::SocketAddr;

use ebpf::{RxMeta, StampSource};
use wire::frame::{
    ChecksumPlan, FlowLabel, FrameError, Headers, Incoming, Layout, Packet, Request, UdpChecksum,
};
use wire::time::Tai;
use wire::twamp::STAMP_LEN;

use crate::address::is_one_host;
use crate::reflect::{self, Departure, Ignored, Pending, Received, Timescale, Verdict};
use crate::rule::{FlowLabelPolicy, ListenerId, Rule, SequencePolicy};

/// Why a packet steered to the reflector is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Unanswered {
    /// The frame ends before its headers or before the IP packet does.
    Truncated,
    /// No UDP over IPv4 or IPv6 within two VLAN tags.
    NotUdp,
    /// An IP header that contradicts itself: version, header length or total length.
    IpHeader,
    /// IPv4 options or an IPv6 extension header, which the fast path leaves to the kernel.
    Options,
    /// A fragment, which the fast path leaves to the kernel.
    Fragment,
    /// A UDP length that is below 8 or not what the IP header leaves for it.
    UdpLength,
    /// The frame is not what its metadata says.
    Metadata,
    /// The IPv4 header checksum is wrong.
    Ipv4Checksum,
    /// The UDP checksum is wrong.
    UdpChecksum,
    /// There is no UDP checksum where there must be one: over IPv6 (RFC 8200 section 8.1).
    NoUdpChecksum,
    /// The source's IP address is nobody's: unspecified, loopback, multicast, broadcast, reserved.
    SourceAddress,
    /// The source's port is 0: nobody could be answered there.
    SourcePort,
    /// The source's MAC address is a group's, nobody's or our own.
    SourceStation,
    /// No listener claims it any more.
    NoListener,
    /// Fewer octets than a request has.
    TooShort,
    /// Fewer octets than its reply, which the listener refuses.
    ShortRefused,
    /// Another reflector's reply, by the looks of it.
    LooksLikeReply,
    /// The session table has no room for its session.
    SessionTableFull,
    /// The reply does not fit in the UMEM chunk, or in the transmit ring.
    NoRoom,
}

impl Unanswered {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 19] = [
        Self::Truncated,
        Self::NotUdp,
        Self::IpHeader,
        Self::Options,
        Self::Fragment,
        Self::UdpLength,
        Self::Metadata,
        Self::Ipv4Checksum,
        Self::UdpChecksum,
        Self::NoUdpChecksum,
        Self::SourceAddress,
        Self::SourcePort,
        Self::SourceStation,
        Self::NoListener,
        Self::TooShort,
        Self::ShortRefused,
        Self::LooksLikeReply,
        Self::SessionTableFull,
        Self::NoRoom,
    ];

    /// The reason in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::NotUdp => "not UDP",
            Self::IpHeader => "bad IP header",
            Self::Options => "IP options or extension headers",
            Self::Fragment => "fragment",
            Self::UdpLength => "bad UDP length",
            Self::Metadata => "not what its metadata says",
            Self::Ipv4Checksum => "wrong IPv4 header checksum",
            Self::UdpChecksum => "wrong UDP checksum",
            Self::NoUdpChecksum => "no UDP checksum over IPv6",
            Self::SourceAddress => "source address that cannot be answered",
            Self::SourcePort => "source port 0",
            Self::SourceStation => "source MAC address that cannot be answered",
            Self::NoListener => "no listener any more",
            Self::TooShort => "payload shorter than 14 octets",
            Self::ShortRefused => "payload shorter than its reply",
            Self::LooksLikeReply => "looks like a reply",
            Self::SessionTableFull => "session table full",
            Self::NoRoom => "no room for the reply",
        }
    }
}

impl From<Ignored> for Unanswered {
    fn from(reason: Ignored) -> Self {
        match reason {
            Ignored::TooShort => Self::TooShort,
            Ignored::ShortRefused => Self::ShortRefused,
            Ignored::LooksLikeReply => Self::LooksLikeReply,
            Ignored::SessionTableFull => Self::SessionTableFull,
            Ignored::NoRoom => Self::NoRoom,
        }
    }
}

impl From<FrameError> for Unanswered {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Truncated => Self::Truncated,
            FrameError::Ipv4Header | FrameError::Ipv4Length | FrameError::Ipv6Header => {
                Self::IpHeader
            }
            FrameError::Ipv4Options | FrameError::ExtensionHeader => Self::Options,
            FrameError::Fragment => Self::Fragment,
            FrameError::UdpLength => Self::UdpLength,
            FrameError::LayoutMismatch => Self::Metadata,
            // `NotIp`, `VlanDepth`, `NotUdp`, and whatever else may come.
            _ => Self::NotUdp,
        }
    }
}

/// When a frame arrived and what it is, as far as is known before its octets are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// T2 as stamped by the XDP program; `None` where user space has to take it.
    pub stamp: Option<Tai>,
    /// What the XDP program found; `None` where user space has to look itself.
    pub matched: Option<Matched>,
}

/// What the XDP program found in a frame, and the listener whose rule it applied.
///
/// It lies in memory that others can write, and is held against the frame before it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matched {
    /// The listener's number.
    pub listener: ListenerId,
    /// The generation of rules in which it has this number.
    pub generation: u16,
    /// Where the UDP payload is.
    pub payload: Payload,
}

/// Where the payload of a packet lies in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Octets before it.
    pub offset: u16,
    /// Octets of it, according to the UDP header.
    pub len: u16,
}

impl Payload {
    #[inline]
    const fn of(layout: &Layout) -> Self {
        Self {
            offset: layout.payload,
            len: layout.payload_len,
        }
    }

    /// Octets of the frame of the reply by `rule` to a request with this payload. Ethernet padding is
    /// left behind.
    #[inline]
    pub const fn reply_frame_len(self, rule: &Rule) -> usize {
        self.offset as usize + reflect::reply_len(rule, self.len as usize)
    }
}

impl Arrival {
    /// Nothing is known: the driver gave no room for metadata.
    pub const UNKNOWN: Self = Self {
        stamp: None,
        matched: None,
    };

    /// What the XDP program noted.
    #[inline]
    pub fn from_meta(meta: &RxMeta) -> Self {
        let stamp = match meta.stamp_source {
            StampSource::KERNEL_TAI => i64::try_from(meta.arrival_ns).ok().map(Tai::from_nanos),
            _ => None,
        };
        Self {
            stamp,
            matched: Some(Matched {
                listener: meta.rule,
                generation: meta.generation,
                payload: Payload {
                    offset: meta.payload,
                    len: meta.payload_len,
                },
            }),
        }
    }
}

/// Finds the datagram in a frame of which the XDP program noted nothing.
///
/// # Errors
///
/// There is none.
pub fn look(frame: &[u8]) -> Result<(Payload, Flow), Unanswered> {
    let packet = Packet::parse(frame)?;
    Ok((Payload::of(&packet.layout()), Flow::of(&packet)))
}

/// Checks the request in `buffer[..frame_len]` and answers it by `rule` in place. `buffer` has room for
/// the reply ([`Payload::reply_frame_len`]); it may be shorter than `frame_len` by Ethernet padding.
/// `noted` is where the payload should be, `at` is T2, and `next` is that of [`reflect::decide`], given
/// the packet's ends as well.
///
/// # Errors
///
/// The reason why there is no answer; the octets are then of no further use.
#[inline]
pub fn answer(
    buffer: &mut [u8],
    frame_len: usize,
    noted: Payload,
    rule: &Rule,
    at: Tai,
    timescale: Timescale,
    next: impl FnOnce(&Flow, u16) -> Option<u32>,
) -> Result<Reply, Unanswered> {
    let trimmed = buffer.len() < frame_len;
    let incoming = Incoming::parse(buffer, frame_len).map_err(|error| match error {
        // Not by the sender, but to the length that the packet was said to have.
        FrameError::Truncated if trimmed => Unanswered::Metadata,
        error => error.into(),
    })?;
    match incoming {
        Incoming::V4(request) => answer_request(request, noted, rule, at, timescale, next),
        Incoming::V6(request) => answer_request(request, noted, rule, at, timescale, next),
    }
}

/// [`answer`] over either IP version.
#[inline]
fn answer_request<H: Headers>(
    mut request: Request<'_, H>,
    noted: Payload,
    rule: &Rule,
    at: Tai,
    timescale: Timescale,
    next: impl FnOnce(&Flow, u16) -> Option<u32>,
) -> Result<Reply, Unanswered> {
    let len = request.payload_len();
    if (noted.offset, noted.len) != (request.payload_offset(), len) {
        return Err(Unanswered::Metadata);
    }
    let checksum = check(&request)?;
    let received = Received {
        at,
        len: usize::from(len),
        ttl: request.ttl(),
        tos: request.tos(),
    };
    let flow = match rule.sequence {
        SequencePolicy::Stateless => None,
        SequencePolicy::Stateful => Some(Flow::of_request(&request)),
    };
    let next = |ssid| next(flow.as_ref()?, ssid);
    let pending = match reflect::decide(request.payload_mut(), &received, rule, timescale, next) {
        Verdict::Reply(pending) => pending,
        Verdict::Ignore(reason) => return Err(reason.into()),
    };
    request.turn_around(rule.reply_tos(received.tos), rule.flow_label.into());
    let reply_len = u16::try_from(pending.payload_len()).map_err(|_| Unanswered::NoRoom)?;
    if reply_len != len && !request.set_payload_len(reply_len) {
        return Err(Unanswered::NoRoom);
    }
    let mut checksum = checksum.plus(pending.sum());
    if !pending.keeps_tail() && usize::from(reply_len) > STAMP_LEN {
        checksum = checksum.with_new_tail();
    }
    Ok(Reply {
        udp_offset: request.udp_offset(),
        checksum: checksum.plus_payload_len(reply_len),
        pending,
    })
}

/// Checks what the XDP program did not.
#[inline]
fn check<H: Headers>(request: &Request<'_, H>) -> Result<ChecksumPlan, Unanswered> {
    if !request.verify_ip_header() {
        return Err(Unanswered::Ipv4Checksum);
    }
    let (verdict, checksum) = request.judge_udp();
    if verdict == UdpChecksum::Wrong {
        return Err(if request.udp_checksum() == 0 {
            Unanswered::NoUdpChecksum
        } else {
            Unanswered::UdpChecksum
        });
    }
    if !is_one_host(request.source_address()) {
        return Err(Unanswered::SourceAddress);
    }
    if request.source_port() == 0 {
        return Err(Unanswered::SourcePort);
    }
    let [source, own] = request.stations();
    if !is_unicast(source, own) {
        return Err(Unanswered::SourceStation);
    }
    Ok(checksum)
}

/// The two ends of a packet's way, as far as its frame tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Identifiers of its VLAN tags, outermost first; 0 where there is none, or a priority tag.
    pub vlan_ids: [u16; 2],
    /// Who asks.
    pub source: SocketAddr,
    /// Who is asked.
    pub destination: SocketAddr,
}

impl Flow {
    #[inline]
    fn of_request<H: Headers>(request: &Request<'_, H>) -> Self {
        let [source, destination] = request.ends();
        Self {
            vlan_ids: request.vlan_ids(),
            source,
            destination,
        }
    }

    /// That of a packet in its frame.
    #[inline]
    pub fn of(packet: &Packet<'_>) -> Self {
        Self {
            vlan_ids: packet.vlan_ids().map(Option::unwrap_or_default),
            source: SocketAddr::new(packet.source(), packet.source_port()),
            destination: SocketAddr::new(packet.destination(), packet.destination_port()),
        }
    }
}

/// A reply that lies in its frame, complete but for T3 and the UDP checksum.
#[derive(Debug)]
#[must_use = "a reply must be sealed before it is sent"]
pub struct Reply {
    /// Octets of the frame before the UDP header.
    udp_offset: u16,
    checksum: ChecksumPlan,
    pending: Pending,
}

impl Reply {
    /// Writes T3 and, last, the UDP checksum. False, if `frame` is not the frame that
    /// [`answer`] left, in which case it must not be sent.
    #[inline]
    pub fn seal(self, frame: &mut [u8], departure: &Departure) -> bool {
        let datagram = frame.get_mut(usize::from(self.udp_offset)..);
        let Some((header, payload)) = datagram.and_then(<[u8]>::split_first_chunk_mut) else {
            return false;
        };
        let checksum = self.checksum.plus(departure.sum(&self.pending));
        let stamped = departure.finish(self.pending, payload);
        stamped && (checksum.seal_header(header) || seal_whole(checksum, frame))
    }
}

/// Computes the UDP checksum from nothing.
#[cold]
fn seal_whole(checksum: ChecksumPlan, frame: &mut [u8]) -> bool {
    let layout = Layout::parse(frame);
    layout.is_ok_and(|layout| {
        checksum.seal(frame, &layout);
        true
    })
}

impl From<FlowLabelPolicy> for FlowLabel {
    #[inline]
    fn from(policy: FlowLabelPolicy) -> Self {
        match policy {
            FlowLabelPolicy::Copy => Self::Keep,
            FlowLabelPolicy::Zero => Self::Zero,
        }
    }
}

/// A reply to such a station is not flooded to a whole segment, nor to ourselves.
#[inline]
fn is_unicast(source: [u8; 6], own: [u8; 6]) -> bool {
    let number = |[a, b, c, d, e, f]: [u8; 6]| u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    let (source, own) = (number(source), number(own));
    // The group bit is the lowest of the first octet.
    source & 1 == 0 && source != 0 && source != own
}
