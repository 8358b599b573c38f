//! Counting instructions with valgrind.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs this program with `arguments` under valgrind; returns how many instructions it executed in
/// functions that match `toggle` and what they call, and where the profile is: `name` tells it from
/// others.
pub fn count(
    name: &str,
    toggle: &str,
    arguments: &[&str],
) -> Result<(u64, PathBuf), Box<dyn Error>> {
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.callgrind"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={toggle}"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args(arguments)
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("valgrind: {}\n{words}", output.status).into());
    }
    let text = fs::read_to_string(&profile)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.ok_or("valgrind's profile has no total")?;
    Ok((total.trim().parse()?, profile))
}
