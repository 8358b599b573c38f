//! A reflector under test: the built binary in one end of a veth pair.

#![allow(dead_code, reason = "each test file uses its part")]

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use testbed::{DEFAULT_TIMEOUT, End, Process};

/// How long a reply that must not come is waited for, after one that must come has come.
pub const SILENCE: Duration = Duration::from_millis(50);

/// The binary with its interface given.
pub fn command(interface: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reflector"));
    command.args(["--interface", interface]).args(options);
    command
}

/// A running reflector that has said `ready`.
pub struct Reflector {
    process: Process,
}

impl Reflector {
    /// Starts it at `end` and waits until it answers.
    pub fn start(end: &End, options: &[&str]) -> Self {
        let process = end
            .namespace
            .spawn(&mut command(end.interface, options))
            .unwrap();
        process.wait_for_line("ready: ", DEFAULT_TIMEOUT).unwrap();
        Self { process }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it and returns its summary.
    pub fn stop(self) -> Summary {
        self.stop_by(Signal::SIGTERM)
    }

    /// Stops it by this signal; it must exit with status 0.
    pub fn stop_by(mut self, signal: Signal) -> Summary {
        self.process.signal(signal).unwrap();
        let status = self.process.wait_exit(DEFAULT_TIMEOUT).unwrap();
        assert!(status.success(), "{status}: {}", self.process.stderr());
        Summary(self.process.stdout())
    }

    /// Kills it without a chance to clean up.
    pub fn kill(mut self) {
        self.process.signal(Signal::SIGKILL).unwrap();
        self.process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    }
}

/// What a reflector printed when it stopped.
pub struct Summary(pub String);

impl Summary {
    /// The `received`, `reflected` and `dropped` columns of a queue's row, or of `total`.
    pub fn row(&self, queue: &str) -> [u64; 3] {
        let row = self
            .0
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut row = row.filter(|words| words.len() == 4 && words[0] == queue);
        let words = row
            .next()
            .unwrap_or_else(|| panic!("no row {queue} in:\n{}", self.0));
        [1, 2, 3].map(|column| words[column].parse().unwrap())
    }

    /// Datagrams that UDP sockets received, and those of them that were answered.
    pub fn sockets(&self) -> [u64; 2] {
        let line = self
            .0
            .lines()
            .find(|line| line.starts_with("UDP sockets: "));
        let count = |meaning| {
            let items = line
                .iter()
                .flat_map(|line| line.trim_start_matches("UDP sockets: ").split(", "));
            let mut found = items.filter_map(|item| item.strip_suffix(meaning));
            found
                .next()
                .map_or(0, |count| count.trim().parse().unwrap())
        };
        [count("received"), count("reflected")]
    }

    /// The count in front of `meaning`; 0 if the summary does not mention it.
    pub fn count(&self, meaning: &str) -> u64 {
        let items = self
            .0
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(_, items)| items);
        items
            .flat_map(|items| items.split(", "))
            .filter_map(|item| item.split_once(' '))
            .find(|(_, words)| *words == meaning)
            .map_or(0, |(count, _)| count.parse().unwrap())
    }
}

/// Whether an XDP program is attached to the end's interface.
pub fn has_xdp(end: &End) -> bool {
    let link = end
        .namespace
        .ip(&format!("-details link show {}", end.interface))
        .unwrap();
    link.contains("xdp")
}
