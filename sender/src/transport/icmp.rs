//! ICMP errors about our probes, read from a socket's error queue (ip(7), `IP_RECVERR`).

use std::fmt;
use std::io::IoSliceMut;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc::{sock_extended_err, sockaddr_in6};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, Timestamps, recvmsg};

/// What an ICMP error says of the way to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpKind {
    /// No socket has the port there.
    PortUnreachable,
    /// The last router, or this host, finds no such neighbour.
    HostUnreachable,
    /// A router has no route.
    NetworkUnreachable,
    /// A firewall says no.
    Prohibited,
    /// A link on the path is too narrow and fragmentation did not help.
    TooBig,
    /// The packets run in a circle.
    TimeExceeded,
    /// Anything else.
    Other,
}

/// ICMP errors by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IcmpCounts([u64; IcmpKind::ALL.len()]);

impl IcmpKind {
    /// Every kind, the most telling first.
    pub const ALL: [Self; 7] = [
        Self::PortUnreachable,
        Self::Prohibited,
        Self::HostUnreachable,
        Self::NetworkUnreachable,
        Self::TooBig,
        Self::TimeExceeded,
        Self::Other,
    ];

    /// Kind of an `ICMPv4` error (RFC 792, RFC 1812 section 5.2.7.1).
    pub(super) fn from_v4(kind: u8, code: u8) -> Self {
        match (kind, code) {
            (3, 3) => Self::PortUnreachable,
            (3, 1 | 7 | 8 | 12) => Self::HostUnreachable,
            (3, 0 | 5 | 6 | 11) => Self::NetworkUnreachable,
            (3, 9 | 10 | 13) => Self::Prohibited,
            (3, 4) => Self::TooBig,
            (11, _) => Self::TimeExceeded,
            _ => Self::Other,
        }
    }

    /// Kind of an `ICMPv6` error (RFC 4443 section 3).
    pub(super) fn from_v6(kind: u8, code: u8) -> Self {
        match (kind, code) {
            (1, 4) => Self::PortUnreachable,
            (1, 3) => Self::HostUnreachable,
            (1, 0) => Self::NetworkUnreachable,
            (1, 1 | 5 | 6) => Self::Prohibited,
            (2, _) => Self::TooBig,
            (3, _) => Self::TimeExceeded,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for IcmpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PortUnreachable => "port unreachable",
            Self::HostUnreachable => "host unreachable",
            Self::NetworkUnreachable => "network unreachable",
            Self::Prohibited => "administratively prohibited",
            Self::TooBig => "packet too big",
            Self::TimeExceeded => "time exceeded",
            Self::Other => "other error",
        })
    }
}

impl IcmpCounts {
    /// Errors of one kind.
    pub fn of(&self, kind: IcmpKind) -> u64 {
        self.0[kind as usize]
    }

    /// Errors of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Errors that say that the target is not reached: all but those about size and circles.
    pub fn unreachable(&self) -> u64 {
        self.total()
            - self.of(IcmpKind::TooBig)
            - self.of(IcmpKind::TimeExceeded)
            - self.of(IcmpKind::Other)
    }

    /// Adds the counts of another.
    pub fn absorb(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The most frequent kind, if there was any error.
    pub fn leading(&self) -> Option<IcmpKind> {
        // `max_by_key` prefers the last of equals, and `ALL` has the most telling first.
        IcmpKind::ALL
            .into_iter()
            .rev()
            .filter(|&kind| self.of(kind) > 0)
            .max_by_key(|&k| self.of(k))
    }

    /// Counts one error.
    pub fn add(&mut self, kind: IcmpKind) {
        self.0[kind as usize] += 1;
    }
}

/// Takes every error waiting on a socket. An error queue that is left to fill up takes the room
/// of the receive buffer away from the replies.
pub(super) fn drain(socket: RawFd, counts: &mut IcmpCounts) {
    // The queue also holds the head of the offending probe; nothing in it is needed.
    let mut octet = [0u8; 1];
    // TTL and TOS come along as they do with replies, and before the error.
    let mut control = nix::cmsg_space!(sock_extended_err, sockaddr_in6, Timestamps, i32, i32);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    loop {
        let mut slices = [IoSliceMut::new(&mut octet)];
        match recvmsg::<SockaddrStorage>(socket, &mut slices, Some(&mut control), flags) {
            Ok(message) => {
                let errors = message.cmsgs().into_iter().flatten();
                for kind in errors.filter_map(|message| classify(&message)) {
                    counts.add(kind);
                }
            }
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Origins of an extended error (linux/errqueue.h).
const ORIGIN_LOCAL: u8 = 1;
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

fn classify(message: &ControlMessageOwned) -> Option<IcmpKind> {
    let (ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _)) =
        message
    else {
        return None;
    };
    Some(match error.ee_origin {
        ORIGIN_ICMP => IcmpKind::from_v4(error.ee_type, error.ee_code),
        ORIGIN_ICMP6 => IcmpKind::from_v6(error.ee_type, error.ee_code),
        // This host already knows that the path is narrower than the probe.
        ORIGIN_LOCAL if error.ee_errno == Errno::EMSGSIZE as u32 => IcmpKind::TooBig,
        _ => IcmpKind::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_kind_and_finds_the_leading_one() {
        let mut counts = IcmpCounts::default();
        assert_eq!((counts.total(), counts.leading()), (0, None));
        counts.add(IcmpKind::HostUnreachable);
        counts.add(IcmpKind::PortUnreachable);
        assert_eq!(
            counts.leading(),
            Some(IcmpKind::PortUnreachable),
            "ALL decides a tie"
        );
        counts.add(IcmpKind::HostUnreachable);
        assert_eq!(counts.leading(), Some(IcmpKind::HostUnreachable));
        assert_eq!(
            (counts.total(), counts.of(IcmpKind::HostUnreachable)),
            (3, 2)
        );
    }

    #[test]
    fn knows_the_codes_of_both_protocols() {
        assert_eq!(IcmpKind::from_v4(3, 3), IcmpKind::PortUnreachable);
        assert_eq!(IcmpKind::from_v4(3, 1), IcmpKind::HostUnreachable);
        assert_eq!(IcmpKind::from_v4(3, 13), IcmpKind::Prohibited);
        assert_eq!(IcmpKind::from_v4(11, 0), IcmpKind::TimeExceeded);
        assert_eq!(IcmpKind::from_v4(12, 0), IcmpKind::Other);
        assert_eq!(IcmpKind::from_v6(1, 4), IcmpKind::PortUnreachable);
        assert_eq!(IcmpKind::from_v6(1, 3), IcmpKind::HostUnreachable);
        assert_eq!(IcmpKind::from_v6(1, 0), IcmpKind::NetworkUnreachable);
        assert_eq!(IcmpKind::from_v6(2, 0), IcmpKind::TooBig);
        assert_eq!(IcmpKind::from_v6(4, 0), IcmpKind::Other);
    }
}
