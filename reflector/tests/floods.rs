//! Floods: what many sources send too much of is not answered, and costs nobody else anything.
//!
//! ```text
//!   reflector │ veth-r ◄──► veth-s │ a raw packet socket: floods, and a session that behaves
//! ```
//!
//! Frames go out in rounds, each ended by a packet to a listener of its own without limits, at another
//! address of the same port: once that is answered, all before it has been judged, and nothing overflowed
//! on the way, however slow the machine is. So every figure is exact, or bounded by times that the test
//! took itself.

#![cfg(test)]

mod common;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::thread;
use std::time::{Duration, Instant};

use common::arena::{Arena, Family, NEAR, OUTSIDER_V4, OUTSIDER_V6};
use common::{Reflector, Summary};
use testbed::{DEFAULT_TIMEOUT, Datagram, Need, UdpFrame, VethConfig, skip_unless};

const PORT: u16 = 862;
/// Where the listener without limits is.
const GATE_V4: Ipv4Addr = Ipv4Addr::new(10, 86, 3, 1);
const GATE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x863, 0, 0, 0, 0, 0, 1);
const GATE_LISTENER: &str = "address=10.86.3.1,address=fd00:863::1,port=862";
/// As the summary names the one with limits.
const PLACE: &str = "veth-r, any address, port 862";

/// Source ports of the three kinds of packets.
const FLOOD: u16 = 50_000;
const SESSION: u16 = 50_001;
const GATE: u16 = 50_002;

/// Frames of a round: fewer than the 256 that a veth holds for its receiver.
const ROUND: usize = 128;

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    AfXdp,
    /// Beside AF_XDP: the packets have IP options or extension headers.
    Slow,
    /// Sockets alone.
    Socket,
}

struct Flood {
    arena: Arena,
    reflector: Reflector,
    path: Path,
    family: Family,
}

impl Flood {
    /// A reflector with `limits` for everything but the gate.
    fn start(path: Path, family: Family, limits: &str) -> Self {
        let arena = Arena::with(VethConfig {
            reflector_addresses: vec![format!("{GATE_V4}/24"), format!("{GATE_V6}/64")],
            ..VethConfig::default()
        });
        let namespace = &arena.veth.reflector.namespace;
        // Sockets need a way back to each source.
        for line in [
            "route add default via 10.86.2.2",
            "-6 route add default via fd00:862::2",
        ] {
            namespace.ip(line).unwrap();
        }
        let datapath = if path == Path::Socket {
            "socket"
        } else {
            "af-xdp"
        };
        let limited = format!("port={PORT},{limits}");
        let options = ["--datapath", datapath, "--socket-workers", "1"];
        let listeners = ["--listener", GATE_LISTENER, "--listener", &limited];
        let reflector = Reflector::start(arena.end(NEAR), &[options, listeners].concat());
        Self {
            arena,
            reflector,
            path,
            family,
        }
    }

    /// A request from this source to the listener with limits.
    fn frame(&self, source: SocketAddr, len: usize) -> Vec<u8> {
        let end = self.arena.end(NEAR);
        let frame = match source {
            SocketAddr::V4(source) => UdpFrame::v4(source, end.socket_v4(PORT)),
            SocketAddr::V6(source) => UdpFrame::v6(source, end.socket_v6(PORT)),
        };
        self.finish(frame, len)
    }

    fn finish(&self, frame: UdpFrame, len: usize) -> Vec<u8> {
        let (from, to) = (&self.arena.veth.sender, &self.arena.veth.reflector);
        let frame = frame.macs(from.mac, to.mac).payload(&vec![0; len]);
        match self.path {
            Path::Slow => frame.ipv4_options(&[1, 1, 1, 0]).hop_by_hop(),
            Path::AfXdp | Path::Socket => frame,
        }
        .build()
    }

    fn outsider(&self, port: u16) -> SocketAddr {
        match self.family {
            Family::V4 => SocketAddrV4::new(OUTSIDER_V4, port).into(),
            Family::V6 => SocketAddrV6::new(OUTSIDER_V6, port, 0, 0).into(),
        }
    }

    fn gate(&self) -> Vec<u8> {
        let frame = match self.family {
            Family::V4 => UdpFrame::v4(
                SocketAddrV4::new(OUTSIDER_V4, GATE),
                SocketAddrV4::new(GATE_V4, PORT),
            ),
            Family::V6 => UdpFrame::v6(
                SocketAddrV6::new(OUTSIDER_V6, GATE, 0, 0),
                SocketAddrV6::new(GATE_V6, PORT, 0, 0),
            ),
        };
        self.finish(frame, 44)
    }

    fn send(&self, frame: &[u8]) {
        self.arena.raw[1 - NEAR].send(frame).unwrap();
    }

