//! Sequence numbers of the reflector's own: what a session is, and what it shares between datapaths.

use std::net::{SocketAddr, UdpSocket};

use testbed::frames::CUSTOMER_TAG;
use testbed::{DEFAULT_TIMEOUT, Datagram, Need, UdpFrame, skip_unless, wait_until};

use crate::common::SILENCE;
use crate::rig::{BOTH, Ip, PORT, Rig, built, counted, light, sequence, stamp};

/// The number of the reply, which must come.
fn number(rig: &Rig, request: &UdpFrame) -> u32 {
    sequence(&rig.ask(request).datagram.payload)
}

/// With IP options, which XDP leaves to the slow path.
fn slow(frame: &UdpFrame) -> UdpFrame {
    frame.clone().ipv4_options(&[1; 4]).hop_by_hop()
}

#[test]
fn replies_are_counted_per_session_whatever_the_requests_say() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let reflector = rig.start(&["sequence=stateful", "port=900"]);
    for ip in BOTH {
        for (count, asked) in (0..).zip([7, 7, 0, u32::MAX, 3, 1]) {
            let request = rig.request(ip, 5000, PORT).payload(&stamp(asked, 0, &[]));
            let answer = rig.ask(&request).datagram.payload;
            assert_eq!(sequence(&answer), count);
            assert_eq!(answer[24..28], asked.to_be_bytes(), "the sender's own");
        }
        // What is not answered is not counted: numbers are of packets transmitted.
        let short = rig.request(ip, 5000, PORT).payload(&light(13));
        let next = rig.request(ip, 5000, PORT).payload(&stamp(1, 0, &[]));
        rig.only_the_last_is_answered(&built(&[short]), &next);
        assert_eq!(number(&rig, &next), 7);
        let stateless = rig.request(ip, 5000, 900).payload(&stamp(77, 0, &[]));
        assert_eq!(number(&rig, &stateless), 77);
    }
    let summary = reflector.stop();
    assert_eq!(counted(&summary, "sessions", "created"), 2);
    assert_eq!(counted(&summary, "sessions", "active at the end"), 2);
}

#[test]
fn port_address_ssid_and_listener_tell_sessions_apart() {
    skip_unless!(Need::Xdp);
    let rig = Rig::with_addresses(&["192.0.2.1/32", "fd00:9::1/128"]);
    let reflector = rig.start(&[
        "sequence=stateful",
        "vlan=100,sequence=stateful",
        "port=900,sequence=stateful,format=stamp",
        "port=901,sequence=stateful,format=twamp-light",
    ]);
    let mut sessions = 0;
    for ip in BOTH {
        let address = |v4: &str, v6: &str| -> SocketAddr {
            let text = if ip == Ip::V4 { v4 } else { v6 };
            text.parse().unwrap()
        };
        let own = address("10.86.2.2:5000", "[fd00:862::2]:5000");
        let to = address("10.86.2.1:862", "[fd00:862::1]:862");
        let with = |from, to, ssid| rig.frame(from, to).payload(&stamp(9, ssid, &[]));
        let apart = [
            with(own, to, 0),
            with(address("10.86.2.2:5001", "[fd00:862::2]:5001"), to, 0),
            with(address("10.86.2.3:5000", "[fd00:862::3]:5000"), to, 0),
            with(own, address("192.0.2.1:862", "[fd00:9::1]:862"), 0),
            with(own, to, 1),
            with(own, to, 0xbeef),
            with(own, to, 0).vlan(CUSTOMER_TAG, 100),
            with(own, address("10.86.2.1:900", "[fd00:862::1]:900"), 0),
            with(own, address("10.86.2.1:900", "[fd00:862::1]:900"), 1),
            with(own, address("10.86.2.1:901", "[fd00:862::1]:901"), 0),
        ];
        for count in 0..3 {
            for (which, request) in apart.iter().enumerate() {
                assert_eq!(number(&rig, request), count, "{ip:?}, session {which}");
            }
        }
        // Where there is no SSID, what stands in its place names no session.
        let light = |ssid| with(own, address("10.86.2.1:901", "[fd00:862::1]:901"), ssid);
        for (count, ssid) in (3..).zip([1, 2, 3]) {
            assert_eq!(number(&rig, &light(ssid)), count);
        }
        // Nor what is no STAMP packet, by its length or by octets that are zero in one.
        for (count, payload) in (3..).zip([light_padded(43), light_padded(44), light_padded(60)]) {
            let request = rig.frame(own, to).payload(&payload);
            assert_eq!(number(&rig, &request), count);
        }
        sessions += apart.len() as u64;
    }
    let summary = reflector.stop();
    assert_eq!(counted(&summary, "sessions", "created"), sessions);
}

/// TWAMP-Light with padding that is no zeros.
fn light_padded(len: usize) -> Vec<u8> {
    light(len)
}

