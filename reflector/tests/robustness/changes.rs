//! The interface stays, and something about it changes.

use std::net::SocketAddrV4;

use testbed::{
    DEFAULT_TIMEOUT, Datagram, Need, RawPeer, Signal, UdpFrame, Veth, skip_unless, wait_until,
};

use crate::common::load::Load;
use crate::common::{Reflector, SILENCE};
use crate::{await_answer, pause, reflector, resume, said, veth};

const PORT: u16 = 862;

#[test]
fn links_that_go_down_and_up_lose_no_packet_from_the_accounts() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let reflector = reflector(&veth, &[]);
    let load = Load::start(&veth, 5001);
    load.await_answers(100);
    for _ in 0..3 {
        for end in [&veth.reflector, &veth.sender] {
            let set = |state| {
                let line = format!("link set {} {state}", end.interface);
                end.namespace.ip(&line).unwrap();
            };
            set("down");
            set("up");
            load.await_answers(100);
        }
    }
    load.stop().assert_nothing_wrong();
    reflector.stop().assert_accounts_for_everything();
}

/// Ten requests wait in the ring of a reflector that is paused, and its link is down.
fn ten_requests_and_no_link(veth: &Veth, reflector: &Reflector) -> RawPeer {
    await_answer(veth);
    let peer = RawPeer::open(&veth.sender).unwrap();
    pause(reflector.process());
    for _ in 0..10 {
        let request = veth.request_v4(5002, PORT).payload(&[0; 44]);
        peer.send(&request.build()).unwrap();
    }
    let near = &veth.reflector.namespace;
    near.ip("link set veth-r down").unwrap();
    peer
}

#[test]
fn replies_that_no_link_takes_are_counted() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let reflector = reflector(&veth, &[]);
    let _peer = ten_requests_and_no_link(&veth, &reflector);
    // Both signals at once: what it has is answered at the end.
    reflector.process().signal(Signal::SIGTERM).unwrap();
    resume(reflector.process());
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    let count = |words| summary.count(words);
    assert!(
        count("wake-ups refused by the kernel") > 0
            && count("replies not taken by the kernel at the end") == 10,
        "{}",
        summary.0
    );
}

#[test]
fn replies_wait_for_the_link() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let reflector = reflector(&veth, &[]);
    let peer = ten_requests_and_no_link(&veth, &reflector);
    resume(reflector.process());
    let near = &veth.reflector.namespace;
    near.ip("address add 192.0.2.1/32 dev lo").unwrap();
    said(reflector.process(), "answering on 192.0.2.1");
    near.ip("link set veth-r up").unwrap();
    let mut late = 0;
    wait_until("all are answered", DEFAULT_TIMEOUT, || {
        // They leave with the next reply. (The news that the link is up reaches the sender's end some
        // time: refused until then.)
        let _ = peer.send(&veth.request_v4(5003, PORT).payload(&[0; 44]).build());
        let is_late = |frame: &[u8]| {
            Datagram::parse(frame).is_ok_and(|answer| answer.destination.port() == 5002)
        };
        while let Ok(Some(_)) = peer.recv_matching(is_late, SILENCE) {
            late += 1;
        }
        late >= 10
    });
    assert_eq!(late, 10);
    reflector.stop().assert_accounts_for_everything();
}

#[test]
fn a_change_of_the_mtu_either_way_loses_nothing() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let reflector = reflector(&veth, &[]);
    let load = Load::start(&veth, 5004);
    let set = |mtu: u32| {
        for end in [&veth.reflector, &veth.sender] {
            let line = format!("link set {} mtu {mtu}", end.interface);
            end.namespace.ip(&line).unwrap();
        }
        load.await_answers(100);
    };
    for mtu in [9000, 1280, 3000, 576, 1500] {
        set(mtu);
    }
    set(9000);
    // Longer than any chunk was meant for: by the slow path.
    let peer = RawPeer::open(&veth.sender).unwrap();
    let frame = veth.request_v4(5005, PORT).payload(&[0; 5000]);
    peer.send(&frame.build()).unwrap();
    let is_long = |frame: &[u8]| {
        Datagram::parse(frame)
            .is_ok_and(|answer| answer.destination.port() == 5005 && answer.payload.len() == 5000)
    };
    let answer = peer.recv_matching(is_long, DEFAULT_TIMEOUT).unwrap();
    assert!(answer.is_some());

    let traffic = load.stop();
    traffic.assert_nothing_lost();
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    assert_eq!(summary.row("total"), [traffic.sent, traffic.sent, 0]);
    assert_eq!(summary.sockets(), [1, 1]);
}

#[test]
fn a_new_name_loses_nothing_and_another_interface_of_the_old_one_changes_nothing() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let reflector = reflector(&veth, &[]);
    let load = Load::start(&veth, 5006);
    load.await_answers(100);
    let near = &veth.reflector.namespace;
    near.ip("link set veth-r name uplink").unwrap();
    load.await_answers(100);
    // Index 5 is below that of the pair: it comes first where interfaces are listed.
    near.ip("link add veth-r index 5 type veth peer name other index 6")
        .unwrap();
    near.ip("address add 192.0.2.7/32 dev uplink").unwrap();
    said(reflector.process(), "answering on 192.0.2.7");
    load.await_answers(100);
    let traffic = load.stop();
    traffic.assert_nothing_lost();
    let summary = reflector.stop();
    assert!(
        summary.0.starts_with("reflector on uplink port 862"),
        "{}",
        summary.0
    );
    summary.assert_accounts_for_everything();
    assert_eq!(summary.row("total"), [traffic.sent, traffic.sent, 0]);
}

#[test]
fn an_address_that_comes_and_goes_a_hundred_times_disturbs_no_other() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let reflector = reflector(&veth, &[]);
    let stable = Load::start(&veth, 5007);
    let to = SocketAddrV4::new([192, 0, 2, 77].into(), PORT);
    let frame =
        UdpFrame::v4(veth.sender.socket_v4(5008), to).macs(veth.sender.mac, veth.reflector.mac);
    let flapping = Load::repeat(RawPeer::open(&veth.sender).unwrap(), frame);
    let near = &veth.reflector.namespace;
    for _ in 0..100 {
        near.ip("address add 192.0.2.77/32 dev lo").unwrap();
        near.ip("address del 192.0.2.77/32 dev lo").unwrap();
    }
    near.ip("address add 192.0.2.77/32 dev lo").unwrap();
    flapping.await_answers(100);
    stable.await_answers(100);
    let (stable, flapping) = (stable.stop(), flapping.stop());
    flapping.assert_nothing_wrong();
    let summary = reflector.stop();
    stable.assert_nothing_lost();
    summary.assert_accounts_for_everything();
}
