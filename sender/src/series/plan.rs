//! The tests of a series file, checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Value;

use super::error::FileError;
use super::file::{Given, SeriesFile, Table};
use super::keys::{Flag, Key, Takes, in_keys};
use super::threshold::Threshold;
use crate::args::{self, Args, Refusal};
use crate::config::{Config, ConfigError};
use crate::target::Target;

/// Results kept of a test when `history-size` is not given.
pub const DEFAULT_HISTORY: usize = 50;
/// Most results kept of a test.
pub const HISTORY_MAX: i64 = 10_000;
/// Packets of a test when `probe-count` is not given.
pub const DEFAULT_PROBES: &str = "10";
/// Time between them when `probe-interval` is not given.
pub const DEFAULT_PROBE_INTERVAL: &str = "1s";
/// Time between starts when `test-interval` is not given.
pub const DEFAULT_TEST_INTERVAL: Duration = Duration::from_secs(60);
/// Shortest `test-interval`.
pub const TEST_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest name of a series or a test, in characters.
const NAME_MAX: usize = 64;

/// A series.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name, under which results are kept.
    pub series: String,
    /// Its tests, in the order of the file; never empty.
    pub tests: Vec<Test>,
}

/// A test.
#[derive(Debug, Clone)]
pub struct Test {
    /// Its name, unique within the series.
    pub name: String,
    /// From the start of the series to that of the first test.
    pub offset: Duration,
    /// From the start of a test to that of the next.
    pub interval: Duration,
    /// How many; `None` until the series is stopped.
    pub count: Option<u64>,
    /// Results kept.
    pub history: usize,
    /// Conditions under which it has failed.
    pub thresholds: Vec<Threshold>,
    /// A single test.
    args: Args,
}

impl Plan {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// It cannot be read or understood; the error names line and key.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::new(path, super::file::read(path)?)
    }

    fn new(path: &Path, file: SeriesFile) -> Result<Self, FileError> {
        let refused = |problem: Problem| FileError {
            file: path.to_owned(),
            line: problem.line,
            problem: problem.text,
        };
        let series = series_name(path, file.series).map_err(refused)?;
        let mut tests = Vec::with_capacity(file.tests.len());
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for table in &file.tests {
            let test = Test::new(table).map_err(refused)?;
            if let Some(line) = lines.insert(test.name.clone(), table.line) {
                let twice = format!("test '{}' is in line {line} already", test.name);
                return Err(refused(Problem::at(table.line, twice)));
            }
            tests.push(test);
        }
        Ok(Self { series, tests })
    }

    /// The same with each test made once.
    #[must_use]
    pub fn once(mut self) -> Self {
        for test in &mut self.tests {
            test.count = Some(1);
        }
        self
    }
}

/// What is wrong, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    line: Option<usize>,
    text: String,
}

impl Problem {
    fn at(line: usize, text: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            text: text.into(),
        }
    }
}

/// The name in the file, else that of the file.
fn series_name(path: &Path, written: Option<(String, usize)>) -> Result<String, Problem> {
    if let Some((name, line)) = written {
        return check_name("series", &name)
            .map_err(|text| Problem::at(line, text))
            .map(|()| name);
    }
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let name = stem.unwrap_or_default();
    match check_name("series", &name) {
        Ok(()) => Ok(name),
        Err(text) => Err(Problem {
            line: None,
            text: format!("{text}; the name of the file is taken unless series = \"...\" is given"),
        }),
    }
}

/// Names are names of files, and are typed in shells.
fn check_name(key: &str, name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty()
        || name.starts_with(['.', '-'])
        || name.len() > NAME_MAX
        || !name.chars().all(fits)
    {
        return Err(format!(
            "{key} '{name}' is no name: write 1 to {NAME_MAX} letters, digits, '-', '_' or '.', the \
             first of them a letter, a digit or '_'"
        ));
    }
    Ok(())
}

impl Test {
    fn new(table: &Table) -> Result<Self, Problem> {
        let keys = &table.keys;
        let Some(given) = keys.get(&Key::Name) else {
            return Err(Problem::at(table.line, "this [[test]] has no name"));
        };
        let Value::String(name) = &given.value else {
            return Err(Problem::at(
                given.line,
                "name must be a text, like name = \"core\"",
            ));
        };
        check_name("name", name).map_err(|text| Problem::at(given.line, text))?;
        let about = |problem: Problem| Problem {
            line: problem.line.or(Some(table.line)),
            text: format!("test '{name}': {}", problem.text),
        };
        Self::named(name, keys).map_err(about)
    }

