//! What is wrong with a command line, an interface or a target gets one clear sentence, the right
//! exit status, and leaves no XDP program behind.

#![cfg(test)]

use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use testbed::reflector::{ReflectorConfig, ScriptedReflector};
use testbed::{DEFAULT_TIMEOUT, Need, Process, Signal, Veth, skip_unless};

const FAILURE: i32 = 1;
const USAGE: i32 = 2;

fn sender(target: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sender"));
    command.arg(target).args(options);
    command
}

fn start(veth: &Veth, target: &str, options: &[&str]) -> Process {
    let namespace = &veth.sender.namespace;
    namespace.spawn(&mut sender(target, options)).unwrap()
}

/// Runs a few packets' worth to its end, which has to be `status`, with one sentence that contains
/// `words` and nothing left on the interface.
fn fails(veth: &Veth, target: &str, options: &[&str], status: i32, words: &str) {
    let mut all = vec!["--quiet"];
    if !options.contains(&"--timeout") {
        all.extend(["--timeout", "100ms"]);
    }
    all.extend(options);
    let mut sender = start(veth, target, &all);
    let ended = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let said = sender.stderr();
    let context = format!("sender {target} {options:?}: {ended}\n{said}");
    assert_eq!(ended.code(), Some(status), "{context}");
    assert_eq!(said.lines().count(), 1, "{context}");
    assert!(said.starts_with("sender: "), "{context}");
    assert!(said.contains(words), "not {words:?}: {context}");
    assert_eq!(sender.stdout(), "", "{context}");
    assert_no_program(veth, &context);
}

fn assert_no_program(veth: &Veth, context: &str) {
    let link = veth.sender.namespace.ip("-details link show").unwrap();
    assert!(!link.contains("xdp"), "{context}\n{link}");
}

const TRANSPORTS: [&str; 3] = ["socket", "af-xdp", "auto"];

/// With each transport.
fn fails_in_any_way(veth: &Veth, target: &str, options: &[&str], status: i32, words: &str) {
    for transport in TRANSPORTS {
        let mut all = vec!["--transport", transport];
        all.extend(options);
        fails(veth, target, &all, status, words);
    }
}

#[test]
fn a_target_that_cannot_be_found_is_named() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let unknown = "cannot resolve 'no-such-host.invalid'";
    fails_in_any_way(&veth, "no-such-host.invalid", &[], FAILURE, unknown);
    fails_in_any_way(&veth, "192.0.2.1", &[], FAILURE, "no route to 192.0.2.1");
    let v6 = "no route to 2001:db8::1";
    fails(
        &veth,
        "2001:db8::1",
        &["--transport", "af-xdp"],
        FAILURE,
        v6,
    );
    let v6 = "no route to [2001:db8::1]";
    fails(&veth, "2001:db8::1", &[], FAILURE, v6);
    let many = "is not the address of one host";
    for target in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1"] {
        fails_in_any_way(&veth, target, &[], USAGE, many);
    }
}

#[test]
fn a_neighbour_that_does_not_answer_is_named() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let words = "10.86.2.9 does not answer on veth-s";
    fails(
        &veth,
        "10.86.2.9",
        &["--transport", "af-xdp"],
        FAILURE,
        words,
    );
    fails(&veth, "10.86.2.9", &["--transport", "auto"], FAILURE, words);
    // To a socket the kernel says so after three unanswered ARP requests, a second apart.
    let words = "no reply from 10.86.2.9:862: the network reports host unreachable (ICMP)";
    let four_seconds = ["--count", "20", "--rate", "5", "--json", "/dev/null"];
    fails(&veth, "10.86.2.9", &four_seconds, FAILURE, words);
}

