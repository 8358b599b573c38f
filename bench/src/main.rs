//! Benchmarks: all sides in one run, with the machine's state beside the figures.

mod affinity;
mod cost;
mod discard;
mod figures;
mod flood;
mod load;
mod machine;
mod procfs;
mod sender_rate;
mod xdp_cost;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures reflector and sender in network namespaces of its own. Needs root.
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
    /// How fast the sender sends and measures over `AF_XDP` and over sockets, beside the fastest that
    /// a plain socket goes, and how exact its send times are.
    SenderRate(sender_rate::Options),
    /// What the reflector's XDP program costs per packet, by what it has to do.
    Xdp(xdp_cost::Options),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().scenario {
        Scenario::Cost(options) => cost::run(&options),
        Scenario::SenderRate(options) => sender_rate::run(&options),
        Scenario::Xdp(options) => xdp_cost::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
