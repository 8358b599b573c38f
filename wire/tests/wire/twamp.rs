//! Unauthenticated packets: vectors, and what perfSONAR put on the wire.

use serde_json::Value;
use wire::error_estimate::ErrorEstimate;
use wire::time::TimestampFormat;
use wire::twamp::{
    LAX_REPLY_LEN, PaddingPolicy, REPLY_LEN, REQUEST_LEN, Reply, ReplyFields, ReplyFormat,
    ReplyHeader, Request, RequestFields, STAMP_LEN, TooShort, reply_len, write_reply,
    write_reply_as, write_request_timestamp, write_ssid, write_transmit,
};

use crate::vectors::{Vector, vectors};

fn file() -> Value {
    vectors!("twamp_test_unauth.json")
}

/// The reply to `request` in a buffer full of stale octets.
fn reflect(
    request: &[u8],
    fields: &ReplyFields,
    transmit: ([u8; 8], ErrorEstimate),
    format: ReplyFormat,
) -> Vec<u8> {
    let len = format.reply_len(request.len());
    let mut payload = [request, &[0xee; 64]].concat();
    write_reply_as(&mut payload, request.len(), fields, format).unwrap();
    write_transmit(&mut payload, transmit.0, transmit.1).unwrap();
    assert!(
        payload[len..].iter().all(|&octet| octet == 0xee),
        "nothing beyond the reply"
    );
    payload.truncate(len);
    payload
}

/// T2, sequence and TTL of a vector.
fn fields(case: &Value, ttl: &str) -> ReplyFields {
    ReplyFields {
        sequence: u32::try_from(case.int("reflector_seq")).unwrap(),
        receive_timestamp: case.array("T2"),
        sender_ttl: u8::try_from(case.int(ttl)).unwrap(),
    }
}

/// The padding policies that a pair's expected reply agrees with; `make_vectors.py` says which one
/// it applied, and all-zero padding does not tell them apart.
fn policies(name: &str) -> &'static [PaddingPolicy] {
    if name.contains("pseudo") || name.contains("truncat") || name.starts_with("stateful") {
        &[PaddingPolicy::Shift]
    } else if name.contains("symmetrical size") {
        &[PaddingPolicy::SameOffset]
    } else {
        &[PaddingPolicy::Shift, PaddingPolicy::SameOffset]
    }
}

#[test]
fn reflects_every_pair() {
    for pair in file().cases("pairs") {
        let name = pair.text("name");
        let request = pair.octets("sender");
        let expected = pair.octets("reflector");
        assert_eq!(
            i64::try_from(request.len()).unwrap(),
            pair.int("sender_len"),
            "{name}"
        );
        assert_eq!(
            i64::try_from(expected.len()).unwrap(),
            pair.int("reflector_len"),
            "{name}"
        );
        let header = if name.contains("RFC 7750") {
            ReplyHeader::LightDscp { tos: 0xba }
        } else {
            ReplyHeader::Light
        };
        for &padding in policies(name) {
            let format = ReplyFormat { header, padding };
            let transmit = (pair.array("T3"), ErrorEstimate::from_bits(0x8a64));
            let reply = reflect(&request, &fields(pair, "received_ttl"), transmit, format);
            assert_eq!(reply, expected, "{name}, {padding:?}");
        }
    }
}

#[test]
fn same_offset_copy_differs_from_shift_only_in_the_padding() {
    let mut told_apart = 0;
    for pair in file().cases("pairs") {
        let name = pair.text("name");
        let request = pair.octets("sender");
        let expected = pair.octets("reflector");
        if policies(name) != [PaddingPolicy::Shift] {
            continue;
        }
        let transmit = (pair.array("T3"), ErrorEstimate::from_bits(0x8a64));
        let format = ReplyFormat::default();
        let reply = reflect(&request, &fields(pair, "received_ttl"), transmit, format);
        assert_eq!(reply[..REPLY_LEN], expected[..REPLY_LEN], "{name}");
        assert_eq!(reply[REPLY_LEN..], request[REPLY_LEN..], "{name}");
        told_apart += usize::from(reply != expected);
    }
    assert_eq!(told_apart, 3);
}

