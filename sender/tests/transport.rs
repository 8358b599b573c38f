//! The socket transport against plain sockets: headers, timestamps, batches, and what the kernel
//! tells of drops and ICMP errors.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[expect(dead_code, reason = "other test files use the rest")]
mod common;

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use clock::{Clock, SystemClock};
use common::has_ipv6;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use sender::config::HeaderConfig;
use sender::config::addresses::Spread;
use sender::measure::{Reception, T4Source};
use sender::transport::{
    HEAD_MAX, IcmpKind, OpenError, Receive, SocketPlan, SocketReceive, SocketTransmit, Transmit,
    open,
};

fn plan(target: SocketAddr, sessions: usize) -> SocketPlan {
    SocketPlan {
        target,
        sources: None,
        source_port: None,
        spread: Spread {
            sessions,
            addresses: 1,
        },
        header: HeaderConfig {
            tos: 0,
            ttl: 255,
            dont_fragment: false,
        },
        device: None,
    }
}

/// A plain socket, and a transport whose target it is.
fn connected(bind: &str, sessions: usize) -> (UdpSocket, SocketTransmit, SocketReceive) {
    let peer = UdpSocket::bind(bind).unwrap();
    let (transmit, receive) = open(&plan(peer.local_addr().unwrap(), sessions)).unwrap();
    (peer, transmit, receive)
}

struct Taken {
    session: usize,
    head: Vec<u8>,
    len: usize,
    reception: Reception,
    ttl: Option<u8>,
    tos: Option<u8>,
}

/// Receives until there are `count` datagrams, for half a minute at most.
fn take(receive: &mut SocketReceive, count: usize) -> Vec<Taken> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(Instant::now() < deadline, "{} of {count}", taken.len());
        take_now(receive, Duration::from_millis(20), &mut taken);
    }
    taken
}

fn take_now(receive: &mut SocketReceive, wait: Duration, taken: &mut Vec<Taken>) -> usize {
    receive
        .receive(wait, &mut |datagram| {
            taken.push(Taken {
                session: datagram.session,
                head: datagram.head.to_vec(),
                len: datagram.len,
                reception: datagram.reception,
                ttl: datagram.ttl,
                tos: datagram.tos,
            });
        })
        .unwrap()
}

/// TTL or hop limit, and TOS or traffic class, of the next datagram.
fn headers(socket: &UdpSocket) -> (i32, i32) {
    let mut octets = [0u8; 64];
    let mut slices = [IoSliceMut::new(&mut octets)];
    let mut control = nix::cmsg_space!(i32, i32);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::empty(),
    )
    .unwrap();
    let (mut ttl, mut tos) = (None, None);
    for message in message.cmsgs().unwrap() {
        match message {
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                ttl = Some(hops);
            }
            ControlMessageOwned::Ipv4Tos(octet) => tos = Some(octet.into()),
            ControlMessageOwned::Ipv6TClass(class) => tos = Some(class),
            _ => {}
        }
    }
    (ttl.unwrap(), tos.unwrap())
}

#[test]
fn probes_leave_with_the_header_asked_for() {
    for (ttl, tos) in [(255, 0), (64, 0xb8), (1, 0x03)] {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            if bind.starts_with('[') && !has_ipv6() {
                continue;
            }
            let peer = UdpSocket::bind(bind).unwrap();
            if bind.starts_with('[') {
                setsockopt(&peer, sockopt::Ipv6RecvHopLimit, &true).unwrap();
                setsockopt(&peer, sockopt::Ipv6RecvTClass, &true).unwrap();
            } else {
                setsockopt(&peer, sockopt::Ipv4RecvTtl, &true).unwrap();
                setsockopt(&peer, sockopt::IpRecvTos, &true).unwrap();
            }
            let mut plan = plan(peer.local_addr().unwrap(), 1);
            plan.header.ttl = ttl;
            plan.header.tos = tos;
            let (mut transmit, _receive) = open(&plan).unwrap();
            transmit.send(0, &[0; 14]).unwrap();
            assert_eq!(headers(&peer), (ttl.into(), tos.into()), "{bind}");
        }
    }
}

#[test]
fn replies_come_with_the_header_they_arrived_with() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        if bind.starts_with('[') && !has_ipv6() {
            continue;
        }
        let (peer, mut transmit, mut receive) = connected(bind, 1);
        let socket = socket2::SockRef::from(&peer);
        if bind.starts_with('[') {
            socket.set_unicast_hops_v6(61).unwrap();
            socket.set_tclass_v6(0xb9).unwrap();
        } else {
            socket.set_ttl_v4(61).unwrap();
            socket.set_tos_v4(0xb9).unwrap();
        }
        transmit.send(0, &[0; 14]).unwrap();
        let (_, source) = peer.recv_from(&mut [0; 64]).unwrap();
        peer.send_to(&[0; 50], source).unwrap();
        let taken = take(&mut receive, 1);
        assert_eq!(
            (taken[0].ttl, taken[0].tos),
            (Some(61), Some(0xb9)),
            "{bind}"
        );
    }
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let mut plan = plan("127.0.0.1:9".parse().unwrap(), 1);
    plan.device = Some("lo".to_owned());
    open(&plan).unwrap();
    plan.device = Some("no-such-if".to_owned());
    assert!(matches!(open(&plan), Err(OpenError::NoInterface(name)) if name == "no-such-if"));
}

