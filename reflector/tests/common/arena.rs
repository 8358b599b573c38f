//! A veth pair with a raw packet socket at each end: packets forged and observed at both.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use testbed::{DEFAULT_TIMEOUT, Datagram, End, RawPeer, UdpFrame, Veth, VethConfig};

/// Which end of the pair: its place in arrays.
pub const NEAR: usize = 0;
/// The other one.
pub const FAR: usize = 1;
/// Either.
pub const ENDS: [usize; 2] = [NEAR, FAR];

/// A source that is no end of the pair: no kernel has anything to say about replies to it.
pub const OUTSIDER_V4: Ipv4Addr = Ipv4Addr::new(10, 86, 2, 99);
/// The same over IPv6.
pub const OUTSIDER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x862, 0, 0, 0, 0, 0, 0x99);
const OUTSIDERS_PORT: u16 = 40_000;

/// Turns that a loop would have taken when [`Arena::settle`] returns; six are enough for any to be
/// told from none.
const ROUNDS: u64 = 3;

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Both.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The pair with a raw packet socket at each end.
pub struct Arena {
    pub veth: Veth,
    pub raw: [RawPeer; 2],
}

impl Arena {
    /// One queue, so that packets in one direction stay in order.
    pub fn new() -> Self {
        Self::with(VethConfig::default())
    }

    pub fn with(config: VethConfig) -> Self {
        let veth = Veth::with(&VethConfig {
            permanent_neighbours: true,
            ..config
        })
        .unwrap();
        for (end, other) in [
            (&veth.reflector, &veth.sender),
            (&veth.sender, &veth.reflector),
        ] {
            let mac = other.mac.map(|octet| format!("{octet:02x}")).join(":");
            for outsider in [OUTSIDER_V4.to_string(), OUTSIDER_V6.to_string()] {
                let entry = format!(
                    "{outsider} lladdr {mac} dev {} nud permanent",
                    end.interface
                );
                let line = format!("neighbour replace {entry}");
                end.namespace.ip(&line).unwrap();
            }
        }
        let raw = [&veth.reflector, &veth.sender].map(|end| RawPeer::open(end).unwrap());
        Self { veth, raw }
    }

    pub fn end(&self, end: usize) -> &End {
        [&self.veth.reflector, &self.veth.sender][end]
    }

    /// A packet to a port of `to` as if from a port of the other end.
    pub fn frame(&self, to: usize, family: Family, from_port: u16, port: u16) -> UdpFrame {
        let (from, to) = (self.end(1 - to), self.end(to));
        match family {
            Family::V4 => UdpFrame::v4(from.socket_v4(from_port), to.socket_v4(port)),
            Family::V6 => UdpFrame::v6(from.socket_v6(from_port), to.socket_v6(port)),
        }
        .macs(from.mac, to.mac)
    }

    /// Sends a frame to `to`, from the other end.
    pub fn send(&self, to: usize, frame: &UdpFrame) {
        self.raw[1 - to].send(&frame.build()).unwrap();
    }

    /// Has a good packet answered by `to`. All that came before it on the same way (AF_XDP, or one
    /// socket) has been looked at then, and what was answered of that has arrived at the other end.
    pub fn pass_through(&self, to: usize, family: Family, port: u16) {
        self.pass_through_as(to, family, port, |frame| frame);
    }

    /// The same with a packet that `dress` changes, so that it takes another way.
    pub fn pass_through_as(
        &self,
        to: usize,
        family: Family,
        port: u16,
        dress: impl Fn(UdpFrame) -> UdpFrame,
    ) {
        let (from, end) = (self.end(1 - to), self.end(to));
        let frame = match family {
            Family::V4 => UdpFrame::v4(
                SocketAddrV4::new(OUTSIDER_V4, OUTSIDERS_PORT),
                end.socket_v4(port),
            ),
            Family::V6 => UdpFrame::v6(
                SocketAddrV6::new(OUTSIDER_V6, OUTSIDERS_PORT, 0, 0),
                end.socket_v6(port),
            ),
        };
        let frame = frame.macs(from.mac, end.mac).payload(&[0; 44]);
        self.send(to, &dress(frame));
        let is_its_answer = |frame: &[u8]| {
            Datagram::parse(frame).is_ok_and(|it| it.destination.port() == OUTSIDERS_PORT)
        };
        let answer = self.raw[1 - to].recv_matching(is_its_answer, DEFAULT_TIMEOUT);
        assert!(answer.unwrap().is_some(), "a good packet is answered");
    }

    /// Waits until a forged packet that `to` was sent has been looked at, and all that came of it in
    /// several turns. Returns how many good packets each end has answered meanwhile.
    pub fn settle(&self, to: usize, family: Family, ports: [u16; 2]) -> u64 {
        for _ in 0..ROUNDS {
            for end in [to, 1 - to] {
                self.pass_through(end, family, ports[end]);
            }
        }
        ROUNDS
    }

    /// Frames that the end's interface has received.
    pub fn frames_received(&self, end: usize) -> u64 {
        let end = self.end(end);
        let table = end
            .namespace
            .run(|| fs::read_to_string("/proc/thread-self/net/dev"))
            .unwrap();
        let own = table
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(end.interface))
            .unwrap();
        // Octets come first.
        let words: Vec<_> = own.trim_start_matches(':').split_whitespace().collect();
        words[1].parse().unwrap()
    }
}

/// A request of `len` octets that asks to be answered.
pub fn request(len: usize) -> Vec<u8> {
    let mut request = vec![0; len];
    request[..14].copy_from_slice(&[0, 0, 0, 1, 0xe8, 0xfe, 0x6f, 0x80, 1, 2, 3, 4, 0x80, 1]);
    request
}

/// The same without a timestamp, so that its answer does not quite look like one.
pub fn request_without_t1(len: usize) -> Vec<u8> {
    let mut request = request(len);
    request[4..12].fill(0);
    request
}
