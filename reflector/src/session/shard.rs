//! A part of the table with a lock of its own, for sessions that come and go.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::index::{Index, MAX_SLOTS};
use super::slot::{self, ALIGNMENT, Bump, Key, Slot, Tick, WORDS};
use super::{NoMemory, SessionCounts};

/// Entries of the first index of a shard.
const FIRST_INDEX: usize = 16;
/// Slots that are looked through under one taking of the lock.
const SWEEP: usize = 512;

/// Slots of some sessions, and an index of them that grows with their number.
///
/// The index that is in use has 2^n entries and lies at offset 2^n: all that there can be have their
/// place, and one that has grown leaves the one before as it was to those who still read it.
#[derive(Debug)]
#[repr(align(64))]
pub struct Shard {
    words: Box<[AtomicU64]>,
    /// The word at which slots begin: the first that is aligned.
    first: usize,
    slots: usize,
    /// Of all indices.
    memory: Box<[AtomicU32]>,
    /// Entries of the index in use.
    index_size: AtomicU32,
    books: Books,
}

/// Not in the cache line that every packet reads.
#[derive(Debug)]
#[repr(align(64))]
struct Books(Mutex<Book>);

/// What the lock of a shard protects, beside the index and all changes of slots but new numbers.
#[derive(Debug, Default)]
struct Book {
    /// Slots that have ever been used: the first ones.
    used: u16,
    /// The first of those that are free again.
    free: Option<u16>,
    created: u64,
    expired: u64,
    refused: u64,
}

impl Book {
    const fn live(&self) -> u64 {
        self.created - self.expired
    }
}

/// What all shards have in common: the time, and how many sessions there are.
#[derive(Debug)]
pub struct Common {
    now: AtomicU16,
    limit: u64,
    active: Active,
}

/// Not in the cache line that every packet reads.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Active(AtomicU64);

impl Common {
    pub fn new(limit: u64) -> Self {
        Self {
            now: AtomicU16::new(0),
            limit,
            active: Active::default(),
        }
    }

    #[inline]
    pub fn now(&self) -> Tick {
        Tick(self.now.load(Ordering::Relaxed))
    }

    pub fn set_now(&self, now: Tick) {
        self.now.store(now.0, Ordering::Relaxed);
    }

    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// How many sessions there are.
    #[inline]
    pub fn active(&self) -> u64 {
        self.active.0.load(Ordering::Relaxed)
    }

