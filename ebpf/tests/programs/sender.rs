//! The sender's program: takes replies to its sessions, and passes everything else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use ebpf::{Scope, Sender, SenderProgram, SessionKey, SessionRange, Verdict};
use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Need, UdpFrame, skip_unless};

use crate::bench::{Bench, LOOPBACK, MAC, assert_layout, in_namespace, strange_frames};

const LOCAL_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const LOCAL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const REMOTE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const REMOTE_PORT: u16 = 862;
/// Ports 50 000 to 50 099 are sessions 1000 to 1099 over IPv4.
const V4_RANGE: SessionRange = SessionRange {
    first_session: 1000,
    first_port: 50_000,
    ports: 100,
};
/// The same ports are sessions 7 to 106 over IPv6.
const V6_RANGE: SessionRange = SessionRange {
    first_session: 7,
    ..V4_RANGE
};

/// The program with both ranges, and a socket on queue 0 if asked for.
fn bench(with_socket: bool) -> Bench<Sender> {
    let bench = Bench::new(SenderProgram::load(1, true).unwrap(), with_socket);
    bench.program.add_sessions(&key_v4(), V4_RANGE).unwrap();
    bench.program.add_sessions(&key_v6(), V6_RANGE).unwrap();
    bench
}

fn key(local: IpAddr, remote: IpAddr) -> SessionKey {
    SessionKey {
        scope: Scope::untagged(LOOPBACK),
        local,
        remote,
        remote_port: REMOTE_PORT,
    }
}

fn key_v4() -> SessionKey {
    key(LOCAL_V4.into(), REMOTE_V4.into())
}

fn key_v6() -> SessionKey {
    key(LOCAL_V6.into(), REMOTE_V6.into())
}

/// A reply of 44 octets of payload.
fn reply(from: SocketAddr, to: SocketAddr) -> UdpFrame {
    match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => UdpFrame::v4(from, to),
        (SocketAddr::V6(from), SocketAddr::V6(to)) => UdpFrame::v6(from, to),
        _ => panic!("addresses of two families"),
    }
    .macs([2, 0, 0, 0, 0, 2], MAC)
    .payload(&[0xab; 44])
}

fn reply_v4(port: u16) -> UdpFrame {
    reply(
        SocketAddrV4::new(REMOTE_V4, REMOTE_PORT).into(),
        SocketAddrV4::new(LOCAL_V4, port).into(),
    )
}

fn reply_v6(port: u16) -> UdpFrame {
    reply(
        SocketAddrV6::new(REMOTE_V6, REMOTE_PORT, 0, 0).into(),
        SocketAddrV6::new(LOCAL_V6, port, 0, 0).into(),
    )
}

#[test]
fn redirects_replies_with_an_arrival_stamp_and_the_session() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        for (frame, ip_header, session) in
            [(reply_v4(50_042), 20, 1042), (reply_v6(50_042), 40, 49)]
        {
            let meta = bench.assert_stamped(&frame.build());
            assert_layout(&meta, 0, ip_header, 44);
            assert_eq!(meta.rule, session);
        }
    });
}

#[test]
fn a_range_ends_at_its_first_and_last_port() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        let session = |port| bench.assert_redirected(&reply_v4(port).build()).rule;
        assert_eq!((session(50_000), session(50_099)), (1000, 1099));
        for port in [49_999, 50_100, 0, 1, 65_535] {
            bench.assert_passed(&reply_v4(port).build(), Verdict::PassedNoSession);
        }

        // All ports there are, and the two ends of the number space.
        let all = SessionRange {
            first_session: u32::MAX - 65_534,
            first_port: 1,
            ports: 65_535,
        };
        bench.program.add_sessions(&key_v4(), all).unwrap();
        assert_eq!((session(1), session(65_535)), (u32::MAX - 65_534, u32::MAX));
        bench.assert_passed(&reply_v4(0).build(), Verdict::PassedNoSession);

        // The highest port of all, alone; then no port.
        let last = SessionRange {
            first_session: 5,
            first_port: 65_535,
            ports: 1,
        };
        bench.program.add_sessions(&key_v4(), last).unwrap();
        assert_eq!(session(65_535), 5);
        bench.assert_passed(&reply_v4(65_534).build(), Verdict::PassedNoSession);
        bench.assert_passed(&reply_v4(0).build(), Verdict::PassedNoSession);
        let none = SessionRange { ports: 0, ..last };
        bench.program.add_sessions(&key_v4(), none).unwrap();
        bench.assert_passed(&reply_v4(65_535).build(), Verdict::PassedNoSession);
    });
}

