//! Several listeners in one process: whose a packet is.

use std::net::SocketAddr;

use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{DEFAULT_TIMEOUT, Need, UdpFrame, skip_unless};

use crate::common::{command, has_xdp};
use crate::rig::{BOTH, Ip, PORT, Rig, built, counted, light};

/// Loopback addresses of three VRFs.
const LOOPBACKS: [&str; 6] = [
    "192.0.2.1/32",
    "192.0.2.2/32",
    "192.0.2.3/32",
    "fd00:9::1/128",
    "fd00:9::2/128",
    "fd00:9::3/128",
];
/// DSCP of replies by which listeners are told apart, as the TOS octet has it.
const CS: [u8; 5] = [0x00, 0x20, 0x40, 0x60, 0x80];

fn loopback(ip: Ip, number: usize, port: u16) -> SocketAddr {
    match ip {
        Ip::V4 => format!("192.0.2.{number}:{port}").parse().unwrap(),
        Ip::V6 => format!("[fd00:9::{number}]:{port}").parse().unwrap(),
    }
}

#[test]
fn three_vrfs_on_three_vlans_are_answered_each_by_its_own_listener() {
    skip_unless!(Need::Xdp);
    let rig = Rig::with_addresses(&LOOPBACKS);
    let reflector = rig.start(&[
        "vlan=100,address=192.0.2.1,address=fd00:9::1,port=900,dscp=cs1",
        "vlan=200,address=192.0.2.2,address=fd00:9::2,port=901,dscp=cs2",
        "vlan=300,address=192.0.2.3,address=fd00:9::3,port=902,dscp=cs3",
    ]);
    let mut source_port = 40_000;
    let mut request = |ip, vlan: u16, address: usize, port: u16| {
        source_port += 1;
        let frame = rig.request_to(loopback(ip, address, port), source_port);
        let frame = frame.tos(0xb8).payload(&light(44));
        if vlan == 0 {
            frame
        } else {
            frame.vlan(CUSTOMER_TAG, vlan)
        }
    };
    let mut foreign = Vec::new();
    for ip in BOTH {
        for (listener, vlan) in [(1, 100), (2, 200), (3, 300)] {
            let port = 899 + u16::try_from(listener).unwrap();
            let answer = rig.ask(&request(ip, vlan, listener, port)).datagram;
            assert_eq!(answer.source, loopback(ip, listener, port));
            assert_eq!(answer.vlan_ids, [vlan]);
            assert_eq!(answer.tos, CS[listener], "the policy is its own");
            assert!(answer.udp_checksum_valid);
        }
        // Every other combination of a VLAN, an address and a port.
        for vlan in [0, 100, 200, 300] {
            for address in 1..=3 {
                for port in 900..=902 {
                    let own = usize::from(port) - 899;
                    if address != own || usize::from(vlan) != own * 100 {
                        foreign.push(request(ip, vlan, address, port));
                    }
                }
            }
        }
    }
    assert_eq!(foreign.len(), 66);
    rig.only_the_last_is_answered(&built(&foreign), &request(Ip::V4, 200, 2, 901));

    // The port of another VLAN's listener is a client's like any here; that of its own is not.
    for ip in BOTH {
        let from = |port| {
            let frame = rig.request_to(loopback(ip, 1, 900), port);
            frame.vlan(CUSTOMER_TAG, 100).payload(&light(44))
        };
        rig.only_the_last_is_answered(&built(&[from(900)]), &from(901));
    }

    let summary = reflector.stop();
    assert_eq!(summary.row("total"), [9, 9, 0]);
    assert_eq!(summary.count("a listener's port as source"), 2);
    assert_eq!(summary.sockets(), [0, 0]);
    assert_eq!(summary.count("UDP for no listener"), 66);
    for (place, admitted) in [
        ("veth-r, VLAN 100, 192.0.2.1 and 1 more, port 900", 4),
        ("veth-r, VLAN 200, 192.0.2.2 and 1 more, port 901", 3),
        ("veth-r, VLAN 300, 192.0.2.3 and 1 more, port 902", 2),
    ] {
        let line = format!("{place}: {admitted} admitted");
        assert!(summary.0.contains(&line), "{}", summary.0);
    }
}

