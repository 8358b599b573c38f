//! The scripted reflector on loopback and in a namespace: every knob as a UDP socket sees it.

#![cfg(test)]

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, SystemTime};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4Tos, Ipv4Ttl};
use testbed::reflector::{Format, Layout, Reflection, ReplySize, Stamps};
use testbed::{
    DEFAULT_TIMEOUT, Datagram, Need, RawPeer, ReflectorConfig, ScriptedReflector, Veth, skip_unless,
};

/// A reflector on loopback and a socket that talks to it.
fn on_loopback(config: ReflectorConfig) -> (ScriptedReflector, UdpSocket) {
    let reflector = ScriptedReflector::start("127.0.0.1:0".parse().unwrap(), config).unwrap();
    let socket = socket_to(&reflector, "127.0.0.1:0");
    (reflector, socket)
}

fn socket_to(reflector: &ScriptedReflector, bind: &str) -> UdpSocket {
    let socket = UdpSocket::bind(bind).unwrap();
    socket.connect(reflector.address()).unwrap();
    socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
    socket
}

/// A request of `len` octets with this Sequence Number; every other octet is its own offset.
fn request(sequence: u32, len: u8) -> Vec<u8> {
    sequence.to_be_bytes().into_iter().chain(4..len).collect()
}

fn exchange(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).unwrap();
    let mut buffer = [0; 2048];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => return buffer[..length].to_vec(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no reply came: {error}"),
        }
    }
}

fn number(payload: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(payload[offset..offset + 4].try_into().unwrap())
}

/// Nanoseconds since 1970 in UTC.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_nanos().try_into().unwrap()
}

/// An NTP timestamp in nanoseconds since 1970, in 128 bits and so without a rounding of its own.
fn ntp(payload: &[u8], offset: usize) -> i64 {
    let value = u64::from_be_bytes(payload[offset..offset + 8].try_into().unwrap());
    let nanos = (u128::from(value) * 1_000_000_000 + (1 << 31)) >> 32;
    i64::try_from(nanos).unwrap() - 2_208_988_800_000_000_000
}

fn ptp(payload: &[u8], offset: usize) -> i64 {
    let seconds = i64::from(number(payload, offset)) - 37;
    seconds * 1_000_000_000 + i64::from(number(payload, offset + 4))
}

#[test]
fn an_honest_reply_has_every_field() {
    let (reflector, socket) = on_loopback(ReflectorConfig::default());
    setsockopt(&socket, Ipv4Ttl, &77).unwrap();
    setsockopt(&socket, Ipv4Tos, &0xb9).unwrap();
    let sent = request(0x0102_0304, 50);
    let before = now();
    let reply = exchange(&socket, &sent);
    let after = now();
    let [reflection] = reflector.reflections().try_into().unwrap();
    let (t2, t3) = (ntp(&reply, 16), ntp(&reply, 4));
    assert!(
        before <= t2 && t2 <= t3 && t3 <= after,
        "{before} {t2} {t3} {after}"
    );
    let expected = Reflection {
        sender: socket.local_addr().unwrap(),
        sequence: 0x0102_0304,
        own_sequence: 0x0102_0304,
        ttl: 77,
        tos: 0xb9,
        request_len: 50,
        reply_len: 50,
        t2,
        t3,
    };
    assert_eq!(reflection, expected);
    assert_eq!(
        (number(&reply, 0), number(&reply, 24)),
        (0x0102_0304, 0x0102_0304)
    );
    assert_eq!(reply[24..38], sent[..14]);
    assert_eq!(
        (&reply[12..16], &reply[38..41]),
        (&[0, 1, 0, 0][..], &[0, 0, 77][..])
    );
    assert_eq!(reply[41..], sent[41..]);
}

