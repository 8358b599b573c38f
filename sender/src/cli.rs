//! The program: from the command line to the exit status.

mod search;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::series::Command;
use crate::args::{self, Refusal};
use crate::config::{Config, JsonTo};
use crate::error::Error;
use crate::limits::Breach;
use crate::outputs::Outputs;
use crate::report::table;
use crate::series;
use watch::Watch;

/// Exit status of a run that failed or got no reply.
const FAILURE: u8 = 1;
/// Exit status of a wrong command line.
const USAGE: u8 = 2;
/// Exit status of a run that did not keep a limit.
const BREACH: u8 = 3;

/// Runs the program with a command line, program name first.
pub fn main(command_line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command_line: Vec<OsString> = command_line.into_iter().collect();
    if let Some(command) = Command::parse(&command_line) {
        return match command.map(series::cli::main) {
            Ok(Ok(status)) => ExitCode::from(status),
            Ok(Err(error)) => fail(&error, series::cli::status_of(&error)),
            Err(refusal) => refuse(&refusal),
        };
    }
    let args = match args::parse(command_line) {
        Ok(args) => args,
        Err(refusal) => return refuse(&refusal),
    };
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return fail(&error, USAGE),
    };
    let done = match config.timing.ramp {
        Some(plan) => search::run(&config, plan).map(|()| Vec::new()),
        None => measure(&config),
    };
    match done {
        Err(error) => fail(&error, FAILURE),
        Ok(breaches) if breaches.is_empty() => ExitCode::SUCCESS,
        Ok(breaches) => {
            for breach in breaches {
                fail(&breach, BREACH);
            }
            ExitCode::from(BREACH)
        }
    }
}

/// Answers a command line that is no run.
fn refuse(refusal: &Refusal) -> ExitCode {
    match refusal {
        Refusal::Answer(text) => match write_all(io::stdout(), text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, FAILURE),
        },
        Refusal::Usage(message) => fail(message, USAGE),
    }
}

fn fail(message: &impl std::fmt::Display, status: u8) -> ExitCode {
    let line = one_line(&format!("sender: {message}"));
    // Where standard error is gone too, the status must do.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(status)
}

/// A message as one line, whatever is in the names and paths that it quotes.
pub(crate) fn one_line(message: &str) -> String {
    let escape = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    message.chars().map(escape).collect()
}

/// Runs the measurement and reports it; the limits that were not kept.
fn measure(config: &Config) -> Result<Vec<Breach>, Error> {
    let mut outputs = Outputs::open(config)?;
    // While the handlers are not installed, a signal ends a look-up that hangs.
    let addresses = crate::run::resolve(config)?;
    let mut watch = Watch::new(config)?;
    let recorder = outputs.recorder(config, watch.is_live())?;
    let outcome = watch.run(config, &addresses, recorder.as_ref(), &mut outputs)?;
    // What goes wrong with the one report does not cost the other.
    let written = outputs.finish(config, &outcome, recorder, |interval| {
        watch.interval(interval);
    });
    watch.clear();
    let shown = tell(config, &table::render(&outcome, config.output.per_session));
    written.and(shown)?;
    if let Some(silence) = outcome.silence() {
        return Err(Error::NoReply {
            target: outcome.target,
            silence,
        });
    }
    let limits = config.output.fail_if.iter();
    Ok(limits.filter_map(|limit| limit.check(&outcome)).collect())
}

/// Prints what came of it, unless the user asked for quiet.
fn tell(config: &Config, text: &str) -> Result<(), Error> {
    match config.output.json {
        _ if config.output.quiet => Ok(()),
        Some(JsonTo::Stdout) => write_all(io::stderr(), text),
        _ => write_all(io::stdout(), text),
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
