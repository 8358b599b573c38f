//! A run's parameters, checked. Errors name the flag and the range.

pub mod addresses;
mod timing;
pub mod values;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use wire::time::Nanos;

pub use self::timing::{RampPlan, Timing};

use self::addresses::{SourceRange, Spread};
use self::values::{Mac, VlanArg};
use crate::args::{Args, FormatArg, OutputArgs, PaddingArg, TransportArg, TxStampsArg};
use crate::limits;
use crate::probe::{Padding, ProbeSpec, Ssid};
use crate::schedule::Times;
use crate::seed::Seed;
use crate::target::Target;

/// Packets per second when neither --rate nor --interval is given.
pub const DEFAULT_RATE: f64 = 10.0;
/// Packets when neither --count nor --duration is given.
pub const DEFAULT_COUNT: u64 = 100;
/// Most sessions of one run.
pub const SESSIONS_MAX: u32 = 100_000;
/// Least UDP payload: the header of a TWAMP-Test packet (RFC 5357 section 4.1.2).
pub const SIZE_MIN: u32 = 14;
/// Most UDP payload that fits an IPv4 packet.
pub const SIZE_MAX: u32 = 65_507;
/// Longest timeout.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// A reply is recognised as late for as long again as the timeout, within these bounds; after that
/// its packet may be forgotten, and the reply is invalid.
pub const LATE_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10);
/// Ports below this are never taken unless the user names them.
pub const PORT_MIN: u16 = 1024;

/// Memory for outstanding probes at most: 2^26 probes, 32 octets each, are 2 GiB.
const WINDOW_TOTAL_MAX: u64 = 1 << 26;
/// Memory for outstanding probes of a run as fast as it goes: 2^22 probes, 128 MiB.
const WINDOW_UNPACED: u64 = 1 << 22;
/// Most octets of a STAMP or TWAMP base packet.
const STAMP_LEN: usize = wire::twamp::STAMP_LEN;

/// Everything a run needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The reflector.
    pub target: Target,
    /// When probes leave.
    pub timing: Timing,
    /// What they are.
    pub probe: ProbeSpec,
    /// How T1 is written.
    pub format: FormatArg,
    /// The IP header.
    pub header: HeaderConfig,
    /// Number of sessions.
    pub sessions: usize,
    /// Limit between received and late.
    pub timeout: Duration,
    /// Probes remembered, over all sessions.
    pub window: usize,
    /// Which way probes go.
    pub path: PathConfig,
    /// What the reflector is known to do.
    pub peer: PeerConfig,
    /// What is done with the results.
    pub output: OutputConfig,
}

/// The IP header of the probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderConfig {
    /// TOS or Traffic Class octet: DSCP and ECN.
    pub tos: u8,
    /// TTL or Hop Limit.
    pub ttl: u8,
    /// Forbid fragmentation.
    pub dont_fragment: bool,
}

/// Which way probes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathConfig {
    /// Sockets or `AF_XDP`.
    pub transport: TransportArg,
    /// Interface to send on.
    pub interface: Option<String>,
    /// Queues to send on.
    pub queues: Option<usize>,
    /// Source addresses.
    pub sources: Option<SourceRange>,
    /// Source port of the first session on each address.
    pub source_port: Option<u16>,
    /// VLAN tags, the outer one first.
    pub vlans: Vec<VlanArg>,
    /// VRF device.
    pub vrf: Option<String>,
    /// MAC address of the next hop.
    pub next_hop_mac: Option<Mac>,
    /// Packets stamped and handed over together.
    pub tx_batch: Option<usize>,
    /// Whether T1 is corrected.
    pub tx_stamps: TxStampsArg,
}

/// What the reflector is known to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerConfig {
    /// It reports DSCP and ECN (RFC 7750).
    pub reports_tos: bool,
    /// It numbers its replies by itself.
    pub stateful: bool,
}

/// What is done with the results.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputConfig {
    /// Where JSON goes.
    pub json: Option<JsonTo>,
    /// The HTML page.
    pub report: Option<PathBuf>,
    /// CSV of the intervals.
    pub csv_intervals: Option<PathBuf>,
    /// CSV of the packets.
    pub csv_packets: Option<PathBuf>,
    /// `HdrHistogram` log.
    pub hdr_log: Option<PathBuf>,
    /// Lines per interval.
    pub interval_report: Option<Duration>,
    /// Table of sessions.
    pub per_session: bool,
    /// Sessions with a histogram of their own.
    pub histograms: usize,
    /// Limits that must hold.
    pub fail_if: Vec<limits::Limit>,
    /// No live view and no table.
    pub quiet: bool,
}

/// Where JSON goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonTo {
    /// `-`.
    Stdout,
    /// A file, replaced if it exists.
    File(PathBuf),
}

/// An argument out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {problem}")]
pub struct ConfigError {
    /// The argument.
    pub flag: &'static str,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

fn refuse<T>(flag: &'static str, problem: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError {
        flag,
        problem: problem.into(),
    })
}

