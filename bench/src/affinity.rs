//! Which processor a thread runs on.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps this thread, and whatever it starts, on one processor.
pub fn pin(cpu: usize) -> io::Result<()> {
    let own = Pid::from_raw(0);
    if !sched_getaffinity(own)?.is_set(cpu)? {
        return Err(io::Error::other(format!(
            "processor {cpu} is not there or not ours"
        )));
    }
    let mut only = CpuSet::new();
    only.set(cpu)?;
    Ok(sched_setaffinity(own, &only)?)
}
