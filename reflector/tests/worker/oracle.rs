//! What etherparse makes of a request, and of the reply to it.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use testbed::Datagram;
use wire::frame::{IpVersion, Layout};
use wire::time::NtpTimestamp;
use wire::twamp::Reply;

use crate::rig::{NOW, TIMESCALE};

/// Whether a reflector may answer this frame, by etherparse's reading of it.
pub fn may_be_answered(frame: &[u8]) -> bool {
    let Ok(request) = Datagram::parse(frame) else {
        return false;
    };
    let checksum_ok = request.udp_checksum_valid
        || is_partial(&request)
        || (request.udp_checksum == 0 && request.source.is_ipv4());
    let source_ok = match request.source.ip() {
        IpAddr::V4(ip) => ip.octets()[0] != 0 && ip.octets()[0] != 127 && ip.octets()[0] < 224,
        IpAddr::V6(ip) => {
            !ip.is_unspecified()
                && !ip.is_loopback()
                && !ip.is_multicast()
                && ip.to_ipv4_mapped().is_none()
        }
    };
    let [first, ..] = request.source_mac;
    let station_ok = first % 2 == 0
        && request.source_mac != [0; 6]
        && request.source_mac != request.destination_mac;
    checksum_ok
        && source_ok
        && station_ok
        && request.source.port() != 0
        && request.payload.len() >= 14
        && !looks_like_reply(&request.payload)
}

/// T3, T2 and T1 are there, and T3 - T2 is from 0 to less than 10 s.
fn looks_like_reply(payload: &[u8]) -> bool {
    let stamp = |at: usize| -> u64 { u64::from_be_bytes(payload[at..at + 8].try_into().unwrap()) };
    payload.len() >= 38
        && [4, 16, 28].into_iter().all(|at| stamp(at) != 0)
        && stamp(4).wrapping_sub(stamp(16)) < 10 << 32
}

/// The checksum field holds the folded pseudo-header sum: left to offload.
fn is_partial(request: &Datagram) -> bool {
    let len = u16::try_from(8 + request.payload.len()).unwrap();
    let sum = match (request.source.ip(), request.destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Sum16BitWords::new()
            .add_4bytes(from.octets())
            .add_4bytes(to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => Sum16BitWords::new()
            .add_16bytes(from.octets())
            .add_16bytes(to.octets()),
        _ => return false,
    };
    let sum = sum.add_2bytes([0, 17]).add_2bytes(len.to_be_bytes());
    request.udp_checksum == u16::from_be(!sum.ones_complement())
}

/// The reserved bit of the IPv4 flags (RFC 3514). Etherparse does not keep it, and so finds a header
/// checksum right that is wrong, and the reverse.
pub fn has_evil_bit(frame: &[u8], layout: &Layout) -> bool {
    layout.ip == IpVersion::V4 && frame[usize::from(layout.l3) + 6] & 0x80 != 0
}

/// A reply must be the request turned round and filled in, whatever the request held.
pub fn assert_answers(reply: &[u8], request: &[u8]) {
    let (reply, request) = (
        Datagram::parse(reply).unwrap(),
        Datagram::parse(request).unwrap(),
    );
    assert_eq!(
        (reply.source, reply.destination),
        (request.destination, request.source)
    );
    assert_eq!(reply.source_mac, request.destination_mac);
    assert_eq!(reply.destination_mac, request.source_mac);
    assert_eq!(reply.vlan_ids, request.vlan_ids);
    assert_eq!((reply.ttl, reply.tos), (255, request.tos & !0b11));
    if request.udp_checksum == 0 {
        assert_eq!(reply.udp_checksum, 0);
    } else {
        assert!(reply.udp_checksum_valid, "{:#06x}", reply.udp_checksum);
    }

    assert_eq!(reply.payload.len(), request.payload.len().max(41));
    let fields = Reply::parse(&reply.payload).unwrap();
    assert_eq!(
        reply.payload[24..38],
        request.payload[..14],
        "the sender's fields"
    );
    assert_eq!(fields.sequence(), fields.sender_sequence());
    assert_eq!(fields.sender_ttl(), Some(request.ttl));
    assert_eq!(fields.error_estimate(), TIMESCALE.error_estimate);
    let now = NOW.to_utc(TIMESCALE.tai_offset);
    let at = |bytes| NtpTimestamp::from_bytes(bytes).to_utc(now);
    let (t2, t3) = (at(fields.receive_timestamp()), at(fields.timestamp()));
    assert!(now <= t2 && t2 <= t3, "{t2:?} {t3:?}");
    assert!(
        reply
            .payload
            .iter()
            .skip(41)
            .eq(request.payload.iter().skip(41))
    );
}
