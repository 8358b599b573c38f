//! TTL, TOS and checksum of requests and replies.

use reflector::rule::{DscpPolicy, EcnPolicy};
use testbed::{Checksum, DEFAULT_TIMEOUT, Need, RawPeer, skip_unless};

use crate::rig::{PORT, Rig, answer_to, exchange, listener, reflected, request, veth};

/// EF with CE.
const EF_CE: u8 = 0xbb;

#[test]
fn ttl_is_reported_and_tos_answered_by_the_rule() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let peer = RawPeer::open(&veth.sender).unwrap();
    for (dscp, ecn, tos) in [
        (DscpPolicy::Copy, EcnPolicy::Clear, 0xb8),
        (DscpPolicy::Copy, EcnPolicy::Copy, 0xbb),
        (DscpPolicy::Fixed(10), EcnPolicy::Clear, 0x28),
    ] {
        let mut listener = listener();
        (listener.rule.dscp, listener.rule.ecn) = (dscp, ecn);
        let rig = Rig::start(&veth, &[listener]);
        let v4 = veth.request_v4(4004, PORT).ttl(61).tos(EF_CE);
        let v6 = veth.request_v6(4006, PORT).ttl(61).tos(EF_CE);
        for (frame, port) in [(v4, 4004), (v6, 4006)] {
            let reply = exchange(&peer, &frame.payload(&request(44)), port);
            assert_eq!((reply.ttl, reply.tos), (255, tos));
            assert_eq!(reply.payload[40], 61, "Sender TTL");
        }
        rig.finish();
    }
}

#[test]
fn replies_of_one_batch_have_each_its_own_tos_and_keep_their_order() {
    const COUNT: u8 = 64;
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let rig = Rig::start(&veth, &[listener()]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    // DSCPs in runs of 1, 2 and 3.
    let tos = |number: u8| ((number / 3 * 2 + number % 3 / 2) % 64) << 2;
    for number in 0..COUNT {
        let mut payload = request(44);
        payload[..4].copy_from_slice(&u32::from(number).to_be_bytes());
        let frame = veth.request_v4(4005, PORT).tos(tos(number));
        peer.send(&frame.payload(&payload).build()).unwrap();
    }
    for number in 0..COUNT {
        let reply = answer_to(&peer, 4005, DEFAULT_TIMEOUT).unwrap();
        assert_eq!(reply.payload[..4], u32::from(number).to_be_bytes());
        assert_eq!(reply.tos, tos(number));
    }
    assert_eq!(reflected(&rig.finish()), u64::from(COUNT));
}

#[test]
fn a_request_without_udp_checksum_gets_a_reply_with_one() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let rig = Rig::start(&veth, &[listener()]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let frame = veth
        .request_v4(4007, PORT)
        .checksum(Checksum::Absent)
        .payload(&request(44));
    let reply = exchange(&peer, &frame, 4007);
    assert_ne!(
        reply.udp_checksum, 0,
        "docs: a socket cannot tell, nor leave it out"
    );
    rig.finish();
}

#[test]
fn a_wrong_udp_checksum_never_gets_to_a_worker() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let rig = Rig::start(&veth, &[listener()]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let wrong = veth
        .request_v4(4008, PORT)
        .checksum(Checksum::Wrong)
        .payload(&request(44));
    peer.send(&wrong.build()).unwrap();
    let right = veth.request_v4(4009, PORT).payload(&request(44));
    exchange(&peer, &right, 4009);
    let figures = rig.finish();
    assert_eq!(figures.total(|worker| worker.received.value()), 1);
}
