//! Sending replies, many at a time: runs of replies with the same source address and TOS octet share
//! a system call and its control data.

use std::array;
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{c_int, in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use super::receive::{BATCH, Batch};

/// A reply that lies in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// Which buffer of the batch.
    pub place: usize,
    /// Octets of it.
    pub len: usize,
    /// Who gets it.
    pub to: SocketAddr,
    /// What it shares with the rest of its run.
    pub header: Header,
}

/// The part of a reply's IP header that differs from the socket's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub from: IpAddr,
    /// TOS or Traffic Class octet.
    pub tos: u8,
    /// Index of the device to send on; 0: as the host routes it.
    pub device: u32,
}

/// Message headers for sending, used over and over.
#[derive(Debug)]
pub struct Sender {
    v4: MultiHeaders<SockaddrStorage>,
    v6: MultiHeaders<SockaddrStorage>,
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}

impl Sender {
    /// Room for [`BATCH`] replies.
    pub fn new() -> Self {
        let v4 = nix::cmsg_space!(in_pktinfo, u8);
        let v6 = nix::cmsg_space!(in6_pktinfo, c_int);
        Self {
            v4: MultiHeaders::preallocate(BATCH, Some(v4)),
            v6: MultiHeaders::preallocate(BATCH, Some(v6)),
        }
    }

    /// Sends the first of `run`, [`BATCH`] at most, and tells how many the kernel took; it is at
    /// least one. All have the [`Header`] of the first.
    ///
    /// # Errors
    ///
    /// Why the kernel did not take the first. The others may have better luck.
    pub fn send(
        &mut self,
        socket: &UdpSocket,
        batch: &Batch,
        run: &[Outgoing],
    ) -> Result<usize, Errno> {
        let Some(first) = run.first() else {
            return Ok(0);
        };
        let Header { from, tos, device } = first.header;
        match from {
            IpAddr::V4(from) => {
                let info = in_pktinfo {
                    ipi_ifindex: c_int::try_from(device).unwrap_or(0),
                    ipi_spec_dst: in_addr {
                        s_addr: u32::from(from).to_be(),
                    },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                let controls = [
                    ControlMessage::Ipv4PacketInfo(&info),
                    ControlMessage::Ipv4Tos(&tos),
                ];
                send_run(socket, &mut self.v4, batch, run, &controls)
            }
            IpAddr::V6(from) => {
                let info = in6_pktinfo {
                    ipi6_addr: in6_addr {
                        s6_addr: from.octets(),
                    },
                    ipi6_ifindex: device,
                };
                let tos = i32::from(tos);
                let controls = [
                    ControlMessage::Ipv6PacketInfo(&info),
                    ControlMessage::Ipv6TClass(&tos),
                ];
                send_run(socket, &mut self.v6, batch, run, &controls)
            }
        }
    }
}

fn send_run(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrStorage>,
    batch: &Batch,
    run: &[Outgoing],
    controls: &[ControlMessage<'_>; 2],
) -> Result<usize, Errno> {
    let slices: [_; BATCH] = array::from_fn(|at| {
        let octets = run
            .get(at)
            .map(|reply| batch.payload(reply.place, reply.len));
        [IoSlice::new(octets.unwrap_or_default())]
    });
    let to: [_; BATCH] =
        array::from_fn(|at| run.get(at).map(|reply| SockaddrStorage::from(reply.to)));
    let count = run.len().min(BATCH);
    let sent = sendmmsg(
        socket.as_raw_fd(),
        headers,
        slices.iter().take(count),
        to.as_slice(),
        controls.as_slice(),
        MsgFlags::MSG_DONTWAIT,
    )?;
    Ok(sent.count())
}
