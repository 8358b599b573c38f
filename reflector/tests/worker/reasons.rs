//! Every reason not to answer, one by one, each with its counter.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reflector::datagram::Unanswered;
use reflector::rule::{Format, Rule, ShortPolicy};
use testbed::frames::{CUSTOMER_TAG, Checksum, SERVICE_TAG};
use testbed::{Datagram, UdpFrame};

use crate::rig::{Bench, Book, LISTENER, RULE, meta_of, payload, v4, v6};

/// A frame is dropped for this reason, with metadata and without, and nothing else happens.
fn assert_unanswered(frame: &[u8], reason: Unanswered) {
    let meta = meta_of(frame).map(|meta| meta.to_bytes());
    let with_meta = meta.iter().map(|meta| &meta[..]);
    for meta in with_meta.chain([&[][..]]) {
        assert_unanswered_by(&mut Bench::new(0), frame, meta, reason);
    }
}

fn assert_unanswered_by(bench: &mut Bench, frame: &[u8], meta: &[u8], reason: Unanswered) {
    assert_eq!(bench.exchange(frame, meta), None, "{reason:?}");
    for other in Unanswered::ALL {
        let expected = u64::from(other == reason);
        assert_eq!(bench.counters.unanswered(other), expected, "{other:?}");
    }
    assert_eq!(bench.counters.received.value(), 1);
}

fn good(frame: UdpFrame) -> UdpFrame {
    frame.payload(&payload(44))
}

/// A good frame with octets at an offset changed.
fn with_octets(frame: UdpFrame, at: usize, octets: &[u8]) -> Vec<u8> {
    let mut frame = good(frame).build();
    frame[at..at + octets.len()].copy_from_slice(octets);
    frame
}

#[test]
fn the_frames_that_are_changed_below_are_answered_as_they_are() {
    for frame in [v4(), v6()] {
        assert!(Bench::new(0).exchange(&good(frame).build(), &[]).is_some());
    }
}

#[test]
fn headers_that_are_cut_off() {
    for frame in [v4(), v6(), v4().vlan(CUSTOMER_TAG, 5)] {
        let whole = good(frame).build();
        for len in [14, 17, 30, whole.len() - 44 - 3, whole.len() - 1] {
            assert_unanswered(&whole[..len], Unanswered::Truncated);
        }
    }
}

#[test]
fn what_is_not_udp() {
    for protocol in [1, 6, 58] {
        // The protocol of IPv4, the next header of IPv6.
        assert_unanswered(&with_octets(v4(), 23, &[protocol]), Unanswered::NotUdp);
        assert_unanswered(&with_octets(v6(), 20, &[protocol]), Unanswered::NotUdp);
    }
    // ARP, and a third VLAN tag.
    assert_unanswered(&with_octets(v4(), 12, &[8, 6]), Unanswered::NotUdp);
    let tagged = v4()
        .vlan(SERVICE_TAG, 1)
        .vlan(SERVICE_TAG, 2)
        .vlan(CUSTOMER_TAG, 3);
    assert_unanswered(&good(tagged).build(), Unanswered::NotUdp);
}

#[test]
fn ip_headers_that_contradict_themselves() {
    // Version 5, a header of 16 octets, a total length below the header.
    assert_unanswered(&with_octets(v4(), 14, &[0x55]), Unanswered::IpHeader);
    assert_unanswered(&with_octets(v4(), 14, &[0x44]), Unanswered::IpHeader);
    assert_unanswered(&with_octets(v4(), 16, &[0, 19]), Unanswered::IpHeader);
    assert_unanswered(&with_octets(v6(), 14, &[0x40]), Unanswered::IpHeader);
}

#[test]
fn what_the_kernel_has_to_read() {
    let options = good(v4()).ipv4_options(&[1, 1, 1, 1]).build();
    assert_unanswered(&options, Unanswered::Options);
    assert_unanswered(&good(v6()).hop_by_hop().build(), Unanswered::Options);
    for (offset, more) in [(0, true), (8, false), (8, true)] {
        let fragment = good(v4()).fragment(offset, more).build();
        assert_unanswered(&fragment, Unanswered::Fragment);
        let fragment = good(v6()).fragment(offset, more).build();
        assert_unanswered(&fragment, Unanswered::Fragment);
    }
}

#[test]
fn udp_lengths_that_are_not_the_datagram_s() {
    for length in [0, 7, 51, 53, 9_000] {
        assert_unanswered(
            &good(v4()).udp_length(length).build(),
            Unanswered::UdpLength,
        );
        assert_unanswered(
            &good(v6()).udp_length(length).build(),
            Unanswered::UdpLength,
        );
    }
}

#[test]
fn metadata_that_speaks_of_another_frame() {
    let frame = good(v4()).build();
    let meta = meta_of(&frame).unwrap();
    let others = [
        ebpf::RxMeta {
            payload: 46,
            ..meta
        },
        ebpf::RxMeta {
            payload: 0,
            payload_len: 0,
            ..meta
        },
        ebpf::RxMeta {
            payload_len: 45,
            ..meta
        },
    ];
    for meta in others {
        let mut bench = Bench::new(0);
        assert_unanswered_by(&mut bench, &frame, &meta.to_bytes(), Unanswered::Metadata);
    }
}

