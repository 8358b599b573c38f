//! From a received frame to a datagram of a session.

use ebpf::{RxMeta, StampSource};
use wire::frame::{IpVersion, Layout, Packet, UdpChecksum};
use wire::time::{Tai, TaiOffset, Utc};

use crate::measure::{Reception, T4Source};
use crate::transport::sources::Sources;
use crate::transport::{Datagram, HEAD_MAX};

/// Why a frame is no datagram for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// A checksum is wrong: the kernel would have dropped it too.
    Checksum,
    /// It belongs to no session: our program does not redirect such frames.
    Unknown,
}

/// Reads a frame that our XDP program redirected. `meta` is what it wrote below the frame; a driver
/// may give it no room, and then `sources` tell the session and `now` is the stamp. `offset` turns
/// TAI into UTC.
///
/// The session of the datagram is that of the run.
///
/// # Errors
///
/// See [`Unreadable`].
pub fn read<'a>(
    frame: &'a [u8],
    meta: Option<&RxMeta>,
    sources: &Sources,
    now: Utc,
    offset: TaiOffset,
) -> Result<Datagram<'a>, Unreadable> {
    // Of the metadata, which the XDP program wrote, session and stamp are taken. Where in the frame
    // things are, the frame itself tells.
    let layout = Layout::parse(frame).map_err(|_| Unreadable::Unknown)?;
    let packet = Packet::new(frame, &layout).map_err(|_| Unreadable::Unknown)?;
    if !packet.verify_ipv4_header() {
        return Err(Unreadable::Checksum);
    }
    match packet.verify_udp() {
        // Partial: a local veth or virtio peer left it to offload.
        UdpChecksum::Valid | UdpChecksum::Partial => {}
        UdpChecksum::Absent if layout.ip == IpVersion::V4 => {}
        UdpChecksum::Absent | UdpChecksum::Wrong => return Err(Unreadable::Checksum),
    }
    let payload = packet.payload();
    let session = match meta {
        Some(meta) => meta.rule as usize,
        None => sources
            .session(packet.destination(), packet.destination_port())
            .ok_or(Unreadable::Unknown)?,
    };
    Ok(Datagram {
        session,
        head: payload.get(..HEAD_MAX).unwrap_or(payload),
        len: payload.len(),
        reception: meta
            .and_then(|meta| stamped(meta, offset))
            .unwrap_or(Reception {
                t4: now,
                source: T4Source::UserSpace,
            }),
        ttl: Some(packet.ttl()),
        tos: Some(packet.tos()),
    })
}

/// T4 as the XDP program took it.
fn stamped(meta: &RxMeta, offset: TaiOffset) -> Option<Reception> {
    let nanos = i64::try_from(meta.arrival_ns).ok()?;
    (meta.stamp_source == StampSource::KERNEL_TAI).then(|| Reception {
        t4: Tai::from_nanos(nanos).to_utc(offset),
        source: T4Source::Xdp,
    })
}
