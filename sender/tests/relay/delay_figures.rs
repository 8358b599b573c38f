//! Delays, what they contain, and what IP headers tell.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::reflector::{Format, Layout, Stamps};
use testbed::{Direction, Fate, Need, ReflectorConfig, RelayConfig, skip_unless};

use crate::delays::{self, TAI, UTC};
use crate::oracle::check;
use crate::scene::{BOTH, Ip, Run, Scene, Transport};

const HOUR: i64 = 3_600_000_000_000;
const OPTIONS: [&str; 4] = ["--count", "400", "--rate", "2000"];

/// Runs against a reflector like this and checks what does not depend on it.
fn measure(transport: Transport, config: ReflectorConfig, more: &[&str]) -> Run {
    let scene = Scene::new(config, |_| Fate::pass());
    let run = scene.run(transport, &[&OPTIONS[..], more].concat());
    let figures = check(&run);
    assert_eq!((figures.lost, figures.invalid), (0, 0));
    run
}

#[test]
fn every_figure_of_delay_follows_from_the_rows() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for ip in [Ip::V4, Ip::V6] {
            let config = ReflectorConfig::default();
            let scene = Scene::with(ip, &RelayConfig::default(), config, |packet| {
                let delay = Duration::from_micros(u64::from(packet.sequence * 37 % 11) * 500);
                match (packet.direction, packet.sequence % 40) {
                    (Direction::Forward, 9) | (Direction::Backward, 20) => Fate::lose(),
                    (Direction::Backward, 25) => Fate::pass().after_sequence(packet.sequence + 2),
                    (Direction::Backward, 30) => Fate::duplicate(1),
                    (Direction::Forward, _) => Fate::pass().after(delay),
                    _ => Fate::pass(),
                }
            });
            let options = ["--sessions", "3", "--count", "1200", "--rate", "2000"];
            let run = scene.run(transport, &options);
            let figures = check(&run);
            assert!(figures.reordered > 0 && figures.lost > 0, "{figures:?}");
            delays::check(&run, UTC);
            assert_eq!(*run.value("rtt_ns/count"), figures.received);
            let stamped = match transport {
                Transport::Socket => "t4/kernel_replies",
                Transport::AfXdp => "t4/xdp_replies",
            };
            assert_eq!(*run.value(stamped), figures.received, "{:#}", run.report);
        }
    }
}

#[test]
fn time_in_the_reflector_is_not_part_of_the_round_trip() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let config = ReflectorConfig {
            stamps: Stamps::Residence(Duration::from_millis(20)),
            ..ReflectorConfig::default()
        };
        let run = measure(transport, config, &[]);
        delays::check(&run, UTC);
        let residence = run.number("residence_ns/min")..=run.number("residence_ns/max");
        assert!(
            (19_999_999..=20_000_001).contains(residence.start()),
            "{residence:?}"
        );
        assert!(
            (19_999_999..=20_000_001).contains(residence.end()),
            "{residence:?}"
        );
        for row in &run.rows {
            let away = row.t4_ns.unwrap() - row.t1_ns;
            assert!(away > 20_000_000 && row.rtt_ns.unwrap() < away, "{row:?}");
        }
    }
}

#[test]
fn the_offset_of_the_clocks_is_in_both_one_way_delays_and_not_in_the_round_trip() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for offset in [HOUR, -HOUR] {
            let config = ReflectorConfig {
                clock_offset: offset,
                ..ReflectorConfig::default()
            };
            let run = measure(transport, config, &[]);
            delays::check(&run, UTC);
            // Both ends read one clock, so that the true delays are short and not negative.
            let short = 0..HOUR / 2;
            for key in ["min", "p50", "max"] {
                let number = |name| run.number(&format!("{name}/{key}"));
                let slack = HOUR / 1000;
                assert!((-slack..HOUR / 2).contains(&(number("forward_ns") - offset)));
                assert!((-slack..HOUR / 2).contains(&(number("backward_ns") + offset)));
                assert!(short.contains(&number("rtt_ns")), "{:#}", run.report);
            }
            assert_eq!(run.number("forward_ns/count"), 400);
        }
    }
}

#[test]
fn a_reflector_that_counts_tai_is_understood_and_told() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let config = ReflectorConfig {
            format: Format::Ptp,
            error_estimate: 0x8001,
            ..ReflectorConfig::default()
        };
        let run = measure(transport, config, &[]);
        delays::check(&run, TAI);
        assert!(
            run.warnings().contains(&"ptp_epoch"),
            "{:?}",
            run.warnings()
        );
        assert_eq!(*run.value("sync/one_way_trusted"), false);
        assert!(run.number("forward_ns/min") >= 36_900_000_000);
        assert!(run.number("rtt_ns/max") < 36_000_000_000);
    }
}

#[test]
fn a_residence_below_zero_is_reported_as_it_is() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let config = ReflectorConfig {
            stamps: Stamps::Backwards(Duration::from_millis(3)),
            ..ReflectorConfig::default()
        };
        let run = measure(transport, config, &[]);
        delays::check(&run, UTC);
        assert!((-3_000_001..=-2_999_999).contains(&run.number("residence_ns/max")));
        assert!(
            run.warnings().contains(&"residence_negative"),
            "{:?}",
            run.warnings()
        );
    }
}

