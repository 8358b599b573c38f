//! The reflector over a veth pair: what it answers, bit for bit.
//!
//! ```text
//!   reflector --interface veth-r │ veth-r ◄──► veth-s │ raw packet socket, or kernel sockets
//! ```

#![cfg(test)]

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use clock::{Clock, SystemClock};
use common::{Reflector, SILENCE};
use testbed::frames::{CUSTOMER_TAG, Checksum};
use testbed::{DEFAULT_TIMEOUT, Datagram, Need, RawPeer, UdpFrame, Veth, VethConfig, skip_unless};
use wire::time::{NtpTimestamp, Utc};
use wire::twamp::Reply;

const PORT: u16 = 862;

fn permanent_neighbours() -> Veth {
    Veth::with(&VethConfig {
        permanent_neighbours: true,
        ..VethConfig::default()
    })
    .unwrap()
}

/// A request of `len` octets whose fields are all different and no zero.
fn request(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at % 251).unwrap() + 1)
        .collect()
}

/// Sends a frame and returns the datagram that comes back to `source_port`.
fn exchange(peer: &RawPeer, frame: &UdpFrame, source_port: u16) -> Option<Datagram> {
    peer.send(&frame.build()).unwrap();
    answer_to(peer, source_port, DEFAULT_TIMEOUT)
}

fn answer_to(peer: &RawPeer, source_port: u16, timeout: Duration) -> Option<Datagram> {
    let is_reply = |frame: &[u8]| {
        Datagram::parse(frame).is_ok_and(|datagram| datagram.destination.port() == source_port)
    };
    let frame = peer.recv_matching(is_reply, timeout).unwrap()?;
    Some(Datagram::parse(&frame).unwrap())
}

/// Sends frames that must not be answered and then one, from `good_port`, that must be. Packets of a
/// queue are served in order: once that is answered, those before have been looked at. Every
/// datagram that comes back, until a while after, must be that one answer.
fn assert_only_the_last_is_answered(
    peer: &RawPeer,
    forbidden: &[UdpFrame],
    good: &UdpFrame,
    good_port: u16,
) {
    let stale = peer.recv_matching(|_| false, Duration::ZERO);
    assert_eq!(stale.unwrap(), None);
    for frame in forbidden.iter().chain([good]) {
        peer.send(&frame.build()).unwrap();
    }
    let from_the_port = |frame: &[u8]| {
        // Any datagram from a test port, even one that etherparse finds fault with.
        Datagram::parse(frame).is_ok_and(|datagram| datagram.source.port() != 0)
    };
    let first = peer.recv_matching(from_the_port, DEFAULT_TIMEOUT).unwrap();
    let first = Datagram::parse(&first.expect("the good packet's answer")).unwrap();
    assert_eq!(first.destination.port(), good_port, "{first:?}");
    let second = peer.recv_matching(from_the_port, SILENCE).unwrap();
    assert_eq!(second, None, "one answer is all");
}

fn utc(bytes: [u8; 8]) -> Utc {
    NtpTimestamp::from_bytes(bytes).to_utc(SystemClock.utc())
}

#[test]
fn a_reply_is_what_the_rfc_says_octet_by_octet() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = permanent_neighbours();
    let reflector = Reflector::start(&veth.reflector, &[]);
    let peer = RawPeer::open(&veth.sender).unwrap();

    for (frame, source_port) in [
        (veth.request_v4(4001, PORT), 4001),
        (veth.request_v6(4002, PORT), 4002),
    ] {
        let sent = request(60);
        let before = SystemClock.utc();
        let frame = frame.ttl(61).tos(0xb9).payload(&sent);
        let answer = exchange(&peer, &frame, source_port).unwrap();
        let after = SystemClock.utc();

        // RFC 5357 section 4.2: same addresses and ports turned round, TTL 255, the same length.
        assert_eq!(answer.source_mac, veth.reflector.mac);
        assert_eq!(answer.destination_mac, veth.sender.mac);
        assert_eq!(answer.source.port(), PORT);
        assert_eq!(answer.ttl, 255);
        assert_eq!(answer.tos, 0xb8, "DSCP copied, ECN Not-ECT");
        assert!(answer.udp_checksum_valid);
        assert_eq!(answer.payload.len(), sent.len());

        let reply = Reply::parse(&answer.payload).unwrap();
        assert_eq!(reply.sequence().to_be_bytes(), sent[..4]);
        assert_eq!(reply.sender_sequence().to_be_bytes(), sent[..4]);
        assert_eq!(reply.sender_timestamp(), sent[4..12]);
        assert_eq!(
            reply.sender_error_estimate().to_bits().to_be_bytes(),
            sent[12..14]
        );
        assert_eq!(reply.sender_ttl(), Some(61));
        assert_eq!(
            answer.payload[14..16],
            [0; 2],
            "such padding names no session"
        );
        assert_eq!(answer.payload[38..40], [0; 2], "must be zero");
        assert_eq!(answer.payload[41..44], [0; 3], "must be zero");
        assert_eq!(
            answer.payload[44..],
            sent[44..],
            "what follows stays where it is"
        );

        let (t2, t3) = (utc(reply.receive_timestamp()), utc(reply.timestamp()));
        // A nanosecond is lost to the 2^-32 s grid of an NTP timestamp.
        assert!(before.nanos() - 1 <= t2.nanos() && t2 <= t3 && t3.nanos() - 1 <= after.nanos());
        assert!(reply.error_estimate().is_valid());
    }
    assert_eq!(reflector.stop().row("total"), [2, 2, 0]);
}

