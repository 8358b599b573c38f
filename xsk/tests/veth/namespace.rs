//! A network namespace for one test, holding a veth pair.

use std::panic::resume_unwind;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use xsk::Nic;

/// No test waits longer for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Queues of either end.
pub const QUEUES: u32 = 4;

/// Runs `test` on a thread in a network namespace of its own, with a veth pair `near` and `far` that
/// is up; or prints why not. The namespace and all in it end with the thread, passed or failed.
pub fn with_veth(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: network namespaces and AF_XDP need root");
        return;
    }
    let outcome = thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: no network namespace can be made here: {error}");
            return;
        }
        let queues = QUEUES.to_string();
        let (rx, tx) = (["numrxqueues", &queues], ["numtxqueues", &queues]);
        ip(&[
            &["link", "add", "near"],
            &rx[..],
            &tx,
            &["type", "veth"],
            &["peer", "name", "far"],
            &rx,
            &tx,
        ]
        .concat());
        for end in ["near", "far"] {
            ip(&["link", "set", end, "up"]);
        }
        let near = Nic::by_name("near").unwrap();
        wait_until("near has carrier", || near.flags().unwrap().is_running());
        test();
    })
    .join();
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Asks again and again until the answer is yes.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::yield_now();
    }
}

/// Runs ip(8) in this thread's namespace.
pub fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}
