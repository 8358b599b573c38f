//! Instructions that the sender's `AF_XDP` worker executes per packet in user space, on rings in
//! memory, counted by valgrind.
//!
//! ```console
//! $ cargo bench --package bench --bench sender_instructions
//! ```
//!
//! Only what is called by the measured functions of the rig is counted. Under valgrind the clock is
//! read by a system call instead of the vDSO, whose instructions are missing from the figures: four
//! readings per 32 packets. Where the instructions go, `callgrind_annotate FILE` tells.

#[path = "sender_path/rig.rs"]
mod rig;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rig::{Part, Rig, STRETCH, Shared};

/// Packets per count.
const PACKETS: usize = 200 * STRETCH;
/// Tells the child what to do.
const CHILD: &str = "--count";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, flag, part, sessions] = arguments.as_slice()
        && flag == CHILD
    {
        return pass_packets(part, sessions.parse()?);
    }
    println!(
        "{:>10} {:>10} {:>24}",
        "part", "sessions", "instructions per packet"
    );
    for sessions in [1, 100_000] {
        for part in Part::ALL {
            let (instructions, profile) = count(part, sessions)?;
            println!(
                "{:>10} {sessions:>10} {:>24}   {}",
                part.name(),
                instructions / PACKETS as u64,
                profile.display()
            );
        }
    }
    Ok(())
}

/// What is counted.
fn pass_packets(part: &str, sessions: usize) -> Result<(), Box<dyn Error>> {
    let part = Part::ALL.into_iter().find(|known| known.name() == part);
    let part = part.ok_or("no such part")?;
    let shared = Shared::default();
    let mut rig = Rig::new(&shared, sessions)?;
    for _ in 0..PACKETS / STRETCH {
        rig.stretch(part)?;
    }
    rig.check(part)
}

/// Runs this program under valgrind; returns the instructions and where the profile is.
fn count(part: Part, sessions: usize) -> Result<(u64, PathBuf), Box<dyn Error>> {
    let measured = match part {
        Part::Send => "send_turns",
        Part::Receive => "receive_turns",
        Part::Both => "whole_turns",
    };
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("sender-{}-{sessions}.callgrind", part.name()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{measured}*"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args([CHILD, part.name(), &sessions.to_string()])
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
