//! Client lists of the greatest length, in XDP, on the slow path and before sockets.
//!
//! ```text
//!   reflector with two listeners, a list each │ veth-r ◄──► veth-s │ raw frames from many sources
//! ```

#![cfg(test)]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use common::arena::{Arena, FAMILIES, NEAR};
use common::{Reflector, SILENCE, Summary, command, has_xdp};
use tempfile::TempDir;
use testbed::{DEFAULT_TIMEOUT, Datagram, Need, UdpFrame, Veth, skip_unless};

/// Most entries of a list.
const ENTRIES: usize = 100_000;
/// Two listeners with a list each, and an open one for packets that end a test.
const FIRST: u16 = 862;
const SECOND: u16 = 863;
const OPEN: u16 = 8000;
const SOURCE_PORT: u16 = 4000;
const CLOSING_PORT: u16 = 4001;
/// Packets from there.
const CLOSING: u64 = 4;
/// Sources on both lists.
const ALLOWED: [&str; 2] = ["10.9.8.9", "2001:db8:9:8::9"];

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    AfXdp,
    /// Beside AF_XDP: the packets have IP options or extension headers.
    Slow,
    /// Sockets alone.
    Socket,
}

/// A source, and whether the first and the second listener answer it.
type Case = (&'static str, [bool; 2]);

/// The special part of the lists: longer prefixes in shorter ones, each turning over what that says.
const FIRST_LIST: &str = "
    # Longer prefixes count, whatever the order of lines.
    10.9.9.9
    !10.9.9.0/24
    10.9.0.0/16
    deny 10.0.0.0/8
    192.0.2.128/25
    2001:db8:9:9::9
    !2001:db8:9:9::/64
    2001:db8:9::/48
    deny 2001:db8::/32
    ::ffff:203.0.113.0/120
";
const SECOND_LIST: &str = "
    0.0.0.0/0
    !10.9.9.9/32
    ::/0
    !2001:db8:9:9::9/128
    deny 198.18.0.0/15
";

const CASES: [Case; 18] = [
    ("10.9.9.9", [true, false]),
    ("10.9.9.8", [false, true]),
    ("10.9.8.9", [true, true]),
    ("10.8.9.9", [false, true]),
    ("192.0.2.127", [false, true]),
    ("192.0.2.128", [true, true]),
    ("203.0.113.7", [true, true]),
    // On neither list by name.
    ("203.0.114.7", [false, true]),
    // Of the many networks of either family: the first, a neighbour, the last of the first list.
    ("100.64.0.1", [true, false]),
    ("100.64.0.2", [false, true]),
    ("100.70.26.81", [true, false]),
    ("198.18.0.1", [false, false]),
    ("2001:db8:9:9::9", [true, false]),
    ("2001:db8:9:9::8", [false, true]),
    ("2001:db8:9:8::9", [true, true]),
    ("2400::1", [true, false]),
    ("2400:0:0:1::1", [false, true]),
    ("2400:0:1:8694:ffff::1", [true, false]),
];

/// A list that is as long as may be: `special`, and every eighth /32 from 100.64.0.1 and every second /64
/// from `2400::` on, allowed or not.
fn long_list(special: &str, allow: bool) -> String {
    let mark = if allow { "" } else { "!" };
    let entries = special
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.contains('#'))
        .count();
    let more = ENTRIES - entries;
    let mut text = special.to_owned();
    for number in 0..more / 2 {
        let number = u32::try_from(number).unwrap();
        let v4 = Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 1).to_bits() + 8 * number);
        let [high, low] = [(number * 2) >> 16, (number * 2) & 0xffff];
        writeln!(text, "{mark}{v4}/32\n{mark}2400:0:{high:x}:{low:x}::/64").unwrap();
    }
    if more % 2 == 1 {
        writeln!(text, "{mark}100.127.255.0/24").unwrap();
    }
    text
}

/// Files of lists, gone when dropped.
struct Lists {
    folder: TempDir,
}

