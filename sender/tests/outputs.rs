//! What a run leaves behind: every output tells the same run as the relay's log, none loads anything
//! from elsewhere, and neither a full disk nor an interruption costs more than it must.
//!
//! ```text
//!   scripted reflector │ veth-r ◄──► relay ◄──► veth-s │ sender ──► documents, rows, logs, page
//! ```

#![cfg(test)]

#[expect(dead_code, reason = "shared with the tests of other outcomes")]
#[path = "relay/oracle.rs"]
mod oracle;
#[expect(dead_code, reason = "shared with the tests of other outcomes")]
#[path = "relay/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use oracle::check;
use scene::{BOTH, Run, Scene, stateful};
use serde::Deserialize;
use serde_json::Value;
use testbed::relay::{Log, TestPacket};
use testbed::{
    DEFAULT_TIMEOUT, Direction, Fate, Need, Process, ReflectorConfig, Signal, skip_unless,
    wait_until,
};

/// Some of everything.
fn trouble(packet: &TestPacket) -> Fate {
    match (packet.direction, packet.sequence % 50) {
        (Direction::Forward, 3 | 30 | 31) | (Direction::Backward, 12) => Fate::lose(),
        (Direction::Forward, 20) => Fate::duplicate(1),
        (Direction::Backward, 24) => Fate::duplicate(2),
        (Direction::Backward, 40) => Fate::pass().after_sequence(packet.sequence + 3),
        // Long before the run ends, which does not wait for what is late.
        (Direction::Backward, 48) if packet.sequence < 150 => {
            Fate::pass().after(Duration::from_millis(400))
        }
        _ => Fate::pass(),
    }
}

/// How it ended.
fn end(sender: &mut Process) -> Option<i32> {
    sender.wait_exit(DEFAULT_TIMEOUT).unwrap().code()
}

/// A row of `--csv-intervals`: the columns looked at.
#[derive(Debug, Deserialize)]
struct Interval {
    index: u64,
    start_ns: i64,
    width_ns: i64,
    sent: i64,
    received: i64,
    lost: i64,
    late: i64,
    duplicates: i64,
    reordered: i64,
    carried: i64,
    rtt_min_ns: Option<i64>,
    rtt_max_ns: Option<i64>,
}

impl Interval {
    fn holds(&self, t1: i64) -> bool {
        (self.start_ns..self.start_ns + self.width_ns).contains(&t1)
    }
}

fn intervals(text: &str) -> Vec<Interval> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

/// The intervals follow each other, hold what the rows of the packets hold, and add up to the run.
fn check_intervals(run: &Run, intervals: &[Interval]) {
    for (index, interval) in (0..).zip(intervals) {
        assert_eq!(interval.index, index);
        let within = |event: &str| {
            let of_event = run.rows_of(event);
            let count = of_event.filter(|row| interval.holds(row.t1_ns)).count();
            i64::try_from(count).unwrap()
        };
        assert_eq!(interval.received, within("received"), "{interval:?}");
        assert_eq!(interval.lost, within("lost"), "{interval:?}");
        assert_eq!(interval.sent, interval.received + interval.lost);
        let round_trips = || {
            let received = run.rows_of("received");
            received
                .filter(|row| interval.holds(row.t1_ns))
                .filter_map(|row| row.rtt_ns)
        };
        assert_eq!(interval.rtt_min_ns, round_trips().min(), "{interval:?}");
        assert_eq!(interval.rtt_max_ns, round_trips().max(), "{interval:?}");
    }
    for pair in intervals.windows(2) {
        assert_eq!(pair[0].start_ns + pair[0].width_ns, pair[1].start_ns);
    }
    let sum = |column: fn(&Interval) -> i64| intervals.iter().map(column).sum::<i64>();
    for (name, sum) in [
        ("sent", sum(|row| row.sent)),
        ("received", sum(|row| row.received)),
        ("lost", sum(|row| row.lost)),
        ("late", sum(|row| row.late)),
        ("duplicates", sum(|row| row.duplicates)),
        ("reordered", sum(|row| row.reordered)),
    ] {
        assert_eq!(sum, run.number(name), "{name}");
    }
    let events = sum(|row| row.late + row.duplicates + row.reordered);
    assert!(sum(|row| row.carried) <= events);
}

