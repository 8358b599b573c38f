//! Which rule a packet is answered by, and what each policy does to the reply's frame.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use reflector::datagram::Flow;
use reflector::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, Padding, Rule, SequencePolicy,
};
use testbed::frames::{CUSTOMER_TAG, Checksum, SERVICE_TAG};
use testbed::{Datagram, UdpFrame};
use wire::twamp::Reply;

use crate::rig::{Bench, Book, IFINDEX, LISTENER, RULE, meta_of, payload, v4, v6};

const STATEFUL: Rule = Rule {
    sequence: SequencePolicy::Stateful,
    ..RULE
};

/// A rule that shows in the reply which one it is.
fn marked(dscp: u8) -> Rule {
    Rule {
        dscp: DscpPolicy::Fixed(dscp),
        ..RULE
    }
}

fn dscp(reply: &[u8]) -> u8 {
    Datagram::parse(reply).unwrap().tos >> 2
}

#[test]
fn a_rule_is_the_one_that_was_matched_if_it_is_of_this_generation() {
    let frame = v4().payload(&payload(44)).build();
    let meta = meta_of(&frame).unwrap().to_bytes();
    let book = |generation| Book {
        generation,
        rules: HashMap::from([(LISTENER, marked(1)), (LISTENER + 1, marked(2))]),
        found: Some(marked(3)),
        ..Book::default()
    };
    let mut bench = Bench::new(0);
    bench.rules.store(Arc::new(book(0)));
    assert_eq!(dscp(&bench.exchange(&frame, &meta).unwrap()), 1);
    assert!(bench.rules.load().asked.lock().unwrap().is_empty());
    // Without metadata, and after a reload that the frame was in flight for: looked up.
    assert_eq!(dscp(&bench.exchange(&frame, &[]).unwrap()), 3);
    bench.rules.store(Arc::new(book(1)));
    assert_eq!(dscp(&bench.exchange(&frame, &meta).unwrap()), 3);
}

#[test]
fn a_packet_is_looked_up_by_interface_tags_and_both_ends() {
    let (from, to) = ("192.0.2.2:4000", "192.0.2.1:862");
    let (from6, to6) = ("[2001:db8::2]:4000", "[2001:db8::1]:862");
    let ends = |from: &str, to: &str| -> (SocketAddr, SocketAddr) {
        (from.parse().unwrap(), to.parse().unwrap())
    };
    let cases = [
        (v4(), ends(from, to), [0, 0]),
        (v4().vlan(CUSTOMER_TAG, 900), ends(from, to), [900, 0]),
        (
            v6().vlan(SERVICE_TAG, 7).vlan(CUSTOMER_TAG, 8),
            ends(from6, to6),
            [7, 8],
        ),
        // A priority tag names no VLAN.
        (v6().vlan(CUSTOMER_TAG, 0), ends(from6, to6), [0, 0]),
    ];
    for (frame, (source, destination), vlan_ids) in cases {
        let mut bench = Bench::new(0);
        let mut frame = frame.payload(&payload(44)).build();
        if vlan_ids != [0, 0] {
            frame[14] |= 0xa0;
        }
        bench.exchange(&frame, &[]).unwrap();
        let asked = bench.rules.load().asked.lock().unwrap().clone();
        let flow = Flow {
            vlan_ids,
            source,
            destination,
        };
        assert_eq!(asked, [(IFINDEX, flow)]);
    }
}

#[test]
fn dscp_and_ecn_go_by_rule() {
    const EF_CE: u8 = 0xbb;
    let cases = [
        (DscpPolicy::Copy, EcnPolicy::Clear, 0xb8),
        (DscpPolicy::Copy, EcnPolicy::Copy, 0xbb),
        (DscpPolicy::Fixed(0), EcnPolicy::Clear, 0),
        (DscpPolicy::Fixed(0), EcnPolicy::Copy, 3),
        (DscpPolicy::Fixed(63), EcnPolicy::Clear, 0xfc),
    ];
    for (dscp, ecn, expected) in cases {
        for frame in [v4(), v6(), v4().vlan(CUSTOMER_TAG, 5)] {
            let frame = frame.tos(EF_CE).payload(&payload(44)).build();
            let rule = Rule { dscp, ecn, ..RULE };
            let reply = Bench::by(rule).exchange(&frame, &[]).unwrap();
            let reply = Datagram::parse(&reply).unwrap();
            assert_eq!(reply.tos, expected, "{dscp:?} {ecn:?}");
        }
    }
}

