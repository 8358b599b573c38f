//! TWAMP-Light and STAMP: lengths, padding, SSID, and the vectors of the protocol reference.

use serde_json::Value;
use testbed::{Need, UdpFrame, skip_unless};

use crate::rig::{BOTH, Ip, PORT, Rig, built, counted, light, sequence, stamp};

/// A reply from 41 octets on is as long as its request, whatever the format; 44 where STAMP is.
const LENGTHS: [usize; 11] = [14, 15, 27, 40, 41, 42, 43, 44, 45, 100, 1450];

#[test]
fn padding_comes_back_the_same_shifted_or_as_zeros() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let reflector = rig.start(&[
        "port=900,format=twamp-light",
        "port=901,format=twamp-light,padding=same",
        "port=902,format=twamp-light,padding=shift",
        "port=903,format=twamp-light,padding=zero",
    ]);
    for ip in BOTH {
        for len in LENGTHS {
            let sent = light(len);
            let tail = len.saturating_sub(41);
            for (port, expected) in [
                (900, &sent[len - tail..]),
                (901, &sent[len - tail..]),
                (902, &sent[14..14 + tail]),
                (903, &vec![0; tail][..]),
            ] {
                let frame = rig.request(ip, 5000, port).payload(&sent).pad_to(60);
                let answer = rig.ask(&frame).datagram;
                assert_eq!(answer.payload.len(), len.max(41), "{len} octets to {port}");
                assert_eq!(&answer.payload[41..], expected, "{len} octets to {port}");
                assert_eq!(answer.payload[14..16], [0, 0], "must be zero");
                assert_eq!(answer.payload[24..38], sent[..14], "{len} octets to {port}");
                assert_eq!(answer.payload[38..40], [0, 0], "must be zero");
                assert!(answer.udp_checksum_valid, "{len} octets to {port}");
            }
        }
    }
    assert_eq!(reflector.stop().row("total"), [88, 88, 0]);
}

#[test]
fn the_length_tells_stamp_from_twamp_light() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let reflector = rig.start(&[
        "port=900",
        "port=901,format=by-length",
        "port=902,format=stamp",
    ]);
    for ip in BOTH {
        for len in LENGTHS {
            // As STAMP has it: an SSID, then zeros up to octet 44.
            let whole = [stamp(9, 0xbeef, &[]), light(len)].concat();
            let sent = &whole[..len];
            let ask = |port| {
                let frame = rig.request(ip, 5000, port).payload(sent).pad_to(60);
                rig.ask(&frame).datagram
            };
            for port in [900, 901] {
                let answer = ask(port);
                assert_eq!(answer.payload.len(), len.max(41), "{len} octets");
                let ssid = if len < 44 { [0, 0] } else { [0xbe, 0xef] };
                assert_eq!(answer.payload[14..16], ssid, "{len} octets");
                let zeros = &answer.payload[41..answer.payload.len().min(44)];
                assert_eq!(zeros, &[0; 3][..zeros.len()], "{len} octets");
            }
            // RFC 8762 section 4.6: exactly 44 for less.
            let answer = ask(902);
            assert_eq!(answer.payload.len(), len.max(44), "{len} octets");
            let ssid = if len < 16 { [0, 0] } else { [0xbe, 0xef] };
            assert_eq!(answer.payload[14..16], ssid, "{len} octets");
            assert_eq!(answer.payload[41..44], [0; 3], "must be zero");
            let beyond = sent.get(44..).unwrap_or_default();
            assert_eq!(&answer.payload[44..], beyond, "TLVs come back");
        }
    }
    assert_eq!(reflector.stop().row("total"), [66, 66, 0]);
}

#[test]
fn requests_shorter_than_their_reply_can_be_refused() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let reflector = rig.start(&[
        "port=900,short=refuse,format=twamp-light",
        "port=901,short=refuse,format=stamp",
        "port=902,short=refuse",
        "port=903,short=refuse,format=twamp-light,dscp-report=on",
    ]);
    let mut refused = 0;
    for ip in BOTH {
        for (port, least) in [(900, 41), (901, 44), (902, 41), (903, 44)] {
            let request = |len| {
                let frame = rig.request(ip, 5000, port).payload(&light(len));
                frame.pad_to(60)
            };
            let short = [14, 27, least - 1].map(request);
            rig.only_the_last_is_answered(&built(&short), &request(least));
            refused += 3;
            assert_eq!(
                rig.ask(&request(least + 1)).datagram.payload.len(),
                least + 1
            );
            // The slow path goes by the same rule.
            let slow = |len| request(len).ipv4_options(&[1; 4]).hop_by_hop();
            rig.only_the_last_is_answered(&built(&[slow(least - 1)]), &slow(least));
        }
    }
    let summary = reflector.stop();
    let reason = "payload shorter than its reply";
    assert_eq!(
        counted(&summary, "dropped by the reflector", reason),
        refused
    );
    assert_eq!(counted(&summary, "dropped after a UDP socket", reason), 8);
    assert_eq!(summary.row("total"), [16 + refused, 16, refused]);
    assert_eq!(summary.sockets(), [16, 8]);
}

