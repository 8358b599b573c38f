//! What a series file may say.

use super::*;
use crate::config::values::Rate;

/// The plan of a file with this text, or what is said about it after its name.
fn plan(text: &str) -> Result<Plan, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.toml");
    std::fs::write(&path, text).unwrap();
    Plan::read(&path).map_err(|error| {
        let text = error.to_string();
        let name = path.display().to_string();
        text.strip_prefix(&name)
            .expect("the file is named")
            .to_owned()
    })
}

/// The only test of a file with these lines.
fn test(lines: &str) -> Result<Test, String> {
    let text = format!("[[test]]\nname = \"core\"\ntarget = \"192.0.2.1\"\n{lines}");
    plan(&text).map(|mut plan| plan.tests.remove(0))
}

#[test]
fn a_name_and_a_target_are_enough() {
    let test = test("").unwrap();
    let config = test.config().unwrap();
    assert_eq!(test.target().to_string(), "192.0.2.1:862");
    assert_eq!(
        (test.count, test.interval, test.history),
        (None, Duration::from_secs(60), 50)
    );
    assert_eq!(
        (config.timing.limit.packets, config.timing.per_second()),
        (10, Some(1.0))
    );
    assert!(test.thresholds.is_empty());
}

#[test]
fn keys_reach_the_run_as_flags_do() {
    let written = test(
        "probe-count = 7\nprobe-interval = \"20ms\"\ntest-interval = \"2s\"\ntest-count = 3\n\
         start-offset = \"3s\"\n\
         history-size = 9\ndscp = \"ef\"\necn = \"ect0\"\nttl = 64\nsize = 100\ndf = true\n\
         format = \"ptp\"\nstamp = true\nssid = 5\ntimeout = \"1s\"\nsessions = 2\nburst = 2\n\
         source = \"192.0.2.9\"\nsource-port = 2000\nvlan = [\"10\", \"20:3\"]\n\
         transport = \"af-xdp\"\ninterface = \"eth0\"\nseed = \"12\"\nstateful = true\n",
    )
    .unwrap();
    assert_eq!(
        (written.count, written.interval, written.history),
        (Some(3), Duration::from_secs(2), 9)
    );
    assert_eq!(written.offset, Duration::from_secs(3));
    let line = "sender 192.0.2.1 --count 7 --interval 20ms --dscp ef --ecn ect0 --ttl 64 --size 100 \
                --df --format ptp --stamp --ssid 5 --timeout 1s --sessions 2 --burst 2 --source \
                192.0.2.9 --source-port 2000 --vlan 10 --vlan 20:3 --transport af-xdp --interface \
                eth0 --seed 12 --stateful";
    let flags = Config::try_from(args::parse(line.split_whitespace()).unwrap()).unwrap();
    assert_eq!(written.config().unwrap(), flags);
    assert_eq!(written.args.timing.rate, None::<Rate>);
}

#[test]
fn the_port_may_be_in_the_target_or_beside_it() {
    let target = |lines: &str| {
        plan(&format!("{lines}\nname = \"a\"\n")).map(|plan| plan.tests[0].target().to_string())
    };
    for (lines, expected) in [
        ("[[test]]\ntarget = \"a\"\nport = 5", "a:5"),
        ("[[test]]\ntarget = \"::1\"\nport = 5", "[::1]:5"),
        ("[[test]]\ntarget = \"[::1]\"\nport = 5", "[::1]:5"),
        ("[[test]]\ntarget = \"a:862\"", "a:862"),
        ("[defaults]\nport = 5\n[[test]]\ntarget = \"a:6\"", "a:6"),
        ("[defaults]\ntarget = \"a\"\n[[test]]\nport = 7", "a:7"),
    ] {
        assert_eq!(target(lines).as_deref(), Ok(expected), "{lines}");
    }
    let twice = target("[[test]]\ntarget = \"a:862\"\nport = 862").unwrap_err();
    assert!(
        twice.starts_with(":3: test 'a': port is given twice"),
        "{twice}"
    );
}