#[test]
fn both_datapaths_count_one_session_together() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let reflector = rig.start(&[
        "sequence=stateful",
        "port=900,sequence=stateful,format=stamp",
    ]);
    let mut slow_ones = 0;
    for ip in BOTH {
        for (port, ssid) in [(PORT, 0), (900, 0), (900, 7)] {
            let fast = rig.request(ip, 5000, port).payload(&stamp(9, ssid, &[]));
            for (count, way) in (0..).zip([0, 1, 0, 0, 1, 1, 0]) {
                let request = if way == 0 { fast.clone() } else { slow(&fast) };
                assert_eq!(number(&rig, &request), count, "{ip:?}, way {way}");
                slow_ones += way;
            }
        }
    }
    // Fragments, as a kernel socket makes them of what exceeds the MTU.
    rig.veth.sender.namespace.run(|| {
        for (local, to) in [
            (
                "0.0.0.0:0",
                SocketAddr::V4(rig.veth.reflector.socket_v4(PORT)),
            ),
            ("[::]:0", SocketAddr::V6(rig.veth.reflector.socket_v6(PORT))),
        ] {
            let socket = UdpSocket::bind(local).unwrap();
            socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
            socket.connect(to).unwrap();
            let mut reply = vec![0; 9000];
            for (count, len) in (0..).zip([44, 4000, 1000, 1700, 100, 8000]) {
                socket.send(&light(len)).unwrap();
                assert_eq!(socket.recv(&mut reply).unwrap(), len);
                assert_eq!(sequence(&reply), count, "{len} octets to {to}");
                slow_ones += u64::from(len > 1472);
            }
        }
    });
    let summary = reflector.stop();
    let fast_ones = 6 * 7 + 2 * 6 - slow_ones;
    assert_eq!(summary.row("total"), [fast_ones, fast_ones, 0]);
    assert_eq!(summary.sockets(), [slow_ones, slow_ones]);
    assert_eq!(counted(&summary, "sessions", "created"), 8);
}

#[test]
fn sessions_beyond_the_limit_are_not_answered_and_counted() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let listeners = ["sequence=stateful", "port=900"];
    let reflector = rig.start_with(&listeners, &["--session-limit", "2"]);
    let request = |ip, source| rig.request(ip, source, PORT).payload(&stamp(9, 0, &[]));
    let [first, second] = [request(Ip::V4, 5001), request(Ip::V6, 5001)];
    assert_eq!([&first, &second].map(|frame| number(&rig, frame)), [0, 0]);
    let beyond = [request(Ip::V4, 5002), request(Ip::V6, 5002)];
    rig.only_the_last_is_answered(&built(&beyond), &first);
    rig.only_the_last_is_answered(&built(&beyond.each_ref().map(slow)), &slow(&second));
    // Who is in goes on, and who is not counted needs no room.
    assert_eq!([&first, &second].map(|frame| number(&rig, frame)), [2, 2]);
    for ip in BOTH {
        let stateless = rig.request(ip, 5002, 900).payload(&stamp(9, 0, &[]));
        assert_eq!(number(&rig, &stateless), 9);
    }
    let summary = reflector.stop();
    let full = "session table full";
    assert_eq!(counted(&summary, "dropped by the reflector", full), 2);
    assert_eq!(counted(&summary, "dropped after a UDP socket", full), 2);
    assert_eq!(counted(&summary, "sessions", "created"), 2);
    assert_eq!(counted(&summary, "sessions", "refused"), 4);
    assert_eq!(counted(&summary, "sessions", "active at the end"), 2);
}

#[test]
fn a_session_that_was_idle_for_the_timeout_begins_again_at_0() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    // With room for one, the other's being answered tells that the one has ended.
    let options = ["--session-limit", "1", "--session-timeout", "1s"];
    let reflector = rig.start_with(&["sequence=stateful"], &options);
    let mut asked = 0;
    for ip in [Ip::V4, Ip::V6, Ip::V4, Ip::V6] {
        let first = asked;
        let mut number = None;
        wait_until("there is room for the session", DEFAULT_TIMEOUT, || {
            let request = rig.request(ip, 5001, PORT);
            rig.peer
                .send(&request.payload(&stamp(asked, 0, &[])).build())
                .unwrap();
            asked += 1;
            // Not a late answer to a request of this session's former life.
            let is_answer = |frame: &[u8]| {
                Datagram::parse(frame).is_ok_and(|datagram| {
                    let asked = sequence(&datagram.payload[24..]);
                    datagram.destination.is_ipv4() == (ip == Ip::V4) && asked >= first
                })
            };
            let frame = rig.peer.recv_matching(is_answer, SILENCE).unwrap();
            number = frame.map(|frame| sequence(&Datagram::parse(&frame).unwrap().payload));
            number.is_some()
        });
        assert_eq!(number, Some(0), "{ip:?}");
    }
    let summary = reflector.stop();
    assert!(counted(&summary, "sessions", "created") >= 4);
    assert!(counted(&summary, "sessions", "expired") >= 3);
    let refused = counted(&summary, "sessions", "refused");
    assert!(refused > 0);
    let unanswered = counted(&summary, "dropped by the reflector", "session table full");
    assert_eq!(unanswered, refused);
}
