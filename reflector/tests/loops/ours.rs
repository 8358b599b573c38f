//! Two of our reflectors.

use testbed::{DEFAULT_TIMEOUT, Need, skip_unless, wait_until};

use crate::common::arena::{Arena, ENDS, FAMILIES, FAR, Family, NEAR, request, request_without_t1};
use crate::common::{Reflector, Summary};

const EQUAL: [u16; 2] = [862, 862];
const DIFFERENT: [u16; 2] = [862, 8620];

const AF_XDP: &[&str] = &["--datapath", "af-xdp"];
const SOCKET: &[&str] = &["--datapath", "socket", "--socket-workers", "1"];
const STATELESS: &[&str] = &["--sequence", "stateless"];
const STATEFUL: &[&str] = &["--sequence", "stateful"];
const UNGUARDED: &[&str] = &["--loop-guard-ports", "off", "--loop-guard-replies", "off"];

/// Two reflectors of ours in an arena.
struct Duel {
    arena: Arena,
    ports: [u16; 2],
    reflectors: [Reflector; 2],
    /// Good packets that each has answered.
    good: u64,
}

impl Duel {
    fn start(ports: [u16; 2], options: [&[&[&str]]; 2]) -> Self {
        let arena = Arena::new();
        let reflectors = ENDS.map(|end| {
            let port = ports[end].to_string();
            let options = [&["--port", port.as_str()], options[end].concat().as_slice()].concat();
            Reflector::start(arena.end(end), &options)
        });
        Self {
            arena,
            ports,
            reflectors,
            good: 0,
        }
    }

    /// Sends one packet to `to` as if the other reflector had sent it.
    fn forge(&self, to: usize, family: Family, payload: &[u8]) {
        let frame = self
            .arena
            .frame(to, family, self.ports[1 - to], self.ports[to]);
        self.arena.send(to, &frame.payload(payload));
    }

    /// The same, and sees what comes of it.
    fn provoke(&mut self, to: usize, family: Family, payload: &[u8]) {
        self.forge(to, family, payload);
        self.good += self.arena.settle(to, family, self.ports);
    }

    /// Packets of all kinds to both ends: 16 with timestamps, and 8 without.
    fn provoke_in_every_way(&mut self) {
        for family in FAMILIES {
            for to in ENDS {
                for len in [14, 41, 44, 500] {
                    self.provoke(to, family, &request(len));
                }
                for len in [14, 44] {
                    self.provoke(to, family, &request_without_t1(len));
                }
            }
        }
    }

    fn frames_received(&self) -> u64 {
        ENDS.map(|end| self.arena.frames_received(end)).iter().sum()
    }

    fn stop(self) -> [Tally; 2] {
        let good = self.good;
        self.reflectors
            .map(|reflector| Tally::of(reflector.stop(), good))
    }
}

/// What a reflector did beside answering good packets.
#[derive(Debug)]
struct Tally {
    answered: u64,
    from_a_listeners_port: u64,
    like_a_reply: u64,
    summary: String,
}

impl Tally {
    fn of(summary: Summary, good: u64) -> Self {
        Self {
            answered: summary.answered() - good,
            from_a_listeners_port: summary.count("a listener's port as source")
                + summary.count("source port is a listener's"),
            like_a_reply: summary.count("looks like a reply"),
            summary: summary.0,
        }
    }

    fn is(&self, answered: u64, from_a_listeners_port: u64, like_a_reply: u64) {
        let seen = (self.answered, self.from_a_listeners_port, self.like_a_reply);
        let expected = (answered, from_a_listeners_port, like_a_reply);
        assert_eq!(
            seen, expected,
            "answered, from a listener's port, like a reply:\n{}",
            self.summary
        );
    }
}

/// On equal ports the first reflector recognises the packet by its source port.
fn die_on_equal_ports(datapaths: [&[&str]; 2]) {
    for sequence in [STATELESS, STATEFUL] {
        let options = datapaths.map(|datapath| [datapath, sequence]);
        let mut duel = Duel::start(EQUAL, [&options[NEAR], &options[FAR]]);
        duel.provoke_in_every_way();
        // 12 of the 24 went to each end, and none was answered.
        for tally in duel.stop() {
            tally.is(0, 12, 0);
        }
    }
}

/// On different ports the first cannot know, and the second recognises the answer by its looks; or, if
/// the forged packet had no timestamp, the first does in its turn.
fn die_on_different_ports(datapaths: [&[&str]; 2]) {
    for sequence in [STATELESS, STATEFUL] {
        let options = datapaths.map(|datapath| [datapath, sequence]);
        let mut duel = Duel::start(DIFFERENT, [&options[NEAR], &options[FAR]]);
        duel.provoke_in_every_way();
        // To each end went 8 packets with a timestamp, which it answers and the other leaves
        // unanswered, and 4 without, which both answer and then the first leaves unanswered.
        for tally in duel.stop() {
            tally.is(8 + 4 + 4, 0, 8 + 4);
        }
    }
}

#[test]
fn two_over_af_xdp_on_equal_ports_fall_silent_at_once() {
    skip_unless!(Need::Xdp);
    die_on_equal_ports([AF_XDP, AF_XDP]);
}

#[test]
fn two_over_af_xdp_on_different_ports_fall_silent_at_once() {
    skip_unless!(Need::Xdp);
    die_on_different_ports([AF_XDP, AF_XDP]);
}

#[test]
fn af_xdp_and_sockets_on_equal_ports_fall_silent_at_once() {
    skip_unless!(Need::Xdp);
    die_on_equal_ports([AF_XDP, SOCKET]);
}

