//! Questions to the kernel over rtnetlink(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

/// A socket for questions, one at a time.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Asks for one object.
    pub(super) fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        self.exchange(message, 0)?
            .ok_or_else(|| io::Error::other("the kernel acknowledged a question"))
    }

    /// Asks for a change, with more flags of the netlink header.
    pub(super) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(message, NLM_F_ACK | flags).map(|_| ())
    }

    /// The answer, or `None` for an acknowledgement.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut octets = vec![0; packet.buffer_len()];
        packet.serialize(&mut octets);
        self.socket.send(&octets, 0)?;
        loop {
            let octets = match self.socket.recv_from_full() {
                Ok((octets, _)) => octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&octets)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let (header, payload) = answer.into_parts();
            if header.sequence_number != self.sequence {
                continue;
            }
            match payload {
                NetlinkPayload::InnerMessage(message) => return Ok(Some(message)),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) => return Ok(None),
                _ => {}
            }
        }
    }
}

/// News of changes, whatever they say.
pub(super) struct News(Socket);

impl News {
    /// Hears of changes of a multicast group, `RTNLGRP_*`, from now on.
    pub(super) fn of(group: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.add_membership(group)?;
        Ok(Self(socket))
    }

    /// Waits until there is some, for `at_most`, and forgets it.
    pub(super) fn wait(&self, at_most: Duration) -> io::Result<()> {
        // Rounded up, so that the last part of a millisecond is no busy loop.
        let millis = at_most.as_millis().saturating_add(1);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut octet = [0];
        loop {
            match recv(self.0.as_raw_fd(), &mut octet, MsgFlags::MSG_DONTWAIT) {
                // ENOBUFS: some news was lost, which is news.
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