/// The histograms of a log by their tags, one per line, and how many samples comments say are left
/// out.
fn histograms(log: &str) -> BTreeMap<String, (Vec<Histogram<u64>>, u64)> {
    let mut found = BTreeMap::<String, (Vec<_>, u64)>::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        let LogEntry::Interval(line) = entry.unwrap() else {
            continue;
        };
        let octets = STANDARD.decode(line.encoded_histogram()).unwrap();
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut octets.as_slice())
            .unwrap();
        let tag = line.tag().unwrap().as_str().to_owned();
        found.entry(tag).or_default().0.push(histogram);
    }
    for line in log.lines().filter(|line| line.contains("left out")) {
        // #[forward at 0.000: 399 negative samples left out]
        let words: Vec<_> = line.trim_start_matches("#[").split(' ').collect();
        found.entry(words[0].to_owned()).or_default().1 += words[3].parse::<u64>().unwrap();
    }
    found
}

fn check_hdr_log(run: &Run, intervals: &[Interval], log: &str) {
    let histograms = histograms(log);
    let tags: Vec<_> = histograms.keys().map(String::as_str).collect();
    assert_eq!(tags, ["backward", "forward", "rtt"]);
    for (tag, (lines, left_out)) in &histograms {
        let mut whole: Histogram<u64> = Histogram::new(3).unwrap();
        for line in lines {
            whole.add(line).unwrap();
        }
        let count = i64::try_from(whole.len() + left_out).unwrap();
        assert_eq!(count, run.number(&format!("{tag}_ns/count")), "{tag}");
        let max = u64::try_from(run.number(&format!("{tag}_ns/max"))).unwrap();
        // One-way delays are kept within 1 %, the round trip within 0.1 %.
        assert!(whole.max().abs_diff(max) <= max / 100, "{tag}: {max}");
    }
    let counts: Vec<_> = histograms["rtt"].0.iter().map(Histogram::len).collect();
    let expected: Vec<_> = (intervals.iter())
        .map(|row| row.received.unsigned_abs())
        .collect();
    assert_eq!(counts, expected, "a line per interval");
}

/// One page that a browser shows without asking anybody for anything.
fn check_page(run: &Run, page: &str) {
    assert!(page.starts_with("<!DOCTYPE html><html"), "{page:.60}");
    assert!(page.trim_end().ends_with("</html>"));
    assert_eq!(page.matches("<html").count(), 1);
    assert!(page.contains("<svg"));
    for (at, _) in page.match_indices("://") {
        let name = page[..at].rsplit(' ').next().unwrap();
        assert!(name.starts_with("xmlns"), "{name}");
    }
    for loader in [
        "<script", "<link", "<iframe", "<img", "<object", "<embed", "@import", "src=", "href=",
        "url(",
    ] {
        assert!(!page.contains(loader), "{loader}");
    }
    let text = text_of(page);
    for part in [
        format!("{} packets", run.number("lost")),
        format!("{} packets", run.number("reordered")),
        run.value("target").as_str().unwrap().to_owned(),
    ] {
        assert!(text.contains(&part), "no {part:?} in\n{text}");
    }
}

/// What stands between the tags.
fn text_of(page: &str) -> String {
    let pieces = page
        .split('<')
        .filter_map(|piece| Some(piece.split_once('>')?.1));
    pieces.collect::<Vec<_>>().join("\n")
}

/// The columns of the lines of `--interval-report`: sent, received, lost.
fn lines(stdout: &str) -> Vec<[i64; 3]> {
    let of_interval = stdout
        .lines()
        .filter_map(|line| line.trim_start().split_once(" s ")?.1.into());
    of_interval
        .filter_map(|rest: &str| {
            let mut numbers = rest.split_whitespace().map(str::parse);
            let mut next = || numbers.next()?.ok();
            Some([next()?, next()?, next()?])
        })
        .collect()
}

