//! The place for a document, JSON or HTML: opened before the run, so that a wrong path costs no time, and
//! filled after it.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Where a document will be written.
#[derive(Debug)]
pub enum DocumentFile {
    /// A regular file. The document is written beside it and takes its place when it is whole, so
    /// that a run that fails leaves the last result.
    Replaced {
        /// The file that will be, with links followed.
        path: PathBuf,
        /// The file beside it, gone when this is dropped.
        draft: NamedTempFile,
    },
    /// A pipe or a device.
    Direct(File),
}

impl DocumentFile {
    /// Makes sure that `path` can be written.
    ///
    /// # Errors
    ///
    /// It cannot, or its folder cannot.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => {
                File::options().write(true).open(path).map(Self::Direct)
            }
            Ok(found) => {
                // A file that may not be written is not to be replaced either.
                File::options().write(true).open(path)?;
                Self::replace(fs::canonicalize(path)?, |draft| {
                    draft.set_permissions(found.permissions())
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::replace(path.to_owned(), |_| Ok(()))
            }
            Err(error) => Err(error),
        }
    }

    fn replace(path: PathBuf, prepare: impl Fn(&File) -> io::Result<()>) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // What is wrong with the folder itself, in the system's words.
        fs::metadata(folder)?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let draft = tempfile::Builder::new()
            .prefix(&prefix)
            // Less what the user's mask takes away, like any new file.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            // The original names the draft, which means nothing to the user.
            .map_err(|error| io::Error::from(error.kind()))?;
        prepare(draft.as_file())?;
        Ok(Self::Replaced { path, draft })
    }

    /// Writes the document.
    ///
    /// # Errors
    ///
    /// The system does not take it. A regular file is then what it was.
    pub fn write(self, text: &str) -> io::Result<()> {
        match self {
            Self::Direct(mut file) => file.write_all(text.as_bytes()),
            Self::Replaced { path, mut draft } => {
                draft.as_file_mut().write_all(text.as_bytes())?;
                draft.persist(path).map(drop).map_err(|error| error.error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_run_that_fails_leaves_nothing_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        drop(DocumentFile::open(&path).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);
        fs::write(&path, "older").unwrap();
        drop(DocumentFile::open(&path).unwrap());
        assert_eq!(names(folder.path()), ["result.json"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "older");
    }

    #[test]
    fn the_document_takes_the_place_of_the_last_one_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        let link = folder.path().join("link.json");
        fs::write(&path, "an older and longer one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut reader = File::open(&path).unwrap();
        DocumentFile::open(&link).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let mut seen = String::new();
        io::Read::read_to_string(&mut reader, &mut seen).unwrap();
        assert_eq!(
            seen, "an older and longer one",
            "whoever reads is undisturbed"
        );
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |path: &Path| DocumentFile::open(path).unwrap_err().kind();
        assert_eq!(refusal(folder.path()), io::ErrorKind::IsADirectory);
        let missing = folder.path().join("no/such/folder.json");
        assert_eq!(refusal(&missing), io::ErrorKind::NotFound);
        let system = DocumentFile::open(&missing).unwrap_err();
        assert!(
            system.raw_os_error().is_some(),
            "in the system's words: {system}"
        );
        assert_eq!(refusal(Path::new("")), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_device_is_written_and_not_replaced() {
        DocumentFile::open(Path::new("/dev/null"))
            .unwrap()
            .write("{}")
            .unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
