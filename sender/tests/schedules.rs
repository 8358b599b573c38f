//! When packets leave: each schedule's own times, bursts, skipped slots, as many as go, and the
//! search for the highest rate over a relay that carries so many packets and no more.
//!
//! A busy machine skips send times, and what is skipped is counted: the tests look for the packets
//! in the schedule, and never for the whole schedule in the packets.

#![cfg(test)]

#[expect(dead_code, reason = "shared with the tests of other outcomes")]
#[path = "relay/oracle.rs"]
mod oracle;
#[expect(dead_code, reason = "shared with the tests of other outcomes")]
#[path = "relay/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::process::Command;
use std::time::Duration;

use oracle::check;
use scene::{BOTH, Run, Scene, Transport};
use sender::schedule::owamp::Deviates;
use sender::schedule::{Limit, Pace, Schedule, Step, Times};
use sender::seed::Seed;
use serde_json::Value;
use testbed::relay::{Log, TestPacket};
use testbed::{DEFAULT_TIMEOUT, Direction, Fate, Need, ReflectorConfig, skip_unless};

/// The scene of a test that is about departures only.
fn plain() -> Scene {
    Scene::new(ReflectorConfig::default(), |_| Fate::pass())
}

/// Intended send times in the order of sending, of a run with one session.
fn intended(run: &Run) -> Vec<i64> {
    let rows = run.rows.iter().filter(|row| row.event != "duplicate");
    let by_number: BTreeMap<u32, i64> = rows
        .map(|row| (row.sequence, row.intended_send_ns.unwrap()))
        .collect();
    let numbers: Vec<u32> = by_number.keys().copied().collect();
    let sent = u32::try_from(run.number("sent")).unwrap();
    assert_eq!(numbers, (0..sent).collect::<Vec<_>>());
    by_number.into_values().collect()
}

/// T1 is read a moment after the lateness is, which an intended time is T1 less: so far apart the two
/// are, unless the thread lost its processor just there.
const MOMENT: i64 = 200_000;

/// How the packets of a run fit the slots of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fit {
    /// Slots before the last packet in which none left.
    passed: usize,
    /// Packets too far from any slot to tell theirs.
    strays: usize,
}

/// Fits the packets into the `slots` of a schedule, both in nanoseconds from any origin of their own.
/// `None` unless there is an origin for which almost every packet has a slot, each its own, in order.
fn fit(intended: &[i64], slots: &[i64]) -> Option<Fit> {
    let fits = |origin: i64| {
        let mut fit = Fit {
            passed: 0,
            strays: 0,
        };
        let mut left = slots.iter().map(|slot| slot + origin).peekable();
        for time in intended {
            while left.next_if(|slot| *slot < time - MOMENT).is_some() {
                fit.passed += 1;
            }
            if left.next_if(|slot| *slot <= time + MOMENT).is_none() {
                fit.strays += 1;
            }
        }
        left.peek()?;
        // A stray has a slot as well, which was taken for passed over.
        fit.passed = fit.passed.checked_sub(fit.strays)?;
        (fit.strays * 20 <= intended.len()).then_some(fit)
    };
    // The first slots may have been skipped, and the first packet may be astray.
    let firsts = slots.iter().take(100);
    firsts
        .flat_map(|slot| intended.iter().take(3).map(move |time| time - slot))
        .find_map(fits)
}

/// Adds gaps up.
fn slots(gaps: impl Iterator<Item = i64>) -> Vec<i64> {
    gaps.scan(0, |sum, gap| {
        *sum += gap;
        Some(*sum)
    })
    .collect()
}

#[test]
fn owamp_packets_leave_at_the_times_of_rfc_4656() {
    skip_unless!(Need::Xdp);
    // Of the reference vectors; the deviates themselves are tested against them elsewhere.
    let sid = "2872979303ab47eeac028dab3829dab2";
    let seed: Seed = sid.parse().unwrap();
    // The mean, 10 ms, and the gaps in units of 2^-32 s, truncated as in RFC 4656 section 5.
    let mean = (1_u64 << 32) / 100;
    let gaps = Deviates::new(seed).map(|deviate| {
        let gap = (u128::from(deviate) * u128::from(mean)) >> 32;
        i64::try_from((gap * 1_000_000_000) >> 32).unwrap()
    });
    let slots = slots(gaps.take(400));
    for transport in BOTH {
        let scene = plain();
        let options = ["--schedule", "owamp", "--seed", sid];
        let options = [&options[..], &["--count", "150", "--rate", "100"]].concat();
        let run = scene.run(transport, &options);
        check(&run);
        assert_eq!(*run.value("seed"), sid);
        check_fit(&run, &slots);
    }
}

