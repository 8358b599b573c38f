//! The sender against reflectors of flesh and blood, over both transports: our own, stamp-suite in
//! its modes, and a plain UDP echo.
//!
//! ```text
//!   reflector, stamp-suite or echo │ veth-r ◄──► veth-s │ sender
//! ```

#![cfg(test)]

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use testbed::peers::reflected_by_queue;
use testbed::{
    DEFAULT_TIMEOUT, Need, ReflectorConfig, ScriptedReflector, Signal, Veth, VethConfig,
    skip_unless,
};

const BOTH: [&str; 2] = ["socket", "af-xdp"];

/// Both addresses of the reflector: as the reflector and as the sender are told.
fn addresses(veth: &Veth) -> [(String, String); 2] {
    let [ipv4, ipv6] = [
        veth.reflector.ipv4.to_string(),
        veth.reflector.ipv6.to_string(),
    ];
    let target = format!("[{ipv6}]");
    [(ipv4.clone(), ipv4), (ipv6, target)]
}

/// Runs the sender to its successful end and returns its report.
fn measure(veth: &Veth, target: &str, transport: &str, options: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sender"));
    command.args([target, "--transport", transport, "--json", "-", "--quiet"]);
    let mut sender = (veth.sender.namespace)
        .spawn(command.args(options))
        .unwrap();
    let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert!(status.success(), "{status}: {}", sender.stderr());
    let report: Value = serde_json::from_str(&sender.stdout()).unwrap();
    assert_eq!(report["transport"]["kind"], transport);
    report
}

/// Nothing is lost or odd on a pair without traffic, and T4 is the transport's.
fn assert_clean(report: &Value, count: u64) {
    for (name, expected) in [
        ("sent", count),
        ("received", count),
        ("lost", 0),
        ("duplicates", 0),
        ("reordered", 0),
        ("late", 0),
        ("invalid", 0),
    ] {
        assert_eq!(report[name], expected, "{name} of {report:#}");
    }
    let source = match report["transport"]["kind"].as_str() {
        Some("af-xdp") => "xdp_replies",
        _ => "kernel_replies",
    };
    assert_eq!(report["t4"][source], count, "{report:#}");
    assert_eq!(report["rtt_ns"]["count"], count);
}

/// Both ends read one clock, so the reflector's stamps lie between ours. In TWAMP a reflector stamps
/// T2 and T3 by what it has; 100 µs are left for two readings of one clock in different ways.
fn assert_stamped(report: &Value, count: u64) {
    for delay in ["forward_ns", "backward_ns", "residence_ns"] {
        assert_eq!(report[delay]["count"], count, "{delay} of {report:#}");
        let min = report[delay]["min"].as_i64().unwrap();
        assert!(min > -100_000, "{delay} of {report:#}");
    }
}

/// The directions of a run in which nothing was lost.
fn no_losses() -> Value {
    json!({"forward": 0, "backward": 0, "undecided": 0, "reflector_restarts": 0})
}

#[test]
fn our_reflector_is_measured_in_every_kind_of_packet() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let mut reflector = veth.reflector.start_reflector(&[]).unwrap();
    let common = ["--count", "200", "--rate", "2000"];
    let mut runs = 0;
    for (_, target) in addresses(&veth) {
        for transport in BOTH {
            let own = match transport {
                "af-xdp" => &["--tx-batch", "8", "--sessions", "50"][..],
                _ => &["--interface", veth.sender.interface],
            };
            for options in [
                own,
                &["--size", "14"],
                &["--size", "44"],
                &["--size", "1452"],
                &["--format", "ptp"],
                &["--stamp", "--sessions", "3"],
                &["--padding", "random", "--size", "500", "--df"],
                &["--dscp", "ef", "--ecn", "ect0", "--ttl", "9"],
                &["--schedule", "poisson", "--burst", "4"],
            ] {
                let options = [&common[..], options].concat();
                let report = measure(&veth, &target, transport, &options);
                assert_clean(&report, 200);
                assert_stamped(&report, 200);
                // Neighbours: both TTLs arrive as they left.
                let none = json!([{"value": 0, "replies": 200}]);
                assert_eq!(report["hops_forward"], none, "{report:#}");
                assert_eq!(report["hops_backward"], none, "{report:#}");
                runs += 1;
            }
        }
    }
    reflector.signal(Signal::SIGTERM).unwrap();
    reflector.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let summary = reflector.stdout();
    let total = format!("total {} {} 0", runs * 200, runs * 200);
    let said = (summary.lines())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .any(|line| line == total);
    assert!(said, "no {total:?} in\n{summary}");
}

#[test]
fn many_queues_and_sessions_are_measured_with_af_xdp_at_both_ends() {
    skip_unless!(Need::Xdp);
    let veth = Veth::with(&VethConfig::queues(3)).unwrap();
    let _reflector = veth.reflector.start_reflector(&["--queues", "3"]).unwrap();
    for (_, target) in addresses(&veth) {
        let options = "--sessions 300 --count 3000 --rate 5000 --queues 2 --per-session";
        let options: Vec<_> = options.split(' ').collect();
        let report = measure(&veth, &target, "af-xdp", &options);
        assert_clean(&report, 3000);
        assert_stamped(&report, 3000);
        assert_eq!(report["transport"]["queues"], 2);
        for session in report["per_session"].as_array().unwrap() {
            assert_eq!(
                (&session["sent"], &session["lost"]),
                (&10.into(), &0.into())
            );
        }
    }
}

