//! Several receive queues: which are served, and what becomes of the others.

#![cfg(test)]

mod common;

use std::io::ErrorKind;
use std::net::UdpSocket;

use common::{Reflector, SILENCE};
use testbed::{DEFAULT_TIMEOUT, Need, Veth, VethConfig, skip_unless};

const PORT: u16 = 862;
const FLOWS: u64 = 64;
const REQUEST: [u8; 44] = [1; 44];

/// One packet from each of [`FLOWS`] sockets; the kernel spreads flows over its transmit queues by
/// hash. Returns how many were answered and how many refused (ICMP port unreachable).
fn send_flows(veth: &Veth, patience: std::time::Duration) -> (u64, u64) {
    let (mut answered, mut refused) = (0, 0);
    veth.sender.namespace.run(|| {
        for _ in 0..FLOWS {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(patience)).unwrap();
            socket.connect(veth.reflector.socket_v4(PORT)).unwrap();
            socket.send(&REQUEST).unwrap();
            match socket.recv(&mut [0; 64]) {
                Ok(_) => answered += 1,
                // The kernel limits the rate of its ICMP errors: some flows hear nothing.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    });
    (answered, refused)
}

#[test]
fn four_queues_answer_at_once() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::with(&VethConfig::queues(4)).unwrap();
    let reflector = Reflector::start(&veth.reflector, &["--queues", "all"]);
    assert_eq!(send_flows(&veth, DEFAULT_TIMEOUT), (FLOWS, 0));
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

/// Some flows reach a served queue and are answered, the others reach the kernel: none is lost.
fn assert_the_rest_is_the_kernels(veth: &Veth, reflector: Reflector) {
    let (answered, refused) = send_flows(veth, SILENCE);
    let summary = reflector.stop();
    let redirected = summary.count("redirected to AF_XDP");
    let passed = summary.count("no AF_XDP socket on its queue");
    assert_eq!(redirected + passed, FLOWS, "{}", summary.0);
    assert!(
        answered > 0 && answered <= redirected,
        "{answered} of {redirected}"
    );
    assert!(refused > 0 && refused <= passed, "{refused} of {passed}");
}

#[test]
fn queues_not_asked_for_stay_with_the_kernel() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::with(&VethConfig::queues(4)).unwrap();
    let reflector = Reflector::start(&veth.reflector, &["--queues", "1"]);
    assert_the_rest_is_the_kernels(&veth, reflector);
}

#[test]
fn queues_that_only_receive_stay_with_the_kernel() {
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
    assert_the_rest_is_the_kernels(&veth, reflector);
}