/// Every slot up to the last packet was used, skipped, or found no room.
fn check_fit(run: &Run, slots: &[i64]) {
    let found = fit(&intended(run), slots).unwrap();
    let unused = ["skipped", "congested", "refused"].map(|name| run.number(name));
    let unused = usize::try_from(unused.iter().sum::<i64>()).unwrap();
    // A stray may have come upon the slot of another.
    assert!(
        found.passed.abs_diff(unused) <= found.strays,
        "{found:?}, {unused} unused"
    );
}

/// The slots of a Poisson process with a mean of 10 ms, by the schedule alone.
fn poisson_slots(seed: &str) -> Vec<i64> {
    let times = Times::Poisson {
        pace: Pace::from_rate(100.0).unwrap(),
        seed: seed.parse().unwrap(),
    };
    let mut schedule = Schedule::new(times, NonZeroU32::MIN, Limit::packets(600));
    let (mut now, mut slots) = (Duration::ZERO, Vec::new());
    loop {
        match schedule.take(now, 1, &mut slots) {
            Step::Done => break,
            Step::WaitUntil(due) => now = due,
            Step::Send => {}
        }
    }
    slots
        .iter()
        .map(|slot| i64::try_from(slot.as_nanos()).unwrap())
        .collect()
}

#[test]
fn a_seed_brings_its_own_poisson_times() {
    skip_unless!(Need::Xdp);
    let [own, other] = ["5eed", "5eee"].map(poisson_slots);
    for transport in BOTH {
        let scene = plain();
        let options = "--schedule poisson --seed 5eed --rate 100 --count 200";
        let run = scene.run(transport, &options.split(' ').collect::<Vec<_>>());
        check(&run);
        check_fit(&run, &own);
        assert_eq!(fit(&intended(&run), &other), None);
    }
}

#[test]
fn without_a_seed_each_run_has_times_of_its_own_and_tells_their_seed() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let seeds = [(), ()].map(|()| {
            let scene = plain();
            let options = "--schedule poisson --rate 100 --count 60";
            let run = scene.run(transport, &options.split(' ').collect::<Vec<_>>());
            let seed = run.value("seed").as_str().unwrap().to_owned();
            check_fit(&run, &poisson_slots(&seed));
            seed
        });
        assert_ne!(seeds[0], seeds[1]);
    }
}

#[test]
fn periodic_packets_leave_at_multiples_of_the_interval_or_not_at_all() {
    skip_unless!(Need::Xdp);
    let slots = slots(std::iter::repeat_n(1_000_000, 60_000));
    for transport in BOTH {
        let scene = plain();
        // At times more than a busy machine sends in time.
        let run = scene.run(transport, &["--count", "1000", "--rate", "1000"]);
        check(&run);
        let found = fit(&intended(&run), &slots).unwrap();
        let skipped = usize::try_from(run.number("skipped")).unwrap();
        // What is skipped before the first packet does not show.
        assert!(
            found.passed <= skipped + found.strays,
            "{found:?}, {skipped} skipped"
        );
        let warned = run.warnings().contains(&"skipped");
        assert_eq!(warned, skipped > 0, "{:?}", run.warnings());
    }
}

#[test]
fn a_stopped_sender_skips_and_counts_what_it_missed() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = plain();
        let mut sender = scene.start(transport, &["--count", "300", "--rate", "200"]);
        scene.await_requests(50);
        sender.signal(testbed::Signal::SIGSTOP).unwrap();
        // Half a second by the clock that the schedule goes by: a hundred slots.
        std::thread::sleep(Duration::from_millis(500));
        sender.signal(testbed::Signal::SIGCONT).unwrap();
        let run = scene.finish(&mut sender);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        assert_eq!(run.number("sent"), 300, "they are replaced at the end");
        let skipped = run.number("skipped");
        assert!(skipped >= 95, "{skipped}");
        assert!(run.warnings().contains(&"skipped"));
        // No burst made up for them: after the pause the packets keep their distance.
        let times = intended(&run);
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let long = gaps.iter().filter(|&&gap| gap > 450_000_000).count();
        assert!(long >= 1, "{gaps:?}");
        let close = gaps.iter().filter(|&&gap| gap < 4_000_000).count();
        assert!(close <= 3, "{gaps:?}");
    }
}

