//! What a run found out, put together; and a sample for the tests of the reports.

use super::*;
use crate::flight;
use crate::measure::delay::ReflectorTimes;
use crate::measure::header::HeaderFields;
use crate::measure::{Arrived, Measurement, Reception, ReplyStamps, T4Source};
use crate::sending::Sent;
use crate::stamp::StampFormat;
use crate::transport::IcmpCounts;
use crate::waiting::Ending;
use wire::error_estimate::ErrorEstimate;
use wire::time::Utc;

/// The outcome of four probes at 1000/s, of which the first three were answered, after 1, 2
/// and 4 ms, by a synchronised reflector two hops away that kept each for 0.5 ms.
pub(crate) fn sample() -> Outcome {
    sample_of("", |number| number)
}

/// The same by a run with these options, from a reflector that gave its replies to probes 0, 1
/// and 2 these numbers.
pub(crate) fn sample_of(options: &str, reflector: impl Fn(u32) -> u32) -> Outcome {
    let line = format!("sender reflector.example --rate 1000 {options}");
    let args = crate::args::parse(line.split_whitespace());
    let config = Config::try_from(args.unwrap()).unwrap();
    let terms = RunTerms {
        format: StampFormat::Ntp,
        no_tai: false,
    };
    let (mut departures, departed) = flight::open(8).unwrap();
    let measured = terms.measure(&config, 1, Numbering::ALL);
    let mut measurement = Measurement::new(measured, departed).unwrap();
    for i in 0..4 {
        departures.announce(1, Utc::from_nanos(i * 1_000_000));
    }
    measurement.notice();
    for (number, delay) in [(0u32, 1_500_000), (1, 2_500_000), (2, 4_500_000)] {
        let t1 = i64::from(number) * 1_000_000;
        let times = ReflectorTimes {
            receive: t1 + 400_000,
            transmit: t1 + 900_000,
        };
        let arrived = Arrived {
            reception: Reception {
                t4: Utc::from_nanos(t1 + delay),
                source: T4Source::Kernel,
            },
            stamps: ReplyStamps::Stamped(times, ErrorEstimate::from_bits(0x8f84)),
            reflector: Some(reflector(number)),
            headers: HeaderFields {
                sender_ttl: Some(253),
                ttl: Some(254),
                ..HeaderFields::default()
            },
            ssid_missing: false,
        };
        measurement.reply(0, number.into(), arrived, None);
    }
    let mut sent = Sent {
        clock: SenderClock {
            synchronised: true,
            error_max: 250_000,
        },
        ..Sent::default()
    };
    for i in 0..4 {
        let due = Duration::from_millis(i);
        sent.stamped(due, due + Duration::from_micros(2));
        sent.left(1, due);
    }
    let done = Done {
        endpoints: Endpoints {
            address: "192.0.2.1:862".parse().unwrap(),
            source: "192.0.2.9:40000".parse().unwrap(),
        },
        transport: Transport::Socket { instead: None },
        sent,
        stamps: TxStamps::default(),
        sources: Vec::new(),
        finished: vec![(Numbering::ALL, measurement.finish(None))],
        trouble: Trouble::default(),
        ending: Ending {
            clock_steps: Nanos::ZERO,
            cut_short: None,
        },
    };
    Outcome::new(&config, &terms, done, Some(0.25))
}

/// An outcome with these counts and no reply in time.
fn silent(counts: Counts, errors: &[IcmpKind]) -> Option<Silence> {
    let mut icmp = IcmpCounts::default();
    for &kind in errors {
        icmp.add(kind);
    }
    let outcome = Outcome {
        counts: Counts {
            sent: 9,
            received: 0,
            ..counts
        },
        trouble: Trouble {
            icmp,
            dropped_here: 0,
        },
        ..sample()
    };
    outcome.silence()
}

#[test]
fn a_reply_in_time_is_no_silence() {
    assert_eq!(sample().silence(), None);
}

#[test]
fn silence_has_its_likeliest_reason() {
    let timeout = Duration::from_secs(2);
    let none = Counts::default();
    let late = Counts {
        late: 3,
        invalid: 1,
        ..none
    };
    let invalid = Counts { invalid: 2, ..none };
    let refused = [IcmpKind::PortUnreachable];
    assert_eq!(silent(none, &[]), Some(Silence::Total { sent: 9, timeout }));
    assert_eq!(silent(none, &refused), Some(Silence::PortUnreachable));
    let kind = IcmpKind::HostUnreachable;
    assert_eq!(silent(none, &[kind]), Some(Silence::Unreachable { kind }));
    assert_eq!(
        silent(late, &refused),
        Some(Silence::Late { late: 3, timeout })
    );
    assert_eq!(
        silent(invalid, &refused),
        Some(Silence::Invalid { datagrams: 2 })
    );
}

