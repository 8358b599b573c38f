//! Command lines that make sense, and those that do not.

use super::*;
use crate::args;
use crate::schedule::{Limit, Times};

fn config(line: &str) -> Result<Config, ConfigError> {
    let words = ["sender"].into_iter().chain(line.split_whitespace());
    Config::try_from(args::parse(words).unwrap_or_else(|error| panic!("{line}: {error:?}")))
}

fn good(line: &str) -> Config {
    config(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn has_the_documented_defaults() {
    let config = good("192.0.2.1");
    assert_eq!(config.timing.per_second(), Some(10.0));
    assert_eq!(config.timing.limit, Limit::packets(100));
    assert_eq!((config.timing.burst.get(), config.sessions), (1, 1));
    let probe = ProbeSpec {
        size: 44,
        padding: Padding::Zero,
        ssid: None,
    };
    assert_eq!(config.probe, probe);
    let header = HeaderConfig {
        tos: 0,
        ttl: 255,
        dont_fragment: false,
    };
    assert_eq!((config.header, config.format), (header, FormatArg::Ntp));
    assert_eq!(config.timeout, Duration::from_secs(2));
    assert_eq!(config.timeout_nanos(), Nanos::from_nanos(2_000_000_000));
    assert_eq!(config.path.transport, TransportArg::Socket);
    assert_eq!((config.path.sources, config.path.source_port), (None, None));
    assert_eq!((config.output.json, config.output.histograms), (None, 16));
    let peer = PeerConfig {
        reports_tos: false,
        stateful: false,
    };
    assert_eq!(config.peer, peer);
}

#[test]
fn a_duration_becomes_slots() {
    let packets = |line| good(line).timing.limit.packets;
    assert_eq!(packets("a --rate 10000 --duration 5s"), 50_000);
    assert_eq!(packets("a --interval 20ms --duration 1s"), 50);
    assert_eq!(packets("a --rate 0.1 --duration 1s"), 1);
}

#[test]
fn every_schedule_keeps_its_rate_and_seed() {
    let seed = Seed::new(0xabc);
    let times = |options: &str| {
        good(&format!("a --rate 50 --seed abc {options}"))
            .timing
            .times
    };
    let pace = times("").pace().unwrap();
    assert_eq!(times(""), Times::periodic(pace));
    assert_eq!(times("--schedule poisson"), Times::Poisson { pace, seed });
    assert_eq!(times("--schedule owamp"), Times::Owamp { pace, sid: seed });
    assert_eq!(good("a --rate max").timing.times, Times::Max);
    assert_eq!(good("a --rate max").timing.per_second(), None);
}

#[test]
fn a_random_start_in_an_interval_beyond_all_time_is_one() {
    let line = "a --interval 500years --burst 4294967295 --random-start --seed 7";
    assert!(matches!(good(line).timing.times, Times::Periodic { .. }));
}

#[test]
fn a_random_start_is_within_the_first_interval() {
    let offset = |line: &str| match good(line).timing.times {
        Times::Periodic { offset, .. } => offset,
        other => panic!("{other:?}"),
    };
    let line = "a --rate 10 --burst 4 --random-start --seed";
    let (one, other) = (offset(&format!("{line} 1")), offset(&format!("{line} 2")));
    assert_ne!(one, other);
    assert!(
        one.max(other) < Duration::from_millis(400),
        "{one:?} {other:?}"
    );
    assert_eq!(one, offset(&format!("{line} 1")), "repeatable");
}

#[test]
fn the_seed_is_worth_showing_where_something_follows_from_it() {
    for (line, chance) in [
        ("a", false),
        ("a --seed 1", false),
        ("a --random-start", true),
        ("a --schedule poisson", true),
        ("a --schedule owamp", true),
        ("a --padding random", true),
    ] {
        assert_eq!(good(line).has_chance(), chance, "{line}");
    }
    assert_ne!(
        good("a").timing.seed,
        good("a").timing.seed,
        "a new one each time"
    );
}

#[test]
fn another_rate_keeps_the_kind_of_schedule() {
    let timing = good("a --schedule poisson --seed 7 --burst 2").timing;
    let pace = good("a --rate 200").timing.times.pace().unwrap();
    let faster = timing.at(pace, Duration::from_secs(3));
    let seed = Seed::new(7);
    assert_eq!(faster.times, Times::Poisson { pace, seed });
    assert_eq!(
        (faster.limit.end, faster.burst),
        (Duration::from_secs(3), timing.burst)
    );
    let periodic = good("a --rate max").timing.at(pace, Duration::from_secs(3));
    assert_eq!(
        (periodic.times, periodic.limit.packets),
        (Times::periodic(pace), 600)
    );
}

#[test]
fn the_ip_header_is_what_was_asked_for() {
    let header = good("a --dscp af41 --ecn ect0 --ttl 7 --df").header;
    let expected = HeaderConfig {
        tos: 34 << 2 | 2,
        ttl: 7,
        dont_fragment: true,
    };
    assert_eq!(header, expected);
}

#[test]
fn stamp_probes_have_identifiers() {
    let ssid = |line| good(line).probe.ssid.map(|ssid| ssid.of_session(0));
    assert_eq!(ssid("a --stamp"), Some(1));
    assert_eq!(ssid("a --stamp --ssid 65535"), Some(65_535));
    assert_eq!(ssid("a"), None);
}

#[test]
fn sessions_are_spread_over_the_addresses_of_a_range() {
    let config = good("a --sessions 10 --source-range 192.0.2.10-192.0.2.13 --source-port 5000");
    let spread = config.spread();
    assert_eq!((spread.addresses, spread.ports()), (4, 3));
    let alone = good("a --sessions 10 --source 192.0.2.10").spread();
    assert_eq!((alone.addresses, alone.ports()), (1, 10));
}

#[test]
fn refuses_what_is_out_of_range_and_names_the_flag() {
    for (line, flag) in [
        ("a --interval 0s", "--interval"),
        ("a --interval 99ns", "--interval"),
        ("a --count 0", "--count"),
        ("a --count -1", "--count"),
        ("a --duration 0s", "--duration"),
        ("a --size 13", "--size"),
        ("a --size 65508", "--size"),
        ("a --size -44", "--size"),
        ("a --size 43 --stamp", "--size"),
        ("a --size 43 --dscp-report", "--size"),
        ("a --sessions 0", "--sessions"),
        ("a --sessions -1", "--sessions"),
        ("a --sessions 100001", "--sessions"),
        ("a --sessions 64513", "--sessions"),
        ("a --sessions 64513 --source 192.0.2.1", "--sessions"),
        ("a --timeout 0s", "--timeout"),
        ("a --timeout 61m", "--timeout"),
        ("a --timeout 1h --rate 100000 --duration 1day", "--timeout"),
        ("a --source-port 0", "--source-port"),
        ("a --source-port -1", "--source-port"),
        ("a --source-port 65536", "--source-port"),
        ("a --source-port 65535 --sessions 2", "--source-port"),
        (
            "a --source-port 65535 --sessions 3 --source-range 192.0.2.1-192.0.2.2",
            "--source-port",
        ),
        ("::1 --source 127.0.0.1", "--source"),
        ("127.0.0.1 --source ::1", "--source"),
        ("127.0.0.1 --source-range ::1-::2", "--source-range"),
        ("a --interval-report 9ms", "--interval-report"),
        ("a --transport af-xdp --queues 0", "--queues"),
        ("a --transport af-xdp --queues 1025", "--queues"),
        ("a --transport af-xdp --tx-batch 257", "--tx-batch"),
        ("a --transport af-xdp --vlan 1 --vlan 2 --vlan 3", "--vlan"),
    ] {
        assert_eq!(config(line).unwrap_err().flag, flag, "{line}");
    }
}

#[test]
fn refuses_options_that_contradict_each_other() {
    for (line, flag) in [
        ("a --rate max --schedule poisson", "--rate"),
        ("a --rate max --random-start", "--rate"),
        ("a --rate max --burst 2", "--burst"),
        ("a --schedule owamp --random-start", "--random-start"),
        ("a --vlan 5", "--vlan"),
        ("a --vlan 5 --transport auto", "--vlan"),
        ("a --next-hop-mac 02:00:00:00:00:01", "--next-hop-mac"),
        ("a --queues 2", "--queues"),
        ("a --tx-batch 2", "--tx-batch"),
        ("a --tx-stamps on", "--tx-stamps on"),
        ("a --json x --report x", "--report"),
        ("a --csv-packets x --hdr-log x", "--hdr-log"),
        ("a --csv-packets -", "--csv-packets"),
    ] {
        let error = config(line).unwrap_err();
        assert_eq!(error.flag, flag, "{line}");
        let sentence = error.to_string();
        assert!(
            !sentence.contains('\n') && !sentence.ends_with('.'),
            "{sentence}"
        );
    }
}

#[test]
fn a_device_takes_several_outputs() {
    config("a --json /dev/null --report /dev/null --csv-packets /dev/null").unwrap();
    config("a --json - --report x --csv-packets y").unwrap();
}

#[test]
fn a_file_takes_one_output_however_it_is_written() {
    let here = std::env::current_dir().unwrap();
    let whole = here.join("no-such").display().to_string();
    for (one, other) in [
        ("no-such", "no-such"),
        ("no-such", "./no-such"),
        ("./no-such", whole.as_str()),
        ("/dev/no-such", "/dev/no-such"),
    ] {
        let error = config(&format!("a --json {one} --report {other}")).unwrap_err();
        let message = error.to_string();
        let expected = format!("--report and --json cannot write the same file, '{other}'");
        assert_eq!(message, expected);
    }
}

#[test]
fn too_many_sessions_for_the_ports_of_an_address_are_spread_over_more() {
    let error = config("a --sessions 100000").unwrap_err();
    assert_eq!(
        error.to_string(),
        "--sessions 100000 are too many for the ports of 1 source address: each has 64512; spread \
         them over more with --source-range"
    );
    good("a --sessions 100000 --source-range 192.0.2.1-192.0.2.2");
}

#[test]
fn accepts_the_ends_of_the_ranges() {
    for line in [
        "a --size 14",
        "a --size 65507",
        "a --size 44 --stamp",
        "a --sessions 64512",
        "a --sessions 1024 --source-port 64512",
        "a --source-port 65535",
        "a --sessions 4 --source-port 65534 --source-range 192.0.2.1-192.0.2.2",
        "a --rate 10000000 --count 1",
        "a --rate 0.000001 --count 1",
        "a --interval 100ns --count 1",
        "a --timeout 1h",
        "a --interval-report 10ms",
        "a --transport af-xdp --queues 1024 --tx-batch 256 --vlan 1 --vlan 4094:7",
        "a --transport auto --queues 2 --next-hop-mac 02:00:00:00:00:01",
    ] {
        good(line);
    }
}

#[test]
fn remembers_what_is_sent_within_timeout_and_late_window() {
    let window = |line| good(line).window;
    assert_eq!(
        window("a --rate 1000 --count 1000000"),
        8192,
        "4 s, twice for bunches"
    );
    assert_eq!(
        window("a --rate 1000 --count 1000000 --sessions 10"),
        8192,
        "the rate is that of all sessions together"
    );
    assert_eq!(
        window("a --rate 1000 --count 10"),
        128,
        "no more than the run has"
    );
    assert_eq!(
        window("a --rate 1000 --count 1000000 --timeout 60s"),
        262_144,
        "60 s + 10 s"
    );
    assert_eq!(
        window("a --rate 5000 --count 1000000 --timeout 10ms"),
        16_384,
        "a second more, however short the timeout"
    );
    assert_eq!(
        window("a --rate 1 --count 1000000 --timeout 10ms"),
        1024,
        "the news may come at once"
    );
    assert_eq!(
        window("a --rate 1 --count 1000000 --sessions 10000"),
        32_768,
        "two of each session"
    );
    assert_eq!(window("a --rate max --count 100000000"), 1 << 22);
    assert_eq!(window("a --rate max --count 1000"), 2048);
}

#[test]
fn a_dash_is_standard_output() {
    assert_eq!(good("a --json -").output.json, Some(JsonTo::Stdout));
    let file = JsonTo::File(PathBuf::from("out.json"));
    assert_eq!(good("a --json out.json").output.json, Some(file));
}

#[test]
fn limits_are_kept_in_the_order_given() {
    let limits = good("a --fail-if loss>0.1% --fail-if rtt.p99>500us")
        .output
        .fail_if;
    assert_eq!(limits.len(), 2);
}