#[test]
fn sessions_over_sockets_spread_over_the_queues_of_our_reflector() {
    skip_unless!(Need::Xdp);
    let veth = Veth::with(&VethConfig::queues(4)).unwrap();
    let mut reflector = veth.reflector.start_reflector(&["--queues", "4"]).unwrap();
    let (_, target) = &addresses(&veth)[0];
    let options = ["--sessions", "64", "--count", "6400", "--rate", "10000"];
    assert_clean(&measure(&veth, target, "socket", &options), 6400);

    reflector.signal(Signal::SIGTERM).unwrap();
    reflector.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let summary = reflector.stdout();
    let reflected = reflected_by_queue(&summary);
    assert_eq!(reflected.len(), 4, "{summary}");
    assert!(reflected.iter().all(|&count| count > 0), "{summary}");
    assert_eq!(reflected.iter().sum::<u64>(), 6400, "{summary}");
}

#[test]
fn stamp_suite_is_measured_in_all_sizes() {
    skip_unless!(Need::Xdp, Need::Peer("stamp-suite"));
    let veth = Veth::new().unwrap();
    for (address, target) in addresses(&veth) {
        let _reflector = veth.reflector.start_stamp_suite(&address, &[]).unwrap();
        for transport in BOTH {
            // The longest travels in fragments, which are the kernel's.
            let longest = if transport == "socket" {
                "3000"
            } else {
                "1400"
            };
            for size in ["14", "44", "100", longest] {
                let options = ["--count", "100", "--rate", "1000", "--size", size];
                let report = measure(&veth, &target, transport, &options);
                assert_clean(&report, 100);
                assert_stamped(&report, 100);
                assert_eq!(report["loss_by_direction"], Value::Null);
            }
        }
    }
}

#[test]
fn stamp_suite_that_counts_tells_losses_by_direction() {
    skip_unless!(Need::Xdp, Need::Peer("stamp-suite"));
    let veth = Veth::new().unwrap();
    for (address, target) in addresses(&veth) {
        let _reflector = veth
            .reflector
            .start_stamp_suite(&address, &["--stateful-reflector"])
            .unwrap();
        for transport in BOTH {
            let options = "--count 200 --rate 1000 --sessions 4 --stateful";
            let options: Vec<_> = options.split(' ').collect();
            let report = measure(&veth, &target, transport, &options);
            assert_clean(&report, 200);
            assert_stamped(&report, 200);
            assert_eq!(report["loss_by_direction"], no_losses(), "{report:#}");
        }
    }
}

#[test]
fn stamp_suite_answers_our_stamp_packets_with_their_identifiers() {
    skip_unless!(Need::Xdp, Need::Peer("stamp-suite"));
    let veth = Veth::new().unwrap();
    for (address, target) in addresses(&veth) {
        for mode in [&[][..], &["--stateful-reflector"]] {
            let _reflector = veth.reflector.start_stamp_suite(&address, mode).unwrap();
            for transport in BOTH {
                let options = "--stamp --ssid 862 --sessions 3 --count 150 --rate 1000";
                let mut options: Vec<_> = options.split(' ').collect();
                if !mode.is_empty() {
                    options.push("--stateful");
                }
                let report = measure(&veth, &target, transport, &options);
                assert_clean(&report, 150);
                assert_stamped(&report, 150);
                let warnings = report["warnings"].to_string();
                assert!(!warnings.contains("ssid"), "{warnings}");
                if !mode.is_empty() {
                    assert_eq!(report["loss_by_direction"], no_losses(), "{report:#}");
                }
            }
        }
    }
}

#[test]
fn stamp_suite_in_ptp_format_is_understood() {
    skip_unless!(Need::Xdp, Need::Peer("stamp-suite"));
    let veth = Veth::new().unwrap();
    let (address, target) = &addresses(&veth)[0];
    let _reflector = veth
        .reflector
        .start_stamp_suite(address, &["--clock-source", "PTP"])
        .unwrap();
    for transport in BOTH {
        for format in ["ntp", "ptp"] {
            let options = ["--count", "100", "--rate", "1000", "--format", format];
            let report = measure(&veth, target, transport, &options);
            assert_clean(&report, 100);
            for delay in ["rtt_ns", "residence_ns"] {
                assert_eq!(report[delay]["count"], 100, "{report:#}");
                let min = report[delay]["min"].as_i64().unwrap();
                assert!(min >= 0, "{delay} of {report:#}");
            }
        }
    }
}

#[test]
fn a_udp_echo_gives_round_trips_and_the_warning_that_it_is_one() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    for (address, target) in addresses(&veth) {
        for transport in BOTH {
            // Such as `socat UDP-LISTEN:862,fork EXEC:cat`.
            let config = ReflectorConfig {
                echo: true,
                ..ReflectorConfig::default()
            };
            let address = SocketAddr::new(address.parse().unwrap(), 862);
            let far = &veth.reflector.namespace;
            let echo = ScriptedReflector::start_in(far, address, config).unwrap();
            for size in ["44", "1000"] {
                let options = ["--count", "100", "--rate", "1000", "--size", size];
                let report = measure(&veth, &target, transport, &options);
                assert_clean(&report, 100);
                for delay in ["forward_ns", "backward_ns", "residence_ns"] {
                    assert_eq!(report[delay], Value::Null, "{delay} of {report:#}");
                }
                for unknown in ["loss_by_direction", "duplicates_forward"] {
                    assert_eq!(report[unknown], Value::Null, "{unknown}");
                }
                assert_eq!(report["hops_forward"], json!([]), "{report:#}");
                let warnings = report["warnings"].as_array().unwrap();
                let codes: Vec<_> = warnings.iter().map(|warning| &warning["code"]).collect();
                assert!(codes.contains(&&json!("echo_only")), "{warnings:?}");
            }
            assert_eq!(echo.reflections().len(), 200);
        }
    }
}
