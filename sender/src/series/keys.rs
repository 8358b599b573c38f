//! The keys of a test, and the flags that those which a single run has too go by there.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};

/// A key of `[defaults]` or of a `[[test]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// `name`: what the test is called.
    Name,
    /// `target`: its reflector.
    Target,
    /// `port`: UDP port of the reflector.
    Port,
    /// `test-count`: how many tests.
    TestCount,
    /// `test-interval`: from the start of a test to that of the next.
    TestInterval,
    /// `start-offset`: from the start of the series to that of the first test.
    StartOffset,
    /// `history-size`: how many results are kept.
    HistorySize,
    /// `thresholds`: limits like those of `--fail-if`.
    Thresholds,
    /// `total-losses`: so many lost packets of a test cross a threshold.
    TotalLosses,
    /// `successive-losses`: so many in a row do.
    SuccessiveLosses,
    /// One that a single run has as a flag: its place in [`FLAGS`].
    Flag(usize),
}

/// Keys that are no flags.
const OWN: [(&str, Key); 10] = [
    ("name", Key::Name),
    ("target", Key::Target),
    ("port", Key::Port),
    ("test-count", Key::TestCount),
    ("test-interval", Key::TestInterval),
    ("start-offset", Key::StartOffset),
    ("history-size", Key::HistorySize),
    ("thresholds", Key::Thresholds),
    ("total-losses", Key::TotalLosses),
    ("successive-losses", Key::SuccessiveLosses),
];

/// A key that stands for a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The key.
    pub key: &'static str,
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// What it takes.
    pub takes: Takes,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A text or a number.
    Value,
    /// One or a list of them.
    Values,
    /// Hexadecimal digits, as a text: without quotes they would be a decimal number.
    Hexadecimal,
    /// Nothing: the key is true or false.
    Nothing,
}

/// A flag of the same name.
const fn same(flag: &'static str, takes: Takes) -> Flag {
    Flag {
        key: flag,
        flag,
        takes,
    }
}

/// Keys that stand for flags.
pub const FLAGS: [Flag; 30] = [
    Flag {
        key: "probe-count",
        flag: "count",
        takes: Takes::Value,
    },
    Flag {
        key: "probe-interval",
        flag: "interval",
        takes: Takes::Value,
    },
    same("schedule", Takes::Value),
    same("seed", Takes::Hexadecimal),
    same("random-start", Takes::Nothing),
    same("burst", Takes::Value),
    same("size", Takes::Value),
    same("sessions", Takes::Value),
    same("dscp", Takes::Value),
    same("ecn", Takes::Value),
    same("ttl", Takes::Value),
    same("padding", Takes::Value),
    same("df", Takes::Nothing),
    same("format", Takes::Value),
    same("stamp", Takes::Nothing),
    same("ssid", Takes::Value),
    same("dscp-report", Takes::Nothing),
    same("stateful", Takes::Nothing),
    same("timeout", Takes::Value),
    same("transport", Takes::Value),
    same("interface", Takes::Value),
    same("queues", Takes::Value),
    same("source", Takes::Value),
    same("source-range", Takes::Value),
    same("source-port", Takes::Value),
    same("vlan", Takes::Values),
    same("vrf", Takes::Value),
    same("next-hop-mac", Takes::Value),
    same("tx-batch", Takes::Value),
    same("tx-stamps", Takes::Value),
];

/// The keys of which a test may only have one: its own displaces the other of `[defaults]`.
pub const EXCLUSIVE: [(&str, &str); 2] = [("interface", "vrf"), ("source", "source-range")];

impl Key {
    /// The key of that name.
    pub fn named(name: &str) -> Option<Self> {
        let own = OWN.iter().find(|(known, _)| *known == name);
        own.map(|&(_, key)| key).or_else(|| {
            FLAGS
                .iter()
                .position(|flag| flag.key == name)
                .map(Self::Flag)
        })
    }

    /// All keys.
    pub fn all() -> impl Iterator<Item = Self> {
        OWN.iter()
            .map(|&(_, key)| key)
            .chain((0..FLAGS.len()).map(Self::Flag))
    }

    /// The key that stands for a flag, written without its dashes.
    pub fn of_flag(flag: &str) -> Option<Self> {
        FLAGS
            .iter()
            .position(|known| known.flag == flag)
            .map(Self::Flag)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flag(place) => FLAGS.get(place).map_or("", |flag| flag.key),
            own => OWN
                .iter()
                .find(|(_, key)| *key == own)
                .map_or("", |&(name, _)| name),
        }
    }

    /// The flag it stands for.
    pub fn flag(self) -> Option<Flag> {
        match self {
            Self::Flag(place) => FLAGS.get(place).copied(),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let known: Vec<&str> = Self::all().map(Self::name).collect();
            de::Error::custom(format!(
                "there is no key '{name}'; there are {}",
                known.join(", ")
            ))
        })
    }
}

/// A message about flags as one about keys, and the first key in it.
pub fn in_keys(message: &str) -> (String, Option<Key>) {
    // A series has no rate but the time between packets.
    let message = message.replace("lower the rate", "raise --interval");
    let mut text = String::with_capacity(message.len());
    let mut first = None;
    let mut rest = message.as_str();
    while let Some(at) = rest.find("--") {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let name = &from[2..];
        let end = name
            .find(|c: char| !c.is_ascii_lowercase() && c != '-')
            .unwrap_or(name.len());
        let (name, after) = name.split_at(end);
        let Some(key) = Key::of_flag(name) else {
            text.push_str("--");
            text.push_str(name);
            rest = after;
            continue;
        };
        first = first.or(Some(key));
        text.push_str(key.name());
        // What a flag takes, like <DSCP>.
        let value = after
            .strip_prefix(" <")
            .and_then(|value| value.split_once('>'));
        rest = value.map_or(after, |(_, after)| after);
    }
    text.push_str(rest);
    (text, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_name() {
        for key in Key::all() {
            assert_eq!(Key::named(key.name()), Some(key));
        }
        assert_eq!(Key::named("count"), None, "that one is probe-count");
    }

    #[test]
    fn every_flag_is_one_of_a_single_run() {
        use clap::CommandFactory as _;
        let command = crate::args::Args::command();
        for flag in FLAGS {
            let known = command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(flag.flag));
            let takes_value = known.unwrap().get_action().takes_values();
            assert_eq!(takes_value, flag.takes != Takes::Nothing, "{}", flag.flag);
        }
    }

    #[test]
    fn messages_about_flags_become_messages_about_keys() {
        for (message, text, key) in [
            (
                "--count must be at least 1",
                "probe-count must be at least 1",
                Some("probe-count"),
            ),
            (
                "invalid value 'x' for '--dscp <DSCP>': it is no DSCP",
                "invalid value 'x' for 'dscp': it is no DSCP",
                Some("dscp"),
            ),
            (
                "--queues needs --transport af-xdp",
                "queues needs transport af-xdp",
                Some("queues"),
            ),
            (
                "--timeout: lower the rate",
                "timeout: raise probe-interval",
                Some("timeout"),
            ),
            ("a--b --xyz -- c", "a--b --xyz -- c", None),
        ] {
            let named = in_keys(message);
            assert_eq!((named.0.as_str(), named.1.map(Key::name)), (text, key));
        }
    }
}