fn file(text: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(text).unwrap();
    value["pairs"].as_array().unwrap().clone()
}

fn octets(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// Sends a vector's request, after as many others of its session as its reply's number says, and holds the
/// reply against the vector but for what the time of day makes of it.
fn replay(rig: &Rig, frame: &UdpFrame, request: &[u8], expected: &[u8], context: &str) {
    let frame = frame.clone().ttl(expected[40]).payload(request);
    for number in 0..sequence(expected) {
        if sequence(expected) != sequence(request) {
            assert_eq!(
                sequence(&rig.ask(&frame).datagram.payload),
                number,
                "{context}"
            );
        }
    }
    let answer = rig.ask(&frame).datagram;
    assert!(answer.udp_checksum_valid, "{context}");
    let mut got = answer.payload;
    assert_eq!(got.len(), expected.len(), "{context}");
    // T3 and its Error Estimate; T2.
    for time in [4..14, 16..24] {
        assert_ne!(got[time.clone()], vec![0; time.len()], "{context}");
        got[time.clone()].copy_from_slice(&expected[time]);
    }
    assert_eq!(got, expected, "{context}");
}

#[test]
fn the_stamp_vectors_come_back_as_they_should() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let formats = ["port=900,format=stamp", "port=901"];
    let listeners = formats.map(|format| format!("{format},sequence=stateful"));
    let _stateful = rig.start(&[
        &listeners[0],
        &listeners[1],
        "port=910,format=stamp",
        "port=911",
    ]);
    let mut replayed = 0;
    let pairs = file(include_str!("../../../wire/tests/vectors/stamp.json"));
    for pair in pairs.iter().filter(|pair| pair["authenticated"] == false) {
        let name = pair["name"].as_str().unwrap();
        let request = octets(&pair["sender"]);
        let mut expected = octets(&pair["reflector"]);
        // What follows the base packet is copied (RFC 8762 section 4.3): TLVs are not understood.
        expected.truncate(44);
        expected.extend(&request[44..]);
        let stateful = sequence(&request) != sequence(&expected);
        for (at, port) in [900, 901, 910, 911].into_iter().enumerate() {
            if stateful != (port < 910) {
                continue;
            }
            for (ip, base) in [(Ip::V4, 10_000), (Ip::V6, 20_000)] {
                let source_port = base + replayed * 4 + u16::try_from(at).unwrap();
                let frame = rig.request(ip, source_port, port);
                replay(
                    &rig,
                    &frame,
                    &request,
                    &expected,
                    &format!("{name} {ip:?} {port}"),
                );
            }
        }
        replayed += 1;
    }
    assert_eq!(replayed, 21);
}

#[test]
fn the_twamp_light_vectors_come_back_as_they_should() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let same = "format=twamp-light,padding=same";
    let shift = "format=twamp-light,padding=shift";
    let _reflector = rig.start(&[
        &format!("port=900,{shift}"),
        &format!("port=901,{same}"),
        &format!("port=902,{shift},dscp-report=on"),
        &format!("port=910,{shift},sequence=stateful"),
    ]);
    let pairs = file(include_str!(
        "../../../wire/tests/vectors/twamp_test_unauth.json"
    ));
    for (at, pair) in (0..).zip(&pairs) {
        let name = pair["name"].as_str().unwrap();
        let (request, expected) = (octets(&pair["sender"]), octets(&pair["reflector"]));
        let port = match name {
            _ if pair["stateful"] == true => 910,
            _ if name.contains("symmetrical size") => 901,
            _ if name.contains("RFC 7750") => 902,
            _ => 900,
        };
        for ip in BOTH {
            let frame = rig.request(ip, 5000 + at, port).tos(0xba);
            replay(&rig, &frame, &request, &expected, &format!("{name} {ip:?}"));
        }
    }
    assert_eq!(pairs.len(), 10);
}

#[test]
fn fourteen_octets_with_a_tag_or_without_get_a_whole_reply() {
    skip_unless!(Need::Xdp);
    let rig = Rig::new();
    let reflector = rig.start(&["vlan=100", "port=863,format=stamp"]);
    for ip in BOTH {
        let sent = light(14);
        let tagged = rig.request(ip, 5000, PORT).payload(&sent);
        let tagged = tagged.vlan(testbed::frames::CUSTOMER_TAG, 100).pad_to(60);
        let answer = rig.ask(&tagged);
        assert_eq!(answer.datagram.payload.len(), 41);
        assert_eq!(answer.datagram.vlan_ids, [100]);
        let headers = if ip == Ip::V4 { 18 + 28 } else { 18 + 48 };
        assert_eq!(
            answer.frame.len(),
            headers + 41,
            "no padding of the request is left"
        );
        let answer = rig.ask(&rig.request(ip, 5001, 863).payload(&sent).pad_to(60));
        assert_eq!(answer.datagram.payload.len(), 44);
        assert_eq!(answer.datagram.payload[24..38], sent);
    }
    assert_eq!(reflector.stop().row("total"), [4, 4, 0]);
}