#[test]
fn every_output_tells_the_same_run() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), trouble);
        let file = |name| scene.path(name).to_str().unwrap().to_owned();
        let (rows, log, page) = (file("intervals"), file("hdr"), file("page"));
        let options = "--count 900 --rate 600 --sessions 3 --timeout 200ms --interval-report 100ms";
        let mut options: Vec<_> = options.split(' ').collect();
        options.extend(["--csv-intervals", &rows, "--hdr-log", &log]);
        options.extend(["--report", &page]);
        let run = scene.run(transport, &options);
        let figures = check(&run);
        assert!(figures.late >= 9 && figures.duplicates >= 54, "{figures:?}");

        let intervals = intervals(&fs::read_to_string(rows).unwrap());
        check_intervals(&run, &intervals);
        check_hdr_log(&run, &intervals, &fs::read_to_string(log).unwrap());
        check_page(&run, &fs::read_to_string(page).unwrap());

        let of_rows: Vec<_> = (intervals.iter())
            .map(|row| [row.sent, row.received, row.lost])
            .collect();
        assert_eq!(lines(&run.stdout), of_rows, "{}", run.stdout);
        let table = |name: &str, count: i64| {
            let words = [name.to_owned(), count.to_string()];
            let mut lines = run.stdout.lines().map(str::split_whitespace);
            let found = lines.any(|line| line.take(2).eq(words.iter().map(String::as_str)));
            assert!(found, "no {name} {count} in\n{}", run.stdout);
        };
        for name in [
            "sent",
            "received",
            "lost",
            "late",
            "duplicates",
            "reordered",
            "invalid",
        ] {
            table(name, run.number(name));
        }
        for source in run.sources() {
            assert!(run.stdout.contains(&source.to_string()), "{}", run.stdout);
        }
    }
}

#[test]
fn a_document_on_standard_output_is_alone_there() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), trouble);
        let options = "--count 100 --rate 500 --json - --interval-report 50ms --per-session";
        let options: Vec<_> = options.split(' ').collect();
        let mut sender = scene.start_plain(transport, &options);
        assert_eq!(end(&mut sender), Some(0), "{}", sender.stderr());
        let report: Value = serde_json::from_str(&sender.stdout()).unwrap();
        assert_eq!(report["sent"], 100);
        let stderr = sender.stderr();
        let sent: i64 = lines(&stderr).iter().map(|[sent, ..]| sent).sum();
        assert_eq!(sent, 100, "the lines go to standard error:\n{stderr}");
        assert!(
            stderr.contains("\nRTT "),
            "and so does the table:\n{stderr}"
        );
    }
}

#[test]
fn limits_decide_the_exit_status() {
    skip_unless!(Need::Xdp);
    let script = |packet: &TestPacket| match (packet.direction, packet.sequence) {
        (Direction::Forward, 10..15) | (Direction::Backward, 30..35) => Fate::lose(),
        (Direction::Backward, 40) => Fate::duplicate(2),
        (Direction::Backward, 50) => Fate::pass().after_sequence(55),
        (Direction::Backward, 60) => Fate::pass().after(Duration::from_millis(300)),
        _ => Fate::pass(),
    };
    for transport in BOTH {
        let scene = Scene::new(stateful(), script);
        let page = scene.path("page").to_str().unwrap().to_owned();
        let kept = [
            "loss>10%",
            "loss.forward>5%",
            "duplicates>2",
            "reordered>=7",
            "late>0",
            "received<90",
            "sent>100",
            "rtt.max>3600s",
            "residence.min>3600s",
        ];
        let broken = [
            "loss>=10%",
            "loss>9.99%",
            "duplicates>1",
            "received<91",
            "rtt.max>=300ms",
            "sent>=100",
        ];
        let wanted = |limits: &[&'static str]| {
            let mut options = vec!["--count", "100", "--rate", "200"];
            for limit in limits {
                options.extend(["--fail-if", *limit]);
            }
            options
        };
        let run = scene.run_to_end(transport, &wanted(&kept));
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));

        let scene = Scene::new(stateful(), script);
        let mut options = wanted(&[&kept[..], &broken[..]].concat());
        options.extend(["--report", &page]);
        let run = scene.run_to_end(transport, &options);
        assert_eq!(run.status, Some(3), "{}", run.stderr);
        let said: Vec<_> = run.stderr.lines().collect();
        assert_eq!(said.len(), broken.len(), "one sentence each: {said:?}");
        for (line, limit) in said.iter().zip(broken) {
            let figure = limit.split(['>', '<']).next().unwrap();
            assert!(line.starts_with(&format!("sender: {figure} is ")), "{line}");
        }
        check(&run);
        assert!(fs::read_to_string(page).unwrap().contains("</html>"));
    }
}

