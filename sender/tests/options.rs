//! Whole runs over loopback with the options of packets, schedules and sources.

#[expect(dead_code, reason = "other test files use the rest")]
mod common;

use std::net::SocketAddr;

use common::{Fate, Reflector, Style, closed_port, codes, config, measure, run};
use sender::control::Control;
use sender::error::Error;
use sender::transport::OpenError;

/// 50 probes at 1000/s.
const SHORT: &str = "--count 50 --rate 1000";

#[test]
fn sizes_from_the_header_to_fragments_work() {
    for size in [14, 40, 41, 44, 1400, 9000, 65_507] {
        let reflector = Reflector::start(|_| Fate::Reply);
        let outcome = measure(
            reflector.address,
            &format!("--count 5 --rate 100 --size {size}"),
        );
        assert_eq!(
            (outcome.counts.received, outcome.counts.invalid),
            (5, 0),
            "{size}"
        );
    }
}

#[test]
fn sessions_take_consecutive_source_ports() {
    for _ in 0..20 {
        let first = closed_port("127.0.0.1:0").port();
        if first > 65_000 {
            continue;
        }
        let reflector = Reflector::start(|_| Fate::Reply);
        let options =
            format!("--count 9 --rate 500 --sessions 3 --source 127.0.0.1 --source-port {first}");
        match run(&config(reflector.address, &options), &Control::default()) {
            // Somebody else has one of the ports by now.
            Err(Error::Open(OpenError::PortInUse(_))) => {}
            outcome => {
                assert_eq!(outcome.unwrap().counts.received, 9);
                let seen = reflector.seen();
                let ports: Vec<_> = seen.keys().map(SocketAddr::port).collect();
                assert_eq!(ports, [first, first + 1, first + 2]);
                return;
            }
        }
    }
    panic!("no three free ports in twenty tries");
}

#[test]
fn a_taken_source_port_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = format!("--source 127.0.0.1 --source-port {port}");
    let error = run(
        &config(closed_port("127.0.0.1:0"), &options),
        &Control::default(),
    );
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains(&port.to_string()) && message.contains("--source-port"),
        "{message}"
    );
}

#[test]
fn the_clock_state_is_the_kernels() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let outcome = measure(reflector.address, "--count 2 --rate 100");
    let state = clock::Discipline::read().unwrap();
    assert_eq!(outcome.clock.synchronised, state.synchronised);
    assert!(outcome.clock.error_max > 0);
}

#[test]
fn stamp_packets_carry_identifiers_that_come_back() {
    let options = format!("{SHORT} --stamp --ssid 513 --sessions 2");
    for (style, missing) in [
        (Style::Stateful, &[][..]),
        (Style::Ntp(0x0001), &["no_ssid"]),
    ] {
        let reflector = Reflector::start_as(style, "127.0.0.1:0", |_| Fate::Reply);
        let outcome = measure(reflector.address, &options);
        assert_eq!((outcome.counts.received, outcome.counts.invalid), (50, 0));
        assert_eq!(codes(&outcome), missing);
        let last = reflector.last_probe();
        assert_eq!((last.len(), &last[14..16]), (44, &[2, 2][..]));
        assert_eq!(last[16..], [0; 28]);
    }
}

#[test]
fn t1_in_ptp_format_is_measured_like_ntp() {
    let reflector = Reflector::start(|_| Fate::Reply);
    let outcome = measure(
        reflector.address,
        &format!("{SHORT} --format ptp --padding random"),
    );
    assert_eq!((outcome.counts.received, outcome.counts.invalid), (50, 0));
    assert!(outcome.round_trip.unwrap().max.nanos() < 2_000_000_000);
    let tai = clock::Discipline::read().unwrap().tai_offset;
    let unknown = tai == wire::time::TaiOffset::from_seconds(0);
    assert_eq!(codes(&outcome).contains(&"no_tai"), unknown);
    let last = reflector.last_probe();
    assert_eq!(last[12] & 0x40, 0x40, "the Z bit");
    assert!(last[14..].iter().any(|&octet| octet != 0));
    assert!(outcome.seed.is_some(), "padding can be made again");
}

#[test]
fn every_schedule_sends_what_it_is_asked_for() {
    for options in [
        "--count 150 --rate 3000 --schedule poisson",
        "--count 150 --rate 3000 --schedule owamp --seed 2872979303ab47eeac028dab3829dab2",
        "--count 150 --rate 3000 --random-start",
        "--count 150 --rate 3000 --burst 10",
        "--count 150 --rate max",
    ] {
        let reflector = Reflector::start(|_| Fate::Reply);
        let outcome = measure(reflector.address, options);
        let sent = outcome.counts.sent;
        assert_eq!(sent + outcome.congested, 150, "{options}");
        assert_eq!(outcome.counts.received, sent, "{options}");
        // As fast as it goes there are no intended times to miss.
        let paced = (!options.contains("max")).then_some(sent);
        let stamped = outcome.send_error.map(|error| error.count);
        assert_eq!(stamped, paced, "{options}");
        assert_eq!(outcome.rate_asked.is_none(), options.contains("max"));
    }
}

#[test]
fn sessions_are_spread_over_source_addresses() {
    for _ in 0..20 {
        let first = closed_port("127.0.0.1:0").port();
        if first > 65_000 {
            continue;
        }
        let reflector = Reflector::start(|_| Fate::Reply);
        let options = format!(
            "--count 10 --rate 500 --sessions 5 --source-range 127.0.0.2-127.0.0.4 \
             --source-port {first}"
        );
        match run(&config(reflector.address, &options), &Control::default()) {
            // Somebody else has one of the ports by now.
            Err(Error::Open(OpenError::PortInUse(_))) => {}
            outcome => {
                assert_eq!(outcome.unwrap().counts.received, 10);
                let seen: Vec<_> = reflector.seen().into_keys().collect();
                let expected: Vec<SocketAddr> = [(2, 0), (2, 1), (3, 0), (3, 1), (4, 0)]
                    .map(|(host, port)| ([127, 0, 0, host], first + port).into())
                    .to_vec();
                assert_eq!(seen, expected);
                return;
            }
        }
    }
    panic!("no two free ports in twenty tries");
}
