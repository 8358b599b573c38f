//! The impairment relay in front of our reflector: XDP and AF_XDP at one end, sockets at the other.
//!
//! ```text
//!   reflector │ veth-r ◄──► relay-r ◄─► relay-s ◄──► veth-s │ UDP socket
//! ```

#![cfg(test)]

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use testbed::peers::reflected_by_queue;
use testbed::relay::TestPacket;
use testbed::{
    DEFAULT_TIMEOUT, Direction, Fate, Need, Relay, RelayConfig, VethConfig, skip_unless,
};

use Direction::{Backward, Forward};

fn impaired(packet: &TestPacket) -> Fate {
    match (packet.direction, packet.sequence) {
        (Forward, 2) | (Backward, 4) => Fate::lose(),
        (Forward, 7) => Fate::pass().garble(20),
        (Forward, 8) => Fate::duplicate(1),
        (Forward, 10) => Fate::pass().after_sequence(12),
        (Backward, 14) => Fate::pass().after_sequence(16),
        (Forward, 5) | (Backward, 17) => Fate::pass().corrupt(20),
        (Forward, 18) => Fate::pass().ttl(9),
        _ => Fate::pass(),
    }
}

/// What comes out of `impaired` for the requests 0 to 19.
const EXPECTED: [u32; 18] = [
    0,
    1,
    3,
    6,
    7,
    8,
    8,
    9,
    11,
    12,
    10,
    13,
    15,
    16,
    14,
    18,
    19,
    u32::MAX,
];

/// Sends requests 0 to 19 one after another and returns Sender Sequence Numbers and Sender TTLs of
/// the replies as they come; the last request, `u32::MAX`, ends the run.
fn exchange(socket: &UdpSocket, to: SocketAddr) -> Vec<(u32, u8)> {
    for sequence in (0..20).chain([u32::MAX]) {
        let mut request = [0; 44];
        request[..4].copy_from_slice(&sequence.to_be_bytes());
        socket.send_to(&request, to).unwrap();
    }
    let mut replies = Vec::new();
    let mut buffer = [0; 2048];
    while replies
        .last()
        .is_none_or(|&(sequence, _)| sequence != u32::MAX)
    {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(length, 44);
        let sequence = u32::from_be_bytes(buffer[24..28].try_into().unwrap());
        replies.push((sequence, buffer[40]));
    }
    replies
}

fn socket(relay: &Relay, v6: bool) -> (UdpSocket, SocketAddr) {
    let (near, far) = (&relay.veth.sender, &relay.veth.reflector);
    let (bind, to): (SocketAddr, SocketAddr) = if v6 {
        (near.socket_v6(0).into(), far.socket_v6(862).into())
    } else {
        (near.socket_v4(0).into(), far.socket_v4(862).into())
    };
    let socket = near.namespace.run(|| UdpSocket::bind(bind).unwrap());
    socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
    (socket, to)
}

#[test]
fn what_happens_to_packets_of_our_reflector_is_what_the_log_tells() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    for mode in ["native", "generic"] {
        let relay = Relay::new(impaired).unwrap();
        let _reflector = relay
            .veth
            .reflector
            .start_reflector(&["--xdp-mode", mode])
            .unwrap();
        for v6 in [false, true] {
            let (socket, to) = socket(&relay, v6);
            let before = relay.log().sequences(Backward).len();
            let replies = exchange(&socket, to);
            let sequences: Vec<_> = replies.iter().map(|&(sequence, _)| sequence).collect();
            assert_eq!(sequences, EXPECTED, "{mode}");
            assert_eq!(
                sequences,
                relay.log().sequences(Backward)[before..],
                "{mode}"
            );
            for (sequence, ttl) in replies {
                assert_eq!(ttl, if sequence == 18 { 9 } else { 64 }, "{sequence}");
            }
        }
        assert_eq!(relay.log().held(), 0);
        assert_eq!(relay.kernel_drops().unwrap(), 0);
    }
}

#[test]
fn flows_spread_over_the_queues_behind_the_relay() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let config = RelayConfig {
        veth: VethConfig {
            queues: 4,
            ..RelayConfig::default().veth
        },
        ..RelayConfig::default()
    };
    let relay = Relay::with(&config, impaired).unwrap();
    let mut reflector = relay
        .veth
        .reflector
        .start_reflector(&["--queues", "4"])
        .unwrap();
    let sockets: Vec<_> = (0..64).map(|_| socket(&relay, false)).collect();
    for (socket, to) in &sockets {
        let replies = exchange(socket, *to);
        let sequences: Vec<_> = replies.iter().map(|&(sequence, _)| sequence).collect();
        assert_eq!(sequences, EXPECTED);
    }
    let log = relay.log();
    let sessions: BTreeSet<_> = log
        .records
        .iter()
        .map(|record| record.packet.session)
        .collect();
    assert_eq!(sessions.len(), 64);
    assert_eq!(relay.kernel_drops().unwrap(), 0);

    reflector.signal(testbed::Signal::SIGTERM).unwrap();
    reflector.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let summary = reflector.stdout();
    let reflected = reflected_by_queue(&summary);
    assert_eq!(reflected.len(), 4, "{summary}");
    assert!(reflected.iter().all(|&count| count > 0), "{summary}");
}
