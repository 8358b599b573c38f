//! The interface goes, and comes back.

use testbed::{DEFAULT_TIMEOUT, Namespace, Need, Veth, VethConfig, skip_unless, wait_until};

use crate::common::has_xdp;
use crate::common::load::Load;
use crate::{await_answer, pause, reflector, resume, said, times, veth};

const GONE: &str = "interface veth-r disappeared: answering there again once it is back";
const BACK: &str = "interface veth-r is back: answering there again";

/// Moves the reflector's end to another namespace and back. The kernel keeps its index, as it is free,
/// and forgets its addresses.
fn there_and_back(veth: &Veth, elsewhere: &Namespace) {
    let near = &veth.reflector.namespace;
    near.ip(&format!(
        "link set veth-r netns {}",
        elsewhere.path().display()
    ))
    .unwrap();
    elsewhere
        .ip(&format!("link set veth-r netns {}", near.path().display()))
        .unwrap();
}

fn address_again(veth: &Veth) {
    let near = &veth.reflector.namespace;
    near.ip("address add 10.86.2.1/24 dev veth-r").unwrap();
    near.ip("link set veth-r up").unwrap();
    let mac = veth
        .sender
        .mac
        .map(|octet| format!("{octet:02x}"))
        .join(":");
    near.ip(&format!(
        "neighbour replace 10.86.2.2 lladdr {mac} dev veth-r nud permanent"
    ))
    .unwrap();
}

#[test]
fn removed_under_load_and_laid_again_with_every_packet_accounted_for() {
    skip_unless!(Need::Xdp);
    let mut pair = veth(2);
    let reflector = reflector(&pair, &[]);
    for round in 1..=3 {
        let load = Load::start(&pair, 5201);
        load.await_answers(100);
        pair.reflector.namespace.ip("link del veth-r").unwrap();
        wait_until("it noticed", DEFAULT_TIMEOUT, || {
            times(reflector.process(), GONE) == round
        });
        load.stop().assert_nothing_wrong();
        pair = pair
            .lay_again(&VethConfig {
                permanent_neighbours: true,
                ..VethConfig::queues(2)
            })
            .unwrap();
        wait_until("it is back", DEFAULT_TIMEOUT, || {
            times(reflector.process(), BACK) == round
        });
        await_answer(&pair);
    }
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    assert!(summary.row("total")[0] >= 300, "{}", summary.0);
    assert!(!has_xdp(&pair.reflector));
}

#[test]
fn moved_to_another_namespace_and_back_under_load() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let elsewhere = Namespace::new().unwrap();
    let reflector = reflector(&veth, &[]);
    let load = Load::start(&veth, 5202);
    load.await_answers(100);
    there_and_back(&veth, &elsewhere);
    said(reflector.process(), GONE);
    address_again(&veth);
    said(reflector.process(), BACK);
    load.await_answers(100);
    load.stop().assert_nothing_wrong();
    assert!(has_xdp(&veth.reflector));
    reflector.stop().assert_accounts_for_everything();
    assert!(!has_xdp(&veth.reflector));
}

#[test]
fn an_absence_too_short_to_be_seen_is_noticed_all_the_same() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let elsewhere = Namespace::new().unwrap();
    let reflector = reflector(&veth, &[]);
    await_answer(&veth);
    pause(reflector.process());
    there_and_back(&veth, &elsewhere);
    address_again(&veth);
    resume(reflector.process());
    said(reflector.process(), BACK);
    let load = Load::start(&veth, 5203);
    load.await_answers(100);
    load.stop().assert_nothing_wrong();
    reflector.stop().assert_accounts_for_everything();
}

#[test]
fn one_that_had_another_name_comes_back_by_that() {
    skip_unless!(Need::Xdp);
    let pair = veth(1);
    let reflector = reflector(&pair, &[]);
    await_answer(&pair);
    let near = &pair.reflector.namespace;
    near.ip("link set veth-r name uplink").unwrap();
    near.ip("address add 192.0.2.9/32 dev lo").unwrap();
    said(reflector.process(), "answering on 192.0.2.9");
    near.ip("link del uplink").unwrap();
    said(reflector.process(), "interface uplink disappeared");
    let sender = pair.sender.namespace.path();
    let line = format!(
        "link add uplink index 12 type veth peer name veth-s index 22 netns {}",
        sender.display()
    );
    near.ip(&line).unwrap();
    near.ip("address add 10.86.2.1/24 dev uplink").unwrap();
    near.ip("link set uplink up").unwrap();
    let far = &pair.sender.namespace;
    far.ip("address add 10.86.2.2/24 dev veth-s").unwrap();
    far.ip("link set veth-s up").unwrap();
    said(reflector.process(), "interface uplink is back");
    await_answer(&pair);
    reflector.stop().assert_accounts_for_everything();
}
