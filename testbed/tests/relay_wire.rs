//! The impairment relay as a wire: what it takes for a test packet, and what it leaves alone.

#![cfg(test)]

mod common;

use std::io::{ErrorKind, IoSlice};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::mpsc;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use testbed::Direction::{Backward, Forward};
use testbed::frames::CUSTOMER_TAG;
use testbed::relay::{Record, TestPacket};
use testbed::{
    Checksum, DEFAULT_TIMEOUT, Fate, Need, RawPeer, ReflectorConfig, Relay, RelayConfig,
    ScriptedReflector, VethConfig, skip_unless, wait_until,
};

use common::{exchange_ends, number, request, sender_socket, stateful};

fn recv(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => return buffer[..length].to_vec(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no packet came: {error}"),
        }
    }
}

#[test]
fn everything_passes_both_ways_over_both_families() {
    skip_unless!(Need::NetworkNamespace, Need::Program("ping"));
    let config = RelayConfig {
        veth: VethConfig::default(),
        ..RelayConfig::default()
    };
    let relay = Relay::with(&config, |_| Fate::pass()).unwrap();
    for v6 in [false, true] {
        let reflector = stateful(&relay, v6);
        let socket = sender_socket(&relay, v6);
        for sequence in 0..10 {
            socket
                .send_to(&request(sequence), reflector.address())
                .unwrap();
            let reply = recv(&socket);
            assert_eq!(
                (number(&reply, 0), number(&reply, 24)),
                (sequence, sequence)
            );
            assert_eq!(reply[40], 64, "TTL");
        }
    }
    // Neighbours were asked for, and answered, through the relay.
    let ping = ["-n", "-c", "1", "-W", "10", "fd00:862::1"];
    relay.veth.sender.namespace.command("ping", &ping).unwrap();
    let log = relay.log();
    assert!(log.others >= 4, "{log:?}");
    assert_eq!(
        (log.came(Forward).count(), log.came(Backward).count()),
        (20, 20)
    );
    assert_eq!((log.held(), log.refused), (0, 0));
    assert_eq!(relay.kernel_drops().unwrap(), 0);
}

#[test]
fn frames_come_out_as_they_went_in() {
    skip_unless!(Need::NetworkNamespace);
    let relay = Relay::new(|_| Fate::pass()).unwrap();
    let (from, to) = (
        RawPeer::open(&relay.veth.sender).unwrap(),
        RawPeer::open(&relay.veth.reflector).unwrap(),
    );
    let sound = relay.veth.request_v4(4000, 862).payload(&request(1));
    let six = relay.veth.request_v6(4000, 862).payload(&request(1));
    let frames = [
        sound.clone(),
        sound.clone().checksum(Checksum::Wrong),
        sound.clone().checksum(Checksum::Partial),
        sound.clone().wrong_ipv4_checksum(),
        sound.clone().vlan(CUSTOMER_TAG, 7),
        sound.clone().fragment(0, true),
        sound.pad_to(200),
        six.clone(),
        six.clone().hop_by_hop(),
        six.vlan(CUSTOMER_TAG, 7).vlan(CUSTOMER_TAG, 8),
    ];
    for frame in frames.map(|frame| frame.build()) {
        from.send(&frame).unwrap();
        let ours = |found: &[u8]| found == frame;
        let found = to.recv_matching(ours, DEFAULT_TIMEOUT).unwrap();
        assert!(found.is_some(), "{frame:x?} did not arrive as it was");
    }
    let log = relay.log();
    // All but the fragment and the one behind an extension header.
    assert_eq!(log.came(Forward).count(), 8);
    let copies: Vec<_> = log.came(Forward).map(|record| record.packet.copy).collect();
    assert_eq!(copies, [0, 1, 2, 3, 4, 5, 0, 1]);
}

#[test]
fn sessions_are_told_apart() {
    skip_unless!(Need::NetworkNamespace);
    let relay = Relay::new(|_| Fate::pass()).unwrap();
    let reflector = stateful(&relay, false);
    let sockets = [sender_socket(&relay, false), sender_socket(&relay, false)];
    let [first, second] = sockets
        .each_ref()
        .map(|socket| socket.local_addr().unwrap());
    relay.set_script(move |packet| {
        // Number 1 of the first waits for a number that the second has sent already.
        let held = packet.session.sender == first && packet.sequence == 1;
        if held && packet.direction == Forward {
            Fate::pass().after_sequence(2)
        } else {
            Fate::pass()
        }
    });
    for (session, sequence) in [(1, 0), (1, 1), (1, 2), (0, 0), (0, 1), (0, 2)] {
        let to = reflector.address();
        sockets[session].send_to(&request(sequence), to).unwrap();
    }
    let replies = exchange_ends(6, &relay, &reflector, &sockets[0]);
    let sequences: Vec<_> = replies.iter().map(|reply| number(reply, 24)).collect();
    assert_eq!(sequences, [0, 2, 1]);
    let log = relay.log();
    let of_second = |record: &&Record| record.packet.session.sender == second;
    assert_eq!(log.came(Forward).filter(of_second).count(), 3);
    assert!(log.records.iter().all(|record| record.packet.copy == 0));
}

