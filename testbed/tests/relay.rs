//! The impairment relay: every fate as UDP sockets and raw peers see it, and a log that is the truth.

#![cfg(test)]

mod common;

use std::time::{Duration, Instant};

use testbed::Direction::{Backward, Forward};
use testbed::relay::TestPacket;
use testbed::{
    DEFAULT_TIMEOUT, Datagram, Error, Fate, Need, RawPeer, Relay, ScriptedReflector, skip_unless,
};

use common::{exchange_ends, number, request, sender_socket, stateful};

/// A relay between a stateful reflector and a socket that sent `count` requests one by one, each
/// through before the next, and got every reply that is to come.
struct Run {
    relay: Relay,
    reflector: ScriptedReflector,
    replies: Vec<Vec<u8>>,
}

impl Run {
    fn new(count: u32, script: impl FnMut(&TestPacket) -> Fate + Send + 'static) -> Self {
        let relay = Relay::new(script).unwrap();
        let reflector = stateful(&relay, false);
        let socket = sender_socket(&relay, false);
        for sequence in 0..count {
            let to = reflector.address();
            socket.send_to(&request(sequence), to).unwrap();
        }
        let replies = exchange_ends(count, &relay, &reflector, &socket);
        Self {
            relay,
            reflector,
            replies,
        }
    }

    /// Sender Sequence Numbers of the replies as they came.
    fn sequences(&self) -> Vec<u32> {
        self.replies.iter().map(|reply| number(reply, 24)).collect()
    }

    /// Sequence numbers of the requests as they reached the reflector.
    fn reflected(&self) -> Vec<u32> {
        let reflections = self.reflector.reflections();
        reflections.iter().map(|found| found.sequence).collect()
    }

    /// What the log says is what came out at either end, and nothing else was lost.
    fn assert_log_is_the_truth(&self) {
        let log = self.relay.log();
        assert_eq!(self.reflected(), log.sequences(Forward));
        assert_eq!(self.sequences(), log.sequences(Backward));
        let own: Vec<_> = log
            .went(Backward)
            .iter()
            .map(|(record, _)| record.packet.own_sequence)
            .collect();
        let received: Vec<_> = self.replies.iter().map(|reply| number(reply, 0)).collect();
        assert_eq!(received, own, "the reflector's own numbers");
        assert_eq!(self.relay.kernel_drops().unwrap(), 0);
        assert_eq!(self.reflector.kernel_drops(), 0);
    }
}

#[test]
fn lost_packets_are_lost_in_their_direction_and_no_others() {
    skip_unless!(Need::NetworkNamespace);
    let run = Run::new(20, |packet| match (packet.direction, packet.sequence) {
        (Forward, 3 | 4 | 11) | (Backward, 0 | 7) => Fate::lose(),
        _ => Fate::pass(),
    });
    let arrived: Vec<_> = (0..20).filter(|n| ![3, 4, 11].contains(n)).collect();
    assert_eq!(run.reflected(), arrived);
    let returned: Vec<_> = arrived
        .into_iter()
        .filter(|n| ![0, 7].contains(n))
        .collect();
    assert_eq!(run.sequences(), returned);
    // The reflector's own numbers betray the direction.
    let own: Vec<_> = run.replies.iter().map(|reply| number(reply, 0)).collect();
    assert_eq!(
        own,
        (0..17).filter(|n| ![0, 5].contains(n)).collect::<Vec<_>>()
    );
    run.assert_log_is_the_truth();
}

#[test]
fn delayed_packets_come_later_by_that_much() {
    skip_unless!(Need::NetworkNamespace);
    let delay = Duration::from_millis(80);
    let before = Instant::now();
    let run = Run::new(4, move |packet| match (packet.direction, packet.sequence) {
        (Forward, 1) | (Backward, 2) => Fate::pass().after(delay),
        _ => Fate::pass(),
    });
    assert!(before.elapsed() >= delay);
    assert_eq!(run.sequences().len(), 4);
    let log = run.relay.log();
    for record in &log.records {
        let packet = &record.packet;
        let delayed = matches!(
            (packet.direction, packet.sequence),
            (Forward, 1) | (Backward, 2)
        );
        let held = record.sent[0].at.checked_sub(record.came).unwrap();
        assert!(!delayed || held >= delay, "{record:?}");
    }
    run.assert_log_is_the_truth();
}