#[test]
fn bursts_share_their_send_time_and_keep_the_rate() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = plain();
        // A burst every 40 ms, and one that is not whole at the end.
        let run = scene.run(
            transport,
            &["--count", "203", "--rate", "200", "--burst", "8"],
        );
        check(&run);
        let times = intended(&run);
        let mut bursts = vec![1];
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            if gap.abs() < 10_000_000 {
                *bursts.last_mut().unwrap() += 1;
            } else {
                let intervals = (gap + 20_000_000) / 40_000_000;
                let off = (gap - intervals * 40_000_000).abs();
                assert!(intervals > 0 && off < 10_000_000, "{gap}");
                bursts.push(1);
            }
        }
        assert_eq!(bursts.iter().sum::<usize>(), 203);
        assert!(bursts.iter().all(|&burst| burst <= 8), "{bursts:?}");
        if run.number("skipped") == 0 {
            let mut expected = vec![8; 25];
            expected.push(3);
            assert_eq!(bursts, expected);
        }
    }
}

#[test]
fn a_random_start_follows_from_the_seed_and_leaves_the_distances() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = plain();
        let options = "--count 60 --rate 100 --random-start --seed 7";
        let run = scene.run(transport, &options.split(' ').collect::<Vec<_>>());
        check(&run);
        assert_eq!(*run.value("seed"), format!("{:0>32}", 7));
        let times = intended(&run);
        let strays = (times.windows(2))
            .filter(|pair| {
                let rest = (pair[1] - pair[0]).rem_euclid(10_000_000);
                rest.min(10_000_000 - rest) > MOMENT
            })
            .count();
        assert!(strays <= 10, "{times:?}");
    }
}

#[test]
fn as_fast_as_it_goes_every_packet_that_left_is_in_the_report() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for end in [["--count", "700"], ["--duration", "20ms"]] {
            let scene = plain();
            let options = [&["--rate", "max", "--timeout", "5s"], &end[..]].concat();
            // Finishing compares what was sent with what came to the relay.
            let run = scene.run(transport, &options);
            let [sent, received, lost] = ["sent", "received", "lost"].map(|name| run.number(name));
            if end[0] == "--count" {
                let missing = run.number("congested") + run.number("refused");
                assert_eq!(sent + missing, 700);
            }
            assert!(sent > 0);
            assert_eq!(received + lost, sent);
            // What came back was measured, or this host ran out of room for it.
            let back = run.log.sequences(Direction::Backward).len();
            assert!(received <= i64::try_from(back).unwrap());
            assert_eq!(run.number("skipped"), 0);
            assert_eq!(*run.value("rate_asked_pps"), Value::Null);
            assert_eq!(run.rows.len(), usize::try_from(sent).unwrap());
        }
    }
}

/// Requests that came and that were lost, of each trial: each begins with number 0 again, and may have
/// the port of the last one.
fn trials(log: &Log) -> Vec<[u64; 2]> {
    let mut found = Vec::new();
    for record in log.came(Direction::Forward) {
        if record.packet.sequence == 0 {
            found.push([0, 0]);
        }
        let [came, lost] = found.last_mut().unwrap();
        *came += 1;
        *lost += u64::from(record.sent.is_empty());
    }
    found
}

/// Runs `--ramp` and returns its document, once the machine sent every rate as asked; a busy one
/// may need some attempts, each of them sound.
fn search(
    transport: Transport,
    options: &[&str],
    script: impl Fn() -> Box<dyn FnMut(&TestPacket) -> Fate + Send>,
) -> Value {
    for _ in 0..20 {
        let scene = Scene::new(ReflectorConfig::default(), script());
        let mut command = Command::new(env!("CARGO_BIN_EXE_sender"));
        command
            .arg(scene.target().to_string())
            .args(["--transport", transport.name(), "--json", "-"])
            .args(options);
        let namespace = &scene.relay.veth.sender.namespace;
        let mut sender = namespace.spawn(&mut command).unwrap();
        let status = sender.wait_exit(4 * DEFAULT_TIMEOUT).unwrap();
        assert_eq!(status.code(), Some(0), "{}", sender.stderr());
        let report: Value = serde_json::from_str(&sender.stdout()).unwrap();
        check_search(&report, &trials(&scene.relay.log()));
        let mut told = report["trials"].as_array().unwrap().iter();
        if told.all(|trial| trial["verdict"] != "inconclusive") {
            return report;
        }
        eprintln!("this machine did not send a rate as asked: once more");
    }
    panic!("this machine never sent the rates as asked");
}

