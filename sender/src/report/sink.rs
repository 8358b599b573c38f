//! Files that grow during a run. What the system does not take is told once, and does not stop the
//! measurement.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use thiserror::Error;

/// Octets gathered before they are written: some thousand packets.
const BUFFER: usize = 256 * 1024;

/// An output file that could not be opened or filled, in one sentence.
#[derive(Debug, Error)]
#[error("cannot write {what} to {name}: {source}")]
pub struct OutputError {
    /// What should have been written, such as `intervals`.
    what: &'static str,
    name: String,
    source: io::Error,
}

/// A buffered file with a name for its one error.
#[derive(Debug)]
pub(crate) struct Sink<W> {
    writer: W,
    what: &'static str,
    name: String,
    failed: bool,
}

/// Opens `path` anew for writing, or the pipe or device it names.
pub(crate) fn create(
    what: &'static str,
    path: &Path,
) -> Result<(BufWriter<File>, String), OutputError> {
    let name = path.display().to_string();
    match File::create(path) {
        Ok(file) => Ok((BufWriter::with_capacity(BUFFER, file), name)),
        Err(source) => Err(OutputError { what, name, source }),
    }
}

impl<W> Sink<W> {
    pub(crate) fn new(what: &'static str, name: String, writer: W) -> Self {
        Self {
            writer,
            what,
            name,
            failed: false,
        }
    }

    /// Whether something failed before.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    /// Does `write` unless something failed before. The first failure is the only one returned.
    pub(crate) fn attempt(
        &mut self,
        write: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        if self.failed {
            return Ok(());
        }
        write(&mut self.writer).map_err(|source| {
            self.failed = true;
            OutputError {
                what: self.what,
                name: self.name.clone(),
                source,
            }
        })
    }
}
