//! Anonymous network namespaces.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::{fs, panic, thread};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::fstat;

use crate::{Error, Process};

/// A network namespace of its own, with `lo` up, that nobody but this value names.
///
/// It has no entry in `/run/netns`: the kernel removes it, and every interface in it, with its last
/// user (this value, a thread in [`run`](Self::run), a child).
///
/// `/sys/class/net` shows the namespace of whoever mounted `/sys`, not the caller's: code that needs
/// it runs in [`run_with_sysfs`](Self::run_with_sysfs). `/proc/sys/net` follows the calling thread,
/// `/proc/net` the process: in a closure use `/proc/thread-self/net`.
#[derive(Debug)]
pub struct Namespace {
    handle: OwnedFd,
}

impl Namespace {
    /// Makes an empty namespace and brings its loopback up.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`, or where `ip` (iproute2) is missing.
    pub fn new() -> Result<Self, Error> {
        let handle = on_fresh_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| Error::io("make a network namespace", errno))?;
            File::open("/proc/thread-self/ns/net")
                .map_err(|error| Error::io("open the network namespace", error))
        })?;
        let namespace = Self {
            handle: handle.into(),
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Another name for this namespace, which lives as long as either.
    ///
    /// # Errors
    /// If this process has no descriptor left.
    pub fn share(&self) -> Result<Self, Error> {
        let handle = self.handle.try_clone();
        let handle = handle.map_err(|error| Error::io("share the network namespace", error))?;
        Ok(Self { handle })
    }

    /// Runs `work` on a fresh thread inside this namespace and returns what it returns.
    ///
    /// Sockets opened there stay in the namespace for life; threads and children started there
    /// start in it too, so a whole program can be run in-process.
    ///
    /// # Panics
    /// With the panic of `work`, or if this process has lost the right to enter the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_fresh_thread(|| {
            let entered = setns(&self.handle, CloneFlags::CLONE_NEWNET);
            assert_eq!(entered, Ok(()), "cannot enter the network namespace");
            work()
        })
    }

    /// Like [`run`](Self::run), with a mount namespace of its own in which `/sys` is fresh and shows
    /// this network namespace, as `ip netns exec` does it.
    ///
    /// # Errors
    /// If the mounts are refused.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_with_sysfs<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        self.run(|| {
            fresh_sysfs().map_err(|errno| Error::io("mount a fresh /sys", errno))?;
            Ok(work())
        })
    }

    /// Starts a child inside this namespace, under guard.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Process, Error> {
        self.run(|| Process::spawn(command))
    }

    /// Runs a program inside this namespace to its end and returns its standard output.
    ///
    /// # Errors
    /// If it cannot be started or exits with anything but 0; standard error is in the error.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        let line = [&[program], arguments].concat().join(" ");
        let output = self
            .run(|| Command::new(program).args(arguments).output())
            .map_err(|error| Error::io(format!("run `{line}`"), error))?;
        if !output.status.success() {
            return Err(Error::Command {
                command: line,
                status: output.status,
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `ip` with the words of `arguments`: `namespace.ip("link set lo up")`.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn ip(&self, arguments: &str) -> Result<String, Error> {
        self.command("ip", &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Writes a kernel setting of this namespace: `namespace.sysctl("net/ipv4/ip_forward", "1")`.
    ///
    /// # Errors
    /// If there is no such setting or the value is refused.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), Error> {
        let path = format!("/proc/sys/{name}");
        self.run(|| fs::write(&path, value))
            .map_err(|error| Error::io(format!("write {value:?} to {path}"), error))
    }

    /// A path that names this namespace to children such as `ip link set … netns PATH`, valid
    /// while this value lives.
    pub fn path(&self) -> PathBuf {
        // Through our own process id: the child's /proc/self would be the child.
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.handle.as_raw_fd()
        )
        .into()
    }

    /// The kernel's number for this namespace, as in `net:[4026532177]`.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn inode(&self) -> Result<u64, Error> {
        let status = fstat(&self.handle).map_err(|errno| Error::io("read the inode", errno))?;
        Ok(status.st_ino)
    }
}

/// Runs `work` on a thread that ends with it, so that what it does to its own thread's namespaces
/// touches nobody else; its panic goes on in the caller.
fn on_fresh_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Gives the calling thread a mount namespace whose `/sys` shows its network namespace.
fn fresh_sysfs() -> Result<(), Errno> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Nothing mounted here may show outside; what is unmounted outside still goes away here.
    mount(NONE, "/", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)?;
    match umount2("/sys", MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL) => {} // EINVAL: nothing was mounted there
        Err(errno) => return Err(errno),
    }
    mount(
        Some("testbed"),
        "/sys",
        Some("sysfs"),
        MsFlags::empty(),
        NONE,
    )
}
