//! `--datapath socket` and `--datapath auto`, with privileges and without.

#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

mod auto;
mod socket;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::Summary;
use testbed::{DEFAULT_TIMEOUT, End, Process, Signal};

/// A port that needs no privileges.
const PORT: u16 = 8620;
const NOBODY: &str = "65534";

/// The binary in a folder that every account can read: the build directory may be private.
struct Binary(tempfile::TempDir);

impl Binary {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // By a child: a descriptor open for writing here could be inherited by one that another test
        // starts meanwhile, and then the program cannot be executed (ETXTBSY).
        let mut install = Command::new("install");
        install.args(["-m", "755", env!("CARGO_BIN_EXE_reflector")]);
        assert!(install.arg(folder.path()).status().unwrap().success());
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self(folder)
    }

    /// As nobody, who has no capability and can get none.
    fn as_nobody(&self, options: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--inh-caps=-all", "--bounding-set=-all", "--clear-groups"]);
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--no-new-privs"]);
        command.arg(self.0.path().join("reflector")).args(options);
        command
    }
}

/// The binary as root.
fn as_root(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reflector"));
    command.args(options);
    command
}

/// Starts it at the reflector's end, waits until it answers, and returns its last word of that.
fn start(end: &End, command: &mut Command) -> (Process, String) {
    let process = end.namespace.spawn(command).unwrap();
    let ready = process.wait_for_line("ready: ", DEFAULT_TIMEOUT).unwrap();
    (process, ready)
}

/// Ends it by SIGTERM. Nothing may be left in its namespace.
fn stop(end: &End, mut process: Process) -> Summary {
    process.signal(Signal::SIGTERM).unwrap();
    let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert!(status.success(), "{status}: {}", process.stderr());
    let sockets = end.namespace.command("ss", &["-Hlun"]).unwrap();
    assert_eq!(sockets, "", "no socket is left");
    let links = end.namespace.ip("-details link show").unwrap();
    assert!(!links.contains("xdp"), "no program is left: {links}");
    Summary(process.stdout())
}

/// Where it must fail: its exit status and the one sentence it says.
fn fails(end: &End, command: &mut Command) -> (Option<i32>, String) {
    let mut process = end.namespace.spawn(command).unwrap();
    let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let stderr = process.stderr();
    assert_eq!(process.stdout(), "", "an error is no output");
    assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
    (status.code(), stderr)
}
