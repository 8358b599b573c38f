//! Without any privilege, bound to a device, with two workers.
//!
//! The test runs this executable once more, as nobody, in the reflector's namespace.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use host::HostView;
use reflector::listener::Listener;
use reflector::socket::{Plan, SocketDatapath};
use reflector::stop::Stop;
use testbed::{DEFAULT_TIMEOUT, Need, skip_unless};

use crate::rig::{PORT, ask, client, listener, request, shared, veth, workers};

/// Present in the environment of the run as nobody: the interface.
const INTERFACE: &str = "REFLECTOR_TEST_INTERFACE";
const NOBODY: u32 = 65_534;

#[test]
fn needs_no_privileges_above_the_reserved_ports() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let folder = tempfile::tempdir().unwrap();
    let program = copy_for_everybody(folder.path());
    let mut command = Command::new(program);
    command
        .args([
            "--exact",
            "unprivileged::as_nobody",
            "--ignored",
            "--nocapture",
        ])
        .env(INTERFACE, veth.reflector.interface)
        .current_dir("/")
        .gid(NOBODY)
        .uid(NOBODY);
    let process = veth.reflector.namespace.spawn(&mut command).unwrap();
    process.wait_for_line("answering", DEFAULT_TIMEOUT).unwrap();
    for to in [
        veth.reflector.socket_v4(PORT).into(),
        veth.reflector.socket_v6(PORT).into(),
    ] {
        assert_eq!(ask(&client(&veth, to), &request(44)).len(), 44);
    }
}

/// Target directories may be closed to others.
fn copy_for_everybody(folder: &Path) -> std::path::PathBuf {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.join("socket-test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
#[ignore = "part of another test, which runs it as nobody"]
fn as_nobody() {
    let Ok(interface) = std::env::var(INTERFACE) else {
        return;
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    let host = HostView::read().unwrap();
    let on_device = Listener {
        interfaces: vec![interface],
        ..listener()
    };
    let reserved = Listener {
        port: 862,
        ..on_device.clone()
    };
    let stop = Stop::new().unwrap();
    let start = |listener: Listener| {
        let listeners = [listener];
        let shared = shared(&listeners, &host);
        let plan = Plan::new(&listeners, &host);
        SocketDatapath::start(&plan, &shared, &stop, &workers(2))
    };
    assert_eq!(
        start(reserved).unwrap_err().to_string(),
        "UDP port 862 needs CAP_NET_BIND_SERVICE: run with that capability, choose a port from 1024, \
         or lower net.ipv4.ip_unprivileged_port_start"
    );
    let _datapath = start(on_device).unwrap();
    eprintln!("answering");
    // Until the other test has had its replies, and kills this process.
    loop {
        std::thread::park();
    }
}
