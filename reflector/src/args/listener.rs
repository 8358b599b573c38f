//! What one listener is made of: options for all of them, keys of a `--listener` for one.
//!
//! Both are read by one definition: `--listener port=900,vlan=100` is the command line
//! `--port=900 --vlan=100`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, ValueEnum, value_parser};
use ipnet::IpNet;

use super::values::{self, DscpArg, Limit, Switch, VrfArg};
use crate::listener::{SourcePrefix, Vlan};

/// What is said of a listener. What is not said, the options for all listeners say, or the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ListenerArgs {
    /// Ethernet interface to answer on; may be repeated
    #[arg(short, long = "interface", value_name = "IF", help_heading = "What is answered",
          value_parser = NonEmptyStringValueParser::new())]
    pub interfaces: Vec<String>,

    /// VLAN of the packets: an ID such as 100, two as OUTER.INNER, or none, which is untagged packets
    /// [default: none]
    #[arg(long, value_name = "VLAN", help_heading = "What is answered")]
    pub vlan: Option<Vlan>,

    /// VRF device whose addresses are answered on, or none. Not needed where the interface, or its VLAN
    /// device, belongs to the VRF
    #[arg(long, value_name = "DEVICE", help_heading = "What is answered")]
    pub vrf: Option<VrfArg>,

    /// Address to answer on, while it is an address of this host; may be repeated.
    /// Without it: every address of this host
    #[arg(short, long = "address", value_name = "ADDRESS", help_heading = "What is answered",
          value_parser = values::address)]
    pub addresses: Vec<IpAddr>,

    /// UDP port to answer on [default: 862]
    #[arg(short, long, value_name = "PORT", help_heading = "What is answered",
          value_parser = value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Answer this source alone, ADDRESS:PORT (an IPv6 address in brackets), and before any other
    /// listener there does: a provisioned session; may be repeated
    #[arg(long = "peer", value_name = "SOURCE", help_heading = "Who is answered",
          value_parser = values::peer)]
    pub peers: Vec<SocketAddr>,

    /// Answer sources in this prefix, such as 192.0.2.0/24, and no others; may be repeated. Of all that
    /// is allowed and denied, the longest prefix that holds a source decides
    #[arg(long, value_name = "PREFIX", help_heading = "Who is answered",
          value_parser = values::prefix)]
    pub allow: Vec<IpNet>,

    /// Do not answer sources in this prefix; may be repeated. Where nothing is allowed by name, all
    /// others are answered
    #[arg(long, value_name = "PREFIX", help_heading = "Who is answered",
          value_parser = values::prefix)]
    pub deny: Vec<IpNet>,

    /// File of prefixes to answer, one a line, 100000 at most; ! or deny before one excludes it, #
    /// begins a comment
    #[arg(long, value_name = "FILE", help_heading = "Who is answered")]
    pub clients: Option<PathBuf>,

    /// What becomes of packets from sources that are not answered [default: drop]
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        help_heading = "Who is answered"
    )]
    pub refused: Option<RefusedArg>,

    /// Packet format: what a reply is like [default: by-length]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Replies")]
    pub format: Option<FormatArg>,

    /// What follows the header of a reply, with --format twamp-light [default: same]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Replies")]
    pub padding: Option<PaddingArg>,

    /// Format of the timestamps that a reply adds [default: ntp]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Replies")]
    pub timestamps: Option<TimestampsArg>,

    /// Sequence Number of replies [default: stateless]
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Replies")]
    pub sequence: Option<SequenceArg>,

    /// DSCP of replies: copy (that of the request), zero, 0 to 63, or a name such as ef, af41 or cs6
    /// [default: copy]
    #[arg(long, value_name = "DSCP", help_heading = "Replies")]
    pub dscp: Option<DscpArg>,

    /// ECN field of replies [default: clear]
    #[arg(long, value_enum, value_name = "ECN", help_heading = "Replies")]
    pub ecn: Option<EcnArg>,

    /// Flow Label of IPv6 replies; 0 where a UDP socket answers [default: copy]
    #[arg(long, value_enum, value_name = "LABEL", help_heading = "Replies")]
    pub flow_label: Option<FlowLabelArg>,

    /// Tell the sender in the reply which DSCP and ECN its request arrived with (RFC 7750), with
    /// --format twamp-light [default: off]
    #[arg(long, value_enum, value_name = "SWITCH", help_heading = "Replies")]
    pub dscp_report: Option<Switch>,

    /// What becomes of requests that are shorter than their reply [default: answer]
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        help_heading = "Loops and floods"
    )]
    pub short: Option<ShortArg>,

    /// Packets per second to answer at most, such as 5000 or 10k; none is no limit [default: none]
    #[arg(long, value_name = "RATE", help_heading = "Loops and floods",
          value_parser = Limit::packets)]
    pub rate: Option<Limit>,

    /// Bits per second to answer at most, such as 500k or 1g, counted in IP packets; none is no limit
    /// [default: none]
    #[arg(long, value_name = "RATE", help_heading = "Loops and floods",
          value_parser = Limit::bits)]
    pub bandwidth: Option<Limit>,

    /// Packets per second to answer each source at most, such as 100 or 1k; none is no limit
    /// [default: none]
    #[arg(long, value_name = "RATE", help_heading = "Loops and floods",
          value_parser = Limit::packets)]
    pub source_rate: Option<Limit>,

    /// What one source is: the lengths of an IPv4 prefix and of an IPv6 prefix [default: 32/64]
    #[arg(long, value_name = "V4/V6", help_heading = "Loops and floods")]
    pub source_prefix: Option<SourcePrefix>,

    /// How much may come at once: as much as each of these rates allows in this time
    /// [default: 100ms]
    #[arg(long, value_name = "TIME", help_heading = "Loops and floods",
          value_parser = values::burst)]
    pub burst: Option<Duration>,

    /// Leave packets unanswered whose source port is that of a listener without peers: another
    /// reflector may have sent them [default: on]
    #[arg(
        long,
        value_enum,
        value_name = "SWITCH",
        help_heading = "Loops and floods"
    )]
    pub loop_guard_ports: Option<Switch>,

    /// Leave packets unanswered that look like another reflector's reply [default: on]
    #[arg(
        long,
        value_enum,
        value_name = "SWITCH",
        help_heading = "Loops and floods"
    )]
    pub loop_guard_replies: Option<Switch>,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// STAMP where the request has 44 octets or more, TWAMP-Light where it has fewer
    ByLength,
    /// TWAMP-Light (RFC 5357 appendix I): 41 octets or more
    TwampLight,
    /// STAMP (RFC 8762) with its session identifier (RFC 8972): 44 octets or more
    Stamp,
}

