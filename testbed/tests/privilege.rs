//! Skipping: said aloud, and forbidden where everything must run.

#![cfg(test)]

use std::env;
use std::process::Command;

use testbed::privilege::first_missing;
use testbed::{DEFAULT_TIMEOUT, Need, Process, skip_unless};

/// Runs `subject` below in a process of its own.
fn run_subject(variables: &[(&str, &str)]) -> (bool, Process) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "subject", "--ignored"]);
    command
        .env_remove("XDP_TWAMP_QUICK")
        .env_remove("XDP_TWAMP_NO_SKIP");
    command.envs(variables.iter().copied());
    let mut child = Process::spawn(&mut command).unwrap();
    let passed = child.wait_exit(DEFAULT_TIMEOUT).unwrap().success();
    (passed, child)
}

#[test]
#[ignore = "the subject of the tests in this file"]
fn subject() {
    skip_unless!(Need::Program("sh"), Need::Program("no-such-program"));
    panic!("went on in spite of an unmet need");
}

#[test]
fn a_skipped_test_passes_and_says_why() {
    let (passed, child) = run_subject(&[]);
    assert!(passed, "{}{}", child.stdout(), child.stderr());
    let reason = "skipped: subject: no program `no-such-program` in PATH";
    assert!(child.stderr().contains(reason), "{}", child.stderr());
}

#[test]
fn a_skipped_test_fails_where_skipping_is_forbidden() {
    let (passed, child) = run_subject(&[("XDP_TWAMP_NO_SKIP", "1")]);
    assert!(!passed);
    let reason = "would be skipped (no program `no-such-program` in PATH)";
    assert!(child.stdout().contains(reason), "{}", child.stdout());
}

#[test]
fn a_quick_run_skips_all_of_them() {
    let (passed, child) = run_subject(&[("XDP_TWAMP_QUICK", "1")]);
    assert!(passed);
    assert!(
        child.stderr().contains("skipped: subject: quick run"),
        "{}",
        child.stderr()
    );
}

#[test]
fn met_needs_are_not_missing() {
    if env::var_os("XDP_TWAMP_QUICK").is_none() {
        assert_eq!(
            first_missing(&[Need::Program("sh"), Need::Program("cat")]),
            None
        );
    }
    assert_eq!(Need::Program("sh").missing(), None);
    let module = Need::PythonModule("no_such_module").missing().unwrap();
    assert!(module.starts_with("no Python"), "{module}");
}
