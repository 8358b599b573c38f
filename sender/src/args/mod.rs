//! The command line as typed. [`crate::config`] checks what it means.

mod output;
mod packet;
mod path;
pub mod series;
mod timing;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

pub use output::OutputArgs;
pub use packet::{FormatArg, PacketArgs, PaddingArg};
pub use path::{PathArgs, TransportArg, TxStampsArg};
pub use timing::{ScheduleArg, TimingArgs};

use crate::target::Target;

/// Measure round-trip time, one-way delay, jitter and loss to a TWAMP-Light or STAMP reflector.
///
/// Sends TWAMP-Test packets (RFC 5357, unauthenticated) or STAMP base packets (RFC 8762) over UDP.
/// Over sockets it needs no privileges. Exit status: 0 when at least one reply was received, 1 when
/// none was or the run failed, 2 when the command line is wrong, 3 when a condition of --fail-if
/// holds; --ramp exits with 0 whatever rate it finds, and with 1 when its first trial gets no reply.
/// Ctrl-C stops sending and prints the report of what was measured; a second Ctrl-C does
/// not wait for the replies still out.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "sender",
    version,
    allow_negative_numbers = true,
    after_help = "Test series: sender run FILE runs the tests of a file on their timetables, sender \
                  results shows what came of them; see sender run --help and sender results --help"
)]
pub struct Args {
    /// The reflector and its port.
    #[arg(
        value_name = "TARGET[:PORT]",
        help = "Reflector: an IPv4 or IPv6 address or a host name; the port is 862 unless given, \
                an IPv6 address with a port is written [ADDRESS]:PORT"
    )]
    pub target: Target,

    /// When probes leave.
    #[command(flatten)]
    pub timing: TimingArgs,

    /// What they look like.
    #[command(flatten)]
    pub packet: PacketArgs,

    /// Which way they go.
    #[command(flatten)]
    pub path: PathArgs,

    /// What is done with the results.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Why there are no arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The user asked for the help or the version: this text, and no error.
    Answer(String),
    /// The command line is wrong: one sentence.
    Usage(String),
}

/// Reads a command line, program name first.
///
/// # Errors
///
/// [`Refusal::Answer`] for `--help` and `--version`, [`Refusal::Usage`] for what cannot be
/// understood.
pub fn parse<I>(command_line: I) -> Result<Args, Refusal>
where
    I: IntoIterator,
    I::Item: Into<std::ffi::OsString> + Clone,
{
    Args::try_parse_from(command_line).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Refusal::Answer(error.render().to_string())
        }
        ErrorKind::MissingRequiredArgument => Refusal::Usage(
            "no target is given: name the reflector, like sender 192.0.2.1 or sender \
             [2001:db8::1]:862"
                .to_owned(),
        ),
        _ => Refusal::Usage(sentence(&error)),
    })
}

/// clap's own message without the usage and the hints that follow its first paragraph, but with the
/// option that may have been meant.
fn sentence(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let message = rendered.trim_start_matches("error: ");
    let paragraph = message.split("\n\n").next().unwrap_or(message);
    let sentence = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(similar)) => {
            format!("{sentence}; there is a similar one, '{similar}'")
        }
        _ => sentence,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_target_alone_is_enough() {
        let args = parse(["sender", "192.0.2.1"]).unwrap();
        assert_eq!(args.target, "192.0.2.1:862".parse().unwrap());
        assert_eq!(
            (args.packet.size, args.packet.sessions, args.packet.timeout),
            (44, 1, Duration::from_secs(2))
        );
        let timing = args.timing;
        assert_eq!(
            (timing.rate, timing.count, timing.duration),
            (None, None, None)
        );
    }

    #[test]
    fn reads_times_with_units() {
        let line = [
            "sender",
            "::1",
            "--interval",
            "1ms",
            "--duration",
            "1m",
            "--timeout",
            "500ms",
        ];
        let args = parse(line).unwrap();
        assert_eq!(args.timing.interval, Some(Duration::from_millis(1)));
        assert_eq!(args.timing.duration, Some(Duration::from_secs(60)));
        assert_eq!(args.packet.timeout, Duration::from_millis(500));
    }

    #[test]
    fn every_refusal_is_one_line_that_names_the_argument() {
        for (line, named) in [
            (vec![], "target"),
            (vec!["a:0"], "TARGET"),
            (vec!["a", "--rate", "fast"], "--rate"),
            (vec!["a", "--rate", "1", "--interval", "1s"], "--interval"),
            (vec!["a", "--count", "1", "--duration", "1s"], "--duration"),
            (vec!["a", "--count", "1.5"], "--count"),
            (vec!["a", "--interval", "10"], "--interval"),
            (vec!["a", "--source", "eth0"], "no IP address"),
            (vec!["a", "--source", "224.0.0.1"], "one host"),
            (vec!["a", "--source", "ff02::1"], "one host"),
            (vec!["a", "--source", "fe80::2%eth0"], "write fe80::2 alone"),
            (vec!["a", "--source-range", "1.2.3.4-x"], "--source-range"),
            (vec!["a", "--rate", "0"], "--rate"),
            (vec!["a", "--rate", "11M"], "--rate"),
            (vec!["a", "--burst", "0"], "--burst"),
            (vec!["a", "--seed", "xyz"], "seed"),
            (vec!["a", "--dscp", "64"], "--dscp"),
            (vec!["a", "--ttl", "0"], "--ttl"),
            (vec!["--ssid", "5"], "target"),
            (vec!["a", "--stamp", "--ssid", "0"], "--ssid"),
            (vec!["a", "--vlan", "4095"], "--vlan"),
            (vec!["a", "--next-hop-mac", "ff:ff:ff:ff:ff:ff"], "station"),
            (vec!["a", "--transport", "pigeon"], "--transport"),
            (vec!["a", "--fail-if", "rtt.p99"], "--fail-if"),
            (
                vec!["a", "--vrf", "red", "--interface", "eth0"],
                "--interface",
            ),
            (
                vec![
                    "a",
                    "--source",
                    "192.0.2.1",
                    "--source-range",
                    "192.0.2.1-192.0.2.2",
                ],
                "--source-range",
            ),
            (vec!["a", "--schedule", "whenever"], "--schedule"),
            (vec!["a", "--padding", "ones"], "--padding"),
            (vec!["a", "--format", "iso"], "--format"),
            (vec!["a", "--ecn", "4"], "--ecn"),
            (vec!["a", "--ttl", "256"], "--ttl"),
            (vec!["a", "--no-such-option"], "--no-such-option"),
            (
                vec!["a", "--csv", "x"],
                "unexpected argument '--csv' found; there is a similar one, '--csv-packets'",
            ),
            (vec!["a", "b"], "b"),
            (vec!["a", "--json"], "--json"),
        ] {
            let command_line = std::iter::once("sender").chain(line.iter().copied());
            let Err(Refusal::Usage(message)) = parse(command_line) else {
                panic!("{line:?} was not refused");
            };
            assert!(message.contains(named), "{line:?}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn help_is_plain_text_that_names_every_default() {
        let Err(Refusal::Answer(help)) = parse(["sender", "--help"]) else {
            panic!("no help")
        };
        for default in [
            "862",
            "[default: 10]",
            "[default: 100]",
            "[default: 44]",
            "[default: 2s]",
            "[default: 255]",
            "[default: 16]",
            "[default: socket]",
            "[default: periodic]",
            "[default: zero]",
            "[default: ntp]",
        ] {
            assert!(help.contains(default), "{default} missing in {help}");
        }
        assert!(!help.contains('`'), "Markdown in {help}");
    }
}
