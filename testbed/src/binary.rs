//! The workspace's own binaries, for tests of other crates than theirs, and those of peers.
//!
//! A test in the binary's own crate has it from cargo: `env!("CARGO_BIN_EXE_reflector")`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use std::{env, fs};

use crate::Error;

/// The path of a workspace binary whose package has the same name, in the profile of the running
/// test: taken from the target directory, and built with cargo first if it is missing or older
/// than its sources.
///
/// # Errors
/// If it cannot be built, with cargo's words.
pub fn binary(name: &str) -> Result<PathBuf, Error> {
    // Tests of one executable run in parallel: only one of them builds.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);

    let failed = |problem: String| Error::Binary {
        name: name.to_owned(),
        problem,
    };
    let folder = profile_folder().map_err(failed)?;
    let path = folder.join(name);
    if !is_current(&path) {
        build(name, &folder).map_err(failed)?;
    }
    if path.is_file() {
        Ok(path)
    } else {
        Err(failed(format!("{} is missing", path.display())))
    }
}

/// An independent implementation that `scripts/install-deps --test` built into the target
/// directory; `None` if it has not.
pub fn peer(name: &str) -> Option<PathBuf> {
    let path = profile_folder()
        .ok()?
        .parent()?
        .join("peers/bin")
        .join(name);
    path.is_file().then_some(path)
}

/// `target/<profile>`: test executables live in its `deps`, binaries and examples beside that.
fn profile_folder() -> Result<PathBuf, String> {
    let executable = env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let folder = executable
        .parent()
        .ok_or("the test executable is in no folder")?;
    if folder.ends_with("deps") || folder.ends_with("examples") {
        Ok(folder.parent().unwrap_or(folder).to_owned())
    } else {
        Ok(folder.to_owned())
    }
}

/// Whether the binary is there and no source that cargo listed for it has changed since.
fn is_current(binary: &Path) -> bool {
    let Some(built) = modified(binary) else {
        return false;
    };
    let Ok(listed) = fs::read_to_string(binary.with_extension("d")) else {
        return false;
    };
    sources(&listed)
        .iter()
        .all(|source| modified(source).is_some_and(|time| time <= built))
}

/// The sources in a dep-info file of cargo: `TARGET: SOURCE SOURCE…`, blanks in names escaped.
fn sources(dep_info: &str) -> Vec<PathBuf> {
    let listed = dep_info.split_once(": ").map_or("", |(_, sources)| sources);
    let words = listed.trim_end().replace("\\ ", "\0");
    words
        .split_whitespace()
        .map(|word| word.replace('\0', " ").into())
        .collect()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

fn build(name: &str, folder: &Path) -> Result<(), String> {
    // cargo names itself to the tests it runs. rustc stands beside it: sudo takes both from PATH.
    let cargo = PathBuf::from(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = cargo
        .parent()
        .map(Path::to_owned)
        .into_iter()
        .chain(env::split_paths(&path));
    let path = env::join_paths(folders).map_err(|error| format!("odd PATH: {error}"))?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(other) => other,
    };
    let output = Command::new(&cargo)
        .env("PATH", path)
        .args([
            "build",
            "--quiet",
            "--package",
            name,
            "--bin",
            name,
            "--profile",
            profile,
        ])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .arg("--target-dir")
        .arg(folder.parent().unwrap_or(folder))
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn reads_cargos_list_of_sources() {
        let listed = "/t/debug/sender: /w/sender/src/main.rs /w/a\\ b/lib.rs\n";
        let expected = ["/w/sender/src/main.rs", "/w/a b/lib.rs"].map(PathBuf::from);
        assert_eq!(sources(listed), expected);
        assert!(sources("").is_empty());
    }

    #[test]
    fn a_binary_is_current_until_a_source_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (binary, source) = (folder.path().join("tool"), folder.path().join("main.rs"));
        let build = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let touch = |path: &Path, time| File::create(path).unwrap().set_modified(time).unwrap();
        let listed = format!("{}: {}\n", binary.display(), source.display());

        assert!(!is_current(&binary), "missing");
        touch(&binary, build);
        touch(&source, build - Duration::from_secs(1));
        assert!(!is_current(&binary), "sources unknown");
        fs::write(binary.with_extension("d"), listed).unwrap();
        assert!(is_current(&binary));
        touch(&source, build + Duration::from_secs(1));
        assert!(!is_current(&binary), "a newer source");
        fs::remove_file(&source).unwrap();
        assert!(!is_current(&binary), "a source is gone");
    }
}
