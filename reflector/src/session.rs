//! Sessions that a stateful listener numbers replies for: a bounded table, used by all threads that
//! answer packets at once.
//!
//! A session is what has the same [`SessionKey`]; its numbers are 0, 1, 2 and so on, each given once,
//! until no packet has come for the idle time (REFWAIT, RFC 5357 section 4.2); then it begins again
//! at 0. Packets of a session that is there cost no lock; what begins or ends a session takes that
//! of a shard. Nothing is allocated after [`Sessions::new`].
//!
//! # Memory
//!
//! ```text
//!   hash of the key ─► shard ─► index: entries of 4 octets ─► slots: 64 octets each, used in order
//! ```
//!
//! A shard has up to 16 384 slots. Sessions use them from the first on, so that few
//! sessions are few cache lines, pages and entries of the translation buffer, and so that memory
//! that the system gives when it is written to is paid for by sessions. The index doubles as the
//! sessions do. At the limit a session takes up to 102 octets: 64 and up to 7 % for shards that get
//! more than others, and up to 32 of indices. Layout: `slot.rs`, `index.rs`.
//!
//! # Why a number is never given twice
//!
//! Word 0 of a slot holds its generation, its last packet's time and the next number. It alone decides.
//!
//! 1. *One session, one life.* Only under the shard's lock does a generation change. It is odd while
//!    the slot is a session's. Within a generation, word 0 is changed by compare-and-exchange alone,
//!    each of which adds 1 to the number that it found and gives that one away. So the numbers of a
//!    generation are distinct and without gaps, however many threads take them. The one that ends
//!    a generation is a compare-and-exchange too: it fails if a number was taken since the session
//!    was seen to be idle.
//! 2. *The right session.* A thread reads word 0 with generation g, compares the key, and exchanges
//!    word 0 only if its generation is still g. If any word of the key that it read was a later
//!    session's, the fences in `bump` and `occupy` make it see the generation that followed g as
//!    well, and the exchange fails; the acquiring load of g makes it see the key of g or later ones.
//!    So the key compared was that of g. Only a thread that sleeps while the slot goes through 32 768
//!    sessions, each of which has to become idle first, could take one for another.
//! 3. *One slot per session.* A session begins only under the lock of its shard, after it was not
//!    found under the same lock. What threads without the lock read of the index is a hint: what
//!    they miss (an entry being moved, an index just replaced) sends them to the lock, what they find
//!    wrongly has another key.
//! 4. *The end.* What frees a slot first ends its generation, then removes its entry. Whoever comes
//!    by the entry sees a slot without a session, or another's.
//!
//! A thread that read the time late may find that a session was last seen after "now": that is age
//! 0. Time is counted modulo 2^16 ticks of 1/1024 of the idle time. Idle sessions are swept away
//! within 16 ticks, or by the next [`advance`](Sessions::advance), which counts no more than half the
//! idle time at once. So no age comes near to 32 768, where old would seem to be new.
//!
//! `tests/session_slot.rs` has a model checker try what is said of a slot (but it does not reorder
//! loads with what comes after them, so that the fences rest on the argument alone), and the tests of
//! this module try the whole with threads.
//!
//! # Keys chosen by an adversary
//!
//! A client chooses its ports and its SSID. The hash is keyed with 128 bits of the system's randomness, so
//! that what collides cannot be computed; its output never leaves the process. Timing may leak of
//! it; even so the worst is a slow index in one shard, and a shard that is full before the table is.

mod index;
mod shard;
mod slot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use thiserror::Error;

use crate::rule::ListenerId;
use shard::{Common, Shard};
use slot::{IDLE_TICKS, Key, Tick};

/// What `slot.rs` is made of, so that a test can put a model checker's in its place.
mod atomic {
    pub use std::sync::atomic::{AtomicU64, Ordering, fence};
}

/// Sessions in a table unless told otherwise.
pub const DEFAULT_LIMIT: u32 = 1_000_000;
/// Time after which a session without packets ends unless told otherwise: REFWAIT (RFC 5357 section
/// 4.2).
pub const DEFAULT_IDLE: Duration = Duration::from_secs(900);