/// A number if it is within a range.
fn within(
    flag: &'static str,
    number: i64,
    range: RangeInclusive<u32>,
) -> Result<usize, ConfigError> {
    match u32::try_from(number) {
        Ok(fits) if range.contains(&fits) => Ok(fits as usize),
        _ => refuse(
            flag,
            format!(
                "{number} is not within {} to {}",
                range.start(),
                range.end()
            ),
        ),
    }
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let seed = match args.timing.seed {
            Some(seed) => seed,
            None => Seed::fresh()
                .or_else(|error| refuse("--seed", format!("cannot be made: {error}")))?,
        };
        let timing = Timing::new(&args.timing, seed)?;
        let probe = probe(&args, seed)?;
        let sessions = within("--sessions", args.packet.sessions, 1..=SESSIONS_MAX)?;
        let timeout = args.packet.timeout;
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            return refuse("--timeout", "must be above zero and at most 1h");
        }
        let path = path(&args, sessions)?;
        if matches!(timing.times, Times::Owamp { .. }) && path.queues.is_some_and(|many| many > 1) {
            return refuse(
                "--queues",
                "above 1 would tear apart the one sequence of times of --schedule owamp",
            );
        }
        Ok(Self {
            window: window(&timing, timeout, sessions)?,
            timing,
            probe,
            format: args.packet.format,
            header: HeaderConfig {
                tos: (args.packet.dscp.value() << 2) | args.packet.ecn.value(),
                ttl: args.packet.ttl,
                dont_fragment: args.packet.df,
            },
            sessions,
            timeout,
            path,
            peer: PeerConfig {
                reports_tos: args.packet.dscp_report,
                stateful: args.packet.stateful,
            },
            output: output(&args)?,
            target: args.target,
        })
    }
}