#[test]
fn one_address_and_port_in_several_vlans_are_several_listeners() {
    skip_unless!(Need::Xdp);
    let rig = Rig::with_addresses(&LOOPBACKS);
    let place = "address=192.0.2.1,address=fd00:9::1,port=900";
    let listeners = [
        ("", "cs1"),
        ("vlan=100,", "cs2"),
        ("vlan=200,", "cs3"),
        ("vlan=100.7,", "cs4"),
    ]
    .map(|(vlan, dscp)| format!("{vlan}{place},dscp={dscp}"));
    let reflector = rig.start(&listeners.each_ref().map(String::as_str));
    for ip in BOTH {
        let request = |port: u16| {
            rig.request_to(loopback(ip, 1, 900), port)
                .payload(&light(44))
        };
        for (frame, ids, tos) in [
            (request(5001), &[][..], CS[1]),
            (request(5002).vlan(CUSTOMER_TAG, 100), &[100], CS[2]),
            (request(5003).vlan(CUSTOMER_TAG, 200), &[200], CS[3]),
            (
                request(5004).vlan(SERVICE_TAG, 100).vlan(CUSTOMER_TAG, 7),
                &[100, 7],
                CS[4],
            ),
        ] {
            let answer = rig.ask(&frame).datagram;
            assert_eq!((answer.vlan_ids.as_slice(), answer.tos), (ids, tos));
        }
        let elsewhere = [
            request(5005).vlan(CUSTOMER_TAG, 300),
            request(5006).vlan(SERVICE_TAG, 100).vlan(CUSTOMER_TAG, 8),
            request(5007).vlan(SERVICE_TAG, 200).vlan(CUSTOMER_TAG, 7),
            request(5008).vlan(CUSTOMER_TAG, 7),
        ];
        rig.only_the_last_is_answered(&built(&elsewhere), &request(5009));
    }
    assert_eq!(reflector.stop().row("total"), [10, 10, 0]);
}

#[test]
fn provisioned_sessions_come_before_the_listener_and_alone_refuse_all_others() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let peers = "peer=10.86.2.2:5000,peer=[fd00:862::2]:5000";
    // From the port of an open listener, as another reflector's packets would be.
    let reflectors = "peer=10.86.2.2:900,peer=[fd00:862::2]:900";
    let reflector = rig.start(&[
        &format!("port=900,{peers},dscp=cs1"),
        "port=900,dscp=cs2",
        &format!("port=901,{peers},dscp=cs3"),
        &format!("port=900,{reflectors},dscp=cs4"),
    ]);
    // What XDP understands, and what the kernel gets and the slow path answers.
    let options = |frame: UdpFrame| frame.ipv4_options(&[1; 4]).hop_by_hop();
    for ip in BOTH {
        let request = |source, port| rig.request(ip, source, port).payload(&light(44));
        for slow in [false, true] {
            let by = |frame| if slow { options(frame) } else { frame };
            for (source, port, tos) in [
                (5000, 900, CS[1]),
                (5001, 900, CS[2]),
                (5000, 901, CS[3]),
                (900, 900, CS[4]),
            ] {
                let answer = rig.ask(&by(request(source, port))).datagram;
                assert_eq!(
                    answer.tos, tos,
                    "{ip:?} from {source} to {port}, slow: {slow}"
                );
            }
            let other_host: SocketAddr = match ip {
                Ip::V4 => "10.86.2.3:5000".parse().unwrap(),
                Ip::V6 => "[fd00:862::3]:5000".parse().unwrap(),
            };
            let target = match ip {
                Ip::V4 => SocketAddr::V4(rig.veth.reflector.socket_v4(901)),
                Ip::V6 => SocketAddr::V6(rig.veth.reflector.socket_v6(901)),
            };
            let strangers = [
                by(request(5001, 901)),
                by(rig.frame(other_host, target).payload(&light(44))),
            ];
            rig.only_the_last_is_answered(&built(&strangers), &by(request(5000, 901)));
        }
    }
    let summary = reflector.stop();
    assert_eq!(summary.row("total"), [10, 10, 0]);
    // Strangers are refused in XDP; what it does not understand of theirs is by the slow path, and no port
    // unreachable goes out.
    assert_eq!(summary.count("from neither client nor peer"), 4);
    assert_eq!(summary.sockets(), [14, 10]);
    let refused = counted(&summary, "dropped after a UDP socket", "client not allowed");
    assert_eq!(refused, 4, "{}", summary.0);
}

