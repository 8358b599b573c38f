//! Frames judged, turned around and sealed: from a request's frame to a reply's.

use proptest::prelude::*;
use wire::error_estimate::ErrorEstimate;
use wire::frame::{
    ChecksumPlan, FlowLabel, FrameError, IpVersion, Layout, Packet, UdpChecksum, set_payload_len,
    turn_around, verify_ipv4_header, verify_udp,
};
use wire::twamp::{
    PaddingPolicy, ReplyFields, ReplyFormat, transmit_sum, write_reply_as, write_transmit,
};

use crate::frames::{any_frame, any_layout, good_frame, shapes, test_frame};
use crate::reflection::reply_format;

const PAYLOAD: [u8; 44] = [0x5a; 44];

#[test]
fn tells_the_four_kinds_of_udp_checksum() {
    for (tags, v6) in shapes() {
        let mut frame = test_frame(tags, v6, &PAYLOAD);
        let layout = Layout::parse(&frame).unwrap();
        let at = usize::from(layout.l4) + 6;

        *frame.last_mut().unwrap() ^= 1;
        assert_eq!(verify_udp(&frame, &layout), UdpChecksum::Wrong);
        *frame.last_mut().unwrap() ^= 1;

        let partial = partial_checksum(&frame, &layout);
        frame[at..at + 2].copy_from_slice(&partial);
        assert_eq!(verify_udp(&frame, &layout), UdpChecksum::Partial);

        frame[at..at + 2].fill(0);
        let zero = if v6 {
            UdpChecksum::Wrong
        } else {
            UdpChecksum::Absent
        };
        assert_eq!(verify_udp(&frame, &layout), zero);
    }
}

/// What Linux leaves in the field for an offload: the sum of the pseudo-header.
fn partial_checksum(frame: &[u8], layout: &Layout) -> [u8; 2] {
    let addresses = match layout.ip {
        IpVersion::V4 => usize::from(layout.l3) + 12,
        IpVersion::V6 => usize::from(layout.l3) + 8,
    };
    let l4 = usize::from(layout.l4);
    let covered = [&frame[addresses..l4], &[0, 17], &frame[l4 + 4..l4 + 6]].concat();
    crate::checksum::naive(&covered).to_be_bytes()
}

#[test]
fn notices_a_damaged_ipv4_header() {
    let mut frame = test_frame(0, false, &PAYLOAD);
    let layout = Layout::parse(&frame).unwrap();
    frame[22] ^= 1;
    assert!(!verify_ipv4_header(&frame, &layout));
}

#[test]
fn turns_a_frame_around() {
    for (tags, v6) in shapes() {
        let request = test_frame(tags, v6, &PAYLOAD);
        let layout = Layout::parse(&request).unwrap();
        let mut reply = request.clone();
        turn_around(&mut reply, &layout, 0x48, FlowLabel::Keep);

        assert_eq!(layout.check(&reply), Ok(()));
        let there = Packet::new(&request, &layout).unwrap();
        let back = Packet::new(&reply, &layout).unwrap();
        assert_eq!(back.source_mac(), there.destination_mac());
        assert_eq!(back.destination_mac(), there.source_mac());
        assert_eq!(back.source(), there.destination());
        assert_eq!(back.destination(), there.source());
        assert_eq!(back.source_port(), there.destination_port());
        assert_eq!(back.destination_port(), there.source_port());
        assert_eq!((back.ttl(), back.tos()), (255, 0x48));
        assert_eq!(back.vlan_ids(), there.vlan_ids());
        assert_eq!(back.payload(), there.payload());
        assert!(verify_ipv4_header(&reply, &layout));
        assert_eq!(verify_udp(&reply, &layout), UdpChecksum::Valid);

        // Tags with their priority, IPv4 identification and flags, the Flow Label.
        let l3 = usize::from(layout.l3);
        assert_eq!(reply[12..l3], request[12..l3]);
        if v6 {
            assert_eq!(reply[l3..l3 + 4], [0x64, 0x85, 0x43, 0x21]);
            let mut reply = request.clone();
            turn_around(&mut reply, &layout, 0xff, FlowLabel::Zero);
            assert_eq!(reply[l3..l3 + 4], [0x6f, 0xf0, 0, 0]);
        } else {
            assert_eq!(reply[l3 + 4..l3 + 8], request[l3 + 4..l3 + 8]);
        }
    }
}

