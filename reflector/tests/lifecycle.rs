//! Starting, stopping, and what is left behind: nothing.

#![cfg(test)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Reflector, command, has_xdp, is_answered};
use nix::sys::signal::Signal;
use testbed::{DEFAULT_TIMEOUT, End, Need, Veth, VethConfig, skip_unless, wait_until};

/// Runs the reflector where it must fail, and returns its exit status and what it said.
fn fails(end: &End, interface: &str, options: &[&str]) -> (i32, String) {
    let mut process = end
        .namespace
        .spawn(&mut command(interface, options))
        .unwrap();
    let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let stderr = process.stderr();
    assert_eq!(process.stdout(), "", "an error is no output");
    (status.code().unwrap_or(-1), stderr)
}

/// A copy of the binary that any account may execute: the build directory may be private.
fn executable_by_all(folder: &tempfile::TempDir) -> PathBuf {
    let binary = folder.path().join("reflector");
    // By a child: a descriptor open for writing here could be inherited by one that another test
    // starts meanwhile, and then the program cannot be executed (ETXTBSY).
    let mut install = Command::new("install");
    install.args(["-m", "755", env!("CARGO_BIN_EXE_reflector")]);
    assert!(install.arg(&binary).status().unwrap().success());
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    binary
}

#[test]
fn both_signals_end_it_with_a_summary_and_nothing_left() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let reflector = Reflector::start(&veth.reflector, &[]);
        assert!(has_xdp(&veth.reflector));
        let summary = reflector.stop_by(signal);
        assert_eq!(summary.row("total"), [0, 0, 0]);
        assert!(
            summary.0.starts_with("reflector on veth-r port 862"),
            "{}",
            summary.0
        );
        assert!(!has_xdp(&veth.reflector));
    }
}

#[test]
fn a_killed_reflector_leaves_no_program_and_its_queues_are_free() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::with(&VethConfig::queues(2)).unwrap();
    Reflector::start(&veth.reflector, &[]).kill();
    // The kernel frees the link when it frees the process's descriptors.
    wait_until("the program is gone", DEFAULT_TIMEOUT, || {
        !has_xdp(&veth.reflector)
    });
    Reflector::start(&veth.reflector, &[]).stop();
}

#[test]
fn a_second_reflector_is_told_and_the_first_goes_on() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    let first = Reflector::start(&veth.reflector, &[]);
    let (status, stderr) = fails(&veth.reflector, "veth-r", &[]);
    assert_eq!(status, 1);
    assert!(
        stderr.contains("another XDP program is attached"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
    assert!(has_xdp(&veth.reflector));
    first.stop();
}

#[test]
fn an_interface_that_is_down_or_unknown_or_no_ethernet_is_named() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    let (status, stderr) = fails(&veth.reflector, "eth9", &[]);
    assert_eq!(status, 1);
    assert!(
        stderr.contains("no interface eth9") && stderr.contains("veth-r"),
        "{stderr}"
    );

    let (status, stderr) = fails(&veth.reflector, "lo", &[]);
    assert_eq!(status, 1);
    assert!(stderr.contains("lo is no Ethernet interface"), "{stderr}");

    veth.reflector.namespace.ip("link set veth-r down").unwrap();
    let (status, stderr) = fails(&veth.reflector, "veth-r", &[]);
    assert_eq!(status, 1);
    assert!(stderr.contains("ip link set dev veth-r up"), "{stderr}");
    assert!(!has_xdp(&veth.reflector));
}

#[test]
fn more_queues_than_there_are_is_a_usage_error() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    let (status, stderr) = fails(&veth.reflector, "veth-r", &["--queues", "3"]);
    assert_eq!(status, 2);
    assert!(
        stderr.contains("--queues 3 is more than the 1 queues"),
        "{stderr}"
    );
    assert!(!has_xdp(&veth.reflector));
}