#[test]
fn a_run_that_was_stopped_waited_no_longer_than_that() {
    let waited = Duration::from_secs(1);
    let mut outcome = sample();
    outcome.counts.received = 0;
    outcome.cut_short = Some(waited);
    let stopped = Silence::Stopped { sent: 4, waited };
    assert_eq!(outcome.silence(), Some(stopped));
    outcome.counts.sent = 0;
    assert_eq!(outcome.silence(), Some(Silence::NothingSent));
}

#[test]
fn reasons_are_sentences() {
    let timeout = Duration::from_millis(1_500);
    for (silence, text) in [
        (
            Silence::Total { sent: 1, timeout },
            "1 packet sent, none answered within 1s 500ms; check the address, the route and \
             any firewall",
        ),
        (
            Silence::Stopped {
                sent: 3,
                waited: timeout,
            },
            "3 packets sent, none answered before the run was stopped, 1.5 s after the last; \
             that may have been too early to tell",
        ),
        (
            Silence::Late { late: 2, timeout },
            "2 replies came, but all took longer than 1s 500ms; raise --timeout",
        ),
        (
            Silence::Invalid { datagrams: 1 },
            "1 datagram came back and none is a valid reply; is it a TWAMP-Light or STAMP \
             reflector in unauthenticated mode?",
        ),
    ] {
        assert_eq!(silence.to_string(), text);
    }
}

#[test]
fn one_way_delays_need_both_clocks_and_one_epoch() {
    let mut outcome = sample();
    assert_eq!(outcome.one_way_trusted(), Some(true));
    outcome.clock.synchronised = false;
    assert_eq!(outcome.one_way_trusted(), Some(false));
    outcome = sample();
    outcome.peer.synchronised -= 1;
    assert_eq!(outcome.one_way_trusted(), Some(false));
    outcome = sample();
    outcome.peer.ptp = 1;
    assert_eq!(outcome.one_way_trusted(), Some(false));
    outcome.peer.stamped = 0;
    assert_eq!(outcome.one_way_trusted(), None);
}

#[test]
fn the_errors_of_both_clocks_add_up() {
    let mut outcome = sample();
    let reflector = i64::try_from(outcome.peer.error_max.unwrap()).unwrap();
    let both = Nanos::from_nanos(250_000 + reflector);
    assert_eq!(outcome.one_way_error(), Some(both));
    outcome.peer.error_max = None;
    assert_eq!(outcome.one_way_error(), None);
}

#[test]
fn directions_need_numbers_of_the_reflectors_own_or_the_users_word() {
    let told = |forward, backward, undecided| {
        Some(Directions {
            forward,
            backward,
            undecided,
            restarts: 0,
        })
    };
    assert_eq!(
        sample().directions,
        None,
        "a stateless one sends the same numbers"
    );
    assert_eq!(
        sample_of("--stateful", |number| number).directions,
        told(0, 0, 1)
    );
    let ahead = |number| [0, 2, 3][number as usize];
    assert_eq!(sample_of("", ahead).directions, told(0, 1, 1));
}

#[test]
fn a_seed_is_shown_if_chance_had_a_part() {
    assert_eq!(sample().seed, None);
    let seed = sample_of("--padding random --seed 5", |number| number).seed;
    assert_eq!(seed, Some(Seed::new(5)));
}

#[test]
fn sessions_of_all_workers_are_in_order() {
    let finished = |sessions: usize, probes: u64| {
        let (mut departures, departed) = flight::open(8).unwrap();
        let terms = crate::measure::Terms {
            sessions,
            histograms: 0,
            timeout: Nanos::from_nanos(1_000),
            ttl: 255,
            numbering: Numbering::ALL,
        };
        let measurement = Measurement::new(terms, departed).unwrap();
        departures.announce(probes, Utc::from_nanos(0));
        measurement.finish(None)
    };
    let workers = vec![
        (Numbering { first: 1, step: 2 }, finished(2, 5)),
        (Numbering { first: 0, step: 2 }, finished(3, 4)),
    ];
    let (totals, sessions) = gather(workers, &[]);
    assert_eq!((totals.counts.sent, totals.counts.loss_run_max), (9, 3));
    let sent: Vec<_> = sessions
        .iter()
        .map(|each| (each.number, each.sent))
        .collect();
    assert_eq!(sent, [(0, 2), (1, 3), (2, 1), (3, 2), (4, 1)]);
}

#[test]
fn the_achieved_rate_is_that_between_first_and_last() {
    let rate = |packets, burst, seconds| {
        let burst = NonZeroU32::new(burst).unwrap();
        rate(packets, burst, Duration::from_secs(seconds))
    };
    assert_eq!(rate(101, 1, 10), Some(10.0));
    assert_eq!(rate(1, 1, 0), None);
    assert_eq!(rate(0, 1, 0), None);
    // Bursts of 50 every second: at 0, 1 and 2 s, the last of them whole or not.
    for packets in [101, 120, 150] {
        assert_eq!(rate(packets, 50, 2), Some(50.0), "{packets}");
    }
    assert_eq!(rate(50, 50, 1), None, "one burst has no rate");
    assert_eq!(rate(51, 50, 1), Some(50.0));
}