#[test]
fn a_short_request_gets_41_octets_even_from_a_padded_frame() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = permanent_neighbours();
    let _reflector = Reflector::start(&veth.reflector, &[]);
    let peer = RawPeer::open(&veth.sender).unwrap();

    for len in [14, 15, 27, 40, 41, 42, 43, 44, 100, 1471, 1472] {
        let source_port = 5000 + u16::try_from(len).unwrap();
        let sent = request(len);
        let frame = veth.request_v4(source_port, PORT).payload(&sent).pad_to(60);
        let answer = exchange(&peer, &frame, source_port).unwrap();
        assert_eq!(answer.payload.len(), len.max(41), "{len} octets sent");
        assert!(answer.udp_checksum_valid, "{len} octets sent");
        assert_eq!(answer.payload[28..36], sent[4..12], "T1 comes back");
        // From 44 octets on it is a STAMP packet, whose octets 41 to 43 must be zero.
        let header = if len < 44 { 41 } else { 44 };
        assert!(
            answer
                .payload
                .iter()
                .skip(header)
                .eq(sent.iter().skip(header))
        );
    }
}

#[test]
fn every_kind_of_checksum_is_treated_as_the_kernel_would() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = permanent_neighbours();
    let reflector = Reflector::start(&veth.reflector, &[]);
    let peer = RawPeer::open(&veth.sender).unwrap();

    let v4 = |port, checksum| {
        veth.request_v4(port, PORT)
            .payload(&request(44))
            .checksum(checksum)
    };
    let v6 = |port, checksum| {
        veth.request_v6(port, PORT)
            .payload(&request(14))
            .checksum(checksum)
    };
    for port in [6001, 6002] {
        for checksum in [Checksum::Valid, Checksum::Partial] {
            let answer = exchange(&peer, &v4(port, checksum), port).unwrap();
            assert!(answer.udp_checksum_valid, "{checksum:?} over IPv4");
            let answer = exchange(&peer, &v6(port, checksum), port).unwrap();
            assert!(answer.udp_checksum_valid, "{checksum:?} over IPv6");
        }
    }
    let answer = exchange(&peer, &v4(6003, Checksum::Absent), 6003).unwrap();
    assert_eq!(answer.udp_checksum, 0, "no checksum asked, none given");

    let unanswered = [
        v4(6004, Checksum::Wrong),
        v6(6004, Checksum::Wrong),
        v6(6004, Checksum::Absent),
        v4(6004, Checksum::Valid).wrong_ipv4_checksum(),
    ];
    assert_only_the_last_is_answered(&peer, &unanswered, &v4(6005, Checksum::Valid), 6005);

    let summary = reflector.stop();
    assert_eq!(summary.count("wrong UDP checksum"), 2);
    assert_eq!(summary.count("no UDP checksum over IPv6"), 1);
    assert_eq!(summary.count("wrong IPv4 header checksum"), 1);
}

