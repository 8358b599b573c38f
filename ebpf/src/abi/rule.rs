//! What a match leads to.

use core::mem::{offset_of, size_of};
use std::net::IpAddr;

use super::{as_ipv6, put};
use crate::policer::{Limit, Limits, PacketLimit};

/// What becomes of packets whose source may not ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Refused {
    /// They are dropped.
    #[default]
    Dropped,
    /// The kernel gets them.
    ToKernel,
}

/// Who may ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clients {
    /// Everybody: the listener is an open one.
    #[default]
    All,
    /// Who is on the list in this slot ([`SharedMaps::set_client_list`](crate::SharedMaps::set_client_list)).
    /// While it holds none, nobody is.
    Listed(u16),
    /// Nobody but in an exact session. All other listeners are general ones.
    SessionsOnly,
}

/// A limit for each source prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLimit {
    /// What each may send.
    pub packets: PacketLimit,
    /// Leading bits of an IPv4 source that are its prefix: 32 for each address by itself.
    pub prefix_v4: u8,
    /// Leading bits of an IPv6 source that are its prefix, 128 at most.
    pub prefix_v6: u8,
}

/// What a match leads to: the part of a listener's or an exact session's policy that the XDP program
/// carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Number of the listener: named in [`RxMeta::rule`](crate::RxMeta::rule), and whose counters and
    /// buckets they are. Below [`Sizes::listeners`](crate::Sizes::listeners).
    pub id: u32,
    /// Whose addresses are ours where it answers: of
    /// [`Generation::own_addresses`](crate::Generation::own_addresses).
    pub domain: u32,
    /// Who may ask. An exact session is answered whatever stands here of sessions.
    pub clients: Clients,
    /// What becomes of the packets of others.
    pub refused: Refused,
    /// Leave packets unanswered that come from the port of a general listener (loop guard). An exact
    /// session answers them all the same.
    pub guard_ports: bool,
    /// What each source prefix may send. Charged first.
    pub source_limit: Option<SourceLimit>,
    /// What all may send together.
    pub limits: Limits,
}

#[repr(C)]
struct RawRule {
    id: u32,
    generation: u16,
    flags: u16,
    sessions: u16,
    client_list: u16,
    guard_first: u16,
    guard_last: u16,
    own_filter: u64,
    domain: u32,
    reserved: u32,
    source: RawLimit,
    packets: RawLimit,
    octets: RawLimit,
    source_mask_v4: [u8; 16],
    source_mask_v6: [u8; 16],
}

#[repr(C)]
struct RawLimit {
    cost: u64,
    burst: u64,
}

/// `enum rule_flags`.
const SESSIONS_ONLY: u16 = 1;
const SESSIONS: u16 = 2;
const CLIENTS: u16 = 4;
const REFUSED_TO_KERNEL: u16 = 8;

/// What a rule is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    /// Of the generation.
    pub generation: u16,
    /// Slot of the exact sessions here, if there are any.
    pub sessions: Option<u16>,
    /// Ports that are not answered: lowest and highest. `None` for none.
    pub guarded: Option<(u16, u16)>,
    /// Which addresses may be ours here.
    pub own_filter: OwnFilter,
}

/// `own_filter` of `struct rule`: says of most addresses that they are not ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OwnFilter(u64);

impl OwnFilter {
    /// Of the addresses in either.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Adds an address that is ours: `filter_bit` of `reflector.bpf.c`.
    pub(crate) fn add(&mut self, address: IpAddr) {
        let octets = as_ipv6(address);
        let (halves, _) = octets.as_chunks();
        let either = halves.iter().map(|half| u64::from_be_bytes(*half));
        let folded = either.fold(0, |folded, half| folded ^ half);
        self.0 |= 1 << (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58);
    }
}

impl SourceLimit {
    /// Of IPv4 addresses mapped into IPv6.
    fn mask_v4(self) -> [u8; 16] {
        let host = u32::MAX.checked_shr(self.prefix_v4.into()).unwrap_or(0);
        (!u128::from(host)).to_be_bytes()
    }

    fn mask_v6(self) -> [u8; 16] {
        let host = u128::MAX.checked_shr(self.prefix_v6.into()).unwrap_or(0);
        (!host).to_be_bytes()
    }
}

impl Rule {
    pub(crate) const SIZE: usize = size_of::<RawRule>();

    /// Everything is answered, whoever asks and how often, but not the ports of general listeners.
    pub const fn open(id: u32) -> Self {
        Self {
            id,
            domain: 0,
            clients: Clients::All,
            refused: Refused::Dropped,
            guard_ports: true,
            source_limit: None,
            limits: Limits {
                packets: None,
                bits: None,
            },
        }
    }

