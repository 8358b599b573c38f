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

#[path = "common/callgrind.rs"]
mod callgrind;
#[path = "reflector_path/rig.rs"]
mod rig;

use std::env;
use std::error::Error;

use callgrind::count;
use rig::{Case, Requests, Rig, STRETCH};

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
        let name = format!("reflector-{}", case.name);
        let (instructions, profile) = count(&name, "*Rig*turns*", &[CHILD, case.name])?;
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
    let case = case.ok_or("no such case")?;
    let mut rig = Rig::new(case, Requests::new(&case, 1)?)?;
    for _ in 0..PACKETS / STRETCH {
        rig.stretch()?;
    }
    rig.check()
}
