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

#[path = "common/callgrind.rs"]
mod callgrind;
#[path = "sender_path/rig.rs"]
mod rig;

use std::env;
use std::error::Error;
use std::path::PathBuf;

use callgrind::count;
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
            let (total, profile) = instructions(part, sessions)?;
            println!(
                "{:>10} {sessions:>10} {:>24}   {}",
                part.name(),
                total / PACKETS as u64,
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
fn instructions(part: Part, sessions: usize) -> Result<(u64, PathBuf), Box<dyn Error>> {
    let measured = match part {
        Part::Send => "send_turns",
        Part::Receive => "receive_turns",
        Part::Both => "whole_turns",
    };
    count(
        &format!("sender-{}-{sessions}", part.name()),
        &format!("*{measured}*"),
        &[CHILD, part.name(), &sessions.to_string()],
    )
}
