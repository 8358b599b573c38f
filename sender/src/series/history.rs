//! The last results of each test, kept on disk: a folder per series, a file of JSON lines per test.
//!
//! Whoever runs a series holds the lock of its folder. A file is written anew beside the old one
//! and takes its place when it is whole, so readers need no lock and a crash costs no result.

use std::collections::VecDeque;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::entry::Entry;
use super::error::SeriesError;

/// How the name of a file with results ends.
const SUFFIX: &str = ".jsonl";
/// The file that is locked.
const LOCK: &str = ".lock";

/// The folder of a series, locked.
#[derive(Debug)]
pub struct SeriesFolder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl SeriesFolder {
    /// Makes the folder if need be, and locks it.
    ///
    /// # Errors
    ///
    /// [`SeriesError::Locked`] when another process has it, [`SeriesError::State`] when it cannot be
    /// used.
    pub fn open(state_dir: &Path, series: &str) -> Result<Self, SeriesError> {
        let path = state_dir.join(series);
        let state = |source| SeriesError::State {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(&path).map_err(state)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(state)?;
        // That the folder takes files is found out now, and not after the first test.
        tempfile::tempfile_in(&path).map_err(state)?;
        match Flock::lock(
            file.try_clone().map_err(state)?,
            FlockArg::LockExclusiveNonblock,
        ) {
            Ok(mut lock) => {
                lock.set_len(0).map_err(state)?;
                writeln!(lock, "{}", std::process::id()).map_err(state)?;
                Ok(Self { path, _lock: lock })
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                // The number is a courtesy.
                let _ = file.read_to_string(&mut text);
                Err(SeriesError::Locked {
                    series: series.to_owned(),
                    holder: text.trim().parse().ok(),
                })
            }
            Err((_, errno)) => Err(state(errno.into())),
        }
    }

    /// The history of a test, of which the last `size` results are kept, and warnings about it.
    ///
    /// # Errors
    ///
    /// It is there and cannot be read.
    pub fn history(&self, test: &str, size: usize) -> Result<(History, Vec<String>), SeriesError> {
        let path = file_of(&self.path, test);
        let Stored { entries, warnings } = read(&path)?;
        let mut entries = VecDeque::from(entries);
        entries.drain(..entries.len().saturating_sub(size));
        let history = History {
            path,
            size,
            entries,
        };
        Ok((history, warnings))
    }
}

/// The last results of a test.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    size: usize,
    entries: VecDeque<Entry>,
}

impl History {
    /// The last result.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Adds a result, and forgets the oldest if there are enough.
    ///
    /// # Errors
    ///
    /// It cannot be written; it is tried again with the next result.
    pub fn push(&mut self, entry: Entry) -> Result<(), SeriesError> {
        while self.entries.len() >= self.size.max(1) {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.write().map_err(|source| SeriesError::State {
            path: self.path.clone(),
            source,
        })
    }

    fn write(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut draft = tempfile::Builder::new()
            .prefix(".")
            // Less what the user's mask takes away, like any new file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        let mut text = Vec::new();
        for entry in &self.entries {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        draft.write_all(&text)?;
        // The name must not reach the disk before what it names.
        draft.as_file().sync_data()?;
        draft
            .persist(&self.path)
            .map(drop)
            .map_err(|error| error.error)
    }
}

/// What is in a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    /// The results, oldest first.
    pub entries: Vec<Entry>,
    /// A sentence about each line that is none.
    pub warnings: Vec<String>,
}

/// The results of a test of a series.
///
/// # Errors
///
/// They are there and cannot be read.
pub fn stored(state_dir: &Path, series: &str, test: &str) -> Result<Stored, SeriesError> {
    read(&file_of(&state_dir.join(series), test))
}

/// The tests with results in a folder, as series and test, in the order of their names.
///
/// # Errors
///
/// The folder is there and cannot be read.
pub fn kept_tests(state_dir: &Path) -> Result<Vec<(String, String)>, SeriesError> {
    let mut tests = Vec::new();
    for series in names(state_dir)? {
        let folder = state_dir.join(&series);
        if series.starts_with('.') || !folder.is_dir() {
            continue;
        }
        for file in names(&folder)? {
            if let Some(test) = file
                .strip_suffix(SUFFIX)
                .filter(|test| !test.starts_with('.'))
            {
                tests.push((series.clone(), test.to_owned()));
            }
        }
    }
    tests.sort_unstable();
    Ok(tests)
}

/// The names in a folder; none if there is no such folder. Names that are no text are not ours.
fn names(folder: &Path) -> Result<Vec<String>, SeriesError> {
    let state = |source| SeriesError::State {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(state)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(state)?.file_name().into_string().ok());
    }
    Ok(names)
}

