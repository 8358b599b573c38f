//! One reflector on two interfaces, of which one goes.

use testbed::{DEFAULT_TIMEOUT, Need, RawPeer, UdpFrame, Veth, skip_unless, wait_until};

use crate::common::load::Load;
use crate::{reflector, said, times, veth};

/// A second pair between the same namespaces. Returns frames for it, without MAC addresses.
fn lay_second(veth: &Veth, index: u32) {
    let (near, far) = (&veth.reflector.namespace, &veth.sender.namespace);
    near.ip(&format!(
        "link add second-r index {index} address 02:00:00:00:87:01 type veth \
         peer name second-s index {} address 02:00:00:00:87:02 netns {}",
        index + 10,
        far.path().display()
    ))
    .unwrap();
    near.ip("address add 10.87.2.1/24 dev second-r").unwrap();
    near.ip("link set second-r up").unwrap();
    near.ip("neighbour replace 10.87.2.2 lladdr 02:00:00:00:87:02 dev second-r nud permanent")
        .unwrap();
    far.ip("link set second-s up").unwrap();
}

fn load_second(veth: &Veth) -> Load {
    let [from, to] = ["10.87.2.2:5301", "10.87.2.1:862"].map(|at| at.parse().unwrap());
    let frame = UdpFrame::v4(from, to).macs([2, 0, 0, 0, 0x87, 2], [2, 0, 0, 0, 0x87, 1]);
    let peer = RawPeer::open_in(&veth.sender.namespace, "second-s").unwrap();
    Load::repeat(peer, frame)
}

#[test]
fn the_other_goes_on_without_loss_while_one_vanishes_and_returns() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    lay_second(&veth, 30);
    let reflector = reflector(&veth, &["--interface", "second-r"]);
    let process = reflector.process();
    let steady = Load::start(&veth, 5302);
    for round in 1..=3 {
        let second = load_second(&veth);
        second.await_answers(50);
        steady.await_answers(50);
        veth.reflector.namespace.ip("link del second-r").unwrap();
        let gone = "interface second-r disappeared: answering there again once it is back";
        wait_until("it noticed", DEFAULT_TIMEOUT, || {
            times(process, gone) == round
        });
        second.stop().assert_nothing_wrong();
        steady.await_answers(50);
        lay_second(&veth, 30 + u32::try_from(round).unwrap());
        let back = "interface second-r is back: answering there again";
        wait_until("it is back", DEFAULT_TIMEOUT, || {
            times(process, back) == round
        });
    }
    let second = load_second(&veth);
    second.await_answers(50);
    second.stop().assert_nothing_wrong();
    let traffic = steady.stop();
    traffic.assert_nothing_lost();
    let summary = reflector.stop();
    let [first, second] = summary.by_interface();
    first.assert_accounts_for_everything();
    second.assert_accounts_for_everything();
    assert_eq!(first.row("total"), [traffic.sent, traffic.sent, 0]);
    assert!(second.row("total")[0] >= 200, "{}", second.0);
}

#[test]
fn a_name_that_one_lost_to_the_other_is_followed_by_neither() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    lay_second(&veth, 30);
    let reflector = reflector(&veth, &["--interface", "second-r"]);
    let steady = Load::start(&veth, 5303);
    let second = load_second(&veth);
    steady.await_answers(50);
    second.await_answers(50);
    // They swap their names: each goes on where it was.
    let near = &veth.reflector.namespace;
    near.ip("link set veth-r name between").unwrap();
    near.ip("link set second-r name veth-r").unwrap();
    near.ip("link set between name second-r").unwrap();
    near.ip("address add 192.0.2.7/32 dev lo").unwrap();
    said(reflector.process(), "answering on 192.0.2.7");
    steady.await_answers(50);
    second.await_answers(50);
    steady.stop().assert_nothing_lost();
    second.stop().assert_nothing_lost();
    reflector.stop();
}
