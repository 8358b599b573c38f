//! Processor time and memory, as the kernel accounts for them.

use std::fs;
use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// Busy time of all processors since boot (`/proc/stat`): everything but idle, waiting for I/O and
/// what the hypervisor took.
pub fn machine_busy() -> io::Result<Duration> {
    const IDLE: usize = 3;
    const IOWAIT: usize = 4;
    /// Steal, and after it guest time, which user time holds already.
    const STEAL: usize = 7;
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "))
        .ok_or_else(garbled)?;
    let ticks: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
    let busy = ticks
        .map_err(io::Error::other)?
        .iter()
        .take(STEAL)
        .enumerate()
        .filter(|(column, _)| ![IDLE, IOWAIT].contains(column))
        .map(|(_, ticks)| ticks)
        .sum();
    duration(busy)
}

/// User and system time of a process, without that of its children (`/proc/PID/stat`).
pub fn process_time(pid: u32) -> io::Result<Duration> {
    /// Counted after the command name, which may contain anything: fields 14 and 15 of `proc_pid_stat(5)`.
    const UTIME: usize = 11;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').ok_or_else(garbled)?;
    let fields = rest.split_whitespace().skip(UTIME).take(2);
    let ticks: Result<Vec<u64>, _> = fields.map(str::parse).collect();
    duration(ticks.map_err(io::Error::other)?.iter().sum())
}

/// Resident memory of a process in KiB (`VmRSS` of `/proc/PID/status`).
pub fn resident_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or_else(garbled)?;
    let number = line.split_whitespace().next().ok_or_else(garbled)?;
    number.parse().map_err(io::Error::other)
}

fn duration(ticks: u64) -> io::Result<Duration> {
    const NANOS_PER_SECOND: u64 = 1_000_000_000;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
    let nanos = NANOS_PER_SECOND / per_second.filter(|&ticks| ticks > 0).ok_or_else(garbled)?;
    Ok(Duration::from_nanos(ticks.saturating_mul(nanos)))
}

fn garbled() -> io::Error {
    io::Error::other("the kernel's accounting is not in the form expected")
}
