//! The reflector's XDP program over named frames, run by `BPF_PROG_TEST_RUN`: no interface is
//! attached to. A test run arrives on the loopback interface of the namespace, queue 0.

#![cfg(test)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;

use clock::{Clock, SystemClock};
use ebpf::{Interface, ListenerKey, ReflectorProgram, Rule, RxMeta, T2Source, Verdict};
use libbpf_rs::ProgramInput;
use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Namespace, Need, UdpFrame, skip_unless};
use xsk::{BindMode, Socket, SocketConfig, Umem, UmemConfig};

const LOOPBACK: u32 = 1;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 862;
const RULE: u32 = 7;
const FRAME_LIMIT: u16 = 1700;

/// `enum xdp_action` of `linux/bpf.h`.
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// The program with listeners on [`V4`] and [`V6`], and a socket on queue 0 if asked for.
struct Bench {
    program: ReflectorProgram,
    _socket: Option<(Socket, xsk::Queue)>,
}

/// What a run did.
struct Outcome {
    action: u32,
    verdict: Verdict,
    /// Metadata, if the program left any, and the frame.
    meta: Option<RxMeta>,
    frame: Vec<u8>,
}

impl Bench {
    fn new(with_socket: bool) -> Self {
        let program = ReflectorProgram::load(1, true).unwrap();
        program
            .set_interface(
                LOOPBACK,
                Interface {
                    mac: MAC,
                    frame_limit: FRAME_LIMIT,
                },
            )
            .unwrap();
        for address in [IpAddr::V4(V4), IpAddr::V6(V6)] {
            program
                .add_listener(&listener(address), Rule { id: RULE })
                .unwrap();
        }
        let socket = with_socket.then(|| {
            let umem = Umem::allocate(&UmemConfig {
                frames: 4096,
                ..UmemConfig::default()
            });
            let config = SocketConfig {
                mode: BindMode::Copy,
                ..SocketConfig::new(LOOPBACK, 0)
            };
            let (socket, queue) = Socket::open(&config, umem.unwrap()).unwrap();
            program.set_socket(0, socket.as_fd()).unwrap();
            (socket, queue)
        });
        Self {
            program,
            _socket: socket,
        }
    }

    /// Runs the program over a frame and reads its verdict off the counters: exactly one moved.
    fn run(&self, frame: &[u8]) -> Outcome {
        let before = self.program.verdicts().unwrap();
        let mut out = vec![0; frame.len() + 256];
        let output = self
            .program
            .test_run(ProgramInput {
                data_in: Some(frame),
                data_out: Some(&mut out),
                repeat: 1,
                ..ProgramInput::default()
            })
            .unwrap();
        let (action, out) = (
            output.return_value,
            output.data.unwrap_or_default().to_vec(),
        );
        let after = self.program.verdicts().unwrap();
        let moved: Vec<Verdict> = after
            .iter()
            .filter(|(verdict, count)| *count != before.of(*verdict))
            .map(|(verdict, _)| verdict)
            .collect();
        assert_eq!(moved.len(), 1, "counters that moved: {moved:?}");

        // The kernel returns metadata and frame together.
        let at = out.len() - frame.len();
        let meta = (at > 0).then(|| out[..at].try_into().unwrap());
        Outcome {
            action,
            verdict: moved[0],
            meta: meta.and_then(|bytes| RxMeta::from_bytes(&bytes)),
            frame: out[at..].to_vec(),
        }
    }

    fn assert_passed(&self, frame: &[u8], verdict: Verdict) {
        let outcome = self.run(frame);
        assert_eq!((outcome.verdict, outcome.action), (verdict, XDP_PASS));
        assert_eq!(outcome.meta, None, "a passed packet carries no metadata");
        assert_eq!(outcome.frame, frame, "a passed packet is untouched");
    }

    fn assert_redirected(&self, frame: &[u8]) -> RxMeta {
        let outcome = self.run(frame);
        assert_eq!(
            (outcome.verdict, outcome.action),
            (Verdict::Redirected, XDP_REDIRECT)
        );
        assert_eq!(outcome.frame, frame, "the frame itself is untouched");
        outcome.meta.unwrap()
    }
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

/// Runs a test in a fresh namespace, where the loopback interface is nobody else's.
fn in_namespace(test: impl FnOnce() + Send) {
    Namespace::new().unwrap().run(test);
}

/// Where everything lies, as the program must have seen it.
fn assert_layout(meta: &RxMeta, tags: u8, ip_header: u16, payload_len: u16) {
    let l3 = 14 + 4 * u16::from(tags);
    assert_eq!(meta.vlan_tags, tags);
    assert_eq!((meta.l3, meta.l4), (l3, l3 + ip_header));
    assert_eq!(
        (meta.payload, meta.payload_len),
        (l3 + ip_header + 8, payload_len)
    );
    assert_eq!(meta.rule, RULE);
}

#[test]
fn redirects_plain_packets_with_an_arrival_stamp() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = Bench::new(true);
        for (frame, ip_header) in [(v4(), 20), (v6(), 40)] {
            let before = SystemClock.tai();
            let meta = bench.assert_redirected(&frame.build());
            let after = SystemClock.tai();
            assert_layout(&meta, 0, ip_header, 44);
            assert_eq!(meta.t2_source, T2Source::KERNEL_TAI);
            let t2 = i64::try_from(meta.t2_ns).unwrap();
            assert!(
                (before.nanos()..=after.nanos()).contains(&t2),
                "T2 between two readings"
            );
        }
    });
}

