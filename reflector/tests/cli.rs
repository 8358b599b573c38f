//! The command line, without privileges: what is asked wrongly is refused with one clear message.

#![cfg(test)]

use assert_cmd::Command;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_reflector"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn wrong_options_are_usage_errors_that_name_the_option() {
    for (arguments, expected) in [
        (&[][..], "--interface"),
        (
            &["--interface", "x", "--port", "0"],
            "0 is not in 1..=65535",
        ),
        (
            &["--interface", "x", "--port", "65536"],
            "65536 is not in 1..=65535",
        ),
        (&["--interface", "x", "--port", "http"], "--port"),
        (
            &["--interface", "x", "--address", "10.0.0"],
            "this is no IP address",
        ),
        (
            &["--interface", "x", "--address", "127.0.0.1"],
            "no test packet can arrive",
        ),
        (
            &["--interface", "x", "--queues", "0"],
            "a number of queues from 1, or all",
        ),
        (
            &["--interface", "x", "--poll", "sometimes"],
            "interrupt, adaptive, busy",
        ),
        (
            &["--interface", "x", "--cpus", "3-1"],
            "no list of processors",
        ),
        (
            &["--interface", "x", "--ring-size", "1000"],
            "a power of two from 64 to 32768",
        ),
        (
            &["--interface", "x", "--tx-batch", "0"],
            "0 is not in 1..=64",
        ),
        (&["--interface", "x", "--colour"], "--colour"),
    ] {
        let (status, stdout, stderr) = run(arguments);
        assert_eq!(
            (status, stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}: {stderr}"
        );
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn an_unknown_interface_is_a_run_time_error_that_names_those_there_are() {
    let (status, stdout, stderr) = run(&["--interface", "no-such-if"]);
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.contains("there is no interface no-such-if here"),
        "{stderr}"
    );
    assert!(stderr.contains("lo"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let (status, stdout, _) = run(&["--help"]);
    assert_eq!(status, Some(0));
    for option in [
        "--interface",
        "--port",
        "--address",
        "--queues",
        "--poll",
        "--cpus",
        "--xdp-mode",
    ] {
        assert!(stdout.contains(option), "{option}");
    }
    let (status, stdout, _) = run(&["--version"]);
    assert_eq!((status, stdout.starts_with("reflector ")), (Some(0), true));
}