#[test]
fn other_ports_and_short_packets_pass_unasked() {
    skip_unless!(Need::NetworkNamespace);
    let relay = Relay::new(|_| Fate::lose()).unwrap();
    let end = &relay.veth.reflector;
    let bind = |port| {
        end.namespace
            .run(|| UdpSocket::bind(end.socket_v4(port)).unwrap())
    };
    let (listener, other) = (bind(862), bind(863));
    let socket = sender_socket(&relay, false);
    socket.send_to(&request(0), end.socket_v4(862)).unwrap();
    socket.send_to(b"abc", end.socket_v4(862)).unwrap();
    socket.send_to(&request(1), end.socket_v4(863)).unwrap();
    for listener in [&listener, &other] {
        listener.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
    }
    assert_eq!(recv(&listener), b"abc");
    assert_eq!(recv(&other), request(1));
    assert_eq!(relay.log().records.len(), 1);
}

#[test]
fn echoes_and_other_ports_are_known_if_told() {
    skip_unless!(Need::NetworkNamespace);
    let config = RelayConfig {
        ports: vec![7],
        reply_sequence_offset: 0,
        ..RelayConfig::default()
    };
    let script = |packet: &TestPacket| match (packet.direction, packet.sequence) {
        (Backward, 2) => Fate::lose(),
        _ => Fate::pass(),
    };
    let relay = Relay::with(&config, script).unwrap();
    let end = &relay.veth.reflector;
    let config = ReflectorConfig {
        echo: true,
        ..ReflectorConfig::default()
    };
    let reflector = ScriptedReflector::start_in(&end.namespace, end.socket_v4(7), config).unwrap();
    let socket = sender_socket(&relay, false);
    for sequence in 0..4 {
        let to = reflector.address();
        socket.send_to(&request(sequence), to).unwrap();
    }
    let echoes = exchange_ends(4, &relay, &reflector, &socket);
    assert_eq!(echoes, [0, 1, 3].map(request));
}

#[test]
fn batches_for_segmentation_offload_come_as_single_datagrams() {
    skip_unless!(Need::NetworkNamespace);
    for v6 in [false, true] {
        let relay = Relay::new(|packet| match packet.sequence {
            7 => Fate::lose(),
            _ => Fate::pass(),
        })
        .unwrap();
        let reflector = stateful(&relay, v6);
        let socket = sender_socket(&relay, v6);
        let batch: Vec<u8> = (0..20).flat_map(request).collect();
        let size = 44;
        let sent = sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(&batch)],
            &[ControlMessage::UdpGsoSegments(&size)],
            MsgFlags::empty(),
            Some(&SockaddrStorage::from(reflector.address())),
        );
        assert_eq!(sent, Ok(batch.len()));
        let replies = exchange_ends(20, &relay, &reflector, &socket);
        let sequences: Vec<_> = replies.iter().map(|reply| number(reply, 24)).collect();
        assert_eq!(sequences, (0..20).filter(|&n| n != 7).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_else_is_lost_at_speed() {
    const COUNT: u32 = 20_000;
    skip_unless!(Need::NetworkNamespace);
    let script = |packet: &TestPacket| match packet.sequence % 100 {
        37 if packet.direction == Forward => Fate::lose(),
        73 if packet.direction == Backward => Fate::lose(),
        50 => Fate::pass().after_sequence(packet.sequence + 2),
        _ => Fate::pass(),
    };
    let relay = Relay::new(script).unwrap();
    let reflector = stateful(&relay, false);
    let socket = sender_socket(&relay, false);
    for sequence in 0..COUNT {
        let to = reflector.address();
        socket.send_to(&request(sequence), to).unwrap();
    }
    let replies = exchange_ends(COUNT, &relay, &reflector, &socket);
    let sequences: Vec<_> = replies.iter().map(|reply| number(reply, 24)).collect();
    assert_eq!(sequences, relay.log().sequences(Backward));
    assert_eq!(sequences.len(), 19_600);
    assert_eq!(
        (relay.kernel_drops().unwrap(), reflector.kernel_drops()),
        (0, 0)
    );
}

#[test]
fn what_the_kernel_drops_is_told() {
    skip_unless!(Need::NetworkNamespace);
    // A relay that is kept from reading, and more packets than its socket has room for
    let (go_on, wait) = mpsc::channel::<()>();
    let relay = Relay::new(move |_| {
        // Ends when the other half is dropped.
        let _ = wait.recv();
        Fate::lose()
    })
    .unwrap();
    // Nothing but test packets: a report of multicast groups (MLDv2 repeats it after up to a second)
    // that finds no room would be one dropped frame more.
    let sender = &relay.veth.sender.namespace;
    sender
        .sysctl("net/ipv6/conf/all/disable_ipv6", "1")
        .unwrap();
    let socket = sender_socket(&relay, false);
    let to = relay.veth.reflector.socket_v4(862);
    let mut sent = 0;
    while relay.kernel_drops().unwrap() == 0 {
        assert!(sent < 1_000_000, "they cannot all have found room");
        for _ in 0..5000 {
            socket.send_to(&request(sent), to).unwrap();
            sent += 1;
        }
    }
    drop(go_on);
    // Every packet is accounted for; the last may still be under way to the socket.
    wait_until("the rest has come", DEFAULT_TIMEOUT, || {
        let came = relay.log().records.len() as u64;
        came + relay.kernel_drops().unwrap() == u64::from(sent)
    });
}
