//! Who pays for a flood, and that the table of sources stays as it is.

use clap::Parser as _;
use ebpf::policer::{BitLimit, Limits as AllLimits};

use super::*;
use crate::args::Args;
use crate::listener::validate;

const SECOND: Duration = Duration::from_secs(1);

fn per_second(rate: u64) -> PacketLimit {
    PacketLimit::per_second(rate, SECOND).unwrap()
}

fn limits(source: Option<u64>, all: Option<u64>) -> Limits {
    Limits {
        source: source.map(|rate| SourceLimit {
            packets: per_second(rate),
            prefix: SourcePrefix { v4: 24, v6: 64 },
        }),
        all: AllLimits {
            packets: all.map(per_second),
            bits: None,
        },
    }
}

/// For listeners one of which limits its sources.
fn policer() -> Policer {
    let args = Args::try_parse_from(["reflector", "--interface=eth1", "--source-rate=1"]).unwrap();
    Policer::new(&validate(&args).unwrap())
}

fn charge(policer: &Policer, limits: &Limits, source: &str, now: Duration) -> Result<(), Exceeded> {
    policer.charge(0, limits, source.parse().unwrap(), 72, now)
}

fn passed(count: u32, mut charge: impl FnMut() -> Result<(), Exceeded>) -> usize {
    (0..count).filter(|_| charge().is_ok()).count()
}

#[test]
fn without_limits_everything_passes() {
    let policer = Policer::new(&[]);
    let count = passed(1000, || {
        charge(&policer, &Limits::default(), "192.0.2.1", SECOND)
    });
    assert_eq!(count, 1000);
    assert!(policer.sources.is_none(), "no table for nothing");
}

#[test]
fn what_a_source_is_refused_costs_the_others_nothing() {
    let policer = policer();
    let limits = limits(Some(10), Some(30));
    let flood = passed(1000, || charge(&policer, &limits, "192.0.2.1", SECOND));
    assert_eq!(flood, 11, "a second's worth and one");
    let refused = charge(&policer, &limits, "192.0.2.1", SECOND);
    assert_eq!(refused, Err(Exceeded::Source));
    assert_eq!(
        passed(11, || charge(&policer, &limits, "198.51.100.1", SECOND)),
        11
    );
    // Of the listener's 31 these have left 9.
    assert_eq!(
        passed(11, || charge(&policer, &limits, "203.0.113.1", SECOND)),
        9
    );
    let refused = charge(&policer, &limits, "10.0.0.1", SECOND);
    assert_eq!(refused, Err(Exceeded::Listener));
}

#[test]
fn buckets_are_empty_whenever_their_first_packet_comes() {
    // As time begins anew for buckets, after 2^64 ticks: they would lie ahead for 18 minutes.
    let turn = Duration::from_nanos(1 << 56);
    let limits = limits(Some(1), Some(3));
    for before in [600, 1, 0] {
        let now = turn.saturating_sub(before * SECOND);
        let policer = policer();
        let passed = ["192.0.2.1", "198.51.100.1", "203.0.113.1"]
            .map(|source| passed(10, || charge(&policer, &limits, source, now)));
        assert_eq!(passed, [2, 2, 0], "{now:?}");
    }
}

#[test]
fn a_prefix_is_one_source() {
    let policer = policer();
    let limits = limits(Some(1), None);
    let count = |sources: [&str; 3]| {
        let charge = |source: &&str| charge(&policer, &limits, source, SECOND).is_ok();
        sources.iter().filter(|source| charge(source)).count()
    };
    assert_eq!(count(["192.0.2.1", "192.0.2.2", "192.0.2.255"]), 2);
    assert_eq!(count(["192.0.3.1", "192.0.3.2", "192.0.4.3"]), 3);
    assert_eq!(
        count(["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1"]),
        2
    );
    assert_eq!(
        count(["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"]),
        3
    );
}

#[test]
fn lengths_of_prefixes_reach_from_all_to_one() {
    let mask =
        |source: &str, v4, v6| masked(source.parse().unwrap(), SourcePrefix { v4, v6 }).to_string();
    assert_eq!(mask("192.0.2.255", 32, 0), "192.0.2.255");
    assert_eq!(mask("192.0.2.255", 25, 0), "192.0.2.128");
    assert_eq!(mask("192.0.2.255", 0, 0), "0.0.0.0");
    assert_eq!(mask("2001:db8::ffff", 0, 128), "2001:db8::ffff");
    assert_eq!(mask("2001:db8::ffff", 0, 32), "2001:db8::");
    assert_eq!(mask("2001:db8::ffff", 0, 0), "::");
}

#[test]
fn listeners_have_buckets_of_their_own() {
    let policer = policer();
    let limits = limits(Some(1), Some(5));
    let source = "192.0.2.1".parse().unwrap();
    for listener in [0, 1, 4095] {
        let count = passed(100, || {
            policer.charge(listener, &limits, source, 72, SECOND)
        });
        assert_eq!(count, 2, "{listener}");
    }
}

#[test]
fn bits_are_limited_beside_packets() {
    let policer = policer();
    let limits = Limits {
        source: None,
        all: AllLimits {
            packets: None,
            bits: BitLimit::per_second(8000, SECOND).ok(),
        },
    };
    let source = "192.0.2.1".parse().unwrap();
    let at = |octets, now| policer.charge(0, &limits, source, octets, now);
    assert_eq!(
        passed(100, || at(500, SECOND)),
        3,
        "a second's worth and one"
    );
    assert_eq!(at(500, SECOND), Err(Exceeded::Listener));
    assert_eq!(at(500, 2 * SECOND), Ok(()));
}

#[test]
fn a_source_is_remembered_while_others_come_and_go() {
    let policer = policer();
    let limits = limits(Some(1), None);
    let mut now = SECOND;
    let mut well_behaved = 0;
    for second in 0..50_u32 {
        // Half as many others as there is room for, each second others.
        for other in 0..u32::try_from(SOURCES).unwrap() / 100 {
            let source = Ipv4Addr::from_bits(0x0b00_0000 + ((second * 1000 + other) << 8));
            assert_eq!(policer.charge(0, &limits, source.into(), 72, now), Ok(()));
        }
        well_behaved += passed(2, || charge(&policer, &limits, "192.0.2.1", now));
        now += SECOND;
    }
    assert_eq!(well_behaved, 51, "one each second, and the burst");
}

#[test]
fn more_sources_than_there_is_room_for_draw_on_the_listener() {
    let policer = policer();
    let limits = limits(Some(1), Some(1000));
    let sources = u32::try_from(SOURCES).unwrap() * 2;
    let passed = (0..sources)
        .map(|number| IpAddr::from(Ipv4Addr::from_bits(number << 8)))
        .filter(|source| policer.charge(0, &limits, *source, 72, SECOND).is_ok())
        .count();
    assert_eq!(passed, 1001);
}

#[test]
fn threads_that_race_share_one_limit() {
    let policer = policer();
    let limits = limits(Some(1000), None);
    let total: usize = std::thread::scope(|scope| {
        let race = || passed(2000, || charge(&policer, &limits, "192.0.2.1", SECOND));
        let racers: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(total, 1001);
}