#[test]
fn changes_the_payload_length_in_every_header() {
    for (tags, v6) in shapes() {
        let mut frame = test_frame(tags, v6, &[3; 14]);
        frame.resize(frame.len() + 27, 0);
        let mut layout = Layout::parse(&frame).unwrap();
        assert_eq!(set_payload_len(&mut frame, &mut layout, 41), Ok(()));
        assert_eq!(layout.payload_len, 41);
        assert_eq!(Layout::parse(&frame), Ok(layout));
        assert!(verify_ipv4_header(&frame, &layout));
        let l3 = usize::from(layout.l3);
        let ip_len = if v6 { [0, 49] } else { [0, 69] };
        let at = if v6 { l3 + 4 } else { l3 + 2 };
        assert_eq!(frame[at..at + 2], ip_len);
    }
}

#[test]
fn refuses_lengths_without_room_or_expression() {
    for (v6, longest) in [(false, 65_507), (true, 65_527)] {
        let mut frame = test_frame(0, v6, &PAYLOAD);
        let before = frame.clone();
        let mut layout = Layout::parse(&frame).unwrap();
        let unchanged = layout;
        let result = set_payload_len(&mut frame, &mut layout, 45);
        assert_eq!(result, Err(FrameError::Truncated));
        assert_eq!((&frame, layout), (&before, unchanged));

        frame.resize(70_000, 0);
        let result = set_payload_len(&mut frame, &mut layout, longest + 1);
        assert_eq!(result, Err(FrameError::UdpLength));
        assert_eq!((&frame[..before.len()], layout), (&before[..], unchanged));
        assert_eq!(set_payload_len(&mut frame, &mut layout, longest), Ok(()));
        assert_eq!(Layout::parse(&frame).unwrap().payload_len, longest);
        assert!(verify_ipv4_header(&frame, &layout));
    }
}

#[test]
fn a_payload_damaged_on_the_way_through_is_found_out() {
    let mut frame = test_frame(0, false, &[9; 100]);
    let (layout, plan) = judge(&frame);
    // Damaged between the judgement and the reply.
    frame[42 + 44] ^= 4;
    let layout = reflect(&mut frame, layout, plan, ReplyFormat::default());
    assert_eq!(verify_udp(&frame, &layout), UdpChecksum::Wrong);
    frame[42 + 44] ^= 4;
    assert_eq!(verify_udp(&frame, &layout), UdpChecksum::Valid);
}

/// Layout and plan of a frame that deserves an answer.
fn judge(frame: &[u8]) -> (Layout, ChecksumPlan) {
    let packet = Packet::parse(frame).unwrap();
    let (verdict, plan) = packet.judge_udp();
    assert_ne!(verdict, UdpChecksum::Wrong);
    (packet.layout(), plan)
}

