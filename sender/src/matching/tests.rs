//! Datagrams that answer a probe, and those that only look like it.

use proptest::prelude::*;
use wire::error_estimate::ErrorEstimate;
use wire::time::{Nanos, NtpTimestamp, PtpTimestamp, TaiOffset, Utc};
use wire::twamp::{REPLY_LEN, ReplyFields, write_reply, write_ssid, write_transmit};

use super::*;
use crate::flight;
use crate::measure::{Finished, Reception, T4Source, Terms};
use crate::probe::{Padding, ProbeSpec, Ssid};
use crate::seed::Seed;

const T1: i64 = 1_700_000_000_000_000_000;
const SIZE: usize = 44;
const TTL: u8 = 255;
const TAI_UTC: TaiOffset = TaiOffset::from_seconds(37);

/// Two sessions that have sent two probes each, a millisecond apart, and what they look like.
struct Scene {
    matcher: Matcher,
    measurement: Measurement,
}

/// T1 of a probe.
fn t1(session: usize, number: u32) -> Utc {
    let probe = i64::from(number) * 2 + i64::try_from(session).unwrap();
    Utc::from_nanos(T1 + 1_000_000 * probe)
}

impl Scene {
    fn new(spec: &ProbeSpec, format: StampFormat) -> Self {
        let numbering = Numbering { first: 5, step: 3 };
        let (mut departures, departed) = flight::open(16).unwrap();
        let terms = Terms {
            sessions: 2,
            histograms: 0,
            timeout: Nanos::from_nanos(10_000_000),
            ttl: TTL,
            numbering,
        };
        let mut measurement = Measurement::new(terms, departed).unwrap();
        for number in 0..2 {
            for session in 0..2 {
                departures.announce(1, t1(session, number));
            }
        }
        measurement.notice();
        Self {
            matcher: Matcher {
                format,
                probe: Probe::new(spec),
                reports_tos: false,
                numbering,
            },
            measurement,
        }
    }

    /// Probes of a TWAMP-Light sender.
    fn light() -> Self {
        Self::new(&light(), StampFormat::Ntp)
    }

    /// Probes of a STAMP sender whose first session has this identifier.
    fn stamp(ssid: u16) -> Self {
        let spec = ProbeSpec {
            ssid: Ssid::new(ssid),
            ..light()
        };
        Self::new(&spec, StampFormat::Ntp)
    }

    /// A probe as it left.
    fn probe(&mut self, session: usize, number: u32) -> Vec<u8> {
        let stamp = self.matcher.format.encode(t1(session, number));
        let estimate = ErrorEstimate::from_nanos(0, false, self.matcher.format.wire());
        let global = self.matcher.numbering.global(session);
        self.matcher
            .probe
            .write(global, number, stamp, estimate)
            .to_vec()
    }

    /// A reply to it from a reflector that stamps in NTP format, 1 and 2 µs after T1.
    fn reply(&mut self, session: usize, number: u32) -> Vec<u8> {
        let after = |nanos| {
            let time = t1(session, number) + Nanos::from_nanos(nanos);
            NtpTimestamp::from_utc(time).to_bytes()
        };
        let mut octets = self.probe(session, number);
        let len = octets.len();
        octets.resize(len.max(REPLY_LEN), 0);
        let fields = ReplyFields {
            sequence: number,
            receive_timestamp: after(1_000),
            sender_ttl: TTL - 3,
        };
        write_reply(&mut octets, len, &fields).unwrap();
        write_transmit(&mut octets, after(2_000), ErrorEstimate::from_bits(0x8001)).unwrap();
        octets
    }

    /// Judges a datagram that came to `session`, 5 µs after the T1 of its probe `number`.
    fn judge(&mut self, session: usize, number: u32, octets: &[u8]) -> Option<Verdict> {
        let datagram = Datagram {
            session,
            head: octets,
            len: octets.len(),
            reception: Reception {
                t4: t1(session, number) + Nanos::from_nanos(5_000),
                source: T4Source::Kernel,
            },
            ttl: Some(250),
            tos: Some(0xb8),
        };
        self.matcher.judge(&mut self.measurement, &datagram, None)
    }

    fn finish(self) -> Finished {
        self.measurement.finish(None)
    }
}

fn light() -> ProbeSpec {
    ProbeSpec {
        size: SIZE,
        padding: Padding::Zero,
        ssid: None,
    }
}

fn received(round_trip: i64) -> Verdict {
    let round_trip = Nanos::from_nanos(round_trip);
    Verdict::Received { round_trip }
}

