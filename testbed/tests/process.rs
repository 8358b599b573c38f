//! Children under guard.

#![cfg(test)]

use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use testbed::{DEFAULT_TIMEOUT, Process, Signal};

fn shell(script: &str) -> Process {
    Process::spawn(Command::new("sh").args(["-c", script])).unwrap()
}

#[test]
fn finds_lines_of_both_streams_old_and_new() {
    let mut child = shell("echo first; echo second >&2; exec sleep 60");
    assert_eq!(
        child.wait_for_line("econ", DEFAULT_TIMEOUT).unwrap(),
        "second"
    );
    assert_eq!(
        child.wait_for_line("first", DEFAULT_TIMEOUT).unwrap(),
        "first"
    );
    child.signal(Signal::SIGKILL).unwrap();
    child.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert_eq!(
        (child.stdout().as_str(), child.stderr().as_str()),
        ("first\n", "second\n")
    );
    // Still there after the end.
    assert_eq!(
        child.wait_for_line("first", DEFAULT_TIMEOUT).unwrap(),
        "first"
    );
}

#[test]
fn a_child_that_ends_without_the_line_is_quoted() {
    let child = shell("echo hello; echo no privileges >&2; exit 1");
    let error = child
        .wait_for_line("ready", DEFAULT_TIMEOUT)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ended without a line with \"ready\""),
        "{error}"
    );
    assert!(error.contains("out| hello"), "{error}");
    assert!(error.contains("err| no privileges"), "{error}");
}

#[test]
fn a_child_that_says_nothing_is_given_up() {
    let child = shell("exec sleep 60");
    let error = child
        .wait_for_line("ready", Duration::from_millis(10))
        .unwrap_err()
        .to_string();
    assert!(error.contains("went on without a line"), "{error}");
}

#[test]
fn signals_reach_the_child_and_its_last_words_are_kept() {
    let mut child =
        shell("trap 'echo summary; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    child.wait_for_line("ready", DEFAULT_TIMEOUT).unwrap();
    child.signal(Signal::SIGTERM).unwrap();
    assert_eq!(child.wait_exit(DEFAULT_TIMEOUT).unwrap().code(), Some(3));
    assert_eq!(child.stdout(), "ready\nsummary\n");
}

#[test]
fn a_child_that_does_not_end_is_an_error() {
    let mut child = shell("echo busy; exec sleep 60");
    child.wait_for_line("busy", DEFAULT_TIMEOUT).unwrap();
    let error = child
        .wait_exit(Duration::from_millis(10))
        .unwrap_err()
        .to_string();
    assert!(error.contains("did not end in time"), "{error}");
    assert!(error.contains("out| busy"), "{error}");
}

#[test]
fn dropping_kills_and_reaps() {
    let child = shell("trap '' TERM INT; echo ready; while :; do sleep 1; done");
    child.wait_for_line("ready", DEFAULT_TIMEOUT).unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    assert_eq!(kill(pid, None), Ok(()));
    drop(child);
    assert_eq!(kill(pid, None), Err(Errno::ESRCH));
}

#[test]
fn keeps_unterminated_and_undecodable_lines() {
    let mut child = shell(r"printf 'one\r\ntw\377o\nthree'");
    assert!(child.wait_exit(DEFAULT_TIMEOUT).unwrap().success());
    assert_eq!(child.stdout(), "one\ntw\u{fffd}o\nthree\n");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let error = Process::spawn(&mut Command::new("no-such-program"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot start `no-such-program`"), "{error}");
}
