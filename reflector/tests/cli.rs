//! The command line, without privileges: what is asked wrongly is refused with one clear message.

#![cfg(test)]

use std::io::Write as _;

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
        (
            &["--interface", "x", "--session-limit", "0"],
            "0 is not in 1..=100000000",
        ),
        (
            &["--interface", "x", "--session-timeout", "900"],
            "write a time from 1s to 1day",
        ),
        (
            &["--interface", "x", "--datapath", "xdp"],
            "auto, af-xdp, socket",
        ),
        (
            &["--interface", "x", "--socket-workers", "0"],
            "0 is not in 1..=256",
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

/// Wrong values of what is both an option and a key, and what is said of them.
const WRONG_VALUES: [(&str, &str, &str); 27] = [
    ("interface", "", "value"),
    ("vlan", "0", "a VLAN ID from 1 to 4094"),
    ("vlan", "4095", "a VLAN ID from 1 to 4094"),
    ("vlan", "100.4095", "two of them as OUTER.INNER, or none"),
    ("vrf", "", "value"),
    ("address", "192.0.2", "this is no IP address"),
    ("address", "ff02::1", "no test packet can arrive"),
    ("port", "0", "0 is not in 1..=65535"),
    ("peer", "192.0.2.1", "192.0.2.1:5000 or [2001:db8::1]:5000"),
    ("peer", "0.0.0.0:5000", "no other host has this address"),
    ("format", "owamp", "by-length, twamp-light, stamp"),
    ("padding", "ones", "same, shift, zero"),
    ("timestamps", "utc", "ntp, ptp"),
    ("sequence", "none", "stateless, stateful"),
    ("dscp", "64", "copy, zero, 0 to 63"),
    ("ecn", "ce", "clear, copy"),
    ("flow-label", "1", "copy, zero"),
    ("dscp-report", "yes", "on, off"),
    ("allow", "192.0.2.1/24", "192.0.2.0/24 was probably meant"),
    ("deny", "everybody", "a prefix such as 192.0.2.0/24"),
    ("refused", "reject", "drop, pass"),
    ("short", "grow", "answer, refuse"),
    ("rate", "fast", "packets per second, from 1 to 1G"),
    ("bandwidth", "999", "bits per second, from 1k to 1000G"),
    ("source-rate", "-1", "packets per second, from 1 to 1G"),
    ("source-prefix", "32", "like 32/64"),
    ("burst", "1us", "a time from 1ms to 10s"),
];

#[test]
fn wrong_values_are_refused_as_options_and_as_keys() {
    for (key, value, allowed) in WRONG_VALUES {
        let option = format!("--{key}={value}");
        let (status, stdout, stderr) = run(&["--interface", "x", &option]);
        assert_eq!(
            (status, stdout.as_str()),
            (Some(2), ""),
            "{option}: {stderr}"
        );
        assert!(stderr.contains(&format!("--{key} ")), "{option}: {stderr}");
        assert!(stderr.contains(allowed), "{option}: {stderr}");

        let spec = format!("{key}={value}");
        let (status, stdout, stderr) = run(&["--interface", "x", "--listener", &spec]);
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{spec}: {stderr}");
        assert!(stderr.contains("--listener"), "{spec}: {stderr}");
        let named = if value.is_empty() { key } else { &spec };
        assert!(stderr.contains(&format!("': {named}")), "{spec}: {stderr}");
        assert!(stderr.contains(allowed), "{spec}: {stderr}");
    }
}

#[test]
fn keys_that_there_are_not_or_that_come_twice_are_named() {
    for (spec, expected) in [
        ("prot=862", "there is no key 'prot': write interface, vlan,"),
        ("port=1,port=2", "port is given twice"),
        ("port", "'port' is no KEY=VALUE, like port=900"),
    ] {
        let (status, _, stderr) = run(&["--interface", "x", "--listener", spec]);
        assert_eq!(status, Some(2), "{spec}: {stderr}");
        assert!(stderr.contains(expected), "{spec}: {stderr}");
    }
}

/// Of an interface that there is not: whatever is refused is refused before it is looked for.
#[test]
fn listeners_that_cannot_work_are_refused_in_one_sentence() {
    for (arguments, expected) in [
        (
            &["--port", "900"][..],
            "no interface is named: give --interface",
        ),
        (
            &[
                "-i",
                "x",
                "--listener",
                "vlan=7",
                "--listener",
                "vlan=7,address=192.0.2.1",
                "--listener",
                "vlan=7,port=862",
            ],
            "two listeners, (x, VLAN 7, any address, port 862) and (x, VLAN 7, any address, port \
             862), claim the same packets: x, VLAN 7, any address, port 862",
        ),
        (
            &["-i", "x", "--listener", "peer=192.0.2.1:5,peer=192.0.2.1:5"],
            "peer 192.0.2.1:5 is given twice",
        ),
        (
            &["-i", "x", "--format", "stamp", "--padding", "zero"],
            "padding needs format=twamp-light",
        ),
        (
            &["-i", "x", "--format", "stamp", "--dscp-report", "on"],
            "dscp-report needs format=twamp-light",
        ),
        (
            &["-i", "x", "--peer", "192.0.2.1:5", "--deny", "192.0.2.2"],
            "it answers its peers alone",
        ),
        (
            &["-i", "x", "--clients", "/no/such/list"],
            "cannot read the client list /no/such/list: No such file",
        ),
    ] {
        assert_refused(arguments, expected);
    }
}

#[test]
fn a_bad_line_of_a_client_list_is_named_with_file_line_and_reason() {
    let mut list = tempfile::NamedTempFile::new().unwrap();
    writeln!(list, "# ours\n192.0.2.0/24\n192.0.2.5/24").unwrap();
    let path = list.path().to_str().unwrap();
    let expected = format!(
        "{path} line 3: '192.0.2.5/24': host bits are set below the prefix: 192.0.2.0/24 was \
         probably meant"
    );
    assert_refused(&["-i", "x", "--clients", path], &expected);
    assert_refused(
        &["-i", "x", "--listener", &format!("clients={path}")],
        &expected,
    );
}

fn assert_refused(arguments: &[&str], expected: &str) {
    let (status, stdout, stderr) = run(arguments);
    assert_eq!(
        (status, stdout.as_str()),
        (Some(2), ""),
        "{arguments:?}: {stderr}"
    );
    assert!(stderr.starts_with("reflector: "), "{arguments:?}: {stderr}");
    assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "one sentence: {stderr}");
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
        "--listener",
        "--datapath",
        "--session-limit",
        "interface=eth1,vlan=100,",
    ] {
        assert!(stdout.contains(option), "{option}");
    }
    for (key, ..) in WRONG_VALUES {
        assert!(stdout.contains(&format!("--{key} <")), "{key}");
    }
    let (status, stdout, _) = run(&["--version"]);
    assert_eq!((status, stdout.starts_with("reflector ")), (Some(0), true));
}
