//! The reflector's program: matches its listeners, and passes everything else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use ebpf::{ListenerKey, Reflector, ReflectorProgram, Rule, RxMeta, Verdict};
use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Need, UdpFrame, skip_unless};

use crate::bench::{Bench, LOOPBACK, MAC, in_namespace, strange_frames};

const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 862;
const RULE: u32 = 7;

/// The program with listeners on [`V4`] and [`V6`], and a socket on queue 0 if asked for.
fn bench(with_socket: bool) -> Bench<Reflector> {
    let bench = Bench::new(ReflectorProgram::load(1, true).unwrap(), with_socket);
    for address in [IpAddr::V4(V4), IpAddr::V6(V6)] {
        bench
            .program
            .add_listener(&listener(address), Rule { id: RULE })
            .unwrap();
    }
    bench
}

fn listener(address: IpAddr) -> ListenerKey {
    ListenerKey {
        ifindex: LOOPBACK,
        outer_vid: 0,
        inner_vid: 0,
        address,
        port: PORT,
    }
}

fn v4() -> UdpFrame {
    let source = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 40_000);
    UdpFrame::v4(source, SocketAddrV4::new(V4, PORT))
        .macs([2, 0, 0, 0, 0, 2], MAC)
        .payload(&[0xab; 44])
}

fn v6() -> UdpFrame {
    let source = SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2), 40_000, 0, 0);
    UdpFrame::v6(source, SocketAddrV6::new(V6, PORT, 0, 0))
        .macs([2, 0, 0, 0, 0, 2], MAC)
        .payload(&[0xab; 44])
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
        let bench = bench(true);
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
        let bench = bench(true);
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
fn tagged_packets_are_for_listeners_of_their_vlan() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        let single = v4().vlan(CUSTOMER_TAG, 100).build();
        let double = v6().vlan(SERVICE_TAG, 100).vlan(CUSTOMER_TAG, 7).build();
        bench.assert_passed(&single, Verdict::PassedNoListener);
        bench.assert_passed(&double, Verdict::PassedNoListener);

        let tagged = |outer_vid, inner_vid, address| ListenerKey {
            outer_vid,
            inner_vid,
            ..listener(address)
        };
        let rule = Rule { id: RULE };
        bench
            .program
            .add_listener(&tagged(100, 0, V4.into()), rule)
            .unwrap();
        bench
            .program
            .add_listener(&tagged(100, 7, V6.into()), rule)
            .unwrap();
        assert_layout(&bench.assert_redirected(&single), 1, 20, 44);
        assert_layout(&bench.assert_redirected(&double), 2, 40, 44);
    });
}

#[test]
fn a_priority_tag_is_no_vlan() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        let frame = v4().vlan(CUSTOMER_TAG, 0).build();
        assert_layout(&bench.assert_redirected(&frame), 1, 20, 44);
    });
}

#[test]
fn passes_what_it_does_not_fully_understand() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
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
        let bench = bench(true);
        let with_mac = |mac| v4().macs([2, 0, 0, 0, 0, 2], mac).build();
        bench.assert_passed(&with_mac([2, 0, 0, 0, 0, 9]), Verdict::PassedOtherMac);
        bench.assert_passed(&with_mac([0xff; 6]), Verdict::PassedOtherMac);

        let to = |address, port| {
            let source = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 40_000);
            UdpFrame::v4(source, SocketAddrV4::new(address, port))
                .macs([2, 0, 0, 0, 0, 2], MAC)
                .payload(&[0; 44])
                .build()
        };
        bench.assert_passed(&to(V4, PORT + 1), Verdict::PassedNoListener);
        bench.assert_passed(
            &to(Ipv4Addr::new(192, 0, 2, 9), PORT),
            Verdict::PassedNoListener,
        );

        bench.program.remove_listener(&listener(V4.into())).unwrap();
        bench.assert_passed(&to(V4, PORT), Verdict::PassedNoListener);
        bench.assert_redirected(&v6().build());
    });
}

#[test]
fn a_forged_packet_from_our_own_address_is_not_answered() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        // Its answer would come back and be answered, for ever.
        for port in [PORT, 40_000] {
            let own = SocketAddrV4::new(V4, port);
            let v4 = UdpFrame::v4(own, SocketAddrV4::new(V4, PORT));
            let own = SocketAddrV6::new(V6, port, 0, 0);
            let v6 = UdpFrame::v6(own, SocketAddrV6::new(V6, PORT, 0, 0));
            for frame in [v4, v6] {
                let frame = frame.macs([2, 0, 0, 0, 0, 2], MAC).payload(&[0; 44]);
                bench.assert_passed(&frame.build(), Verdict::PassedOwnSource);
            }
        }
    });
}

#[test]
fn ipv4_in_an_ipv6_address_matches_no_ipv4_listener() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
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
        let bench = bench(true);
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
    in_namespace(|| bench(true).assert_passes_what_no_chunk_holds(&v4()));
}

#[test]
fn without_a_socket_on_the_queue_the_kernel_gets_the_packet() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf);
    in_namespace(|| {
        let bench = bench(false);
        bench.assert_passed(&v4().build(), Verdict::PassedNoSocket);
    });
}

#[test]
fn repeated_runs_all_take_the_fast_path() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| bench(true).assert_redirects_repeatedly(&v4().build()));
}