#[test]
fn af_xdp_and_sockets_on_different_ports_fall_silent_at_once() {
    skip_unless!(Need::Xdp);
    die_on_different_ports([AF_XDP, SOCKET]);
}

#[test]
fn one_forged_packet_is_answered_once_on_the_wire() {
    skip_unless!(Need::Xdp);
    for (ports, answers) in [(EQUAL, 0), (DIFFERENT, 1)] {
        for (to, family) in ENDS.into_iter().zip(FAMILIES) {
            let mut duel = Duel::start(ports, [&[AF_XDP], &[AF_XDP]]);
            let before = duel.frames_received();
            duel.provoke(to, family, &request(44));
            // Of good packets, requests and answers; and kernels report their multicast groups, which
            // a loop would outdo in no time.
            let known = 1 + 2 * 2 * duel.good;
            let more = duel.frames_received() - before - known;
            let reports = 200;
            assert!((answers..=answers + reports).contains(&more), "{more} more");
            let [near, far] = duel.stop();
            assert_eq!(near.answered + far.answered, answers);
        }
    }
}

#[test]
fn formats_and_timescales_of_the_two_may_differ() {
    skip_unless!(Need::Xdp);
    let light: &[&str] = &["--format", "twamp-light", "--padding", "shift"];
    let ptp: &[&str] = &["--format", "stamp", "--timestamps", "ptp"];
    let mut duel = Duel::start(DIFFERENT, [&[light], &[ptp]]);
    duel.provoke_in_every_way();
    for tally in duel.stop() {
        tally.is(8 + 4 + 4, 0, 8 + 4);
    }
}

#[test]
fn one_guarded_reflector_is_enough() {
    skip_unless!(Need::Xdp);
    let mut duel = Duel::start(EQUAL, [&[UNGUARDED], &[AF_XDP]]);
    duel.provoke_in_every_way();
    let [near, far] = duel.stop();
    // 12 forged packets were sent to either; the near one answers those that it was sent.
    near.is(12, 0, 0);
    far.is(0, 12 + 12, 0);

    let mut duel = Duel::start(DIFFERENT, [&[UNGUARDED], &[AF_XDP]]);
    duel.provoke_in_every_way();
    let [near, far] = duel.stop();
    // Those without a timestamp to the near one: answered by it, by the far one, by it again. All those
    // to the far one: answered by it, and by the near one.
    near.is(8 + 2 * 4 + 12, 0, 0);
    far.is(4 + 12, 0, 12 + 12);
}

#[test]
fn either_guard_is_enough_on_equal_ports() {
    skip_unless!(Need::Xdp);
    let by_ports: &[&str] = &["--loop-guard-replies", "off"];
    let mut duel = Duel::start(EQUAL, [&[by_ports], &[by_ports, SOCKET]]);
    duel.provoke_in_every_way();
    for tally in duel.stop() {
        tally.is(0, 12, 0);
    }
    let by_looks: &[&str] = &["--loop-guard-ports", "off"];
    let mut duel = Duel::start(EQUAL, [&[by_looks], &[by_looks, SOCKET]]);
    duel.provoke_in_every_way();
    for tally in duel.stop() {
        tally.is(8 + 4 + 4, 0, 8 + 4);
    }
}

#[test]
fn sessions_provisioned_with_each_other_on_equal_ports_do_not_loop() {
    skip_unless!(Need::Xdp);
    // Each is the other's peer by address and port, which the port guard must leave alone.
    // A second listener answers the good packets that tell when to look.
    let peers = [
        "peer=10.86.2.2:862,peer=[fd00:862::2]:862",
        "peer=10.86.2.1:862,peer=[fd00:862::1]:862",
    ];
    let arena = Arena::new();
    let reflectors = ENDS.map(|end| {
        let session = format!("port=862,{}", peers[end]);
        let options = ["--listener", &session, "--listener", "port=8000"];
        Reflector::start(arena.end(end), &options)
    });
    let mut good = 0;
    for family in FAMILIES {
        for to in ENDS {
            let frame = arena.frame(to, family, 862, 862);
            arena.send(to, &frame.payload(&request(44)));
            good += arena.settle(to, family, [8000, 8000]);
        }
    }
    for tally in reflectors.map(|reflector| Tally::of(reflector.stop(), good)) {
        tally.is(2, 0, 2);
    }
}

/// Without guards the same packet goes round until somebody stops it: what the tests above would see.
fn go_round(ports: [u16; 2], options: [&[&[&str]]; 2], family: Family) {
    const TURNS: u64 = 2_000;
    let duel = Duel::start(ports, options);
    let before = duel.frames_received();
    duel.forge(NEAR, family, &request(44));
    wait_until("the packet goes round", DEFAULT_TIMEOUT, || {
        duel.frames_received() - before > TURNS
    });
    let [near, far] = duel.stop();
    near.is(near.answered, 0, 0);
    far.is(far.answered, 0, 0);
    assert!(near.answered + far.answered > TURNS / 2, "{near:?} {far:?}");
}

#[test]
fn without_guards_two_over_af_xdp_go_round() {
    skip_unless!(Need::Xdp);
    go_round(EQUAL, [&[UNGUARDED], &[UNGUARDED]], Family::V4);
    let stateful = [UNGUARDED, STATEFUL];
    go_round(DIFFERENT, [&stateful, &stateful], Family::V6);
}

#[test]
fn without_guards_af_xdp_and_sockets_go_round() {
    skip_unless!(Need::Xdp);
    let sockets = [UNGUARDED, SOCKET];
    go_round(EQUAL, [&[UNGUARDED], &sockets], Family::V6);
    go_round(DIFFERENT, [&[UNGUARDED], &sockets], Family::V4);
}
