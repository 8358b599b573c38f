//! This host's own addresses, kept current: XDP does not know them, and a reflector that answered
//! for others would hijack transit traffic on a routing host.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// The addresses a packet arriving on `interface` may be destined to: all of the host's, but
/// loopback addresses and the link-local ones of other interfaces.
///
/// # Errors
///
/// The kernel does not answer.
pub fn local(interface: &str) -> io::Result<BTreeSet<IpAddr>> {
    Ok(getifaddrs()?
        .filter_map(|entry| reachable_through(&entry, interface))
        .collect())
}

fn reachable_through(entry: &InterfaceAddress, interface: &str) -> Option<IpAddr> {
    let address = entry.address.as_ref()?;
    if let Some(v4) = address.as_sockaddr_in() {
        let ip = v4.ip();
        return (!ip.is_loopback()).then_some(IpAddr::V4(ip));
    }
    let ip = address.as_sockaddr_in6()?.ip();
    let foreign_link_local = ip.is_unicast_link_local() && entry.interface_name != interface;
    (!ip.is_loopback() && !foreign_link_local).then_some(IpAddr::V6(ip))
}

/// Tells when an address or an interface of this network namespace changed (rtnetlink(7)).
///
/// What changed is not told: the tables are small, and reading them anew cannot miss a message.
#[derive(Debug)]
pub struct ChangeWatch(OwnedFd);

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` of `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

impl ChangeWatch {
    /// Subscribes.
    ///
    /// # Errors
    ///
    /// The kernel refuses a netlink socket.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self(fd))
    }

    /// Takes all pending messages; true if there was one, or if some were lost to overflow.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn drain(&self) -> io::Result<bool> {
        let mut buffer = [0; 8192];
        let mut changed = false;
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(0) | Err(Errno::EAGAIN) => return Ok(changed),
                Ok(_) | Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for ChangeWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
