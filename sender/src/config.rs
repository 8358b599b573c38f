//! A run's parameters, checked. Errors name the flag and the range.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use wire::time::Nanos;

use crate::args::Args;
use crate::schedule::{Limit, Pace, Times};
use crate::target::Target;

/// Packets per second when neither --rate nor --interval is given.
pub const DEFAULT_RATE: f64 = 10.0;
/// Packets when neither --count nor --duration is given.
pub const DEFAULT_COUNT: u64 = 100;
/// Most sessions of one run.
pub const SESSIONS_MAX: u32 = 1024;
/// Least UDP payload: the header of a TWAMP-Test packet (RFC 5357 section 4.1.2).
pub const SIZE_MIN: u32 = 14;
/// Most UDP payload that fits an IPv4 packet.
pub const SIZE_MAX: u32 = 65_507;
/// Longest timeout.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// A reply is recognised as late for as long again as the timeout, within these bounds; after that
/// its packet may be forgotten, and the reply is invalid.
pub const LATE_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10);

/// Memory for outstanding probes at most: 2^26 probes, 40 octets each, are 2.5 GiB.
const WINDOW_TOTAL_MAX: u64 = 1 << 26;
/// Fastest rate the schedule is asked for.
const RATE_MAX: f64 = 10_000_000.0;

/// Everything a run needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The reflector.
    pub target: Target,
    /// Send times.
    pub pace: Pace,
    /// When sending ends.
    pub limit: Limit,
    /// UDP payload in octets.
    pub size: usize,
    /// Number of sessions.
    pub sessions: usize,
    /// Limit between received and late.
    pub timeout: Duration,
    /// Probes each session remembers.
    pub window: usize,
    /// Room for news from the sending to the receiving thread.
    pub queue: usize,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Source port of the first session.
    pub source_port: Option<u16>,
    /// Where JSON goes.
    pub json: Option<JsonTo>,
    /// No progress line and no table.
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
        let pace = pace(&args)?;
        let limit = limit(&args, pace)?;
        let size = within("--size", args.size, SIZE_MIN..=SIZE_MAX)?;
        let sessions = within("--sessions", args.sessions, 1..=SESSIONS_MAX)?;
        if args.timeout.is_zero() || args.timeout > TIMEOUT_MAX {
            return refuse("--timeout", "must be above zero and at most 1h");
        }
        let source_port = args
            .source_port
            .map(|port| ports(port, args.sessions))
            .transpose()?;
        source_family(&args)?;
        Ok(Self {
            window: window(&args, pace, limit)?,
            queue: queue(pace),
            target: args.target,
            pace,
            limit,
            size,
            sessions,
            timeout: args.timeout,
            source: args.source,
            source_port,
            json: args.json.map(|path| match path.to_str() {
                Some("-") => JsonTo::Stdout,
                _ => JsonTo::File(path),
            }),
            quiet: args.quiet,
        })
    }
}

impl Config {
    /// The timeout on the scale of the timestamps.
    pub fn timeout_nanos(&self) -> Nanos {
        Nanos::from_nanos(i64::try_from(self.timeout.as_nanos()).unwrap_or(i64::MAX))
    }
}

fn pace(args: &Args) -> Result<Pace, ConfigError> {
    if let Some(interval) = args.interval {
        if interval.is_zero() {
            return refuse("--interval", "must be above zero");
        }
        let pace = Pace::from_interval(interval).filter(|pace| pace.per_second() <= RATE_MAX);
        return pace.map_or_else(|| refuse("--interval", "must be 100ns to 584 years"), Ok);
    }
    let rate = args.rate.unwrap_or(DEFAULT_RATE);
    let pace = Pace::from_rate(rate).filter(|_| rate <= RATE_MAX);
    let problem = || format!("{rate} is not within 0.000001 to 10000000 packets/s");
    pace.map_or_else(|| refuse("--rate", problem()), Ok)
}

fn limit(args: &Args, pace: Pace) -> Result<Limit, ConfigError> {
    match (args.count, args.duration) {
        (Some(count), _) if count < 1 => refuse("--count", "must be at least 1"),
        (_, Some(duration)) if duration.is_zero() => refuse("--duration", "must be above zero"),
        (Some(count), _) => Ok(Limit::packets(count.unsigned_abs())),
        (None, Some(duration)) => Ok(Limit::duration(&Times::periodic(pace), duration)),
        (None, None) => Ok(Limit::packets(DEFAULT_COUNT)),
    }
}

/// The first source port, if the last one exists.
fn ports(first: i64, sessions: i64) -> Result<u16, ConfigError> {
    let last = first.saturating_add(sessions - 1);
    match u16::try_from(first) {
        Ok(port) if port > 0 && u16::try_from(last).is_ok() => Ok(port),
        Ok(port) if port > 0 => refuse(
            "--source-port",
            format!("{first} leaves no room for {sessions} sessions: the last would be {last}"),
        ),
        _ => refuse(
            "--source-port",
            format!("{first} is no UDP port (1 to 65535)"),
        ),
    }
}

fn source_family(args: &Args) -> Result<(), ConfigError> {
    let target: Option<IpAddr> = args.target.host.parse().ok();
    match (args.source, target) {
        (Some(source), Some(target)) if source.is_ipv4() != target.is_ipv4() => refuse(
            "--source",
            format!("{source} and the target {target} are not of the same address family"),
        ),
        _ => Ok(()),
    }
}

