//! `sender run` and `sender results`, from the command line to the exit status.

use std::io::{self, Write as _};
use std::path::Path;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::error::SeriesError;
use super::history::{self, SeriesFolder, Stored};
use super::plan::Plan;
use super::results::{self, Kept};
use super::runner::{self, Conclusion, Report};
use super::state_dir::state_dir;
use crate::args::series::{Command, ResultsArgs, RunArgs};
use crate::report::units;
use crate::signals::Interruptions;

/// Exit status when a test got no reply or could not be made.
const FAILURE: u8 = 1;
/// Exit status when the series file is wrong.
const USAGE: u8 = 2;
/// Exit status when a threshold is crossed.
const CROSSED: u8 = 3;

/// Carries out a command; returns its exit status.
///
/// # Errors
///
/// The reason why it could not, see [`status_of`].
pub fn main(command: Command) -> Result<u8, SeriesError> {
    match command {
        Command::Run(args) if args.check => check(&args.file),
        Command::Run(args) => run(args),
        Command::Results(args) => show(args),
    }
}

/// The exit status that goes with an error.
pub fn status_of(error: &SeriesError) -> u8 {
    match error {
        SeriesError::File(_) => USAGE,
        _ => FAILURE,
    }
}

fn check(file: &Path) -> Result<u8, SeriesError> {
    let plan = Plan::read(file)?;
    let tests = units::counted(plan.tests.len() as u64, "test", "tests");
    let file = crate::cli::one_line(&file.display().to_string());
    print(&format!(
        "{file}: series {} with {tests} is valid\n",
        plan.series
    ))?;
    Ok(0)
}

fn run(args: RunArgs) -> Result<u8, SeriesError> {
    let plan = Plan::read(&args.file)?;
    let plan = if args.once { plan.once() } else { plan };
    let folder = SeriesFolder::open(&state_dir(args.state_dir)?, &plan.series)?;
    let mut histories = Vec::with_capacity(plan.tests.len());
    for test in &plan.tests {
        let (history, warnings) = folder.history(&test.name, test.history)?;
        warn(&warnings);
        histories.push(history);
    }
    let width = plan
        .tests
        .iter()
        .map(|test| test.name.len())
        .max()
        .unwrap_or(0);
    let mut interruptions =
        Interruptions::watch(&[SIGINT, SIGTERM]).map_err(SeriesError::Signals)?;
    let tell = |report: &Report| match report {
        Report::Finished { .. } if args.quiet => Ok(()),
        Report::Finished { entry, .. } if args.json => {
            let mut line = serde_json::to_string(entry)?;
            line.push('\n');
            write_all(&line)
        }
        Report::Finished { entry, .. } => write_all(&entry.lines(width)),
        Report::NotKept(error) => {
            warn(&[format!("a result is not kept: {error}")]);
            Ok(())
        }
    };
    Ok(
        match runner::run(plan, histories, || interruptions.count(), tell)? {
            Conclusion::Good => 0,
            Conclusion::Crossed => CROSSED,
            Conclusion::Bad => FAILURE,
            Conclusion::Stopped => u8::from(args.once),
        },
    )
}

fn show(args: ResultsArgs) -> Result<u8, SeriesError> {
    let state_dir = state_dir(args.state_dir)?;
    let mut names = match &args.file {
        Some(file) => {
            let plan = Plan::read(file)?;
            let series = plan.series;
            plan.tests
                .into_iter()
                .map(|test| (series.clone(), test.name))
                .collect()
        }
        None => history::kept_tests(&state_dir)?,
    };
    if names.is_empty() {
        return Err(SeriesError::NoResults(state_dir));
    }
    if let Some(name) = args.name {
        let full = |(series, test): &(String, String)| format!("{series}/{test}");
        let wanted = |names: &(String, String)| names.1 == name || full(names) == name;
        if !names.iter().any(wanted) {
            let known = names.iter().map(full).collect();
            return Err(SeriesError::NoSuchTest { name, known });
        }
        names.retain(wanted);
    }
    let mut tests = Vec::with_capacity(names.len());
    for (series, test) in names {
        let Stored { entries, warnings } = history::stored(&state_dir, &series, &test)?;
        warn(&warnings);
        tests.push(Kept {
            series,
            test,
            entries,
        });
    }
    // A file, and a history whose lines are all damaged, have names but no results.
    if tests.iter().all(|kept| kept.entries.is_empty()) {
        return Err(SeriesError::NoResults(state_dir));
    }
    let text = match (args.json, args.history) {
        (true, history) => lines_of_json(&tests, history).map_err(SeriesError::Output)?,
        (false, true) => results::history(&tests),
        (false, false) => results::summary(&tests),
    };
    print(&text)?;
    Ok(0)
}

/// The last result of each test, or all, as JSON.
fn lines_of_json(tests: &[Kept], history: bool) -> io::Result<String> {
    let mut text = String::new();
    for kept in tests {
        let first = if history {
            0
        } else {
            kept.entries.len().saturating_sub(1)
        };
        for entry in kept.entries.iter().skip(first) {
            text.push_str(&serde_json::to_string(entry)?);
            text.push('\n');
        }
    }
    Ok(text)
}

/// Warnings on standard error; where that is gone too there is nobody to warn.
fn warn(warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(
            io::stderr(),
            "sender: warning: {}",
            crate::cli::one_line(warning)
        );
    }
}

fn print(text: &str) -> Result<(), SeriesError> {
    write_all(text).map_err(SeriesError::Output)
}

fn write_all(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
