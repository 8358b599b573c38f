//! Reflection in place against a model that writes the reply field by field into a new vector.

use proptest::collection::vec;
use proptest::prelude::*;
use wire::error_estimate::ErrorEstimate;
use wire::twamp::{
    PaddingPolicy, Reply, ReplyFields, ReplyFormat, Request, RequestFields, TooShort, reply_len,
    write_reply, write_reply_as, write_transmit,
};

/// RFC 5357 section 4.2.1, RFC 6038 section 4, RFC 7750 section 2, top to bottom.
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
    reply.extend([0; 2]);
    reply.extend(fields.receive_timestamp);
    reply.extend(&request[0..4]);
    reply.extend(&request[4..12]);
    reply.extend(&request[12..14]);
    reply.extend([0; 2]);
    reply.push(fields.sender_ttl);
    if let Some(tos) = format.s_dscp_ecn {
        reply.push(tos);
        reply.extend([0; 2]);
    }
    let padding = match format.padding {
        PaddingPolicy::SameOffset => request.get(reply.len()..).unwrap_or_default(),
        PaddingPolicy::Shift => {
            let dropped = reply.len() - 14;
            let padding = &request[14..];
            &padding[..padding.len().saturating_sub(dropped)]
        }
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

fn reply_format() -> impl Strategy<Value = ReplyFormat> {
    let padding = prop_oneof![Just(PaddingPolicy::SameOffset), Just(PaddingPolicy::Shift)];
    (padding, any::<Option<u8>>()).prop_map(|(padding, s_dscp_ecn)| ReplyFormat {
        padding,
        s_dscp_ecn,
    })
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
            prop_assert_eq!(written, Err(TooShort { needed: 14, len: request_len }));
            prop_assert_eq!(payload, buffer);
        } else if buffer.len() < needed {
            prop_assert_eq!(written, Err(TooShort { needed, len: buffer.len() }));
            prop_assert_eq!(payload, buffer);
        } else {
            prop_assert_eq!(written, Ok(()));
            write_transmit(&mut payload, transmit, estimate).unwrap();
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
        let format = ReplyFormat { padding: PaddingPolicy::SameOffset, s_dscp_ecn: None };
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
