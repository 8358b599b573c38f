//! Children under guard.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Error, wait_for};

/// A running child whose standard output and error are collected line by line.
///
/// Dropping it kills and reaps the child, whatever the test did.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
    collected: Arc<Collected>,
    /// Ended and reaped: its process id may be another's by now.
    ended: bool,
}

#[derive(Debug, Default)]
struct Collected {
    output: Mutex<Output>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Output {
    lines: Vec<(Stream, String)>,
    /// Streams that have not ended yet.
    open: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

impl Process {
    /// Starts `command` with no standard input and both output streams collected.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self, Error> {
        let line = command_line(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Error::io(format!("start `{line}`"), error))?;
        let collected = Arc::<Collected>::default();
        if let Some(stdout) = child.stdout.take() {
            collect(&collected, Stream::Stdout, stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            collect(&collected, Stream::Stderr, stderr);
        }
        Ok(Self {
            child,
            command: line,
            collected,
            ended: false,
        })
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line, on either stream, that contains `pattern`; lines already written count.
    ///
    /// # Errors
    /// After `timeout`, or at once when both streams have ended without such a line; the error
    /// carries everything the child wrote.
    pub fn wait_for_line(&self, pattern: &str, timeout: Duration) -> Result<String, Error> {
        let deadline = Instant::now() + timeout;
        let mut seen = 0;
        let mut output = self.collected.lock();
        loop {
            let found = output.lines[seen..]
                .iter()
                .find(|(_, line)| line.contains(pattern));
            if let Some((_, line)) = found {
                return Ok(line.clone());
            }
            seen = output.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if output.open == 0 || left.is_zero() {
                let how = if output.open == 0 { "ended" } else { "went on" };
                let problem = format!("{how} without a line with {pattern:?}");
                return Err(self.failure(problem, &output));
            }
            output = self.collected.wait(output, left);
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the child has ended and been reaped already.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        if self.ended {
            return Err(self.failure("has ended already".to_owned(), &self.collected.lock()));
        }
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other);
        pid.and_then(|pid| kill(Pid::from_raw(pid), signal).map_err(io::Error::from))
            .map_err(|error| Error::io(format!("send {signal} to `{}`", self.command), error))
    }

    /// Waits until the child has ended and its output is complete, and reaps it.
    ///
    /// # Errors
    /// After `timeout`; the child is still there then, and the error carries what it wrote.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus, Error> {
        let deadline = Instant::now() + timeout;
        let child = &mut self.child;
        let exited = wait_for("the child ends", timeout, || child.try_wait().transpose());
        let Ok(status) = exited else {
            return Err(self.failure("did not end in time".to_owned(), &self.collected.lock()));
        };
        self.ended = true;
        // A grandchild may hold the pipes open longer: then what was read by the deadline counts.
        let mut output = self.collected.lock();
        while output.open > 0 && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            output = self.collected.wait(output, left);
        }
        drop(output);
        status.map_err(|error| Error::io(format!("wait for `{}`", self.command), error))
    }

    /// What the child wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.collected.lock().text(Stream::Stdout)
    }

    /// What the child wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.collected.lock().text(Stream::Stderr)
    }

    fn failure(&self, problem: String, output: &Output) -> Error {
        let mark = |(stream, line): &(Stream, String)| match stream {
            Stream::Stdout => format!("  out| {line}\n"),
            Stream::Stderr => format!("  err| {line}\n"),
        };
        let output = output.lines.iter().map(mark).collect();
        Error::Process {
            command: self.command.clone(),
            problem,
            output,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the child is reaped already. The readers are not joined: a
        // grandchild could hold a pipe open for ever.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collected {
    /// A reader that panicked leaves whole lines behind: poison says nothing here.
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, held: MutexGuard<'a, Output>, at_most: Duration) -> MutexGuard<'a, Output> {
        self.changed
            .wait_timeout(held, at_most)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

impl Output {
    fn text(&self, stream: Stream) -> String {
        let lines = self.lines.iter().filter(|(from, _)| *from == stream);
        lines.flat_map(|(_, line)| [line.as_str(), "\n"]).collect()
    }
}

/// Reads `pipe` to its end on a thread of its own.
fn collect(collected: &Arc<Collected>, stream: Stream, pipe: impl Read + Send + 'static) {
    collected.lock().open += 1;
    let collected = Arc::clone(collected);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line)
                .trim_end_matches('\r')
                .to_owned();
            collected.lock().lines.push((stream, line));
            collected.changed.notify_all();
        }
        collected.lock().open -= 1;
        collected.changed.notify_all();
    });
}

/// The command as a person would type it, for messages.
fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
