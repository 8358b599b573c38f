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

    /// VLAN of the packets: its ID, OUTER.INNER for two tags, or none [default: none]
    #[arg(long, value_name = "VLAN", help_heading = "What is answered")]
    pub vlan: Option<Vlan>,

    /// VRF device whose addresses are local here, where the interface or its VLAN device is in none;
    /// or none
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

    /// A provisioned session: the one source address and port to answer, as ADDRESS:PORT or
    /// [ADDRESS]:PORT; may be repeated
    #[arg(long = "peer", value_name = "SOURCE", help_heading = "Who is answered",
          value_parser = values::peer)]
    pub peers: Vec<SocketAddr>,

    /// Prefix to answer, as 192.0.2.0/24; may be repeated. The longest prefix decides
    #[arg(long, value_name = "PREFIX", help_heading = "Who is answered",
          value_parser = values::prefix)]
    pub allow: Vec<IpNet>,

    /// Prefix not to answer; may be repeated
    #[arg(long, value_name = "PREFIX", help_heading = "Who is answered",
          value_parser = values::prefix)]
    pub deny: Vec<IpNet>,

    /// File of prefixes to answer, one a line; ! or deny before one excludes it, # begins a comment
    #[arg(long, value_name = "FILE", help_heading = "Who is answered")]
    pub clients: Option<PathBuf>,

    /// Packets of those who are not answered [default: drop]
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        help_heading = "Who is answered"
    )]
    pub refused: Option<RefusedArg>,

    /// Packet format [default: by-length]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Replies")]
    pub format: Option<FormatArg>,

    /// Padding of TWAMP-Light replies: the request's octets at the same offset, shifted behind the
    /// longer header, or zeros [default: same]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Replies")]
    pub padding: Option<PaddingArg>,

    /// Timestamps: NTP, or PTPv2 (RFC 8186) [default: ntp]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Replies")]
    pub timestamps: Option<TimestampsArg>,

    /// Sequence numbers: copied, or counted per session [default: stateless]
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Replies")]
    pub sequence: Option<SequenceArg>,

    /// DSCP: copy, zero, 0 to 63, or a name like ef, af41 or cs6 [default: copy]
    #[arg(long, value_name = "DSCP", help_heading = "Replies")]
    pub dscp: Option<DscpArg>,

    /// ECN field [default: clear]
    #[arg(long, value_enum, value_name = "ECN", help_heading = "Replies")]
    pub ecn: Option<EcnArg>,

    /// IPv6 Flow Label [default: copy]
    #[arg(long, value_enum, value_name = "LABEL", help_heading = "Replies")]
    pub flow_label: Option<FlowLabelArg>,

    /// Report the DSCP and ECN received in TWAMP-Light replies (RFC 7750) [default: off]
    #[arg(long, value_enum, value_name = "SWITCH", help_heading = "Replies")]
    pub dscp_report: Option<Switch>,

    /// Requests shorter than their reply [default: answer]
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        help_heading = "Loops and floods"
    )]
    pub short: Option<ShortArg>,

    /// Packets per second, like 5000 or 10k, or none [default: none]
    #[arg(long, value_name = "RATE", help_heading = "Loops and floods",
          value_parser = Limit::packets)]
    pub rate: Option<Limit>,

    /// Bits per second of IP packets, like 500k or 1g, or none [default: none]
    #[arg(long, value_name = "RATE", help_heading = "Loops and floods",
          value_parser = Limit::bits)]
    pub bandwidth: Option<Limit>,

    /// Packets per second from one source, like 100 or 1k, or none [default: none]
    #[arg(long, value_name = "RATE", help_heading = "Loops and floods",
          value_parser = Limit::packets)]
    pub source_rate: Option<Limit>,

    /// Lengths of the IPv4 and IPv6 prefixes that are one source [default: 32/64]
    #[arg(long, value_name = "V4/V6", help_heading = "Loops and floods")]
    pub source_prefix: Option<SourcePrefix>,

    /// How far a burst may go above each of these rates: the packets of this time at once
    /// [default: 100ms]
    #[arg(long, value_name = "TIME", help_heading = "Loops and floods",
          value_parser = values::burst)]
    pub burst: Option<Duration>,

    /// Do not answer packets from the port of a listener that serves everybody: another reflector
    /// may have sent them [default: on]
    #[arg(
        long,
        value_enum,
        value_name = "SWITCH",
        help_heading = "Loops and floods"
    )]
    pub loop_guard_ports: Option<Switch>,

    /// Do not answer packets that look like a reply [default: on]
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
    /// STAMP from 44 octets, TWAMP-Light below
    ByLength,
    /// TWAMP-Light (RFC 5357 appendix I)
    TwampLight,
    /// STAMP (RFC 8762)
    Stamp,
}

/// `--padding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "as `crate::rule::Padding` says")]
pub enum PaddingArg {
    Same,
    Shift,
    Zero,
}

/// `--timestamps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "as `wire::time::TimestampFormat` says")]
pub enum TimestampsArg {
    Ntp,
    Ptp,
}

/// `--sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "as `crate::rule::SequencePolicy` says")]
pub enum SequenceArg {
    Stateless,
    Stateful,
}

/// `--ecn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "as `crate::rule::EcnPolicy` says")]
pub enum EcnArg {
    Clear,
    Copy,
}

/// `--flow-label`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "as `crate::rule::FlowLabelPolicy` says")]
pub enum FlowLabelArg {
    Copy,
    Zero,
}

/// `--short`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "as `crate::rule::ShortPolicy` says")]
pub enum ShortArg {
    Answer,
    Refuse,
}

/// `--refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "as `crate::listener::RefusedPolicy` says")]
pub enum RefusedArg {
    Drop,
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