#[test]
fn a_run_without_replies_breaks_no_limit_but_fails() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(ReflectorConfig::default(), |_| Fate::lose());
        let options = "--count 10 --rate 200 --timeout 200ms --fail-if loss>0% --fail-if late>0";
        let options: Vec<_> = options.split(' ').collect();
        let run = scene.run_to_end(transport, &options);
        assert_eq!(run.status, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("no reply from"), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        check(&run);
    }
}

const FILES: [&str; 5] = [
    "--json",
    "--csv-packets",
    "--csv-intervals",
    "--hdr-log",
    "--report",
];

#[test]
fn a_full_disk_costs_one_output_and_one_sentence() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), |_| Fate::pass());
        for full in FILES {
            let folder = tempfile::tempdir().unwrap();
            let path = |option: &str| {
                if option == full {
                    "/dev/full".to_owned()
                } else {
                    folder.path().join(option).to_str().unwrap().to_owned()
                }
            };
            let paths = FILES.map(path);
            let mut options = vec!["--count", "50", "--rate", "500"];
            for (option, path) in FILES.iter().zip(&paths) {
                options.extend([*option, path.as_str()]);
            }
            let mut sender = scene.start_plain(transport, &options);
            assert_eq!(end(&mut sender), Some(1), "{full}");
            let stderr = sender.stderr();
            assert_eq!(stderr.lines().count(), 1, "{full}: {stderr}");
            for part in ["sender: cannot write ", "/dev/full", "No space left"] {
                assert!(stderr.contains(part), "{full}: {stderr}");
            }
            assert!(sender.stdout().contains("\nRTT "), "the table is printed");
            check_whole_but(full, folder.path());
        }
    }
}

/// Every file of a run of 50 packets is whole but the one that is full.
fn check_whole_but(full: &str, folder: &std::path::Path) {
    for option in FILES.into_iter().filter(|option| *option != full) {
        let text = fs::read_to_string(folder.join(option)).unwrap();
        let whole = match option {
            "--json" => serde_json::from_str::<Value>(&text).unwrap()["sent"] == 50,
            "--csv-packets" => text.lines().count() == 1 + 50,
            "--csv-intervals" => intervals(&text).iter().map(|row| row.sent).sum::<i64>() == 50,
            "--hdr-log" => {
                let (lines, _) = &histograms(&text)["rtt"];
                lines.iter().map(Histogram::len).sum::<u64>() == 50
            }
            _ => text.contains("</html>"),
        };
        assert!(whole, "{option} while {full} is full:\n{text}");
    }
}

#[test]
fn a_table_that_cannot_be_printed_costs_no_file() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), |_| Fate::pass());
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sender"));
        command
            .arg(scene.target().to_string())
            .args(["--transport", transport.name(), "--count", "50"])
            .args(["--rate", "500", "--interval-report", "50ms"])
            .stdout(File::options().write(true).open("/dev/full").unwrap())
            .stdin(Stdio::null());
        for option in FILES {
            command.arg(option).arg(folder.path().join(option));
        }
        let sender = &scene.relay.veth.sender.namespace;
        let output = sender.run(|| command.output()).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let expected = "sender: cannot write the report: No space left on device (os error 28)\n";
        assert_eq!(stderr, expected);
        check_whole_but("the terminal", folder.path());
    }
}

#[test]
fn an_interrupted_run_reports_what_was_measured() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let scene = Scene::new(stateful(), trouble);
            let folder = tempfile::tempdir().unwrap();
            let files = ["--csv-intervals", "--hdr-log", "--report"]
                .map(|option| (option, folder.path().join(option)));
            let options = "--count 1000000 --rate 500";
            let mut options: Vec<_> = options.split(' ').collect();
            for (option, path) in &files {
                options.extend([*option, path.to_str().unwrap()]);
            }
            let mut sender = scene.start(transport, &options);
            scene.await_requests(300);
            sender.signal(signal).unwrap();
            let run = scene.finish(&mut sender);
            assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
            check(&run);
            let [sent, missed] = ["sent", "not_reached"].map(|name| run.number(name));
            assert!(sent >= 300, "{sent}");
            // Nothing else was missing on the way out.
            let others = ["congested", "refused"].map(|name| run.number(name));
            assert_eq!(sent + missed + others[0] + others[1], 1_000_000);
            assert!(run.stdout.contains("\nRTT "), "{}", run.stdout);

            let [rows, log, page] = files.map(|(_, path)| fs::read_to_string(path).unwrap());
            let intervals = intervals(&rows);
            check_intervals(&run, &intervals);
            check_hdr_log(&run, &intervals, &log);
            check_page(&run, &page);
        }
    }
}

