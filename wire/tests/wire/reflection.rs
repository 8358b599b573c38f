//! Reflection in place against a model that writes the reply field by field into a new vector.

use proptest::collection::vec;
use proptest::prelude::*;
use wire::error_estimate::ErrorEstimate;
use wire::twamp::{
    PaddingPolicy, Reply, ReplyFields, ReplyFormat, ReplyHeader, Request, RequestFields, TooShort,
    is_stamp_request, looks_like_reply, reply_len, transmit_sum, write_reply, write_reply_as,
    write_transmit,
};

use crate::checksum::naive;

/// RFC 5357 section 4.2.1, RFC 6038 section 4, RFC 7750 section 2, RFC 8762 section 4.3.1 with the
/// SSID of RFC 8972 section 3, top to bottom.
fn model(
    request: &[u8],
    fields: &ReplyFields,
    transmit: [u8; 8],
    estimate: ErrorEstimate,
    format: ReplyFormat,
) -> Vec<u8> {
    let mut reply = Vec::new();
    reply.extend(fields.sequence.to_be_bytes());
    reply.extend(transmit);
    reply.extend(estimate.to_bits().to_be_bytes());
    reply.extend(match format.header {
        ReplyHeader::Stamp { ssid } => ssid.to_be_bytes(),
        _ => [0; 2],
    });
    reply.extend(fields.receive_timestamp);
    reply.extend(&request[0..4]);
    reply.extend(&request[4..12]);
    reply.extend(&request[12..14]);
    reply.extend([0; 2]);
    reply.push(fields.sender_ttl);
    match format.header {
        ReplyHeader::Light => {}
        ReplyHeader::LightDscp { tos } => reply.extend([tos, 0, 0]),
        ReplyHeader::Stamp { .. } => reply.extend([0; 3]),
    }
    let padding = match format.padding {
        PaddingPolicy::SameOffset => request.get(reply.len()..).unwrap_or_default(),
        PaddingPolicy::Shift => {
            let dropped = reply.len() - 14;
            let padding = &request[14..];
            &padding[..padding.len().saturating_sub(dropped)]
        }
        PaddingPolicy::Zero => &vec![0; request.len().saturating_sub(reply.len())],
    };
    reply.extend(padding);
    reply
}

fn reply_fields() -> impl Strategy<Value = ReplyFields> {
    any::<(u32, [u8; 8], u8)>().prop_map(|(sequence, receive_timestamp, sender_ttl)| ReplyFields {
        sequence,
        receive_timestamp,
        sender_ttl,
    })
}

pub fn reply_format() -> impl Strategy<Value = ReplyFormat> {
    let header = prop_oneof![
        Just(ReplyHeader::Light),
        any::<u8>().prop_map(|tos| ReplyHeader::LightDscp { tos }),
        any::<u16>().prop_map(|ssid| ReplyHeader::Stamp { ssid }),
    ];
    let padding = prop_oneof![
        Just(PaddingPolicy::SameOffset),
        Just(PaddingPolicy::Shift),
        Just(PaddingPolicy::Zero),
    ];
    (header, padding).prop_map(|(header, padding)| ReplyFormat { header, padding })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn equals_the_model(
        buffer in vec(any::<u8>(), 0..140),
        request_len in 0_usize..140,
        fields in reply_fields(),
        transmit: [u8; 8],
        estimate: u16,
        format in reply_format(),
    ) {
        let estimate = ErrorEstimate::from_bits(estimate);
        let mut payload = buffer.clone();
        let written = write_reply_as(&mut payload, request_len, &fields, format);
        let needed = format.reply_len(request_len);
        if request_len < 14 {
            prop_assert_eq!(written.unwrap_err(), TooShort { needed: 14, len: request_len });
            prop_assert_eq!(payload, buffer);
        } else if buffer.len() < needed {
            prop_assert_eq!(written.unwrap_err(), TooShort { needed, len: buffer.len() });
            prop_assert_eq!(payload, buffer);
        } else {
            write_transmit(&mut payload, transmit, estimate).unwrap();
            let all = written.unwrap().plus(transmit_sum(transmit, estimate));
            prop_assert_eq!(all.fold(), naive(&payload[..needed.min(44)]));
            let expected = model(&buffer[..request_len], &fields, transmit, estimate, format);
            prop_assert_eq!(expected.len(), needed);
            prop_assert_eq!(&payload[..needed], &expected);
            prop_assert_eq!(&payload[needed..], &buffer[needed..]);
        }
    }

    #[test]
    fn the_default_is_the_light_reflector(
        request in vec(any::<u8>(), 14..140), fields in reply_fields(),
    ) {
        let request_len = request.len();
        let buffer = [request, vec![0xee; 27]].concat();
        let (mut plain, mut by_format) = (buffer.clone(), buffer);
        let format = ReplyFormat {
            header: ReplyHeader::Light,
            padding: PaddingPolicy::SameOffset,
        };
        write_reply(&mut plain, request_len, &fields).unwrap();
        write_reply_as(&mut by_format, request_len, &fields, format).unwrap();
        prop_assert_eq!(plain, by_format);
        prop_assert_eq!(reply_len(request_len), format.reply_len(request_len));
        prop_assert_eq!(reply_len(request_len), request_len.max(41));
    }

    #[test]
    fn writing_t3_leaves_the_rest_alone(
        buffer in vec(any::<u8>(), 0..60), transmit: [u8; 8], estimate: u16,
    ) {
        let mut payload = buffer.clone();
        let written = write_transmit(&mut payload, transmit, ErrorEstimate::from_bits(estimate));
        if buffer.len() < 14 {
            prop_assert_eq!(written, Err(TooShort { needed: 14, len: buffer.len() }));
            prop_assert_eq!(payload, buffer);
        } else {
            let estimate = estimate.to_be_bytes();
            let expected = [&buffer[..4], &transmit, &estimate, &buffer[14..]].concat();
            prop_assert_eq!(payload, expected);
        }
    }

    #[test]
    fn a_request_comes_back_as_it_was_sent(
        sequence: u32,
        timestamp: [u8; 8],
        estimate: u16,
        padding in vec(any::<u8>(), 0..100),
        fields in reply_fields(),
    ) {
        let sent = RequestFields {
            sequence,
            timestamp,
            error_estimate: ErrorEstimate::from_bits(estimate),
        };
        let mut payload = [&[0; 14], padding.as_slice()].concat();
        sent.emit(&mut payload).unwrap();
        let request = Request::parse(&payload).unwrap();
        prop_assert_eq!(request.sequence(), sequence);
        prop_assert_eq!(request.timestamp(), timestamp);
        prop_assert_eq!(request.error_estimate(), sent.error_estimate);
        prop_assert_eq!(request.padding(), &padding);
        let ssid = padding.first_chunk().map_or(0, |&ssid| u16::from_be_bytes(ssid));
        prop_assert_eq!(request.ssid(), ssid);

        let len = payload.len();
        payload.resize(reply_len(len), 0xee);
        write_reply(&mut payload, len, &fields).unwrap();
        let reply = Reply::parse(&payload).unwrap();
        prop_assert_eq!(reply.sender_sequence(), sequence);
        prop_assert_eq!(reply.sender_timestamp(), timestamp);
        prop_assert_eq!(reply.sender_error_estimate(), sent.error_estimate);
        prop_assert_eq!(reply.sequence(), fields.sequence);
        prop_assert_eq!(reply.receive_timestamp(), fields.receive_timestamp);
        prop_assert_eq!(reply.sender_ttl(), Some(fields.sender_ttl));
        prop_assert_eq!(reply.ssid(), 0);
    }

    #[test]
    fn emitting_needs_14_octets(buffer in vec(any::<u8>(), 0..14)) {
        let mut payload = buffer.clone();
        let fields = RequestFields {
            sequence: 1,
            timestamp: [2; 8],
            error_estimate: ErrorEstimate::from_bits(3),
        };
        let error = TooShort { needed: 14, len: buffer.len() };
        prop_assert_eq!(fields.emit(&mut payload), Err(error));
        prop_assert_eq!(payload, buffer);
    }
}

