//! The program: from the command line to the exit status.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::{self, Refusal};
use crate::config::{Config, JsonTo};
use crate::control::Control;
use crate::error::Error;
use crate::json_file::JsonFile;
use crate::outcome::Outcome;
use crate::progress::ProgressLine;
use crate::report::{json, table};
use crate::signals::Interruptions;

/// Exit status of a run that failed or got no reply.
const FAILURE: u8 = 1;
/// Exit status of a wrong command line.
const USAGE: u8 = 2;
/// Time between two looks at signals and progress.
const WATCH: Duration = Duration::from_millis(100);

/// Runs the program with a command line, program name first.
pub fn main(command_line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match args::parse(command_line) {
        Ok(args) => args,
        Err(Refusal::Answer(text)) => {
            return match write_all(io::stdout(), &text) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error, FAILURE),
            };
        }
        Err(Refusal::Usage(message)) => return fail(&message, USAGE),
    };
    match Config::try_from(args) {
        Err(error) => fail(&error, USAGE),
        Ok(config) => match measure(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, FAILURE),
        },
    }
}

fn fail(message: &impl std::fmt::Display, status: u8) -> ExitCode {
    let line = one_line(&format!("sender: {message}"));
    // Where standard error is gone too, the status must do.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(status)
}

/// A message as one line, whatever is in the names and paths that it quotes.
fn one_line(message: &str) -> String {
    let escape = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    message.chars().map(escape).collect()
}

/// Runs the measurement and reports it.
fn measure(config: &Config) -> Result<(), Error> {
    let json = JsonOutput::open(config)?;
    // While the handlers are not installed, a signal ends a look-up that hangs.
    let addresses = crate::run::resolve(config)?;
    let outcome = run_watched(config, &addresses)?;
    // What goes wrong with the one report does not cost the other.
    let documented = json.write(&outcome);
    let shown = show(config, &outcome);
    documented.and(shown)?;
    match outcome.silence() {
        Some(silence) => Err(Error::NoReply {
            target: outcome.target,
            silence,
        }),
        None => Ok(()),
    }
}

/// Prints the table, unless the user asked for quiet.
fn show(config: &Config, outcome: &Outcome) -> Result<(), Error> {
    let text = table::render(outcome);
    match config.json {
        _ if config.quiet => Ok(()),
        Some(JsonTo::Stdout) => write_all(io::stderr(), &text),
        _ => write_all(io::stdout(), &text),
    }
}

/// Runs the measurement in a thread of its own, while this one looks after signals and progress.
fn run_watched(config: &Config, addresses: &[SocketAddr]) -> Result<Outcome, Error> {
    let mut interruptions = Interruptions::watch(&[SIGINT, SIGTERM]).map_err(Error::Signals)?;
    let control = &Control::default();
    let mut progress = ProgressLine::new(config);
    let (done, finished) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        thread::Builder::new()
            .name("run".to_owned())
            .spawn_scoped(scope, move || {
                // The watcher below waits for this and goes nowhere before.
                let _ = done.send(crate::run::run(config, addresses, control));
            })
            .map_err(Error::Thread)?;
        let result = loop {
            match finished.recv_timeout(WATCH) {
                Ok(result) => break result,
                Err(RecvTimeoutError::Timeout) => {}
                // The thread panicked; the scope passes that on.
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(Error::Thread(io::Error::other("it ended without a result")));
                }
            }
            match interruptions.count() {
                0 => {}
                1 => control.stop_sending(),
                _ => control.stop_waiting(),
            }
            progress.show(control.progress());
        };
        progress.clear();
        result
    })
}

/// Where the JSON document goes.
enum JsonOutput<'a> {
    None,
    Stdout,
    File(&'a Path, JsonFile),
}

impl<'a> JsonOutput<'a> {
    fn open(config: &'a Config) -> Result<Self, Error> {
        match &config.json {
            None => Ok(Self::None),
            Some(JsonTo::Stdout) => Ok(Self::Stdout),
            Some(JsonTo::File(path)) => JsonFile::open(path)
                .map(|file| Self::File(path, file))
                .map_err(json_error(path)),
        }
    }

    fn write(self, outcome: &Outcome) -> Result<(), Error> {
        let text = || json::render(outcome).map_err(io::Error::from);
        match self {
            Self::None => Ok(()),
            Self::Stdout => write_all(io::stdout(), &text().map_err(Error::Output)?),
            Self::File(path, file) => text()
                .and_then(|text| file.write(&text))
                .map_err(json_error(path)),
        }
    }
}

fn json_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Json {
        path: path.to_owned(),
        source,
    }
}

fn write_all(mut to: impl Write, text: &str) -> Result<(), Error> {
    to.write_all(text.as_bytes())
        .and_then(|()| to.flush())
        .map_err(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_quotes_does_not_break_its_line() {
        assert_eq!(one_line("'a\nb\u{1b}[2Jµ'"), "'a\\nb\\u{1b}[2Jµ'");
    }
}
