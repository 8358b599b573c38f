//! A frame taken apart once against the same frame looked at piece by piece.

use proptest::prelude::*;
use wire::checksum::Sum;
use wire::frame::{
    ChecksumPlan, FlowLabel, FrameError, Headers, Incoming, Packet, Request, set_payload_len,
    turn_around,
};

use crate::frames::any_frame;

/// What there is to read, in the words of [`Packet`].
fn assert_reads<H: Headers>(request: &Request<'_, H>, packet: &Packet<'_>) {
    let layout = packet.layout();
    assert_eq!(
        (request.udp_offset(), request.payload_offset()),
        (layout.l4, layout.payload)
    );
    assert_eq!(request.payload_len(), layout.payload_len);
    assert_eq!(
        request.stations(),
        [packet.source_mac(), packet.destination_mac()]
    );
    let ids = packet.vlan_ids().map(Option::unwrap_or_default);
    assert_eq!(request.vlan_ids(), ids);
    let [source, destination] = request.ends();
    assert_eq!(
        (source.ip(), source.port()),
        (packet.source(), packet.source_port())
    );
    assert_eq!(
        (destination.ip(), destination.port()),
        (packet.destination(), packet.destination_port())
    );
    assert_eq!(
        (request.source_address(), request.source_port()),
        (packet.source(), packet.source_port())
    );
    assert_eq!((request.ttl(), request.tos()), (packet.ttl(), packet.tos()));
    assert_eq!(request.verify_ip_header(), packet.verify_ipv4_header());
    assert_eq!(request.udp_checksum(), packet.udp_checksum());
    let ((verdict, plan), (expected, expected_plan)) = (request.judge_udp(), packet.judge_udp());
    assert_eq!(verdict, expected);
    assert_eq!(kept(plan), kept(expected_plan));
}

/// The sum that a plan keeps, if any.
fn kept(plan: ChecksumPlan) -> Option<Sum> {
    match plan {
        ChecksumPlan::Kept(sum) => Some(sum),
        ChecksumPlan::Full | ChecksumPlan::Zero => None,
    }
}

/// Turns round and resizes; answers whether the length could be had.
fn rewrite<H: Headers>(
    mut request: Request<'_, H>,
    tos: u8,
    flow_label: FlowLabel,
    len: u16,
) -> bool {
    request.turn_around(tos, flow_label);
    request.set_payload_len(len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn agrees_with_a_frame_looked_at_piece_by_piece(
        frame in any_frame(), room in 0..60_usize, cut in 0..8_usize,
        tos: u8, keep: bool, len in 0..400_u16,
    ) {
        // Ethernet padding may be cut off already, or there is room behind.
        let frame_len = frame.len();
        let mut buffer = frame.clone();
        if room == 0 {
            buffer.truncate(frame_len.saturating_sub(cut));
        } else {
            buffer.resize(frame_len + room, 0xee);
        }
        let before = buffer.clone();
        let seen = &before[..frame_len.min(before.len())];
        let packet = match (Incoming::parse(&mut buffer, frame_len), Packet::parse(seen)) {
            (Ok(Incoming::V4(request)), Ok(packet)) => {
                assert_reads(&request, &packet);
                packet
            }
            (Ok(Incoming::V6(request)), Ok(packet)) => {
                assert_reads(&request, &packet);
                packet
            }
            (Err(error), Err(expected)) => {
                // Headers that are cut off may be something else by what lies behind the frame.
                let cut_off = expected == FrameError::Truncated && room > 0;
                prop_assert!(error == expected || cut_off, "{error:?} {expected:?}");
                return Ok(());
            }
            (incoming, packet) => panic!("{incoming:?} {packet:?}"),
        };
        prop_assert_eq!(&buffer, &before);

        let flow_label = if keep { FlowLabel::Keep } else { FlowLabel::Zero };
        let fits = match Incoming::parse(&mut buffer, frame_len).unwrap() {
            Incoming::V4(request) => rewrite(request, tos, flow_label, len),
            Incoming::V6(request) => rewrite(request, tos, flow_label, len),
        };
        let (mut expected, mut layout) = (before.clone(), packet.layout());
        turn_around(&mut expected, &layout, tos, flow_label);
        prop_assert_eq!(fits, set_payload_len(&mut expected, &mut layout, len).is_ok());
        prop_assert_eq!(&buffer, &expected);
    }
}

#[test]
fn seals_by_the_header_alone_what_it_can() {
    let sum = Sum::new().add_u16(0x1234);
    for (plan, expected) in [
        (ChecksumPlan::Kept(sum), Some([0xed, 0xcb])),
        // A computed 0 is sent as all ones.
        (ChecksumPlan::Kept(sum.add_u16(0xedcb)), Some([0xff, 0xff])),
        (ChecksumPlan::Zero, Some([0, 0])),
        (ChecksumPlan::Full, None),
    ] {
        let mut header = [0xaa; 8];
        assert_eq!(plan.seal_header(&mut header), expected.is_some());
        assert_eq!(header[..6], [0xaa; 6]);
        assert_eq!(header[6..], expected.unwrap_or([0xaa; 2]));
    }
}