#[test]
fn what_must_not_be_answered_is_not() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = permanent_neighbours();
    let reflector = Reflector::start(&veth.reflector, &[]);
    let peer = RawPeer::open(&veth.sender).unwrap();

    let from = |source: &str| {
        UdpFrame::v4(source.parse().unwrap(), veth.reflector.socket_v4(PORT))
            .macs(veth.sender.mac, veth.reflector.mac)
            .payload(&request(44))
    };
    let good = |port| veth.request_v4(port, PORT).payload(&request(44));
    let mut unanswered = vec![
        good(7001).payload(&request(13)),
        good(7001).payload(&[]),
        good(0),
        from("0.0.0.0:7001"),
        from("127.0.0.1:7001"),
        from("224.0.0.1:7001"),
        from("255.255.255.255:7001"),
        from("0.1.2.3:7001"),
        from("240.0.0.1:7001"),
        // A reply would be flooded, or come back.
        good(7001).macs([0xff; 6], veth.reflector.mac),
        good(7001).macs([1, 0, 0x5e, 0, 0, 1], veth.reflector.mac),
        good(7001).macs([0; 6], veth.reflector.mac),
        good(7001).macs(veth.reflector.mac, veth.reflector.mac),
        from("10.86.2.1:862"),
        // Not ours: the kernel answers with ICMP at most.
        good(7001).macs(veth.sender.mac, [2, 9, 9, 9, 9, 9]),
        veth.request_v4(7001, PORT + 1).payload(&request(44)),
        good(7001).vlan(CUSTOMER_TAG, 5),
        good(7001).fragment(0, true),
    ];
    unanswered.push(UdpFrame::v4(
        veth.sender.socket_v4(7001),
        std::net::SocketAddrV4::new([10, 86, 2, 200].into(), PORT),
    ));
    assert_only_the_last_is_answered(&peer, &unanswered, &good(7002), 7002);

    let summary = reflector.stop();
    assert_eq!(summary.row("total"), [14, 1, 13]);
    assert_eq!(summary.count("payload shorter than 14 octets"), 2);
    assert_eq!(summary.count("source address that cannot be answered"), 6);
    assert_eq!(summary.count("source port 0"), 1);
    assert_eq!(
        summary.count("source MAC address that cannot be answered"),
        4
    );
    assert_eq!(summary.count("our own address as source"), 1);
    assert_eq!(summary.count("IP fragment"), 1);
    assert_eq!(summary.count("another destination MAC address"), 2);
}

#[test]
fn kernel_sockets_are_answered_although_they_leave_checksums_to_offload() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    // No permanent neighbours: the reply's next hop is the request's MAC address, and ARP and
    // neighbour discovery reach the kernel.
    let veth = Veth::new().unwrap();
    let reflector = Reflector::start(&veth.reflector, &[]);
    veth.sender.namespace.run(|| {
        for (local, remote) in [
            ("0.0.0.0:0", veth.reflector.socket_v4(PORT).to_string()),
            ("[::]:0", veth.reflector.socket_v6(PORT).to_string()),
        ] {
            let socket = UdpSocket::bind(local).unwrap();
            socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
            socket.connect(&remote).unwrap();
            socket.send(&request(44)).unwrap();
            let mut reply = [0; 64];
            assert_eq!(socket.recv(&mut reply).unwrap(), 44, "{remote}");
            assert_eq!(reply[24..28], request(44)[..4]);
        }
    });
    assert_eq!(reflector.stop().row("total"), [2, 2, 0]);
}

#[test]
fn everything_else_on_the_interface_keeps_working() {
    skip_unless!(
        Need::NetworkNamespace,
        Need::Bpf,
        Need::AfXdp,
        Need::Program("ping")
    );
    let veth = Veth::new().unwrap();
    let _reflector = Reflector::start(&veth.reflector, &[]);
    // ARP and neighbour discovery first, then ICMP and ICMPv6.
    let (v4, v6) = (
        veth.reflector.ipv4.to_string(),
        veth.reflector.ipv6.to_string(),
    );
    veth.sender
        .namespace
        .command("ping", &["-c", "3", "-i", "0.05", "-W", "10", &v4])
        .unwrap();
    veth.sender
        .namespace
        .command("ping", &["-c", "3", "-i", "0.05", "-W", "10", &v6])
        .unwrap();

    // TCP, as ssh would use it, with more than one segment.
    let listener = veth
        .reflector
        .namespace
        .run(|| std::net::TcpListener::bind("0.0.0.0:22"))
        .unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut received).unwrap();
        received
    });
    let sent = request(200_000);
    veth.sender.namespace.run(|| {
        let mut stream = std::net::TcpStream::connect(veth.reflector.socket_v4(22)).unwrap();
        std::io::Write::write_all(&mut stream, &sent).unwrap();
    });
    assert_eq!(server.join().unwrap(), sent);

    // UDP on another port.
    let echo = veth
        .reflector
        .namespace
        .run(|| UdpSocket::bind("0.0.0.0:7"))
        .unwrap();
    echo.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
    veth.sender.namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .send_to(b"hello", veth.reflector.socket_v4(7))
            .unwrap();
    });
    let mut buffer = [0; 16];
    assert_eq!(echo.recv(&mut buffer).unwrap(), 5);
}