    fn named(name: &str, keys: &BTreeMap<Key, Given>) -> Result<Self, Problem> {
        let target = target(keys)?;
        let args = single(&target, keys)?;
        let config =
            Config::try_from(args.clone()).map_err(|error| told(&error.to_string(), keys))?;
        let interval = interval(keys)?;
        fits(&config, interval, keys)?;
        Ok(Self {
            name: name.to_owned(),
            offset: time(keys, Key::StartOffset)?.map_or(Duration::ZERO, |(offset, _)| offset),
            interval,
            count: count(keys)?,
            history: whole(keys, Key::HistorySize, 1..=HISTORY_MAX)?
                .and_then(|size| usize::try_from(size).ok())
                .unwrap_or(DEFAULT_HISTORY),
            thresholds: thresholds(keys, config.timing.limit.packets)?,
            args,
        })
    }

    /// The reflector.
    pub fn target(&self) -> &Target {
        &self.args.target
    }

    /// The parameters of the next test: each has chances of its own, unless the file gives a seed.
    ///
    /// # Errors
    ///
    /// The system has no random numbers; all else was checked before.
    pub fn config(&self) -> Result<Config, ConfigError> {
        Config::try_from(self.args.clone())
    }
}

/// What a message about flags says of keys, with the line of the first of them that is given.
fn told(message: &str, keys: &BTreeMap<Key, Given>) -> Problem {
    let (text, key) = in_keys(message);
    Problem {
        line: key.and_then(|key| keys.get(&key)).map(|given| given.line),
        text,
    }
}

fn target(keys: &BTreeMap<Key, Given>) -> Result<Target, Problem> {
    let Some(given) = keys.get(&Key::Target) else {
        return Err(Problem {
            line: None,
            text: "there is no target: name the reflector, like target = \"192.0.2.1\"".to_owned(),
        });
    };
    let Value::String(text) = &given.value else {
        return Err(Problem::at(
            given.line,
            "target must be a text, like target = \"192.0.2.1\"",
        ));
    };
    let target: Target = text
        .parse()
        .map_err(|error| Problem::at(given.line, format!("target '{text}': {error}")))?;
    let Some(port) = whole(keys, Key::Port, 1..=65_535)? else {
        return Ok(target);
    };
    let has_port = *text != target.host && *text != format!("[{}]", target.host);
    let port_given = keys.get(&Key::Port);
    match port_given {
        // The port in a target of the test itself is nearer than that of [defaults].
        Some(port) if has_port && port.default && !given.default => Ok(target),
        Some(port) if has_port => Err(Problem::at(
            port.line,
            "port is given twice: the target has one too",
        )),
        _ => Ok(Target {
            port: u16::try_from(port).unwrap_or(target.port),
            ..target
        }),
    }
}

/// The command line of a single test.
fn single(target: &Target, keys: &BTreeMap<Key, Given>) -> Result<Args, Problem> {
    let mut line = vec!["sender".to_owned()];
    for (flag, default) in [
        ("count", DEFAULT_PROBES),
        ("interval", DEFAULT_PROBE_INTERVAL),
    ] {
        if Key::of_flag(flag).is_none_or(|key| !keys.contains_key(&key)) {
            line.push(format!("--{flag}={default}"));
        }
    }
    for (key, given) in keys {
        if let Some(flag) = key.flag() {
            line.extend(words(flag, &given.value).map_err(|text| Problem::at(given.line, text))?);
        }
    }
    line.extend(["--".to_owned(), target.to_string()]);
    args::parse(line).map_err(|refusal| match refusal {
        Refusal::Usage(message) | Refusal::Answer(message) => told(&message, keys),
    })
}

/// A key and its value as words of a command line.
fn words(flag: Flag, value: &Value) -> Result<Vec<String>, String> {
    let Flag { key, flag, takes } = flag;
    let word = |value: &Value| match value {
        Value::String(text) => Ok(format!("--{flag}={text}")),
        Value::Integer(number) => Ok(format!("--{flag}={number}")),
        Value::Float(number) => Ok(format!("--{flag}={number}")),
        _ => Err(format!("{key} must be a text or a number")),
    };
    match (takes, value) {
        (Takes::Nothing, Value::Boolean(true)) => Ok(vec![format!("--{flag}")]),
        (Takes::Nothing, Value::Boolean(false)) => Ok(Vec::new()),
        (Takes::Nothing, _) => Err(format!("{key} must be true or false")),
        (Takes::Hexadecimal, Value::String(_)) => Ok(vec![word(value)?]),
        (Takes::Hexadecimal, _) => Err(format!(
            "{key} must be hexadecimal digits in quotes, like {key} = \"2a\""
        )),
        (Takes::Values, Value::Array(values)) => values.iter().map(word).collect(),
        (Takes::Values | Takes::Value, value) => Ok(vec![word(value)?]),
    }
}

