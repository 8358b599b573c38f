//! Which packets take the slow path.

use std::net::{SocketAddr, UdpSocket};

use clock::{Clock, SystemClock};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header};
use testbed::{DEFAULT_TIMEOUT, Need, RawPeer, UdpFrame, Veth, VethConfig, skip_unless};
use wire::time::{NtpTimestamp, Utc};
use wire::twamp::Reply;

use crate::common::Reflector;
use crate::{OPTIONS, PORT, exchange, exchange_all, request, veth, veth_with};

const ETHERNET: usize = 14;

/// An IPv4 packet without options in two frames, of which the first carries `first` octets behind its
/// IP header.
fn halves_v4(frame: &UdpFrame, first: usize) -> [Vec<u8>; 2] {
    let whole = frame.build();
    let (header, datagram) = Ipv4Header::from_slice(&whole[ETHERNET..]).unwrap();
    let part = |offset: usize, octets: &[u8], more_fragments| {
        let mut header = header.clone();
        header.identification = 0x0862;
        header.dont_fragment = false;
        header.more_fragments = more_fragments;
        header.fragment_offset = in_eights(offset);
        header.set_payload_len(octets.len()).unwrap();
        header.header_checksum = header.calc_header_checksum();
        [&whole[..ETHERNET], &header.to_bytes(), octets].concat()
    };
    let (one, other) = datagram.split_at(first);
    [part(0, one, true), part(first, other, false)]
}

/// The same of an IPv6 packet.
fn halves_v6(frame: &UdpFrame, first: usize) -> [Vec<u8>; 2] {
    let whole = frame.build();
    let (header, datagram) = Ipv6Header::from_slice(&whole[ETHERNET..]).unwrap();
    let part = |offset: usize, octets: &[u8], more| {
        let fragment =
            Ipv6FragmentHeader::new(IpNumber::UDP, in_eights(offset), more, 0x0862_0862).to_bytes();
        let mut header = header.clone();
        header.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
        header
            .set_payload_length(fragment.len() + octets.len())
            .unwrap();
        [&whole[..ETHERNET], &header.to_bytes(), &fragment, octets].concat()
    };
    let (one, other) = datagram.split_at(first);
    [part(0, one, true), part(first, other, false)]
}

fn in_eights(octets: usize) -> IpFragOffset {
    IpFragOffset::try_new(u16::try_from(octets / 8).unwrap()).unwrap()
}

/// A hop-by-hop header and a destination options header look alike.
fn destination_options(frame: &UdpFrame) -> Vec<u8> {
    let mut frame = frame.clone().hop_by_hop().build();
    frame[ETHERNET + 6] = IpNumber::IPV6_DESTINATION_OPTIONS.0;
    frame
}

fn utc(bytes: [u8; 8]) -> Utc {
    NtpTimestamp::from_bytes(bytes).to_utc(SystemClock.utc())
}