/// What [`looks_like_reply`] is to say, in numbers that neither wrap nor truncate: `T3 - T2` in
/// nanoseconds is from 0 to less than 10 s, and no stamp is zero.
fn is_dwell(t2: u64, t3: u64) -> bool {
    (0..10_000_000_000).contains(&(i128::from(t3) - i128::from(t2)))
}

/// A reply with these three stamps.
fn with_stamps(t1: u64, t2: u64, t3: u64) -> [u8; 41] {
    let mut payload = [0; 41];
    payload[4..12].copy_from_slice(&t3.to_be_bytes());
    payload[16..24].copy_from_slice(&t2.to_be_bytes());
    payload[28..36].copy_from_slice(&t1.to_be_bytes());
    payload
}

/// Nanoseconds around a point that make differences near 0, near 10 s and far off.
fn dwell() -> impl Strategy<Value = i64> {
    prop_oneof![
        -3_000_000_000_i64..14_000_000_000,
        9_999_999_990_i64..10_000_000_010,
        -10_i64..10,
        (-900_000_000_i64..900_000_000).prop_map(|seconds| seconds * 1_000_000_000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_reply_is_told_by_its_stamps_in_either_format(
        t2 in 1_000_000_000_000_000_000_u64..2_000_000_000_000_000_000, dwell in dwell(), ptp: bool,
    ) {
        let t3 = t2.checked_add_signed(dwell).unwrap();
        let bits = |nanos: u64| {
            let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
            let low = if ptp { rest } else { ((rest << 32) + 500_000_000) / 1_000_000_000 };
            (seconds << 32) | low
        };
        let payload = with_stamps(1, bits(t2), bits(t3));
        prop_assert_eq!(looks_like_reply(&payload), is_dwell(t2, t3));
        for len in 0..38 {
            prop_assert!(!looks_like_reply(&payload[..len]), "{} octets", len);
        }
        prop_assert_eq!(looks_like_reply(&payload[..38]), is_dwell(t2, t3));
    }

    #[test]
    fn a_stamp_request_is_told_by_its_zeros(
        mut payload in vec(any::<u8>(), 0..60), zero in any::<bool>(), spoilt in 16_usize..44,
    ) {
        if zero && let Some(mbz) = payload.get_mut(16..) {
            let end = mbz.len().min(28);
            mbz[..end].fill(0);
        }
        let is = payload.len() >= 44 && payload[16..44].iter().all(|&octet| octet == 0);
        prop_assert_eq!(is_stamp_request(&payload), is);
        if is {
            payload[spoilt] = 1;
            prop_assert!(!is_stamp_request(&payload));
        }
    }
}

#[test]
fn a_stamp_that_is_zero_makes_no_reply() {
    const T: u64 = 0xe8fe_6f80_0000_0001;
    assert!(looks_like_reply(&with_stamps(1, T, T)));
    assert!(!looks_like_reply(&with_stamps(0, T, T)));
    assert!(!looks_like_reply(&with_stamps(1, 0, 1)));
    assert!(!looks_like_reply(&with_stamps(1, u64::MAX, 0)));
}

#[test]
fn a_reply_across_the_wrap_of_seconds_is_still_one() {
    assert!(looks_like_reply(&with_stamps(1, u64::MAX, 1)));
    assert!(!looks_like_reply(&with_stamps(1, 1, u64::MAX)));
}
