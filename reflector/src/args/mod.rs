//! The command line as typed. [`crate::listener`] checks what it means.

pub mod listener;
pub mod values;

use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Parser, ValueEnum, value_parser};

use crate::session;

pub use listener::{ListenerArgs, ListenerSpec};

/// As typed.
static DEFAULT_IDLE: LazyLock<String> =
    LazyLock::new(|| format!("{}s", session::DEFAULT_IDLE.as_secs()));

// In strings: Markdown has no place in a terminal.
const ABOUT: &str =
    "Answers TWAMP-Light and STAMP test packets in the network driver, with timestamps taken there";

const LONG_ABOUT: &str = "\
Answers TWAMP-Light and STAMP test packets in the network driver, with timestamps taken there.

An XDP program recognises test packets, drops what may not be answered, stamps the rest and hands it \
to one pinned worker per receive queue, which answers in place. What it does not fully understand, \
such as fragments and IP options, is answered from a UDP socket. Everything else on the interface \
reaches the kernel as before.

Needs root, or the capabilities CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_NET_RAW, and \
CAP_NET_BIND_SERVICE for ports below 1024. With --datapath socket the last is enough, and nothing at \
all from port 1024.

Prints a line that begins with \"ready:\" on standard error once it answers, and a summary on \
standard output when it is stopped by SIGINT or SIGTERM. Exit status: 0 when it was stopped, 1 when \
something failed, 2 when the command line is wrong.";

const EXAMPLES: &str = "\
Examples:
  Answer clients of one prefix on every address of the host:
    reflector --interface eth1 --allow 192.0.2.0/24
  One listener for each of two VLANs, 1000 packets per second and source at most:
    reflector --interface eth1 --source-rate 1k \\
      --listener vlan=100,address=10.0.0.1,port=900 \\
      --listener vlan=101,address=10.0.0.1,port=901
  Without privileges:
    reflector --datapath socket --port 8620";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "reflector",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    override_usage = "reflector --interface <IF> [OPTIONS]\n       \
                      reflector --listener <SPEC>... [OPTIONS]",
    after_long_help = EXAMPLES,
    max_term_width = 100
)]
pub struct Args {
    /// A listener, as KEY=VALUE,...; may be repeated. Without it, the options below make one.
    ///
    /// Keys are the options under "What is answered", "Who is answered", "Replies" and "Loops and
    /// floods", without their dashes. What the options say holds for every listener that does not say
    /// otherwise by a key, as in
    /// --listener interface=eth1,vlan=100,address=192.0.2.1,port=900,sequence=stateful,rate=10k.
    ///
    /// Keys that may be repeated replace all that the option says. peer, allow, deny and clients belong
    /// together: a listener that says one of them takes none of them from the options.
    #[arg(long = "listener", value_name = "SPEC")]
    pub listeners: Vec<ListenerSpec>,

    /// What holds for every listener that does not say otherwise.
    #[command(flatten)]
    pub defaults: ListenerArgs,

    /// What receives and answers.
    #[arg(long, help_heading = "Datapath", value_enum, value_name = "WHICH", default_value_t = Datapath::AfXdp)]
    pub datapath: Datapath,

    /// Threads that answer, with --datapath socket. Without it: one per processor.
    #[arg(long, help_heading = "Datapath", value_name = "N", value_parser = value_parser!(u16).range(1..=256))]
    pub socket_workers: Option<u16>,

    /// Receive queues to serve, counted from 0. Test packets on others are answered from UDP sockets.
    #[arg(
        short,
        long,
        help_heading = "Datapath",
        value_name = "N|all",
        default_value = "all"
    )]
    pub queues: Queues,

    /// How a worker waits for packets.
    #[arg(long, help_heading = "Datapath", value_enum, value_name = "HOW", default_value_t = Poll::Adaptive)]
    pub poll: Poll,

    /// Processors to pin the workers to, in turn: a list such as 0,2-3.
    /// Without it: every processor this process may run on.
    #[arg(long, help_heading = "Datapath", value_name = "LIST")]
    pub cpus: Option<CpuList>,

    /// Where the XDP program runs.
    #[arg(long, help_heading = "Datapath", value_enum, value_name = "MODE", default_value_t = XdpMode::Auto)]
    pub xdp_mode: XdpMode,

    /// Replies that share one transmit timestamp, at most. Fewer make it fresher, more cost less.
    /// Without it: 8, or 64 where the driver supports zero-copy.
    #[arg(long, help_heading = "Datapath", value_name = "N", value_parser = value_parser!(u16).range(1..=64))]
    pub tx_batch: Option<u16>,

    /// Descriptors in each of a queue's rings, a power of two.
    #[arg(long, help_heading = "Datapath", value_name = "N", default_value = "2048", value_parser = ring_size)]
    pub ring_size: u32,

    /// Sessions that are counted at once, at most, over all listeners with --sequence stateful.
    #[arg(long, help_heading = "Sessions", value_name = "N", default_value_t = session::DEFAULT_LIMIT,
          value_parser = value_parser!(u32).range(1..=100_000_000))]
    pub session_limit: u32,

    /// A session without packets for so long makes room for another.
    #[arg(
        long,
        help_heading = "Sessions",
        value_name = "TIME",
        default_value = DEFAULT_IDLE.as_str(),
        value_parser = values::session_timeout
    )]
    pub session_timeout: Duration,

    /// Log more: once for what is chosen and why, twice for every detail.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// `--datapath`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Datapath {
    /// XDP and AF_XDP where they work, else UDP sockets; a warning says why.
    Auto,
    /// XDP and AF_XDP, and UDP sockets for what XDP leaves to the kernel.
    AfXdp,
    /// UDP sockets alone.
    Socket,
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
    /// In the driver where it supports that, else in the kernel's generic receive path.
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
