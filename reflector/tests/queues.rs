//! Several receive queues: which are served, and what becomes of the others.

#![cfg(test)]

mod common;

use std::net::UdpSocket;

use common::Reflector;
use testbed::{DEFAULT_TIMEOUT, Need, Veth, VethConfig, skip_unless};

const PORT: u16 = 862;
const FLOWS: u64 = 64;
const REQUEST: [u8; 44] = [0; 44];

/// One packet from each of [`FLOWS`] sockets; the kernel spreads flows over its transmit queues by
/// hash. Returns how many were answered.
fn send_flows(veth: &Veth) -> u64 {
    let mut answered = 0;
    veth.sender.namespace.run(|| {
        for _ in 0..FLOWS {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
            socket.connect(veth.reflector.socket_v4(PORT)).unwrap();
            socket.send(&REQUEST).unwrap();
            socket.recv(&mut [0; 64]).unwrap();
            answered += 1;
        }
    });
    answered
}

#[test]
fn four_queues_answer_at_once() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::with(&VethConfig::queues(4)).unwrap();
    let reflector = Reflector::start(&veth.reflector, &["--queues", "all"]);
    assert_eq!(send_flows(&veth), FLOWS);
    let summary = reflector.stop();
    assert_eq!(summary.row("total"), [FLOWS, FLOWS, 0]);
    for queue in ["0", "1", "2", "3"] {
        let [received, reflected, dropped] = summary.row(queue);
        assert!(
            received > 0 && received == reflected && dropped == 0,
            "{}",
            summary.0
        );
    }
}

/// Some flows reach a served queue, the others the kernel: all are answered, those by the slow path.
fn assert_the_rest_takes_the_slow_path(veth: &Veth, reflector: Reflector) {
    assert_eq!(send_flows(veth), FLOWS);
    let summary = reflector.stop();
    let redirected = summary.count("redirected to AF_XDP");
    let passed = summary.count("no AF_XDP socket on its queue");
    assert_eq!(redirected + passed, FLOWS, "{}", summary.0);
    assert!(redirected > 0 && passed > 0, "{}", summary.0);
    assert_eq!(summary.row("total"), [redirected, redirected, 0]);
    assert_eq!(summary.sockets(), [passed, passed]);
}

#[test]
fn queues_not_asked_for_take_the_slow_path() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::with(&VethConfig::queues(4)).unwrap();
    let reflector = Reflector::start(&veth.reflector, &["--queues", "1"]);
    assert_the_rest_takes_the_slow_path(&veth, reflector);
}

#[test]
fn queues_that_only_receive_take_the_slow_path() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::with(&VethConfig {
        reflector_transmit_queues: Some(1),
        ..VethConfig::queues(4)
    })
    .unwrap();
    let reflector = Reflector::start(&veth.reflector, &[]);
    let stderr = reflector.process().stderr();
    assert!(
        stderr.contains("queues 1 to 3 of veth-r stay with the kernel"),
        "{stderr}"
    );
    assert_the_rest_takes_the_slow_path(&veth, reflector);
}