#[test]
fn a_target_that_never_answers_is_told_from_one_without_a_listener() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let address = veth.reflector.socket_v4(862);
    let target = address.to_string();
    let options = ["--count", "3", "--rate", "100"];
    let silent = veth
        .reflector
        .namespace
        .run(|| UdpSocket::bind(address).unwrap());
    let words = "no reply from 10.86.2.1:862: 3 packets sent, none answered within 100ms";
    fails_in_any_way(&veth, &target, &options, FAILURE, words);
    drop(silent);
    // The kernel lets off only so many ICMP errors per second and target.
    for family in ["ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"] {
        let setting = format!("net/{family}");
        veth.reflector.namespace.sysctl(&setting, "0").unwrap();
    }
    let words = "nothing listens there (ICMP port unreachable)";
    fails_in_any_way(&veth, &target, &options, FAILURE, words);
    let target = veth.reflector.socket_v6(862).to_string();
    fails_in_any_way(&veth, &target, &options, FAILURE, words);
}

#[test]
fn an_unreachable_port_is_told_while_the_run_goes_on() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    for target in [
        veth.reflector.socket_v4(862).to_string(),
        veth.reflector.socket_v6(862).to_string(),
    ] {
        for transport in TRANSPORTS {
            // It would take three hours to its end.
            let options = ["--transport", transport, "--rate", "1", "--count", "10000"];
            let mut sender = start(&veth, &target, &options);
            let words = "nothing listens at the target's port (ICMP port unreachable)";
            sender.wait_for_line(words, DEFAULT_TIMEOUT).unwrap();
            sender.signal(Signal::SIGINT).unwrap();
            let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
            assert_eq!(status.code(), Some(FAILURE), "{}", sender.stderr());
            assert!(
                sender.stdout().contains("received     0"),
                "{}",
                sender.stdout()
            );
            let said = sender.stderr();
            assert!(said.contains("nothing listens there"), "{said}");
            assert_no_program(&veth, transport);
        }
    }
}

#[test]
fn a_place_to_send_from_that_is_not_there_is_named() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let target = veth.reflector.ipv4.to_string();
    let fails = |options: &[&str], status, words: &str| {
        fails_in_any_way(&veth, &target, options, status, words);
    };
    fails(
        &["--interface", "nope"],
        FAILURE,
        "there is no interface 'nope'",
    );
    fails(&["--vrf", "nope"], FAILURE, "there is no interface 'nope'");
    fails(
        &["--source", "10.1.1.1"],
        FAILURE,
        "10.1.1.1 is no address of this host",
    );
    fails(
        &["--source", "127.0.0.1"],
        FAILURE,
        "--source is a loopback address",
    );
    fails(
        &["--source", "fd00:862::2"],
        USAGE,
        "not of the same address family",
    );
    let range = ["--source-range", "10.86.2.2-10.86.2.3", "--sessions", "2"];
    fails(&range, FAILURE, "10.86.2.3 is no address of this host");

    let taken = veth.sender.socket_v4(5001);
    let _taken = veth
        .sender
        .namespace
        .run(|| UdpSocket::bind(taken).unwrap());
    let ports = ["--source-port", "5000", "--sessions", "3"];
    fails(&ports, FAILURE, "source port 5001 is in use");

    veth.sender.namespace.ip("link set veth-s down").unwrap();
    fails(&[], FAILURE, "no route to 10.86.2.1");
}

#[test]
fn more_sessions_than_ports_are_too_many() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let target = veth.reflector.ipv4.to_string();
    let words = "--sessions 100000 are too many for the ports of 1 source address";
    fails_in_any_way(&veth, &target, &["--sessions", "100000"], USAGE, words);
    let options = ["--sessions", "100", "--source-port", "65500"];
    let words = "--source-port 65500 leaves no room for 100 sessions";
    fails_in_any_way(&veth, &target, &options, USAGE, words);
    // Those of the system's range are all that sockets get when it chooses.
    let few = "net/ipv4/ip_local_port_range";
    veth.sender.namespace.sysctl(few, "40000 40009").unwrap();
    let words = "not enough free source ports for 50 sessions";
    fails(&veth, &target, &["--sessions", "50"], FAILURE, words);
    let options = ["--sessions", "50", "--source", "10.86.2.2"];
    fails(&veth, &target, &options, FAILURE, words);
}

