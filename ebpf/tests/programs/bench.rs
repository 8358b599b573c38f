//! One program, loaded and run over frames without an interface: a test run arrives on the loopback
//! interface of the namespace, queue 0.

use std::os::fd::AsFd;

use clock::{Clock, SystemClock};
use ebpf::{Interface, Role, RxMeta, StampSource, SteeringProgram, Verdict};
use libbpf_rs::ProgramInput;
use testbed::frames::{CUSTOMER_TAG, SERVICE_TAG};
use testbed::{Namespace, UdpFrame};
use xsk::{BindMode, Socket, SocketConfig, Umem, UmemConfig};

/// Index of the loopback interface.
pub const LOOPBACK: u32 = 1;
/// What the programs take for that interface's address.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Longest frame for AF_XDP.
pub const FRAME_LIMIT: u16 = 1700;

/// `enum xdp_action` of `linux/bpf.h`.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// A program that knows the loopback interface, and a socket on its queue 0 if asked for.
pub struct Bench<R: Role> {
    pub program: SteeringProgram<R>,
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

impl<R: Role> Bench<R> {
    pub fn new(program: SteeringProgram<R>, with_socket: bool) -> Self {
        program
            .set_interface(
                LOOPBACK,
                Interface {
                    mac: MAC,
                    frame_limit: FRAME_LIMIT,
                },
            )
            .unwrap();
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

    pub fn assert_passed(&self, frame: &[u8], verdict: Verdict) {
        let outcome = self.run(frame);
        assert_eq!((outcome.verdict, outcome.action), (verdict, XDP_PASS));
        assert_eq!(outcome.meta, None, "a passed packet carries no metadata");
        assert_eq!(outcome.frame, frame, "a passed packet is untouched");
    }

    pub fn assert_dropped(&self, frame: &[u8], verdict: Verdict) {
        assert!(verdict.is_drop());
        let outcome = self.run(frame);
        assert_eq!((outcome.verdict, outcome.action), (verdict, XDP_DROP));
    }

    pub fn assert_redirected(&self, frame: &[u8]) -> RxMeta {
        let outcome = self.run(frame);
        assert_eq!(
            (outcome.verdict, outcome.action),
            (Verdict::Redirected, XDP_REDIRECT)
        );
        assert_eq!(outcome.frame, frame, "the frame itself is untouched");
        outcome.meta.unwrap()
    }

    /// The frame is redirected, with the time at which it came as stamp.
    pub fn assert_stamped(&self, frame: &[u8]) -> RxMeta {
        let before = SystemClock.tai();
        let meta = self.assert_redirected(frame);
        let after = SystemClock.tai();
        assert_eq!(meta.stamp_source, StampSource::KERNEL_TAI);
        let arrival = i64::try_from(meta.arrival_ns).unwrap();
        assert!(
            (before.nanos()..=after.nanos()).contains(&arrival),
            "the arrival between two readings"
        );
        meta
    }

    /// Of a plain IPv4 frame that the program redirects, longer and longer ones.
    pub fn assert_passes_what_no_chunk_holds(&self, plain: &UdpFrame) {
        let of_length = |octets: usize| plain.clone().payload(&vec![0; octets - 42]).build();
        let limit = usize::from(FRAME_LIMIT);
        self.assert_redirected(&of_length(limit));
        self.assert_passed(&of_length(limit + 1), Verdict::PassedTooLong);
        // Longer than a page: the kernel runs it as a multi-buffer frame.
        self.assert_passed(&of_length(6000), Verdict::PassedTooLong);
        // What follows the datagram counts, too.
        self.assert_redirected(&plain.clone().pad_to(limit).build());
        self.assert_passed(
            &plain.clone().pad_to(limit + 1).build(),
            Verdict::PassedTooLong,
        );
        self.assert_passed(&plain.clone().pad_to(6000).build(), Verdict::PassedTooLong);
    }

    /// The context is not reset between the runs of one call: metadata must not pile up.
    pub fn assert_redirects_repeatedly(&self, frame: &[u8]) {
        assert_eq!(self.flood(frame, 1000, Verdict::Redirected), 1000);
    }

    /// Whether a single run redirects the frame: without a look at the counters, for many frames.
    pub fn redirects(&self, frame: &[u8]) -> bool {
        let output = self.program.test_run(ProgramInput {
            data_in: Some(frame),
            ..ProgramInput::default()
        });
        output.unwrap().return_value == XDP_REDIRECT
    }

    /// Runs the program over a frame so many times, microseconds in all (the call takes longer: the
    /// kernel prepares for speed); returns how many had this verdict.
    pub fn flood(&self, frame: &[u8], times: u32, verdict: Verdict) -> u64 {
        let before = self.program.verdicts().unwrap().of(verdict);
        self.program.time_runs(frame, times).unwrap();
        self.program.verdicts().unwrap().of(verdict) - before
    }
}

/// Runs a test in a fresh namespace, where the loopback interface is nobody else's.
pub fn in_namespace(test: impl FnOnce() + Send) {
    Namespace::new().unwrap().run(test);
}

/// Where everything lies, as the program must have seen it.
pub fn assert_layout(meta: &RxMeta, tags: u8, ip_header: u16, payload_len: u16) {
    let l3 = 14 + 4 * u16::from(tags);
    assert_eq!(meta.vlan_tags, tags);
    assert_eq!((meta.l3, meta.l4), (l3, l3 + ip_header));
    assert_eq!(
        (meta.payload, meta.payload_len),
        (l3 + ip_header + 8, payload_len)
    );
}

/// Frames no program understands fully, with the verdict each must get, made of plain frames with a
/// payload of 44 octets that the program redirects.
pub fn strange_frames(
    v4: impl Fn() -> UdpFrame,
    v6: impl Fn() -> UdpFrame,
) -> Vec<(&'static str, Vec<u8>, Verdict)> {
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
    vec![
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
    ]
}
