//! Why a series cannot be run or shown: one sentence each.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// What is wrong with a series file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}", file.display(), Line(*line))]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong, with the key, and what would be right.
    pub problem: String,
}

/// `:12`, or nothing.
struct Line(Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// A failure of `sender run` or `sender results`.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// The series file cannot be understood.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no place for the results.
    #[error(
        "neither XDG_STATE_HOME nor HOME says where results are kept; name a folder with --state-dir"
    )]
    NoStateDir,
    /// The folder of the results, or a file in it, cannot be used.
    #[error("cannot use '{}' for results: {source}; check it or name another folder with --state-dir", path.display())]
    State {
        /// The folder or file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Another process writes there.
    #[error(
        "series '{series}' is being run by another process{}; stop that one, give this series \
         another name (series = \"...\" in its file), or use another folder with --state-dir",
        holder.map(|pid| format!(" ({pid})")).unwrap_or_default()
    )]
    Locked {
        /// The series.
        series: String,
        /// The other process, if it left its number.
        holder: Option<u32>,
    },
    /// There is nothing to show.
    #[error("there are no results to show in '{}': run a series with sender run FILE", .0.display())]
    NoResults(PathBuf),
    /// Nothing has that name.
    #[error("there are no results of '{name}'; there are some of {}", known.join(", "))]
    NoSuchTest {
        /// The name.
        name: String,
        /// What there is, as SERIES/TEST.
        known: Vec<String>,
    },
    /// A thread would not start.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A thread of a test panicked.
    #[error("test '{0}' ended by an error in this program")]
    Panic(String),
    /// Signals cannot be caught.
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    /// Standard output cannot be written.
    #[error("cannot write the results: {0}")]
    Output(io::Error),
}
