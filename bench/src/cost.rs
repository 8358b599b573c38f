//! What a reflected packet costs, at one offered rate.
//!
//! ```text
//!   reflector, or XDP drop │ veth-r ◄──► veth-s │ load of R packets/s
//! ```
//!
//! The reflector's own processor time misses what the kernel does for it in softirq context, on
//! whatever processor. So the whole machine's busy time is taken, and the same load against an XDP
//! drop is subtracted: what remains is reflecting, and bringing replies back to their reader.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use testbed::{DEFAULT_TIMEOUT, Signal, Veth, VethConfig};

use crate::discard::attach_drop;
use crate::figures::Spread;
use crate::load::{self, Load};
use crate::machine::Machine;
use crate::procfs::{process_time, resident_kib};

/// The command line of `bench cost`.
#[derive(Debug, Args)]
pub struct Options {
    /// Packets per second offered.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,

    /// Seconds per run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,

    /// Runs of each side, taken in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// How the reflector's workers wait: interrupt, adaptive or busy. The latter two spin, which the
    /// machine's busy time counts.
    #[arg(long, default_value = "interrupt")]
    poll: String,
}

/// One run against the reflector.
#[derive(Debug)]
struct Reflected {
    load: Load,
    process: Duration,
    resident_kib: u64,
}

/// Runs both sides in turn and prints every run and the medians.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    println!("{}", Machine::read());
    println!(
        "{} packets/s offered for {} s, 44 octets of UDP payload, 1 queue, --poll {}\n",
        options.rate, options.seconds, options.poll
    );
    println!(
        "{:>6} {:>10} {:>10} {:>8} {:>12} {:>12} {:>14}",
        "round", "against", "sent", "lost", "packets/s", "busy ns/pkt", "process ns/pkt"
    );
    let mut reflected = Vec::new();
    let mut dropped = Vec::new();
    for round in 1..=options.rounds {
        let side = against_reflector(options)?;
        let process = format!("{:.0}", per_packet(side.process, side.load.received));
        let lost = side
            .load
            .sent
            .saturating_sub(side.load.received)
            .to_string();
        print_row(round, "reflector", &side.load, &lost, &process)?;
        reflected.push(side);

        let side = against_drop(options)?;
        print_row(round, "XDP drop", &side, "-", "-")?;
        dropped.push(side);
    }
    print_medians(&reflected, &dropped);
    Ok(())
}

fn print_medians(reflected: &[Reflected], dropped: &[Load]) {
    let of = |figure: fn(&Reflected) -> f64| Spread::of(reflected.iter().map(figure)).median;
    let process = of(|side| per_packet(side.process, side.load.received));
    let busy = of(|side| per_packet(side.load.busy, side.load.sent));
    let floor = Spread::of((dropped.iter()).map(|side| per_packet(side.busy, side.sent))).median;
    println!("\nmedians of {} rounds", reflected.len());
    println!(
        "  resident memory                  {:>8.0} KiB",
        of(|side| float(side.resident_kib))
    );
    println!("  reflector process                {process:>8.0} ns per reflected packet");
    println!("  whole machine, reflector         {busy:>8.0} ns per packet");
    println!("  whole machine, XDP drop instead  {floor:>8.0} ns per packet");
    println!(
        "  difference                       {:>8.0} ns per packet",
        (busy - floor).max(0.0)
    );
}

/// Nobody answers ARP behind a drop; and so that both sides are alike, nobody asks.
fn new_veth() -> Result<Veth, testbed::Error> {
    Veth::with(&VethConfig {
        permanent_neighbours: true,
        ..VethConfig::default()
    })
}

fn against_reflector(options: &Options) -> Result<Reflected, Box<dyn Error>> {
    let veth = new_veth()?;
    let mut reflector = veth.reflector.start_reflector(&["--poll", &options.poll])?;

    let before = process_time(reflector.id())?;
    let load = offer(options, &veth)?;
    let process = process_time(reflector.id())?.saturating_sub(before);
    let resident_kib = resident_kib(reflector.id())?;
    reflector.signal(Signal::SIGTERM)?;
    reflector.wait_exit(DEFAULT_TIMEOUT)?;
    if load.received == 0 {
        return Err("the reflector answered nothing".into());
    }
    Ok(Reflected {
        load,
        process,
        resident_kib,
    })
}

fn against_drop(options: &Options) -> Result<Load, Box<dyn Error>> {
    let veth = new_veth()?;
    let _attachment = attach_drop(&veth.reflector)?;
    offer(options, &veth)
}

fn offer(options: &Options, veth: &Veth) -> Result<Load, Box<dyn Error>> {
    let target = veth.reflector.socket_v4(wire::twamp::UDP_PORT);
    let duration = Duration::from_secs(options.seconds.into());
    load::offer(&veth.sender.namespace, target, options.rate, duration)
}

fn print_row(round: u32, against: &str, load: &Load, lost: &str, process: &str) -> io::Result<()> {
    println!(
        "{round:>6} {against:>10} {:>10} {lost:>8} {:>12} {:>12.0} {process:>14}",
        load.sent,
        per_second(load.sent, load.elapsed),
        per_packet(load.busy, load.sent),
    );
    io::stdout().flush()
}

/// In nanoseconds.
fn per_packet(time: Duration, packets: u64) -> f64 {
    time.as_secs_f64() * 1e9 / float(packets.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

fn per_second(packets: u64, time: Duration) -> u128 {
    u128::from(packets) * 1_000_000_000 / time.as_nanos().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_shared_out_among_packets() {
        let of_a_second = |packets| format!("{:.0}", per_packet(Duration::from_secs(1), packets));
        assert_eq!(of_a_second(1_000_000), "1000");
        assert_eq!(of_a_second(0), "1000000000");
    }
}