#[test]
fn held_packets_go_right_after_the_one_they_wait_for() {
    skip_unless!(Need::NetworkNamespace);
    let run = Run::new(10, |packet| match (packet.direction, packet.sequence) {
        // 1 and 2 behind 4; 3 behind 2; 6 behind one that has gone; 7 behind one that is lost
        (Forward, 1 | 2) => Fate::pass().after_sequence(4),
        (Forward, 3) => Fate::pass().after_sequence(2),
        (Forward, 6) => Fate::pass().after_sequence(5),
        (Forward, 7) => Fate::pass().after_sequence(8),
        (Forward, 8) => Fate::lose(),
        (Backward, 9) => Fate::duplicate(1),
        _ => Fate::pass(),
    });
    assert_eq!(run.reflected(), [0, 4, 1, 2, 3, 5, 6, 7, 9]);
    assert_eq!(run.sequences(), [0, 4, 1, 2, 3, 5, 6, 7, 9, 9]);
    run.assert_log_is_the_truth();
}

#[test]
fn replies_are_reordered_apart_from_requests() {
    skip_unless!(Need::NetworkNamespace);
    let run = Run::new(5, |packet| match (packet.direction, packet.sequence) {
        (Backward, 0) => Fate::pass().after_sequence(3),
        _ => Fate::pass(),
    });
    assert_eq!(run.reflected(), [0, 1, 2, 3, 4]);
    assert_eq!(run.sequences(), [1, 2, 3, 0, 4]);
    run.assert_log_is_the_truth();
}

#[test]
fn what_is_held_in_vain_goes_when_told_to_and_at_the_end() {
    skip_unless!(Need::NetworkNamespace);
    let mut relay = Relay::new(|packet| match packet.sequence {
        0 => Fate::pass().after_sequence(1),
        1 => Fate::pass().after_sequence(0),
        2 => Fate::pass().after(Duration::from_secs(3600)),
        3 => Fate::pass().after_sequence(4),
        _ => Fate::pass(),
    })
    .unwrap();
    let peer = RawPeer::open(&relay.veth.reflector).unwrap();
    let socket = sender_socket(&relay, false);
    let to = relay.veth.reflector.socket_v4(862);
    let next = || {
        let ours =
            |frame: &[u8]| Datagram::parse(frame).is_ok_and(|found| found.payload.len() == 44);
        let frame = peer.recv_matching(ours, DEFAULT_TIMEOUT).unwrap().unwrap();
        number(&Datagram::parse(&frame).unwrap().payload, 0)
    };
    for sequence in [0, 1, 2] {
        socket.send_to(&request(sequence), to).unwrap();
    }
    relay
        .wait_until("three are held", DEFAULT_TIMEOUT, |log| log.held() == 3)
        .unwrap();
    relay.release();
    assert_eq!([next(), next(), next()], [2, 0, 1]);

    socket.send_to(&request(3), to).unwrap();
    relay
        .wait_until("one is held", DEFAULT_TIMEOUT, |log| log.held() == 1)
        .unwrap();
    let log = relay.stop().unwrap();
    assert_eq!(next(), 3);
    assert_eq!((log.held(), log.sequences(Forward)), (0, vec![2, 0, 1, 3]));
}

#[test]
fn thousands_may_wait_for_each_other() {
    // Each waits for the next: the last turns the whole run round.
    const COUNT: u32 = 5000;
    skip_unless!(Need::NetworkNamespace);
    let run = Run::new(COUNT, |packet| match packet.direction {
        Forward if packet.sequence < COUNT - 1 => Fate::pass().after_sequence(packet.sequence + 1),
        _ => Fate::pass(),
    });
    assert_eq!(run.reflected(), (0..COUNT).rev().collect::<Vec<_>>());
    run.assert_log_is_the_truth();
}

#[test]
fn duplicates_come_as_often_and_when_they_should() {
    skip_unless!(Need::NetworkNamespace);
    let run = Run::new(4, |packet| {
        match (packet.direction, packet.sequence, packet.copy) {
            (Forward, 1, _) => Fate::duplicate(2),
            (Backward, 2, _) => Fate::pass().and(Fate::pass().after_sequence(3)),
            // One of the three replies to number 1
            (Backward, 1, 1) => Fate::lose(),
            _ => Fate::pass(),
        }
    });
    assert_eq!(run.reflected(), [0, 1, 1, 1, 2, 3]);
    assert_eq!(run.sequences(), [0, 1, 1, 2, 3, 2]);
    let own: Vec<_> = run.replies.iter().map(|reply| number(reply, 0)).collect();
    assert_eq!(own, [0, 1, 3, 4, 5, 4]);
    run.assert_log_is_the_truth();
}

