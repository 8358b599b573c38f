//! `sender run` and `sender results` as a user meets them, over loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "other test files use the rest")]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt as _;
use common::{Fate, Reflector};
use serde_json::Value;
use tempfile::TempDir;
use testbed::{DEFAULT_TIMEOUT, Process, Signal, wait_until};

/// A folder with a series file and its results.
struct Place(TempDir);

impl Place {
    fn new(series: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.file(), series).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("lab.toml")
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::cargo_bin("sender").unwrap();
        command.args(words).arg("--state-dir").arg(self.state());
        command
    }

    /// `sender run lab.toml` with options.
    fn run(&self, options: &[&str]) -> Output {
        self.command(&["run"])
            .arg(self.file())
            .args(options)
            .output()
            .unwrap()
    }

    /// `sender results` with options.
    fn results(&self, options: &[&str]) -> Output {
        self.command(&["results"]).args(options).output().unwrap()
    }

    /// Number of results kept of a test.
    fn kept(&self, test: &str) -> usize {
        let file = self.state().join("lab").join(format!("{test}.jsonl"));
        std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
    }
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

fn json_lines(octets: &[u8]) -> Vec<Value> {
    text(octets)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn assert_status(output: &Output, status: i32) {
    let streams = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{streams:?}");
}

/// Asserts that a command failed with one sentence that contains all `words`.
#[track_caller]
fn assert_fails(output: &Output, status: i32, words: &[&str]) {
    assert_status(output, status);
    let message = text(&output.stderr);
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("sender: "), "{message}");
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

/// A test of five packets, 10 ms apart.
fn short(name: &str, reflector: &Reflector, lines: &str) -> String {
    format!(
        "[[test]]\nname = \"{name}\"\ntarget = \"{}\"\nprobe-count = 5\nprobe-interval = \"10ms\"\n\
         timeout = \"500ms\"\ntest-interval = \"1s\"\n{lines}\n",
        reflector.address
    )
}

#[test]
fn each_test_has_the_figures_of_its_own_path() {
    let clean = Reflector::start(|_| Fate::Reply);
    let lossy = Reflector::start(|sequence| match sequence {
        1 | 2 => Fate::Drop,
        _ => Fate::Reply,
    });
    let place = Place::new(&format!(
        "{}{}",
        short("clean", &clean, "thresholds = [\"loss > 1%\"]"),
        short(
            "lossy",
            &lossy,
            "thresholds = [\"loss > 1%\"]\nsuccessive-losses = 2\ntotal-losses = 3"
        )
    ));
    let output = place.run(&["--once", "--json"]);
    assert_status(&output, 3);
    let mut lines = json_lines(&output.stdout);
    lines.sort_by_key(|line| line["test"].as_str().unwrap().to_owned());
    let [first, second] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(
        (first["verdict"].as_str(), second["verdict"].as_str()),
        (Some("ok"), Some("crossed"))
    );
    assert_eq!(
        (&first["figures"]["sent"], &first["figures"]["lost"]),
        (&5.into(), &0.into())
    );
    assert_eq!(
        (&second["figures"]["sent"], &second["figures"]["lost"]),
        (&5.into(), &2.into())
    );
    assert_eq!(second["figures"]["loss_run_max"], 2);
    assert_eq!(
        (clean.count(), lossy.count()),
        (5, 5),
        "each test was made once"
    );
    let states = second["thresholds"].as_array().unwrap();
    let crossed: Vec<bool> = states
        .iter()
        .map(|state| state["crossed"].as_bool().unwrap())
        .collect();
    assert_eq!(crossed, [true, false, true]);

    let output = place.results(&[]);
    assert_status(&output, 0);
    let table = text(&output.stdout);
    assert!(
        table.contains("lab/clean") && table.contains("lab/lossy"),
        "{table}"
    );
    assert!(
        table.contains("lab/lossy: loss > 1 % crossed since"),
        "{table}"
    );
    let kept = place.results(&["lossy", "--json"]);
    assert_eq!(
        json_lines(&kept.stdout),
        std::slice::from_ref(second),
        "what was printed is what is kept"
    );
}

#[test]
fn a_crossing_and_a_recovery_print_a_line_each() {
    // In the second of three tests the first two packets are lost.
    let tests = std::sync::atomic::AtomicU32::new(0);
    let reflector = Reflector::start(move |sequence| {
        let order = std::sync::atomic::Ordering::Relaxed;
        if sequence == 0 {
            tests.fetch_add(1, order);
        }
        if tests.load(order) == 2 && sequence < 2 {
            Fate::Drop
        } else {
            Fate::Reply
        }
    });
    let lines = "test-count = 3\nhistory-size = 2\nthresholds = \"loss > 1%\"";
    let place = Place::new(&short("core", &reflector, lines));
    let output = place.run(&[]);
    assert_status(&output, 0);
    let printed = text(&output.stdout);
    let ends = |line: &str| line.split_once("Z core  ").unwrap().1.to_owned();
    let lines: Vec<String> = printed.lines().map(ends).collect();
    assert_eq!(lines.len(), 5, "{printed}");
    assert!(
        lines[0].starts_with("sent 5  lost 0 (0.000 %)  rtt avg ") && lines[0].ends_with("  ok"),
        "{printed}"
    );
    assert!(
        lines[1].starts_with("sent 5  lost 2 (40.000 %)") && lines[1].ends_with("  crossed"),
        "{printed}"
    );
    assert_eq!(
        lines[2],
        "crossed: loss is 40.000 %, above the limit of 1 %"
    );
    assert!(lines[3].ends_with("  ok"), "{printed}");
    assert_eq!(lines[4], "recovered: loss > 1 % holds no longer");
    assert_eq!(
        place.kept("core"),
        2,
        "the history is as long as the file says"
    );
    let history = place.results(&["lab/core", "--history"]);
    let shown = text(&history.stdout);
    assert!(
        shown.starts_with("lab/core, target 127.0.0.1:") && shown.contains("2 results"),
        "{shown}"
    );
}

#[test]
fn a_crossing_is_remembered_by_the_next_process() {
    let reflector = Reflector::start(|sequence| {
        if sequence == 0 {
            Fate::Drop
        } else {
            Fate::Reply
        }
    });
    let place = Place::new(&short("core", &reflector, "thresholds = \"loss > 1%\""));
    let state = |output: &Output| json_lines(&output.stdout)[0]["thresholds"][0].clone();
    let first = state(&place.run(&["--once", "--json"]));
    let second = state(&place.run(&["--once", "--json"]));
    assert_eq!(
        (&first["changed"], &second["changed"]),
        (&true.into(), &false.into())
    );
    assert_eq!(first["since"], second["since"]);
    assert_eq!(place.kept("core"), 2);
}

#[test]
fn silence_and_what_cannot_be_made_are_told_and_status_1() {
    let silent = Reflector::start(|_| Fate::Drop);
    let place = Place::new(&format!(
        "{}[[test]]\nname = \"far\"\ntarget = \"192.0.2.1\"\ninterface = \"no-such-0\"\n",
        short("silent", &silent, "thresholds = \"loss > 1%\"")
    ));
    let output = place.run(&["--once"]);
    assert_status(&output, 1);
    let printed = text(&output.stdout);
    let line = |words: &str| {
        assert!(
            printed.lines().any(|line| line.contains(words)),
            "{words}: {printed}"
        );
    };
    line(
        "Z silent  sent 5  lost 5 (100.000 %)  no reply: 5 packets sent, none answered within 500ms",
    );
    line("Z silent  crossed: loss is 100.000 %");
    line("Z far     failed: ");
    line("no-such-0");
}

#[test]
fn an_interrupted_series_keeps_what_it_has() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let lines = "test-count = 1";
    let long = format!(
        "[[test]]\nname = \"long\"\ntarget = \"{}\"\nprobe-count = 1000\nprobe-interval = \"50ms\"\n",
        reflector.address
    );
    let place = Place::new(&format!("{}{long}", short("short", &reflector, lines)));
    let mut command = place.command(&["run"]);
    let mut series = Process::spawn(command.arg(place.file())).unwrap();
    // Five packets are the short test's.
    wait_until("both tests are under way", DEFAULT_TIMEOUT, || {
        place.kept("short") > 0 && reflector.count() > 5
    });

    let locked = place.run(&["--once"]);
    let holder = format!("({})", series.id());
    assert_fails(&locked, 1, &["'lab'", "another process", &holder]);

    series.signal(Signal::SIGINT).unwrap();
    let status = series.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert_eq!(status.code(), Some(0), "{}", series.stderr());
    let kept = json_lines(&place.results(&["long", "--json"]).stdout);
    let [stopped] = &kept[..] else {
        panic!("{kept:?}")
    };
    assert_eq!(stopped["verdict"], "stopped");
    let sent = stopped["figures"]["sent"].as_u64().unwrap();
    assert!(sent > 0 && sent < 1000, "{sent}");
    assert_eq!(
        stopped["figures"]["lost"], 0,
        "the replies that were out came in"
    );
    let stdout = series.stdout();
    assert!(
        stdout.lines().any(|line| line.ends_with("stopped")),
        "{stdout}"
    );
}