#[test]
fn reads_the_payload_length_from_udp_and_not_from_a_padded_runt() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = Bench::new(true);
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
        let bench = Bench::new(true);
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
        let bench = Bench::new(true);
        let frame = v4().vlan(CUSTOMER_TAG, 0).build();
        assert_layout(&bench.assert_redirected(&frame), 1, 20, 44);
    });
}

#[test]
fn passes_what_it_does_not_fully_understand() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = Bench::new(true);
        let arp = {
            let mut frame = v4().build();
            frame[12..14].copy_from_slice(&0x0806_u16.to_be_bytes());
            frame
        };
        let tcp = {
            let mut frame = v4().build();
            frame[14 + 9] = 6;
            frame
        };
        let wrong_version = {
            let mut frame = v4().build();
            frame[14] = 0x65;
            frame
        };
        let short_header = {
            let mut frame = v4().build();
            frame[14] = 0x44;
            frame
        };
        let three_tags = v4()
            .vlan(SERVICE_TAG, 1)
            .vlan(CUSTOMER_TAG, 2)
            .vlan(CUSTOMER_TAG, 3)
            .build();
        let cases = [
            ("ARP", arp, Verdict::PassedNotIp),
            ("TCP", tcp, Verdict::PassedNotUdp),
            (
                "IP version 6 in an IPv4 frame",
                wrong_version,
                Verdict::PassedIpMalformed,
            ),
            ("IHL 4", short_header, Verdict::PassedIpMalformed),
            ("three VLAN tags", three_tags, Verdict::PassedVlanDepth),
            (
                "IPv4 options",
                v4().ipv4_options(&[1; 4]).build(),
                Verdict::PassedIpOptions,
            ),
            (
                "IPv6 hop-by-hop header",
                v6().hop_by_hop().build(),
                Verdict::PassedIpOptions,
            ),
            (
                "first IPv4 fragment",
                v4().fragment(0, true).build(),
                Verdict::PassedFragment,
            ),
            (
                "last IPv4 fragment",
                v4().fragment(5, false).build(),
                Verdict::PassedFragment,
            ),
            (
                "IPv6 fragment",
                v6().fragment(0, true).build(),
                Verdict::PassedIpOptions,
            ),
            (
                "UDP length 7",
                v4().udp_length(7).build(),
                Verdict::PassedUdpLength,
            ),
            (
                "UDP length over IP length",
                v4().udp_length(53).build(),
                Verdict::PassedUdpLength,
            ),
            (
                "UDP length under IP length",
                v6().udp_length(51).build(),
                Verdict::PassedUdpLength,
            ),
        ];
        for (name, frame, verdict) in cases {
            eprintln!("{name}");
            bench.assert_passed(&frame, verdict);
        }
    });
}

#[test]
fn passes_what_is_for_somebody_else() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = Bench::new(true);
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
        let bench = Bench::new(true);
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
        let bench = Bench::new(true);
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
        let bench = Bench::new(true);
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
    in_namespace(|| {
        let bench = Bench::new(true);
        let of_length = |octets: usize| v4().payload(&vec![0; octets - 42]).build();
        let limit = usize::from(FRAME_LIMIT);
        bench.assert_redirected(&of_length(limit));
        bench.assert_passed(&of_length(limit + 1), Verdict::PassedTooLong);
        // Longer than a page: the kernel runs it as a multi-buffer frame.
        bench.assert_passed(&of_length(6000), Verdict::PassedTooLong);
    });
}

#[test]
fn without_a_socket_on_the_queue_the_kernel_gets_the_packet() {
    skip_unless!(Need::NetworkNamespace, Need::Bpf);
    in_namespace(|| {
        let bench = Bench::new(false);
        bench.assert_passed(&v4().build(), Verdict::PassedNoSocket);
    });
}

#[test]
fn repeated_runs_all_take_the_fast_path() {
    // The context is not reset between the runs of one call: metadata must not pile up.
    const RUNS: u32 = 1000;
    skip_unless!(Need::NetworkNamespace, Need::Bpf, Need::AfXdp);
    in_namespace(|| {
        let bench = Bench::new(true);
        let frame = v4().build();
        bench
            .program
            .test_run(ProgramInput {
                data_in: Some(&frame),
                repeat: RUNS,
                ..ProgramInput::default()
            })
            .unwrap();
        assert_eq!(
            bench.program.verdicts().unwrap().of(Verdict::Redirected),
            u64::from(RUNS)
        );
    });
}
