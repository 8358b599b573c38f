//! The command line as typed. [`crate::config`] checks what it means.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;

use crate::config::{SESSIONS_MAX, SIZE_MAX, SIZE_MIN};
use crate::schedule::TOLERANCE_FLOOR;
use crate::target::Target;

/// Measure round-trip time, one-way delay, jitter and loss to a TWAMP-Light or STAMP reflector.
///
/// Sends TWAMP-Test packets (RFC 5357, unauthenticated) over UDP and needs no privileges. Exit
/// status: 0 when at least one reply was received, 1 when none was or the run failed, 2 when the
/// command line is wrong. Ctrl-C stops sending and prints the report of what was measured; a
/// second Ctrl-C does not wait for the replies still out.
#[derive(Debug, Clone, Parser)]
#[command(name = "sender", version, allow_negative_numbers = true)]
pub struct Args {
    /// The reflector and its port.
    #[arg(
        value_name = "TARGET[:PORT]",
        help = "Reflector: an IPv4 or IPv6 address or a host name; the port is 862 unless given, \
                an IPv6 address with a port is written [ADDRESS]:PORT"
    )]
    pub target: Target,

    /// Packets per second over all sessions; fractions are allowed, 0.1 is one every ten seconds
    /// [default: 10]
    #[arg(long, value_name = "PPS", conflicts_with = "interval")]
    pub rate: Option<f64>,

    /// Time between packets over all sessions, like 20ms; the other way to give --rate
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub interval: Option<Duration>,

    /// Packets to send over all sessions.
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "duration",
        help = format!(
            "Packets to send over all sessions [default: 100]; a send time that passes while this \
             machine is busy is skipped, never made up for by a burst, and replaced by one at the \
             end; packets less than an interval late, or less than {}, are still sent, so that \
             such packets may bunch",
            humantime::format_duration(TOLERANCE_FLOOR)
        )
    )]
    pub count: Option<i64>,

    /// How long to send, like 5s or 2m, instead of --count; send times skipped are replaced within
    /// a tenth of that at most
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,

    /// Octets of UDP payload.
    #[arg(
        long,
        value_name = "OCTETS",
        default_value_t = 44,
        help = format!(
            "Octets of UDP payload, {SIZE_MIN} to {SIZE_MAX}, zero beyond the {SIZE_MIN} of the \
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

    /// A reply that takes longer is late, and its packet lost
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2s",
        value_parser = humantime::parse_duration
    )]
    pub timeout: Duration,

    /// Source address [default: chosen by the kernel]
    #[arg(long, value_name = "ADDRESS", value_parser = source_address)]
    pub source: Option<IpAddr>,

    /// Source port of the first session, the others take the ports after it [default: chosen by
    /// the kernel]
    #[arg(long, value_name = "PORT")]
    pub source_port: Option<i64>,

    /// Write the results as JSON to a file, or to standard output if FILE is - (the table then
    /// goes to standard error)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// No progress line, no table: errors, --json and the exit status only
    #[arg(long, short)]
    pub quiet: bool,
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
            "no target is given: name the reflector, like sender 192.0.2.1 or sender [2001:db8::1]:862"
                .to_owned(),
        ),
        _ => Refusal::Usage(first_sentence(&error.render().to_string())),
    })
}

/// A source address; its interface, if it needs one, is the target's.
fn source_address(text: &str) -> Result<IpAddr, String> {
    if let Some((address, interface)) = text.split_once('%') {
        return Err(format!(
            "write {address} alone: the interface is that of the target, like fe80::1%{interface}"
        ));
    }
    let address: IpAddr = text.parse().map_err(|_| "it is no IP address".to_owned())?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || broadcast {
        return Err("it is not the address of one host".to_owned());
    }
    Ok(address)
}

/// clap's own message without the usage and the hints that follow its first paragraph.
fn first_sentence(rendered: &str) -> String {
    let message = rendered.trim_start_matches("error: ");
    let paragraph = message.split("\n\n").next().unwrap_or(message);
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_target_alone_is_enough() {
        let args = parse(["sender", "192.0.2.1"]).unwrap();
        assert_eq!(args.target, "192.0.2.1:862".parse().unwrap());
        assert_eq!(
            (args.size, args.sessions, args.timeout),
            (44, 1, Duration::from_secs(2))
        );
        assert_eq!((args.rate, args.count, args.duration), (None, None, None));
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
        assert_eq!(args.interval, Some(Duration::from_millis(1)));
        assert_eq!(args.duration, Some(Duration::from_secs(60)));
        assert_eq!(args.timeout, Duration::from_millis(500));
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
            (vec!["a", "--no-such-option"], "--no-such-option"),
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
    fn help_names_every_default() {
        let Err(Refusal::Answer(help)) = parse(["sender", "--help"]) else {
            panic!("no help")
        };
        for default in [
            "862",
            "[default: 10]",
            "[default: 100]",
            "[default: 44]",
            "[default: 2s]",
        ] {
            assert!(help.contains(default), "{default} missing in {help}");
        }
    }
}