#[test]
fn corrupt_packets_are_dropped_by_a_checksum_check_and_garbled_ones_arrive() {
    skip_unless!(Need::NetworkNamespace);
    let run = Run::new(6, |packet| match (packet.direction, packet.sequence) {
        (Forward, 1) | (Backward, 3) => Fate::pass().corrupt(30),
        (Forward, 2) => Fate::pass().garble(43),
        (Backward, 4) => Fate::pass().garble(16),
        _ => Fate::pass(),
    });
    assert_eq!(run.reflected(), [0, 2, 3, 4, 5]);
    assert_eq!(run.sequences(), [0, 2, 4, 5]);
    let log = run.relay.log();
    assert_eq!(log.sequences(Forward), run.reflected());
    assert_eq!(log.sequences(Backward), run.sequences());
    assert_eq!(log.went(Forward).len(), 6, "the corrupt one has gone on");
    // Padding comes back as it reached the reflector.
    assert_eq!(run.replies[1][43], !43);
    assert_eq!(run.replies[0][43], 43);
    // T2 of number 4 begins with the inverse of what that of its neighbour begins with.
    assert_eq!(run.replies[2][16], !run.replies[3][16]);
}

#[test]
fn corruption_is_seen_by_who_does_not_check() {
    skip_unless!(Need::NetworkNamespace);
    let relay = Relay::new(|_| Fate::pass().corrupt(30)).unwrap();
    let peer = RawPeer::open(&relay.veth.reflector).unwrap();
    for v6 in [false, true] {
        let socket = sender_socket(&relay, v6);
        let to = &relay.veth.reflector;
        if v6 {
            socket.send_to(&request(5), to.socket_v6(862)).unwrap();
        } else {
            socket.send_to(&request(5), to.socket_v4(862)).unwrap();
        }
        let ours =
            |frame: &[u8]| Datagram::parse(frame).is_ok_and(|found| found.payload.len() == 44);
        let frame = peer.recv_matching(ours, DEFAULT_TIMEOUT).unwrap().unwrap();
        let found = Datagram::parse(&frame).unwrap();
        assert!(!found.udp_checksum_valid);
        let mut expected = request(5);
        expected[30] = !expected[30];
        assert_eq!(found.payload, expected);
    }
}

#[test]
fn packets_are_cut_and_their_headers_changed() {
    skip_unless!(Need::NetworkNamespace);
    for v6 in [false, true] {
        let relay = Relay::new(|packet| match (packet.direction, packet.sequence) {
            (Forward, 0) => Fate::pass().truncate(14),
            (Forward, 1) => Fate::pass().tos(0xb9),
            (Forward, 2) => Fate::pass().ttl(7).tos(0x02),
            (Backward, 2) => Fate::pass().truncate(38),
            _ => Fate::pass(),
        })
        .unwrap();
        let reflector = stateful(&relay, v6);
        let socket = sender_socket(&relay, v6);
        for sequence in 0..4 {
            let to = reflector.address();
            socket.send_to(&request(sequence), to).unwrap();
        }
        let replies = exchange_ends(4, &relay, &reflector, &socket);
        let lengths: Vec<_> = replies.iter().map(Vec::len).collect();
        assert_eq!(lengths, [41, 44, 38, 44]);
        let seen: Vec<_> = reflector
            .reflections()
            .iter()
            .map(|found| (found.request_len, found.tos, found.ttl))
            .collect();
        assert_eq!(seen, [(14, 0, 64), (44, 0xb9, 64), (44, 2, 7), (44, 0, 64)]);
        // The log tells what came, the fate what it became.
        let came: Vec<_> = (relay.log().came(Backward))
            .map(|record| {
                (
                    record.packet.tos,
                    record.packet.ttl,
                    record.packet.payload_len,
                )
            })
            .collect();
        assert_eq!(
            came,
            [(0, 255, 41), (0xb8, 255, 44), (0, 255, 44), (0, 255, 44)]
        );
    }
}

#[test]
fn a_change_that_does_not_fit_fails_the_relay_and_says_so() {
    skip_unless!(Need::NetworkNamespace);
    let mut relay = Relay::new(|_| Fate::pass().garble(44)).unwrap();
    let socket = sender_socket(&relay, false);
    let to = relay.veth.reflector.socket_v4(862);
    socket.send_to(&request(9), to).unwrap();
    let never = relay.wait_until("pigs fly", DEFAULT_TIMEOUT, |_| false);
    assert!(matches!(never, Err(Error::Relay(_))), "{never:?}");
    let error = relay.stop().unwrap_err().to_string();
    assert!(
        error.contains("Garble { octet: 44 } does not fit"),
        "{error}"
    );
}