/// Room for the news of half a second, far more than the receiving thread is ever behind.
fn queue(pace: Pace) -> usize {
    let half_a_second = pace.slots_before(Duration::from_millis(500));
    usize::try_from(half_a_second)
        .unwrap_or(usize::MAX)
        .clamp(1 << 10, 1 << 22)
}

/// How many probes each session must remember: what it sends within the timeout and the late
/// window, and no less than the receiving thread may learn of at once.
fn window(args: &Args, pace: Pace, limit: Limit) -> Result<usize, ConfigError> {
    const SPARE: u64 = 64;
    let late = args.timeout.clamp(*LATE_WINDOW.start(), *LATE_WINDOW.end());
    let sessions = args.sessions.unsigned_abs();
    let needed = pace
        .slots_before(args.timeout + late)
        .max(queue(pace) as u64)
        .min(limit.packets)
        .div_ceil(sessions)
        + SPARE;
    let window = needed.next_power_of_two();
    match usize::try_from(window) {
        Ok(fits) if window.saturating_mul(sessions) <= WINDOW_TOTAL_MAX => Ok(fits),
        _ => refuse(
            "--timeout",
            "is too long for this rate: the packets out at a time would not fit in memory; \
             shorten it or lower --rate",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn config(line: &str) -> Result<Config, ConfigError> {
        let words = ["sender"].into_iter().chain(line.split_whitespace());
        Config::try_from(args::parse(words).unwrap_or_else(|error| panic!("{line}: {error:?}")))
    }

    #[test]
    fn has_the_documented_defaults() {
        let config = config("192.0.2.1").unwrap();
        assert!((config.pace.per_second() - 10.0).abs() < 1e-9);
        assert_eq!(
            (config.limit, config.size, config.sessions),
            (Limit::packets(100), 44, 1)
        );
        assert_eq!(config.timeout, Duration::from_secs(2));
        assert_eq!(config.json, None);
    }

    #[test]
    fn a_duration_becomes_slots() {
        let packets = |line| config(line).unwrap().limit.packets;
        assert_eq!(packets("a --rate 10000 --duration 5s"), 50_000);
        assert_eq!(packets("a --interval 20ms --duration 1s"), 50);
        assert_eq!(packets("a --rate 0.1 --duration 1s"), 1);
    }

    #[test]
    fn refuses_what_is_out_of_range_and_names_the_flag() {
        for (line, flag) in [
            ("a --rate 0", "--rate"),
            ("a --rate -5", "--rate"),
            ("a --rate NaN", "--rate"),
            ("a --rate inf", "--rate"),
            ("a --rate 10000001", "--rate"),
            ("a --interval 0s", "--interval"),
            ("a --interval 99ns", "--interval"),
            ("a --count 0", "--count"),
            ("a --duration 0s", "--duration"),
            ("a --size 13", "--size"),
            ("a --size 65508", "--size"),
            ("a --sessions 0", "--sessions"),
            ("a --sessions 1025", "--sessions"),
            ("a --sessions -1", "--sessions"),
            ("a --size -44", "--size"),
            ("a --count -1", "--count"),
            ("a --source-port -1", "--source-port"),
            ("a --timeout 0s", "--timeout"),
            ("a --timeout 61m", "--timeout"),
            ("a --timeout 1h --rate 100000 --duration 1day", "--timeout"),
            ("a --source-port 0", "--source-port"),
            ("a --source-port 65536", "--source-port"),
            ("a --source-port 65535 --sessions 2", "--source-port"),
            ("::1 --source 127.0.0.1", "--source"),
            ("127.0.0.1 --source ::1", "--source"),
        ] {
            assert_eq!(config(line).unwrap_err().flag, flag, "{line}");
        }
    }

    #[test]
    fn accepts_the_ends_of_the_ranges() {
        for line in [
            "a --size 14",
            "a --size 65507",
            "a --sessions 1024 --source-port 64512",
            "a --source-port 65535",
            "a --rate 10000000 --count 1",
            "a --rate 0.000001 --count 1",
            "a --timeout 1h",
        ] {
            config(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn remembers_what_is_sent_within_timeout_and_late_window() {
        let window = |line| config(line).unwrap().window;
        assert_eq!(
            window("a --rate 1000 --count 1000000"),
            4096,
            "4 s and some"
        );
        assert_eq!(window("a --rate 1000 --count 1000000 --sessions 10"), 512);
        assert_eq!(
            window("a --rate 1000 --count 10"),
            128,
            "no more than the run has"
        );
        assert_eq!(
            window("a --rate 1000 --count 1000000 --timeout 60s"),
            131_072,
            "60 s + 10 s"
        );
        assert_eq!(
            window("a --rate 5000 --count 1000000 --timeout 10ms"),
            8192,
            "a second more, however short the timeout"
        );
        assert_eq!(
            window("a --rate 1 --count 1000000 --timeout 10ms"),
            2048,
            "the news of the queue may come at once"
        );
    }

    #[test]
    fn a_dash_is_standard_output() {
        assert_eq!(config("a --json -").unwrap().json, Some(JsonTo::Stdout));
        let file = JsonTo::File(PathBuf::from("out.json"));
        assert_eq!(config("a --json out.json").unwrap().json, Some(file));
    }
}
