//! Requests through a relay to a stateful reflector, and the replies.

use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use testbed::Direction::{Backward, Forward};
use testbed::{DEFAULT_TIMEOUT, ReflectorConfig, Relay, ScriptedReflector};

/// How long to listen for something that must not come.
const SILENCE: Duration = Duration::from_millis(200);

/// A socket at the sender's end with room for every reply of a test.
pub fn sender_socket(relay: &Relay, v6: bool) -> UdpSocket {
    let end = &relay.veth.sender;
    let socket = end.namespace.run(|| {
        if v6 {
            UdpSocket::bind(end.socket_v6(0)).unwrap()
        } else {
            UdpSocket::bind(end.socket_v4(0)).unwrap()
        }
    });
    setsockopt(&socket, RcvBufForce, &(16 << 20)).unwrap();
    socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
    socket
}

/// A request of 44 octets: the sequence number, then padding that tells its octets apart.
pub fn request(sequence: u32) -> Vec<u8> {
    sequence.to_be_bytes().into_iter().chain(4..44).collect()
}

pub fn number(payload: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(payload[offset..offset + 4].try_into().unwrap())
}

/// This many datagrams, and no more that come within a moment.
fn recv_all(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let mut buffer = [0; 2048];
    let mut receive = || {
        let length = socket.recv(&mut buffer)?;
        Ok::<_, std::io::Error>(buffer[..length].to_vec())
    };
    socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
    let received = (0..count).map(|_| receive().unwrap()).collect();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(receive().is_err(), "more than {count} replies");
    received
}

pub fn stateful(relay: &Relay, v6: bool) -> ScriptedReflector {
    let end = &relay.veth.reflector;
    let config = ReflectorConfig {
        stateful: true,
        ..ReflectorConfig::default()
    };
    if v6 {
        ScriptedReflector::start_in(&end.namespace, end.socket_v6(862), config).unwrap()
    } else {
        ScriptedReflector::start_in(&end.namespace, end.socket_v4(862), config).unwrap()
    }
}

/// Waits until as many requests came as were sent, and all has come through as far as the script lets it, and returns the
/// replies.
pub fn exchange_ends(
    requests: u32,
    relay: &Relay,
    reflector: &ScriptedReflector,
    socket: &UdpSocket,
) -> Vec<Vec<u8>> {
    relay
        .wait_until("nothing is held or under way", DEFAULT_TIMEOUT, |log| {
            let arrived = log.sequences(Forward).len();
            log.came(Forward).count() == usize::try_from(requests).unwrap()
                && log.held() == 0
                && log.came(Backward).count() == arrived
                && reflector.reflections().len() == arrived
        })
        .unwrap();
    let own = socket.local_addr().unwrap();
    let log = relay.log();
    let replies = (log.went(Backward).into_iter())
        .filter(|(record, copy)| record.packet.session.sender == own && !copy.is_corrupt());
    recv_all(socket, replies.count())
}
