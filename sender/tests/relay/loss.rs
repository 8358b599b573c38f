//! Loss, by direction where the reflector counts.

use serde_json::{Value, json};
use testbed::relay::TestPacket;
use testbed::{DEFAULT_TIMEOUT, Direction, Fate, Need, ReflectorConfig, RelayConfig, skip_unless};

use crate::oracle::{check, check_directions, check_no_directions};
use crate::scene::{BOTH, Ip, Scene, stateful};

/// Loses these numbers in that direction.
fn losing(direction: Direction, lost: &'static [u32]) -> impl FnMut(&TestPacket) -> Fate + Send {
    move |packet| {
        if packet.direction == direction && lost.contains(&packet.sequence) {
            Fate::lose()
        } else {
            Fate::pass()
        }
    }
}

const OPTIONS: [&str; 4] = ["--count", "500", "--rate", "2000"];

#[test]
fn losses_on_the_way_there_are_forward_losses() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let lost = &[0, 7, 100, 101, 102, 400];
        let scene = Scene::new(stateful(), losing(Direction::Forward, lost));
        let run = scene.run(transport, &OPTIONS);
        assert!(run.stdout.contains("\nlost "), "{}", run.stdout);
        let figures = check(&run);
        assert_eq!(
            (figures.lost, figures.loss_runs, figures.loss_run_max),
            (6, 4, 3)
        );
        assert_eq!(
            (figures.forward, figures.backward, figures.undecided),
            (6, 0, 0)
        );
        check_directions(&run, &figures, 0);
    }
}

#[test]
fn losses_on_the_way_back_are_backward_losses() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for ip in [Ip::V4, Ip::V6] {
            let lost = &[1, 2, 250, 498];
            let script = losing(Direction::Backward, lost);
            let scene = Scene::with(ip, &RelayConfig::default(), stateful(), script);
            // Nothing in the numbers proves that this reflector counts: it missed none.
            let mut options = OPTIONS.to_vec();
            options.push("--stateful");
            let run = scene.run(transport, &options);
            let figures = check(&run);
            assert_eq!(
                (figures.lost, figures.loss_runs, figures.loss_run_max),
                (4, 3, 2)
            );
            assert_eq!(
                (figures.forward, figures.backward, figures.undecided),
                (0, 4, 0)
            );
            check_directions(&run, &figures, 0);
        }
    }
}

#[test]
fn losses_both_ways_are_told_apart_and_the_tail_is_undecided() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), |packet| {
            let lost = match packet.direction {
                Direction::Forward => packet.sequence % 11 == 3 || packet.sequence >= 495,
                Direction::Backward => packet.sequence % 7 == 5 || packet.sequence >= 490,
            };
            if lost { Fate::lose() } else { Fate::pass() }
        });
        let run = scene.run(transport, &OPTIONS);
        let figures = check(&run);
        assert_eq!(figures.undecided, 10, "490 to 499");
        assert!(figures.forward > 0 && figures.backward > 0);
        let told = figures.forward + figures.backward + figures.undecided;
        assert_eq!(told, figures.lost);
        check_directions(&run, &figures, 0);
    }
}

#[test]
fn a_stateless_reflector_tells_no_directions() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let lost = &[3, 4, 90];
        let config = ReflectorConfig::default();
        let scene = Scene::new(config, losing(Direction::Forward, lost));
        let run = scene.run(transport, &OPTIONS);
        assert_eq!(check(&run).lost, 3);
        check_no_directions(&run);
    }
}

#[test]
fn a_restarted_reflector_is_noticed_and_its_losses_still_told_apart() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let config = ReflectorConfig {
            restart_at: Some(200),
            ..stateful()
        };
        let scene = Scene::new(config, |packet| match (packet.direction, packet.sequence) {
            (Direction::Forward, 20 | 300 | 301) | (Direction::Backward, 30 | 400) => Fate::lose(),
            _ => Fate::pass(),
        });
        let run = scene.run(transport, &OPTIONS);
        let figures = check(&run);
        assert_eq!((figures.forward, figures.backward), (3, 2));
        check_directions(&run, &figures, 1);
    }
}

#[test]
fn nothing_answered_is_an_error_and_still_reported() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), |packet| match packet.direction {
            Direction::Forward => Fate::pass(),
            Direction::Backward => Fate::lose(),
        });
        let options = ["--count", "50", "--rate", "1000", "--timeout", "200ms"];
        let run = scene.run_to_end(transport, &options);
        assert_eq!(run.status, Some(1));
        let figures = check(&run);
        assert_eq!(
            (figures.lost, figures.loss_runs, figures.loss_run_max),
            (50, 1, 50)
        );
        check_no_directions(&run);
        assert_eq!(run.report["rtt_ns"], Value::Null);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn a_reflector_that_remembers_the_last_run_does_not_spoil_this_one() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), |packet| {
            match (packet.direction, packet.sequence) {
                (Direction::Forward, 20 | 21) | (Direction::Backward, 30) => Fate::lose(),
                _ => Fate::pass(),
            }
        });
        let options = ["--source-port", "5000", "--count", "100", "--rate", "1000"];
        for _ in 0..3 {
            let mut sender = scene.start(transport, &options);
            let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
            assert!(status.success(), "{}", sender.stderr());
            let json = std::fs::read_to_string(scene.path("json")).unwrap();
            let report: Value = serde_json::from_str(&json).unwrap();
            let expected = json!({
                "forward": 2, "backward": 1, "undecided": 0, "reflector_restarts": 0,
            });
            assert_eq!(report["loss_by_direction"], expected, "{report:#}");
        }
    }
}