#[test]
fn reads_every_pair() {
    for pair in file().cases("pairs") {
        let name = pair.text("name");
        let (sender, reflector) = (pair.octets("sender"), pair.octets("reflector"));
        let request = Request::parse(&sender).unwrap();
        let reply = Reply::parse(&reflector).unwrap();
        assert_eq!(
            reply.sequence(),
            fields(pair, "received_ttl").sequence,
            "{name}"
        );
        assert_eq!(
            reply.sequence() != request.sequence(),
            pair["stateful"] == true,
            "{name}"
        );
        assert_eq!(reply.timestamp(), pair.array("T3"), "{name}");
        assert_eq!(reply.error_estimate().to_bits(), 0x8a64, "{name}");
        assert_eq!(reply.receive_timestamp(), pair.array("T2"), "{name}");
        assert_eq!(reply.ssid(), 0, "{name}");
        assert_eq!(reply.sender_sequence(), request.sequence(), "{name}");
        assert_eq!(reply.sender_timestamp(), request.timestamp(), "{name}");
        assert_eq!(
            reply.sender_error_estimate(),
            request.error_estimate(),
            "{name}"
        );
        assert_eq!(
            reply.sender_ttl().map(i64::from),
            Some(pair.int("received_ttl")),
            "{name}"
        );
        assert_eq!(request.padding(), &sender[REQUEST_LEN..], "{name}");
        assert_eq!(reply.padding(), &reflector[REPLY_LEN..], "{name}");
        let z = request.error_estimate().format();
        assert_eq!(
            z == TimestampFormat::Ptp,
            name.starts_with("PTPv2"),
            "{name}"
        );
    }
}

#[test]
fn emits_what_it_reads() {
    for pair in file().cases("pairs") {
        let sender = pair.octets("sender");
        let request = Request::parse(&sender).unwrap();
        let fields = RequestFields {
            sequence: request.sequence(),
            timestamp: request.timestamp(),
            error_estimate: request.error_estimate(),
        };
        let mut emitted = [&[0xee; REQUEST_LEN], request.padding()].concat();
        fields.emit(&mut emitted).unwrap();
        assert_eq!(emitted, sender);
    }
}