#[test]
fn only_the_reflector_that_was_asked_is_heard() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        let v4 = |address, port| SocketAddr::from((address, port));
        let other = Ipv4Addr::new(192, 0, 2, 3);
        let ours = v4(LOCAL_V4, 50_000);
        for (name, from, to) in [
            ("another address", v4(other, REMOTE_PORT), ours),
            ("another port", v4(REMOTE_V4, REMOTE_PORT + 1), ours),
            (
                "to another address of ours",
                v4(REMOTE_V4, REMOTE_PORT),
                v4(other, 50_000),
            ),
            (
                "our own request, come back",
                ours,
                v4(REMOTE_V4, REMOTE_PORT),
            ),
            ("from ourselves", v4(LOCAL_V4, REMOTE_PORT), ours),
        ] {
            eprintln!("{name}");
            bench.assert_passed(&reply(from, to).build(), Verdict::PassedNoSession);
        }

        let v6 = |address: Ipv6Addr, port| SocketAddr::from((address, port));
        let mut other = REMOTE_V6.octets();
        other[0] ^= 1; // the octet farthest from the port
        let from_other = reply(v6(other.into(), REMOTE_PORT), v6(LOCAL_V6, 50_000));
        bench.assert_passed(&from_other.build(), Verdict::PassedNoSession);

        let with_mac = |mac| reply_v4(50_000).macs([2, 0, 0, 0, 0, 2], mac).build();
        bench.assert_passed(&with_mac([2, 0, 0, 0, 0, 9]), Verdict::PassedOtherMac);
        bench.assert_passed(&with_mac([0xff; 6]), Verdict::PassedOtherMac);
        bench.assert_redirected(&with_mac(MAC));
    });
}

#[test]
fn sessions_of_another_interface_do_not_match() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        let elsewhere = SessionKey {
            scope: Scope::untagged(LOOPBACK + 1),
            ..key_v4()
        };
        bench.program.remove_sessions(&key_v4()).unwrap();
        bench.program.add_sessions(&elsewhere, V4_RANGE).unwrap();
        bench.assert_passed(&reply_v4(50_000).build(), Verdict::PassedNoSession);
        bench.assert_redirected(&reply_v6(50_000).build());
    });
}

#[test]
fn a_reply_carries_the_tags_of_its_request() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        let single = reply_v4(50_001).vlan(CUSTOMER_TAG, 100).build();
        let double = reply_v6(50_001)
            .vlan(SERVICE_TAG, 100)
            .vlan(CUSTOMER_TAG, 7)
            .build();
        bench.assert_passed(&single, Verdict::PassedNoSession);
        bench.assert_passed(&double, Verdict::PassedNoSession);

        let add = |outer_vid, inner_vid, key: SessionKey, first_session| {
            let key = SessionKey {
                scope: Scope {
                    outer_vid,
                    inner_vid,
                    ..key.scope
                },
                ..key
            };
            let range = SessionRange {
                first_session,
                ..V4_RANGE
            };
            bench.program.add_sessions(&key, range).unwrap();
        };
        add(100, 0, key_v4(), 20_000);
        add(100, 7, key_v6(), 30_000);
        let (single, double) = (
            bench.assert_redirected(&single),
            bench.assert_redirected(&double),
        );
        assert_layout(&single, 1, 20, 44);
        assert_layout(&double, 2, 40, 44);
        assert_eq!((single.rule, double.rule), (20_001, 30_001));

        // Without the tags it is another session; a priority tag is no VLAN.
        let plain = bench.assert_redirected(&reply_v4(50_001).build());
        let priority = bench.assert_redirected(&reply_v4(50_001).vlan(CUSTOMER_TAG, 0).build());
        assert_eq!((plain.rule, priority.rule), (1001, 1001));
        assert_layout(&priority, 1, 20, 44);
    });
}

