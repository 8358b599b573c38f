//! A UDP socket that tells TTL and TOS of what it receives, and sets those of what it sends.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{
    IpRecvTos, Ipv4RecvTtl, Ipv6RecvHopLimit, Ipv6RecvTClass, RcvBuf, RcvBufForce, RxqOvfl,
};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};

use crate::Error;

/// Room for a burst while the reflector is not scheduled; the kernel doubles it.
const SOCKET_BUFFER: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Socket(UdpSocket);

/// A datagram as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub len: usize,
    pub from: SocketAddr,
    pub ttl: u8,
    pub tos: u8,
    /// Datagrams dropped at the socket before it, if any were.
    pub dropped: Option<u32>,
}

impl Socket {
    pub(super) fn bind(address: SocketAddr) -> Result<Self, Error> {
        let socket = UdpSocket::bind(address)
            .map_err(|error| Error::io(format!("bind {address}"), error))?;
        let set_up = || {
            if address.is_ipv4() {
                setsockopt(&socket, Ipv4RecvTtl, &true)?;
                setsockopt(&socket, IpRecvTos, &true)?;
            } else {
                setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
                setsockopt(&socket, Ipv6RecvTClass, &true)?;
            }
            // Beyond the system's limit where that is allowed.
            setsockopt(&socket, RcvBufForce, &SOCKET_BUFFER)
                .or_else(|_| setsockopt(&socket, RcvBuf, &SOCKET_BUFFER))?;
            setsockopt(&socket, RxqOvfl, &1)
        };
        set_up().map_err(|errno| Error::io(format!("set up a socket on {address}"), errno))?;
        Ok(Self(socket))
    }

    pub(super) fn address(&self) -> Result<SocketAddr, Error> {
        self.0
            .local_addr()
            .map_err(|error| Error::io("read a socket's address", error))
    }

    /// Takes a datagram that is there already.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Option<Received>, Error> {
        match receive(&self.0, buffer) {
            Ok(received) => Ok(Some(received)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(Error::io("receive a request", errno)),
        }
    }

    pub(super) fn send(
        &self,
        payload: &[u8],
        to: SocketAddr,
        ttl: u8,
        tos: u8,
    ) -> Result<(), Error> {
        let parts = [IoSlice::new(payload)];
        let (wide_ttl, wide_tos) = (i32::from(ttl), i32::from(tos));
        let control = if to.is_ipv4() {
            [
                ControlMessage::Ipv4Ttl(&wide_ttl),
                ControlMessage::Ipv4Tos(&tos),
            ]
        } else {
            [
                ControlMessage::Ipv6HopLimit(&wide_ttl),
                ControlMessage::Ipv6TClass(&wide_tos),
            ]
        };
        let address = SockaddrStorage::from(to);
        let fd = self.0.as_raw_fd();
        loop {
            match sendmsg(fd, &parts, &control, MsgFlags::empty(), Some(&address)) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::io(format!("send a reply to {to}"), errno)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    // TTL and TOS, four octets each at most, and the count of drops
    let mut control = nix::cmsg_space!(i32, i32, u32);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let from = message.address.as_ref().and_then(socket_address);
    let mut received = Received {
        len: message.bytes,
        from: from.ok_or(Errno::EAFNOSUPPORT)?,
        ttl: 0,
        tos: 0,
        dropped: None,
    };
    for told in message.cmsgs()? {
        match told {
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                received.ttl = u8::try_from(ttl).map_err(|_| Errno::EINVAL)?;
            }
            ControlMessageOwned::Ipv4Tos(tos) => received.tos = tos,
            ControlMessageOwned::Ipv6TClass(tos) => {
                received.tos = u8::try_from(tos).map_err(|_| Errno::EINVAL)?;
            }
            ControlMessageOwned::RxqOvfl(dropped) => received.dropped = Some(dropped),
            _ => {}
        }
    }
    Ok(received)
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().copied();
    let v6 = storage.as_sockaddr_in6().copied();
    v4.map(|v4| SocketAddr::V4(v4.into()))
        .or_else(|| v6.map(|v6| SocketAddr::V6(v6.into())))
}