    /// Waits until all that was sent has been judged. Returns how many answers the session got.
    fn pass_gate(&self, gate: &[u8]) -> usize {
        self.send(gate);
        let mut session = 0;
        let is_gates_answer = |frame: &[u8]| match Datagram::parse(frame) {
            Ok(answer) => {
                session += usize::from(answer.destination.port() == SESSION);
                answer.destination.port() == GATE
            }
            Err(_) => false,
        };
        let answer = self.arena.raw[1 - NEAR].recv_matching(is_gates_answer, DEFAULT_TIMEOUT);
        assert!(answer.unwrap().is_some(), "the gate answers");
        session
    }
}

/// Waits for the time that a round's frames are due at a steady rate. Being late is no matter.
fn pace(start: Instant, round: u32, interval: Duration) {
    let due = start + interval * round;
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// How the reflector judged the listener's packets: answered, over a source's limit, over its own.
fn judged(path: Path, summary: &Summary, gates: u64) -> [u64; 3] {
    let answered = summary.answered() - gates;
    if path != Path::AfXdp {
        return [
            answered,
            summary.count("source above its rate"),
            summary.count("listener above its rate"),
        ];
    }
    let [admitted, source, listener] = [
        "admitted",
        "over their source's rate",
        "over the listener's rate",
    ]
    .map(|meaning| summary.of_listener(PLACE, meaning));
    assert_eq!(admitted, answered, "{}", summary.0);
    assert_eq!(summary.count("over the limit of its source"), source);
    assert_eq!(summary.count("over the limits of its listener"), listener);
    [admitted, source, listener]
}

/// The sources of a flood: 256 prefixes, /24 or /64, and some hosts in each.
fn sources(family: Family) -> Vec<SocketAddr> {
    let hosts = (1..=4_u8).flat_map(|host| (0..=255_u8).map(move |prefix| (prefix, host)));
    let source = |(prefix, host): (u8, u8)| -> SocketAddr {
        match family {
            Family::V4 => (Ipv4Addr::new(198, 18, prefix, host), FLOOD).into(),
            Family::V6 => {
                let [prefix, host] = [prefix, host].map(u16::from);
                let address = Ipv6Addr::new(0x2001, 0xdb8, 0, prefix, 0, 0, host, 1);
                (address, FLOOD).into()
            }
        }
    };
    hosts.map(source).collect()
}

/// 20 000 packets/s from 256 prefixes, each of which may send 51 packets at once and then 5/s; the
/// listener bears more than all of them may. A session that sends 50 packets meanwhile gets 50 answers.
fn flood(path: Path, family: Family, rounds: usize) {
    const AT_ONCE: u64 = 51;
    const RATE: u64 = 5;
    const SESSION_PACKETS: usize = 50;
    let limits = format!(
        "source-rate={RATE},source-prefix=24/64,rate={},bandwidth=1g,burst=10s",
        300 * RATE
    );
    let flood = Flood::start(path, family, &limits);
    let frames: Vec<_> = sources(family)
        .into_iter()
        .map(|source| flood.frame(source, 44))
        .collect();
    let mut next = frames.iter().cycle();
    let good = flood.frame(flood.outsider(SESSION), 44);
    let gate = flood.gate();

    let start = Instant::now();
    let mut answers = 0;
    for round in 0..rounds {
        pace(
            start,
            u32::try_from(round).unwrap(),
            Duration::from_micros(6_400),
        );
        for frame in next.by_ref().take(ROUND / 2) {
            flood.send(frame);
        }
        let is_sending = round % (rounds / SESSION_PACKETS) == 0;
        if is_sending {
            flood.send(&good);
        }
        for frame in next.by_ref().take(ROUND / 2) {
            flood.send(frame);
        }
        let now = flood.pass_gate(&gate);
        assert_eq!(now, usize::from(is_sending), "the session loses nothing");
        answers += now;
    }
    let elapsed = start.elapsed();
    let Flood { reflector, .. } = flood;
    let summary = reflector.stop();
    let [admitted, over_source, over_listener] = judged(path, &summary, rounds as u64);

    assert_eq!(answers, SESSION_PACKETS);
    let sent = (rounds * ROUND + SESSION_PACKETS) as u64;
    assert_eq!(admitted + over_source, sent, "{}", summary.0);
    assert_eq!(over_listener, 0, "{}", summary.0);
    assert!(over_source > 0, "{}", summary.0);
    let per_source = RATE * (elapsed.as_secs() + 1);
    let [least, most] = [AT_ONCE, AT_ONCE + per_source].map(|each| 256 * each);
    let of_flood = admitted - SESSION_PACKETS as u64;
    assert!(
        (least..=most).contains(&of_flood),
        "{of_flood} admitted in {elapsed:?}"
    );
}

#[test]
fn a_flood_over_ipv4_costs_a_session_that_behaves_nothing() {
    skip_unless!(Need::Xdp);
    flood(Path::AfXdp, Family::V4, 400);
}

#[test]
fn a_flood_over_ipv6_costs_a_session_that_behaves_nothing() {
    skip_unless!(Need::Xdp);
    flood(Path::AfXdp, Family::V6, 400);
}

#[test]
fn a_flood_of_the_slow_path_costs_a_session_that_behaves_nothing() {
    skip_unless!(Need::Xdp);
    flood(Path::Slow, Family::V4, 150);
    flood(Path::Slow, Family::V6, 150);
}

#[test]
fn a_flood_of_sockets_costs_a_session_that_behaves_nothing() {
    skip_unless!(Need::NetworkNamespace);
    flood(Path::Socket, Family::V4, 150);
    flood(Path::Socket, Family::V6, 150);
}

#[test]
fn without_limits_for_sources_a_flood_costs_the_session_its_answers() {
    skip_unless!(Need::Xdp);
    // What the tests above would see: one packet of 1428 octets at 1000 bit/s is enough for 11 s.
    let flood = Flood::start(Path::AfXdp, Family::V4, "bandwidth=1k,burst=1ms");
    let [first, ..] = sources(Family::V4)[..] else {
        unreachable!()
    };
    flood.send(&flood.frame(first, 1400));
    flood.send(&flood.frame(flood.outsider(SESSION), 44));
    assert_eq!(flood.pass_gate(&flood.gate()), 0);
    let Flood { reflector, .. } = flood;
    assert_eq!(judged(Path::AfXdp, &reflector.stop(), 1), [1, 0, 1]);
}

/// 6 400 packets/s against a limit of 2 000 packets/s, or as many bits/s as those have, and what comes
/// in 50 ms at once.
fn hold(path: Path, family: Family, limit: &str, len: usize) {
    const RATE: u64 = 2_000;
    const AT_ONCE: u64 = 101;
    const ROUNDS: u32 = 50;
    let flood = Flood::start(path, family, &format!("{limit},burst=50ms"));
    let frames: Vec<_> = sources(family)
        .into_iter()
        .map(|source| flood.frame(source, len))
        .collect();
    let mut next = frames.iter().cycle();
    let gate = flood.gate();

    let in_time = |time: Duration| -> u64 {
        let packets = time.as_nanos() * u128::from(RATE) / 1_000_000_000;
        packets.try_into().unwrap()
    };
    let start = Instant::now();
    let mut end = start;
    let mut least = 0;
    for round in 0..ROUNDS {
        pace(start, round, Duration::from_millis(20));
        // The first round finds the bucket empty. Each later one finds room for at least what has run
        // out since the last packet of the round before, but never for more than it holds.
        let room = if round == 0 {
            AT_ONCE
        } else {
            in_time(end.elapsed()).min(AT_ONCE)
        };
        least += room.min(ROUND as u64);
        for frame in next.by_ref().take(ROUND) {
            flood.send(frame);
        }
        flood.pass_gate(&gate);
        end = Instant::now();
    }
    // One more, as costs are rounded to the nearest tick.
    let most = AT_ONCE + in_time(end - start) + 1;
    let Flood { reflector, .. } = flood;
    let summary = reflector.stop();
    let [admitted, over_source, over_listener] = judged(path, &summary, ROUNDS.into());

    assert_eq!(over_source, 0);
    assert_eq!(admitted + over_listener, u64::from(ROUNDS) * ROUND as u64);
    assert!(
        (least..=most).contains(&admitted),
        "{admitted} admitted, not {least} to {most}, by {path:?} {family:?} {limit}"
    );
}

/// Of packets of 400 octets: those and headers of UDP and IP, 2 000 times a second.
fn bandwidth(family: Family) -> String {
    let headers = match family {
        Family::V4 => 8 + 20,
        Family::V6 => 8 + 40,
    };
    format!("rate=1m,bandwidth={}", (400 + headers) * 8 * 2_000)
}

#[test]
fn a_listener_admits_its_packets_per_second() {
    skip_unless!(Need::Xdp);
    hold(Path::AfXdp, Family::V4, "rate=2k,bandwidth=1g", 44);
    hold(Path::AfXdp, Family::V6, "rate=2k", 44);
}

#[test]
fn a_listener_admits_its_bits_per_second() {
    skip_unless!(Need::Xdp);
    for family in [Family::V4, Family::V6] {
        hold(Path::AfXdp, family, &bandwidth(family), 400);
    }
}

#[test]
fn the_slow_path_admits_as_much() {
    skip_unless!(Need::Xdp);
    hold(Path::Slow, Family::V4, "rate=2k", 44);
    hold(Path::Slow, Family::V6, &bandwidth(Family::V6), 400);
}

#[test]
fn sockets_admit_as_much() {
    skip_unless!(Need::NetworkNamespace);
    hold(Path::Socket, Family::V4, &bandwidth(Family::V4), 400);
    hold(Path::Socket, Family::V6, "rate=2k", 44);
}