/// `--padding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PaddingArg {
    /// The octets of the request, each where it was
    Same,
    /// The padding of the request, moved behind the longer header and cut off at the end
    Shift,
    /// Zeros
    Zero,
}

/// `--timestamps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TimestampsArg {
    /// NTP: UTC since 1900
    Ntp,
    /// Truncated PTP of version 2 (RFC 8186): TAI since 1970
    Ptp,
}

/// `--sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SequenceArg {
    /// That of the request
    Stateless,
    /// The session's own count, which tells the sender loss on the way there from loss on the way back
    Stateful,
}

/// `--ecn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EcnArg {
    /// Not-ECT
    Clear,
    /// That of the request
    Copy,
}

/// `--flow-label`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FlowLabelArg {
    /// That of the request
    Copy,
    /// None
    Zero,
}

/// `--short`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShortArg {
    /// Answered, with the 41 or 44 octets that a reply has at least
    Answer,
    /// Not answered, so that nothing is ever amplified
    Refuse,
}

/// `--refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RefusedArg {
    /// Dropped, in XDP
    Drop,
    /// Passed to the kernel, like everything that is no test packet
    Pass,
}

/// `--listener`: one listener's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec(pub ListenerArgs);

/// A specification as a command line of its own.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, color = clap::ColorChoice::Never)]
struct SpecLine {
    #[command(flatten)]
    keys: ListenerArgs,
}

impl FromStr for ListenerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut line = Vec::new();
        for pair in text.split(',') {
            match pair.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    line.push(format!("--{}={}", key.trim(), value.trim()));
                }
                _ => return Err(format!("'{pair}' is no KEY=VALUE, like port=900")),
            }
        }
        SpecLine::try_parse_from(line)
            .map(|line| Self(line.keys))
            .map_err(|error| said_of_keys(&error))
    }
}

