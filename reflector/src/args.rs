//! The command line as typed.

use std::net::IpAddr;
use std::str::FromStr;

use clap::{Parser, ValueEnum, value_parser};

/// Answers TWAMP-Light and STAMP test packets from the network driver, with timestamps taken there.
///
/// An XDP program recognises test packets, stamps their arrival and hands them to one pinned worker
/// per receive queue, which answers in place. Everything else on the interface reaches the kernel as
/// before. Needs root, or the capabilities `CAP_BPF`, `CAP_PERFMON`, `CAP_NET_ADMIN` and `CAP_NET_RAW`.
///
/// Prints `ready` on standard error once every queue answers, and a summary on standard output when
/// it is stopped with SIGINT or SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "reflector", version, max_term_width = 100)]
pub struct Args {
    /// Ethernet interface to answer on.
    #[arg(short, long, value_name = "IF")]
    pub interface: String,

    /// UDP port to answer on.
    #[arg(short, long, value_name = "PORT", default_value_t = wire::twamp::UDP_PORT,
          value_parser = value_parser!(u16).range(1..))]
    pub port: u16,

    /// Address to answer on, while it is an address of this host; may be repeated.
    /// Without it: every address of this host.
    #[arg(short, long = "address", value_name = "ADDRESS", value_parser = unicast)]
    pub addresses: Vec<IpAddr>,

    /// Receive queues to serve, counted from 0. Packets on other queues reach the kernel.
    #[arg(short, long, value_name = "N|all", default_value = "all")]
    pub queues: Queues,

    /// How a worker waits for packets.
    #[arg(long, value_enum, default_value_t = Poll::Adaptive)]
    pub poll: Poll,

    /// Processors to pin the workers to, in turn: a list such as 0,2-3.
    /// Without it: every processor this process may run on.
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<CpuList>,

    /// Where the XDP program runs: in the driver, in the kernel's generic receive path, or in the
    /// driver where that works.
    #[arg(long, value_enum, default_value_t = XdpMode::Auto)]
    pub xdp_mode: XdpMode,

    /// Replies that share one transmit timestamp. Fewer make it fresher, more cost less.
    /// Without it: 8, or 64 where the driver supports zero-copy.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=64))]
    pub tx_batch: Option<u16>,

    /// Descriptors in each of a queue's rings, a power of two.
    #[arg(long, value_name = "N", default_value = "2048", value_parser = ring_size)]
    pub ring_size: u32,

    /// Log more: once for what is chosen and why, twice for every detail.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// `--queues`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queues {
    /// Every receive queue of the interface.
    All,
    /// The first so many.
    First(u32),
}

impl FromStr for Queues {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        match text.parse() {
            Ok(count @ 1..) => Ok(Self::First(count)),
            _ => Err("give a number of queues from 1, or all".to_owned()),
        }
    }
}

/// `--poll`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Poll {
    /// Sleep until the kernel wakes the worker.
    Interrupt,
    /// Spin while packets come densely (from some 20 000/s on a queue), else sleep.
    Adaptive,
    /// Never sleep.
    Busy,
}

/// `--xdp-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum XdpMode {
    /// Native where the driver supports it, else generic.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's generic receive path.
    Generic,
}

/// `--cpus`: processor numbers, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// `CPU_SETSIZE`: no processor number is larger.
        const LIMIT: usize = 1024;
        let wrong = || format!("{text:?} is no list of processors such as 0,2-3");
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| wrong())?;
            let last: usize = last.trim().parse().map_err(|_| wrong())?;
            if first > last || last >= LIMIT {
                return Err(wrong());
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

fn unicast(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "this is no IP address".to_owned())?;
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(
            "no test packet can arrive for this address; leave --address out to answer on \
                    every address of this host"
                .to_owned(),
        );
    }
    Ok(address)
}

fn ring_size(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(size) if size.is_power_of_two() && (64..=32_768).contains(&size) => Ok(size),
        _ => Err("give a power of two from 64 to 32768".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn reads_processor_lists() {
        assert_eq!("0,2-3".parse(), Ok(CpuList(vec![0, 2, 3])));
        assert_eq!("5".parse(), Ok(CpuList(vec![5])));
        for wrong in ["", "a", "3-1", "0,", "0-99999", "-1"] {
            assert!(wrong.parse::<CpuList>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn refuses_zero_queues() {
        assert_eq!("all".parse(), Ok(Queues::All));
        assert_eq!("4".parse(), Ok(Queues::First(4)));
        assert!("0".parse::<Queues>().is_err());
        assert!("many".parse::<Queues>().is_err());
    }

    #[test]
    fn refuses_odd_ring_sizes() {
        assert_eq!(ring_size("64"), Ok(64));
        assert!(ring_size("100").is_err());
        assert!(ring_size("65536").is_err());
    }
}
