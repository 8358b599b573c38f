//! The slow path decides as the fast path does.

use testbed::{DEFAULT_TIMEOUT, Need, RawPeer, UdpFrame, Veth, skip_unless};
use wire::twamp::Reply;

use crate::common::Reflector;
use crate::{OPTIONS, PORT, answer_to, exchange, numbered, request, veth};

/// The same packet for the fast path and for the slow one.
fn both_ways(frame: &UdpFrame) -> [UdpFrame; 2] {
    [frame.clone(), frame.clone().ipv4_options(&OPTIONS)]
}

/// Both answers, their timestamps wiped: the rest must be alike.
fn answers(peer: &RawPeer, frame: &UdpFrame, port: u16) -> [Vec<u8>; 2] {
    both_ways(frame).map(|frame| {
        let mut payload = exchange(peer, &frame, port).payload;
        payload[4..12].fill(0);
        payload[16..24].fill(0);
        payload
    })
}

#[test]
fn every_format_is_answered_alike() {
    skip_unless!(Need::Xdp);
    let veth = veth();
    for (options, port) in [
        (&["--format", "by-length"][..], 4201),
        (&["--format", "stamp"], 4202),
        (&["--format", "twamp-light"], 4203),
        (&["--format", "twamp-light", "--padding", "shift"], 4204),
        (&["--format", "twamp-light", "--padding", "zero"], 4205),
        (&["--format", "twamp-light", "--dscp-report", "on"], 4206),
        (&["--timestamps", "ptp"], 4207),
    ] {
        let reflector = Reflector::start(&veth.reflector, options);
        let peer = RawPeer::open(&veth.sender).unwrap();
        let lengths = [14, 41, 44, 60, 200];
        for len in lengths {
            let frame = veth.request_v4(port, PORT).ttl(99).tos(0x28);
            let [fast, slow] = answers(&peer, &frame.payload(&request(len)), port);
            assert_eq!(fast, slow, "{options:?}, {len} octets");
        }
        let summary = reflector.stop();
        let count = lengths.len() as u64;
        assert_eq!(summary.row("total"), [count, count, 0]);
        assert_eq!(summary.sockets(), [count, count]);
    }
}

#[test]
fn dscp_and_ecn_follow_the_listeners_policy() {
    skip_unless!(Need::Xdp);
    let veth = veth();
    for (options, tos) in [
        (&[][..], 0xb8),
        (&["--ecn", "copy"], 0xb9),
        (&["--dscp", "10"], 0x28),
        (&["--dscp", "0"], 0),
    ] {
        let _reflector = Reflector::start(&veth.reflector, options);
        let peer = RawPeer::open(&veth.sender).unwrap();
        let v4 = veth.request_v4(4301, PORT).tos(0xb9).payload(&request(44));
        let v6 = veth.request_v6(4301, PORT).tos(0xb9).payload(&request(44));
        for frame in both_ways(&v4)
            .into_iter()
            .chain([v6.clone(), v6.hop_by_hop()])
        {
            assert_eq!(exchange(&peer, &frame, 4301).tos, tos, "{options:?}");
        }
    }
}

#[test]
fn a_session_has_one_sequence_whichever_way_its_packets_take() {
    skip_unless!(Need::Xdp);
    let veth = veth();
    let reflector = Reflector::start(&veth.reflector, &["--sequence", "stateful"]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let mut expected = 0;
    for number in [1000, 1001, 1005, 1006] {
        let frame = veth.request_v4(4401, PORT).payload(&numbered(number));
        for frame in both_ways(&frame) {
            let answer = exchange(&peer, &frame, 4401);
            let reply = Reply::parse(&answer.payload).unwrap();
            assert_eq!(reply.sequence(), expected);
            assert_eq!(reply.sender_sequence(), number);
            expected += 1;
        }
    }
    let summary = reflector.stop();
    assert_eq!(summary.row("total"), [4, 4, 0]);
    assert_eq!(summary.sockets(), [4, 4]);
    assert_eq!(summary.count("created"), 1);
}

/// Sends what must stay without an answer on the slow path, and then what must have one.
fn assert_unanswered(peer: &RawPeer, veth: &Veth, unanswered: &[UdpFrame]) {
    for frame in unanswered {
        peer.send(&frame.clone().ipv4_options(&OPTIONS).build())
            .unwrap();
    }
    let good = veth.request_v4(4599, PORT).payload(&numbered(7));
    peer.send(&good.ipv4_options(&OPTIONS).build()).unwrap();
    let any = |frame: &[u8]| testbed::Datagram::parse(frame).is_ok();
    let first = peer.recv_matching(any, DEFAULT_TIMEOUT).unwrap().unwrap();
    let first = testbed::Datagram::parse(&first).unwrap();
    assert_eq!(first.destination.port(), 4599, "{first:?}");
}

#[test]
fn client_list_and_loop_guard_hold() {
    skip_unless!(Need::Xdp);
    let veth = veth();
    let options = ["--allow", "10.86.2.2", "--allow", "10.86.2.64/26"];
    let reflector = Reflector::start(&veth.reflector, &options);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let from = |source: &str| {
        UdpFrame::v4(source.parse().unwrap(), veth.reflector.socket_v4(PORT))
            .macs(veth.sender.mac, veth.reflector.mac)
            .payload(&numbered(1))
    };
    // T2 and T3 of a reply, a second apart.
    let mut reply = request(44);
    reply[4..12].copy_from_slice(&[9, 9, 9, 10, 1, 1, 1, 1]);
    reply[16..24].copy_from_slice(&[9, 9, 9, 9, 1, 1, 1, 1]);
    let unanswered = [
        from("10.86.2.3:4501"),
        from("10.86.2.128:4501"),
        from("10.86.2.2:862"),
        from("10.86.2.2:4501").payload(&reply),
        from("10.86.2.2:4501").payload(&[0; 13]),
        from("10.86.2.2:0"),
    ];
    assert_unanswered(&peer, &veth, &unanswered);
    assert!(answer_to(&peer, 4501, crate::common::SILENCE).is_none());
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    assert_eq!(summary.row("total"), [0, 0, 0]);
    for (reason, count) in [
        ("client not allowed", 2),
        ("source port is a listener's", 1),
        ("looks like a reply", 1),
        ("payload shorter than 14 octets", 1),
    ] {
        assert_eq!(summary.count(reason), count, "{reason}:\n{}", summary.0);
    }
}

#[test]
fn a_source_over_its_rate_is_refused() {
    skip_unless!(Need::Xdp);
    let veth = veth();
    let options = ["--source-rate", "1", "--burst", "1ms"];
    let reflector = Reflector::start(&veth.reflector, &options);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let frame = veth.request_v4(4601, PORT).payload(&numbered(1));
    let frame = frame.ipv4_options(&OPTIONS);
    exchange(&peer, &frame, 4601);
    for _ in 0..20 {
        peer.send(&frame.build()).unwrap();
    }
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    let [received, reflected] = summary.sockets();
    assert_eq!(received, 21, "{}", summary.0);
    // One per second.
    assert!(reflected < received, "{}", summary.0);
    let refused = summary.count("source above its rate");
    assert_eq!(refused, received - reflected, "{}", summary.0);
}
