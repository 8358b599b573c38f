//! The program as a user meets it: exit status, what goes where, and one sentence per error.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "other test files use the rest")]
mod common;

use std::fs::File;
use std::io::Read;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::CommandCargoExt as _;
use common::{Fate, Reflector};
use serde_json::Value;
use testbed::{DEFAULT_TIMEOUT, Process, Signal, wait_until};

fn sender(line: &str) -> Command {
    let mut command = Command::cargo_bin("sender").unwrap();
    command.args(line.split_whitespace());
    command
}

fn output(line: &str) -> Output {
    sender(line).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A run of a handful of packets to an honest reflector.
fn good_run(options: &str) -> (Reflector, Output) {
    let reflector = Reflector::start(|_| Fate::Reply);
    let output = output(&format!(
        "{} --count 5 --rate 100 {options}",
        reflector.address
    ));
    (reflector, output)
}

/// Asserts that a command line fails with this status and one sentence that contains all `words`.
#[track_caller]
fn fails(line: &str, status: i32, words: &[&str]) {
    let output = output(line);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{line}: {message}");
    assert!(
        message.starts_with("sender: ") && message.ends_with('\n'),
        "{line}: {message}"
    );
    assert_eq!(message.lines().count(), 1, "{line}: {message}");
    for word in words {
        assert!(message.contains(word), "{line}: {message}");
    }
    assert!(output.stdout.is_empty(), "{line}: {}", text(&output.stdout));
}

#[test]
fn a_wrong_command_line_is_one_sentence_and_status_2() {
    for (line, words) in [
        ("", ["target", "sender 192.0.2.1"]),
        ("a:0", ["TARGET", "'0' is no UDP port (1 to 65535)"]),
        ("a:65536", ["TARGET", "65536"]),
        ("[::1", ["TARGET", "[ADDRESS]:PORT"]),
        (":862", ["TARGET", "no host"]),
        ("224.0.0.1", ["TARGET", "one host"]),
        ("a --rate 0", ["--rate", "above zero"]),
        ("a --rate -1", ["--rate", "-1"]),
        ("a --rate nan", ["--rate", "nan"]),
        ("a --rate many", ["--rate", "many"]),
        ("a --rate 11M", ["--rate", "10M packets/s at most"]),
        ("a --rate max --schedule poisson", ["--rate", "--schedule"]),
        ("a --burst 0", ["--burst", "0"]),
        ("a --seed xyz", ["--seed", "hexadecimal"]),
        ("a --dscp 64", ["--dscp", "0 to 63"]),
        ("a --ecn 7", ["--ecn", "ect0"]),
        ("a --ttl 0", ["--ttl", "1..=255"]),
        ("a --ssid 5", ["--ssid", "--stamp"]),
        ("a --stamp --size 43", ["--size", "44 octets or more"]),
        ("a --vlan 5", ["--vlan", "af-xdp"]),
        (
            "a --transport pigeon",
            ["--transport", "socket, af-xdp, auto"],
        ),
        ("a --vrf red --interface eth0", ["--vrf", "--interface"]),
        (
            "a --next-hop-mac ff:ff:ff:ff:ff:ff",
            ["--next-hop-mac", "one station"],
        ),
        (
            "a --source-range 192.0.2.2-192.0.2.1",
            ["--source-range", "before the first"],
        ),
        (
            "127.0.0.1 --source-range ::1-::2",
            ["--source-range", "family"],
        ),
        ("a --fail-if loss", ["--fail-if", "rtt.p99>500us"]),
        ("a --interval-report 1ms", ["--interval-report", "10ms"]),
        ("a --interval 0s", ["--interval", "above zero"]),
        ("a --interval 10", ["--interval", "time unit"]),
        ("a --rate 1 --interval 1s", ["--rate", "--interval"]),
        ("a --count 0", ["--count", "at least 1"]),
        ("a --count 1.5", ["--count", "1.5"]),
        ("a --duration 0s", ["--duration", "above zero"]),
        ("a --count 1 --duration 1s", ["--count", "--duration"]),
        ("a --size 13", ["--size", "14 to 65507"]),
        ("a --size 65508", ["--size", "14 to 65507"]),
        ("a --sessions 0", ["--sessions", "1 to 100000"]),
        ("a --sessions 100001", ["--sessions", "1 to 100000"]),
        ("a --sessions 100000", ["--sessions", "--source-range"]),
        (
            "a --sessions -1",
            ["--sessions", "-1 is not within 1 to 100000"],
        ),
        ("fe80::1", ["TARGET", "write fe80::1%INTERFACE"]),
        ("ff02::1%lo", ["TARGET", "one host"]),
        ("a --source 224.0.0.1", ["--source", "one host"]),
        ("a --source fe80::1%lo", ["--source", "write fe80::1 alone"]),
        ("a --timeout 0s", ["--timeout", "above zero"]),
        ("a --timeout 2h", ["--timeout", "1h"]),
        (
            "a --timeout 1h --rate 1000000 --duration 2h",
            ["--timeout", "memory"],
        ),
        ("a --source eth0", ["--source", "eth0"]),
        ("127.0.0.1 --source ::1", ["--source", "family"]),
        ("a --source-port 0", ["--source-port", "1 to 65535"]),
        ("a --source-port 70000", ["--source-port", "1 to 65535"]),
        (
            "a --source-port 65535 --sessions 2",
            ["--source-port", "65536"],
        ),
        ("a --json", ["--json", "value"]),
        ("a --verbose", ["--verbose", "unexpected"]),
        ("a b", ["'b'", "unexpected"]),
    ] {
        fails(line, 2, &words);
    }
}

#[test]
fn a_run_that_cannot_start_is_one_sentence_and_status_1() {
    // A label longer than DNS allows fails without a query.
    let name = "x".repeat(70);
    fails(&name, 1, &["cannot resolve", &name]);
    fails("::1 --source fe80::1", 1, &["--source fe80::1", "%eth0"]);
    // Documentation addresses are no addresses of any host.
    fails(
        "127.0.0.1 --source 192.0.2.1",
        1,
        &["source address 192.0.2.1", "no address of this host"],
    );
    fails(
        "127.0.0.1 --json /no/such/directory/x.json",
        1,
        &["/no/such/directory/x.json"],
    );
    fails(
        "127.0.0.1 --interface no-such-if",
        1,
        &["no interface 'no-such-if'", "ip link"],
    );
    fails(
        "127.0.0.1 --vrf no-such-if",
        1,
        &["no interface 'no-such-if'"],
    );
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let line = format!("127.0.0.1 --source 127.0.0.1 --source-port {port}");
    fails(&line, 1, &["in use", "--source-port"]);
}

#[test]
fn a_newline_in_a_name_or_path_does_not_break_the_sentence() {
    let name = "\n".repeat(2) + &"x".repeat(70);
    for (target, json, shown) in [
        (name.as_str(), "-", "cannot resolve '\\n\\nxxx"),
        ("127.0.0.1", "no/such\nfolder/x", "'no/such\\nfolder/x'"),
    ] {
        let output = sender("").args([target, "--json", json]).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains(shown), "{message}");
    }
}

