//! What the tests of this folder share: a pair, a running reflector, frames and their answers.

use std::net::{IpAddr, SocketAddr};

use testbed::{DEFAULT_TIMEOUT, Datagram, RawPeer, UdpFrame, Veth, VethConfig};

use crate::common::{Reflector, SILENCE, Summary};

/// UDP port of listeners that name none.
pub const PORT: u16 = 862;

/// Both families.
pub const BOTH: [Ip; 2] = [Ip::V4, Ip::V6];

/// Which IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ip {
    V4,
    V6,
}

/// A pair whose ends know each other, and the raw socket at the sender's.
pub struct Rig {
    pub veth: Veth,
    pub peer: RawPeer,
}

/// A frame that came back, and how an independent dissector reads it.
#[derive(Debug)]
pub struct Answer {
    pub frame: Vec<u8>,
    pub datagram: Datagram,
}

impl Rig {
    pub fn new() -> Self {
        Self::with_addresses(&[])
    }

    /// With loopback addresses at the reflector's end.
    pub fn with_addresses(loopback: &[&str]) -> Self {
        let veth = Veth::with(&VethConfig {
            permanent_neighbours: true,
            ..VethConfig::default()
        })
        .unwrap();
        for address in loopback {
            let namespace = &veth.reflector.namespace;
            namespace
                .ip(&format!("address add {address} dev lo"))
                .unwrap();
        }
        let peer = RawPeer::open(&veth.sender).unwrap();
        Self { veth, peer }
    }

    /// A reflector with these listeners at the reflector's end.
    pub fn start(&self, listeners: &[&str]) -> Reflector {
        self.start_with(listeners, &[])
    }

    /// The same, with further options.
    pub fn start_with(&self, listeners: &[&str], options: &[&str]) -> Reflector {
        let specs = listeners.iter().flat_map(|spec| ["--listener", spec]);
        let options: Vec<&str> = specs.chain(options.iter().copied()).collect();
        Reflector::start(&self.veth.reflector, &options)
    }

    /// From the sender's address to the reflector's.
    pub fn request(&self, ip: Ip, source_port: u16, port: u16) -> UdpFrame {
        match ip {
            Ip::V4 => self.veth.request_v4(source_port, port),
            Ip::V6 => self.veth.request_v6(source_port, port),
        }
    }

    /// From the sender's address to `to`.
    pub fn request_to(&self, to: SocketAddr, source_port: u16) -> UdpFrame {
        let sender = &self.veth.sender;
        let from = match to.ip() {
            IpAddr::V4(_) => SocketAddr::V4(sender.socket_v4(source_port)),
            IpAddr::V6(_) => SocketAddr::V6(sender.socket_v6(source_port)),
        };
        self.frame(from, to)
    }

    /// From anybody behind the sender's station.
    pub fn frame(&self, from: SocketAddr, to: SocketAddr) -> UdpFrame {
        let frame = match (from, to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => UdpFrame::v4(from, to),
            (SocketAddr::V6(from), SocketAddr::V6(to)) => UdpFrame::v6(from, to),
            _ => panic!("{from} and {to} are of two families"),
        };
        frame.macs(self.veth.sender.mac, self.veth.reflector.mac)
    }

    /// Sends a request and waits for what comes back to its port.
    pub fn ask(&self, request: &UdpFrame) -> Answer {
        ask(&self.peer, request)
    }

    /// As the function of this name.
    pub fn only_the_last_is_answered(&self, forbidden: &[Vec<u8>], good: &UdpFrame) {
        only_the_last_is_answered(&self.peer, forbidden, good);
    }
}

/// Sends a request and waits for what comes back to its port.
pub fn ask(peer: &RawPeer, request: &UdpFrame) -> Answer {
    let request = request.build();
    let port = Datagram::parse(&request).unwrap().source.port();
    peer.send(&request).unwrap();
    let to_the_port = |frame: &[u8]| {
        Datagram::parse(frame).is_ok_and(|datagram| datagram.destination.port() == port)
    };
    let frame = peer.recv_matching(to_the_port, DEFAULT_TIMEOUT).unwrap();
    let frame = frame.unwrap_or_else(|| panic!("no answer to port {port}"));
    let datagram = Datagram::parse(&frame).unwrap();
    assert_eq!(datagram.ttl, 255, "RFC 5357 section 4.2: TTL 255");
    Answer { frame, datagram }
}

/// Sends frames that must not be answered and then a request that must be. Every datagram that comes
/// back, until a while after, must be that one answer.
pub fn only_the_last_is_answered(peer: &RawPeer, forbidden: &[Vec<u8>], good: &UdpFrame) {
    the_last_is_answered_first(peer, forbidden, good);
    nothing_more_comes(peer);
}

/// Sends frames that must not be answered and then a request that must be: the first datagram to come
/// back. Packets of a queue are served in order, and so are those of a socket.
pub fn the_last_is_answered_first(peer: &RawPeer, forbidden: &[Vec<u8>], good: &UdpFrame) {
    for frame in forbidden {
        peer.send(frame).unwrap();
    }
    let good = good.build();
    let sent_from = Datagram::parse(&good).unwrap().source;
    peer.send(&good).unwrap();
    let first = peer.recv_matching(is_datagram, DEFAULT_TIMEOUT).unwrap();
    let first = Datagram::parse(&first.expect("the good request's answer")).unwrap();
    assert_eq!(first.destination, sent_from, "{first:?}");
}

/// No datagram comes for a while.
pub fn nothing_more_comes(peer: &RawPeer) {
    let more = peer.recv_matching(is_datagram, SILENCE).unwrap();
    assert_eq!(more, None, "one answer is all");
}

fn is_datagram(frame: &[u8]) -> bool {
    Datagram::parse(frame).is_ok()
}

/// The frames' octets.
pub fn built(frames: &[UdpFrame]) -> Vec<Vec<u8>> {
    frames.iter().map(UdpFrame::build).collect()
}

/// A request of `len` octets whose fields are all different and no zero.
pub fn light(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at % 251).unwrap() + 1)
        .collect()
}

/// A STAMP request with this number and SSID, and `tail` behind the base packet.
pub fn stamp(sequence: u32, ssid: u16, tail: &[u8]) -> Vec<u8> {
    let mut request = vec![0; 44];
    request[..4].copy_from_slice(&sequence.to_be_bytes());
    request[4..14].copy_from_slice(&[0xe8, 0xfe, 0x6f, 0x80, 1, 2, 3, 4, 0x81, 0x05]);
    request[14..16].copy_from_slice(&ssid.to_be_bytes());
    request.extend(tail);
    request
}

/// A Sequence Number as it stands in a packet.
pub fn sequence(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

/// The count in front of `meaning` in the summary's line that begins with `label`; 0 if there is none.
pub fn counted(summary: &Summary, label: &str, meaning: &str) -> u64 {
    let lines = summary.0.lines().filter_map(|line| line.split_once(": "));
    let of_label = lines.filter(|(name, _)| *name == label);
    of_label
        .flat_map(|(_, items)| items.split(", "))
        .filter_map(|item| item.split_once(' '))
        .filter(|(_, words)| *words == meaning)
        .map(|(count, _)| count.parse::<u64>().unwrap())
        .sum()
}
