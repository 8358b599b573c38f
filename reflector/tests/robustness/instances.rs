//! Two reflectors on one host.

use testbed::{DEFAULT_TIMEOUT, End, Need, Veth, skip_unless, wait_until};

use crate::common::{Reflector, command, has_xdp};
use crate::{await_answer, reflector, veth};

/// What a second reflector in the same namespace says when it must fail.
fn second_fails(end: &End, interface: &str, options: &[&str]) -> String {
    let mut process = end
        .namespace
        .spawn(&mut command(interface, options))
        .unwrap();
    let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert_eq!(status.code(), Some(1), "{}", process.stderr());
    assert_eq!(process.stdout(), "");
    let stderr = process.stderr();
    assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
    stderr
}

fn second_interface(veth: &Veth) {
    let near = &veth.reflector.namespace;
    near.ip("link add second type veth peer name far").unwrap();
    near.ip("link set second up").unwrap();
    near.ip("link set far up").unwrap();
}

#[test]
fn another_on_the_same_interface_is_refused_whatever_its_port_and_datapath() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let first = reflector(&veth, &[]);
    let near = &veth.reflector;
    for options in [&[][..], &["--port", "900"]] {
        let said = second_fails(near, "veth-r", options);
        assert!(said.contains("another XDP program is attached"), "{said}");
    }
    for datapath in ["socket", "auto"] {
        let said = second_fails(near, "veth-r", &["--datapath", datapath]);
        let expected = "UDP port 862 of every IPv4 address on veth-r is in use by another program";
        assert!(said.contains(expected), "{said}");
    }
    await_answer(&veth);
    first.stop();
}

#[test]
fn another_on_another_interface_works_on_the_same_port() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    second_interface(&veth);
    let first = reflector(&veth, &[]);
    let mut second = veth
        .reflector
        .namespace
        .spawn(&mut command("second", &[]))
        .unwrap();
    second.wait_for_line("ready: ", DEFAULT_TIMEOUT).unwrap();
    await_answer(&veth);
    second.signal(testbed::Signal::SIGTERM).unwrap();
    assert!(second.wait_exit(DEFAULT_TIMEOUT).unwrap().success());
    await_answer(&veth);
    first.stop();
}

#[test]
fn one_on_every_interface_by_sockets_leaves_no_room_for_another() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let mut everywhere = std::process::Command::new(env!("CARGO_BIN_EXE_reflector"));
    everywhere.args(["--datapath", "socket"]);
    let first = veth.reflector.namespace.spawn(&mut everywhere).unwrap();
    first.wait_for_line("ready: ", DEFAULT_TIMEOUT).unwrap();
    let said = second_fails(&veth.reflector, "veth-r", &[]);
    assert!(said.contains("UDP port 862"), "{said}");
    assert!(!has_xdp(&veth.reflector), "nothing is attached");
    await_answer(&veth);
}

#[test]
fn one_that_is_killed_leaves_no_program_and_no_port() {
    skip_unless!(Need::Xdp);
    let veth = veth(2);
    reflector(&veth, &[]).kill();
    wait_until("the program is gone", DEFAULT_TIMEOUT, || {
        !has_xdp(&veth.reflector)
    });
    let ports = veth.reflector.namespace.command("ss", &["-Hlun"]).unwrap();
    assert_eq!(ports, "");
    let again = Reflector::start(&veth.reflector, &[]);
    await_answer(&veth);
    again.stop().assert_accounts_for_everything();
}