#[test]
fn a_reply_is_measured_with_all_it_tells() {
    let mut scene = Scene::light();
    let reply = scene.reply(1, 1);
    assert_eq!(scene.judge(1, 1, &reply), Some(received(4_000)));
    let Finished {
        totals, sessions, ..
    } = scene.finish();
    assert_eq!(sessions[1].counts().received, 1);
    assert_eq!(totals.residence.summary().unwrap().min.nanos(), 1_000);
    assert!(totals.headers.hops_forward.iter().eq([(3, 1)]));
    assert!(totals.headers.hops_backward.iter().eq([(5, 1)]));
    assert!(totals.headers.tos_backward.iter().eq([(0xb8, 1)]));
    assert_eq!((totals.peer.stamped, totals.peer.ssid_missing), (1, 0));
}

#[test]
fn a_reply_to_another_probe_or_session_is_invalid() {
    let mut scene = Scene::light();
    let reply = scene.reply(0, 1);
    assert_eq!(scene.judge(1, 1, &reply), None, "session 1 sent another T1");
    assert_eq!(scene.judge(7, 1, &reply), None, "no such session");
    let mut other_number = reply.clone();
    other_number[27] = 0;
    assert_eq!(
        scene.judge(0, 1, &other_number),
        None,
        "that probe had another T1"
    );
    other_number[27] = 2;
    assert_eq!(scene.judge(0, 1, &other_number), None, "not sent yet");
    let mut other_t1 = reply.clone();
    other_t1[35] ^= 1;
    assert_eq!(scene.judge(0, 1, &other_t1), None);
    assert_eq!(scene.judge(0, 1, &reply), Some(received(4_000)));
    let counts = scene.finish().totals.counts;
    assert_eq!((counts.received, counts.invalid), (1, 5));
}

#[test]
fn the_octet_after_the_sender_ttl_is_a_tos_only_where_that_was_agreed() {
    for agreed in [false, true] {
        let mut scene = Scene::light();
        scene.matcher.reports_tos = agreed;
        let mut reply = scene.reply(0, 0);
        reply[REPLY_LEN] = 0x2e;
        assert_eq!(scene.judge(0, 0, &reply), Some(received(4_000)));
        reply = scene.reply(0, 1);
        reply.truncate(REPLY_LEN);
        assert_eq!(
            scene.judge(0, 1, &reply),
            Some(received(4_000)),
            "it may be missing"
        );
        let told = scene.finish().totals.headers.tos_forward;
        let expected: &[(u8, u64)] = if agreed { &[(0x2e, 1)] } else { &[] };
        assert!(told.iter().eq(expected.iter().copied()), "{agreed}");
    }
}

#[test]
fn an_unchanged_probe_is_an_echo() {
    for padding in [Padding::Zero, Padding::Random(Seed::new(7))] {
        for size in [14, 40, 44, 100] {
            let spec = ProbeSpec {
                size,
                padding,
                ssid: None,
            };
            let mut scene = Scene::new(&spec, StampFormat::Ntp);
            let mut probe = scene.probe(0, 1);
            assert_eq!(scene.judge(0, 1, &probe), Some(received(5_000)), "{spec:?}");
            assert_eq!(scene.judge(0, 1, &probe), Some(Verdict::Duplicate));
            if let Some(last) = probe.get_mut(14..).and_then(<[u8]>::last_mut) {
                *last ^= 1;
                assert_eq!(scene.judge(0, 1, &probe), None, "{spec:?}");
            }
            let Finished { totals, .. } = scene.finish();
            assert_eq!(totals.peer.echo_only, 1);
            assert_eq!(
                totals.headers.hops_forward.total(),
                0,
                "it tells no Sender TTL"
            );
        }
    }
}

#[test]
fn a_stamp_reply_carries_the_identifier_of_its_session() {
    // Sessions 5 and 8 of the run.
    for (session, ssid) in [(0, 105), (1, 108)] {
        let mut scene = Scene::stamp(100);
        let mut reply = scene.reply(session, 0);
        write_ssid(&mut reply, ssid).unwrap();
        assert_eq!(scene.judge(session, 0, &reply), Some(received(4_000)));
        write_ssid(&mut reply, ssid + 1).unwrap();
        assert_eq!(scene.judge(session, 0, &reply), None, "somebody else's");
        assert_eq!(scene.finish().totals.peer.ssid_missing, 0);
    }
}