#[test]
fn what_does_not_fit_into_a_frame_is_refused() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let target = veth.reflector.ipv4.to_string();
    let af_xdp = ["--transport", "af-xdp", "--size"];
    let words = "makes an IP packet of 1501, and the path to 10.86.2.1 takes 1500";
    fails(
        &veth,
        &target,
        &[&af_xdp[..], &["1473"]].concat(),
        FAILURE,
        words,
    );
    let options = ["--size", "1473", "--df", "--count", "3", "--rate", "100"];
    let v6 = veth.reflector.ipv6.to_string();
    for target in [&target, &v6] {
        fails(&veth, target, &options, FAILURE, "Message too long");
        fails(&veth, target, &options, FAILURE, "lower --size");
    }
    let words = "takes 1500";
    fails(
        &veth,
        &v6,
        &[&af_xdp[..], &["1453"]].concat(),
        FAILURE,
        words,
    );
    for size in ["13", "65508"] {
        fails_in_any_way(&veth, &target, &["--size", size], USAGE, "--size");
    }
}

#[test]
fn options_that_exclude_each_other_are_both_named() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let target = veth.reflector.ipv4.to_string();
    for (options, named) in CONFLICTS {
        let options: Vec<_> = options.split_whitespace().collect();
        for name in *named {
            fails(&veth, &target, &options, USAGE, name);
        }
    }
}

const CONFLICTS: &[(&str, &[&str])] = &[
    ("--rate 5 --interval 1s", &["--rate", "--interval"]),
    ("--count 5 --duration 1s", &["--count", "--duration"]),
    ("--ramp 1k:2k:1k:1s --rate 5", &["--ramp", "--rate"]),
    ("--ramp 1k:2k:1k:1s --count 5", &["--ramp", "--count"]),
    (
        "--ramp 1k:2k:1k:1s --random-start",
        &["--ramp", "--random-start"],
    ),
    ("--loss-limit 1%", &["--loss-limit", "--ramp"]),
    ("--schedule owamp --random-start", &["--random-start"]),
    ("--rate max --schedule poisson", &["--schedule"]),
    (
        "--source 10.86.2.2 --source-range 10.86.2.2-10.86.2.3",
        &["--source", "--source-range"],
    ),
    ("--queues 2", &["--queues", "--transport af-xdp"]),
    ("--vlan 100", &["--vlan", "--transport af-xdp"]),
    (
        "--next-hop-mac 02:00:00:00:00:01",
        &["--next-hop-mac", "af-xdp"],
    ),
    ("--tx-batch 8", &["--tx-batch", "--transport af-xdp"]),
    ("--tx-stamps on", &["--tx-stamps", "--transport af-xdp"]),
    ("--ssid 7", &["--ssid", "--stamp"]),
    ("--stamp --size 43", &["--size 43", "STAMP"]),
    (
        "--transport af-xdp --queues 2 --schedule owamp --rate 5",
        &["--schedule owamp", "--queues"],
    ),
    ("--fail-if rtt.often>1ms", &["--fail-if"]),
    ("--dscp 64", &["--dscp"]),
    ("--ecn maybe", &["--ecn"]),
    ("--ttl 0", &["--ttl"]),
    ("--sessions 0", &["--sessions"]),
    ("--sessions 100001", &["--sessions"]),
    ("--timeout 0s", &["--timeout"]),
    ("--seed xyz", &["--seed"]),
    ("--vlan 4095 --transport af-xdp", &["--vlan"]),
];

#[test]
fn an_address_of_this_host_is_for_sockets() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let namespace = &veth.sender.namespace;
    let address = "127.0.0.1:862".parse::<std::net::SocketAddr>().unwrap();
    let config = ReflectorConfig::default();
    let _reflector = ScriptedReflector::start_in(namespace, address, config).unwrap();
    let words = "127.0.0.1 is an address of this host, which AF_XDP cannot send to";
    fails(
        &veth,
        "127.0.0.1",
        &["--transport", "af-xdp"],
        FAILURE,
        words,
    );
    let lo = ["--transport", "af-xdp", "--interface", "lo"];
    fails(&veth, "127.0.0.1", &lo, FAILURE, words);
    let report = falls_back(&veth, start(&veth, "127.0.0.1", &FALLING_BACK));
    assert!(report.contains("address of this host"), "{report}");
}