/// A whole number within a range, if the key is given.
fn whole(
    keys: &BTreeMap<Key, Given>,
    key: Key,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<i64>, Problem> {
    let Some(given) = keys.get(&key) else {
        return Ok(None);
    };
    match given.value {
        Value::Integer(number) if range.contains(&number) => Ok(Some(number)),
        _ => {
            let (first, last) = (range.start(), range.end());
            Err(Problem::at(
                given.line,
                format!("{key} must be a whole number from {first} to {last}"),
            ))
        }
    }
}

fn count(keys: &BTreeMap<Key, Given>) -> Result<Option<u64>, Problem> {
    let Some(given) = keys.get(&Key::TestCount) else {
        return Ok(None);
    };
    match &given.value {
        Value::String(text) if text == "forever" => Ok(None),
        Value::Integer(number @ 0..) => Ok(Some(number.unsigned_abs()).filter(|&count| count > 0)),
        _ => Err(Problem::at(
            given.line,
            "test-count must be a whole number of tests, or 0 or \"forever\" for no end",
        )),
    }
}

fn interval(keys: &BTreeMap<Key, Given>) -> Result<Duration, Problem> {
    match time(keys, Key::TestInterval)? {
        None => Ok(DEFAULT_TEST_INTERVAL),
        Some((interval, _)) if interval >= TEST_INTERVAL_MIN => Ok(interval),
        Some((_, line)) => {
            let least = humantime::format_duration(TEST_INTERVAL_MIN);
            Err(Problem::at(
                line,
                format!("test-interval must be {least} at least"),
            ))
        }
    }
}

/// A time and the line of its key, if that is given.
fn time(keys: &BTreeMap<Key, Given>, key: Key) -> Result<Option<(Duration, usize)>, Problem> {
    let Some(given) = keys.get(&key) else {
        return Ok(None);
    };
    let read = match &given.value {
        Value::String(text) => {
            humantime::parse_duration(text).map_err(|error| format!(": {error}"))
        }
        _ => Err(String::new()),
    };
    read.map(|time| Some((time, given.line))).map_err(|why| {
        let text = format!("{key} must be a time with its unit, like \"5m\"{why}");
        Problem::at(given.line, text)
    })
}

/// Whether a test is over before the next begins, unless replies are late.
fn fits(config: &Config, interval: Duration, keys: &BTreeMap<Key, Given>) -> Result<(), Problem> {
    let packets = config.timing.limit.packets;
    let Some(pace) = config.timing.times.pace() else {
        return Ok(());
    };
    // To the last burst; a burst takes no time.
    let burst = u64::from(config.timing.burst.get());
    let length = pace.due(packets.saturating_sub(1) / burst * burst);
    if length < interval {
        return Ok(());
    }
    let at = [Key::TestInterval]
        .into_iter()
        .chain(Key::of_flag("interval"))
        .chain(Key::of_flag("count"))
        .find_map(|key| keys.get(&key));
    Err(Problem {
        line: at.map(|given| given.line),
        text: format!(
            "test-interval {} is too short: probe-count and probe-interval make a test of {}",
            humantime::format_duration(interval),
            humantime::format_duration(length)
        ),
    })
}

fn thresholds(keys: &BTreeMap<Key, Given>, packets: u64) -> Result<Vec<Threshold>, Problem> {
    let mut thresholds = Vec::new();
    if let Some(given) = keys.get(&Key::Thresholds) {
        let values = match &given.value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let Value::String(text) = value else {
                return Err(Problem::at(
                    given.line,
                    "thresholds must be texts, like thresholds = [\"loss > 1%\", \"rtt.p99 > 5ms\"]",
                ));
            };
            let limit = text.parse();
            let limit =
                limit.map_err(|error| Problem::at(given.line, format!("thresholds: {error}")))?;
            thresholds.push(Threshold::Limit(limit));
        }
    }
    let most = i64::try_from(packets).unwrap_or(i64::MAX);
    let losses = |key| {
        let least = whole(keys, key, 1..=most).map_err(|problem| Problem {
            text: format!("{}, the probe-count", problem.text),
            ..problem
        })?;
        Ok(least.map(i64::unsigned_abs))
    };
    thresholds.extend(losses(Key::TotalLosses)?.map(Threshold::TotalLosses));
    thresholds.extend(losses(Key::SuccessiveLosses)?.map(Threshold::SuccessiveLosses));
    Ok(thresholds)
}

#[cfg(test)]
mod tests;
