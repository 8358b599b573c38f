//! Our reflector and stamp-suite's, which answers whatever comes.

use std::process::Command;

use testbed::{DEFAULT_TIMEOUT, Datagram, Need, Process, skip_unless, wait_until};

use crate::common::arena::{Arena, ENDS, FAMILIES, FAR, Family, NEAR, request, request_without_t1};
use crate::common::{Reflector, Summary};

/// Enough to be no accident.
const TURNS: u64 = 500;

/// Ours at the near end, stamp-suite at the far one.
struct Duel {
    arena: Arena,
    family: Family,
    ports: [u16; 2],
    ours: Reflector,
    theirs: Process,
}

impl Duel {
    fn start(family: Family, ports: [u16; 2], options: &[&str]) -> Self {
        let arena = Arena::new();
        let port = ports[NEAR].to_string();
        let options = [&["--port", port.as_str()], options].concat();
        let ours = Reflector::start(arena.end(NEAR), &options);
        let far = arena.end(FAR);
        let address = match family {
            Family::V4 => far.ipv4.to_string(),
            Family::V6 => far.ipv6.to_string(),
        };
        let mut command = Command::new(testbed::peer("stamp-suite").unwrap());
        command.args(["--is-reflector", "--local-addr", &address]);
        command.args(["--local-port", &ports[FAR].to_string()]);
        let theirs = far.start(&mut command, "listening").unwrap();
        Self {
            arena,
            family,
            ports,
            ours,
            theirs,
        }
    }

    /// Sends one packet to `to` as if the other reflector had sent it.
    fn forge(&self, to: usize, payload: &[u8]) {
        let (from, port) = (self.ports[1 - to], self.ports[to]);
        let frame = self.arena.frame(to, self.family, from, port);
        self.arena.send(to, &frame.payload(payload));
    }

    /// Stops ours first: what is on the wire ends there.
    fn stop(self) -> Summary {
        let Self { ours, theirs, .. } = self;
        let summary = ours.stop();
        drop(theirs);
        summary
    }

    /// Packets that came to stamp-suite from our port, as a raw socket beside it sees them.
    fn seen_by_theirs(&self) -> u64 {
        let raw = &self.arena.raw[FAR];
        let from_us = |frame: &[u8]| {
            Datagram::parse(frame).is_ok_and(|it| {
                (it.source.port(), it.destination.port()) == (self.ports[NEAR], self.ports[FAR])
            })
        };
        let one = || {
            raw.recv_matching(from_us, std::time::Duration::ZERO)
                .unwrap()
        };
        std::iter::from_fn(one).count().try_into().unwrap()
    }
}

#[test]
fn our_guards_end_every_loop_with_stamp_suite() {
    skip_unless!(Need::Xdp, Need::Peer("stamp-suite"));
    let socket: &[&str] = &["--datapath", "socket", "--socket-workers", "1"];
    for options in [
        &["--sequence", "stateless"],
        &["--sequence", "stateful"],
        socket,
    ] {
        for family in FAMILIES {
            for ports in [[862, 862], [862, 8620]] {
                die(family, ports, options);
            }
        }
    }
}

fn die(family: Family, ports: [u16; 2], options: &[&str]) {
    let duel = Duel::start(family, ports, options);
    let [mut good, mut forged] = [0; 2];
    let mut answers = 0;
    for to in ENDS {
        for payload in [request(44), request(100), request_without_t1(44)] {
            let has_t1 = payload[4] != 0;
            duel.forge(to, &payload);
            good += duel.arena.settle(to, family, ports);
            forged += 1;
            // On different ports we answer the first packet, if it comes to us or it does not look like an
            // answer: stamp-suite's to a request without T1.
            let may_be_answered = ports[NEAR] != ports[FAR] && (to == NEAR || !has_t1);
            answers += u64::from(may_be_answered);
        }
    }
    let what = format!("{family:?} {ports:?} {options:?}");
    let summary = duel.stop();
    let by_ports =
        summary.count("a listener's port as source") + summary.count("source port is a listener's");
    let by_looks = summary.count("looks like a reply");
    assert_eq!(summary.answered() - good, answers, "{what}\n{}", summary.0);
    let guarded = if ports[NEAR] == ports[FAR] {
        [forged, 0]
    } else {
        [0, forged]
    };
    assert_eq!([by_ports, by_looks], guarded, "{what}\n{}", summary.0);
}

#[test]
fn without_our_guards_a_packet_goes_round_with_stamp_suite() {
    skip_unless!(Need::Xdp, Need::Peer("stamp-suite"));
    let unguarded = ["--loop-guard-ports", "off", "--loop-guard-replies", "off"];
    for ports in [[862, 862], [862, 8620]] {
        let duel = Duel::start(Family::V4, ports, &unguarded);
        duel.forge(NEAR, &request(44));
        let mut seen = 0;
        wait_until("the packet goes round", DEFAULT_TIMEOUT, || {
            seen += duel.seen_by_theirs();
            seen > TURNS
        });
        let summary = duel.stop();
        assert!(summary.row("total")[1] > TURNS, "{}", summary.0);
    }
}
