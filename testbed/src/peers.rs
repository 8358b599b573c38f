//! Session-Reflectors that stand at an end of the pair: our own and others.

use std::process::Command;

use crate::{DEFAULT_TIMEOUT, End, Error, Process, binary, peer};

impl End {
    /// Starts a program here and waits for a line with `ready` in it.
    ///
    /// # Errors
    ///
    /// It does not start, or says no such thing in time.
    pub fn start(&self, command: &mut Command, ready: &str) -> Result<Process, Error> {
        let process = self.namespace.spawn(command)?;
        process.wait_for_line(ready, DEFAULT_TIMEOUT)?;
        Ok(process)
    }

    /// Starts our `reflector` on this interface and waits until it answers.
    ///
    /// # Errors
    ///
    /// See [`Self::start`].
    pub fn start_reflector(&self, options: &[&str]) -> Result<Process, Error> {
        let mut command = Command::new(binary("reflector")?);
        command.args(["--interface", self.interface]).args(options);
        self.start(&mut command, "ready: ")
    }

    /// Starts stamp-suite on an address of this end, port 862, and waits until it answers.
    ///
    /// # Errors
    ///
    /// Stamp-suite is not installed, or see [`Self::start`].
    pub fn start_stamp_suite(&self, address: &str, options: &[&str]) -> Result<Process, Error> {
        let program = peer("stamp-suite").ok_or_else(|| Error::Binary {
            name: "stamp-suite".to_owned(),
            problem: "scripts/install-deps --test installs it".to_owned(),
        })?;
        let mut command = Command::new(program);
        command.args(["--is-reflector", "--local-port", "862"]);
        command.args(["--local-addr", address]);
        self.start(command.args(options), "listening")
    }
}

/// The packets reflected by each queue, out of the summary that our `reflector` ends with.
#[must_use]
pub fn reflected_by_queue(summary: &str) -> Vec<u64> {
    summary
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() == 4 && words[0].parse::<u32>().is_ok())
        .filter_map(|words| words[2].parse().ok())
        .collect()
}
