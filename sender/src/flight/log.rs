//! The log of departures: T1 of the last probes, written by whoever sends, read by whoever receives.
//!
//! One writer, one reader, no lock: the writer stores T1, then the number of probes; the reader
//! loads the number, then T1. A probe is announced before it leaves, so that it is known when its
//! reply comes in.

use std::collections::TryReserveError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use wire::time::Utc;

/// A probe of one worker: counted from 0 over all its sessions, in sending order.
pub type Ordinal = u64;

#[derive(Debug)]
struct Log {
    /// T1 in nanoseconds since 1970 UTC; probe `n` is at `n` modulo the length, a power of two.
    t1: Box<[AtomicI64]>,
    /// How much later than intended each was stamped, in nanoseconds; empty unless wanted.
    late: Box<[AtomicU32]>,
    /// Number of probes announced. Written by the sender.
    announced: CachePadded<AtomicU64>,
    /// Number of probes whose fate is settled. Written by the receiver.
    settled: CachePadded<AtomicU64>,
    /// The writing end is gone.
    over: AtomicBool,
    /// The reading end is gone.
    abandoned: AtomicBool,
}

impl Log {
    fn slot(&self, probe: Ordinal) -> &AtomicI64 {
        &self.t1[self.index(probe)]
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "masked to the log's length"
    )]
    fn index(&self, probe: Ordinal) -> usize {
        probe as usize & (self.t1.len() - 1)
    }
}

/// The writing end: belongs to whoever sends.
#[derive(Debug)]
pub struct Departures {
    log: Arc<Log>,
    next: Ordinal,
    /// The receiver's mark as last seen.
    settled: Ordinal,
}

/// The reading end: belongs to whoever receives.
#[derive(Debug)]
pub struct Departed {
    log: Arc<Log>,
}

/// A log that remembers at least `capacity` probes.
///
/// # Errors
///
/// There is not enough memory.
pub fn open(capacity: usize) -> Result<(Departures, Departed), TryReserveError> {
    open_with(capacity, false)
}

/// As [`open`]; `intentions` remembers when each probe should have left, too.
///
/// # Errors
///
/// There is not enough memory.
pub fn open_with(
    capacity: usize,
    intentions: bool,
) -> Result<(Departures, Departed), TryReserveError> {
    let capacity = capacity.max(2).checked_next_power_of_two();
    let mut t1 = Vec::new();
    t1.try_reserve_exact(capacity.unwrap_or(usize::MAX))?;
    t1.resize_with(t1.capacity(), AtomicI64::default);
    t1.truncate(capacity.unwrap_or(0));
    let mut late = Vec::new();
    if intentions {
        late.try_reserve_exact(t1.len())?;
        late.resize_with(t1.len(), AtomicU32::default);
    }
    let log = Arc::new(Log {
        t1: t1.into_boxed_slice(),
        late: late.into_boxed_slice(),
        announced: CachePadded::default(),
        settled: CachePadded::default(),
        over: AtomicBool::default(),
        abandoned: AtomicBool::default(),
    });
    let departed = Departed {
        log: Arc::clone(&log),
    };
    let departures = Departures {
        log,
        next: 0,
        settled: 0,
    };
    Ok((departures, departed))
}

impl Departures {
    /// Number of the next probe.
    pub fn next(&self) -> Ordinal {
        self.next
    }

    /// How many probes, `wanted` at most, may be announced now. Less than wanted means that the
    /// receiver has not settled the oldest ones yet, so that newer ones could not be remembered.
    pub fn room(&mut self, wanted: usize) -> usize {
        let capacity = self.log.t1.len() as u64;
        let free = |settled: u64, next: u64| capacity - next.saturating_sub(settled).min(capacity);
        if free(self.settled, self.next) < wanted as u64 {
            self.settled = self.log.settled.load(Ordering::Acquire);
        }
        usize::try_from(free(self.settled, self.next)).map_or(wanted, |free| free.min(wanted))
    }

    /// Whether [`Departures::intend`] is of any use: the log remembers what it is told.
    pub fn intends(&self) -> bool {
        !self.log.late.is_empty()
    }

    /// Notes how much later than intended the probe `ahead` places from the next one will be stamped.
    /// To be called before it is announced; up to 4.2 s.
    pub fn intend(&self, ahead: u64, late: Duration) {
        let index = self.log.index(self.next + ahead);
        if let Some(slot) = self.log.late.get(index) {
            let nanos = u32::try_from(late.as_nanos()).unwrap_or(u32::MAX);
            slot.store(nanos, Ordering::Relaxed);
        }
    }

    /// Announces the next `count` probes, which are about to leave with timestamp `t1`.
    /// [`Departures::room`] must have said that there is room.
    pub fn announce(&mut self, count: u64, t1: Utc) {
        for probe in self.next..self.next + count {
            self.log.slot(probe).store(t1.nanos(), Ordering::Relaxed);
        }
        self.next += count;
        self.log.announced.store(self.next, Ordering::Release);
    }

    /// Whether the reading end is gone, so that nobody will measure what is sent.
    pub fn abandoned(&self) -> bool {
        self.log.abandoned.load(Ordering::Acquire)
    }

