//! What is not answered, and counted by its name.

use std::net::Ipv4Addr;
use std::time::Duration;

use ebpf::policer::PacketLimit;
use host::HostView;
use reflector::listener::{Limits, Listener, SourceLimit, SourcePrefix};
use reflector::socket::{SendError, SocketFigures, Unanswered};
use testbed::{DEFAULT_TIMEOUT, Need, RawPeer, UdpFrame, Veth, skip_unless, wait_until};

use crate::rig::{
    PORT, Rig, SILENCE, answer_to, client, exchange, host, listener, reflected, request,
    unanswered, veth, workers,
};

const GOOD_PORT: u16 = 4100;

/// Sends frames that must not be answered and then one that must be: a worker serves a socket in
/// order. Returns how the reflector counted the former.
fn assert_silence(veth: &Veth, host: &HostView, frames: &[UdpFrame]) -> SocketFigures {
    let rig = Rig::start_with(veth, &[listener()], host, &workers(1));
    let peer = RawPeer::open(&veth.sender).unwrap();
    for frame in frames {
        peer.send(&frame.build()).unwrap();
    }
    for good in [
        veth.request_v4(GOOD_PORT, PORT),
        veth.request_v6(GOOD_PORT, PORT),
    ] {
        let reply = exchange(&peer, &good.payload(&request(44)), GOOD_PORT);
        assert_eq!(reply.payload.len(), 44);
    }
    let more = peer.recv_matching(
        |frame| testbed::Datagram::parse(frame).is_ok_and(|it| it.source.port() == PORT),
        SILENCE,
    );
    assert_eq!(more.unwrap(), None);
    let figures = rig.finish();
    assert_eq!(reflected(&figures), 2);
    figures
}

#[test]
fn groups_are_never_answered() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let to_v4 = |address: Ipv4Addr, mac| {
        UdpFrame::v4(
            veth.sender.socket_v4(4101),
            std::net::SocketAddrV4::new(address, PORT),
        )
        .macs(veth.sender.mac, mac)
        .payload(&request(44))
    };
    let all_nodes = std::net::SocketAddrV6::new("ff02::1".parse().unwrap(), PORT, 0, 0);
    let frames = [
        to_v4(Ipv4Addr::new(10, 86, 2, 255), [0xff; 6]),
        to_v4(Ipv4Addr::BROADCAST, [0xff; 6]),
        to_v4(Ipv4Addr::new(224, 0, 0, 1), [1, 0, 0x5e, 0, 0, 1]),
        UdpFrame::v6(veth.sender.socket_v6(4101), all_nodes)
            .macs(veth.sender.mac, [0x33, 0x33, 0, 0, 0, 1])
            .payload(&request(44)),
    ];
    let figures = assert_silence(&veth, &host(&veth), &frames);
    assert_eq!(unanswered(&figures, Unanswered::Group), 4);
}

#[test]
fn malformed_requests_and_listeners_ports_are_not_answered() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    // All of T3, T2 and T1 are there, T3 a second after T2: a reply.
    let mut reply = vec![0; 44];
    for (at, seconds) in [(4, 0xe8fe_6f81_u32), (16, 0xe8fe_6f80), (28, 0xe8fe_6f7f)] {
        reply[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
    }
    let frames = [
        veth.request_v4(4102, PORT).payload(&request(13)),
        veth.request_v4(4102, PORT).payload(&[]),
        veth.request_v4(PORT, PORT).payload(&request(44)),
        veth.request_v4(0, PORT).payload(&request(44)),
        veth.request_v4(4102, PORT).payload(&reply),
    ];
    let figures = assert_silence(&veth, &host(&veth), &frames);
    for (reason, count) in [
        (Unanswered::TooShort, 2),
        (Unanswered::ListenerPort, 1),
        (Unanswered::Source, 1),
        (Unanswered::LooksLikeReply, 1),
    ] {
        assert_eq!(unanswered(&figures, reason), count, "{reason:?}");
    }
}

#[test]
fn addresses_that_no_listener_names_are_not_answered_on() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let address = "10.86.2.77";
    let host = host(&veth);
    let line = format!("address add {address}/24 dev {}", veth.reflector.interface);
    veth.reflector.namespace.ip(&line).unwrap();
    // The rulebook has not heard of it yet.
    let frame = UdpFrame::v4(
        veth.sender.socket_v4(4103),
        std::net::SocketAddrV4::new(address.parse().unwrap(), PORT),
    )
    .macs(veth.sender.mac, veth.reflector.mac)
    .payload(&request(44));
    let figures = assert_silence(&veth, &host, &[frame]);
    assert_eq!(unanswered(&figures, Unanswered::NotOurs), 1);
}

#[test]
fn what_cannot_be_sent_is_counted_and_survived() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    veth.reflector
        .namespace
        .ip("route add prohibit 198.51.100.0/24")
        .unwrap();
    let rig = Rig::start(&veth, &[listener()]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let from = |address: [u8; 4]| {
        let source = std::net::SocketAddrV4::new(address.into(), 4104);
        UdpFrame::v4(source, veth.reflector.socket_v4(PORT))
            .macs(veth.sender.mac, veth.reflector.mac)
            .payload(&request(44))
    };
    for _ in 0..3 {
        peer.send(&from([192, 0, 2, 1]).build()).unwrap();
    }
    peer.send(&from([198, 51, 100, 1]).build()).unwrap();
    let good = veth.request_v4(GOOD_PORT, PORT).payload(&request(44));
    exchange(&peer, &good, GOOD_PORT);
    assert!(answer_to(&peer, 4104, SILENCE).is_none());
    let figures = rig.finish();
    assert_eq!(reflected(&figures), 1);
    let errors = |reason| figures.total(|worker| worker.send_errors(reason));
    assert_eq!(errors(SendError::Unreachable), 3);
    assert_eq!(errors(SendError::Forbidden), 1);
}

#[test]
fn sources_and_listeners_above_their_limits_are_not_answered() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let rare = PacketLimit::every(Duration::from_secs(500), Duration::ZERO).unwrap();
    let by_source = Limits {
        source: Some(SourceLimit {
            packets: rare,
            prefix: SourcePrefix { v4: 32, v6: 64 },
        }),
        ..Limits::default()
    };
    let mut in_all = Limits::default();
    in_all.all.packets = Some(rare);
    // One of each family is answered, or one.
    for (limits, reason, answered) in [
        (by_source, Unanswered::SourcePoliced, 2),
        (in_all, Unanswered::Policed, 1),
    ] {
        let listener = Listener {
            limits,
            ..listener()
        };
        let rig = Rig::start(&veth, &[listener]);
        for to in [
            veth.reflector.socket_v4(PORT).into(),
            veth.reflector.socket_v6(PORT).into(),
        ] {
            for _ in 0..5 {
                client(&veth, to).send(&request(44)).unwrap();
            }
        }
        wait_until("all are judged", DEFAULT_TIMEOUT, || {
            rig.datapath().figures().total(|w| w.received.value()) == 10
        });
        let figures = rig.finish();
        assert_eq!(reflected(&figures), answered);
        assert_eq!(unanswered(&figures, reason), 10 - answered);
    }
}
