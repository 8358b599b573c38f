//! Options that say which way probes go.

use std::net::IpAddr;

use clap::{Args, ValueEnum};

use crate::config::addresses::{SourceRange, source_address};
use crate::config::values::{Mac, VlanArg};

/// Which way probes go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Path")]
pub struct PathArgs {
    /// How packets leave and come in: by UDP sockets, without privileges; past the kernel's network
    /// stack by AF_XDP, for high rates and stamps in the driver (root; an XDP program is on the
    /// interface while it runs); or by AF_XDP where it works, else sockets
    #[arg(long, value_enum, value_name = "HOW", default_value = "socket")]
    pub transport: TransportArg,

    /// Interface to send on [default: the route's]
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,

    /// Queues of the interface to send on with AF_XDP, each with a thread of its own
    /// [default: one per processor at most]
    #[arg(long, value_name = "N")]
    pub queues: Option<i64>,

    /// Source address [default: chosen by the kernel]
    #[arg(long, value_name = "ADDRESS", value_parser = source_address)]
    pub source: Option<IpAddr>,

    /// Source addresses to spread the sessions over, FIRST-LAST, all of this host
    #[arg(long, value_name = "FIRST-LAST", conflicts_with = "source")]
    pub source_range: Option<SourceRange>,

    /// Source port of the first session, the others take the ports after it [default: chosen by
    /// the kernel, or consecutive free ones with AF_XDP]
    #[arg(long, value_name = "PORT")]
    pub source_port: Option<i64>,

    /// VLAN tag, with its priority if need be; give it twice for QinQ, the outer one first (AF_XDP
    /// only: sockets use the VLAN's own interface)
    #[arg(long, value_name = "VID[:PCP]")]
    pub vlan: Vec<VlanArg>,

    /// VRF to send in, by the name of its device
    #[arg(long, value_name = "DEVICE", conflicts_with = "interface")]
    pub vrf: Option<String>,

    /// MAC address of the next hop, instead of asking the kernel (AF_XDP)
    #[arg(long, value_name = "MAC")]
    pub next_hop_mac: Option<Mac>,

    /// Packets stamped and handed over together by AF_XDP: fewer are stamped closer to their
    /// departure, more take less time
    /// [default: 1 up to 20000 packets/s, then 8, 32 as fast as it goes]
    #[arg(long, value_name = "N")]
    pub tx_batch: Option<i64>,

    /// Correct T1 by the stamp that the driver takes when a packet has left: auto where it is the
    /// network card's, on wherever there is one, off never (AF_XDP)
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub tx_stamps: TxStampsArg,
}

/// `--transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransportArg {
    /// UDP sockets.
    Socket,
    /// AF_XDP.
    AfXdp,
    /// AF_XDP where it works.
    Auto,
}

/// `--tx-stamps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TxStampsArg {
    /// In zero-copy mode.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}
