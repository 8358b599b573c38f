//! The reflector and programs that are not ours: stamp-suite as Session-Sender, scapy as a crafter of
//! packets, tshark as a reader of replies.

#![cfg(test)]

mod common;

use std::process::Command;

use common::Reflector;
use testbed::{
    DEFAULT_TIMEOUT, Datagram, Need, Process, RawPeer, Veth, VethConfig, skip_unless, write_pcap,
};

const PORT: u16 = 862;

/// Runs a program at the sender's end to its successful end, and returns what it printed.
fn run(veth: &Veth, command: &mut Command) -> String {
    let mut process = veth.sender.namespace.spawn(command).unwrap();
    finish(&mut process)
}

fn finish(process: &mut Process) -> String {
    let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    stdout
}

#[test]
fn stamp_suite_measures_against_us_without_loss() {
    skip_unless!(
        Need::NetworkNamespace,
        Need::Bpf,
        Need::AfXdp,
        Need::Peer("stamp-suite")
    );
    let veth = Veth::new().unwrap();
    let reflector = Reflector::start(&veth.reflector, &[]);
    for (remote, local) in [
        (
            veth.reflector.ipv4.to_string(),
            veth.sender.ipv4.to_string(),
        ),
        (
            veth.reflector.ipv6.to_string(),
            veth.sender.ipv6.to_string(),
        ),
    ] {
        let mut stamp = Command::new(testbed::peer("stamp-suite").unwrap());
        stamp.args(["--remote-addr", &remote, "--local-addr", &local]);
        stamp.args(["--count", "200", "--send-delay", "1ms", "--timeout", "5"]);
        stamp.args(["--output-format", "json"]);
        let printed = run(&veth, &mut stamp);
        let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(report["packets_sent"], 200, "{printed}");
        assert_eq!(report["packets_received"], 200, "{printed}");
        assert_eq!(report["packets_lost"], 0, "{printed}");
    }
    assert_eq!(reflector.stop().row("total"), [400, 400, 0]);
}

/// Sends a TWAMP-Test request crafted by scapy and checks the reply with scapy's own dissection.
const SCAPY: &str = r#"
import sys
from scapy.all import Ether, IP, IPv6, UDP, Raw, srp1, conf
conf.verb = 0
interface, ours, theirs, v4, v4_peer, v6, v6_peer = sys.argv[1:]
request = bytes(range(1, 15))
for ip in (IP(src=v4, dst=v4_peer, ttl=77, tos=0xb8), IPv6(src=v6, dst=v6_peer, hlim=77, tc=0xb8)):
    for length in (14, 41, 44, 200):
        payload = request + bytes(length - 14)
        packet = Ether(src=ours, dst=theirs) / ip / UDP(sport=4321, dport=862) / Raw(payload)
        reply = srp1(packet, iface=interface, timeout=20)
        assert reply is not None, f"no reply to {length} octets"
        udp = reply[UDP]
        data = bytes(udp.payload)[:udp.len - 8]
        assert len(data) == max(41, length), f"{len(data)} octets back for {length}"
        assert data[0:4] == request[0:4] and data[24:38] == request[0:14], data.hex()
        assert data[40] == 77, f"sender TTL {data[40]}"
        assert (udp.sport, udp.dport) == (862, 4321)
        layer = reply[IP] if IP in reply else reply[IPv6]
        assert (layer.ttl if IP in reply else layer.hlim) == 255
        # Scapy computes a checksum that is taken out.
        fresh = layer.copy()
        del fresh[UDP].chksum
        assert type(layer)(bytes(fresh))[UDP].chksum == udp.chksum, "UDP checksum"
print("all answered")
"#;

#[test]
fn packets_crafted_by_scapy_are_answered_as_scapy_expects() {
    skip_unless!(
        Need::NetworkNamespace,
        Need::Bpf,
        Need::AfXdp,
        Need::PythonModule("scapy")
    );
    let veth = Veth::with(&VethConfig {
        permanent_neighbours: true,
        ..VethConfig::default()
    })
    .unwrap();
    let reflector = Reflector::start(&veth.reflector, &[]);
    let mac = |octets: [u8; 6]| octets.map(|octet| format!("{octet:02x}")).join(":");
    let (near, far) = (&veth.sender, &veth.reflector);
    let mut python = Command::new(testbed::privilege::python());
    python.args(["-c", SCAPY, near.interface]);
    python.args([mac(near.mac), mac(far.mac)]);
    python.args([near.ipv4, far.ipv4].map(|ip| ip.to_string()));
    python.args([near.ipv6, far.ipv6].map(|ip| ip.to_string()));
    assert_eq!(run(&veth, &mut python), "all answered\n");
    assert_eq!(reflector.stop().row("total"), [8, 8, 0]);
}

#[test]
fn tshark_dissects_our_replies_without_complaint() {
    skip_unless!(
        Need::NetworkNamespace,
        Need::Bpf,
        Need::AfXdp,
        Need::Program("tshark")
    );
    let veth = Veth::with(&VethConfig {
        permanent_neighbours: true,
        ..VethConfig::default()
    })
    .unwrap();
    let _reflector = Reflector::start(&veth.reflector, &[]);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let mut replies = Vec::new();
    for (frame, len) in [14_u8, 41, 44, 200].into_iter().flat_map(|len| {
        [veth.request_v4(4000, PORT), veth.request_v6(4000, PORT)].map(|frame| (frame, len))
    }) {
        let request: Vec<u8> = (1..=len).collect();
        peer.send(&frame.ttl(99).payload(&request).build()).unwrap();
        let is_reply = |frame: &[u8]| {
            Datagram::parse(frame).is_ok_and(|datagram| datagram.destination.port() == 4000)
        };
        replies.push(
            peer.recv_matching(is_reply, DEFAULT_TIMEOUT)
                .unwrap()
                .unwrap(),
        );
    }

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replies.pcap");
    write_pcap(&file, &replies).unwrap();
    let tshark = |options: &[&str]| {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&file);
        tshark.args(["-d", "udp.port==862,twamp.test"]);
        tshark.args([
            "-o",
            "udp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
        ]);
        tshark.args(options);
        finish(&mut Process::spawn(&mut tshark).unwrap())
    };
    let complaints = tshark(&["-Y", "_ws.malformed || _ws.expert.severity >= 0x600000"]);
    assert_eq!(complaints, "");
    // 1 is "good" for both checksums; IPv6 has no header checksum.
    let fields = tshark(&[
        "-T",
        "fields",
        "-e",
        "udp.checksum.status",
        "-e",
        "twamp.test.seq_number",
        "-e",
        "twamp.test.sender_seq_number",
        "-e",
        "twamp.test.sender_ttl",
    ]);
    // The Sequence Number of every request was 01020304.
    assert_eq!(fields, "1\t16909060\t16909060\t99\n".repeat(replies.len()));
}