#[test]
fn a_reflector_that_knows_no_identifiers_is_measured_and_noted() {
    let mut scene = Scene::stamp(100);
    let mut reply = scene.reply(0, 0);
    write_ssid(&mut reply, 0).unwrap();
    assert_eq!(scene.judge(0, 0, &reply), Some(received(4_000)));
    assert_eq!(scene.finish().totals.peer.ssid_missing, 1);
}

#[test]
fn without_stamp_the_octets_of_the_identifier_are_zero_or_whatever_the_peer_likes() {
    let mut scene = Scene::light();
    let mut reply = scene.reply(0, 0);
    write_ssid(&mut reply, 0xffff).unwrap();
    assert_eq!(scene.judge(0, 0, &reply), Some(received(4_000)));
    assert_eq!(scene.finish().totals.peer.ssid_missing, 0);
}

#[test]
fn a_stamp_probe_sent_back_unchanged_is_an_echo() {
    let mut scene = Scene::stamp(100);
    let probe = scene.probe(1, 0);
    assert_eq!(probe[14..16], 108u16.to_be_bytes());
    assert_eq!(scene.judge(1, 0, &probe), Some(received(5_000)));
    let peer = scene.finish().totals.peer;
    assert_eq!((peer.echo_only, peer.ssid_missing), (1, 0));
}

#[test]
fn our_t1_in_ptp_format_is_recognised_whatever_the_reflector_stamps_in() {
    let mut scene = Scene::new(&light(), StampFormat::Ptp(TAI_UTC));
    let reply = scene.reply(0, 0);
    let echo = PtpTimestamp::from_tai(t1(0, 0).to_tai(TAI_UTC)).to_bytes();
    assert_eq!(reply[28..36], echo);
    assert_eq!(
        scene.judge(0, 0, &reply),
        Some(received(4_000)),
        "NTP there"
    );

    let mut reply = scene.reply(0, 1);
    let stamp = |nanos| {
        let time = t1(0, 1) + Nanos::from_nanos(nanos);
        PtpTimestamp::from_tai(time.to_tai(TAI_UTC)).to_bytes()
    };
    reply[16..24].copy_from_slice(&stamp(1_000));
    write_transmit(&mut reply, stamp(2_000), ErrorEstimate::from_bits(0xc001)).unwrap();
    assert_eq!(
        scene.judge(0, 1, &reply),
        Some(received(4_000)),
        "PTP there"
    );
    let echo = scene.probe(1, 0);
    assert_eq!(scene.judge(1, 0, &echo), Some(received(5_000)), "an echo");

    let totals = scene.finish().totals;
    assert_eq!(
        (totals.peer.stamped, totals.peer.ptp, totals.peer.echo_only),
        (2, 1, 1)
    );
    let forward = totals.forward.summary().unwrap();
    assert_eq!(forward.min.nanos(), 1_000, "both on UTC, up to TAI-UTC");
    assert_eq!(forward.max.nanos(), 37_000_001_000);
}

#[test]
fn a_ptp_stamp_that_is_none_makes_the_reply_invalid() {
    let mut scene = Scene::light();
    let mut reply = scene.reply(0, 0);
    let bad = [0x65, 0, 0, 0, 0x3b, 0x9a, 0xca, 0x00];
    write_transmit(&mut reply, bad, ErrorEstimate::from_bits(0x4001)).unwrap();
    assert_eq!(scene.judge(0, 0, &reply), None);
}

proptest! {
    /// Whatever comes in is measured or counted as invalid, never both and never a panic.
    #[test]
    fn any_datagram_is_a_reply_or_invalid(
        noise in prop::collection::vec(any::<u8>(), 0..160),
        // A true reply with a few octets changed, cut anywhere.
        changes in prop::option::of((
            prop::collection::vec((0usize..SIZE, any::<u8>()), 0..4),
            0usize..=SIZE,
        )),
        ssid in any::<u16>(),
    ) {
        let mut scene = Scene::stamp(ssid);
        let true_reply = scene.reply(0, 1);
        let octets = match changes {
            None => noise,
            Some((changes, len)) => {
                let mut octets = true_reply.clone();
                for (at, value) in changes {
                    octets[at] = value;
                }
                octets.truncate(len);
                octets
            }
        };
        let verdict = scene.judge(0, 1, &octets);
        let counts = scene.measurement.counts();
        prop_assert_eq!(counts.received + counts.late + counts.invalid, 1);
        prop_assert_eq!(verdict.is_none(), counts.invalid == 1);
        if verdict.is_some() {
            prop_assert!(octets.len() >= 38);
            prop_assert_eq!(&octets[24..36], &true_reply[24..36], "number and T1 are the probe's");
        }
    }
}
