//! The limit of open files.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::OpenError;
use super::socket::system;

/// File descriptors a process needs besides the sockets of its sessions: terminal, outputs,
/// signals, and what a transport opens for each queue.
const SPARE: u64 = 32;

/// Raises the soft limit of open files, often 1024, as far as `sockets` of them for `sessions`
/// sessions need and the hard limit allows.
pub(super) fn raise_limit(sockets: usize, sessions: usize) -> Result<(), OpenError> {
    let needed = sockets as u64 + SPARE;
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(system("read the limit of open files"))?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed || setrlimit(Resource::RLIMIT_NOFILE, needed, hard).is_err() {
        return Err(OpenError::Descriptors {
            sessions,
            limit: hard,
        });
    }
    Ok(())
}
