//! Our own sender against the reflector, with losses on the way: what a stateful listener lets it tell.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use testbed::relay::TestPacket;
use testbed::{DEFAULT_TIMEOUT, Direction, Fate, Need, Relay, RelayConfig, skip_unless};

use crate::common::Reflector;
use crate::rig::{BOTH, Ip, PORT};

const STATELESS: u16 = 900;

/// Loses every eleventh request and every seventh reply.
fn lossy(packet: &TestPacket) -> Fate {
    let lost = match packet.direction {
        Direction::Forward => packet.sequence % 11 == 3,
        Direction::Backward => packet.sequence % 7 == 5,
    };
    if lost { Fate::lose() } else { Fate::pass() }
}

/// The last one, 297, is not lost: a packet's fate is told by what comes after it.
const COUNT: u32 = 298;

/// What the sender reports of [`COUNT`] packets to this port.
fn measure(relay: &Relay, ip: Ip, port: u16, options: &[&str]) -> Value {
    let end = &relay.veth.reflector;
    let target = match ip {
        Ip::V4 => SocketAddr::V4(end.socket_v4(port)),
        Ip::V6 => SocketAddr::V6(end.socket_v6(port)),
    };
    let mut command = Command::new(testbed::binary("sender").unwrap());
    command
        .args([&target.to_string(), "--json", "-"])
        .args([
            "--count",
            &COUNT.to_string(),
            "--rate",
            "2000",
            "--timeout",
            "1s",
        ])
        .args(options);
    let mut sender = relay.veth.sender.namespace.spawn(&mut command).unwrap();
    let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert!(status.success(), "{status}: {}", sender.stderr());
    assert_eq!(relay.kernel_drops().unwrap(), 0, "lost by the kernel");
    serde_json::from_str(&sender.stdout()).unwrap()
}

#[test]
fn a_stateful_listener_lets_our_sender_tell_the_directions_of_loss() {
    skip_unless!(Need::Xdp);
    let config = RelayConfig {
        ports: vec![PORT, STATELESS],
        ..RelayConfig::default()
    };
    let relay = Relay::with(&config, lossy).unwrap();
    let listeners = ["--listener", "sequence=stateful", "--listener", "port=900"];
    let reflector = Reflector::start(&relay.veth.reflector, &listeners);

    let there = |number: &u32| number % 11 == 3;
    let back = |number: &u32| !there(number) && number % 7 == 5;
    let forward = (0..COUNT).filter(there).count();
    let backward = (0..COUNT).filter(back).count();
    let told = json!({
        "forward": forward,
        "backward": backward,
        "undecided": 0,
        "reflector_restarts": 0,
    });
    for ip in BOTH {
        let report = measure(&relay, ip, PORT, &[]);
        assert_eq!(report["sent"], COUNT, "{report}");
        assert_eq!(report["lost"], forward + backward, "{report}");
        assert_eq!(report["loss_by_direction"], told, "{report}");
    }

    // A listener that copies the number knows nothing of its own.
    let report = measure(&relay, Ip::V4, STATELESS, &[]);
    assert_eq!(report["lost"], forward + backward, "{report}");
    assert_eq!(report["loss_by_direction"], Value::Null, "{report}");

    // Nothing but losses on the way back: the numbers are alike then, and prove nothing.
    relay.set_script(|packet| match packet.direction {
        Direction::Backward if packet.sequence % 7 == 5 => Fate::lose(),
        _ => Fate::pass(),
    });
    let report = measure(&relay, Ip::V6, PORT, &["--stateful"]);
    let lost = (0..COUNT).filter(|number| number % 7 == 5).count();
    let told = json!({
        "forward": 0,
        "backward": lost,
        "undecided": 0,
        "reflector_restarts": 0,
    });
    assert_eq!(report["loss_by_direction"], told, "{report}");

    let summary = reflector.stop();
    let answered = u64::try_from(4 * COUNT as usize - 3 * forward).unwrap();
    assert_eq!(summary.row("total"), [answered, answered, 0]);
}