/// RFC 7750 section 2.2: what arrived, whatever the reply is sent with.
#[test]
fn the_dscp_that_arrived_is_reported() {
    for frame in [v4(), v6()] {
        let frame = frame.tos(0xba).payload(&payload(60)).build();
        let rule = Rule {
            format: Format::TwampLightDscp(Padding::SameOffset),
            dscp: DscpPolicy::Fixed(8),
            ..RULE
        };
        let reply = Bench::by(rule).exchange(&frame, &[]).unwrap();
        let reply = Datagram::parse(&reply).unwrap();
        assert_eq!(reply.tos, 8 << 2);
        assert_eq!(reply.payload[41..44], [0xba, 0, 0]);
        assert_eq!(reply.payload[44..], payload(60)[44..]);
    }
}

#[test]
fn the_flow_label_goes_by_rule() {
    let mut frame = v6().tos(0x48).payload(&payload(44)).build();
    frame[15..18].copy_from_slice(&[0x8a, 0xbc, 0xde]);
    let reply = Bench::new(0).exchange(&frame, &[]).unwrap();
    assert_eq!(reply[14..18], [0x64, 0x8a, 0xbc, 0xde]);
    let zero = Rule {
        flow_label: FlowLabelPolicy::Zero,
        ..RULE
    };
    let reply = Bench::by(zero).exchange(&frame, &[]).unwrap();
    assert_eq!(reply[14..18], [0x64, 0x80, 0, 0]);
}

#[test]
fn tags_come_back_with_their_priority() {
    let one = v4().vlan(CUSTOMER_TAG, 900);
    let two = v6().vlan(SERVICE_TAG, 7).vlan(CUSTOMER_TAG, 8);
    for (frame, end) in [(one, 16), (two, 20)] {
        let mut frame = frame.payload(&payload(44)).build();
        // Priorities and drop eligibility.
        frame[14] |= 0xe0;
        frame[end - 2] |= 0x70;
        let reply = Bench::new(0).exchange(&frame, &[]).unwrap();
        assert_eq!(reply[12..end], frame[12..end]);
    }
}

#[test]
fn each_session_has_its_own_count() {
    let mut bench = Bench::by(Rule {
        format: Format::Stamp,
        ..STATEFUL
    });
    let numbers = |bench: &mut Bench, frame: &[u8]| -> Vec<u32> {
        (0..3)
            .map(|_| {
                let reply = bench.exchange(frame, &[]).unwrap();
                let reply = Datagram::parse(&reply).unwrap();
                Reply::parse(&reply.payload).unwrap().sequence()
            })
            .collect()
    };
    let of_port = |port: u16, ssid: u16| {
        let mut octets = payload(44);
        octets[14..16].copy_from_slice(&ssid.to_be_bytes());
        let from = format!("192.0.2.2:{port}").parse().unwrap();
        let frame = UdpFrame::v4(from, "192.0.2.1:862".parse().unwrap());
        frame.payload(&octets).build()
    };
    assert_eq!(numbers(&mut bench, &of_port(4000, 1)), [0, 1, 2]);
    assert_eq!(numbers(&mut bench, &of_port(4001, 1)), [0, 1, 2]);
    assert_eq!(numbers(&mut bench, &of_port(4000, 2)), [0, 1, 2]);
    assert_eq!(numbers(&mut bench, &of_port(4000, 1)), [3, 4, 5]);
    let counts = bench.sessions.next.lock().unwrap();
    let (listener, flow, ssid) = counts.keys().find(|(.., ssid)| *ssid == 2).unwrap();
    assert_eq!((*listener, *ssid), (LISTENER, 2));
    assert_eq!(flow.source, "192.0.2.2:4000".parse().unwrap());
    assert_eq!(flow.destination, "192.0.2.1:862".parse().unwrap());
}