/// clap's error with keys in place of options.
fn said_of_keys(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // `--port <PORT>`
    let key = text(ContextKind::InvalidArg).unwrap_or_default();
    let key = key.split_whitespace().next().unwrap_or_default();
    let key = key.trim_start_matches('-');
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument => {
            format!("there is no key '{key}': write {}", keys().join(", "))
        }
        ErrorKind::ArgumentConflict => format!("{key} is given twice"),
        _ if value.is_empty() => format!("{key} has no value"),
        ErrorKind::InvalidValue => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(allowed)) => {
                format!("{key}={value}: write {}", allowed.join(", "))
            }
            _ => format!("{key}={value} is not understood"),
        },
        _ => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            format!("{key}={value}: {}", reason.unwrap_or_default())
        }
    }
}

/// Every key of a specification.
fn keys() -> Vec<String> {
    let command = SpecLine::command();
    let options = command.get_arguments().filter_map(clap::Arg::get_long);
    options.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> ListenerArgs {
        match text.parse::<ListenerSpec>() {
            Ok(ListenerSpec(keys)) => keys,
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn keys_are_the_options_of_all_listeners() {
        let keys = spec(
            "interface=eth1,interface=eth2, vlan=100.7,vrf=red,address=192.0.2.1,address=fd00::1,\
             port=900,allow=192.0.2.0/24,deny=192.0.2.9,clients=/etc/clients,refused=pass,\
             format=twamp-light,padding=shift,timestamps=ptp,sequence=stateful,dscp=af11,ecn=copy,\
             flow-label=zero,dscp-report=on,short=refuse,rate=10k,bandwidth=1g,source-rate=none,\
             source-prefix=24/48,burst=20ms,loop-guard-ports=off,loop-guard-replies=off",
        );
        assert_eq!(keys.interfaces, ["eth1", "eth2"]);
        assert_eq!(keys.vlan, Some(Vlan::QinQ(100, 7)));
        assert_eq!(keys.addresses.len(), 2);
        assert_eq!(keys.port, Some(900));
        assert_eq!(keys.format, Some(FormatArg::TwampLight));
        assert_eq!(keys.source_prefix, Some(SourcePrefix { v4: 24, v6: 48 }));
        assert_eq!(keys.burst, Some(Duration::from_millis(20)));
        assert_eq!(keys.loop_guard_ports, Some(Switch::Off));
        let peers = spec("peer=192.0.2.1:5000,peer=[fd00::2]:862").peers;
        assert_eq!(
            peers,
            [
                "192.0.2.1:5000".parse().unwrap(),
                "[fd00::2]:862".parse().unwrap()
            ]
        );
    }

    #[test]
    fn errors_name_the_key_and_what_is_allowed() {
        for (text, expected) in [
            ("", "'' is no KEY=VALUE"),
            ("port", "'port' is no KEY=VALUE"),
            ("=900", "'=900' is no KEY=VALUE"),
            ("port=900,,vlan=1", "'' is no KEY=VALUE"),
            ("prot=900", "there is no key 'prot': write interface, vlan,"),
            ("listener=1", "there is no key 'listener'"),
            ("help=1", "there is no key 'help'"),
            ("i=eth1", "there is no key 'i'"),
            ("port=1,port=2", "port is given twice"),
            ("port=", "port has no value"),
            ("interface=", "interface has no value"),
            ("port=0", "port=0: 0 is not in 1..=65535"),
            (
                "format=owamp",
                "format=owamp: write by-length, twamp-light, stamp",
            ),
            ("vlan=4095", "vlan=4095: write a VLAN ID from 1 to 4094"),
            ("peer=192.0.2.1", "peer=192.0.2.1: write"),
            ("dscp=af44", "dscp=af44: write copy, zero, 0 to 63"),
            ("allow=192.0.2.1/24", "allow=192.0.2.1/24: host bits"),
            ("dscp-report=yes", "dscp-report=yes: write on, off"),
        ] {
            let error = text.parse::<ListenerSpec>().unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