#[test]
fn what_is_still_out_at_an_interruption_is_waited_for() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), |packet| match packet.direction {
            Direction::Forward => Fate::pass(),
            Direction::Backward => Fate::pass().after_sequence(u32::MAX),
        });
        let options = ["--count", "1000000", "--rate", "500", "--timeout", "1h"];
        let mut sender = scene.start(transport, &options);
        scene.await_requests(20);
        sender.signal(Signal::SIGINT).unwrap();
        // Fifty more would have come in between, were it still sending.
        let mut before = (Instant::now(), 0);
        wait_until("no more requests come", DEFAULT_TIMEOUT, || {
            if before.0.elapsed() < Duration::from_millis(100) {
                return false;
            }
            let came = scene.relay.log().came(Direction::Forward).count();
            came == std::mem::replace(&mut before, (Instant::now(), came)).1
        });
        let held = |log: &Log| log.held() == before.1;
        (scene.relay)
            .wait_until("all replies are held", DEFAULT_TIMEOUT, held)
            .unwrap();
        scene.relay.release();
        let run = scene.finish(&mut sender);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        let figures = check(&run);
        let sent = u64::try_from(before.1).unwrap();
        assert_eq!((figures.received, figures.lost), (sent, 0));
    }
}

#[test]
fn waiting_for_the_last_replies_makes_no_intervals() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        // The last replies never come, so that the run waits for four intervals more.
        let scene = Scene::new(stateful(), |packet| match packet.direction {
            Direction::Backward if packet.sequence >= 40 => Fate::lose(),
            _ => Fate::pass(),
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("intervals");
        let options =
            "--count 50 --rate 500 --timeout 800ms --interval-report 200ms --csv-intervals";
        let mut options: Vec<_> = options.split(' ').collect();
        options.push(path.to_str().unwrap());
        let run = scene.run(transport, &options);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        let intervals = intervals(&fs::read_to_string(path).unwrap());
        check_intervals(&run, &intervals);
        let last = intervals.last().unwrap();
        assert!(last.sent > 0, "{intervals:?}");
        let t1 = run.rows.iter().map(|row| row.t1_ns).max().unwrap();
        let end = (t1 + 2_000_000).min(last.start_ns + 200_000_000);
        assert_eq!(last.start_ns + last.width_ns, end);
    }
}

#[test]
fn a_second_interruption_does_not_wait() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        // Every other reply never comes, and an hour would be waited for it.
        let scene = Scene::new(stateful(), |packet| match packet.direction {
            Direction::Backward if packet.sequence % 2 == 1 => Fate::lose(),
            _ => Fate::pass(),
        });
        let options = "--count 1000000 --rate 200 --timeout 1h";
        let options: Vec<_> = options.split(' ').collect();
        let mut sender = scene.start(transport, &options);
        scene.await_requests(40);
        // Two of the same kind would be one to a process that has not looked yet.
        sender.signal(Signal::SIGINT).unwrap();
        sender.signal(Signal::SIGTERM).unwrap();
        let run = scene.finish(&mut sender);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        let [sent, received] = ["sent", "received"].map(|name| run.number(name));
        assert!(sent >= 40 && received >= 1, "{:#}", run.report);
        assert_eq!(run.number("lost"), sent - received);
        // The last reply may have been on its way.
        let came = run.log.sequences(Direction::Backward).len();
        assert!(received <= i64::try_from(came).unwrap());
        let lost: Vec<_> = run.rows_of("lost").map(|row| row.sequence).collect();
        let odd: Vec<_> = (0..u32::try_from(sent).unwrap())
            .filter(|n| n % 2 == 1)
            .collect();
        assert!(odd.iter().all(|number| lost.contains(number)), "{lost:?}");
        assert_eq!(lost.len() + run.rows_of("received").count(), run.rows.len());
    }
}