impl Lists {
    fn new() -> Self {
        let lists = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        lists.write("first", &long_list(FIRST_LIST, true));
        lists.write("second", &long_list(SECOND_LIST, false));
        lists
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The three listeners.
    fn options(&self, refused: &str) -> [String; 6] {
        let folder = self.folder.path().display();
        let options = [
            format!("port={FIRST},clients={folder}/first,refused={refused}"),
            format!("port={SECOND},clients={folder}/second,refused={refused}"),
            format!("port={OPEN}"),
        ];
        let [first, second, open] = options;
        let flag = || "--listener".to_owned();
        [flag(), first, flag(), second, flag(), open]
    }
}

fn arena() -> Arena {
    let arena = Arena::new();
    let namespace = &arena.veth.reflector.namespace;
    // Sockets need a way back to each source.
    for line in [
        "route add default via 10.86.2.2",
        "-6 route add default via fd00:862::2",
    ] {
        namespace.ip(line).unwrap();
    }
    arena
}

fn frame(veth: &Veth, source: &str, port: u16, path: Path) -> UdpFrame {
    let source = SocketAddr::new(source.parse().unwrap(), SOURCE_PORT);
    frame_from(veth, source, port, path)
}

fn frame_from(veth: &Veth, source: SocketAddr, port: u16, path: Path) -> UdpFrame {
    let end = &veth.reflector;
    let frame = match source {
        SocketAddr::V4(source) => UdpFrame::v4(source, end.socket_v4(port)),
        SocketAddr::V6(source) => UdpFrame::v6(source, end.socket_v6(port)),
    };
    let frame = frame.macs(veth.sender.mac, end.mac).payload(&[0; 44]);
    match path {
        Path::Slow => frame.ipv4_options(&[1, 1, 1, 0]).hop_by_hop(),
        Path::AfXdp | Path::Socket => frame,
    }
}

/// Waits until the sockets of a listener have judged all that they were sent.
fn close(arena: &Arena, port: u16, path: Path) {
    let path = if path == Path::Socket {
        Path::Socket
    } else {
        Path::Slow
    };
    for source in ALLOWED {
        let source = SocketAddr::new(source.parse().unwrap(), CLOSING_PORT);
        arena.send(NEAR, &frame_from(&arena.veth, source, port, path));
        let is_answer = |frame: &[u8]| {
            Datagram::parse(frame).is_ok_and(|it| it.destination.port() == CLOSING_PORT)
        };
        let answer = arena.raw[1 - NEAR].recv_matching(is_answer, DEFAULT_TIMEOUT);
        assert!(
            answer.unwrap().is_some(),
            "a client on the list is answered"
        );
    }
}

/// Asks both listeners from every source and compares the answers. Returns what the reflector says.
fn ask_from_everywhere(path: Path, refused: &str) -> Summary {
    let (lists, arena) = (Lists::new(), arena());
    let datapath = if path == Path::Socket {
        "socket"
    } else {
        "af-xdp"
    };
    let listeners = lists.options(refused);
    let mut options = vec!["--datapath", datapath, "--socket-workers", "1"];
    options.extend(listeners.iter().map(String::as_str));
    let reflector = Reflector::start(arena.end(NEAR), &options);
    let raw = &arena.raw[1 - NEAR];

    for (at, port) in [FIRST, SECOND].into_iter().enumerate() {
        let mut expected = Vec::new();
        for (source, answered) in CASES {
            arena.send(NEAR, &frame(&arena.veth, source, port, path));
            if answered[at] {
                expected.push(source.parse::<IpAddr>().unwrap());
            }
        }
        let from_the_port =
            |frame: &[u8]| Datagram::parse(frame).is_ok_and(|answer| answer.source.port() == port);
        let mut answered = Vec::new();
        while answered.len() < expected.len() {
            let answer = raw.recv_matching(from_the_port, DEFAULT_TIMEOUT).unwrap();
            let answer = answer.unwrap_or_else(|| panic!("{path:?}: no more than {answered:?}"));
            answered.push(Datagram::parse(&answer).unwrap().destination.ip());
        }
        expected.sort();
        answered.sort();
        assert_eq!(answered, expected, "{path:?}, port {port}");
        let more = raw.recv_matching(from_the_port, SILENCE).unwrap();
        assert_eq!(more, None, "{path:?}, port {port}: one answer too many");
        close(&arena, port, path);
    }
    for family in FAMILIES {
        arena.pass_through(NEAR, family, OPEN);
    }
    let summary = reflector.stop();
    let allowed = [0, 1].map(|at| count(at, true));
    assert_eq!(
        summary.answered(),
        allowed[0] + allowed[1] + 2 + CLOSING,
        "{}",
        summary.0
    );
    summary
}

/// Cases that this listener answers, or those that it does not.
fn count(listener: usize, answered: bool) -> u64 {
    let cases = CASES.iter().filter(|(_, by)| by[listener] == answered);
    cases.count() as u64
}

fn place(port: u16) -> String {
    format!("veth-r, any address, port {port}")
}

fn assert_counted_per_listener(summary: &Summary) {
    for (at, port) in [FIRST, SECOND].into_iter().enumerate() {
        let place = place(port);
        let of = |meaning| summary.of_listener(&place, meaning);
        let counts = [of("admitted"), of("from no client")];
        let expected = [true, false].map(|answered| count(at, answered));
        assert_eq!(counts, expected, "{}", summary.0);
    }
    assert_eq!(summary.of_listener(&place(OPEN), "from no client"), 0);
}

#[test]
fn a_hundred_thousand_prefixes_are_obeyed_by_each_listener_in_xdp() {
    skip_unless!(Need::Xdp);
    let summary = ask_from_everywhere(Path::AfXdp, "drop");
    assert_counted_per_listener(&summary);
    let refused = count(0, false) + count(1, false);
    assert_eq!(summary.count("from neither client nor peer"), refused);
    assert!(
        summary.0.contains("dropped by the XDP program: "),
        "{}",
        summary.0
    );
    assert_eq!(summary.sockets(), [CLOSING; 2]);
}

#[test]
fn who_is_refused_may_be_passed_to_the_kernel_and_is_not_answered_there_either() {
    skip_unless!(Need::Xdp);
    let summary = ask_from_everywhere(Path::AfXdp, "pass");
    assert_counted_per_listener(&summary);
    let refused = count(0, false) + count(1, false);
    assert_eq!(summary.count("from neither client nor peer"), refused);
    assert!(
        !summary.0.contains("dropped by the XDP program: "),
        "{}",
        summary.0
    );
    // The listeners' sockets have the ports, and judge by the same lists.
    assert_eq!(summary.sockets(), [refused + CLOSING, CLOSING]);
    assert_eq!(summary.count("client not allowed"), refused);
}

#[test]
fn the_slow_path_obeys_the_same_lists() {
    skip_unless!(Need::Xdp);
    let summary = ask_from_everywhere(Path::Slow, "drop");
    let refused = count(0, false) + count(1, false);
    assert_eq!(summary.count("client not allowed"), refused);
    assert_eq!(summary.sockets()[0], 2 * CASES.len() as u64 + CLOSING);
}

#[test]
fn sockets_obey_the_same_lists() {
    skip_unless!(Need::NetworkNamespace);
    let summary = ask_from_everywhere(Path::Socket, "drop");
    let refused = count(0, false) + count(1, false);
    assert_eq!(summary.count("client not allowed"), refused);
}

#[test]
fn a_list_that_denies_alone_lets_everybody_else_ask() {
    skip_unless!(Need::Xdp);
    let arena = arena();
    let reflector = Reflector::start(arena.end(NEAR), &["--deny", "10.9.0.0/16"]);
    for source in ["10.9.0.1", "10.10.0.1", "2001:db8::1"] {
        arena.send(NEAR, &frame(&arena.veth, source, FIRST, Path::AfXdp));
    }
    arena.pass_through(NEAR, FAMILIES[0], FIRST);
    let summary = reflector.stop();
    assert_eq!(summary.answered(), 3, "{}", summary.0);
    assert_eq!(summary.count("from neither client nor peer"), 1);
}

#[test]
fn open_listeners_are_warned_of_once() {
    skip_unless!(Need::Xdp);
    let arena = arena();
    let namespace = &arena.veth.reflector.namespace;
    let warnings = |options: &[&str]| {
        let reflector = Reflector::start(arena.end(NEAR), &[options, &["--verbose"]].concat());
        // Later generations of the rules say nothing of it.
        namespace.ip("address add 192.0.2.77/32 dev lo").unwrap();
        let log = "answering on 192.0.2.77 port";
        reflector
            .process()
            .wait_for_line(log, DEFAULT_TIMEOUT)
            .unwrap();
        namespace.ip("address del 192.0.2.77/32 dev lo").unwrap();
        let log = "no longer answering on 192.0.2.77";
        reflector
            .process()
            .wait_for_line(log, DEFAULT_TIMEOUT)
            .unwrap();
        let said = reflector.process().stderr();
        reflector.stop();
        said.matches("will answer everybody").count()
    };
    let socket = ["--datapath", "socket", "--socket-workers", "2"];
    assert_eq!(warnings(&[]), 1);
    assert_eq!(
        warnings(&["--listener", "port=1", "--listener", "port=2"]),
        1
    );
    assert_eq!(warnings(&socket), 1);
    assert_eq!(warnings(&["--allow", "10.0.0.0/8"]), 0);
}

/// Starts the reflector, which must refuse to, and returns its last words.
fn refusal(arena: &Arena, options: &[&str]) -> String {
    let end = arena.end(NEAR);
    let mut process = end
        .namespace
        .spawn(&mut command(end.interface, options))
        .unwrap();
    let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    assert!(!status.success(), "{}", process.stderr());
    assert!(!has_xdp(end));
    process.stderr()
}

#[test]
fn a_bad_line_is_named_and_nothing_is_attached() {
    skip_unless!(Need::Xdp);
    let (lists, arena) = (Lists::new(), arena());
    let too_long = format!("{}192.0.2.0/32\n", long_list(FIRST_LIST, true));
    let lines = too_long.lines().count();
    for (text, line, reason) in [
        (
            "10.0.0.0/8\n\n# none\n10.0.0.0/33\n",
            4,
            "'10.0.0.0/33': a prefix length",
        ),
        (
            "10.0.0.0/8\nhost.example\n",
            2,
            "'host.example': write a prefix such as",
        ),
        (
            "10.1.2.3/8",
            1,
            "'10.1.2.3/8': host bits are set below the prefix: 10.0.0.0/8",
        ),
        (
            "2001:db8::/32\n!2001:db8::/32\n",
            2,
            "'!2001:db8::/32': this prefix is both allowed and denied",
        ),
        (
            &too_long,
            lines,
            "'192.0.2.0/32': a client list has 100000 entries at most",
        ),
    ] {
        let path = lists.write("bad", text);
        let path = path.to_str().unwrap();
        for datapath in ["af-xdp", "socket"] {
            let said = refusal(&arena, &["--clients", path, "--datapath", datapath]);
            let expected = format!("{path} line {line}: {reason}");
            assert!(said.contains(&expected), "not {expected:?}:\n{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    let path = lists.folder.path().join("none");
    let said = refusal(&arena, &["--clients", path.to_str().unwrap()]);
    assert!(said.contains("cannot read the client list"), "{said}");
    // A good list beside a bad one changes nothing.
    let [flag, first, ..] = lists.options("drop");
    let bad = format!(
        "port=900,clients={}",
        lists.folder.path().join("bad").display()
    );
    let said = refusal(&arena, &[&flag, &first, &flag, &bad]);
    assert!(said.contains(&format!("bad line {lines}: ")), "{said}");
}
