//! One session: 64 octets, a cache line, read and written by several threads at once.
//!
//! ```text
//! word 0   state: generation, bits 63-48; tick of the last packet, 47-32; next number, 31-0
//! word 1   keyed hash of the key; in a slot that is free: 1 + the next free one, 0 if none is
//! words 2, 3   source address, 4, 5   destination address: 16 octets each in the order of the
//!              network, IPv4 as ::ffff:0:0/96
//! word 6   listener, bits 31-0; source port, 47-32; destination port, 63-48
//! word 7   SSID, bits 15-0; the others are 0
//! ```
//!
//! Words are in the byte order of the machine, but for addresses. A generation is odd while the slot
//! holds a session and even while it does not; both becoming a session and ceasing to be one add 1.
//!
//! [`bump`] may be called by any thread at any time. All others are for who holds the lock of the
//! shard. Why that is sound is in the documentation of the module above.

use super::atomic::{AtomicU64, Ordering, fence};

/// Words of a slot.
pub const WORDS: usize = 8;
/// Octets to which slots are aligned.
pub const ALIGNMENT: usize = 8 * WORDS;
/// Ticks without a packet after which a session is idle. A tick is so long that this is the idle
/// time; of the 32 767 ticks that an age can count, an idle session lives through a third at most.
pub const IDLE_TICKS: u16 = 1024;

const STATE: usize = 0;
const HASH: usize = 1;
const KEY: usize = 2;

/// One session's memory.
pub type Slot = [AtomicU64; WORDS];

/// What tells sessions apart: words 2 to 7.
pub type Key = [u64; WORDS - KEY];

/// Coarse time, modulo 2^16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick(pub u16);

impl Tick {
    /// Ticks since `past`; 0 if that is later: threads read the time at different times.
    #[inline]
    fn since(self, past: Self) -> u16 {
        let age = self.0.wrapping_sub(past.0).cast_signed();
        age.max(0).cast_unsigned()
    }
}

/// Word 0.
#[derive(Clone, Copy)]
struct State(u64);

impl State {
    #[inline]
    fn new(generation: u16, tick: Tick, next: u32) -> Self {
        Self(u64::from(generation) << 48 | u64::from(tick.0) << 32 | u64::from(next))
    }

    #[inline]
    fn load(slot: &Slot, order: Ordering) -> Self {
        Self(slot[STATE].load(order))
    }

    /// Puts `new` in place of this one if the slot is still in it; else tells what it is in.
    #[inline]
    fn replace(self, slot: &Slot, new: Self) -> Result<(), Self> {
        slot[STATE]
            .compare_exchange(self.0, new.0, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
            .map_err(Self)
    }

    #[inline]
    const fn generation(self) -> u16 {
        (self.0 >> 48) as u16
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the part is meant")]
    const fn tick(self) -> Tick {
        Tick((self.0 >> 32) as u16)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the part is meant")]
    const fn next(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    const fn is_session(self) -> bool {
        self.generation() & 1 == 1
    }

    #[inline]
    fn is_idle(self, now: Tick) -> bool {
        now.since(self.tick()) >= IDLE_TICKS
    }

    /// After one more packet.
    #[inline]
    fn bumped(self, now: Tick) -> Self {
        let later = now.since(self.tick()) > 0;
        let tick = if later { now } else { self.tick() };
        Self::new(self.generation(), tick, self.next().wrapping_add(1))
    }
}

/// What came of a packet at a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bump {
    /// It has this number.
    Number(u32),
    /// The session is idle: whoever has the lock may [`renew`] it.
    Idle,
    /// The slot does not hold this session (any more).
    Other,
}

/// Takes the session's next number, if this is its slot.
#[inline]
pub fn bump(slot: &Slot, key: &Key, now: Tick) -> Bump {
    // Acquire: what `occupy` stored of the key before it.
    let mut seen = State::load(slot, Ordering::Acquire);
    if !seen.is_session() || !holds(slot, key) {
        return Bump::Other;
    }
    // If part of the key was a later session's, the generation is seen to be later too from here on.
    fence(Ordering::Acquire);
    loop {
        if seen.is_idle(now) {
            return Bump::Idle;
        }
        match seen.replace(slot, seen.bumped(now)) {
            Ok(()) => return Bump::Number(seen.next()),
            Err(state) if state.generation() == seen.generation() => seen = state,
            Err(_) => return Bump::Other,
        }
    }
}

/// Begins a new session of the same key. False if it is not idle: a packet came.
pub fn renew(slot: &Slot, now: Tick) -> bool {
    let seen = State::load(slot, Ordering::Relaxed);
    let new = State::new(seen.generation().wrapping_add(2), now, 1);
    seen.is_session() && seen.is_idle(now) && seen.replace(slot, new).is_ok()
}

/// Frees the slot if its session is idle.
pub fn retire(slot: &Slot, now: Tick) -> bool {
    let seen = State::load(slot, Ordering::Relaxed);
    let new = State::new(seen.generation().wrapping_add(1), Tick(0), 0);
    seen.is_session() && seen.is_idle(now) && seen.replace(slot, new).is_ok()
}

/// Makes a free slot a session's whose first number, 0, has been taken.
pub fn occupy(slot: &Slot, key: &Key, hash: u64, now: Tick) {
    let seen = State::load(slot, Ordering::Relaxed);
    // Whoever sees part of the new key sees that the old session is over: see `bump`.
    fence(Ordering::Release);
    slot[HASH].store(hash, Ordering::Relaxed);
    for (word, value) in slot[KEY..].iter().zip(key) {
        word.store(*value, Ordering::Relaxed);
    }
    let new = State::new(seen.generation().wrapping_add(1), now, 1);
    slot[STATE].store(new.0, Ordering::Release);
}

/// Whether the slot holds a session.
pub fn is_session(slot: &Slot) -> bool {
    State::load(slot, Ordering::Relaxed).is_session()
}

/// The hash of the session's key.
pub fn hash(slot: &Slot) -> u64 {
    slot[HASH].load(Ordering::Relaxed)
}

/// Remembers, in a slot that is free, the next that is.
pub fn link(slot: &Slot, next: Option<u16>) {
    let link = next.map_or(0, |next| u64::from(next) + 1);
    slot[HASH].store(link, Ordering::Relaxed);
}

/// What [`link`] remembered.
pub fn linked(slot: &Slot) -> Option<u16> {
    let link = slot[HASH].load(Ordering::Relaxed);
    link.checked_sub(1).and_then(|next| next.try_into().ok())
}

/// Loads something of the slot, so that it is in the cache.
#[inline]
pub fn touch(slot: &Slot) -> u64 {
    slot[STATE].load(Ordering::Relaxed)
}

#[inline]
fn holds(slot: &Slot, key: &Key) -> bool {
    let words = slot[KEY..].iter().zip(key);
    let differing = words.fold(0, |bits, (word, value)| {
        bits | (word.load(Ordering::Relaxed) ^ value)
    });
    differing == 0
}