/// Sessions that fall to a shard on average, at most: with six standard deviations more they are not
/// over 16 384, and an index of 32 768 entries is at most half full.
const SHARD_SESSIONS: usize = 15_600;
/// Ticks in which all shards are swept.
const PASS_TICKS: u64 = 16;
/// Ticks that the time advances by at once, at most: less than makes a session idle, so that one whose
/// packets come between two steps lives on, however late a step comes.
const MAX_STEP: u16 = IDLE_TICKS / 2;
/// Keys whose slots [`Sessions::touch`] loads at once.
const TOUCHED: usize = 64;
/// Sessions from which on that is worth its while: fewer are in a second-level cache anyway.
const TOUCHED_FROM: u64 = 16_384;

/// What tells sessions apart: listener, addresses, UDP ports and SSID. An IPv4 address and the same
/// one mapped to IPv6 are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// As in a slot.
    words: Key,
}

impl SessionKey {
    /// The session without an SSID (RFC 8972) of packets from `source` to `destination` that are
    /// answered as `listener` says.
    #[inline]
    pub fn new(listener: ListenerId, source: SocketAddr, destination: SocketAddr) -> Self {
        let [source_high, source_low] = address_words(source.ip());
        let [destination_high, destination_low] = address_words(destination.ip());
        let ports = u64::from(source.port()) << 32 | u64::from(destination.port()) << 48;
        Self {
            words: [
                source_high,
                source_low,
                destination_high,
                destination_low,
                u64::from(listener) | ports,
                0,
            ],
        }
    }

    /// The one with this SSID, which 0 is no other than none.
    #[inline]
    #[must_use]
    pub const fn with_ssid(self, ssid: u16) -> Self {
        let mut words = self.words;
        words[5] = ssid as u64;
        Self { words }
    }
}

/// The address in network order, as a slot has it.
#[inline]
fn address_words(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) | 0xffff << 32,
        IpAddr::V6(address) => address.to_bits(),
    };
    bytemuck::cast(bits.to_be())
}

/// What has become of sessions. `created` = `active` + `expired`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Sessions that there are, idle ones among them until they have been swept away.
    pub active: u64,
    /// Sessions that have begun.
    pub created: u64,
    /// Sessions that have ended because no packet came.
    pub expired: u64,
    /// Packets that began no session because there was no room for one.
    pub refused: u64,
}

/// There is not so much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no memory for so many sessions")]
pub struct NoMemory;

/// The sessions of a process. See the [module](self).
pub struct Sessions {
    common: Common,
    /// The key of the hash.
    seed: u64,
    shared_seed: SharedSeed,
    shards: Box<[Shard]>,
    /// Nanoseconds.
    tick: u64,
    sweep: Mutex<Sweep>,
}

/// How far [`Sessions::advance`] has come.
#[derive(Debug, Default)]
struct Sweep {
    /// Since the start.
    ticks: u64,
    /// The shard to be swept next.
    shard: usize,
    /// Shards to be swept now, as a multiple of 1 / [`PASS_TICKS`].
    due: u64,
    /// Sessions refused when all shards were last looked at.
    refused: u64,
}

impl Sessions {
    /// A table of at most `limit` sessions, of which those without packets for `idle` end (to 1 ‰ of
    /// it, and to what passes between calls of [`advance`](Self::advance), two of which it takes at
    /// least; at least 1024 ns).
    ///
    /// # Errors
    /// If there is not so much memory to be had.
    pub fn new(limit: usize, idle: Duration) -> Result<Self, NoMemory> {
        let shards = limit.div_ceil(SHARD_SESSIONS).max(1);
        // What falls to a shard varies by the root of its mean.
        let mean = limit.div_ceil(shards);
        let slack = if shards > 1 { 6 * mean.isqrt() } else { 0 };
        Self::with_shards(limit, idle, shards, mean + slack)
    }

    fn with_shards(
        limit: usize,
        idle: Duration,
        shards: usize,
        slots: usize,
    ) -> Result<Self, NoMemory> {
        // Parts of what cannot be had as a whole would be given until memory is used up.
        shard::can_be_had(shards.checked_mul(slots).ok_or(NoMemory)?)?;
        let random = || RandomState::new().build_hasher().finish();
        let tick = idle.as_nanos() / u128::from(IDLE_TICKS);
        let shards: Result<_, _> = (0..shards).map(|_| Shard::new(slots)).collect();
        Ok(Self {
            common: Common::new(limit as u64),
            seed: random(),
            shared_seed: SharedSeed::from_u64(random()),
            shards: shards?,
            tick: u64::try_from(tick).unwrap_or(u64::MAX).max(1),
            sweep: Mutex::default(),
        })
    }

