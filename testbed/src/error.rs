//! The one error of this crate.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Why the testbed could not do what a test asked.
///
/// `Debug` prints the same sentence as `Display`: tests `unwrap`, and a program's log is only
/// readable when its line breaks are not escaped.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused an operation.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was tried, as it reads after "cannot".
        operation: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A command ran and failed.
    #[error("`{command}` failed ({status}):\n{stderr}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// A child did not do what was waited for.
    #[error("`{command}` {problem}; it wrote:\n{output}")]
    Process {
        /// The command line.
        command: String,
        /// What went wrong, as it reads after the command's name.
        problem: String,
        /// Everything it wrote so far, each line marked with its stream.
        output: String,
    },
    /// A condition did not come true in time.
    #[error("waited {timeout:?} in vain until {description}")]
    Timeout {
        /// What was waited for, as it reads after "until".
        description: String,
        /// For how long.
        timeout: Duration,
    },
    /// A workspace binary is neither there nor could it be built.
    #[error("no binary `{name}`: {problem}")]
    Binary {
        /// The binary's name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A frame does not read as a UDP datagram.
    #[error("not a whole UDP datagram: {0}")]
    Dissect(String),
    /// The impairment relay could not go on.
    #[error("the relay failed: {0}")]
    Relay(String),
    /// The scripted reflector could not go on.
    #[error("the scripted reflector failed: {0}")]
    Reflector(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Wraps the kernel's refusal of `operation`.
    pub(crate) fn io(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            operation: operation.into(),
            source: source.into(),
        }
    }
}
