//! The program: from the command line to the exit status.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::{self, Refusal};
use crate::config::{Config, JsonTo};
use crate::control::Control;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::progress::ProgressLine;
use crate::report::{json, table};

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
    // Where standard error is gone too, the status must do.
    let _ = writeln!(io::stderr(), "sender: {message}");
    ExitCode::from(status)
}

/// Runs the measurement and reports it.
fn measure(config: &Config) -> Result<(), Error> {
    let json = JsonFile::open(config)?;
    let outcome = run_watched(config)?;
    if !config.quiet {
        let text = table::render(&outcome);
        match config.json {
            Some(JsonTo::Stdout) => write_all(io::stderr(), &text),
            _ => write_all(io::stdout(), &text),
        }?;
    }
    json.write(&outcome)?;
    match outcome.silence() {
        Some(silence) => Err(Error::NoReply {
            target: outcome.target,
            silence,
        }),
        None => Ok(()),
    }
}

/// Runs the measurement in a thread of its own, while this one looks after signals and progress.
fn run_watched(config: &Config) -> Result<Outcome, Error> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Error::Signals)?;
    let control = &Control::default();
    let mut progress = ProgressLine::new(config);
    let (done, finished) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        thread::Builder::new()
            .name("run".to_owned())
            .spawn_scoped(scope, move || {
                // The watcher below waits for this and goes nowhere before.
                let _ = done.send(crate::run::run(config, control));
            })
            .map_err(Error::Thread)?;
        let mut interruptions = 0;
        let result = loop {
            match finished.recv_timeout(WATCH) {
                Ok(result) => break result,
                Err(RecvTimeoutError::Timeout) => {}
                // The thread panicked; the scope passes that on.
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(Error::Thread(io::Error::other("it ended without a result")));
                }
            }
            interruptions += signals.pending().count();
            match interruptions {
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

/// The place for the JSON document, opened before the run so that a wrong path costs no time.
enum JsonFile<'a> {
    None,
    Stdout,
    File(&'a Path, File),
}

impl<'a> JsonFile<'a> {
    fn open(config: &'a Config) -> Result<Self, Error> {
        match &config.json {
            None => Ok(Self::None),
            Some(JsonTo::Stdout) => Ok(Self::Stdout),
            Some(JsonTo::File(path)) => File::options()
                .create(true)
                .write(true)
                // A result that is there stays until there is a new one.
                .truncate(false)
                .open(path)
                .map(|file| Self::File(path, file))
                .map_err(|source| Error::Json {
                    path: path.clone(),
                    source,
                }),
        }
    }

    fn write(self, outcome: &Outcome) -> Result<(), Error> {
        let text = || json::render(outcome).map_err(io::Error::from);
        match self {
            Self::None => Ok(()),
            Self::Stdout => write_all(io::stdout(), &text().map_err(Error::Output)?),
            Self::File(path, file) => {
                text()
                    .and_then(|text| replace(file, &text))
                    .map_err(|source| Error::Json {
                        path: path.to_owned(),
                        source,
                    })
            }
        }
    }
}

/// Makes `text` the whole content of a file.
fn replace(mut file: File, text: &str) -> io::Result<()> {
    // A pipe or a device has no length to set.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(text.as_bytes())
}

fn write_all(mut to: impl Write, text: &str) -> Result<(), Error> {
    to.write_all(text.as_bytes())
        .and_then(|()| to.flush())
        .map_err(Error::Output)
}