#[test]
fn answers_over_ipv6_with_its_hop_limit() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return testbed::privilege::skip("this host has no IPv6 loopback");
    }
    let config = ReflectorConfig {
        layout: Layout::DscpEcn,
        ..ReflectorConfig::default()
    };
    let reflector = ScriptedReflector::start("[::1]:0".parse().unwrap(), config).unwrap();
    let socket = socket_to(&reflector, "[::1]:0");
    setsockopt(&socket, nix::sys::socket::sockopt::Ipv6Ttl, &33).unwrap();
    setsockopt(&socket, nix::sys::socket::sockopt::Ipv6TClass, &0x2e).unwrap();
    let reply = exchange(&socket, &request(9, 14));
    assert_eq!((reply.len(), reply[40], reply[41]), (44, 33, 0x2e));
}

#[test]
fn counts_by_session_and_begins_again_when_told() {
    let config = ReflectorConfig {
        stateful: true,
        restart_at: Some(3),
        ..ReflectorConfig::default()
    };
    let (reflector, first) = on_loopback(config);
    let second = socket_to(&reflector, "127.0.0.1:0");
    let own = |socket: &UdpSocket, sequence| number(&exchange(socket, &request(sequence, 14)), 0);
    let counted: Vec<_> = [7, 7, 9, 20, 21]
        .map(|sequence| own(&first, sequence))
        .into();
    assert_eq!(counted, [0, 1, 2, 0, 1]);
    assert_eq!(own(&second, 100), 0);
    assert_eq!(own(&first, 22), 2);
}

#[test]
fn stamp_sessions_are_told_apart_by_their_ssid() {
    let config = ReflectorConfig {
        stateful: true,
        layout: Layout::Stamp,
        ..ReflectorConfig::default()
    };
    let (_reflector, socket) = on_loopback(config);
    let answered = |ssid: u8| {
        let mut sent = request(0, 44);
        sent[14..16].copy_from_slice(&[0xab, ssid]);
        let reply = exchange(&socket, &sent);
        assert_eq!((&reply[14..16], reply.len()), (&[0xab, ssid][..], 44));
        number(&reply, 0)
    };
    assert_eq!([1, 1, 2, 1, 2].map(answered), [0, 1, 0, 2, 1]);
}

#[test]
fn clocks_may_be_off_and_tell_either_format() {
    const OFFSET: i64 = -5_000_000_000;
    for (format, read, error_estimate) in [
        (Format::Ntp, ntp as fn(&[u8], usize) -> i64, 0x8a07_u16),
        (Format::Ptp, ptp, 0xca07),
    ] {
        let (reflector, socket) = on_loopback(ReflectorConfig {
            format,
            error_estimate: 0x8a07,
            clock_offset: OFFSET,
            ..ReflectorConfig::default()
        });
        let before = now();
        let reply = exchange(&socket, &request(0, 41));
        let after = now();
        let (t2, t3) = (read(&reply, 16), read(&reply, 4));
        assert!(
            before + OFFSET <= t2 && t2 <= t3 && t3 <= after + OFFSET,
            "{format:?}"
        );
        assert_eq!(reply[12..14], error_estimate.to_be_bytes());
        let [reflection] = reflector.reflections().try_into().unwrap();
        assert_eq!((reflection.t2, reflection.t3), (t2, t3), "{format:?}");
    }
}

#[test]
fn a_known_residence_is_kept_and_told() {
    let residence = Duration::from_millis(30);
    let (reflector, socket) = on_loopback(ReflectorConfig {
        stamps: Stamps::Residence(residence),
        stateful: true,
        ..ReflectorConfig::default()
    });
    // Several under way at once.
    let before = now();
    for sequence in 0..5 {
        socket.send(&request(sequence, 14)).unwrap();
    }
    let reflections = reflector.wait_for_count(5, DEFAULT_TIMEOUT).unwrap();
    assert!(now() - before >= 30_000_000);
    for (reflection, sequence) in reflections.iter().zip(0..) {
        let mut reply = [0; 64];
        assert_eq!(socket.recv(&mut reply).unwrap(), 41);
        assert_eq!(
            (number(&reply, 0), number(&reply, 24)),
            (sequence, sequence)
        );
        assert_eq!(reflection.t3 - reflection.t2, 30_000_000);
        assert_eq!(
            (ntp(&reply, 16), ntp(&reply, 4)),
            (reflection.t2, reflection.t3)
        );
    }
}