fn file_of(folder: &Path, test: &str) -> PathBuf {
    folder.join(format!("{test}{SUFFIX}"))
}

/// What is in a file; nothing if there is none.
fn read(path: &Path) -> Result<Stored, SeriesError> {
    let octets = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
        other => other.map_err(|source| SeriesError::State {
            path: path.to_owned(),
            source,
        })?,
    };
    let mut stored = Stored::default();
    let lines = octets.split(|&octet| octet == b'\n').enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(entry) => stored.entries.push(entry),
            Err(_) => stored.warnings.push(format!(
                "line {} of '{}' is damaged and left out",
                number + 1,
                path.display()
            )),
        }
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::entry::tests::entry;

    fn ends(entries: &[Entry]) -> Vec<String> {
        entries
            .iter()
            .map(|entry| entry.end.to_string()[17..19].to_owned())
            .collect()
    }

    #[test]
    fn the_last_results_survive_and_the_oldest_are_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let folder = SeriesFolder::open(state.path(), "lab").unwrap();
        let (mut history, warnings) = folder.history("core", 3).unwrap();
        assert!(history.last().is_none() && warnings.is_empty());
        for second in 0..5 {
            history.push(entry("core", second)).unwrap();
        }
        let kept = stored(state.path(), "lab", "core").unwrap();
        assert_eq!(ends(&kept.entries), ["02", "03", "04"]);
        drop(folder);
        // A smaller history from now on.
        let folder = SeriesFolder::open(state.path(), "lab").unwrap();
        let (mut history, _) = folder.history("core", 2).unwrap();
        assert_eq!(history.last(), Some(&entry("core", 4)));
        history.push(entry("core", 5)).unwrap();
        let kept = stored(state.path(), "lab", "core").unwrap();
        assert_eq!(ends(&kept.entries), ["04", "05"]);
        let mut left = names(&state.path().join("lab")).unwrap();
        left.sort();
        assert_eq!(left, [".lock", "core.jsonl"], "and no draft is left");
    }

    #[test]
    fn a_damaged_line_costs_no_other() {
        let state = tempfile::tempdir().unwrap();
        let folder = SeriesFolder::open(state.path(), "lab").unwrap();
        let path = file_of(&folder.path, "core");
        let good = |second| serde_json::to_string(&entry("core", second)).unwrap();
        let torn = &good(3)[..100];
        let text = format!("{}\n\u{0}\u{1}\n\n{}\n{torn}", good(1), good(2));
        let mut octets = text.into_bytes();
        octets.extend([b'\n', 0xff, 0xfe]);
        fs::write(&path, octets).unwrap();
        let (mut history, warnings) = folder.history("core", 10).unwrap();
        let damaged: Vec<&str> = warnings.iter().map(|warning| &warning[..7]).collect();
        assert_eq!(damaged, ["line 2 ", "line 5 ", "line 6 "]);
        history.push(entry("core", 4)).unwrap();
        let kept = stored(state.path(), "lab", "core").unwrap();
        assert_eq!(
            (ends(&kept.entries), kept.warnings.len()),
            (vec!["01".into(), "02".into(), "04".into()], 0)
        );
    }

    #[test]
    fn a_series_is_run_by_one_process_at_a_time() {
        let state = tempfile::tempdir().unwrap();
        let folder = SeriesFolder::open(state.path(), "lab").unwrap();
        let error = SeriesFolder::open(state.path(), "lab")
            .unwrap_err()
            .to_string();
        let holder = format!(
            "'lab' is being run by another process ({})",
            std::process::id()
        );
        assert!(error.contains(&holder), "{error}");
        SeriesFolder::open(state.path(), "other").unwrap();
        drop(folder);
        SeriesFolder::open(state.path(), "lab").unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_told_at_once() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("lab"), "a file").unwrap();
        let error = SeriesFolder::open(state.path(), "lab")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("cannot use '") && error.contains("--state-dir"),
            "{error}"
        );
        assert!(
            kept_tests(&state.path().join("missing"))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_result_that_could_not_be_written_is_written_with_the_next() {
        let state = tempfile::tempdir().unwrap();
        let folder = SeriesFolder::open(state.path(), "lab").unwrap();
        let (mut history, _) = folder.history("core", 3).unwrap();
        let away = state.path().join("away");
        fs::rename(state.path().join("lab"), &away).unwrap();
        history.push(entry("core", 1)).unwrap_err();
        fs::rename(&away, state.path().join("lab")).unwrap();
        history.push(entry("core", 2)).unwrap();
        let kept = stored(state.path(), "lab", "core").unwrap();
        assert_eq!(ends(&kept.entries), ["01", "02"]);
    }
}
