//! Too many packets for the rings, too few descriptors for the process.

use std::process::Command;

use testbed::{Need, Process, RawPeer, skip_unless};

use crate::common::load::Load;
use crate::{await_answer, pause, reflector, resume, said, times, veth};

const BURST: u64 = 4000;

#[test]
fn a_burst_that_the_rings_cannot_hold_is_survived_and_counted() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let reflector = reflector(&veth, &["--ring-size", "64"]);
    await_answer(&veth);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let request = veth.request_v4(5401, 862).payload(&[0; 44]).build();
    pause(reflector.process());
    for _ in 0..BURST {
        peer.send(&request).unwrap();
    }
    resume(reflector.process());
    await_answer(&veth);
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    let [received, reflected, dropped] = summary.row("total");
    assert!((64..BURST).contains(&received), "{}", summary.0);
    assert_eq!([received, dropped], [reflected, 0]);
    let full =
        summary.count("receive ring full") + summary.count("no frame to receive into or too long");
    assert!(full > 0, "{}", summary.0);
}

#[test]
fn bursts_while_it_works_are_survived_and_counted() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    for options in [
        &["--ring-size", "64"][..],
        &["--ring-size", "64", "--poll", "busy", "--tx-batch", "64"],
        &["--ring-size", "64", "--xdp-mode", "generic"],
    ] {
        let reflector = reflector(&veth, options);
        await_answer(&veth);
        let peer = RawPeer::open(&veth.sender).unwrap();
        let request = veth.request_v4(5402, 862).payload(&[0; 44]).build();
        for _ in 0..BURST {
            peer.send(&request).unwrap();
        }
        await_answer(&veth);
        let summary = reflector.stop();
        summary.assert_accounts_for_everything();
        assert!(summary.row("total")[0] > 0, "{}", summary.0);
    }
}

/// No new descriptor has a number that is not below this.
fn limit_descriptors(process: &Process, count: u32) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args([
        "--pid",
        &process.id().to_string(),
        &format!("--nofile={count}:"),
    ]);
    assert!(prlimit.status().unwrap().success());
}

fn lowest_free_descriptor(process: &Process) -> u32 {
    let is_free = |number: &u32| {
        let link = format!("/proc/{}/fd/{number}", process.id());
        std::fs::symlink_metadata(link).is_err()
    };
    (0..1 << 20).find(is_free).unwrap()
}

#[test]
fn without_descriptors_it_goes_on_as_it_was_and_catches_up_later() {
    skip_unless!(Need::Xdp, Need::Program("prlimit"));
    let veth = veth(1);
    let reflector = reflector(&veth, &[]);
    let process = reflector.process();
    let load = Load::start(&veth, 5403);
    load.await_answers(50);
    limit_descriptors(process, lowest_free_descriptor(process));
    let near = &veth.reflector.namespace;
    near.ip("address add 192.0.2.1/32 dev lo").unwrap();
    said(
        process,
        "going by the rules before this change: reading links and addresses failed",
    );
    near.ip("address add 192.0.2.2/32 dev lo").unwrap();
    load.await_answers(50);
    limit_descriptors(process, 1024);
    said(process, "answering on 192.0.2.1 port 862");
    load.await_answers(50);
    assert_eq!(times(process, "going by the rules before"), 1, "told once");
    load.stop().assert_nothing_lost();
    reflector.stop().assert_accounts_for_everything();
}
