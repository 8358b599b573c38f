//! ICMP errors about probes that did not leave by a socket, heard on a raw socket.
//!
//! A raw socket hears all ICMP of the namespace. A filter in the kernel lets pass only errors that
//! quote the target's address; whether they are about a probe of ours, the ports in the quote tell.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::icmp_quote::{self, Quote};
use super::socket::system;
use super::sources::Sources;
use super::{IcmpCounts, IcmpKind, OpenError};

/// Errors taken in one call at most, so that a flood of them leaves time for replies.
const TURN: usize = 64;
/// Octets of an error that matter: two IP headers with all options, or eight extension headers of
/// modest size.
const HEAD: usize = 512;

/// An ICMP error about a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// Session of the probe, from 0.
    pub session: usize,
    /// What is wrong.
    pub kind: IcmpKind,
}

/// Hears of ICMP errors about the probes of a run. Needs `CAP_NET_RAW`.
#[derive(Debug)]
pub struct IcmpWatch {
    socket: Socket,
    target: (IpAddr, u16),
    sources: Arc<Sources>,
    counts: IcmpCounts,
}

impl IcmpWatch {
    /// Listens from now on. Within a VRF its name is needed.
    ///
    /// # Errors
    ///
    /// [`OpenError::System`]: raw sockets are not allowed, or the VRF does not exist.
    pub fn open(
        target: SocketAddr,
        sources: Arc<Sources>,
        vrf: Option<&str>,
    ) -> Result<Self, OpenError> {
        let protocol = match target {
            SocketAddr::V4(_) => Protocol::ICMPV4,
            SocketAddr::V6(_) => Protocol::ICMPV6,
        };
        let socket = Socket::new(Domain::for_address(target), Type::RAW, Some(protocol))
            .map_err(system("open a raw socket for ICMP"))?;
        socket
            .attach_filter(&filter(target.ip()))
            .map_err(system("filter ICMP"))?;
        socket
            .set_nonblocking(true)
            .map_err(system("make a socket non-blocking"))?;
        if let Some(vrf) = vrf {
            socket
                .bind_device(Some(vrf.as_bytes()))
                .map_err(system("bind a socket to the VRF"))?;
        }
        Ok(Self {
            socket,
            target: (target.ip(), target.port()),
            sources,
            counts: IcmpCounts::default(),
        })
    }

    /// Hands errors that have come in to `take`, 64 datagrams' worth at most and without waiting,
    /// and returns whether there may be more.
    ///
    /// # Errors
    ///
    /// Receiving is not possible any more.
    pub fn receive(&mut self, take: &mut dyn FnMut(IcmpError)) -> io::Result<bool> {
        let mut buffer = [0; HEAD];
        for _ in 0..TURN {
            let len = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => len,
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let head = buffer.get(..len).unwrap_or(&buffer);
            if let Some(error) = self.ours(head) {
                self.counts.add(error.kind);
                take(error);
            }
        }
        Ok(true)
    }

    /// Errors so far that were about our probes. The network limits their rate, and so may the
    /// socket's buffer: there may have been more.
    pub fn counts(&self) -> IcmpCounts {
        self.counts
    }

    fn ours(&self, packet: &[u8]) -> Option<IcmpError> {
        let Quote {
            kind,
            source: (address, port),
            target,
        } = if self.target.0.is_ipv4() {
            icmp_quote::read_v4(packet)?
        } else {
            icmp_quote::read_v6(packet)?
        };
        if target != self.target {
            return None;
        }
        let session = self.sources.session(address, port)?;
        Some(IcmpError { session, kind })
    }
}

// Instructions of classic BPF (linux/filter.h, linux/bpf_common.h).
/// X = length of the IPv4 header at an offset.
const LOAD_HEADER_LEN: u16 = 0xb1;
/// A = octet, or word, at an offset from the start, or from X.
const LOAD_OCTET: u16 = 0x30;
const LOAD_WORD: u16 = 0x20;
const LOAD_OCTET_AFTER_X: u16 = 0x50;
const LOAD_WORD_AFTER_X: u16 = 0x40;
/// Skip some instructions if A equals a value, others if not.
const JUMP_IF_EQUAL: u16 = 0x15;
/// The end: octets to keep.
const RETURN: u16 = 0x06;

/// Lets pass ICMP errors that quote a packet to `target`; a load beyond the end lets nothing pass.
fn filter(target: IpAddr) -> Vec<SockFilter> {
    let mut program = Vec::new();
    match target {
        // From the IP header on; the quote begins 8 octets after it.
        IpAddr::V4(target) => {
            program.push(SockFilter::new(LOAD_HEADER_LEN, 0, 0, 0));
            program.push(SockFilter::new(LOAD_OCTET_AFTER_X, 0, 0, 0));
            one_of(&mut program, &icmp_quote::V4_ERRORS.map(u32::from));
            program.push(SockFilter::new(LOAD_WORD_AFTER_X, 0, 0, 8 + 16));
            one_of(&mut program, &[target.to_bits()]);
        }
        // From the ICMPv6 header on.
        IpAddr::V6(target) => {
            program.push(SockFilter::new(LOAD_OCTET, 0, 0, 0));
            one_of(&mut program, &icmp_quote::V6_ERRORS.map(u32::from));
            let octets = target.octets();
            let (words, _) = octets.as_chunks::<4>();
            for (word, at) in words.iter().zip((8 + 24..).step_by(4)) {
                program.push(SockFilter::new(LOAD_WORD, 0, 0, at));
                one_of(&mut program, &[u32::from_be_bytes(*word)]);
            }
        }
    }
    program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    program
}

/// Goes on if A is one of a few values.
fn one_of(program: &mut Vec<SockFilter>, values: &[u32]) {
    let alternatives = (1..=u8::MAX).take(values.len());
    for (&value, to_the_end) in values.iter().zip(alternatives.rev()) {
        program.push(SockFilter::new(JUMP_IF_EQUAL, to_the_end, 0, value));
    }
    program.push(SockFilter::new(RETURN, 0, 0, 0));
}
