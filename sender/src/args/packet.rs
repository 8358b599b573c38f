//! Options that say what a probe looks like, and what is made of the replies.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::config::values::{Dscp, Ecn};
use crate::config::{SESSIONS_MAX, SIZE_MAX, SIZE_MIN};

/// What a probe looks like.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Packets")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct PacketArgs {
    /// Octets of UDP payload.
    #[arg(
        long,
        value_name = "OCTETS",
        default_value_t = 44,
        help = format!(
            "Octets of UDP payload, {SIZE_MIN} to {SIZE_MAX}, padding beyond the {SIZE_MIN} of the \
             header; 44 is a STAMP base packet, and replies are 41 octets or more in any case"
        )
    )]
    pub size: i64,

    /// Sessions to spread the packets over.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        help = format!(
            "Sessions to spread the packets over in turn, 1 to {SESSIONS_MAX}; each has its own \
             source port and sequence numbers"
        )
    )]
    pub sessions: i64,

    /// DSCP of the probes: 0 to 63, or a name like ef, af41 or cs6
    #[arg(long, value_name = "DSCP", default_value = "0")]
    pub dscp: Dscp,

    /// ECN of the probes: not-ect, ect0, ect1 or ce
    #[arg(long, value_name = "ECN", default_value = "not-ect")]
    pub ecn: Ecn,

    /// TTL or Hop Limit of the probes
    #[arg(long, value_name = "N", default_value = "255", value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,

    /// What the padding is made of
    #[arg(long, value_enum, value_name = "WHAT", default_value = "zero")]
    pub padding: PaddingArg,

    /// Forbid routers to fragment the probes (IPv4 DF; IPv6 routers never do)
    #[arg(long)]
    pub df: bool,

    /// Format of T1: NTP, or PTPv2 (RFC 8186), which counts TAI
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "ntp")]
    pub format: FormatArg,

    /// Send STAMP base packets (RFC 8762) with a Session-Sender Identifier (RFC 8972)
    #[arg(long)]
    pub stamp: bool,

    /// Session-Sender Identifier of the first session, the others count on [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub ssid: Option<u16>,

    /// The reflector reports the DSCP and ECN it receives, in the octet after the Sender TTL
    /// (RFC 7750): without an agreement, that octet is padding
    #[arg(long)]
    pub dscp_report: bool,

    /// The reflector numbers its replies by itself: tell loss there from loss back even while its
    /// numbers equal ours, which a stateless reflector's always do
    #[arg(long)]
    pub stateful: bool,

    /// A reply that takes longer is late, and its packet lost
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2s",
        value_parser = humantime::parse_duration
    )]
    pub timeout: Duration,
}

/// `--padding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PaddingArg {
    /// Zeros.
    Zero,
    /// Pseudo-random octets, the same in every packet.
    Random,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// NTP.
    Ntp,
    /// PTPv2, truncated.
    Ptp,
}