#[test]
fn replies_without_stamps_give_round_trips_only() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let zero = ReflectorConfig {
            stamps: Stamps::Zero,
            ..ReflectorConfig::default()
        };
        assert_echo_only(&measure(transport, zero, &[]));
        for size in ["14", "44", "100"] {
            let config = ReflectorConfig {
                echo: true,
                ..ReflectorConfig::default()
            };
            let relay = RelayConfig {
                reply_sequence_offset: 0,
                ..RelayConfig::default()
            };
            let scene = Scene::with(Ip::V4, &relay, config, |packet| match packet.sequence {
                7 if packet.direction == Direction::Backward => Fate::lose(),
                9 if packet.direction == Direction::Backward => Fate::duplicate(1),
                _ => Fate::pass(),
            });
            let options = [&OPTIONS[..], &["--size", size]].concat();
            let run = scene.run(transport, &options);
            let figures = check(&run);
            assert_eq!((figures.lost, figures.duplicates), (1, 1));
            assert_echo_only(&run);
        }
    }
}

fn assert_echo_only(run: &Run) {
    delays::check_distributions(run);
    assert!(
        run.warnings().contains(&"echo_only"),
        "{:?}",
        run.warnings()
    );
    for name in [
        "forward_ns",
        "backward_ns",
        "residence_ns",
        "sync/one_way_trusted",
    ] {
        assert_eq!(*run.value(name), Value::Null, "{name}");
    }
    for row in run.rows.iter().filter(|row| row.event != "lost") {
        let Some(t4) = row.t4_ns else {
            panic!("{row:?}")
        };
        assert_eq!(row.rtt_ns, Some(t4 - row.t1_ns));
        assert_eq!((row.t2_ns, row.t3_ns, row.forward_ns), (None, None, None));
    }
}

#[test]
fn changed_dscp_ecn_and_ttl_are_seen_on_both_ways() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for ip in [Ip::V4, Ip::V6] {
            let config = ReflectorConfig {
                layout: Layout::DscpEcn,
                ..ReflectorConfig::default()
            };
            let scene = Scene::with(ip, &RelayConfig::default(), config, |packet| {
                match (packet.direction, packet.sequence % 4) {
                    // A router bleaches some and marks congestion on others.
                    (Direction::Forward, 0) => Fate::pass().tos(0).ttl(250),
                    (Direction::Forward, 1) => Fate::pass().tos(0xbb).ttl(251),
                    (Direction::Backward, 2) => Fate::pass().tos(0x28).ttl(60),
                    (Direction::Backward, 3) => Fate::pass().ttl(120),
                    _ => Fate::pass(),
                }
            });
            let header = ["--dscp", "ef", "--ecn", "ect0", "--dscp-report"];
            let run = scene.run(transport, &[&OPTIONS[..], &header].concat());
            assert_eq!(check(&run).lost, 0);
            assert_eq!(*run.value("tos"), 0xba);
            let counts = |name: &str| -> Vec<(i64, i64)> {
                let counts = run.value(name).as_array().unwrap();
                let count = |entry: &Value, key: &str| entry[key].as_i64().unwrap();
                (counts
                    .iter()
                    .map(|one| (count(one, "value"), count(one, "replies"))))
                .collect()
            };
            assert_eq!(counts("tos_forward"), [(0, 100), (0xba, 200), (0xbb, 100)]);
            // The reflector answers with the DSCP it saw, and ECN 0.
            assert_eq!(counts("tos_backward"), [(0, 100), (0x28, 100), (0xb8, 200)]);
            assert_eq!(counts("hops_forward"), [(0, 200), (4, 100), (5, 100)]);
            assert_eq!(counts("hops_backward"), [(0, 200), (4, 100), (8, 100)]);
            for row in &run.rows {
                let (ttl, tos) = match row.sequence % 4 {
                    0 => (255, 0),
                    1 => (255, 0xb8),
                    2 => (60, 0x28),
                    _ => (120, 0xb8),
                };
                assert_eq!((row.ttl, row.tos), (Some(ttl), Some(tos)), "{row:?}");
            }
        }
    }
}

#[test]
fn what_a_reflector_says_of_its_clock_is_passed_on() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        // Scale 20 and Multiplier 3: 3 * 2^20 * 2^-32 s (RFC 4656 section 4.1.2).
        for (estimate, synchronised) in [(0x9403_u16, true), (0x1403, false)] {
            let config = ReflectorConfig {
                error_estimate: estimate,
                ..ReflectorConfig::default()
            };
            let run = measure(transport, config, &[]);
            assert_eq!(*run.value("sync/reflector"), synchronised);
            let ours = run.value("sync/sender").as_bool().unwrap();
            assert_eq!(*run.value("sync/one_way_trusted"), ours && synchronised);
            let error = run.number("sync/reflector_error_ns");
            assert!((732_421..=732_422).contains(&error), "{error}");
            let both = run.number("sync/sender_error_ns") + error;
            assert_eq!(*run.value("sync/one_way_error_ns"), json!(both));
        }
        let config = ReflectorConfig {
            error_estimate: 0x8000,
            ..ReflectorConfig::default()
        };
        let run = measure(transport, config, &[]);
        assert!(
            run.warnings().contains(&"error_unknown"),
            "{:?}",
            run.warnings()
        );
    }
}
