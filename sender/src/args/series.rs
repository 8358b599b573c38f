//! The command lines of `sender run` and `sender results`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use clap::error::ErrorKind;

use super::{Refusal, sentence};

/// Run the test series of a file, like the probes of a router.
///
/// Each test of the file runs on its own timetable: a number of packets to its target, again at
/// every interval, for as many tests as the file says. A line per test is printed, and one for each
/// threshold that is crossed or recovers; the last results of each test are kept, see sender
/// results. Ctrl-C stops sending and keeps what was measured; a second Ctrl-C does not wait for the
/// replies still out. Exit status: 0 when the last test of each name got replies and crosses no
/// threshold, or when a series without --once was stopped; 1 when one got no reply, could not be
/// made, or was stopped with --once; 2 when the command line or the file is wrong; 3 when one
/// crosses a threshold.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "sender run", bin_name = "sender run")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct RunArgs {
    /// Series file (TOML); what can be in it is described in docs/test-series.md
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Check the file and run nothing
    #[arg(long, conflicts_with_all = ["once", "json", "quiet"])]
    pub check: bool,

    /// Run each test once, after its start-offset, whatever its test-count
    #[arg(long)]
    pub once: bool,

    /// Print each result as a line of JSON
    #[arg(long)]
    pub json: bool,

    /// Print no results: they are kept all the same
    #[arg(long, short, conflicts_with = "json")]
    pub quiet: bool,

    /// Folder to keep results in.
    #[arg(
        long,
        value_name = "DIR",
        help = "Folder to keep results in [default: /var/lib/xdp-twamp for root, else xdp-twamp in \
                $XDG_STATE_HOME or in ~/.local/state]"
    )]
    pub state_dir: Option<PathBuf>,
}

/// Show the results that sender run has kept.
///
/// A table of the last result of each test, and since when its thresholds are crossed or not. Exit
/// status: 0 when there is something to show, 1 when there is not, 2 when the command line or the
/// file is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "sender results", bin_name = "sender results")]
pub struct ResultsArgs {
    /// Show this test only: its name, or SERIES/NAME
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Show the tests of this series file only, in its order
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Show all results that are kept, not only the last
    #[arg(long)]
    pub history: bool,

    /// Print each result as a line of JSON
    #[arg(long)]
    pub json: bool,

    /// Folder that results are kept in [default: as with sender run]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// What the first argument asks for, if it is no target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `sender run`.
    Run(RunArgs),
    /// `sender results`.
    Results(ResultsArgs),
}

impl Command {
    /// Reads a command line, program name first; `None` if it is that of a single run. A host whose
    /// name is that of a command is written with its port, like `run:862`.
    ///
    /// # Errors
    ///
    /// As [`super::parse`].
    pub fn parse(line: &[OsString]) -> Option<Result<Self, Refusal>> {
        let words = line.get(1..)?;
        match words.first()?.to_str()? {
            "run" => Some(parse(words, "like sender run probes.toml").map(Self::Run)),
            "results" => Some(parse(words, "").map(Self::Results)),
            _ => None,
        }
    }
}

/// Reads the words of a command, its name first.
fn parse<T: Parser>(words: &[OsString], example: &str) -> Result<T, Refusal> {
    T::try_parse_from(words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Refusal::Answer(error.render().to_string())
        }
        ErrorKind::MissingRequiredArgument => {
            Refusal::Usage(format!("no series file is given: name one, {example}"))
        }
        _ => Refusal::Usage(sentence(&error)),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn command(line: &str) -> Option<Result<Command, Refusal>> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Command::parse(&words)
    }

    #[test]
    fn the_definitions_are_consistent() {
        RunArgs::command().debug_assert();
        ResultsArgs::command().debug_assert();
    }

    #[test]
    fn only_the_first_word_is_a_command() {
        for line in [
            "",
            "sender",
            "sender run:862",
            "sender --count 5 run",
            "sender 192.0.2.1 run",
        ] {
            assert_eq!(command(line), None, "{line}");
        }
        let Some(Ok(Command::Run(run))) = command("sender run probes.toml --once") else {
            panic!("no command")
        };
        assert_eq!(
            (run.file, run.once, run.check),
            (PathBuf::from("probes.toml"), true, false)
        );
        let Some(Ok(Command::Results(results))) = command("sender results core --history") else {
            panic!("no command")
        };
        assert_eq!(
            (results.name.as_deref(), results.history),
            (Some("core"), true)
        );
    }

    #[test]
    fn every_refusal_is_one_line_that_names_the_argument() {
        for (line, named) in [
            ("sender run", "sender run probes.toml"),
            ("sender run a b", "'b'"),
            ("sender run a --check --once", "--once"),
            ("sender run a --no-such-option", "--no-such-option"),
            ("sender run a --onec", "a similar one, '--once'"),
            ("sender results a b", "'b'"),
            ("sender results --file", "--file"),
        ] {
            let Some(Err(Refusal::Usage(message))) = command(line) else {
                panic!("{line} was not refused")
            };
            assert!(
                message.contains(named) && !message.contains('\n'),
                "{message}"
            );
        }
        let Some(Err(Refusal::Answer(help))) = command("sender run --help") else {
            panic!("no help")
        };
        assert!(help.contains("Usage: sender run"), "{help}");
        let Some(Err(Refusal::Answer(results))) = command("sender results --help") else {
            panic!("no help")
        };
        assert!(!format!("{help}{results}").contains('`'), "no Markdown");
    }
}
