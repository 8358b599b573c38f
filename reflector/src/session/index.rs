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

/// Entries of an index: a power of two of them.
pub type Entries = [AtomicU32];

/// Slots of entries whose tag is that of `hash`.
#[inline]
pub fn candidates(entries: &Entries, hash: u64) -> impl Iterator<Item = u16> {
    used(entries, home(entries, hash))
        .filter(move |(_, entry)| tag(*entry) == hash_tag(hash))
        .map(|(_, entry)| slot(entry))
}

/// Loads the entry where the hash's should be, so that it is in the cache.
#[inline]
pub fn touch(entries: &Entries, hash: u64) -> u32 {
    entries
        .get(home(entries, hash))
        .map_or(0, |entry| entry.load(Ordering::Relaxed))
}

/// Adds an entry. There must be room.
pub fn insert(entries: &Entries, hash: u64, slot: u16) {
    let places = places(entries, home(entries, hash));
    let mut free = places.filter(|&at| entries[at].load(Ordering::Relaxed) == 0);
    if let Some(at) = free.next() {
        let entry = u32::from(hash_tag(hash)) << 16 | (u32::from(slot) + 1);
        entries[at].store(entry, Ordering::Relaxed);
    }
}

/// Removes the entry of a slot and closes the gap. `hash_of` is asked for the hashes of others.
pub fn remove(entries: &Entries, hash: u64, gone: u16, hash_of: impl Fn(u16) -> u64) {
    let mut found = used(entries, home(entries, hash)).filter(|(_, entry)| slot(*entry) == gone);
    let Some((mut gap, _)) = found.next() else {
        return;
    };
    let mask = entries.len() - 1;
    let distance = |from: usize, to: usize| to.wrapping_sub(from) & mask;
    for (at, entry) in used(entries, (gap + 1) & mask) {
        // It may go back as far as to its home.
        if distance(home(entries, hash_of(slot(entry))), at) >= distance(gap, at) {
            entries[gap].store(entry, Ordering::Relaxed);
            gap = at;
        }
    }
    entries[gap].store(0, Ordering::Relaxed);
}

/// All places in order of probing.
#[inline]
fn places(entries: &Entries, first: usize) -> impl Iterator<Item = usize> {
    let len = entries.len();
    (0..len).map(move |step| first.wrapping_add(step) & len.wrapping_sub(1))
}

/// Places in use and what is in them, up to the first that is empty.
#[inline]
fn used(entries: &Entries, first: usize) -> impl Iterator<Item = (usize, u32)> {
    places(entries, first)
        .map(|at| (at, entries[at].load(Ordering::Relaxed)))
        .take_while(|(_, entry)| *entry != 0)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
fn home(entries: &Entries, hash: u64) -> usize {
    hash as usize & entries.len().wrapping_sub(1)
}

/// Bits that neither [`home`] nor the choice of the shard is made of.
#[expect(clippy::cast_possible_truncation, reason = "the part is meant")]
const fn hash_tag(hash: u64) -> u16 {
    (hash >> 32) as u16
}

const fn tag(entry: u32) -> u16 {
    (entry >> 16) as u16
}

/// Of an entry that is not 0.
#[expect(clippy::cast_possible_truncation, reason = "the part is meant")]
const fn slot(entry: u32) -> u16 {
    (entry as u16).wrapping_sub(1)
}