/// The document says of every trial what the relay says, and of the whole what the trials say.
fn check_search(report: &Value, trials: &[[u64; 2]]) {
    let told = report["trials"].as_array().unwrap();
    assert_eq!(told.len(), trials.len(), "{report:#}");
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for (entry, [sent, lost]) in told.iter().zip(trials) {
        assert_eq!(entry["sent"], *sent, "{entry}");
        let rate = entry["asked_pps"].as_f64().unwrap();
        match entry["verdict"].as_str().unwrap() {
            "passed" => {
                assert_eq!(*lost, 0, "{entry}");
                assert_eq!(entry["received"], *sent, "{entry}");
                passed.push(rate);
            }
            "failed" => {
                assert!(*lost > 0, "{entry}");
                assert_eq!(entry["received"], sent - lost, "{entry}");
                failed.push(rate);
            }
            "inconclusive" => {
                let slow = entry["achieved_pps"]
                    .as_f64()
                    .is_none_or(|got| got < 0.99 * rate);
                assert!(slow || entry["not_sent"].as_u64() > Some(0), "{entry}");
            }
            other => panic!("{other}"),
        }
    }
    // A rate is tried anew before it is this machine that limits the search.
    let last = told.last().map(|trial| &trial["verdict"]);
    let by_sender = last.is_some_and(|verdict| verdict == "inconclusive");
    assert_eq!(report["limited_by"] == "sender", by_sender, "{report:#}");
    assert_eq!(
        report["best_pps"].as_f64(),
        passed.into_iter().reduce(f64::max)
    );
    assert_eq!(
        report["failed_pps"].as_f64(),
        failed.into_iter().reduce(f64::min)
    );
}

/// Carries so many requests of each session, and loses the others.
fn at_most(most: u32) -> Box<dyn FnMut(&TestPacket) -> Fate + Send> {
    Box::new(move |packet| match packet.direction {
        Direction::Forward if packet.sequence >= most => Fate::lose(),
        _ => Fate::pass(),
    })
}

#[test]
fn a_search_finds_the_rate_that_the_path_carries() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        // 30 packets in 500 ms: 60/s, and with halved steps of 25/s down to a sixteenth of one.
        let options = ["--ramp", "25:200:25:500ms"];
        let report = search(transport, &options, || at_most(30));
        assert_eq!(report["limited_by"], "path");
        let rate = |name: &str| report[name].as_f64().unwrap();
        let [best, failed] = ["best_pps", "failed_pps"].map(rate);
        assert!(best <= 60.0 && 60.0 < failed, "{report:#}");
        assert!(failed - best <= 25.0 / 16.0, "{report:#}");
    }
}

#[test]
fn a_path_that_goes_dead_at_some_rate_is_the_limit_and_no_failure() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        // The third trial, and all after it, lose everything.
        let script = || -> Box<dyn FnMut(&TestPacket) -> Fate + Send> {
            let mut trial = 0;
            Box::new(move |packet| {
                trial += u32::from(packet.direction == Direction::Forward && packet.sequence == 0);
                if trial > 2 {
                    Fate::lose()
                } else {
                    Fate::pass()
                }
            })
        };
        let report = search(
            transport,
            &["--ramp", "20:100:20:300ms", "--timeout", "500ms"],
            script,
        );
        assert_eq!(report["limited_by"], "path");
        assert_eq!(report["best_pps"], 40.0);
    }
}

#[test]
fn a_search_ends_at_the_end_of_its_range() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let report = search(transport, &["--ramp", "20:60:20:300ms"], || at_most(1000));
        assert_eq!(report["limited_by"], "range_end");
        assert_eq!(
            (&report["best_pps"], &report["failed_pps"]),
            (&60.0.into(), &Value::Null)
        );
    }
}

#[test]
fn a_search_whose_first_rate_fails_has_found_none() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let report = search(transport, &["--ramp", "50:100:25:300ms"], || at_most(3));
        assert_eq!(report["limited_by"], "path");
        assert_eq!(
            (&report["best_pps"], &report["failed_pps"]),
            (&Value::Null, &50.0.into())
        );
    }
}

#[test]
fn a_search_where_nobody_answers_says_so() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(ReflectorConfig::default(), |_| Fate::lose());
        let mut command = Command::new(env!("CARGO_BIN_EXE_sender"));
        command
            .arg(scene.target().to_string())
            .args(["--transport", transport.name(), "--timeout", "200ms"])
            .args(["--ramp", "50:100:25:200ms"]);
        let namespace = &scene.relay.veth.sender.namespace;
        let mut sender = namespace.spawn(&mut command).unwrap();
        let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
        let stderr = sender.stderr();
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("sender: no reply from "), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