#[test]
fn a_listener_waits_for_its_address_and_outlives_it() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let namespace = &rig.veth.reflector.namespace;
    let listeners = ["vlan=100,address=192.0.2.1,address=fd00:9::1", "port=863"];
    let reflector = rig.start_with(&listeners, &["--verbose"]);
    let stderr = reflector.process().stderr();
    for missing in ["192.0.2.1", "fd00:9::1"] {
        let said = format!("{missing} is no address of this host");
        assert!(stderr.contains(&said), "{stderr}");
    }
    let said = |words: &str| {
        let process = reflector.process();
        process.wait_for_line(words, DEFAULT_TIMEOUT).unwrap();
    };
    for (ip, address) in [(Ip::V4, "192.0.2.1/32"), (Ip::V6, "fd00:9::1/128")] {
        let to = loopback(ip, 1, PORT);
        let request = |port| rig.request_to(to, port).payload(&light(44));
        let tagged = |port| request(port).vlan(CUSTOMER_TAG, 100);
        let elsewhere = |port| rig.request(ip, port, 863).payload(&light(44));
        rig.only_the_last_is_answered(&built(&[tagged(6001)]), &elsewhere(6002));

        namespace
            .ip(&format!("address add {address} dev lo"))
            .unwrap();
        said(&format!(
            " answering on {} port {PORT} in VLAN 100",
            to.ip()
        ));
        assert_eq!(rig.ask(&tagged(6003)).datagram.source, to);
        // In its VLAN, and nowhere else.
        rig.only_the_last_is_answered(&built(&[request(6004)]), &tagged(6005));

        namespace
            .ip(&format!("address del {address} dev lo"))
            .unwrap();
        said(&format!(
            "no longer answering on {} port {PORT} in VLAN 100",
            to.ip()
        ));
        rig.only_the_last_is_answered(&built(&[tagged(6006)]), &elsewhere(6007));
    }
    let summary = reflector.stop();
    assert_eq!(summary.row("total"), [8, 8, 0]);
    assert_eq!(summary.count("UDP for no listener"), 6);
}

#[test]
fn listeners_that_cannot_be_are_refused_before_anything_is_attached() {
    skip_unless!(Need::Xdp);
    let rig = Rig::with_addresses(&LOOPBACKS);
    let end = &rig.veth.reflector;
    let same = "claim the same packets";
    let range = "a VLAN ID from 1 to 4094";
    for (listeners, expected) in [
        (&["vlan=100", "vlan=100"][..], same),
        (&["vlan=100.7", "vlan=100.7,dscp=ef"], same),
        (
            &["address=192.0.2.1", "address=192.0.2.2,address=192.0.2.1"],
            same,
        ),
        (
            &["address=fd00:9::1,port=900", "address=fd00:9:0::1,port=900"],
            same,
        ),
        (
            &["peer=10.86.2.2:5000", "peer=10.86.2.2:5000,dscp=ef"],
            "given twice",
        ),
        (
            &["address=192.0.2.1,peer=[fd00::2]:5000"],
            "no address of its family",
        ),
        (&["vlan=0"], range),
        (&["vlan=4095"], range),
        (&["vlan=4096"], range),
        (&["vlan=100.0"], range),
        (&["vlan=100.4095"], range),
        (&["vlan=4095.100"], range),
        (&["vlan=1.2.3"], range),
        (&["vlan=-1"], range),
    ] {
        let options: Vec<&str> = listeners
            .iter()
            .flat_map(|spec| ["--listener", spec])
            .collect();
        let mut command = command(end.interface, &options);
        let mut process = end.namespace.spawn(&mut command).unwrap();
        let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
        let stderr = process.stderr();
        assert_eq!(status.code(), Some(2), "{listeners:?}: {stderr}");
        assert!(stderr.contains(expected), "{listeners:?}: {stderr}");
        assert_eq!(process.stdout(), "", "an error is no output");
        assert!(!has_xdp(end), "{listeners:?}");
    }
}

#[test]
fn a_vlan_without_a_device_is_said_to_have_no_slow_path() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let reflector = rig.start(&["vlan=100", "vlan=100.7,port=900", "port=863"]);
    let stderr = reflector.process().stderr();
    for vlan in ["100", "100.7"] {
        let words = format!("on veth-r for VLAN {vlan}: there is no VLAN device for it");
        assert_eq!(stderr.matches(&words).count(), 1, "{stderr}");
    }
    assert_eq!(
        stderr.matches("there is no VLAN device").count(),
        2,
        "{stderr}"
    );

    // So it is: the kernel gets what XDP does not understand, and drops it.
    for ip in BOTH {
        let request = |source, port| rig.request(ip, source, port).payload(&light(44));
        let options = |source, port| request(source, port).ipv4_options(&[1; 4]).hop_by_hop();
        rig.ask(&request(5001, PORT).vlan(CUSTOMER_TAG, 100));
        let forbidden = [options(5002, PORT).vlan(CUSTOMER_TAG, 100)];
        rig.only_the_last_is_answered(&built(&forbidden), &options(5003, 863));
    }
    let summary = reflector.stop();
    assert_eq!(summary.row("total"), [2, 2, 0]);
    assert_eq!(summary.sockets(), [2, 2]);
    // The sender's own multicast reports have options too.
    assert!(summary.count("IP options or extension headers") >= 4);
}