    /// Counts one more session, if there may be one more.
    fn admit(&self) -> bool {
        let one_more = |active| (active < self.limit).then_some(active + 1);
        (self.active.0)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    fn dismiss(&self) {
        self.active.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shard {
    /// A shard for so many sessions, at most [`MAX_SLOTS`].
    pub fn new(slots: usize) -> Result<Self, NoMemory> {
        let slots = slots.min(MAX_SLOTS);
        let largest = (2 * slots).next_power_of_two().max(FIRST_INDEX);
        let words = zeroed::<AtomicU64>(WORDS * (slots + 1))?;
        // In a slice of words that are as aligned as their type this is less than a slot.
        let first = words.as_ptr().align_offset(ALIGNMENT).min(WORDS);
        Ok(Self {
            words,
            first,
            slots,
            memory: zeroed::<AtomicU32>(2 * largest)?,
            index_size: AtomicU32::new(as_u32(FIRST_INDEX)),
            books: Books(Mutex::default()),
        })
    }

    /// The next number of a session that is there. None if it seems not to be there or is idle.
    #[inline]
    pub fn bump(&self, key: &Key, hash: u64, now: Tick) -> Option<u32> {
        let bump = |at| match slot::bump(self.slot(at)?, key, now) {
            Bump::Number(number) => Some(number),
            Bump::Idle | Bump::Other => None,
        };
        self.index().find(hash, bump)
    }

    /// The next number of a session, which is begun if it is not there or is idle. None: refused.
    #[cold]
    #[inline(never)]
    pub fn bump_or_begin(&self, key: &Key, hash: u64, common: &Common) -> Option<u32> {
        let mut book = self.lock();
        let now = common.now();
        // Others may have begun the session. From here on they cannot.
        let bump = |at| self.bump_or_renew(at, key, now, &mut book);
        if let Some(number) = self.index().find(hash, bump) {
            return Some(number);
        }
        let at = common.admit().then(|| self.take_slot(&mut book));
        let Some(Some((at, slot))) = at else {
            if at.is_some() {
                common.dismiss();
            }
            book.refused += 1;
            return None;
        };
        slot::occupy(slot, key, hash, now);
        book.created += 1;
        self.enter(&book, hash, at);
        Some(0)
    }

    /// The next number of a session, 0 and a new session if it is idle. None: the slot is another's.
    fn bump_or_renew(&self, at: u16, key: &Key, now: Tick, book: &mut Book) -> Option<u32> {
        let slot = self.slot(at)?;
        loop {
            match slot::bump(slot, key, now) {
                Bump::Number(number) => return Some(number),
                Bump::Idle if slot::renew(slot, now) => {
                    book.expired += 1;
                    book.created += 1;
                    return Some(0);
                }
                // A packet came in between.
                Bump::Idle => {}
                Bump::Other => return None,
            }
        }
    }

    /// Loads where the index should name the session, so that it is in the cache.
    #[inline]
    pub fn touch_index(&self, hash: u64) -> u64 {
        self.index().touch(hash).into()
    }

    /// Loads the slot that the index names, so that it is in the cache.
    #[inline]
    pub fn touch_slot(&self, hash: u64) -> u64 {
        let slot = self.index().find(hash, |at| self.slot(at));
        slot.map_or(0, slot::touch)
    }

    /// Frees the slots of idle sessions.
    pub fn sweep(&self, common: &Common) {
        for first in (0..self.slots).step_by(SWEEP) {
            // One piece at a time: others may wait to begin a session.
            let mut book = self.lock();
            let end = (first + SWEEP).min(book.used.into());
            if book.live() == 0 || first >= end {
                return;
            }
            for at in first..end {
                self.sweep_slot(&mut book, at, common);
            }
        }
    }

    fn sweep_slot(&self, book: &mut Book, at: usize, common: &Common) {
        let Ok(at) = u16::try_from(at) else { return };
        let Some(slot) = self.slot(at) else { return };
        if !slot::retire(slot, common.now()) {
            return;
        }
        (self.index()).remove(slot::hash(slot), at, |at| self.hash(at));
        slot::link(slot, book.free.replace(at));
        book.expired += 1;
        common.dismiss();
    }

    /// What has happened here so far.
    pub fn counts(&self) -> SessionCounts {
        let book = self.lock();
        SessionCounts {
            active: book.live(),
            created: book.created,
            expired: book.expired,
            refused: book.refused,
        }
    }

    fn take_slot(&self, book: &mut Book) -> Option<(u16, &Slot)> {
        if let Some(at) = book.free {
            let slot = self.slot(at)?;
            book.free = slot::linked(slot);
            return Some((at, slot));
        }
        let at = book.used;
        // One more than there should be may fit.
        let slot = (usize::from(at) < self.slots).then(|| self.slot(at))??;
        book.used += 1;
        Some((at, slot))
    }

    /// Enters a session, the latest of the book's, in the index, or in one of twice the size if this
    /// would be more than half full.
    fn enter(&self, book: &Book, hash: u64, at: u16) {
        let index = self.index();
        if 2 * book.live() <= index.size() as u64 {
            return index.insert(hash, at);
        }
        let larger = Index::new(&self.memory, 2 * index.size());
        for at in 0..book.used {
            if self.slot(at).is_some_and(slot::is_session) {
                larger.insert(self.hash(at), at);
            }
        }
        // Release: who uses it sees what is in it.
        (self.index_size).store(as_u32(larger.size()), Ordering::Release);
    }

    #[inline]
    fn index(&self) -> Index<'_> {
        Index::new(
            &self.memory,
            self.index_size.load(Ordering::Acquire) as usize,
        )
    }

    #[inline]
    fn slot(&self, at: u16) -> Option<&Slot> {
        let aligned = self.words.get(self.first..)?;
        aligned.as_chunks().0.get(usize::from(at))
    }

    /// Memory when it is full.
    #[cfg(test)]
    pub fn octets(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.words) + size_of_val(&*self.memory)
    }

    fn hash(&self, at: u16) -> u64 {
        self.slot(at).map_or(0, slot::hash)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.books.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether memory for so many slots would be given at once.
pub fn can_be_had(slots: usize) -> Result<(), NoMemory> {
    let words = slots.checked_mul(WORDS).ok_or(NoMemory)?;
    zeroed::<AtomicU64>(words).map(drop)
}

/// Memory that the system gives, zeroed, page by page as it is used.
fn zeroed<T: bytemuck::Zeroable>(len: usize) -> Result<Box<[T]>, NoMemory> {
    bytemuck::allocation::try_zeroed_slice_box(len).map_err(|()| NoMemory)
}

/// Of numbers of entries: at most twice [`MAX_SLOTS`], as a power of two.
fn as_u32(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}
