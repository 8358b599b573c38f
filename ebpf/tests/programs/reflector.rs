//! The reflector's program: matches its listeners, and passes everything else.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

use ebpf::{Interface, Rule, RxMeta, Verdict};
use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Need, UdpFrame, skip_unless};

use crate::bench::{FRAME_LIMIT, LOOPBACK, MAC, in_namespace, strange_frames};
use crate::rules::{
    PEER_PORT, PEER_V4, PEER_V6, PORT, RULE, RulesBench, V4, V6, answering, frame, v4, v6,
};

/// The program with listeners on [`V4`] and [`V6`], and a socket on queue 0.
fn bench() -> RulesBench {
    RulesBench::new(&answering(Rule::open(RULE)))
}

/// Where everything lies, and whose packet it is.
fn assert_layout(meta: &RxMeta, tags: u8, ip_header: u16, payload_len: u16) {
    crate::bench::assert_layout(meta, tags, ip_header, payload_len);
    assert_eq!(meta.rule, RULE);
}

#[test]
fn redirects_plain_packets_with_an_arrival_stamp() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench();
        for (frame, ip_header) in [(v4(), 20), (v6(), 40)] {
            let meta = bench.assert_stamped(&frame.build());
            assert_layout(&meta, 0, ip_header, 44);
        }
    });
}

#[test]
fn reads_the_payload_length_from_udp_and_not_from_a_padded_runt() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench();
        let frame = v4().payload(&[1; 14]).pad_to(60).build();
        assert_eq!(frame.len(), 60);
        assert_layout(&bench.assert_redirected(&frame), 0, 20, 14);
        // Nothing at all in the datagram is for the worker to refuse.
        assert_layout(
            &bench.assert_redirected(&v4().payload(&[]).pad_to(60).build()),
            0,
            20,
            0,
        );
    });
}

#[test]
fn a_priority_tag_is_no_vlan() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench();
        let frame = v4().vlan(CUSTOMER_TAG, 0).build();
        assert_layout(&bench.assert_redirected(&frame), 1, 20, 44);
    });
}

#[test]
fn passes_what_it_does_not_fully_understand() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench();
        for (name, frame, verdict) in strange_frames(v4, v6) {
            eprintln!("{name}");
            bench.assert_passed(&frame, verdict);
        }
    });
}

#[test]
fn passes_what_is_for_somebody_else() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench();
        let with_mac = |mac| v4().macs([2, 0, 0, 0, 0, 2], mac).build();
        bench.assert_passed(&with_mac([2, 0, 0, 0, 0, 9]), Verdict::PassedOtherMac);
        bench.assert_passed(&with_mac([0xff; 6]), Verdict::PassedOtherMac);

        let to = |address, port| frame((PEER_V4, PEER_PORT).into(), (address, port).into()).build();
        bench.assert_passed(&to(V4, PORT + 1), Verdict::PassedNoListener);
        bench.assert_passed(
            &to(Ipv4Addr::new(192, 0, 2, 9), PORT),
            Verdict::PassedNoListener,
        );
        // Keys of the same map that are no listeners.
        bench.assert_passed(&to(V4, 0), Verdict::PassedNoListener);
        let nowhere = frame(
            (PEER_V6, PEER_PORT).into(),
            (Ipv6Addr::UNSPECIFIED, PORT).into(),
        );
        bench.assert_passed(&nowhere.build(), Verdict::PassedNoListener);
    });
}

#[test]
fn takes_nothing_for_ours_on_an_interface_it_was_not_told_of() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench();
        let interface = Interface {
            mac: MAC,
            frame_limit: FRAME_LIMIT,
        };
        bench
            .program
            .set_interface(LOOPBACK + 1, interface)
            .unwrap();
        bench.assert_passed(&v4().build(), Verdict::PassedOtherMac);
    });
}

#[test]
fn ipv4_in_an_ipv6_address_matches_no_ipv4_listener() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench();
        let (mapped, other) = (
            V4.to_ipv6_mapped(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
        );
        for (source, destination) in [(other, mapped), (mapped, V6)] {
            let from = SocketAddrV6::new(source, 40_000, 0, 0);
            let frame = UdpFrame::v6(from, SocketAddrV6::new(destination, PORT, 0, 0))
                .macs([2, 0, 0, 0, 0, 2], MAC)
                .payload(&[0; 44]);
            bench.assert_passed(&frame.build(), Verdict::PassedIpMalformed);
        }
    });
}

#[test]
fn a_frame_cut_anywhere_is_passed() {
    /// The kernel takes no test frame shorter than an Ethernet header.
    const SHORTEST: usize = 14;
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench();
        for whole in [
            v4().build(),
            v6().build(),
            v4().vlan(SERVICE_TAG, 0).vlan(CUSTOMER_TAG, 0).build(),
        ] {
            for len in SHORTEST..whole.len() {
                bench.assert_passed(&whole[..len], Verdict::PassedTruncated);
            }
            bench.assert_redirected(&whole);
        }
    });
}

#[test]
fn passes_frames_that_no_chunk_holds() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| bench().assert_passes_what_no_chunk_holds(&v4()));
}

#[test]
fn without_a_socket_on_the_queue_the_kernel_gets_the_packet() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf);
    in_namespace(|| {
        let bench = RulesBench::empty(false);
        bench.shared.publish(&answering(Rule::open(RULE))).unwrap();
        bench.assert_passed(&v4().build(), Verdict::PassedNoSocket);
    });
}

#[test]
fn repeated_runs_all_take_the_fast_path() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| bench().assert_redirects_repeatedly(&v4().build()));
}
