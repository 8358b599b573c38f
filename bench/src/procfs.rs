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

/// Packets that an interface of this thread's network namespace has received since it was made
/// (`/proc/net/dev`). On veth with an XDP program that is what the program saw.
pub fn packets_received(interface: &str) -> io::Result<u64> {
    /// Counted after the name: octets come first.
    const PACKETS: usize = 1;
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    let counts = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))
        .ok_or_else(garbled)?;
    let count = counts.split_whitespace().nth(PACKETS).ok_or_else(garbled)?;
    count.parse().map_err(io::Error::other)
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