#[test]
fn reads_the_payload_length_from_udp_and_not_from_a_padded_runt() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        for len in [0, 1, 14] {
            let frame = reply_v4(50_000).payload(&[1; 14][..len]).pad_to(60).build();
            assert_eq!(frame.len(), 60);
            let len = u16::try_from(len).unwrap();
            assert_layout(&bench.assert_redirected(&frame), 0, 20, len);
        }
    });
}

#[test]
fn passes_what_it_does_not_fully_understand() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        for (name, frame, verdict) in strange_frames(|| reply_v4(50_000), || reply_v6(50_000)) {
            eprintln!("{name}");
            bench.assert_passed(&frame, verdict);
        }
        let mapped = SocketAddr::from((REMOTE_V4.to_ipv6_mapped(), REMOTE_PORT));
        let to = SocketAddr::from((LOCAL_V4.to_ipv6_mapped(), 50_000));
        bench.assert_passed(&reply(mapped, to).build(), Verdict::PassedIpMalformed);

        let whole = reply_v4(50_000).build();
        for len in 14..whole.len() {
            bench.assert_passed(&whole[..len], Verdict::PassedTruncated);
        }
    });
}

#[test]
fn passes_frames_that_no_chunk_holds() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| bench(true).assert_passes_what_no_chunk_holds(&reply_v4(50_000)));
}

#[test]
fn without_a_socket_on_the_queue_the_kernel_gets_the_reply() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf);
    in_namespace(|| {
        bench(false).assert_passed(&reply_v4(50_000).build(), Verdict::PassedNoSocket);
    });
}

#[test]
fn removed_sessions_are_the_kernels_again() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = bench(true);
        bench.program.remove_sessions(&key_v4()).unwrap();
        bench.assert_passed(&reply_v4(50_000).build(), Verdict::PassedNoSession);
        bench.assert_redirected(&reply_v6(50_000).build());
        let error = bench.program.remove_sessions(&key_v4()).unwrap_err();
        assert_eq!(error.map, "sessions");
    });
}

#[test]
fn as_many_addresses_as_there_is_room_for_are_told_apart() {
    const ADDRESSES: u32 = 65_536;
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = Bench::new(SenderProgram::load(1, true).unwrap(), true);
        let local = |number| Ipv4Addr::from_bits(0x0a00_0000 + number);
        let range = |number| SessionRange {
            first_session: 2 * number,
            first_port: 50_000,
            ports: 2,
        };
        for number in 0..ADDRESSES {
            let key = key(local(number).into(), REMOTE_V4.into());
            bench.program.add_sessions(&key, range(number)).unwrap();
        }
        let one_more = key(local(ADDRESSES).into(), REMOTE_V4.into());
        assert!(bench.program.add_sessions(&one_more, range(0)).is_err());

        for number in [0, 1, 255, 256, 40_000, 65_535] {
            for (port, session) in [(50_000, 2 * number), (50_001, 2 * number + 1)] {
                let from = SocketAddr::from((REMOTE_V4, REMOTE_PORT));
                let to = SocketAddr::from((local(number), port));
                let meta = bench.assert_redirected(&reply(from, to).build());
                assert_eq!(meta.rule, session);
            }
        }
    });
}

#[test]
fn repeated_runs_all_take_the_fast_path() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| bench(true).assert_redirects_repeatedly(&reply_v4(50_000).build()));
}
