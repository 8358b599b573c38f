//! Instructions that the reflector's worker executes per packet in user space, on rings in memory,
//! counted by valgrind.
//!
//! ```console
//! $ cargo bench --package bench --bench reflector_instructions
//! ```
//!
//! Only what is called by the measured function of the rig is counted. Under valgrind the clock is
//! read by a system call instead of the vDSO, whose instructions are missing from the figures: one
//! reading per sub-batch. Where the instructions go, `callgrind_annotate FILE` tells.

#[path = "reflector_path/rig.rs"]
mod rig;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rig::{Case, Rig, STRETCH};

/// Packets per count.
const PACKETS: usize = 50 * STRETCH;
/// Tells the child what to do.
const CHILD: &str = "--count";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, flag, name] = arguments.as_slice()
        && flag == CHILD
    {
        return pass_packets(name);
    }
    println!("{:>20} {:>24}", "case", "instructions per packet");
    for case in Case::ALL {
        let (instructions, profile) = count(case)?;
        println!(
            "{:>20} {:>24}   {}",
            case.name,
            instructions / PACKETS as u64,
            profile.display()
        );
    }
    Ok(())
}

/// What is counted.
fn pass_packets(name: &str) -> Result<(), Box<dyn Error>> {
    let case = Case::ALL.into_iter().find(|known| known.name == name);
    let mut rig = Rig::new(case.ok_or("no such case")?)?;
    for _ in 0..PACKETS / STRETCH {
        rig.stretch()?;
    }
    rig.check()
}

/// Runs this program under valgrind; returns the instructions and where the profile is.
fn count(case: Case) -> Result<(u64, PathBuf), Box<dyn Error>> {
    let profile =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("reflector-{}.callgrind", case.name));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*Rig*turns*")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args([CHILD, case.name])
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