#[test]
fn too_little_memory_is_one_sentence() {
    // A million packets/s for 30 s, and as many again for bunches, are 2^26 to remember.
    let sender = env!("CARGO_BIN_EXE_sender");
    let line = "127.0.0.1:9 --rate 1000000 --count 100000000 --timeout 20s";
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v 600000 && exec '{sender}' {line}")])
        .output()
        .unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("sender: not enough memory"),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn help_and_version_are_no_errors() {
    for (line, word) in [
        ("--help", "--source-port"),
        ("-h", "--rate"),
        ("--version", "sender 0."),
    ] {
        let output = output(line);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains(word), "{line}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn a_good_run_prints_the_table_and_nothing_else() {
    let (reflector, output) = good_run("");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stderr),
        "",
        "no progress line without a terminal"
    );
    let table = text(&output.stdout);
    let address = reflector.address.to_string();
    for part in [
        &address,
        "1 session,",
        "44 octets",
        "sent         5\n",
        "received     5   100.000 %\n",
        "lost         0   0.000 %\n",
        "RTT",
        "forward",
        "backward",
        "residence",
        "IPDV",
        "p99.9",
        "(RFC 3550",
        "100/s asked",
        "PDV",
        "5 by the kernel\n",
        "send error",
        "0 hops there",
        "over the 5 replies received in time",
        "not synchronised: offset between clocks included",
    ] {
        assert!(table.contains(part), "{part:?} is missing in\n{table}");
    }
}

#[test]
fn json_on_standard_output_is_alone_there() {
    let (_reflector, output) = good_run("--json -");
    assert_eq!(output.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["sent"], &json["received"], &json["lost"]),
        (&5.into(), &5.into(), &0.into())
    );
    assert!(
        text(&output.stderr).contains("RTT"),
        "the table goes to standard error"
    );
}

#[test]
fn json_in_a_file_leaves_the_table_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("result.json");
    std::fs::write(&path, "an older and longer result ".repeat(1000)).unwrap();
    let (_reflector, output) = good_run(&format!("--json {}", path.display()));
    assert!(text(&output.stdout).contains("RTT"));
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(json["received"], 5);
}

#[test]
fn a_failed_run_leaves_no_json_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("result.json");
    let line = format!("{} --json {}", "x".repeat(70), path.display());
    fails(&line, 1, &["cannot resolve"]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn quiet_prints_nothing_but_json() {
    let (_reflector, output) = good_run("--quiet");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("", ""));
    let (_reflector, output) = good_run("-q --json -");
    assert_eq!(text(&output.stderr), "");
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok());
}