    /// The session's next number: 0 for its first packet. None if it is new and there is no room.
    #[inline]
    pub fn next(&self, key: &SessionKey) -> Option<u32> {
        let key = &key.words;
        let hash = self.hash(key);
        let shard = self.shard(hash)?;
        shard
            .bump(key, hash, self.common.now())
            .or_else(|| shard.bump_or_begin(key, hash, &self.common))
    }

    /// Brings what [`next`](Self::next) reads for these keys into the cache, which takes less time
    /// for all at once than for one after the other. Changes nothing, and does nothing while there
    /// are so few sessions that it would cost more than it saves.
    pub fn touch<'a>(&self, keys: impl IntoIterator<Item = &'a SessionKey>) {
        if !self.is_large() {
            return;
        }
        let mut keys = keys.into_iter().peekable();
        let mut hashes = [0; TOUCHED];
        while keys.peek().is_some() {
            let mut loaded = 0;
            let mut count = 0;
            for (place, key) in hashes.iter_mut().zip(keys.by_ref()) {
                *place = self.hash(&key.words);
                loaded ^= self.shard(*place).map_or(0, |it| it.touch_index(*place));
                count += 1;
            }
            // A loop of its own: these loads wait for those of the index, not for each other.
            for hash in hashes.iter().take(count) {
                loaded ^= self.shard(*hash).map_or(0, |it| it.touch_slot(*hash));
            }
            // So that the loads are not left out.
            black_box(loaded);
        }
    }

    /// Tells the time since some start, and frees slots of sessions that have become idle: those of
    /// some shards, or of all where much time has passed or a session was refused.
    ///
    /// To be called about every second, by one thread. A time before the latest is taken for that.
    pub fn advance(&self, now: Duration) {
        let mut sweep = self.sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let ticks = u64::try_from(now.as_nanos() / u128::from(self.tick)).unwrap_or(u64::MAX);
        let passed = ticks.saturating_sub(sweep.ticks);
        sweep.ticks += passed;
        let step = u16::try_from(passed).map_or(MAX_STEP, |passed| passed.min(MAX_STEP));
        let Tick(before) = self.common.now();
        self.common.set_now(Tick(before.wrapping_add(step)));

        let all = self.shards.len();
        let refused = self.counts().refused;
        let due = if passed >= PASS_TICKS || refused != sweep.refused {
            sweep.due = 0;
            all
        } else {
            let due = sweep.due + passed * all as u64;
            sweep.due = due % PASS_TICKS;
            let at_least = u64::from(passed > 0);
            usize::try_from((due / PASS_TICKS).max(at_least)).map_or(all, |due| due.min(all))
        };
        sweep.refused = refused;
        for _ in 0..due {
            sweep.shard = (sweep.shard + 1) % all;
            if let Some(shard) = self.shards.get(sweep.shard) {
                shard.sweep(&self.common);
            }
        }
    }

    /// Whether there are so many that a session is rarely in the processor's cache.
    #[inline]
    pub fn is_large(&self) -> bool {
        self.common.active() >= TOUCHED_FROM
    }

    /// What has become of sessions so far.
    pub fn counts(&self) -> SessionCounts {
        let shards = self.shards.iter().map(Shard::counts);
        shards.fold(SessionCounts::default(), |sum, shard| SessionCounts {
            active: sum.active + shard.active,
            created: sum.created + shard.created,
            expired: sum.expired + shard.expired,
            refused: sum.refused + shard.refused,
        })
    }

    #[inline]
    fn hash(&self, key: &Key) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared_seed);
        let (pairs, _) = key.as_chunks();
        for [low, high] in pairs {
            hasher.write_u128(u128::from(*high) << 64 | u128::from(*low));
        }
        hasher.finish()
    }

    /// The high bits choose.
    #[inline]
    fn shard(&self, hash: u64) -> Option<&Shard> {
        let scaled = u128::from(hash) * self.shards.len() as u128;
        self.shards.get(usize::try_from(scaled >> 64).ok()?)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("limit", &self.common.limit())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