#[test]
fn writes_single_fields_of_a_request_and_nothing_else() {
    let mut payload = [0xee; 17];
    write_request_timestamp(&mut payload, [1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    write_ssid(&mut payload, 0x0a0b).unwrap();
    let expected = b"\xee\xee\xee\xee\x01\x02\x03\x04\x05\x06\x07\x08\xee\xee\x0a\x0b\xee";
    assert_eq!(&payload, expected);
    let mut short = [0xee; 15];
    assert_eq!(
        write_ssid(&mut short, 1),
        Err(TooShort {
            needed: 16,
            len: 15
        })
    );
    assert_eq!(
        write_request_timestamp(&mut short[..13], [1; 8]),
        Err(TooShort {
            needed: 14,
            len: 13
        })
    );
    assert_eq!(short, [0xee; 15]);
}

#[test]
fn rejects_what_is_too_short_and_reflects_a_zero_multiplier() {
    let (mut dropped, mut reflected) = (0, 0);
    for reject in file().cases("rejects") {
        let name = reject.text("name");
        let request = reject.octets("sender");
        let fields = ReplyFields {
            sequence: 0,
            receive_timestamp: [0x22; 8],
            sender_ttl: 9,
        };
        let mut payload = [request.as_slice(), &[0xee; 64]].concat();
        if reject.text("action") == "drop" {
            let error = TooShort {
                needed: REQUEST_LEN,
                len: request.len(),
            };
            let before = payload.clone();
            assert_eq!(Request::parse(&request).unwrap_err(), error, "{name}");
            let written = write_reply(&mut payload, request.len(), &fields);
            assert_eq!(written.unwrap_err(), error, "{name}");
            assert_eq!(payload, before, "{name}");
            dropped += 1;
        } else {
            // Field practice: the copy of an invalid estimate harms nobody.
            assert!(
                !Request::parse(&request)
                    .unwrap()
                    .error_estimate()
                    .is_valid(),
                "{name}"
            );
            write_reply(&mut payload, request.len(), &fields).unwrap();
            let reply = Reply::parse(&payload).unwrap();
            assert_eq!(reply.sender_error_estimate().to_bits(), 0, "{name}");
            reflected += 1;
        }
    }
    assert_eq!((dropped, reflected), (2, 1));
}

#[test]
fn reproduces_the_replies_perfsonar_sent() {
    let capture = vectors!("capture_perfsonar_unauth.json");
    let packets = capture.cases("test_packets");
    assert_eq!(packets.len() % 2, 0);
    for pair in packets.chunks(2) {
        assert_eq!(
            (pair[0].text("dir"), pair[1].text("dir")),
            ("sender", "reflector")
        );
        let (request, captured) = (pair[0].octets("wire"), pair[1].octets("wire"));
        let theirs = Reply::parse(&captured).unwrap();
        let fields = ReplyFields {
            sequence: theirs.sequence(),
            receive_timestamp: theirs.receive_timestamp(),
            sender_ttl: theirs.sender_ttl().unwrap(),
        };
        assert_eq!(fields.sender_ttl, 255);
        let transmit = (theirs.timestamp(), theirs.error_estimate());
        let format = ReplyFormat {
            header: ReplyHeader::Light,
            padding: PaddingPolicy::Shift,
        };
        assert_eq!(reflect(&request, &fields, transmit, format), captured);

        let light = reflect(&request, &fields, transmit, ReplyFormat::default());
        assert_eq!(light.len(), captured.len());
        assert_eq!(light[..REPLY_LEN], captured[..REPLY_LEN]);
        assert_eq!(light[REPLY_LEN..], request[REPLY_LEN..]);
    }
}

/// As a STAMP reflector: the base of every unauthenticated packet, with its SSID and its count.
#[test]
fn answers_stamp_senders_as_a_stamp_reflector() {
    let mut base = 0;
    let stamp = vectors!("stamp.json");
    for pair in stamp.cases("pairs") {
        if pair["authenticated"] == true {
            continue;
        }
        let name = pair.text("name");
        let (request, expected) = (pair.octets("sender"), pair.octets("reflector"));
        let format = ReplyFormat {
            header: ReplyHeader::Stamp {
                ssid: Request::parse(&request).unwrap().ssid(),
            },
            padding: PaddingPolicy::SameOffset,
        };
        let transmit = (pair.array("T3"), ErrorEstimate::from_bits(0x8001));
        let reply = reflect(&request, &fields(pair, "ttl"), transmit, format);
        assert_eq!(reply[..STAMP_LEN], expected[..STAMP_LEN], "{name}");
        // Without knowledge of TLVs, what is beyond is copied (RFC 8762 section 4.3).
        assert_eq!(reply[STAMP_LEN..], request[STAMP_LEN..], "{name}");
        if name.starts_with("base") {
            assert_eq!(reply, expected, "{name}");
            base += 1;
        }
    }
    assert_eq!(base, 2);
}

/// A STAMP sender takes what a TWAMP Light reflector answers: the base packet with SSID 0.
#[test]
fn answers_stamp_senders_as_a_light_reflector() {
    let stamp = vectors!("stamp.json");
    let base: Vec<_> = stamp
        .cases("pairs")
        .iter()
        .filter(|pair| pair.text("name").starts_with("base unauthenticated"))
        .collect();
    assert_eq!(base.len(), 2);
    for pair in base {
        let name = pair.text("name");
        let mut expected = pair.octets("reflector");
        expected[14..16].fill(0);
        let transmit = (pair.array("T3"), ErrorEstimate::from_bits(0x8001));
        let request = pair.octets("sender");
        let reply = reflect(
            &request,
            &fields(pair, "ttl"),
            transmit,
            ReplyFormat::default(),
        );
        assert_eq!(reply, expected, "{name}");
    }
}

/// Where a STAMP reflector sends 44 octets to a Light sender, a Light reflector's reply is the same
/// but for the three octets that are padding to it.
#[test]
fn differs_from_a_stamp_reflector_only_in_three_octets() {
    for case in vectors!("stamp.json").cases("twamp_light_interop") {
        let name = case.text("name");
        let (request, stamp) = (case.octets("sender"), case.octets("reflector"));
        let theirs = Reply::parse(&stamp).unwrap();
        let fields = ReplyFields {
            sequence: theirs.sequence(),
            receive_timestamp: theirs.receive_timestamp(),
            sender_ttl: theirs.sender_ttl().unwrap(),
        };
        let transmit = (theirs.timestamp(), theirs.error_estimate());
        let reply = reflect(&request, &fields, transmit, ReplyFormat::default());
        assert_eq!(reply.len(), reply_len(request.len()), "{name}");
        assert_eq!(reply[..REPLY_LEN], stamp[..REPLY_LEN], "{name}");
        if request.len() > STAMP_LEN {
            assert_eq!(reply[STAMP_LEN..], stamp[STAMP_LEN..], "{name}");
        }
    }
}

#[test]
fn reads_the_base_of_every_unauthenticated_stamp_packet() {
    let mut read = 0;
    for pair in vectors!("stamp.json").cases("pairs") {
        if pair["authenticated"] == true {
            continue;
        }
        let name = pair.text("name");
        let (sender, reflector) = (pair.octets("sender"), pair.octets("reflector"));
        let request = Request::parse(&sender).unwrap();
        let reply = Reply::parse(&reflector).unwrap();
        assert_eq!(i64::from(request.sequence()), pair.int("seq"), "{name}");
        assert_eq!(
            i64::from(reply.sender_sequence()),
            pair.int("seq"),
            "{name}"
        );
        assert_eq!(
            i64::from(reply.sequence()),
            pair.int("reflector_seq"),
            "{name}"
        );
        assert_eq!(i64::from(reply.ssid()), pair.int("ssid"), "{name}");
        assert_eq!(
            reply.sender_ttl().map(i64::from),
            Some(pair.int("ttl")),
            "{name}"
        );
        assert_eq!(reply.receive_timestamp(), pair.array("T2"), "{name}");
        assert_eq!(reply.timestamp(), pair.array("T3"), "{name}");
        assert_eq!(reply.sender_timestamp(), request.timestamp(), "{name}");
        read += 1;
    }
    assert_eq!(read, 21);
}

/// twampy leaves out everything after the Sender Error Estimate.
#[test]
fn reads_replies_without_a_ttl() {
    let full: Vec<u8> = (0..41).collect();
    for len in 0..LAX_REPLY_LEN {
        let error = Reply::parse(&full[..len]).unwrap_err();
        assert_eq!(
            error,
            TooShort {
                needed: LAX_REPLY_LEN,
                len
            }
        );
    }
    for len in LAX_REPLY_LEN..REPLY_LEN {
        let reply = Reply::parse(&full[..len]).unwrap();
        assert_eq!(reply.sender_error_estimate().to_bits(), 0x2425);
        assert_eq!(reply.sender_ttl(), None, "{len} octets");
        assert!(reply.padding().is_empty());
    }
    assert_eq!(Reply::parse(&full).unwrap().sender_ttl(), Some(40));
}

#[test]
fn says_how_much_is_missing() {
    let error = Request::parse(&[0; 5]).unwrap_err();
    assert_eq!(error.to_string(), "5 octets where at least 14 are needed");
}