const FALLING_BACK: [&str; 8] = [
    "--transport",
    "auto",
    "--count",
    "10",
    "--rate",
    "100",
    "--json",
    "-",
];

/// Why a run with `--transport auto` measured by sockets.
fn falls_back(veth: &Veth, mut sender: Process) -> String {
    let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert!(status.success(), "{status}: {}", sender.stderr());
    let report: Value = serde_json::from_str(&sender.stdout()).unwrap();
    assert_eq!(report["transport"]["kind"], "socket", "{report:#}");
    assert_eq!(report["received"], 10, "{report:#}");
    assert_no_program(veth, "after falling back");
    let why = report["transport"]["instead_of_af_xdp"].as_str();
    why.unwrap().to_owned()
}

/// The sender without any privileges. Its own folder may not be open to everybody.
fn as_nobody(target: &str, options: &[&str]) -> (tempfile::TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("sender");
    // By a child: a descriptor open for writing here could be inherited by one that another test
    // starts meanwhile, and then the program cannot be executed (ETXTBSY).
    let mut install = Command::new("install");
    install.args(["-m", "755", env!("CARGO_BIN_EXE_sender")]);
    assert!(install.arg(&program).status().unwrap().success());
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["--inh-caps=-all", "--bounding-set=-all"])
        .arg(&program)
        .arg(target)
        .args(options);
    (folder, command)
}

#[test]
fn without_privileges_there_are_sockets_and_no_af_xdp() {
    skip_unless!(Need::Xdp, Need::Program("setpriv"));
    let veth = Veth::new().unwrap();
    let address = veth.reflector.socket_v4(862);
    let target = address.to_string();
    let config = ReflectorConfig::default();
    let far = &veth.reflector.namespace;
    let _reflector = ScriptedReflector::start_in(far, address, config).unwrap();

    let namespace = &veth.sender.namespace;
    let (_folder, mut command) = as_nobody(&target, &["--transport", "af-xdp", "--quiet"]);
    let mut sender = namespace.spawn(&mut command).unwrap();
    let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let said = sender.stderr();
    assert_eq!(status.code(), Some(FAILURE), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("CAP_") || said.contains("root"), "{said}");
    assert_no_program(&veth, &said);

    let (_folder, mut command) = as_nobody(&target, &FALLING_BACK);
    let why = falls_back(&veth, namespace.spawn(&mut command).unwrap());
    assert!(why.contains("CAP_") || why.contains("root"), "{why}");

    let plain = ["--count", "10", "--rate", "100", "--quiet"];
    let (_folder, mut command) = as_nobody(&target, &plain);
    let mut sender = namespace.spawn(&mut command).unwrap();
    let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert!(status.success(), "{}", sender.stderr());
}

#[test]
fn a_link_that_goes_down_for_good_does_not_keep_a_run_from_its_end() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let address = veth.reflector.socket_v4(862);
    let far = &veth.reflector.namespace;
    let reflector = ScriptedReflector::start_in(far, address, ReflectorConfig::default()).unwrap();
    let options = ["--rate", "5000", "--timeout", "200ms", "--json", "-"];
    for (transport, length) in [
        ("af-xdp", ["--count", "20000"]),
        ("af-xdp", ["--duration", "4s"]),
        ("socket", ["--duration", "4s"]),
    ] {
        let before = reflector.reflections().len();
        let all = [&options[..], &length, &["--transport", transport]].concat();
        let mut sender = start(&veth, &address.to_string(), &all);
        reflector
            .wait_for_count(before + 100, DEFAULT_TIMEOUT)
            .unwrap();
        veth.sender.namespace.ip("link set veth-s down").unwrap();
        let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
        veth.sender.namespace.ip("link set veth-s up").unwrap();
        assert!(status.success(), "{transport}: {}", sender.stderr());
        let report: Value = serde_json::from_str(&sender.stdout()).unwrap();
        let number = |name: &str| report[name].as_u64().unwrap();
        assert!(number("refused") > 0, "{transport}: {report:#}");
        assert!(number("received") > 0, "{transport}: {report:#}");
        assert_no_program(&veth, transport);
    }
}