#[test]
fn stamps_may_be_backwards_or_zero() {
    let (_reflector, socket) = on_loopback(ReflectorConfig {
        stamps: Stamps::Backwards(Duration::from_micros(250)),
        ..ReflectorConfig::default()
    });
    let reply = exchange(&socket, &request(0, 14));
    assert_eq!(ntp(&reply, 4) - ntp(&reply, 16), -250_000);

    let (_reflector, socket) = on_loopback(ReflectorConfig {
        stamps: Stamps::Zero,
        ..ReflectorConfig::default()
    });
    let reply = exchange(&socket, &request(0, 14));
    assert_eq!((&reply[4..12], &reply[16..24]), (&[0; 8][..], &[0; 8][..]));
}

#[test]
fn replies_have_the_lengths_of_real_peers() {
    for (size, asked, expected) in [
        (ReplySize::Rule, 14, 41),
        (ReplySize::Rule, 100, 100),
        (ReplySize::Request, 14, 14),
        (ReplySize::Exactly(38), 60, 38),
        (ReplySize::Exactly(41), 60, 41),
    ] {
        let (_reflector, socket) = on_loopback(ReflectorConfig {
            size,
            sender_ttl: Some(255),
            ..ReflectorConfig::default()
        });
        let reply = exchange(&socket, &request(0, asked));
        assert_eq!(reply.len(), expected, "{size:?} {asked}");
        assert!(reply.get(40).is_none_or(|&ttl| ttl == 255));
    }
}

#[test]
fn echoes_come_back_unchanged_and_what_is_no_request_does_not() {
    let (mut reflector, socket) = on_loopback(ReflectorConfig {
        echo: true,
        ..ReflectorConfig::default()
    });
    socket.send(&[0; 13]).unwrap();
    assert_eq!(exchange(&socket, &request(6, 50)), request(6, 50));
    assert_eq!(reflector.stop().unwrap().len(), 1);
}

#[test]
fn replies_carry_ttl_and_tos_as_told() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let peer = RawPeer::open(&veth.sender).unwrap();
    let end = &veth.reflector;
    for (v6, tos, ttl, expected_tos) in [
        (false, None, 255, 0xb8),
        (true, None, 255, 0xb8),
        (false, Some(0x2d), 64, 0x2d),
        (true, Some(0x2d), 64, 0x2d),
    ] {
        let config = ReflectorConfig {
            tos,
            ttl,
            ..ReflectorConfig::default()
        };
        let bind = if v6 {
            end.socket_v6(862).into()
        } else {
            end.socket_v4(862).into()
        };
        let reflector = ScriptedReflector::start_in(&end.namespace, bind, config).unwrap();
        assert_eq!(reflector.address(), bind);
        let asked = if v6 {
            veth.request_v6(4000, 862)
        } else {
            veth.request_v4(4000, 862)
        };
        peer.send(&asked.tos(0xb9).payload(&request(3, 41)).build())
            .unwrap();
        let from_reflector =
            |frame: &[u8]| Datagram::parse(frame).is_ok_and(|found| found.source == bind);
        let frame = peer
            .recv_matching(from_reflector, DEFAULT_TIMEOUT)
            .unwrap()
            .unwrap();
        let reply = Datagram::parse(&frame).unwrap();
        assert_eq!((reply.ttl, reply.tos), (ttl, expected_tos), "IPv6: {v6}");
        assert_eq!(reply.payload[40], 255, "as the request was sent");
    }
}

#[test]
fn an_address_of_somebody_else_is_an_error() {
    let config = ReflectorConfig::default();
    let error = ScriptedReflector::start("192.0.2.1:862".parse().unwrap(), config).unwrap_err();
    assert!(error.to_string().contains("bind 192.0.2.1:862"), "{error}");
}