#[test]
fn a_wrong_file_is_one_sentence_with_its_line_and_status_2() {
    for (series, words) in [
        (
            "[[test]]\nname = \"a\"\ntarget = \"b\"\ndcsp = 46\n",
            [":4: ", "no key 'dcsp'"],
        ),
        (
            "[[test]]\nname = \"a\"\ntarget = \"b\"\ndscp = 64\n",
            [":4: ", "'dscp'"],
        ),
        ("[[test]\n", [":1: ", ""]),
        ("", ["lab.toml: ", "no [[test]]"]),
    ] {
        let place = Place::new(series);
        for options in [&["--check"][..], &["--once"]] {
            assert_fails(&place.run(options), 2, &words);
        }
        assert!(!place.state().exists(), "nothing was made");
    }
    let output = Command::cargo_bin("sender")
        .unwrap()
        .args(["run", "/no/such.toml"])
        .output()
        .unwrap();
    assert_fails(&output, 2, &["/no/such.toml", "No such file"]);
    let output = Command::cargo_bin("sender")
        .unwrap()
        .arg("run")
        .output()
        .unwrap();
    assert_fails(&output, 2, &["sender run probes.toml"]);
}

#[test]
fn check_runs_nothing() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/probes.toml");
    let place = Place::new("");
    let output = place
        .command(&["run", "--check"])
        .arg(example)
        .output()
        .unwrap();
    assert_status(&output, 0);
    assert!(text(&output.stdout).contains("series example with 5 tests is valid"));
    assert!(!place.state().exists());
}

