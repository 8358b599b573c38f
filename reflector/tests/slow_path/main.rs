//! What XDP leaves to the kernel: answered from the listener's UDP socket, by the same rules.

#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

mod packets;
mod rules;
mod sockets;

use std::time::Duration;

use testbed::{DEFAULT_TIMEOUT, Datagram, RawPeer, UdpFrame, Veth, VethConfig};

const PORT: u16 = 862;
/// Three of "no operation" and the end of the list: nothing asked, and options all the same.
const OPTIONS: [u8; 4] = [1, 1, 1, 0];

fn veth() -> Veth {
    veth_with(VethConfig::default())
}

/// With neighbours that need no asking.
fn veth_with(config: VethConfig) -> Veth {
    Veth::with(&VethConfig {
        permanent_neighbours: true,
        ..config
    })
    .unwrap()
}

/// A request of `len` octets whose fields are all different and no zero.
fn request(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at % 251).unwrap() + 1)
        .collect()
}

/// A request with this Sequence Number, and zeros: STAMP without an SSID.
fn numbered(number: u32) -> Vec<u8> {
    let mut payload = vec![0; 44];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

/// Sends a frame and returns the datagram that comes back to `port`.
fn exchange(peer: &RawPeer, frame: &UdpFrame, port: u16) -> Datagram {
    exchange_all(peer, &[frame.build()], port)
}

/// The same for a datagram in several frames.
fn exchange_all(peer: &RawPeer, frames: &[Vec<u8>], port: u16) -> Datagram {
    for frame in frames {
        peer.send(frame).unwrap();
    }
    answer_to(peer, port, DEFAULT_TIMEOUT).expect("an answer")
}

fn answer_to(peer: &RawPeer, port: u16, timeout: Duration) -> Option<Datagram> {
    let is_answer =
        |frame: &[u8]| Datagram::parse(frame).is_ok_and(|answer| answer.destination.port() == port);
    let frame = peer.recv_matching(is_answer, timeout).unwrap()?;
    Some(Datagram::parse(&frame).unwrap())
}
