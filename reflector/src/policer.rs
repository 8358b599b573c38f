//! Limits for packets that the XDP program has not judged: the slow path, and sockets as the whole
//! reflector.
//!
//! They mean what they mean there ([`ebpf::policer`]): a source's bucket is charged first, and only
//! what it lets through draws on the listener's. Bits are those of the IP packet, header included.
//! The buckets are apart from the kernel's, so beside XDP a listener answers up to its limits once
//! more on the slow path.

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ebpf::policer::{Bucket, Buckets, Now, PacketLimit};
use foldhash::quality::RandomState;

use crate::listener::{LISTENERS_MAX, Limits, Listener, SourceLimit, SourcePrefix};
use crate::rule::ListenerId;

/// Sources that are told apart at once, over all listeners.
pub const SOURCES: usize = SHARDS * SETS * WAYS;

const SHARDS: usize = 64;
const SETS: usize = 256;
const WAYS: usize = 8;

/// A limit that a packet exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exceeded {
    /// That of its source.
    Source,
    /// That of its listener.
    Listener,
}

/// The buckets of all listeners. Any number of threads may charge them; nothing is allocated then.
pub struct Policer {
    listeners: Box<[Buckets]>,
    /// Only where there are limits for sources.
    sources: Option<Sources>,
}

impl Policer {
    /// Buckets that are empty; for sources only where one of these listeners limits them.
    pub fn new(listeners: &[Listener]) -> Self {
        let limits_sources = |listener: &Listener| listener.limits.source.is_some();
        Self {
            listeners: (0..LISTENERS_MAX).map(|_| Buckets::default()).collect(),
            sources: listeners.iter().any(limits_sources).then(Sources::new),
        }
    }

    /// Charges an IP packet of so many octets, `now` since any moment that is the same for all.
    /// `limits` are those of one of the listeners that the buckets were made for.
    ///
    /// # Errors
    ///
    /// The limit that it exceeds.
    pub fn charge(
        &self,
        listener: ListenerId,
        limits: &Limits,
        source: IpAddr,
        octets: u32,
        now: Duration,
    ) -> Result<(), Exceeded> {
        if let (Some(limit), Some(sources)) = (&limits.source, &self.sources)
            && !sources.take_packet(listener, source, limit, now)
        {
            return Err(Exceeded::Source);
        }
        let buckets = usize::try_from(listener)
            .ok()
            .and_then(|at| self.listeners.get(at));
        match buckets {
            Some(buckets) if !buckets.take(Now::since_start(now), &limits.all, octets) => {
                Err(Exceeded::Listener)
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Policer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.is_some();
        f.debug_struct("Policer")
            .field("sources", &sources)
            .finish_non_exhaustive()
    }
}

/// The sources heard of last: a table of sets, each of which forgets the source that it has not heard
/// of for the longest time when another needs its place. A source that is forgotten while it is
/// heard of starts anew; the listener's limit holds all the same.
struct Sources {
    shards: Box<[Mutex<Box<[Set]>>]>,
    hasher: RandomState,
}

type Set = [Slot; WAYS];

#[derive(Default)]
struct Slot {
    /// Hash of listener and source prefix; 0 in a slot that is free. Two sources of one hash would
    /// share a bucket: nobody can bring that about who does not know the hasher's seed.
    tag: u64,
    bucket: Bucket,
    used: Duration,
}

impl Sources {
    fn new() -> Self {
        let shard = || (0..SETS).map(|_| Set::default()).collect();
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::default(),
        }
    }

    fn take_packet(
        &self,
        listener: ListenerId,
        source: IpAddr,
        limit: &SourceLimit,
        now: Duration,
    ) -> bool {
        let tag = self
            .hasher
            .hash_one((listener, masked(source, limit.prefix)));
        self.take(tag.max(1), limit.packets, now)
    }

    fn take(&self, tag: u64, limit: PacketLimit, now: Duration) -> bool {
        let [shard, set, ..] = tag.to_le_bytes().map(usize::from);
        let Some(shard) = self.shards.get(shard % SHARDS) else {
            return true;
        };
        // A thread that died in here left a bucket as good as any.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = shard.get_mut(set).and_then(|set| slot_of(set, tag)) else {
            return true;
        };
        slot.used = now;
        slot.bucket.take_packet(Now::since_start(now), limit)
    }
}

/// The slot of this source in its set: its own, or the longest unused one, made its own.
fn slot_of(set: &mut Set, tag: u64) -> Option<&mut Slot> {
    let own = set.iter().position(|slot| slot.tag == tag);
    let at = own.or_else(|| {
        let ages = set.iter().enumerate();
        ages.min_by_key(|(_, slot)| (slot.tag != 0, slot.used))
            .map(|(at, _)| at)
    });
    let slot = set.get_mut(at?)?;
    if slot.tag != tag {
        *slot = Slot {
            tag,
            ..Slot::default()
        };
    }
    Some(slot)
}

/// The prefix of a source, its host bits zero.
fn masked(source: IpAddr, prefix: SourcePrefix) -> IpAddr {
    match source {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(prefix.v4.into()).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & !host).into()
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(prefix.v6.into()).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & !host).into()
        }
    }
}