#[test]
fn results_that_are_not_there_are_one_sentence() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let place = Place::new(&short("core", &reflector, ""));
    let nothing = ["no results", "sender run FILE"];
    assert_fails(&place.results(&[]), 1, &nothing);
    assert_fails(&place.results(&["core"]), 1, &nothing);
    let of_file = ["--file", place.file().to_str().unwrap()].map(str::to_owned);
    let of_file = of_file.each_ref().map(String::as_str);
    for more in [&[][..], &["--json"], &["--history"], &["core"]] {
        let output = place.results(&[&of_file, more].concat());
        assert_fails(&output, 1, &nothing);
    }
    assert_status(&place.run(&["--once", "--quiet"]), 0);
    assert_fails(&place.results(&["edge"]), 1, &["'edge'", "lab/core"]);
    let output = place.results(&[&of_file[..], &["--json"]].concat());
    assert_eq!(json_lines(&output.stdout).len(), 1);
}

#[test]
fn a_damaged_history_is_a_warning() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let place = Place::new(&short("core", &reflector, ""));
    assert_status(&place.run(&["--once", "--quiet"]), 0);
    let file = place.state().join("lab/core.jsonl");
    let mut kept = std::fs::read(&file).unwrap();
    kept.extend(b"{\"series\": \"la");
    std::fs::write(&file, kept).unwrap();
    let output = place.results(&["--json"]);
    assert_status(&output, 0);
    assert_eq!(json_lines(&output.stdout).len(), 1);
    assert!(text(&output.stderr).starts_with("sender: warning: line 2 of '"));
    let output = place.run(&["--once", "--quiet"]);
    assert_status(&output, 0);
    assert!(text(&output.stderr).contains("line 2 of"));
    assert_eq!(place.kept("core"), 2);
    assert!(
        place.results(&[]).stderr.is_empty(),
        "and is gone with the next result"
    );
}
