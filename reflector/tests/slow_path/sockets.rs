//! The sockets of the slow path: claimed, or said to be missing.

use std::net::UdpSocket;

use testbed::frames::CUSTOMER_TAG;
use testbed::{DEFAULT_TIMEOUT, End, Need, RawPeer, VethConfig, skip_unless, wait_for};

use crate::common::{Reflector, SILENCE, command, has_xdp};
use crate::{OPTIONS, PORT, answer_to, exchange, numbered, veth, veth_with};

#[test]
fn a_port_in_use_by_another_program_is_refused_with_nothing_attached() {
    skip_unless!(Need::Xdp);
    let veth = veth();
    let near = &veth.reflector;
    for (address, of) in [
        ("0.0.0.0:862", "every IPv4 address on veth-r"),
        ("[::]:862", "every IPv4 address on veth-r"),
        ("10.86.2.1:862", "every IPv4 address on veth-r"),
        ("[fd00:862::1]:862", "every IPv6 address on veth-r"),
    ] {
        let _other = bound(near, address);
        let mut process = near.namespace.spawn(&mut command("veth-r", &[])).unwrap();
        let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
        let stderr = process.stderr();
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert_eq!(process.stdout(), "");
        assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
        let expected = format!("UDP port 862 of {of} is in use by another program");
        assert!(stderr.contains(&expected), "{address}: {stderr}");
        assert!(!has_xdp(near));
    }
    drop(bound(near, "0.0.0.0:862"));
    drop(bound(near, "[::]:862"));
    Reflector::start(near, &[]).stop();
}

/// A socket at an end, once what was bound there before is gone: a child that another test starts at
/// this moment may hold a copy of it until it executes its program.
fn bound(end: &End, address: &str) -> UdpSocket {
    let bind = || end.namespace.run(|| UdpSocket::bind(address)).ok();
    wait_for("the port is free", DEFAULT_TIMEOUT, bind).unwrap()
}

#[test]
fn a_listener_whose_vlan_has_no_device_is_said_to_have_no_slow_path() {
    skip_unless!(Need::Xdp);
    let veth = veth();
    let options = ["--listener", "port=862", "--listener", "vlan=5,port=900"];
    let reflector = Reflector::start(&veth.reflector, &options);
    let stderr = reflector.process().stderr();
    let expected = "veth-r, VLAN 5, any address, port 900 has no slow path on veth-r for VLAN 5: \
                    there is no VLAN device for it";
    assert_eq!(stderr.matches(expected).count(), 1, "{stderr}");

    let peer = RawPeer::open(&veth.sender).unwrap();
    let tagged = veth
        .request_v4(4701, 900)
        .vlan(CUSTOMER_TAG, 5)
        .payload(&numbered(1));
    exchange(&peer, &tagged, 4701);
    peer.send(&tagged.ipv4_options(&OPTIONS).build()).unwrap();
    // The other listener has its slow path.
    let untagged = veth.request_v4(4702, PORT).payload(&numbered(1));
    exchange(&peer, &untagged.ipv4_options(&OPTIONS), 4702);
    assert!(answer_to(&peer, 4701, SILENCE).is_none());

    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    assert_eq!(summary.row("total"), [1, 1, 0]);
    assert_eq!(summary.sockets(), [1, 1]);
    assert_eq!(summary.count("without a slow path"), 1, "{}", summary.0);
    // And what the kernel at the other end has to say about multicast.
    assert!(summary.count("IP options or extension headers") >= 2);
}

#[test]
fn queues_without_an_af_xdp_socket_are_answered_with_the_same_sequence() {
    skip_unless!(Need::Xdp);
    let veth = veth_with(VethConfig::queues(4));
    let options = ["--queues", "1", "--sequence", "stateful"];
    let reflector = Reflector::start(&veth.reflector, &options);
    veth.sender.namespace.run(|| {
        // All open to the end: a port that is free again might be given out again.
        let mut sockets = Vec::new();
        for _ in 0..32 {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
            socket.connect(veth.reflector.socket_v4(PORT)).unwrap();
            for number in 0..3_u32 {
                socket.send(&numbered(number + 70)).unwrap();
                let mut reply = [0; 64];
                assert_eq!(socket.recv(&mut reply).unwrap(), 44);
                assert_eq!(reply[..4], number.to_be_bytes());
            }
            sockets.push(socket);
        }
    });
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    let [by_socket, _] = summary.sockets();
    let [by_queue, ..] = summary.row("total");
    assert!(by_socket > 0 && by_queue > 0, "{}", summary.0);
    assert_eq!(by_socket + by_queue, 96);
    assert_eq!(summary.count("no AF_XDP socket on its queue"), by_socket);
    assert_eq!(summary.count("created"), 32);
}
