//! A series file as written: tables of keys and values, each with its line.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::error::FileError;
use super::keys::{EXCLUSIVE, Key};

/// A series file, read but not yet checked.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesFile {
    /// `series`: the name under which results are kept, with its line.
    pub series: Option<(String, usize)>,
    /// The tests, in the order of the file, with what they take from `[defaults]`.
    pub tests: Vec<Table>,
}

/// The keys of a test.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Line of its header.
    pub line: usize,
    /// What it says itself and what `[defaults]` says for it.
    pub keys: BTreeMap<Key, Given>,
}

/// A value and where it is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The value.
    pub value: Value,
    /// The line of its key, from 1.
    pub line: usize,
    /// Whether it comes from `[defaults]`.
    pub default: bool,
}

/// Keys as TOML gives them.
type Keys = HashMap<Spanned<Key>, Spanned<Value>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    series: Option<Spanned<String>>,
    #[serde(default)]
    defaults: Keys,
    #[serde(default)]
    test: Vec<Spanned<Keys>>,
}

/// Reads a file.
///
/// # Errors
///
/// It cannot be read, is no TOML, or has keys that there are not.
pub fn read(path: &Path) -> Result<SeriesFile, FileError> {
    let refused = |line, problem| FileError {
        file: path.to_owned(),
        line,
        problem,
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| refused(None, format!("cannot be read: {error}")))?;
    parse(&text).map_err(|(line, problem)| refused(line, problem))
}

/// What is wrong with a text, and its line if it is about one.
type Problem = (Option<usize>, String);

fn parse(text: &str) -> Result<SeriesFile, Problem> {
    let line = |span: Range<usize>| line_of(text, span.start);
    let document: Document = toml::from_str(text).map_err(|error| {
        let words: Vec<&str> = error.message().split_whitespace().collect();
        (error.span().map(line), words.join(" "))
    })?;
    let defaults = given(document.defaults, true, &line);
    if let Some(name) = defaults.get(&Key::Name) {
        let problem = "name belongs to a [[test]], not to [defaults]";
        return Err((Some(name.line), problem.to_owned()));
    }
    let tests = document.test.into_iter().map(|table| {
        let header = line(table.span());
        let mut keys = given(table.into_inner(), false, &line);
        inherit(&mut keys, &defaults);
        Table { line: header, keys }
    });
    let tests: Vec<Table> = tests.collect();
    if tests.is_empty() {
        return Err((None, "there is no [[test]] in it".to_owned()));
    }
    let series = document.series.map(|name| {
        let line = line(name.span());
        (name.into_inner(), line)
    });
    Ok(SeriesFile { series, tests })
}

fn given(keys: Keys, default: bool, line: &impl Fn(Range<usize>) -> usize) -> BTreeMap<Key, Given> {
    let each = keys.into_iter().map(|(key, value)| {
        let given = Given {
            value: value.into_inner(),
            line: line(key.span()),
            default,
        };
        (key.into_inner(), given)
    });
    each.collect()
}

/// Adds the defaults for what a test leaves open.
fn inherit(keys: &mut BTreeMap<Key, Given>, defaults: &BTreeMap<Key, Given>) {
    let displaced = |key: &Key| {
        EXCLUSIVE
            .iter()
            .flat_map(|&(one, other)| [(one, other), (other, one)])
            .filter(|(one, _)| *one == key.name())
            .any(|(_, other)| Key::named(other).is_some_and(|other| keys.contains_key(&other)))
    };
    let taken: Vec<(Key, Given)> = defaults
        .iter()
        .filter(|(key, _)| !keys.contains_key(key) && !displaced(key))
        .map(|(key, given)| (*key, given.clone()))
        .collect();
    keys.extend(taken);
}

/// The line of an octet of a text, from 1.
fn line_of(text: &str, octet: usize) -> usize {
    let before = text.as_bytes().iter().take(octet);
    before.filter(|&&octet| octet == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(table: &Table, key: &str) -> (Value, usize, bool) {
        let given = &table.keys[&Key::named(key).unwrap()];
        (given.value.clone(), given.line, given.default)
    }

    #[test]
    fn a_test_takes_from_the_defaults_what_it_leaves_open() {
        let text = "series = \"lab\"\n[defaults]\ndscp = 46\nsize = 100\nvrf = \"red\"\n\n\
                    [[test]]\nname = \"a\"\nsize = 200\n[[test]]\nname = \"b\"\ninterface = \"eth0\"\n";
        let file = parse(text).unwrap();
        assert_eq!(file.series, Some(("lab".to_owned(), 1)));
        let [a, b] = &file.tests[..] else {
            panic!("{file:?}")
        };
        assert_eq!((a.line, b.line), (7, 10));
        assert_eq!(value(a, "size"), (Value::Integer(200), 9, false));
        assert_eq!(value(a, "dscp"), (Value::Integer(46), 3, true));
        assert_eq!(value(b, "size"), (Value::Integer(100), 4, true));
        assert_eq!(value(a, "vrf"), (Value::String("red".into()), 5, true));
        let vrf = Key::named("vrf").unwrap();
        assert!(
            !b.keys.contains_key(&vrf),
            "a test is in one VRF or on one interface"
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, words) in [
            ("", None, "no [[test]]"),
            ("[defaults]\nsize = 44", None, "no [[test]]"),
            ("[[test]]\nname = \"a\"\nsize = ", Some(3), ""),
            (
                "[[test]]\nname = \"a\"\n\ndcsp = 46",
                Some(4),
                "no key 'dcsp'; there are name, target",
            ),
            (
                "[defaults]\n# what\nname = \"a\"",
                Some(3),
                "name belongs to a [[test]]",
            ),
            ("[[test]]\nsize = 1\nsize = 2", Some(3), "duplicate"),
            ("\n[tests]\na = 1", Some(2), "unknown field `tests`"),
            ("test = 5", Some(1), "expected"),
            ("series = 5", Some(1), "string"),
        ] {
            let (found, problem) = parse(text).unwrap_err();
            assert_eq!(found, line, "{text:?}: {problem}");
            assert!(problem.contains(words), "{text:?}: {problem}");
            assert!(!problem.contains('\n'), "{problem}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read(Path::new("/no/such/probes.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("/no/such/probes.toml: cannot be read: No such file"),
            "{error}"
        );
    }
}
