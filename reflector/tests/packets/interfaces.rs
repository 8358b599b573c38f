//! One process on two interfaces.

use std::net::{Ipv6Addr, SocketAddr};

use testbed::{End, Need, RawPeer, UdpFrame, Veth, VethConfig, skip_unless};

use crate::common::{Summary, has_xdp};
use crate::rig::{BOTH, Ip, Rig, ask, built, light, only_the_last_is_answered};

fn request(veth: &Veth, ip: Ip, source_port: u16, port: u16) -> UdpFrame {
    let frame = match ip {
        Ip::V4 => veth.request_v4(source_port, port),
        Ip::V6 => veth.request_v6(source_port, port),
    };
    frame.payload(&light(44))
}

/// The pair of the other interface, whose raw peer needs not answer for its addresses either.
fn second(rig: &Rig) -> Veth {
    let config = VethConfig {
        permanent_neighbours: true,
        ..VethConfig::default()
    };
    rig.veth.second(&config).unwrap()
}

/// The part of a summary that is about one interface.
fn about(summary: &Summary, interface: &str) -> Summary {
    let title = format!("reflector on {interface} ");
    let (_, from) = summary.0.split_once(&title).expect(&title);
    let end = from.find("reflector on ").unwrap_or(from.len());
    Summary(from[..end].to_owned())
}

#[test]
fn each_interface_has_listeners_of_its_own_and_shares_another() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let second = second(&rig);
    let reflector = rig.start(&[
        "interface=veth-r,port=900,dscp=cs1",
        "interface=veth-r2,port=900,dscp=cs2",
        "interface=veth-r,port=901,dscp=cs3",
        "interface=veth-r,interface=veth-r2,port=902,dscp=cs4,sequence=stateful",
    ]);
    assert!(has_xdp(&rig.veth.reflector) && has_xdp(&second.reflector));
    let ready = reflector.process().stderr();
    let ready = ready
        .lines()
        .find(|line| line.starts_with("ready: "))
        .unwrap();
    assert!(
        ready.contains("veth-r ") && ready.contains("veth-r2 "),
        "{ready}"
    );

    let second_peer = RawPeer::open(&second.sender).unwrap();
    let pairs = [(&rig.veth, &rig.peer, 0x20), (&second, &second_peer, 0x40)];
    for ip in BOTH {
        for (veth, peer, own) in pairs {
            let answer = ask(peer, &request(veth, ip, 5000, 900)).datagram;
            assert_eq!(answer.tos, own, "{}", veth.reflector.interface);
            assert_eq!(answer.source_mac, veth.reflector.mac);
            assert_eq!(answer.destination_mac, veth.sender.mac);
            for count in 0..3 {
                let answer = ask(peer, &request(veth, ip, 5001, 902)).datagram;
                assert_eq!(answer.tos, 0x80, "the listener of both");
                assert_eq!(
                    answer.payload[..4],
                    [0, 0, 0, count],
                    "each session by itself"
                );
            }
        }
        assert_eq!(
            ask(&rig.peer, &request(&rig.veth, ip, 5002, 901))
                .datagram
                .tos,
            0x60
        );
        let forbidden = [request(&second, ip, 5002, 901)];
        let good = request(&second, ip, 5003, 900);
        only_the_last_is_answered(&second_peer, &built(&forbidden), &good);
    }

    let summary = reflector.stop();
    for (interface, answered) in [("veth-r", 10), ("veth-r2", 10)] {
        let own = about(&summary, interface);
        assert_eq!(own.row("total"), [answered, answered, 0], "{}", summary.0);
        assert_eq!(own.count("redirected to AF_XDP"), answered);
    }
    assert_eq!(about(&summary, "veth-r2").count("UDP for no listener"), 2);
    assert!(
        summary
            .0
            .contains("veth-r and veth-r2, any address, port 902: 12 admitted\n")
    );
    assert_eq!(summary.sockets(), [0, 0]);
    assert!(!has_xdp(&rig.veth.reflector) && !has_xdp(&second.reflector));
}

#[test]
fn the_slow_path_knows_the_interface_too() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let second = second(&rig);
    let reflector = rig.start(&[
        "interface=veth-r,port=900,dscp=cs1",
        "interface=veth-r2,port=900,dscp=cs2",
        "interface=veth-r,port=901,dscp=cs3",
        "interface=veth-r,interface=veth-r2,port=902,dscp=cs4",
    ]);
    let second_peer = RawPeer::open(&second.sender).unwrap();
    let slow = |veth: &Veth, ip, source, port| {
        request(veth, ip, source, port)
            .ipv4_options(&[1; 4])
            .hop_by_hop()
    };
    for ip in BOTH {
        for (veth, peer, own) in [(&rig.veth, &rig.peer, 0x20), (&second, &second_peer, 0x40)] {
            assert_eq!(ask(peer, &slow(veth, ip, 5000, 900)).datagram.tos, own);
            assert_eq!(ask(peer, &slow(veth, ip, 5001, 902)).datagram.tos, 0x80);
        }
        let forbidden = [slow(&second, ip, 5002, 901)];
        let good = slow(&second, ip, 5003, 900);
        only_the_last_is_answered(&second_peer, &built(&forbidden), &good);
    }
    let summary = reflector.stop();
    assert_eq!(summary.sockets(), [10, 10], "{}", summary.0);
    assert_eq!(about(&summary, "veth-r").row("total"), [0, 0, 0]);
    assert_eq!(about(&summary, "veth-r2").row("total"), [0, 0, 0]);
}

/// The interface's link-local address, made of its MAC address (RFC 4291 appendix A).
fn link_local(end: &End, port: u16) -> SocketAddr {
    let mut octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 0];
    octets[8..11].copy_from_slice(&end.mac[..3]);
    octets[13..].copy_from_slice(&end.mac[3..]);
    octets[8] ^= 2;
    SocketAddr::new(Ipv6Addr::from(octets).into(), port)
}

#[test]
fn a_link_local_address_is_answered_on_its_own_link_alone() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let second = second(&rig);
    let reflector = rig.start(&["interface=veth-r,interface=veth-r2"]);
    let second_peer = RawPeer::open(&second.sender).unwrap();
    let pairs = [(&rig.veth, &rig.peer), (&second, &second_peer)];
    for (at, (veth, peer)) in pairs.into_iter().enumerate() {
        let (other, _) = pairs[1 - at];
        let request = |to: &End, port| {
            let frame = rig.frame(link_local(&veth.sender, port), link_local(to, 862));
            let frame = frame.macs(veth.sender.mac, veth.reflector.mac);
            frame.payload(&light(44))
        };
        for slow in [false, true] {
            let by = |frame: UdpFrame| if slow { frame.hop_by_hop() } else { frame };
            let foreign = built(&[by(request(&other.reflector, 5000))]);
            only_the_last_is_answered(peer, &foreign, &by(request(&veth.reflector, 5001)));
        }
    }
    let summary = reflector.stop();
    for interface in ["veth-r", "veth-r2"] {
        let own = about(&summary, interface);
        assert_eq!(own.row("total"), [1, 1, 0], "{}", summary.0);
    }
    assert_eq!(summary.sockets(), [2, 2], "{}", summary.0);
}