/// What the reflector does to a frame; answers the reply's layout.
fn reflect(
    frame: &mut [u8],
    mut layout: Layout,
    plan: ChecksumPlan,
    format: ReplyFormat,
) -> Layout {
    let request_len = usize::from(layout.payload_len);
    let fields = ReplyFields {
        sequence: 77,
        receive_timestamp: [0xa7; 8],
        sender_ttl: 64,
    };
    let (t3, estimate) = ([0xb3; 8], ErrorEstimate::from_bits(0x8a64));
    let payload = &mut frame[usize::from(layout.payload)..];
    let written = write_reply_as(payload, request_len, &fields, format).unwrap();
    write_transmit(payload, t3, estimate).unwrap();
    turn_around(frame, &layout, 0xb8, FlowLabel::Zero);
    let len = u16::try_from(format.reply_len(request_len)).unwrap();
    set_payload_len(frame, &mut layout, len).unwrap();
    let plan = if format.padding == PaddingPolicy::SameOffset {
        plan
    } else {
        plan.with_new_tail()
    };
    plan.plus(written)
        .plus(transmit_sum(t3, estimate))
        .plus_payload_len(len)
        .seal(frame, &layout);
    layout
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_layout_is_safe_with_any_frame(
        frame in any_frame(), layout in any_layout(), tos: u8, len: u16,
    ) {
        let fits = Packet::new(&frame, &layout).is_ok();
        let parsed = Layout::parse(&frame);
        prop_assert_eq!(layout.check(&frame).is_ok(), parsed == Ok(layout));
        let verified = verify_udp(&frame, &layout);
        if !fits {
            prop_assert!(!verify_ipv4_header(&frame, &layout));
            prop_assert_eq!(verified, UdpChecksum::Wrong);
        }

        let mut turned = frame.clone();
        turn_around(&mut turned, &layout, tos, FlowLabel::Zero);
        ChecksumPlan::Full.seal(&mut turned, &layout);
        prop_assert_eq!(turned.len(), frame.len());
        if fits {
            prop_assert_eq!(verify_udp(&turned, &layout), UdpChecksum::Valid);
        } else {
            prop_assert_eq!(&turned, &frame);
        }

        let (mut resized, mut new_layout) = (frame.clone(), layout);
        if set_payload_len(&mut resized, &mut new_layout, len).is_ok() {
            prop_assert_eq!(new_layout, Layout { payload_len: len, ..layout });
            prop_assert!(usize::from(layout.payload) + usize::from(len) <= frame.len());
        } else {
            prop_assert_eq!((resized, new_layout), (frame, layout));
        }
    }

    #[test]
    fn turning_around_twice_restores_the_frame(mut frame in good_frame(), tos: u8) {
        let layout = Layout::parse(&frame).unwrap();
        let before = frame.clone();
        let was = Packet::new(&before, &layout).unwrap();
        turn_around(&mut frame, &layout, tos, FlowLabel::Keep);
        prop_assert!(verify_ipv4_header(&frame, &layout));
        turn_around(&mut frame, &layout, was.tos(), FlowLabel::Keep);
        prop_assert!(verify_ipv4_header(&frame, &layout));
        let is = Packet::new(&frame, &layout).unwrap();
        prop_assert_eq!(is.ttl(), 255);

        // All but the TTL and the IPv4 checksum over it.
        let l3 = usize::from(layout.l3);
        let ignored = match layout.ip {
            IpVersion::V4 => vec![l3 + 8, l3 + 10, l3 + 11],
            IpVersion::V6 => vec![l3 + 7],
        };
        for at in (0..frame.len()).filter(|at| !ignored.contains(at)) {
            prop_assert_eq!(frame[at], before[at], "octet {}", at);
        }
        // From TTL 255 on, nothing differs.
        let once = frame.clone();
        turn_around(&mut frame, &layout, tos, FlowLabel::Keep);
        turn_around(&mut frame, &layout, is_tos(&once, &layout), FlowLabel::Keep);
        prop_assert_eq!(frame, once);
    }

    #[test]
    fn a_checksum_out_of_kept_sums_equals_a_full_one(
        request in good_frame(), format in reply_format(),
    ) {
        let (layout, plan) = judge(&request);
        prop_assume!(layout.payload_len >= 14);
        prop_assert_eq!(verify_udp(&request, &layout), UdpChecksum::Valid);
        prop_assert!(matches!(plan, ChecksumPlan::Kept(_)), "{plan:?}");

        let mut frame = request;
        frame.resize(frame.len() + 44, 0xee);
        let mut full = frame.clone();
        let reply = reflect(&mut frame, layout, plan, format);
        prop_assert_eq!(reflect(&mut full, layout, ChecksumPlan::Full, format), reply);
        prop_assert_eq!(verify_udp(&frame, &reply), UdpChecksum::Valid);
        prop_assert!(verify_ipv4_header(&frame, &reply));
        prop_assert_eq!(Layout::parse(&frame), Ok(reply));
        prop_assert_eq!(frame, full);
    }

    #[test]
    fn offloaded_and_absent_checksums_are_answered_in_kind(
        request in good_frame(), format in reply_format(),
    ) {
        let layout = Layout::parse(&request).unwrap();
        prop_assume!(layout.payload_len >= 14);
        let at = usize::from(layout.l4) + 6;
        let mut frame = request;
        frame.resize(frame.len() + 44, 0xee);

        let mut partial = frame.clone();
        partial[at..at + 2].copy_from_slice(&partial_checksum(&frame, &layout));
        let (_, plan) = judge(&partial);
        let reply = reflect(&mut partial, layout, plan, format);
        prop_assert_eq!(verify_udp(&partial, &reply), UdpChecksum::Valid);

        frame[at..at + 2].fill(0);
        match layout.ip {
            IpVersion::V4 => {
                let (_, plan) = judge(&frame);
                let reply = reflect(&mut frame, layout, plan, format);
                prop_assert_eq!(verify_udp(&frame, &reply), UdpChecksum::Absent);
            }
            IpVersion::V6 => prop_assert_eq!(verify_udp(&frame, &layout), UdpChecksum::Wrong),
        }
    }
}

fn is_tos(frame: &[u8], layout: &Layout) -> u8 {
    Packet::new(frame, layout).unwrap().tos()
}