    /// The map value of a listener, or of an exact session.
    pub(crate) fn to_bytes(self, context: Context) -> [u8; Self::SIZE] {
        let mut flags = match self.refused {
            Refused::Dropped => 0,
            Refused::ToKernel => REFUSED_TO_KERNEL,
        };
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, offset_of!(RawRule, id), self.id.to_ne_bytes());
        put(
            &mut bytes,
            offset_of!(RawRule, domain),
            self.domain.to_ne_bytes(),
        );
        match self.clients {
            Clients::All => {}
            Clients::SessionsOnly => flags |= SESSIONS_ONLY,
            Clients::Listed(list) => {
                flags |= CLIENTS;
                put(
                    &mut bytes,
                    offset_of!(RawRule, client_list),
                    list.to_ne_bytes(),
                );
            }
        }
        if let Some(source) = self.source_limit {
            put_limit(
                &mut bytes,
                offset_of!(RawRule, source),
                source.packets.limit(),
            );
            put(
                &mut bytes,
                offset_of!(RawRule, source_mask_v4),
                source.mask_v4(),
            );
            put(
                &mut bytes,
                offset_of!(RawRule, source_mask_v6),
                source.mask_v6(),
            );
        }
        if let Some(packets) = self.limits.packets {
            put_limit(&mut bytes, offset_of!(RawRule, packets), packets.limit());
        }
        if let Some(bits) = self.limits.bits {
            put_limit(&mut bytes, offset_of!(RawRule, octets), bits.limit());
        }
        context.write(&mut bytes, flags, self.guard_ports);
        bytes
    }
}

impl Context {
    fn write(self, rule: &mut [u8; Rule::SIZE], flags: u16, guard_ports: bool) {
        let (first, last) = self.guarded.filter(|_| guard_ports).unwrap_or((1, 0));
        let sessions = self.sessions.map_or(0, |_| SESSIONS);
        for (at, value) in [
            (offset_of!(RawRule, generation), self.generation),
            (offset_of!(RawRule, flags), flags | sessions),
            (offset_of!(RawRule, sessions), self.sessions.unwrap_or(0)),
            (offset_of!(RawRule, guard_first), first),
            (offset_of!(RawRule, guard_last), last),
        ] {
            put(rule, at, value.to_ne_bytes());
        }
        put(
            rule,
            offset_of!(RawRule, own_filter),
            self.own_filter.0.to_ne_bytes(),
        );
    }
}

fn put_limit(rule: &mut [u8; Rule::SIZE], at: usize, limit: Limit) {
    put(
        rule,
        at + offset_of!(RawLimit, cost),
        limit.cost.to_ne_bytes(),
    );
    put(
        rule,
        at + offset_of!(RawLimit, burst),
        limit.burst.to_ne_bytes(),
    );
}

const _: () = {
    assert!(Rule::SIZE == 112);
    assert!(offset_of!(RawRule, generation) == 4);
    assert!(offset_of!(RawRule, flags) == 6);
    assert!(offset_of!(RawRule, sessions) == 8);
    assert!(offset_of!(RawRule, client_list) == 10);
    assert!(offset_of!(RawRule, guard_first) == 12);
    assert!(offset_of!(RawRule, guard_last) == 14);
    assert!(offset_of!(RawRule, own_filter) == 16);
    assert!(offset_of!(RawRule, domain) == 24);
    assert!(offset_of!(RawRule, source) == 32);
    assert!(offset_of!(RawRule, packets) == 48);
    assert!(offset_of!(RawRule, octets) == 64);
    assert!(offset_of!(RawRule, source_mask_v4) == 80);
    assert!(offset_of!(RawRule, source_mask_v6) == 96);
    assert!(offset_of!(RawLimit, burst) == 8);
    assert!(size_of::<RawLimit>() == 16);
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_prefix_is_what_its_mask_leaves() {
        let limit = |prefix_v4, prefix_v6| SourceLimit {
            packets: PacketLimit::per_second(1, Duration::ZERO).unwrap(),
            prefix_v4,
            prefix_v6,
        };
        let masks = |v4, v6| {
            let [v4, v6] = [limit(v4, v6).mask_v4(), limit(v4, v6).mask_v6()];
            assert_eq!(v4[..12], [0xff; 12], "mapped addresses stay apart");
            ([v4[12], v4[13], v4[14], v4[15]], v6)
        };
        assert_eq!(masks(0, 0), ([0; 4], [0; 16]));
        assert_eq!(masks(32, 128), ([0xff; 4], [0xff; 16]));
        assert_eq!(masks(255, 255), ([0xff; 4], [0xff; 16]));
        let (v4, v6) = masks(25, 66);
        assert_eq!(v4, [0xff, 0xff, 0xff, 0x80]);
        assert_eq!(v6[7..10], [0xff, 0xc0, 0]);
    }
}