/// Random padding must not open a session a packet.
#[test]
fn the_padding_of_a_light_sender_names_no_session() {
    let mut bench = Bench::by(Rule {
        format: Format::ByLength,
        ..STATEFUL
    });
    for first in 0..5 {
        let mut octets = payload(60);
        octets[14] = first;
        let frame = v4().payload(&octets).build();
        bench.exchange(&frame, &[]).unwrap();
    }
    let counts = bench.sessions.next.lock().unwrap();
    assert_eq!(counts.len(), 1);
    assert_eq!(counts.keys().next().unwrap().2, 0);
}

#[test]
fn a_batch_s_sessions_are_touched_before_they_count_if_there_are_many() {
    let mut bench = Bench::by(STATEFUL);
    let frames = [v4(), v6(), v4().vlan(CUSTOMER_TAG, 5)];
    let deliver = |bench: &mut Bench| {
        for frame in &frames {
            let frame = frame.clone().payload(&payload(44)).build();
            let meta = meta_of(&frame).unwrap().to_bytes();
            assert!(bench.kernel.deliver(&frame, &meta));
        }
        // What cannot be read has no session.
        assert!(bench.kernel.deliver(&[0; 60], &[]));
        bench.worker.turn();
        assert_eq!(bench.kernel.transmitted().len(), 3);
        bench.worker.turn();
        bench.assert_conserved();
    };
    deliver(&mut bench);
    assert!(bench.sessions.touched.lock().unwrap().is_empty());
    bench.sessions.large.store(true, Ordering::Relaxed);
    deliver(&mut bench);
    let touched = bench.sessions.touched.lock().unwrap();
    let counts = bench.sessions.next.lock().unwrap();
    assert_eq!(touched.len(), 3);
    assert!(touched.iter().all(|name| counts[name] == 2));
    assert_eq!(
        bench.counters.user_space_stamps.value(),
        2,
        "metadata was there to be read twice"
    );
}

/// Every format.
pub fn format() -> impl Strategy<Value = Format> {
    let padding = prop_oneof![
        Just(Padding::SameOffset),
        Just(Padding::Shift),
        Just(Padding::Zero)
    ];
    prop_oneof![
        Just(Format::ByLength),
        padding.clone().prop_map(Format::TwampLight),
        padding.prop_map(Format::TwampLightDscp),
        Just(Format::Stamp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever the format does to the payload: checksums are right, or absent as the request's was.
    #[test]
    fn every_format_s_checksums_are_right(
        format in format(),
        octets in prop::collection::vec(any::<u8>(), 14..300),
        shape in 0..4_u8,
        checksum in prop_oneof![
            Just(Checksum::Valid), Just(Checksum::Partial), Just(Checksum::Absent)
        ],
        meta: bool,
    ) {
        let rule = Rule { format, refuse_replies: false, ..RULE };
        let frame = match shape {
            0 => v4(),
            1 => v4().vlan(SERVICE_TAG, 7).vlan(CUSTOMER_TAG, 8),
            2 => v6(),
            _ => v6().vlan(CUSTOMER_TAG, 8),
        };
        prop_assume!(shape < 2 || checksum != Checksum::Absent);
        let frame = frame.payload(&octets).checksum(checksum).pad_to(60).build();
        let below = meta_of(&frame).unwrap().to_bytes();
        let reply = Bench::by(rule).exchange(&frame, if meta { &below } else { &[] });
        let reply = Datagram::parse(&reply.unwrap()).unwrap();
        if checksum == Checksum::Absent {
            prop_assert_eq!(reply.udp_checksum, 0);
        } else {
            prop_assert!(reply.udp_checksum_valid);
        }
        let header = match format {
            Format::TwampLight(_) => 41,
            Format::ByLength if octets.len() < 44 => 41,
            _ => 44,
        };
        prop_assert_eq!(reply.payload.len(), octets.len().max(header));
    }
}