#[test]
fn addresses_come_and_go_while_it_runs() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = permanent_neighbours();
    let reflector = Reflector::start(&veth.reflector, &["--verbose"]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let log = |line: &str| {
        reflector
            .process()
            .wait_for_line(line, DEFAULT_TIMEOUT)
            .unwrap()
    };
    let request_to = |address: [u8; 4], port| {
        let to = std::net::SocketAddrV4::new(address.into(), PORT);
        UdpFrame::v4(veth.sender.socket_v4(port), to)
            .macs(veth.sender.mac, veth.reflector.mac)
            .payload(&request(44))
    };

    let loopback = [192, 0, 2, 77];
    veth.reflector
        .namespace
        .ip("address add 192.0.2.77/32 dev lo")
        .unwrap();
    log("answering on 192.0.2.77");
    let answer = exchange(&peer, &request_to(loopback, 7101), 7101).unwrap();
    assert_eq!(answer.source.ip().to_string(), "192.0.2.77");

    veth.reflector
        .namespace
        .ip("address del 192.0.2.77/32 dev lo")
        .unwrap();
    log("no longer answering on 192.0.2.77");
    let good = request_to(veth.reflector.ipv4.octets(), 7103);
    assert_only_the_last_is_answered(&peer, &[request_to(loopback, 7102)], &good, 7103);
}

#[test]
fn a_new_mac_address_is_taken_over() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = permanent_neighbours();
    let _reflector = Reflector::start(&veth.reflector, &[]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let mac = [2, 0, 0, 0, 8, 62];
    veth.reflector
        .namespace
        .ip("link set veth-r address 02:00:00:00:08:3e")
        .unwrap();
    let frame = veth
        .request_v4(7201, PORT)
        .macs(veth.sender.mac, mac)
        .payload(&request(44));
    // The reflector hears of it by netlink, some time soon.
    testbed::wait_until("the new MAC address is answered", DEFAULT_TIMEOUT, || {
        peer.send(&frame.build()).unwrap();
        answer_to(&peer, 7201, SILENCE).is_some()
    });
}

#[test]
fn only_the_addresses_asked_for_are_answered() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::with(&VethConfig {
        permanent_neighbours: true,
        reflector_addresses: vec!["10.86.3.1/24".into()],
        ..VethConfig::default()
    })
    .unwrap();
    // The second is no address of this host: it gets a warning and no listener.
    let options = [
        "--address",
        "10.86.3.1",
        "--address",
        "203.0.113.9",
        "--port",
        "20000",
    ];
    let reflector = Reflector::start(&veth.reflector, &options);
    assert!(
        reflector
            .process()
            .stderr()
            .contains("203.0.113.9 is no address of this host")
    );
    let peer = RawPeer::open(&veth.sender).unwrap();
    let request_to = |address: &str, port| {
        UdpFrame::v4(veth.sender.socket_v4(port), address.parse().unwrap())
            .macs(veth.sender.mac, veth.reflector.mac)
            .payload(&request(44))
    };
    let forbidden = ["10.86.2.1:20000", "203.0.113.9:20000"].map(|to| request_to(to, 7301));
    let good = request_to("10.86.3.1:20000", 7302);
    assert_only_the_last_is_answered(&peer, &forbidden, &good, 7302);
    assert_eq!(reflector.stop().row("total"), [1, 1, 0]);
}

#[test]
fn every_way_of_waiting_and_every_mode_answers() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    for options in [
        ["--poll", "interrupt"],
        ["--poll", "adaptive"],
        ["--poll", "busy"],
        ["--xdp-mode", "generic"],
        ["--tx-batch", "1"],
        ["--ring-size", "64"],
    ] {
        let veth = permanent_neighbours();
        let reflector = Reflector::start(&veth.reflector, &options);
        let peer = RawPeer::open(&veth.sender).unwrap();
        for port in 8000..8300 {
            peer.send(&veth.request_v4(port, PORT).payload(&request(44)).build())
                .unwrap();
            answer_to(&peer, port, DEFAULT_TIMEOUT).unwrap_or_else(|| panic!("{options:?}"));
        }
        assert_eq!(reflector.stop().row("total"), [300, 300, 0], "{options:?}");
    }
}

#[test]
fn jumbo_frames_that_no_chunk_holds_take_the_slow_path() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::with(&VethConfig {
        mtu: 9000,
        permanent_neighbours: true,
        ..VethConfig::default()
    })
    .unwrap();
    let reflector = Reflector::start(&veth.reflector, &[]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let of_length = |port, len| veth.request_v4(port, PORT).payload(&request(len));
    for (port, len) in [(7401, 44), (7402, 3000), (7403, 5000), (7404, 8900)] {
        // The checksum of what the kernel sends over a veth is left to offload.
        let answer = exchange(&peer, &of_length(port, len), port).unwrap();
        assert_eq!(answer.payload.len(), len);
    }
    let summary = reflector.stop();
    assert_eq!(summary.row("total"), [2, 2, 0]);
    assert_eq!(summary.sockets(), [2, 2]);
    assert_eq!(summary.count("multi-buffer or longer than a UMEM chunk"), 2);
}
