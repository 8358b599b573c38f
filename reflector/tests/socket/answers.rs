//! What is answered, and with what.

use std::net::{IpAddr, SocketAddr};

use clock::{Clock, SystemClock};
use reflector::rule::SequencePolicy;
use testbed::{Need, RawPeer, VethConfig, skip_unless};
use wire::time::{NtpTimestamp, Utc};
use wire::twamp::Reply;

use crate::rig::{
    PORT, Rig, ask, client, exchange, host, listener, reflected, request, veth, veth_with, workers,
};

#[test]
fn replies_come_from_the_address_asked() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth_with(VethConfig {
        reflector_addresses: vec!["10.86.2.77/24".into(), "fd00:862::77/64".into()],
        ..VethConfig::default()
    });
    let more: [IpAddr; 2] = [
        "10.86.2.77".parse().unwrap(),
        "fd00:862::77".parse().unwrap(),
    ];
    let host = host(&veth);
    let rig = Rig::start_with(&veth, &[listener()], &host, &workers(1));
    let own = [veth.reflector.ipv4.into(), veth.reflector.ipv6.into()];
    for address in own.into_iter().chain(more) {
        // A connected socket hears nothing from any other address.
        let socket = client(&veth, SocketAddr::new(address, PORT));
        for len in [14, 41, 44, 100, 1400] {
            let reply = ask(&socket, &request(len));
            assert_eq!(reply.len(), len.max(41));
            assert_eq!(reply[24..38], request(len)[..14], "the sender's fields");
        }
    }
    assert_eq!(reflected(&rig.finish()), 20);
}

#[test]
fn link_local_addresses_answer_on_their_link() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let [near, far]: [std::net::Ipv6Addr; 2] =
        ["fe80::1".parse().unwrap(), "fe80::2".parse().unwrap()];
    for (end, address) in [(&veth.reflector, near), (&veth.sender, far)] {
        let line = format!("address add {address}/64 dev {} nodad", end.interface);
        end.namespace.ip(&line).unwrap();
    }
    let host = host(&veth);
    // Bound to every address, and to this one.
    for addresses in [vec![], vec![near.into()]] {
        let listener = reflector::listener::Listener {
            addresses,
            ..listener()
        };
        let rig = Rig::start_with(&veth, &[listener], &host, &workers(1));
        let to = std::net::SocketAddrV6::new(near, PORT, 0, veth.sender.ifindex);
        let reply = ask(&client(&veth, to.into()), &request(44));
        assert_eq!(reply.len(), 44);
        assert_eq!(reflected(&rig.finish()), 1);
    }
}

#[test]
fn t2_is_the_kernels_and_t3_comes_after_it() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let rig = Rig::start(&veth, &[listener()]);
    let socket = client(&veth, veth.reflector.socket_v4(PORT).into());
    // The kernel begins to stamp a while after it is asked to.
    testbed::wait_until("the kernel stamps", testbed::DEFAULT_TIMEOUT, || {
        let before = rig
            .datapath()
            .figures()
            .total(|w| w.user_space_stamps.value());
        ask(&socket, &request(44));
        rig.datapath()
            .figures()
            .total(|w| w.user_space_stamps.value())
            == before
    });
    let unstamped = rig
        .datapath()
        .figures()
        .total(|w| w.user_space_stamps.value());
    for _ in 0..20 {
        let before = SystemClock.utc();
        let reply = ask(&socket, &request(44));
        let after = SystemClock.utc();
        let reply = Reply::parse(&reply).unwrap();
        let t2 = utc(reply.receive_timestamp(), before);
        let t3 = utc(reply.timestamp(), before);
        // NTP's fraction is 233 ps: rounding may cost a nanosecond.
        let slack = wire::time::Nanos::from_nanos(1);
        assert!(
            before <= t2 + slack && t2 <= t3 && t3 <= after,
            "{before:?} {t2:?} {t3:?} {after:?}"
        );
    }
    let figures = rig.finish();
    assert_eq!(figures.total(|w| w.user_space_stamps.value()), unstamped);
}

fn utc(stamp: [u8; 8], near: Utc) -> Utc {
    NtpTimestamp::from_bytes(stamp).to_utc(near)
}

#[test]
fn fragments_are_answered_in_fragments() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let rig = Rig::start(&veth, &[listener()]);
    let ends: [SocketAddr; 2] = [
        veth.reflector.socket_v4(PORT).into(),
        veth.reflector.socket_v6(PORT).into(),
    ];
    for to in ends {
        let socket = client(&veth, to);
        // The longest that UDP carries over IPv4, and over IPv6.
        let longest = if to.is_ipv4() { 65_507 } else { 65_527 };
        for len in [4000, longest] {
            let reply = ask(&socket, &request(len));
            assert_eq!(reply.len(), len);
            assert!(
                reply[44..] == request(len)[44..],
                "padding of {len} octets to {to}"
            );
        }
    }
    assert_eq!(reflected(&rig.finish()), 4);
}

#[test]
fn ip_options_and_extension_headers_are_answered_without_them() {
    const NEXT_HEADER: usize = 14 + 6;
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let rig = Rig::start(&veth, &[listener()]);
    let peer = RawPeer::open(&veth.sender).unwrap();

    // Record Route for one address, and the end of options.
    let options = veth
        .request_v4(4001, PORT)
        .ipv4_options(&[7, 7, 4, 0, 0, 0, 0, 0])
        .payload(&request(44));
    let hop_by_hop = veth
        .request_v6(4002, PORT)
        .hop_by_hop()
        .payload(&request(44));
    for (frame, port) in [(&options, 4001), (&hop_by_hop, 4002)] {
        let reply = exchange(&peer, frame, port);
        assert_eq!(reply.payload[24..38], request(44)[..14]);
        assert!(reply.udp_checksum != 0);
    }

    // Destination Options have the same form as Hop-by-Hop Options (RFC 8200 section 4.6).
    let mut frame = veth
        .request_v6(4003, PORT)
        .hop_by_hop()
        .payload(&request(44))
        .build();
    assert_eq!(frame[NEXT_HEADER], 0, "hop by hop");
    frame[NEXT_HEADER] = 60;
    peer.send(&frame).unwrap();
    let reply = crate::rig::answer_to(&peer, 4003, testbed::DEFAULT_TIMEOUT).unwrap();
    assert_eq!(reply.payload[24..38], request(44)[..14]);
    assert_eq!(reflected(&rig.finish()), 3);
}

#[test]
fn workers_share_the_numbers_of_a_session() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let mut stateful = listener();
    stateful.rule.sequence = SequencePolicy::Stateful;
    let host = host(&veth);
    let rig = Rig::start_with(&veth, &[stateful], &host, &workers(2));
    let socket = client(&veth, veth.reflector.socket_v4(PORT).into());
    for number in 0..5_u32 {
        let reply = ask(&socket, &request(44));
        assert_eq!(reply[..4], number.to_be_bytes());
    }
    assert_eq!(rig.shared.sessions.counts().created, 1);
    rig.finish();
}