#[test]
fn checksums_that_are_wrong_or_missing() {
    assert_unanswered(
        &good(v4()).wrong_ipv4_checksum().build(),
        Unanswered::Ipv4Checksum,
    );
    for frame in [v4(), v6()] {
        let wrong = good(frame).checksum(Checksum::Wrong).build();
        assert_unanswered(&wrong, Unanswered::UdpChecksum);
    }
    let none = good(v6()).checksum(Checksum::Absent).build();
    assert_unanswered(&none, Unanswered::NoUdpChecksum);
}

#[test]
fn sources_that_nobody_is() {
    let addresses = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
    ];
    for address in addresses {
        let from = format!("{address}:4000").parse().unwrap();
        let frame = good(UdpFrame::v4(from, "192.0.2.1:862".parse().unwrap()));
        assert_unanswered(&frame.build(), Unanswered::SourceAddress);
    }
    for address in ["::", "::1", "ff02::1", "::ffff:192.0.2.2"] {
        let from = format!("[{address}]:4000").parse().unwrap();
        let frame = good(UdpFrame::v6(from, "[2001:db8::1]:862".parse().unwrap()));
        assert_unanswered(&frame.build(), Unanswered::SourceAddress);
    }
    for last in ["1.0.0.1", "126.255.255.255", "128.0.0.1", "223.255.255.255"] {
        let from = format!("{last}:4000").parse().unwrap();
        let frame = good(UdpFrame::v4(from, "192.0.2.1:862".parse().unwrap()));
        assert!(Bench::new(0).exchange(&frame.build(), &[]).is_some());
    }
}

#[test]
fn source_ports_that_nobody_has() {
    let frame = UdpFrame::v4(
        "192.0.2.2:0".parse().unwrap(),
        "192.0.2.1:862".parse().unwrap(),
    );
    assert_unanswered(&good(frame).build(), Unanswered::SourcePort);
}

#[test]
fn stations_that_nobody_is() {
    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    for station in [[0xff; 6], [0; 6], [1, 0, 0x5e, 0, 0, 1], OWN] {
        let frame = good(v4()).macs(station, OWN).build();
        assert_unanswered(&frame, Unanswered::SourceStation);
    }
}

#[test]
fn packets_that_nobody_listens_for_any_more() {
    let frame = good(v4()).build();
    let mut bench = Bench::new(0);
    bench.rules.store(Arc::new(Book::default()));
    assert_unanswered_by(&mut bench, &frame, &[], Unanswered::NoListener);
    let mut bench = Bench::new(0);
    bench.rules.store(Arc::new(Book::default()));
    let meta = meta_of(&frame).unwrap().to_bytes();
    assert_unanswered_by(&mut bench, &frame, &meta, Unanswered::NoListener);
}

#[test]
fn packets_that_are_no_requests() {
    for len in [0, 1, 13] {
        let frame = v4().payload(&payload(len)).pad_to(60).build();
        assert_unanswered(&frame, Unanswered::TooShort);
    }
}

#[test]
fn requests_that_are_shorter_than_their_replies() {
    let cases = [
        (Format::ByLength, 40, 41),
        (Format::Stamp, 43, 44),
        (RULE.format, 14, 41),
    ];
    for (format, refused, answered) in cases {
        let rule = Rule {
            format,
            short: ShortPolicy::Refuse,
            ..RULE
        };
        let frame = v4().payload(&payload(refused)).pad_to(60).build();
        assert_unanswered_by(&mut Bench::by(rule), &frame, &[], Unanswered::ShortRefused);
        let frame = v4().payload(&payload(answered)).build();
        let reply = Bench::by(rule).exchange(&frame, &[]).unwrap();
        assert_eq!(reply.len(), frame.len());
    }
}

/// What a reflector sends is not answered by another, in either format, nor when it comes back as a
/// request of its own; unless the rule is told to.
#[test]
fn replies_of_reflectors() {
    let formats = [
        RULE,
        Rule {
            format: Format::Stamp,
            ..RULE
        },
        Rule {
            timestamps: wire::time::TimestampFormat::Ptp,
            ..RULE
        },
    ];
    for rule in formats {
        for len in [14, 44, 100] {
            let mut octets = payload(len);
            octets[4..12].copy_from_slice(&[9; 8]);
            let frame = v4().payload(&octets).pad_to(60).build();
            let reply = Bench::by(rule).exchange(&frame, &[]).unwrap();
            assert_unanswered(&reply, Unanswered::LooksLikeReply);

            let careless = Rule {
                refuse_replies: false,
                ..rule
            };
            let echo = Bench::by(careless).exchange(&reply, &[]).unwrap();
            assert!(Datagram::parse(&echo).unwrap().udp_checksum_valid);
        }
    }
}

#[test]
fn sessions_that_there_is_no_room_for() {
    let rule = Rule {
        sequence: reflector::rule::SequencePolicy::Stateful,
        ..RULE
    };
    let mut bench = Bench::by(rule);
    bench.sessions.full.store(true, Ordering::Relaxed);
    let frame = good(v4()).build();
    assert_unanswered_by(&mut bench, &frame, &[], Unanswered::SessionTableFull);
    bench.sessions.full.store(false, Ordering::Relaxed);
    assert!(bench.exchange(&frame, &[]).is_some());
    assert_eq!(rule.listener, LISTENER);
}

#[test]
fn every_reason_has_words_of_its_own() {
    let mut words: Vec<_> = Unanswered::ALL.map(Unanswered::meaning).to_vec();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Unanswered::ALL.len());
    for (at, reason) in Unanswered::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, at, "the order of the counters");
    }
}