#[test]
fn tests_without_end_are_written_in_two_ways() {
    for (written, count) in [("0", None), ("\"forever\"", None), ("1", Some(1))] {
        assert_eq!(
            test(&format!("test-count = {written}")).unwrap().count,
            count
        );
    }
    let plan = plan("[[test]]\nname = \"a\"\ntarget = \"b\"\n").unwrap();
    assert_eq!(plan.once().tests[0].count, Some(1));
}

#[test]
fn thresholds_are_those_of_fail_if_and_of_losses() {
    let test = test(
        "thresholds = [\"loss>1%\", \"rtt.p99 > 5ms\"]\ntotal-losses = 4\n\
                     successive-losses = 2\n",
    )
    .unwrap();
    let shown: Vec<String> = test.thresholds.iter().map(Threshold::to_string).collect();
    assert_eq!(
        shown,
        [
            "loss > 1 %",
            "rtt.p99 > 5 ms",
            "total-losses 4",
            "successive-losses 2"
        ]
    );
}

#[test]
fn each_test_has_chances_of_its_own_unless_a_seed_is_given() {
    let seeds = |lines: &str| {
        let test = test(lines).unwrap();
        [(); 2].map(|()| test.config().unwrap().timing.seed)
    };
    let [one, other] = seeds("schedule = \"poisson\"");
    assert_ne!(one, other);
    let [one, other] = seeds("schedule = \"poisson\"\nseed = \"ab\"");
    assert_eq!(one, other);
}

#[test]
fn a_test_lasts_from_its_first_burst_to_its_last() {
    // Five bursts of twenty, twenty seconds apart.
    let lines = "probe-count = 100\nburst = 20\ntest-interval";
    test(&format!("{lines} = \"81s\"")).unwrap();
    let error = test(&format!("{lines} = \"80s\"")).unwrap_err();
    assert!(
        error.contains("test-interval 1m 20s is too short") && error.contains("a test of 1m 20s"),
        "{error}"
    );
    test("probe-count = 81\nburst = 20\ntest-interval = \"81s\"").unwrap();
    test("probe-count = 1000\nburst = 1000\ntest-interval = \"1s\"").unwrap();
}

