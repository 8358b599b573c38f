//! Listeners: which packets are answered, how, whom, and how many of them.
//!
//! [`validate`] makes them from what was typed ([`crate::args`]) and refuses what cannot work before
//! anything is attached. [`crate::rulebook`] holds them against this host's links and addresses.

mod conflict;
#[cfg(test)]
mod tests;
mod validate;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ebpf::policer::PacketLimit;

pub use conflict::Conflict;
pub use validate::{Invalid, LISTENERS_MAX, validate};

use crate::clients::Clients;
use crate::rule::Rule;

/// What one listener answers, and how: as configured, whatever this host's links and addresses are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// How it answers; [`Rule::listener`] is its number, its place in the configuration.
    pub rule: Rule,
    /// Names of the interfaces it serves; empty: all of this host's (sockets alone can do that).
    pub interfaces: Vec<String>,
    /// Tags of its packets.
    pub vlan: Vlan,
    /// The VRF device whose addresses are local to it; `None`: as the interface or VLAN device has it.
    pub vrf: Option<String>,
    /// Addresses it answers on while they are this host's; empty: every address of this host.
    pub addresses: Vec<IpAddr>,
    /// UDP port.
    pub port: u16,
    /// Provisioned sessions: with any, no other source is answered (RFC 8972 section 3).
    pub peers: Vec<SocketAddr>,
    /// Who may ask; `None`: everybody, or the peers alone where there are some.
    pub clients: Option<Arc<Clients>>,
    /// What becomes of packets from those who may not.
    pub refused: RefusedPolicy,
    /// How much it answers.
    pub limits: Limits,
    /// Leave packets unanswered that come from the port of a general listener.
    pub guard_ports: bool,
}

impl Listener {
    /// Whether it is an open listener: everybody is answered.
    pub fn is_open(&self) -> bool {
        self.clients.is_none() && self.is_general()
    }

    /// Whether it is a general listener: not for its peers alone, with a client list or without. Who
    /// knows none of its sessions may be answered, another reflector, say.
    pub const fn is_general(&self) -> bool {
        self.peers.is_empty()
    }

    /// Whether it answers on every address of this host.
    pub const fn is_any(&self) -> bool {
        self.addresses.is_empty()
    }
}

impl fmt::Display for Listener {
    /// Where it listens: enough to tell it from the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        conflict::write_place(f, &self.interfaces, self.vlan)?;
        match self.addresses.as_slice() {
            [] => f.write_str(", any address")?,
            [first] => write!(f, ", {first}")?,
            [first, rest @ ..] => write!(f, ", {first} and {} more", rest.len())?,
        }
        write!(f, ", port {}", self.port)
    }
}

/// The VLAN tags of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vlan {
    /// None, or a priority tag (VLAN ID 0).
    #[default]
    Untagged,
    /// One, with this VLAN ID, 1 to 4094.
    Tag(u16),
    /// Two: the outer VLAN ID, the inner one, each 1 to 4094.
    QinQ(u16, u16),
}

impl Vlan {
    /// The outer and the inner VLAN ID; 0 where there is no tag.
    pub const fn ids(self) -> (u16, u16) {
        match self {
            Self::Untagged => (0, 0),
            Self::Tag(vid) => (vid, 0),
            Self::QinQ(outer, inner) => (outer, inner),
        }
    }
}

impl fmt::Display for Vlan {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged => f.write_str("none"),
            Self::Tag(vid) => write!(f, "{vid}"),
            Self::QinQ(outer, inner) => write!(f, "{outer}.{inner}"),
        }
    }
}

/// What becomes of a packet whose source may not ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefusedPolicy {
    /// Dropped, in XDP.
    #[default]
    Drop,
    /// Passed to the kernel: its firewall and captures see it. Where the listener has a slow path, the
    /// port is the reflector's own socket's, which does not answer it either.
    Pass,
}

/// How much a listener answers; [`crate::policer`] says how that is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// For each source, charged first.
    pub source: Option<SourceLimit>,
    /// For all sources together.
    pub all: ebpf::policer::Limits,
}

impl Limits {
    /// Depth of the buckets unless told otherwise: room for the packets of a tenth of a second, as
    /// jitter and timers of senders bunch them.
    pub const DEFAULT_BURST: Duration = Duration::from_millis(100);
}

/// How much each source is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLimit {
    /// Packets.
    pub packets: PacketLimit,
    /// What one source is.
    pub prefix: SourcePrefix,
}

/// Lengths of the prefixes that count as one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourcePrefix {
    /// For IPv4, 0 (all are one) to 32.
    pub v4: u8,
    /// For IPv6, 0 (all are one) to 128.
    pub v6: u8,
}

impl Default for SourcePrefix {
    /// An IPv4 host; an IPv6 subnet, within which a host has addresses to spare.
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}
