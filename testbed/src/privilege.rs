//! What a test needs beyond an ordinary account, probed; skipping is loud.
//!
//! Two environment variables steer it, both set by `scripts/test`:
//! - `XDP_TWAMP_NO_SKIP=1`: a test that would be skipped fails instead, so that a green run on a
//!   machine that should run everything has run everything;
//! - `XDP_TWAMP_QUICK=1`: every need counts as missing, so only unprivileged tests run.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io, thread};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

use crate::binary::peer;

/// `AF_XDP` of `linux/socket.h`, which socket2 does not name.
const AF_XDP: i32 = 44;
/// `CAP_SYS_ADMIN` of `linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;
/// `CAP_BPF` of `linux/capability.h`; before Linux 5.8 its rights were part of `CAP_SYS_ADMIN`.
const CAP_BPF: u32 = 39;

/// Something a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Making network namespaces (`CAP_SYS_ADMIN`) and wiring them with `ip` (iproute2).
    NetworkNamespace,
    /// Opening AF_XDP sockets: a kernel with them, and `CAP_NET_RAW`.
    AfXdp,
    /// Loading BPF programs (`CAP_BPF` or `CAP_SYS_ADMIN`).
    Bpf,
    /// All of the above: XDP programs and their sockets on a veth pair.
    Xdp,
    /// A program in `PATH`, such as `tshark`.
    Program(&'static str),
    /// An independent implementation in the target directory, such as `stamp-suite`; see [`peer`].
    Peer(&'static str),
    /// A module of the system's Python 3, such as `scapy`; see [`python`].
    PythonModule(&'static str),
}

/// Returns from a test, after saying so, unless every need is met; with `XDP_TWAMP_NO_SKIP=1` in
/// the environment the test fails instead.
///
/// ```no_run
/// # fn a_test() {
/// testbed::skip_unless!(testbed::Need::NetworkNamespace, testbed::Need::Program("tshark"));
/// # }
/// ```
#[macro_export]
macro_rules! skip_unless {
    ($($need:expr),+ $(,)?) => {
        if let Some(reason) = $crate::privilege::first_missing(&[$($need),+]) {
            $crate::privilege::skip(&reason);
            return;
        }
    };
}

/// Why the first unmet need is not met, in one phrase; `None` when all are met.
pub fn first_missing(needs: &[Need]) -> Option<String> {
    if env::var_os("XDP_TWAMP_QUICK").is_some_and(|value| value == "1") {
        return Some("quick run (XDP_TWAMP_QUICK=1)".to_owned());
    }
    needs.iter().find_map(|need| need.missing())
}

/// Reports a skipped test on standard error, past the test harness's capture.
///
/// # Panics
/// With `XDP_TWAMP_NO_SKIP=1` in the environment.
pub fn skip(reason: &str) {
    let strict = env::var_os("XDP_TWAMP_NO_SKIP").is_some_and(|value| value == "1");
    assert!(
        !strict,
        "would be skipped ({reason}), and XDP_TWAMP_NO_SKIP=1 forbids it"
    );
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // One write, so that parallel tests do not interleave; lost only with standard error itself.
    let _ = io::stderr().write_all(format!("skipped: {test}: {reason}\n").as_bytes());
}

/// The Python 3 of the system, for which distributions package their modules, before any other.
pub fn python() -> PathBuf {
    let system = Path::new("/usr/bin/python3");
    if system.exists() {
        system.into()
    } else {
        "python3".into()
    }
}

impl Need {
    /// Why this need is not met, in one phrase; `None` when it is.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::NetworkNamespace => network_namespace_missing(),
            Self::AfXdp => af_xdp_missing(),
            Self::Bpf => bpf_missing(),
            Self::Xdp => network_namespace_missing()
                .or_else(af_xdp_missing)
                .or_else(bpf_missing),
            Self::Program(name) => find_program(name)
                .is_none()
                .then(|| format!("no program `{name}` in PATH")),
            Self::Peer(name) => peer(name)
                .is_none()
                .then(|| format!("no peer `{name}`: run scripts/install-deps --test")),
            Self::PythonModule(name) => python_module_missing(name),
        }
    }
}

fn network_namespace_missing() -> Option<String> {
    let probe = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET));
    match probe.join() {
        Ok(Ok(())) => Need::Program("ip").missing(),
        Ok(Err(errno)) => Some(format!(
            "cannot make a network namespace: {errno}; run as root"
        )),
        Err(_) => Some("the probe for network namespaces panicked".to_owned()),
    }
}

fn af_xdp_missing() -> Option<String> {
    let error = Socket::new(Domain::from(AF_XDP), Type::RAW, None).err()?;
    Some(format!("cannot open an AF_XDP socket: {error}"))
}

/// The system call itself is out of reach without `unsafe`, so the effective set is read.
fn bpf_missing() -> Option<String> {
    let status = match fs::read_to_string("/proc/thread-self/status") {
        Ok(status) => status,
        Err(error) => return Some(format!("cannot read the capabilities: {error}")),
    };
    let effective = effective_capabilities(&status).unwrap_or(0);
    let allowed = [CAP_BPF, CAP_SYS_ADMIN]
        .iter()
        .any(|bit| effective >> bit & 1 == 1);
    (!allowed).then(|| "cannot load BPF programs: no CAP_BPF; run as root".to_owned())
}

/// The `CapEff` line of `/proc/PID/status` as a bit set (proc(5)).
fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| {
            fs::metadata(file)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

fn python_module_missing(name: &str) -> Option<String> {
    let found = Command::new(python())
        .args(["-c", &format!("import {name}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Ok(status) if status.success() => None,
        Ok(_) => Some(format!("no Python module `{name}`")),
        Err(error) => Some(format!("no Python 3: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_capabilities() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000008000200000\n";
        let effective = effective_capabilities(status).unwrap();
        assert_eq!(effective, 1 << CAP_BPF | 1 << CAP_SYS_ADMIN);
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn finds_programs_but_not_folders() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("."), None);
        assert_eq!(find_program("no-such-program"), None);
    }
}
