//! The table as a user reads it.

use super::*;
use crate::outcome::tests::sample;

#[test]
fn reads_well() {
    let expected = "\
TWAMP 192.0.2.9:40000 -> reflector.example:862 (192.0.2.1), 1 session, 44 octets of UDP payload

sent         4
received     3   75.000 %
lost         1   25.000 %
duplicates   0
reordered    0
late         0   after 2s, also counted as lost
invalid      0
skipped      0

                 min       mean        p50        p90        p99      p99.9        max
RTT         1.000 ms   2.333 ms   2.000 ms   4.000 ms   4.000 ms   4.000 ms   4.000 ms
forward     400.0 µs   400.0 µs   400.0 µs   400.0 µs   400.0 µs   400.0 µs   400.0 µs
backward    600.0 µs   1.933 ms   1.600 ms   3.600 ms   3.600 ms   3.600 ms   3.600 ms
residence   500.0 µs   500.0 µs   500.0 µs   500.0 µs   500.0 µs   500.0 µs   500.0 µs
IPDV        1.000 ms   1.500 ms   1.000 ms   2.000 ms   2.000 ms   2.000 ms   2.000 ms
PDV             0 ns   1.333 ms   1.000 ms   3.000 ms   3.000 ms   3.000 ms   3.000 ms
over the 3 replies received in time; lost packets have no delay

jitter       183.6 µs (RFC 3550, of the round trip)
rate         1 000/s asked, 1 000/s achieved, 0.003 s
transport    UDP sockets
T1           4 in user space
T4           3 by the kernel
send error   p50 2.000 µs, p99 2.000 µs, max 2.000 µs after the intended time
path         2 hops there, 1 hop back
clock here   synchronised, error up to 250.0 µs
clock there  synchronised, error up to 1.007 ms
";
    assert_eq!(render(&sample(), false), expected);
}

#[test]
fn a_run_without_replies_has_no_delays_to_show() {
    let mut outcome = sample();
    outcome.counts.received = 0;
    outcome
        .warnings
        .push(crate::warning::Warning::Skipped { slots: 1 });
    let text = render(&outcome, false);
    let (_, rest) = text.split_once("skipped      0\n").unwrap();
    assert!(
        rest.starts_with("\nrate       1 000/s asked, 1 000/s achieved, 0.003 s\ntransport  UDP sockets\n\nwarning: "),
        "{text}"
    );
}

#[test]
fn a_run_with_several_sessions_and_trouble_says_so() {
    let mut outcome = sample();
    outcome.sessions = 3;
    outcome.target = outcome.address.to_string();
    outcome.counts.duplicates = 2;
    outcome.counts.replicated = 1;
    outcome.counts.reordered = 1;
    outcome.counts.reorder_extent_max = 1200;
    outcome.clock.synchronised = false;
    outcome.warnings.push(crate::warning::Warning::Stopped {
        slots: 96,
        waited: None,
    });
    let text = render(&outcome, false);
    for part in [
        "192.0.2.9:40000 -> 192.0.2.1:862, 3 sessions",
        "duplicates   2   of 1 packet\n",
        "reordered    1   33.333 %, extent up to 1 200\n",
        "\nforward, backward: not synchronised: offset between clocks included\n",
        "\nclock here   not synchronised, error up to 250.0 µs\n",
        "\n\nwarning: the run was stopped with 96 packets left to send\n",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn a_reflector_that_counts_tai_is_not_called_unsynchronised() {
    let mut outcome = sample();
    outcome.peer.ptp = 3;
    assert_says(
        &outcome,
        &["\nforward, backward: the reflector counts TAI (PTPv2 format): TAI-UTC included\n"],
    );
}

#[test]
fn what_chance_followed_from_is_told_without_a_reply_too() {
    let mut outcome = sample();
    outcome.counts.received = 0;
    outcome.seed = Some("0123456789abcdef0123456789abcdef".parse().unwrap());
    assert_says(
        &outcome,
        &["\nseed       0123456789abcdef0123456789abcdef\n"],
    );
}

fn assert_says(outcome: &Outcome, parts: &[&str]) {
    let text = render(outcome, false);
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn losses_are_told_by_direction_and_in_runs_where_that_is_known() {
    let mut outcome = sample();
    outcome.counts.sent = 10_000;
    outcome.counts.received = 6_000;
    outcome.counts.loss_runs = 1;
    outcome.counts.loss_run_max = 4_000;
    assert_says(
        &outcome,
        &["lost          4 000   40.000 %; 1 run, the longest of 4 000\n"],
    );
    outcome.counts.duplicates = 3;
    outcome.counts.replicated = 2;
    outcome.counts.duplicates_forward = 1;
    outcome.directions = Some(Directions {
        forward: 1_500,
        backward: 2_500,
        undecided: 0,
        restarts: 0,
    });
    assert_says(
        &outcome,
        &[
            "lost          4 000   40.000 %, 1 500 there, 2 500 back; 1 run",
            "duplicates        3   of 2 packets, 1 there, 2 back\n",
        ],
    );
    outcome.directions = outcome.directions.map(|known| Directions {
        backward: 2_499,
        undecided: 1,
        ..known
    });
    assert_says(&outcome, &["1 500 there, 2 499 back, 1 undecided;"]);
}

#[test]
fn the_path_is_told_with_what_it_did_to_dscp_and_ecn() {
    let mut outcome = sample();
    outcome.tos = 184;
    let headers = &mut outcome.totals.headers;
    headers.hops_forward.add(4);
    for tos in [184, 184, 187] {
        headers.tos_forward.add(tos);
    }
    for tos in [0, 40] {
        headers.tos_backward.add(tos);
    }
    assert_says(
        &outcome,
        &[
            "path         2 to 4 hops there, 1 hop back, 1 packet came there with DSCP 46 ECN 3, \
           2 packets came back with DSCP 0 ECN 0 or DSCP 10 ECN 0\n",
        ],
    );
    outcome.totals.headers = crate::measure::header::Headers::default();
    assert!(!render(&outcome, false).contains("\npath"));
}

#[test]
fn what_is_unknown_is_not_made_up() {
    let mut outcome = sample();
    outcome.forward = None;
    outcome.residence = None;
    outcome.jitter = None;
    outcome.send_error = None;
    outcome.rate_asked = None;
    outcome.rate_achieved = None;
    outcome.peer.stamped = 0;
    outcome.peer.t4_xdp = 1_000;
    outcome.seed = Some(crate::seed::Seed::new(0xabc));
    assert_says(
        &outcome,
        &[
            "\nforward            -          -",
            "\njitter       - (RFC 3550, needs two replies)\n",
            "\nrate         as fast as it goes, - achieved, 0.003 s\n",
            "\nT4           1 000 in the driver, by XDP, 3 by the kernel\n",
            "\nseed         00000000000000000000000000000abc\n",
            "\nclock there  unknown: no timestamps from the reflector\n",
        ],
    );
    assert!(!render(&outcome, false).contains("send error"));
}