#[test]
fn without_privileges_it_says_which_are_missing() {
    skip_unless!(
        Need::NetworkNamespace,
        Need::Bpf,
        Need::AfXdp,
        Need::Program("setpriv")
    );
    let veth = Veth::new().unwrap();
    let mut bare = Command::new("setpriv");
    bare.args([
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--reuid=65534",
        "--clear-groups",
    ]);
    let folder = tempfile::tempdir().unwrap();
    let binary = executable_by_all(&folder);
    bare.arg(&binary).args(["--interface", "veth-r"]);
    let mut process = veth.reflector.namespace.spawn(&mut bare).unwrap();
    assert_eq!(process.wait_exit(DEFAULT_TIMEOUT).unwrap().code(), Some(1));
    let stderr = process.stderr();
    assert!(
        stderr.contains("no permission") && stderr.contains("root"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
}

#[test]
fn it_waits_for_a_carrier_before_it_says_ready() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    veth.sender.namespace.ip("link set veth-s down").unwrap();
    let process = veth
        .reflector
        .namespace
        .spawn(&mut command("veth-r", &[]))
        .unwrap();
    process
        .wait_for_line("waiting for the link", DEFAULT_TIMEOUT)
        .unwrap();
    assert!(!process.stderr().contains("ready"));
    veth.sender.namespace.ip("link set veth-s up").unwrap();
    process.wait_for_line("ready: ", DEFAULT_TIMEOUT).unwrap();
}

#[test]
fn it_goes_on_when_its_interface_disappears_and_comes_back() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    let reflector = Reflector::start(&veth.reflector, &[]);
    wait_until("it answers", DEFAULT_TIMEOUT, || is_answered(&veth));
    veth.reflector.namespace.ip("link del veth-r").unwrap();
    let said = |words| {
        let process = reflector.process();
        process.wait_for_line(words, DEFAULT_TIMEOUT).unwrap();
    };
    said("interface veth-r disappeared: answering there again once it is back");
    let veth = veth.lay_again(&VethConfig::default()).unwrap();
    said("interface veth-r is back: answering there again");
    wait_until("it answers again", DEFAULT_TIMEOUT, || is_answered(&veth));
    let summary = reflector.stop();
    // While the program is not yet told of its rules, the slow path answers.
    let [received, reflected, dropped] = summary.row("total");
    let [by_socket, answered] = summary.sockets();
    assert!(received + by_socket >= 2, "{}", summary.0);
    // Its socket stands before the address is known.
    let unknown = summary.count("no listener there");
    assert_eq!(
        [received, by_socket],
        [reflected + dropped, answered + unknown],
        "{}",
        summary.0
    );
}

#[test]
fn it_answers_again_after_the_link_was_down_and_under_a_new_name() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    let reflector = Reflector::start(&veth.reflector, &[]);
    wait_until("it answers", DEFAULT_TIMEOUT, || is_answered(&veth));
    let near = &veth.reflector.namespace;
    near.ip("link set veth-r down").unwrap();
    near.ip("link set veth-r up").unwrap();
    wait_until("it answers again", DEFAULT_TIMEOUT, || is_answered(&veth));
    near.ip("link set veth-r name uplink").unwrap();
    wait_until("it answers still", DEFAULT_TIMEOUT, || is_answered(&veth));
    let summary = reflector.stop();
    assert!(
        summary.0.starts_with("reflector on uplink"),
        "{}",
        summary.0
    );
}

#[test]
fn the_capabilities_that_the_help_names_are_enough() {
    skip_unless!(
        Need::NetworkNamespace,
        Need::Bpf,
        Need::AfXdp,
        Need::Program("setpriv")
    );
    let veth = Veth::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let binary = executable_by_all(&folder);
    let capabilities = "-all,+bpf,+perfmon,+net_admin,+net_raw,+net_bind_service";
    let mut bare = Command::new("setpriv");
    bare.args(["--reuid=65534", "--clear-groups"]);
    bare.args(["--inh-caps", capabilities, "--ambient-caps", capabilities]);
    bare.args(["--bounding-set", capabilities]);
    bare.arg(&binary).args(["--interface", "veth-r"]);
    // Locked memory is limited for who lacks CAP_IPC_LOCK.
    bare.args(["--ring-size", "512"]);
    let process = veth.reflector.namespace.spawn(&mut bare).unwrap();
    process.wait_for_line("ready: ", DEFAULT_TIMEOUT).unwrap();
    wait_until("it answers", DEFAULT_TIMEOUT, || is_answered(&veth));
}

#[test]
fn a_reader_of_its_log_that_goes_away_does_not_stop_it() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    let veth = Veth::new().unwrap();
    let mut command = command("veth-r", &["-v"]);
    let mut child = veth
        .reflector
        .namespace
        .run(|| {
            command
                .stderr(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        })
        .unwrap();
    drop(child.stderr.take());
    wait_until("it answers", DEFAULT_TIMEOUT, || is_answered(&veth));
    // Something to log.
    veth.reflector
        .namespace
        .ip("address add 192.0.2.1/32 dev lo")
        .unwrap();
    wait_until("it answers still", DEFAULT_TIMEOUT, || is_answered(&veth));
    assert!(child.try_wait().unwrap().is_none(), "it runs");
    child.kill().unwrap();
    child.wait().unwrap();
}
