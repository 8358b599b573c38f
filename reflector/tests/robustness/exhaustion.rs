//! Too many packets for the rings, too few descriptors for the process.

use std::process::Command;

use testbed::{DEFAULT_TIMEOUT, End, Need, Process, RawPeer, skip_unless};

use crate::common::has_xdp;
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
    (0..1024).find(is_free).unwrap()
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

/// What it says when it cannot start under a limit, which is to be one sentence.
fn fails_under(end: &End, limit: &[&str]) -> String {
    let mut limited = Command::new(limit[0]);
    limited.args(&limit[1..]);
    limited.arg(env!("CARGO_BIN_EXE_reflector"));
    limited.args(["--interface", end.interface, "--allow", "10.86.2.2"]);
    let mut process = end.namespace.spawn(&mut limited).unwrap();
    let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let stderr = process.stderr();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
    assert!(!has_xdp(end));
    stderr
}

#[test]
fn limits_that_are_too_low_are_named() {
    skip_unless!(
        Need::Xdp,
        Need::Program("prlimit"),
        Need::Program("setpriv")
    );
    let veth = veth(1);
    // Wherever it runs out of them.
    for count in (6..34).step_by(2) {
        let said = fails_under(&veth.reflector, &["prlimit", &format!("--nofile={count}")]);
        assert!(said.contains("open files"), "{count}: {said}");
    }
    let without = ["setpriv", "--bounding-set=-ipc_lock,-sys_resource"];
    let limit = [&["prlimit", "--memlock=65536"], &without[..]].concat();
    let said = fails_under(&veth.reflector, &limit);
    assert!(
        said.contains("octets of locked memory, but the limit is 65536")
            && said.contains("--ring-size"),
        "{said}"
    );
}
