//! Benchmarks over veth: both sides in one run, with the machine's state beside the figures.

mod cost;
mod load;
mod machine;
mod procfs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures the reflector over a veth pair in network namespaces of its own. Needs root.
#[derive(Debug, Parser)]
#[command(name = "bench", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// What a reflected packet costs: memory, the reflector's processor time, and the whole machine's
    /// busy time beside the same load dropped by XDP.
    Cost(cost::Options),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().scenario {
        Scenario::Cost(options) => cost::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