#[test]
fn no_reply_is_status_1_with_the_reason_after_the_report() {
    let reflector = Reflector::start(|_| Fate::Drop);
    let address = reflector.address;
    let silent = output(&format!(
        "{address} --count 3 --rate 100 --timeout 200ms --json -"
    ));
    assert_eq!(silent.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&silent.stdout).unwrap();
    assert_eq!((&json["sent"], &json["lost"]), (&3.into(), &3.into()));
    assert!(json["rtt_ns"].is_null() && json["jitter_rfc3550_ns"].is_null());
    let last = text(&silent.stderr).lines().last().unwrap();
    let expected = format!("sender: no reply from {address}: 3 packets sent, none answered within");
    assert!(last.starts_with(&expected), "{last}");

    drop(reflector);
    let closed = output(&format!("{address} --count 3 --rate 100 --timeout 200ms"));
    assert_eq!(closed.status.code(), Some(1));
    let table = text(&closed.stdout);
    assert!(table.contains(" ICMP errors: port unreachable"), "{table}");
    assert!(
        !table.contains("RTT") && !table.contains("replies received"),
        "{table}"
    );
    let message = text(&closed.stderr);
    assert_eq!(message.lines().count(), 1);
    assert!(
        message.contains("nothing listens there (ICMP port unreachable)"),
        "{message}"
    );
}

#[test]
fn an_interrupted_run_prints_its_report() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let reflector = Reflector::start(|_| Fate::Reply);
        let line = format!("{} --count 1000000 --rate 200", reflector.address);
        let mut child = Process::spawn(&mut sender(&line)).unwrap();
        wait_until("five probes", DEFAULT_TIMEOUT, || reflector.count() >= 5);
        child.signal(signal).unwrap();
        let status = child.wait_exit(DEFAULT_TIMEOUT).unwrap();
        assert_eq!(status.code(), Some(0), "{}", child.stderr());
        let table = child.stdout();
        assert!(
            table.contains("RTT") && table.contains("the run was stopped with"),
            "{table}"
        );
    }
}

#[test]
fn a_run_told_twice_to_stop_says_how_long_it_waited() {
    let reflector = Reflector::start(|_| Fate::Drop);
    let line = format!("{} --count 1 --timeout 1h", reflector.address);
    let mut child = Process::spawn(&mut sender(&line)).unwrap();
    wait_until("the probe", DEFAULT_TIMEOUT, || reflector.count() == 1);
    child.signal(Signal::SIGINT).unwrap();
    child.signal(Signal::SIGTERM).unwrap();
    let status = child.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert_eq!(status.code(), Some(1));
    let message = child.stderr();
    assert!(
        message.contains("1 packet sent, none answered before the run was stopped"),
        "{message}"
    );
}

#[test]
fn a_full_disk_is_one_sentence() {
    let (_reflector, output) = good_run("--quiet --json /dev/full");
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.starts_with("sender: cannot write '/dev/full': No space left"),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn a_broken_pipe_is_one_sentence() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("result.json");
    let mut child = sender(&format!("{} --count 5 --rate 100", reflector.address))
        .args(["--json".as_ref(), path.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut message = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut message)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(json["received"], 5, "the other report is whole");
    assert!(
        message.starts_with("sender: cannot write the report: Broken pipe"),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn a_search_whose_verdict_cannot_be_printed_has_failed_but_for_its_document() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("result.json");
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let line = format!("{} --ramp 50:50:1:100ms", reflector.address);
    let mut to_stdout = sender(&line);
    to_stdout.arg("--json").arg(&path).stdout(full());
    let mut to_stderr = sender(&line);
    to_stderr.args(["--json", "-"]).stderr(full());
    let output = to_stdout.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "sender: cannot write the report: No space left on device (os error 28)\n"
    );
    let written = std::fs::read(&path).unwrap();
    let output = to_stderr.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    for document in [written, output.stdout] {
        let json: Value = serde_json::from_slice(&document).unwrap();
        assert!(!json["trials"].as_array().unwrap().is_empty(), "{json}");
    }
}

#[test]
fn a_search_stopped_before_any_reply_is_no_success() {
    let reflector = Reflector::start(|_| Fate::Drop);
    let line = format!(
        "{} --ramp 20:20:1:1h --timeout 100ms --json -",
        reflector.address
    );
    let mut child = Process::spawn(&mut sender(&line)).unwrap();
    wait_until("a probe", DEFAULT_TIMEOUT, || reflector.count() > 0);
    child.signal(Signal::SIGINT).unwrap();
    let status = child.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let message = child.stderr();
    assert_eq!(status.code(), Some(1), "{message}");
    assert!(message.starts_with("sender: no reply from "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(child.stdout().is_empty(), "nothing was found");
}

#[test]
fn a_search_stopped_after_replies_says_what_it_found() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let line = format!("{} --ramp 20:20:1:1h", reflector.address);
    let mut child = Process::spawn(&mut sender(&line)).unwrap();
    wait_until("five probes", DEFAULT_TIMEOUT, || reflector.count() >= 5);
    child.signal(Signal::SIGINT).unwrap();
    let status = child.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert_eq!(status.code(), Some(0), "{}", child.stderr());
    let verdict = child.stdout();
    assert!(verdict.contains("the search was stopped"), "{verdict}");
}
