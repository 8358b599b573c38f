//! News of changes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

/// Tells when something of this network namespace changed (rtnetlink(7)).
///
/// What changed is not told: the tables are small, and reading them anew cannot miss a message.
#[derive(Debug)]
pub struct ChangeWatch(Socket);

impl ChangeWatch {
    /// Hears of changes of links and addresses from now on: opened before they are read first, it
    /// misses none. New offload features of a link are a change too.
    ///
    /// # Errors
    ///
    /// The kernel refuses a netlink socket.
    pub fn open() -> io::Result<Self> {
        Self::of(&[
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV6_IFADDR,
        ])
    }

    /// Hears of changes of the neighbour table from now on.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn neighbours() -> io::Result<Self> {
        Self::of(&[libc::RTNLGRP_NEIGH])
    }

    fn of(groups: &[libc::c_uint]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for &group in groups {
            socket.add_membership(group)?;
        }
        Ok(Self(socket))
    }

    /// Takes all pending news; true if there was some, or if some was lost to overflow.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn drain(&self) -> io::Result<bool> {
        // News is cut off at the end of this: it is not read.
        let mut octet = [0];
        let mut changed = false;
        loop {
            match recv(self.0.as_raw_fd(), &mut octet, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(changed),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until there is news, for `at_most` (rounded up to milliseconds), and takes it. May
    /// return early without any.
    ///
    /// # Errors
    ///
    /// As [`drain`](Self::drain).
    pub fn wait(&self, at_most: Duration) -> io::Result<bool> {
        // Rounded up, so that the last part of a millisecond is no busy loop.
        let millis = at_most.as_millis().saturating_add(1);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.drain()
    }
}

impl AsFd for ChangeWatch {
    /// Readable while there is news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