    /// Takes back the last `count` probes announced: they did not leave, and their numbers will be
    /// used again.
    pub fn take_back(&mut self, count: u64) {
        self.next = self.next.saturating_sub(count);
        // Where a probe was given up before it was taken back, its number is open again.
        self.settled = self.settled.min(self.next);
        self.log.announced.store(self.next, Ordering::Release);
    }
}

#[cfg(test)]
impl Departures {
    /// Goes on at `probe`, as if all before had been sent and settled.
    pub(super) fn jump(&mut self, probe: Ordinal) {
        self.next = probe;
        self.settled = probe;
        self.log.settled.store(probe, Ordering::Release);
        self.log.announced.store(probe, Ordering::Release);
    }
}

impl Drop for Departures {
    fn drop(&mut self) {
        self.log.over.store(true, Ordering::Release);
    }
}

impl Drop for Departed {
    fn drop(&mut self) {
        self.log.abandoned.store(true, Ordering::Release);
    }
}

impl Departed {
    /// Whether the writing end is gone. What [`Departed::announced`] says after this was true is the
    /// last word.
    pub fn over(&self) -> bool {
        self.log.over.load(Ordering::Acquire)
    }

    /// Number of probes announced so far.
    pub fn announced(&self) -> Ordinal {
        self.log.announced.load(Ordering::Acquire)
    }

    /// T1 of a probe among the last [`Departed::capacity`] announced.
    pub fn t1(&self, probe: Ordinal) -> Utc {
        Utc::from_nanos(self.log.slot(probe).load(Ordering::Relaxed))
    }

    /// When a probe among the last [`Departed::capacity`] announced should have left; `None` unless
    /// the log remembers that.
    pub fn intended(&self, probe: Ordinal) -> Option<Utc> {
        let late = self.log.late.get(self.log.index(probe))?;
        let late = i64::from(late.load(Ordering::Relaxed));
        Some(self.t1(probe) - wire::time::Nanos::from_nanos(late))
    }

    /// Tells the sender that the fate of the probes below `probe` is settled.
    pub fn settle(&self, probe: Ordinal) {
        self.log.settled.store(probe, Ordering::Release);
    }

    /// Number of probes remembered, a power of two.
    pub fn capacity(&self) -> usize {
        self.log.t1.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_sees_what_was_announced() {
        let (mut departures, departed) = open(4).unwrap();
        assert_eq!((departed.announced(), departures.next()), (0, 0));
        departures.announce(1, Utc::from_nanos(10));
        departures.announce(2, Utc::from_nanos(20));
        assert_eq!(departed.announced(), 3);
        let t1 = |probe| departed.t1(probe).nanos();
        assert_eq!((t1(0), t1(1), t1(2)), (10, 20, 20));
    }

    #[test]
    fn what_did_not_leave_is_taken_back_and_its_number_used_again() {
        let (mut departures, departed) = open(4).unwrap();
        departures.announce(3, Utc::from_nanos(10));
        departures.take_back(2);
        assert_eq!(departed.announced(), 1);
        departures.announce(1, Utc::from_nanos(30));
        assert_eq!((departed.announced(), departed.t1(1).nanos()), (2, 30));
    }

    #[test]
    fn there_is_room_only_for_what_can_be_remembered() {
        let (mut departures, departed) = open(4).unwrap();
        assert_eq!(departures.room(9), 4);
        departures.announce(3, Utc::from_nanos(0));
        assert_eq!((departures.room(1), departures.room(9)), (1, 1));
        departures.announce(1, Utc::from_nanos(0));
        assert_eq!(departures.room(1), 0);
        departed.settle(3);
        assert_eq!(departures.room(9), 3);
    }

    #[test]
    fn each_end_notices_when_the_other_is_gone() {
        let (departures, departed) = open(4).unwrap();
        assert!(!departed.over() && !departures.abandoned());
        drop(departures);
        assert!(departed.over());
        let (departures, departed) = open(4).unwrap();
        drop(departed);
        assert!(departures.abandoned());
    }

    #[test]
    fn too_many_probes_to_remember_are_an_error() {
        assert!(open(1 << 62).is_err());
        assert!(open(usize::MAX).is_err());
    }

    #[test]
    fn holds_between_two_threads() {
        const PROBES: u64 = 100_000;
        let (mut departures, departed) = open(64).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for probe in 0..PROBES {
                    while departures.room(1) == 0 {
                        if departures.abandoned() {
                            return;
                        }
                        std::thread::yield_now();
                    }
                    departures.announce(1, Utc::from_nanos(i64::try_from(3 * probe).unwrap()));
                }
            });
            // Gone when this fails, and then the writer stops.
            let departed = departed;
            let mut seen = 0;
            while seen < PROBES {
                let announced = departed.announced();
                for probe in seen..announced {
                    assert_eq!(
                        departed.t1(probe).nanos(),
                        i64::try_from(3 * probe).unwrap()
                    );
                }
                seen = announced;
                departed.settle(seen);
            }
        });
    }
}
