//! The sender over a veth pair, against our reflector and against stamp-suite.
//!
//! ```text
//!   reflector, or stamp-suite │ veth-r ◄──► veth-s │ sender
//! ```

#![cfg(test)]

use std::process::Command;

use serde_json::{Value, json};
use testbed::peers::reflected_by_queue;
use testbed::{DEFAULT_TIMEOUT, Need, Signal, Veth, VethConfig, skip_unless};

/// Runs the sender to its successful end and returns its report.
fn measure(veth: &Veth, target: &str, options: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sender"));
    command.args([target, "--json", "-"]).args(options);
    let mut sender = veth.sender.namespace.spawn(&mut command).unwrap();
    let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert!(status.success(), "{status}: {}", sender.stderr());
    serde_json::from_str(&sender.stdout()).unwrap()
}

/// Nothing is lost or odd on an unloaded pair, and the four timestamps are in order: both ends read
/// one clock, so one-way delays are positive.
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
    for delay in ["rtt_ns", "forward_ns", "backward_ns", "residence_ns"] {
        let min = report[delay]["min"].as_i64().unwrap();
        assert!(min >= 0, "{delay} of {report:#}");
    }
}

#[test]
fn measures_our_reflector_over_both_ip_versions() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    let _reflector = veth.reflector.start_reflector(&[]).unwrap();
    for target in [
        veth.reflector.ipv4.to_string(),
        format!("[{}]:862", veth.reflector.ipv6),
    ] {
        for size in ["14", "44", "1452"] {
            let options = ["--count", "200", "--rate", "2000", "--size", size];
            let report = measure(&veth, &target, &options);
            assert_clean(&report, 200);
            assert_eq!(report["t4"]["kernel_replies"], 200, "{report:#}");
            // Neighbours: both TTLs arrive as they left.
            for hops in ["hops_forward", "hops_backward"] {
                assert_eq!(
                    report[hops],
                    json!([{"value": 0, "replies": 200}]),
                    "{report:#}"
                );
            }
        }
    }
}

#[test]
fn every_kind_of_packet_is_measured_by_our_reflector() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    let _reflector = veth.reflector.start_reflector(&[]).unwrap();
    let target = veth.reflector.ipv4.to_string();
    let common = ["--count", "100", "--rate", "1000"];
    for options in [
        &["--format", "ptp"][..],
        &["--stamp", "--sessions", "3"],
        &["--padding", "random", "--size", "500", "--df"],
        &["--dscp", "ef", "--ecn", "ect0", "--ttl", "9"],
        &["--schedule", "poisson", "--burst", "4"],
        &["--interface", veth.sender.interface],
    ] {
        let options: Vec<_> = common.iter().chain(options).copied().collect();
        assert_clean(&measure(&veth, &target, &options), 100);
    }
}

#[test]
fn a_packet_that_may_not_be_fragmented_and_does_not_fit_is_refused() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    for target in [
        veth.reflector.ipv4.to_string(),
        veth.reflector.ipv6.to_string(),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sender"));
        command.args([&target, "--size", "1473", "--df", "--count", "5"]);
        let mut sender = veth.sender.namespace.spawn(&mut command).unwrap();
        assert_eq!(sender.wait_exit(DEFAULT_TIMEOUT).unwrap().code(), Some(1));
        let stderr = sender.stderr();
        assert!(stderr.contains("Message too long"), "{stderr}");
        assert!(stderr.contains("lower --size"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn sessions_spread_over_the_queues_of_our_reflector() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::with(&VethConfig {
        queues: 4,
        ..VethConfig::default()
    })
    .unwrap();
    let mut reflector = veth.reflector.start_reflector(&["--queues", "4"]).unwrap();
    let target = veth.reflector.ipv4.to_string();
    let options = ["--sessions", "64", "--count", "6400", "--rate", "10000"];
    assert_clean(&measure(&veth, &target, &options), 6400);

    reflector.signal(Signal::SIGTERM).unwrap();
    reflector.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let summary = reflector.stdout();
    let reflected = reflected_by_queue(&summary);
    assert_eq!(reflected.len(), 4, "{summary}");
    assert!(reflected.iter().all(|&count| count > 0), "{summary}");
    assert_eq!(reflected.iter().sum::<u64>(), 6400, "{summary}");
}

#[test]
fn measures_stamp_suite() {
    skip_unless!(Need::NetworkNamespace, Need::Peer("stamp-suite"));
    let veth = Veth::new().unwrap();
    for (address, target) in [
        (
            veth.reflector.ipv4.to_string(),
            veth.reflector.ipv4.to_string(),
        ),
        (
            veth.reflector.ipv6.to_string(),
            format!("[{}]", veth.reflector.ipv6),
        ),
    ] {
        let _reflector = veth.reflector.start_stamp_suite(&address, &[]).unwrap();
        for size in ["14", "44", "100", "3000"] {
            let options = ["--count", "100", "--rate", "1000", "--size", size];
            assert_clean(&measure(&veth, &target, &options), 100);
        }
    }
}

#[test]
fn an_address_where_nobody_lives_is_named() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sender"));
    // Only after three unanswered ARP requests, a second apart, does this end of the pair say that
    // nobody has the address.
    command.args(["10.86.2.99", "--count", "20", "--rate", "5"]);
    let mut sender = veth.sender.namespace.spawn(&mut command).unwrap();
    assert_eq!(sender.wait_exit(DEFAULT_TIMEOUT).unwrap().code(), Some(1));
    let stderr = sender.stderr();
    let expected = "no reply from 10.86.2.99:862: the network reports host unreachable (ICMP)";
    assert!(stderr.contains(expected), "{stderr}");
}
