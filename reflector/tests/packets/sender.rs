//! Our own sender against the reflector, with losses on the way: what a stateful listener lets it tell.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use testbed::relay::TestPacket;
use testbed::{DEFAULT_TIMEOUT, Direction, Fate, Need, Process, Relay, RelayConfig, skip_unless};

use crate::common::Reflector;
use crate::rig::{BOTH, Ip, PORT};

/// Also stateful; nothing is lost on the way there.
const ONE_WAY: u16 = 900;
const STATELESS: u16 = 901;

/// The last one, 297, is not lost: a packet's fate is told by what comes after it.
const COUNT: u32 = 298;

fn lost_there(sequence: u32) -> bool {
    sequence % 11 == 3
}

fn lost_back(sequence: u32) -> bool {
    sequence % 7 == 5
}

fn script(packet: &TestPacket) -> Fate {
    let lost = match packet.direction {
        Direction::Forward if packet.session.reflector.port() == ONE_WAY => false,
        Direction::Forward => lost_there(packet.sequence),
        Direction::Backward => lost_back(packet.sequence),
    };
    if lost { Fate::lose() } else { Fate::pass() }
}

fn start(relay: &Relay, ip: Ip, port: u16, options: &[&str]) -> Process {
    let end = &relay.veth.reflector;
    let target = match ip {
        Ip::V4 => SocketAddr::V4(end.socket_v4(port)),
        Ip::V6 => SocketAddr::V6(end.socket_v6(port)),
    };
    let mut command = Command::new(testbed::binary("sender").unwrap());
    command
        .args([&target.to_string(), "--transport", "socket", "--json", "-"])
        // Long enough for a machine that has other things to do.
        .args([
            "--count",
            &COUNT.to_string(),
            "--rate",
            "500",
            "--timeout",
            "5s",
        ])
        .args(options);
    relay.veth.sender.namespace.spawn(&mut command).unwrap()
}

/// What the sender reports in the end.
fn report(mut sender: Process) -> Value {
    let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert!(status.success(), "{status}: {}", sender.stderr());
    serde_json::from_str(&sender.stdout()).unwrap()
}

#[test]
fn a_stateful_listener_lets_our_sender_tell_the_directions_of_loss() {
    skip_unless!(Need::Xdp);
    let config = RelayConfig {
        ports: vec![PORT, ONE_WAY, STATELESS],
        ..RelayConfig::default()
    };
    let relay = Relay::with(&config, script).unwrap();
    let listeners = [
        "sequence=stateful",
        "port=900,sequence=stateful",
        "port=901",
    ];
    let listeners = listeners.map(|spec| ["--listener", spec]).concat();
    let reflector = Reflector::start(&relay.veth.reflector, &listeners);

    // All at once, as each waits for what is lost until its timeout.
    let stateful = BOTH.map(|ip| start(&relay, ip, PORT, &[]));
    // The numbers of both sides are alike then, and prove nothing.
    let one_way = start(&relay, Ip::V6, ONE_WAY, &["--stateful"]);
    let stateless = start(&relay, Ip::V4, STATELESS, &[]);

    let forward = (0..COUNT).filter(|&number| lost_there(number)).count();
    let backward = (0..COUNT).filter(|&number| lost_back(number)).count();
    let both = (0..COUNT).filter(|&number| lost_there(number) && lost_back(number));
    let backward_of_those_answered = backward - both.count();
    let lost = forward + backward_of_those_answered;
    let told = |forward, backward| {
        json!({
            "forward": forward,
            "backward": backward,
            "undecided": 0,
            "reflector_restarts": 0,
        })
    };
    for sender in stateful {
        let report = report(sender);
        assert_eq!(
            (&report["sent"], &report["lost"]),
            (&json!(COUNT), &json!(lost))
        );
        let expected = told(forward, backward_of_those_answered);
        assert_eq!(report["loss_by_direction"], expected, "{report}");
    }
    let report_of_one_way = report(one_way);
    assert_eq!(report_of_one_way["lost"], backward);
    assert_eq!(report_of_one_way["loss_by_direction"], told(0, backward));
    // A listener that copies the number knows nothing of its own.
    let report_of_stateless = report(stateless);
    assert_eq!(report_of_stateless["lost"], lost);
    assert_eq!(report_of_stateless["loss_by_direction"], Value::Null);

    assert_eq!(relay.kernel_drops().unwrap(), 0, "lost by the kernel");
    let answered = u64::try_from(4 * COUNT as usize - 3 * forward).unwrap();
    assert_eq!(reflector.stop().row("total"), [answered, answered, 0]);
}