#[test]
fn options_extension_headers_and_fragments_are_answered_octet_by_octet() {
    skip_unless!(Need::Xdp);
    let veth = veth();
    let reflector = Reflector::start(&veth.reflector, &[]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let sent = request(60);
    let v4 = |port| veth.request_v4(port, PORT).ttl(61).tos(0xb9).payload(&sent);
    let v6 = |port| veth.request_v6(port, PORT).ttl(61).tos(0xb9).payload(&sent);
    let [a, b] = halves_v4(&v4(4002), 24);
    let [c, d] = halves_v6(&v6(4005), 24);
    let packets = [
        (4001, vec![v4(4001).ipv4_options(&OPTIONS).build()]),
        (4002, vec![a.clone(), b.clone()]),
        // The other way round.
        (4002, vec![b, a]),
        (4003, vec![v6(4003).hop_by_hop().build()]),
        (4004, vec![destination_options(&v6(4004))]),
        (4005, vec![c.clone(), d.clone()]),
        (4005, vec![d, c]),
    ];
    let count = packets.len() as u64;
    for (port, frames) in packets {
        let before = SystemClock.utc();
        let answer = exchange_all(&peer, &frames, port);
        let after = SystemClock.utc();
        assert_eq!(answer.source.port(), PORT);
        assert_eq!(answer.ttl, 255);
        assert_eq!(answer.tos, 0xb8, "DSCP copied, ECN Not-ECT");
        assert_eq!(answer.payload.len(), sent.len());
        let reply = Reply::parse(&answer.payload).unwrap();
        assert_eq!(reply.sequence().to_be_bytes(), sent[..4], "{port}");
        assert_eq!(reply.sender_sequence().to_be_bytes(), sent[..4]);
        assert_eq!(reply.sender_timestamp(), sent[4..12]);
        assert_eq!(reply.sender_ttl(), Some(61), "{port}");
        assert_eq!(answer.payload[41..44], [0; 3], "must be zero");
        assert_eq!(answer.payload[44..], sent[44..]);
        let (t2, t3) = (utc(reply.receive_timestamp()), utc(reply.timestamp()));
        // A nanosecond is lost to the 2^-32 s grid of an NTP timestamp.
        assert!(
            before.nanos() - 1 <= t2.nanos() && t2 <= t3 && t3.nanos() - 1 <= after.nanos(),
            "{port}: {before:?} {t2:?} {t3:?} {after:?}"
        );
    }
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    assert_eq!(summary.row("total"), [0, 0, 0]);
    assert_eq!(summary.sockets(), [count, count]);
    assert_eq!(summary.count("IP fragment"), 4, "{}", summary.0);
}

/// A kernel socket's exchange: what is longer than the MTU goes and comes in fragments.
fn exchange_by_socket(veth: &Veth, to: SocketAddr, len: usize) {
    let reply = veth.sender.namespace.run(|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
        socket.connect(to).unwrap();
        socket.send(&request(len)).unwrap();
        let mut reply = vec![0; 65_536];
        let len = socket.recv(&mut reply).unwrap();
        reply.truncate(len);
        reply
    });
    assert_eq!(reply.len(), len, "{to}");
    assert_eq!(reply[44..], request(len)[44..], "{to}, {len} octets");
    assert_eq!(reply[24..28], request(len)[..4]);
}

#[test]
fn datagrams_up_to_the_longest_there_are_go_and_come_in_fragments() {
    skip_unless!(Need::Xdp);
    let veth = veth();
    let reflector = Reflector::start(&veth.reflector, &[]);
    let lengths = [1473, 3000, 9000, 30_000, 65_487];
    for len in lengths {
        exchange_by_socket(&veth, veth.reflector.socket_v4(PORT).into(), len);
        exchange_by_socket(&veth, veth.reflector.socket_v6(PORT).into(), len);
    }
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    assert_eq!(summary.row("total"), [0, 0, 0], "{}", summary.0);
    assert_eq!(summary.sockets(), [10, 10], "{}", summary.0);
}

#[test]
fn frames_longer_than_a_chunk_take_the_slow_path_and_shorter_ones_do_not() {
    skip_unless!(Need::Xdp);
    let veth = veth_with(VethConfig {
        mtu: 9000,
        ..VethConfig::default()
    });
    let reflector = Reflector::start(&veth.reflector, &[]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    for (port, len) in [(4101, 44), (4102, 3000), (4103, 5000), (4104, 8952)] {
        let v4 = veth.request_v4(port, PORT).payload(&request(len));
        let v6 = veth.request_v6(port, PORT).payload(&request(len));
        for frame in [v4, v6] {
            let answer = exchange(&peer, &frame, port);
            assert_eq!(answer.payload.len(), len);
            assert_eq!(answer.payload[44..], request(len)[44..]);
        }
    }
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    assert_eq!(summary.row("total"), [4, 4, 0]);
    assert_eq!(summary.sockets(), [4, 4]);
    assert_eq!(summary.count("multi-buffer or longer than a UMEM chunk"), 4);
}