#[test]
fn a_series_has_the_name_of_its_file_unless_it_says_another() {
    let text = "[[test]]\nname = \"a\"\ntarget = \"b\"\n";
    assert_eq!(plan(text).unwrap().series, "lab");
    assert_eq!(
        plan(&format!("series = \"x-1\"\n{text}")).unwrap().series,
        "x-1"
    );
    let error = plan(&format!("\nseries = \"a b\"\n{text}")).unwrap_err();
    assert!(error.starts_with(":2: series 'a b' is no name"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my probes.toml");
    std::fs::write(&path, text).unwrap();
    let error = Plan::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("'my probes' is no name") && error.contains("series = "),
        "{error}"
    );
}

/// Lines of a test, of which the first is the fourth of its file, and what is said about them.
const WRONG: &[(&str, &str)] = &[
    (
        "dscp = 64",
        ":4: test 'core': invalid value '64' for 'dscp'",
    ),
    (
        "\ndscp = true",
        ":5: test 'core': dscp must be a text or a number",
    ),
    ("df = 1", ":4: test 'core': df must be true or false"),
    (
        "probe-count = 0",
        ":4: test 'core': probe-count must be at least 1",
    ),
    (
        "probe-count = 1.5",
        ":4: test 'core': invalid value '1.5' for 'probe-count'",
    ),
    (
        "probe-interval = 10",
        ":4: test 'core': invalid value '10' for 'probe-interval'",
    ),
    (
        "probe-interval = \"0s\"",
        ":4: test 'core': probe-interval must be above zero",
    ),
    (
        "size = 13",
        ":4: test 'core': size 13 is not within 14 to 65507",
    ),
    (
        "ttl = 1\nsize = 20\nstamp = true",
        ":5: test 'core': size 20 is too small for STAMP",
    ),
    (
        "timeout = \"0s\"",
        ":4: test 'core': timeout must be above zero",
    ),
    (
        "ssid = 5",
        ":4: test 'core': ssid goes with stamp only: TWAMP-Test packets have none",
    ),
    (
        "stamp = false\nssid = 5",
        ":5: test 'core': ssid goes with stamp only",
    ),
    (
        "seed = 12",
        ":4: test 'core': seed must be hexadecimal digits in quotes, like seed = \"2a\"",
    ),
    (
        "seed = \"xyz\"",
        ":4: test 'core': invalid value 'xyz' for 'seed'",
    ),
    (
        "stamp = true\nssid = 0",
        ":5: test 'core': invalid value '0' for 'ssid'",
    ),
    (
        "source = \"::1\"",
        ":4: test 'core': source ::1 and the target",
    ),
    (
        "vlan = [\"5\"]",
        ":4: test 'core': vlan needs transport af-xdp",
    ),
    (
        "vrf = \"a\"\ninterface = \"b\"",
        "test 'core': the argument",
    ),
    (
        "port = 0",
        ":4: test 'core': port must be a whole number from 1 to 65535",
    ),
    ("port = \"a\"", ":4: test 'core': port must be"),
    (
        "test-count = -1",
        ":4: test 'core': test-count must be a whole number",
    ),
    (
        "test-count = \"always\"",
        ":4: test 'core': test-count must be",
    ),
    (
        "test-interval = 60",
        ":4: test 'core': test-interval must be a time with its unit",
    ),
    (
        "test-interval = \"5\"",
        ":4: test 'core': test-interval must be a time with its unit",
    ),
    (
        "test-interval = \"0s\"",
        ":4: test 'core': test-interval must be 100ms at least",
    ),
    (
        "test-interval = \"9s\"",
        ":4: test 'core': test-interval 9s is too short",
    ),
    (
        "probe-count = 61",
        ":4: test 'core': test-interval 1m is too short",
    ),
    (
        "start-offset = 5",
        ":4: test 'core': start-offset must be a time with its unit",
    ),
    (
        "history-size = 0",
        ":4: test 'core': history-size must be a whole number from 1 to 10000",
    ),
    (
        "thresholds = [\"lost>1\"]",
        ":4: test 'core': thresholds: 'lost' is no figure",
    ),
    (
        "thresholds = [5]",
        ":4: test 'core': thresholds must be texts",
    ),
    (
        "total-losses = 11",
        ":4: test 'core': total-losses must be a whole number from 1 to 10",
    ),
    (
        "successive-losses = 0",
        ":4: test 'core': successive-losses must be",
    ),
    ("target = \"a\"", ":4: "),
    ("[[test]]\ntarget = \"a\"", ":4: this [[test]] has no name"),
    ("[[test]]\nname = 5", ":5: name must be a text"),
    ("[[test]]\nname = \"../x\"", ":5: name '../x' is no name"),
    ("[[test]]\nname = \"x\"", ":4: test 'x': there is no target"),
    (
        "[[test]]\nname = \"x\"\ntarget = \"a:0\"",
        ":6: test 'x': target 'a:0': '0' is no UDP port",
    ),
    (
        "[[test]]\nname = \"core\"\ntarget = \"a\"",
        ":4: test 'core' is in line 1 already",
    ),
];

#[test]
fn what_is_wrong_with_a_test_is_told_with_its_line_and_key() {
    for &(lines, words) in WRONG {
        let error = test(lines).unwrap_err();
        assert!(
            error.contains(words) && !error.contains('\n'),
            "{lines:?}: {error}"
        );
        assert!(!error.contains("--"), "no flags: {error}");
    }
}

#[test]
fn a_wrong_default_is_told_with_its_own_line() {
    let text = "[defaults]\nsize = 20\ndscp = \"high\"\n[[test]]\nname = \"a\"\ntarget = \"b\"\n";
    let error = plan(text).unwrap_err();
    assert!(
        error.starts_with(":3: test 'a': invalid value 'high' for 'dscp'"),
        "{error}"
    );
}

#[test]
fn the_example_is_valid_and_has_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/probes.toml");
    let plan = Plan::read(&path).unwrap();
    assert_eq!((plan.series.as_str(), plan.tests.len()), ("example", 5));
    let text = std::fs::read_to_string(&path).unwrap();
    for key in Key::all() {
        let given = |line: &str| {
            let line = line.trim_start_matches("# ");
            line.split_once(" = ")
                .is_some_and(|(name, _)| name == key.name())
        };
        assert!(text.lines().any(given), "{key} is missing");
    }
}
