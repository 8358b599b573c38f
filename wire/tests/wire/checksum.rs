//! The Internet checksum against its vectors and a word-by-word model.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use wire::checksum::{Sum, complement_7820, pseudo_header_v4, pseudo_header_v6, udp_wire, update};
use wire::frame::{ChecksumPlan, Layout, Packet, UdpChecksum, verify_udp};

use crate::frames;
use crate::vectors::{Vector, vectors};

fn file() -> Value {
    vectors!("checksum.json")
}

/// RFC 1071 as it is written down: one 16-bit word after the other.
pub(crate) fn naive(octets: &[u8]) -> u16 {
    octets.chunks(2).fold(0, |sum: u16, word| {
        let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

fn sum(octets: &[u8]) -> Sum {
    Sum::new().add(octets)
}

fn word(value: u16) -> Sum {
    Sum::new().add_u16(value)
}

/// The pseudo-header of a vector's datagram.
fn pseudo_header(case: &Value, datagram: &[u8]) -> Sum {
    let len = u16::try_from(datagram.len()).unwrap();
    if case.int("ip") == 4 {
        pseudo_header_v4(case.array("src"), case.array("dst"), 17, len)
    } else {
        pseudo_header_v6(case.array("src"), case.array("dst"), 17, u32::from(len))
    }
}

/// The checksum of a datagram, computed without looking at its checksum field.
fn computed(case: &Value, datagram: &[u8]) -> u16 {
    pseudo_header(case, datagram)
        .add(&datagram[..6])
        .add(&datagram[8..])
        .checksum()
}

#[test]
fn updates_by_equation_3_of_rfc_1624() {
    for case in file().cases("incremental_words") {
        let name = case.text("name");
        let updated = update(
            case.word("HC"),
            word(case.word("m")),
            word(case.word("m_new")),
        );
        assert_eq!(updated, case.word("eqn3"), "{name}");
        if case.get("eqn2_wrong").is_some() {
            assert_ne!(updated, case.word("eqn2_wrong"), "{name}");
        }
        if case.get("udp_wire").is_some() {
            assert_eq!(udp_wire(updated), case.word("udp_wire"), "{name}");
        }
    }
}

#[test]
fn computes_and_updates_udp_checksums() {
    for case in file().cases("udp_packets") {
        let name = case.text("name");
        let (before, after) = (case.octets("udp_before"), case.octets("udp_after"));
        assert_eq!(
            pseudo_header(case, &before).fold(),
            naive(&case.octets("pseudo_header")),
            "{name}"
        );

        assert_eq!(computed(case, &before), case.word("raw_before"), "{name}");
        assert_eq!(
            udp_wire(computed(case, &before)),
            case.word("checksum_before"),
            "{name}"
        );
        assert_eq!(
            udp_wire(computed(case, &after)),
            case.word("checksum_after"),
            "{name}"
        );

        let (old, new) = (sum(&case.octets("old")), sum(&case.octets("new")));
        let updated = update(case.word("checksum_before"), old, new);
        assert_eq!(updated, case.word("incremental_raw"), "{name}");
        assert_eq!(udp_wire(updated), case.word("checksum_after"), "{name}");
    }
}

#[test]
fn plans_and_seals_whole_frames() {
    for case in file().cases("udp_packets") {
        let name = case.text("name");
        let mut frame = frames::around(
            &case.octets("src"),
            &case.octets("dst"),
            &case.octets("udp_before"),
        );
        let layout = Layout::parse(&frame).unwrap();
        let verified = verify_udp(&frame, &layout);
        assert_eq!(verified, UdpChecksum::Valid, "{name}");

        let at = usize::from(layout.payload)
            + usize::try_from(case.int("changed_offset_in_payload")).unwrap();
        let (_, kept) = Packet::parse(&frame).unwrap().judge_udp();
        let new = case.octets("new");
        frame[at..at + new.len()].copy_from_slice(&new);
        assert_eq!(verify_udp(&frame, &layout), UdpChecksum::Wrong, "{name}");

        let payload = &frame[usize::from(layout.payload)..];
        let head = &payload[..payload.len().min(44)];
        let kept = kept
            .plus(Sum::new().add(head))
            .plus_payload_len(layout.payload_len);
        for plan in [kept, ChecksumPlan::Full] {
            let mut frame = frame.clone();
            plan.seal(&mut frame, &layout);
            assert_eq!(
                frame[usize::from(layout.l4)..],
                case.octets("udp_after"),
                "{name}"
            );
        }
    }
}

#[test]
fn keeps_the_rules_about_zero() {
    let (mut absent, mut illegal, mut computed) = (0, 0, 0);
    for case in file().cases("rules") {
        if case.get("computed").is_some() {
            assert_eq!(udp_wire(case.word("computed")), case.word("wire"));
            computed += 1;
            continue;
        }
        assert_eq!(case.word("received_checksum"), 0);
        let mut frame = frames::test_frame(0, case.int("ip") == 6, &[7; 44]);
        let layout = Layout::parse(&frame).unwrap();
        let at = usize::from(layout.l4) + 6;
        frame[at..at + 2].fill(0);
        let (verified, plan) = Packet::parse(&frame).unwrap().judge_udp();
        if case.text("action").contains("drop") {
            assert_eq!(verified, UdpChecksum::Wrong);
            illegal += 1;
        } else {
            assert_eq!(verified, UdpChecksum::Absent);
            let before = frame.clone();
            plan.seal(&mut frame, &layout);
            assert_eq!(frame, before, "0000 stays");
            absent += 1;
        }
    }
    assert_eq!((absent, illegal, computed), (1, 1, 2));
}

#[test]
fn complements_a_timestamp_in_the_padding() {
    for case in file().cases("rfc7820_complement") {
        let mut datagram = case.octets("udp_before");
        let new = case.octets("new_timestamp");
        let complement = complement_7820(sum(&datagram[12..20]), sum(&new));
        assert_eq!(complement, case.word("complement"));

        datagram[12..20].copy_from_slice(&new);
        let end = datagram.len();
        datagram[end - 2..].copy_from_slice(&complement.to_be_bytes());
        assert_eq!(datagram, case.octets("udp_after"));
        assert_eq!(datagram[6..8], case.octets("checksum"));
    }
}

#[test]
fn equals_the_model_at_every_length_and_alignment() {
    let octets: Vec<u8> = (0..2_200_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for start in 0..8 {
        for len in 0..=2_100 {
            let piece = &octets[start..start + len];
            assert_eq!(sum(piece).fold(), naive(piece), "{len} octets from {start}");
        }
    }
}

#[test]
fn carries_around_at_the_extremes() {
    for len in 0..200 {
        assert_eq!(
            sum(&vec![0xff; len]).fold(),
            naive(&vec![0xff; len]),
            "{len} times ff"
        );
        assert_eq!(sum(&vec![0; len]).fold(), 0, "{len} times 00");
    }
    assert_eq!(sum(&[0xff, 0xff]).add_u16(1).fold(), 1);
    assert_eq!(
        sum(&[0xff, 0xff]).fold(),
        0xffff,
        "zero only if all is zero"
    );
}

/// Octets with many all-zero and all-one words, where carries and the two zeros show.
fn octets(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![4 => any::<u8>(), 1 => Just(0), 1 => Just(0xff)],
        len,
    )
}

proptest! {
    #[test]
    fn equals_the_model(octets in octets(0..2_100)) {
        prop_assert_eq!(sum(&octets).fold(), naive(&octets));
        prop_assert_eq!(sum(&octets).checksum(), !naive(&octets));
    }

    #[test]
    fn may_be_taken_in_pieces_of_even_length(octets in octets(0..300), cut in 0_usize..150) {
        let (head, tail) = octets.split_at((2 * cut).min(octets.len()));
        prop_assert_eq!(sum(head).add(tail).fold(), naive(&octets));
        prop_assert_eq!(sum(tail).plus(sum(head)).fold(), naive(&octets));
    }

    #[test]
    fn minus_takes_back_what_plus_gave(a in octets(0..64), b in octets(0..64)) {
        let back = sum(&a).plus(sum(&b)).minus(sum(&b));
        // Equal modulo 0xffff: zero has two forms.
        prop_assert_eq!(back.fold() % 0xffff, naive(&a) % 0xffff);
    }

    #[test]
    fn an_update_equals_a_fresh_computation(
        mut data in octets(8..200), new in octets(0..100), at in 0_usize..100,
    ) {
        let at = (2 * at).min(data.len() - 1) & !1;
        let new = &new[..new.len().min(data.len() - at) & !1];
        data[0] = 1; // a datagram is never all zero
        let before = sum(&data).checksum();
        let old = data[at..at + new.len()].to_vec();
        data[at..at + new.len()].copy_from_slice(new);
        prop_assume!(data.iter().any(|&octet| octet != 0));
        let after = sum(&data).checksum();
        prop_assert_eq!(udp_wire(update(before, sum(&old), sum(new))), udp_wire(after));
        prop_assert_eq!(udp_wire(update(udp_wire(before), sum(&old), sum(new))), udp_wire(after));
    }

    #[test]
    fn a_complement_keeps_the_checksum(
        mut data in octets(24..200), new: [u8; 8], odd_padding: bool,
    ) {
        data.truncate(data.len() & !1);
        let end = data.len();
        data[end - 2..].fill(0);
        data[12] |= 1; // not all zero
        let before = sum(&data).fold();
        let complement = complement_7820(sum(&data[4..12]), sum(&new));
        data[4..12].copy_from_slice(&new);
        data[end - 2..].copy_from_slice(&complement.to_be_bytes());
        if odd_padding {
            data.push(0);
        }
        prop_assert_eq!(sum(&data).fold() % 0xffff, before % 0xffff);
    }
}