#[test]
fn every_reply_of_a_batch_has_its_own_kernel_timestamp() {
    let (peer, mut transmit, mut receive) = connected("127.0.0.1:0", 1);
    transmit.send(0, &[0; 14]).unwrap();
    let mut buffer = [0; 64];
    let (_, source) = peer.recv_from(&mut buffer).unwrap();
    // Until the kernel has switched timestamps on, they are taken in user space, see SETTLE in
    // run/sockets.rs.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        peer.send_to(&[0; 50], source).unwrap();
        if take(&mut receive, 1)[0].reception.source == T4Source::Kernel {
            break;
        }
        assert!(Instant::now() < deadline, "timestamps stay off");
    }
    let before = SystemClock.utc();
    for i in 0..100u8 {
        peer.send_to(&[i; 50], source).unwrap();
    }
    let after = SystemClock.utc();
    let taken = take(&mut receive, 100);
    let mut latest = before;
    for (i, datagram) in (0u8..).zip(&taken) {
        assert_eq!(datagram.head, [i; 50], "in order and not mixed up");
        assert_eq!(datagram.reception.source, T4Source::Kernel);
        let t4 = datagram.reception.t4;
        assert!(
            t4 >= latest && t4 <= after,
            "{i}: {latest:?} {t4:?} {after:?}"
        );
        latest = t4;
    }
}

#[test]
fn a_long_datagram_is_cut_and_its_length_known() {
    let (peer, mut transmit, mut receive) = connected("127.0.0.1:0", 1);
    transmit.send(0, &[0; 14]).unwrap();
    let (_, source) = peer.recv_from(&mut [0; 64]).unwrap();
    for len in [0, 1, HEAD_MAX, HEAD_MAX + 1, 60_000] {
        peer.send_to(&vec![7; len], source).unwrap();
        let taken = take(&mut receive, 1);
        assert_eq!(taken[0].len, len);
        assert_eq!(taken[0].head.len(), len.min(HEAD_MAX));
    }
}

#[test]
fn replies_come_to_the_session_of_their_probe_and_from_the_target_only() {
    let (peer, mut transmit, mut receive) = connected("127.0.0.1:0", 1024);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for session in 0..1024u16 {
        transmit
            .send(usize::from(session), &session.to_be_bytes())
            .unwrap();
        let mut buffer = [0; 64];
        let (len, source) = peer.recv_from(&mut buffer).unwrap();
        stranger.send_to(&buffer[..len], source).unwrap();
        peer.send_to(&buffer[..len], source).unwrap();
    }
    let mut sessions = Vec::new();
    for datagram in take(&mut receive, 1024) {
        let [high, low] = datagram.head[..] else {
            panic!("{:?}", datagram.head)
        };
        assert_eq!(
            datagram.session,
            usize::from(u16::from_be_bytes([high, low]))
        );
        sessions.push(datagram.session);
    }
    sessions.sort_unstable();
    assert_eq!(sessions, (0..1024).collect::<Vec<_>>());
    let mut more = Vec::new();
    assert_eq!(take_now(&mut receive, Duration::ZERO, &mut more), 0);
}

#[test]
fn what_a_full_socket_drops_is_counted() {
    let (peer, mut transmit, mut receive) = connected("127.0.0.1:0", 1);
    transmit.send(0, &[0; 14]).unwrap();
    let (_, source) = peer.recv_from(&mut [0; 64]).unwrap();
    // Loopback delivers or drops before `send_to` returns, and nobody reads meanwhile.
    let fills_it = 2 * transmit.receive_buffer() / 8192;
    for _ in 0..fills_it {
        peer.send_to(&[0; 8192], source).unwrap();
    }
    let mut taken = Vec::new();
    while take_now(&mut receive, Duration::ZERO, &mut taken) > 0 {}
    assert!(
        (1..fills_it).contains(&taken.len()),
        "{} of {fills_it}",
        taken.len()
    );
    // The kernel tells of drops along with the next datagram it can deliver.
    peer.send_to(&[0; 14], source).unwrap();
    take(&mut receive, 1);
    assert_eq!(
        receive.trouble().dropped_here,
        (fills_it - taken.len()) as u64
    );
}

#[test]
fn icmp_errors_are_counted_and_the_next_probe_still_leaves() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        if bind.starts_with('[') && !has_ipv6() {
            continue;
        }
        let closed = UdpSocket::bind(bind).unwrap().local_addr().unwrap();
        let (mut transmit, mut receive) = open(&plan(closed, 2)).unwrap();
        for _ in 0..3 {
            transmit.send(0, &[0; 14]).unwrap();
            transmit.send(1, &[0; 14]).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while receive.trouble().icmp.total() < 2 {
            assert!(Instant::now() < deadline, "{:?}", receive.trouble());
            take_now(&mut receive, Duration::from_millis(20), &mut Vec::new());
        }
        let icmp = receive.trouble().icmp;
        assert_eq!(icmp.leading(), Some(IcmpKind::PortUnreachable), "{bind}");
        assert_eq!(icmp.total(), icmp.of(IcmpKind::PortUnreachable));
    }
}
