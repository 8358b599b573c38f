//! This host's own addresses, kept current: XDP does not know them, and a reflector that answered
//! for others would hijack transit traffic on a routing host.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// The addresses a packet arriving on `interface` may be destined to: all of the host's, but
/// loopback addresses, the link-local ones of other interfaces, and IPv6 addresses that duplicate
/// address detection has not found to be ours (RFC 4862 section 5.4).
///
/// # Errors
///
/// The kernel does not answer.
pub fn local(interface: &str) -> io::Result<BTreeSet<IpAddr>> {
    let unconfirmed = unconfirmed()?;
    Ok(getifaddrs()?
        .filter_map(|entry| reachable_through(&entry, interface))
        .filter(|address| !unconfirmed.contains(address))
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

/// IPv6 addresses that are tentative (and not optimistic) or turned out to be another host's.
/// `getifaddrs` does not tell; `/proc/net/if_inet6` does, and is missing where IPv6 is off.
fn unconfirmed() -> io::Result<BTreeSet<IpAddr>> {
    match fs::read_to_string("/proc/thread-self/net/if_inet6") {
        Ok(table) => Ok(table.lines().filter_map(unconfirmed_in).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// A line holds address, index, prefix length, scope, flags (all in hexadecimal) and name
/// (net/ipv6/addrconf.c, `if6_seq_show`).
fn unconfirmed_in(line: &str) -> Option<IpAddr> {
    /// `IFA_F_OPTIMISTIC`, `IFA_F_DADFAILED` and `IFA_F_TENTATIVE` of `linux/if_addr.h`.
    const OPTIMISTIC: u32 = 0x04;
    const DAD_FAILED: u32 = 0x08;
    const TENTATIVE: u32 = 0x40;
    let mut words = line.split_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?;
    let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
    let tentative = flags & TENTATIVE != 0 && flags & OPTIMISTIC == 0;
    (tentative || flags & DAD_FAILED != 0).then_some(IpAddr::V6(address.into()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_not_found_to_be_ours_are_left_out() {
        let line = |flags: &str| {
            unconfirmed_in(&format!(
                "fd000862000000000000000000000001 0a 40 00 {flags}   veth-r"
            ))
        };
        let address = Some("fd00:862::1".parse().unwrap());
        assert_eq!(line("80"), None, "permanent");
        assert_eq!(line("c0"), address, "tentative");
        assert_eq!(line("c4"), None, "tentative, but optimistic");
        assert_eq!(line("c8"), address, "a duplicate");
        assert_eq!(unconfirmed_in("garbage"), None);
    }
}
