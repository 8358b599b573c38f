//! Where a shard's sessions are: from hashes to numbers of slots.
//!
//! An open-addressed table of entries `tag << 16 | 1 + slot`, 0 if empty, a power of two of them, at
//! most half of them in use. A session's entry is where its hash says or, where others were first,
//! in one of the next. Linear probing: 16 entries are one cache line.
//!
//! Only who holds the lock of the shard changes it. Others read it at the same time and may miss
//! what is there, or find what is gone: for them it is a hint.

use std::sync::atomic::{AtomicU32, Ordering};

/// Slots that an index can name.
pub const MAX_SLOTS: usize = u16::MAX as usize;

/// An index of `size` entries, a power of two, which are at `memory[size..2 * size]`.
#[derive(Debug, Clone, Copy)]
pub struct Index<'a> {
    memory: &'a [AtomicU32],
    size: usize,
}

impl<'a> Index<'a> {
    #[inline]
    pub fn new(memory: &'a [AtomicU32], size: usize) -> Self {
        Self { memory, size }
    }

    pub const fn size(self) -> usize {
        self.size
    }

    /// Shows slots whose tags are that of `hash` until `wanted` is content with one.
    #[inline]
    pub fn find<T>(self, hash: u64, mut wanted: impl FnMut(u16) -> Option<T>) -> Option<T> {
        let mut at = home(hash);
        // No more often than there are entries, should a reader find none empty.
        for _ in 0..self.size {
            let entry = self.load(at);
            if entry == 0 {
                break;
            }
            if tag(entry) == hash_tag(hash)
                && let Some(found) = wanted(slot(entry))
            {
                return Some(found);
            }
            at = at.wrapping_add(1);
        }
        None
    }

    /// Loads the entry where the hash's should be, so that it is in the cache.
    #[inline]
    pub fn touch(self, hash: u64) -> u32 {
        self.load(home(hash))
    }

    /// Adds an entry. There must be room.
    pub fn insert(self, hash: u64, slot: u16) {
        let first = home(hash);
        let mut places = (0..self.size).map(|step| first.wrapping_add(step));
        if let Some(at) = places.find(|&at| self.load(at) == 0) {
            let entry = u32::from(hash_tag(hash)) << 16 | (u32::from(slot) + 1);
            self.store(at, entry);
        }
    }

    /// Removes the entry of a slot and closes the gap. `hash_of` is asked for the hashes of others.
    pub fn remove(self, hash: u64, gone: u16, hash_of: impl Fn(u16) -> u64) {
        let found = self
            .used(home(hash))
            .find(|(_, entry)| slot(*entry) == gone);
        let Some((mut gap, _)) = found else { return };
        let mask = self.size.wrapping_sub(1);
        let distance = |from: usize, to: usize| to.wrapping_sub(from) & mask;
        for (at, entry) in self.used(gap.wrapping_add(1)) {
            // It may go back as far as to its home.
            if distance(home(hash_of(slot(entry))), at) >= distance(gap, at) {
                self.store(gap, entry);
                gap = at;
            }
        }
        self.store(gap, 0);
    }

    /// Places and what is in them, up to the first that is empty.
    fn used(self, first: usize) -> impl Iterator<Item = (usize, u32)> {
        (0..self.size)
            .map(move |step| first.wrapping_add(step))
            .map(move |at| (at, self.load(at)))
            .take_while(|(_, entry)| *entry != 0)
    }

    /// The entry at a place, modulo the number of places.
    #[inline]
    fn load(self, at: usize) -> u32 {
        self.entry(at).map_or(0, |it| it.load(Ordering::Relaxed))
    }

    fn store(self, at: usize, entry: u32) {
        if let Some(place) = self.entry(at) {
            place.store(entry, Ordering::Relaxed);
        }
    }

    #[inline]
    fn entry(self, at: usize) -> Option<&'a AtomicU32> {
        let at = at & self.size.wrapping_sub(1);
        self.memory.get(self.size | at)
    }
}

/// Where the entry should be, modulo the size of the index.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
const fn home(hash: u64) -> usize {
    hash as usize
}

/// Bits that neither the place nor the choice of the shard depends on.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the part is meant")]
const fn hash_tag(hash: u64) -> u16 {
    (hash >> 32) as u16
}

#[inline]
const fn tag(entry: u32) -> u16 {
    (entry >> 16) as u16
}

/// Of an entry that is not 0.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the part is meant")]
const fn slot(entry: u32) -> u16 {
    (entry as u16).wrapping_sub(1)
}
