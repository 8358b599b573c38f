//! What happened to packets, counted by the one thread that saw it and read by any.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::datagram::Unanswered;

/// A number with one writer. Readers may lag behind by a packet, never see a torn value.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning thread may call this: it loads and stores, without a locked
    /// instruction on the packet path.
    pub fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One queue's packets. `received` = `reflected` + all of `unanswered` + those still in hand.
///
/// A cache line of its own, so that workers on different cores do not share one.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct QueueCounters {
    /// Packets taken from the receive ring.
    pub received: Counter,
    /// Replies handed to the transmit ring.
    pub reflected: Counter,
    /// Packets whose T2 came from user space, because they carried no stamp.
    pub user_space_stamps: Counter,
    /// Wake-ups, for transmitting or filling, that the kernel refused for a reason other than being
    /// busy (link down, say).
    pub kick_errors: Counter,
    /// Packets not answered, by reason.
    pub unanswered: [Counter; Unanswered::ALL.len()],
}

impl QueueCounters {
    /// Counts a packet that is not answered.
    pub fn count(&self, reason: Unanswered) {
        self.unanswered[reason as usize].add(1);
    }

    /// Packets not answered for this reason.
    pub fn unanswered(&self, reason: Unanswered) -> u64 {
        self.unanswered[reason as usize].value()
    }

    /// Packets not answered for whatever reason.
    pub fn unanswered_total(&self) -> u64 {
        self.unanswered.iter().map(Counter::value).sum()
    }
}