impl Config {
    /// The timeout on the scale of the timestamps.
    pub fn timeout_nanos(&self) -> Nanos {
        Nanos::from_nanos(i64::try_from(self.timeout.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Whether anything in the run follows from the seed.
    pub fn has_chance(&self) -> bool {
        self.timing.random || matches!(self.probe.padding, Padding::Random(_))
    }

    /// How the sessions are spread over source addresses and ports.
    pub fn spread(&self) -> Spread {
        Spread {
            sessions: self.sessions,
            addresses: self.path.sources.map_or(1, |range| range.len()),
        }
    }
}

fn probe(args: &Args, seed: Seed) -> Result<ProbeSpec, ConfigError> {
    let packet = &args.packet;
    let size = within("--size", packet.size, SIZE_MIN..=SIZE_MAX)?;
    if packet.stamp && size < STAMP_LEN {
        return refuse(
            "--size",
            format!("{size} is too small for STAMP, whose packets have {STAMP_LEN} octets or more"),
        );
    }
    if packet.dscp_report && size < STAMP_LEN {
        return refuse(
            "--size",
            format!(
                "{size} is too small for --dscp-report: with fewer than {STAMP_LEN} octets a reflector may leave the octet out"
            ),
        );
    }
    if packet.ssid.is_some() && !packet.stamp {
        return refuse(
            "--ssid",
            "goes with --stamp only: TWAMP-Test packets have none",
        );
    }
    Ok(ProbeSpec {
        size,
        padding: match packet.padding {
            PaddingArg::Zero => Padding::Zero,
            PaddingArg::Random => Padding::Random(seed),
        },
        ssid: if packet.stamp {
            Ssid::new(packet.ssid.unwrap_or(1))
        } else {
            None
        },
    })
}

fn path(args: &Args, sessions: usize) -> Result<PathConfig, ConfigError> {
    let path = &args.path;
    let sources = path.source.map(SourceRange::one).or(path.source_range);
    if let Some(range) = sources {
        let flag = if path.source.is_some() {
            "--source"
        } else {
            "--source-range"
        };
        source_family(flag, range, args)?;
    }
    let spread = Spread {
        sessions,
        addresses: sources.map_or(1, |range| range.len()),
    };
    let source_port = source_port(path.source_port, &spread)?;
    if path.vlan.len() > 2 {
        return refuse(
            "--vlan",
            "can be given twice at most: the outer tag and the inner one",
        );
    }
    if path.transport == TransportArg::Socket {
        let only = [
            ("--vlan", !path.vlan.is_empty()),
            ("--next-hop-mac", path.next_hop_mac.is_some()),
            ("--queues", path.queues.is_some()),
            ("--tx-batch", path.tx_batch.is_some()),
            ("--tx-stamps on", path.tx_stamps == TxStampsArg::On),
        ];
        if let Some((flag, _)) = only.into_iter().find(|(_, given)| *given) {
            return refuse(
                flag,
                "needs --transport af-xdp: sockets leave that to the kernel",
            );
        }
    }
    if !path.vlan.is_empty() && path.transport == TransportArg::Auto {
        return refuse(
            "--vlan",
            "needs --transport af-xdp: with auto it might be left out",
        );
    }
    Ok(PathConfig {
        transport: path.transport,
        interface: path.interface.clone(),
        queues: path
            .queues
            .map(|queues| within("--queues", queues, 1..=1024))
            .transpose()?,
        sources,
        source_port,
        vlans: path.vlan.clone(),
        vrf: path.vrf.clone(),
        next_hop_mac: path.next_hop_mac,
        tx_batch: path
            .tx_batch
            .map(|batch| within("--tx-batch", batch, 1..=256))
            .transpose()?,
        tx_stamps: path.tx_stamps,
    })
}

/// The first source port of each address, if there is room for the others.
fn source_port(first: Option<i64>, spread: &Spread) -> Result<Option<u16>, ConfigError> {
    let ports = spread.ports();
    let Some(first) = first else {
        let most = usize::from(u16::MAX - PORT_MIN) + 1;
        if ports > most {
            return refuse(
                "--sessions",
                format!(
                    "{} are too many for the ports of {}: each has {most}; spread them over more \
                     with --source-range",
                    spread.sessions,
                    crate::report::units::counted(
                        spread.addresses as u64,
                        "source address",
                        "source addresses"
                    )
                ),
            );
        }
        return Ok(None);
    };
    let last = first.saturating_add(i64::try_from(ports - 1).unwrap_or(i64::MAX));
    match u16::try_from(first) {
        Ok(port) if port > 0 && u16::try_from(last).is_ok() => Ok(Some(port)),
        Ok(port) if port > 0 => refuse(
            "--source-port",
            format!("{first} leaves no room for {ports} sessions: the last would be {last}"),
        ),
        _ => refuse(
            "--source-port",
            format!("{first} is no UDP port (1 to 65535)"),
        ),
    }
}

fn source_family(flag: &'static str, sources: SourceRange, args: &Args) -> Result<(), ConfigError> {
    let target: Option<IpAddr> = args.target.host.parse().ok();
    let source = sources.first();
    match target {
        Some(target) if source.is_ipv4() != target.is_ipv4() => refuse(
            flag,
            format!("{source} and the target {target} are not of the same address family"),
        ),
        _ => Ok(()),
    }
}

fn output(args: &Args) -> Result<OutputConfig, ConfigError> {
    let output = &args.output;
    if output
        .interval_report
        .is_some_and(|width| width < Duration::from_millis(10))
    {
        return refuse("--interval-report", "must be 10ms at least");
    }
    distinct_files(output)?;
    Ok(OutputConfig {
        json: output.json.clone().map(|path| match path.to_str() {
            Some("-") => JsonTo::Stdout,
            _ => JsonTo::File(path),
        }),
        report: output.report.clone(),
        csv_intervals: output.csv_intervals.clone(),
        csv_packets: output.csv_packets.clone(),
        hdr_log: output.hdr_log.clone(),
        interval_report: output.interval_report,
        per_session: output.per_session,
        histograms: output.per_session_histograms,
        fail_if: output.fail_if.clone(),
        quiet: output.quiet,
    })
}

/// Refuses two outputs in one file, where the one would replace the other, and standard output for
/// others than JSON.
fn distinct_files(output: &OutputArgs) -> Result<(), ConfigError> {
    let files = [
        ("--json", &output.json),
        ("--report", &output.report),
        ("--csv-intervals", &output.csv_intervals),
        ("--csv-packets", &output.csv_packets),
        ("--hdr-log", &output.hdr_log),
    ];
    let mut seen: Vec<(&str, PathBuf)> = Vec::new();
    for (flag, path) in files {
        let Some(path) = path.as_deref() else {
            continue;
        };
        if path.as_os_str() == "-" && flag != "--json" {
            return refuse(
                flag,
                "needs the name of a file: only --json writes to standard output by -",
            );
        }
        // A device or a pipe takes what several write.
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            continue;
        }
        // The same file may be written as `x`, as `./x` and with its whole path.
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if let Some((other, _)) = seen.iter().find(|(_, taken)| *taken == whole) {
            return refuse(
                flag,
                format!(
                    "and {other} cannot write the same file, '{}'",
                    path.display()
                ),
            );
        }
        seen.push((flag, whole));
    }
    Ok(())
}

/// How many probes must be remembered: what is sent within the timeout and the late window, two
/// of each session, and no less than the receiving thread may learn of at once.
fn window(timing: &Timing, timeout: Duration, sessions: usize) -> Result<usize, ConfigError> {
    const SPARE: u64 = 64;
    let late = timeout.clamp(*LATE_WINDOW.start(), *LATE_WINDOW.end());
    let at_a_time = match timing.times.pace() {
        // Random gaps may bunch for a while.
        Some(pace) => pace
            .slots_before(2 * (timeout + late))
            .max(pace.slots_before(Duration::from_millis(500)).max(1 << 10)),
        None => WINDOW_UNPACED,
    };
    let needed = at_a_time
        .max(2 * sessions as u64)
        .min(timing.limit.packets.saturating_add(SPARE));
    let window = needed.checked_next_power_of_two().unwrap_or(u64::MAX);
    match usize::try_from(window) {
        Ok(fits) if window <= WINDOW_TOTAL_MAX => Ok(fits),
        _ => refuse(
            "--timeout",
            "is too long for this rate: the packets out at a time would not fit in memory; \
             shorten it or lower the rate",
        ),
    }
}

#[cfg(test)]
mod tests;
