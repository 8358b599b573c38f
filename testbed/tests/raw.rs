//! Raw frames across a veth pair, with the kernel's own UDP as the judge of crafted frames.

#![cfg(test)]

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Checksum, DEFAULT_TIMEOUT, Datagram, Need, RawPeer, UdpFrame, Veth, skip_unless};

/// How long to listen for something that must not come.
const SILENCE: Duration = Duration::from_millis(200);

/// Sends from the sender's end and returns what arrives at the reflector's.
fn across(veth: &Veth, frame: &[u8]) -> Vec<u8> {
    let from = RawPeer::open(&veth.sender).unwrap();
    let to = RawPeer::open(&veth.reflector).unwrap();
    from.send(frame).unwrap();
    let ours = |found: &[u8]| found.ends_with(b"find me");
    to.recv_matching(ours, DEFAULT_TIMEOUT)
        .unwrap()
        .expect("the frame did not arrive")
}

#[test]
fn frames_arrive_as_they_were_sent() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    for request in [veth.request_v4(4000, 862), veth.request_v6(4000, 862)] {
        let frame = request.payload(b"find me").build();
        assert_eq!(across(&veth, &frame), frame);
    }
}

#[test]
fn vlan_tags_arrive_where_they_were() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let plain = veth.request_v4(4000, 862).payload(b"find me");
    let single = plain.clone().vlan(CUSTOMER_TAG, 7).build();
    assert_eq!(across(&veth, &single), single);
    let double = plain.vlan(SERVICE_TAG, 100).vlan(CUSTOMER_TAG, 7).build();
    assert_eq!(across(&veth, &double), double);
}

#[test]
fn a_peer_does_not_hear_itself() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let frame = veth.request_v4(4000, 862).payload(b"find me").build();
    let sender = RawPeer::open(&veth.sender).unwrap();
    let other = RawPeer::open(&veth.sender).unwrap();
    across(&veth, &frame);
    sender.send(&frame).unwrap();
    let ours = |found: &[u8]| found == frame;
    assert_eq!(sender.recv_matching(ours, SILENCE).unwrap(), None);
    assert_eq!(other.recv_matching(ours, Duration::ZERO).unwrap(), None);
}

#[test]
fn waiting_for_nothing_ends() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let peer = RawPeer::open(&veth.reflector).unwrap();
    assert_eq!(peer.recv_matching(|_| false, SILENCE).unwrap(), None);
}

#[test]
fn a_missing_interface_is_an_error() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let error = RawPeer::open_in(&veth.sender.namespace, "nosuch").unwrap_err();
    assert!(
        error.to_string().contains("packet socket on nosuch"),
        "{error}"
    );
}

#[test]
fn a_local_socket_leaves_the_checksum_to_offload() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let peer = RawPeer::open(&veth.reflector).unwrap();
    let local = veth
        .sender
        .namespace
        .run(|| UdpSocket::bind(veth.sender.socket_v4(4000)).unwrap());
    local
        .send_to(b"find me", veth.reflector.socket_v4(862))
        .unwrap();
    let ours = |found: &[u8]| found.ends_with(b"find me");
    let frame = peer
        .recv_matching(ours, DEFAULT_TIMEOUT)
        .unwrap()
        .expect("the frame arrives");
    let found = Datagram::parse(&frame).unwrap();
    assert_eq!(found.source, veth.sender.socket_v4(4000).into());
    assert!(!found.udp_checksum_valid);
    // Exactly what `Checksum::Partial` imitates.
    let partial = veth
        .request_v4(4000, 862)
        .payload(b"find me")
        .checksum(Checksum::Partial);
    let imitated = Datagram::parse(&partial.build()).unwrap();
    assert_eq!(found.udp_checksum, imitated.udp_checksum);
}

/// Sends frames with the payloads "0", "1", … to a kernel socket, then a sound last one, and
/// returns the numbers of those that the kernel handed over.
fn taken_by_the_kernel(veth: &Veth, socket: &UdpSocket, frames: &[UdpFrame]) -> Vec<usize> {
    let peer = RawPeer::open(&veth.sender).unwrap();
    for (number, frame) in frames.iter().enumerate() {
        let payload = number.to_string();
        peer.send(&frame.clone().payload(payload.as_bytes()).build())
            .unwrap();
    }
    let over_ipv4 = socket.local_addr().unwrap().is_ipv4();
    let last = if over_ipv4 {
        veth.request_v4(4000, 862)
    } else {
        veth.request_v6(4000, 862)
    };
    peer.send(&last.payload(b"last").build()).unwrap();
    socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
    let mut taken = Vec::new();
    let mut buffer = [0; 64];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) if &buffer[..length] == b"last" => return taken,
            Ok(length) => taken.push(str::from_utf8(&buffer[..length]).unwrap().parse().unwrap()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the last frame did not arrive: {error}"),
        }
    }
}

#[test]
fn the_kernel_takes_sound_ipv4_frames_and_no_other() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let bind = || UdpSocket::bind(veth.reflector.socket_v4(862)).unwrap();
    let socket = veth.reflector.namespace.run(bind);
    let sound = veth.request_v4(4000, 862);
    let frames = [
        sound.clone(),                             // 0
        sound.clone().checksum(Checksum::Absent),  // 1
        sound.clone().checksum(Checksum::Wrong),   // dropped
        sound.clone().checksum(Checksum::Partial), // dropped: nobody finishes it
        sound.clone().ipv4_options(&[1, 1, 1, 0]), // 4
        sound.clone().wrong_ipv4_checksum(),       // dropped
        sound.clone().ttl(1).tos(0xb8),            // 6
        sound.clone().pad_to(60),                  // 7
        sound.clone().udp_length(400),             // dropped: longer than the packet
        sound.clone().fragment(0, true),           // kept for the rest, which never comes
    ];
    assert_eq!(
        taken_by_the_kernel(&veth, &socket, &frames),
        [0, 1, 4, 6, 7]
    );
}

#[test]
fn the_kernel_takes_sound_ipv6_frames_and_no_other() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let bind = || UdpSocket::bind(veth.reflector.socket_v6(862)).unwrap();
    let socket = veth.reflector.namespace.run(bind);
    let sound = veth.request_v6(4000, 862);
    let frames = [
        sound.clone(),                                 // 0
        sound.clone().checksum(Checksum::Absent),      // dropped: RFC 8200 section 8.1
        sound.clone().checksum(Checksum::Wrong),       // dropped
        sound.clone().checksum(Checksum::Partial),     // dropped
        sound.clone().hop_by_hop(),                    // 4
        sound.clone().ttl(1).tos(0xb8),                // 5
        sound.clone().pad_to(80),                      // 6
        sound.clone().fragment(0, false),              // 7: an atomic fragment (RFC 8021)
        sound.clone().hop_by_hop().fragment(0, false), // 8
        sound.clone().fragment(0, true),               // length no multiple of 8: dropped
    ];
    assert_eq!(
        taken_by_the_kernel(&veth, &socket, &frames),
        [0, 4, 5, 6, 7, 8]
    );
}
