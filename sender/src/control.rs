//! What the outside may ask of a run while it goes on: to stop, and how it stands.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

/// Shared between a run and whoever watches it.
#[derive(Debug)]
pub struct Control {
    stop: AtomicU8,
    sent: AtomicU64,
    received: AtomicU64,
    lost: AtomicU64,
    /// `NO_ROUND_TRIP` until there is one.
    last_round_trip: AtomicI64,
}

const STOP_SENDING: u8 = 1;
const STOP_WAITING: u8 = 2;
const NO_ROUND_TRIP: i64 = i64::MIN;

/// How a run stands. Figures of one snapshot may be some packets apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Probes sent.
    pub sent: u64,
    /// Probes answered in time.
    pub received: u64,
    /// Probes given up so far.
    pub lost: u64,
    /// Round trip of the latest reply in nanoseconds.
    pub last_round_trip: Option<i64>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            stop: AtomicU8::default(),
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
            lost: AtomicU64::default(),
            last_round_trip: AtomicI64::new(NO_ROUND_TRIP),
        }
    }
}

impl Control {
    /// Asks to send no more. Replies are still waited for.
    pub fn stop_sending(&self) {
        self.stop.fetch_max(STOP_SENDING, Ordering::Relaxed);
    }

    /// Asks to send no more and to wait for nothing.
    pub fn stop_waiting(&self) {
        self.stop.fetch_max(STOP_WAITING, Ordering::Relaxed);
    }

    /// Whether sending shall stop.
    pub fn sending_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) >= STOP_SENDING
    }

    /// Whether waiting for replies shall stop.
    pub fn waiting_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) >= STOP_WAITING
    }

    /// How the run stands.
    pub fn progress(&self) -> Progress {
        let round_trip = self.last_round_trip.load(Ordering::Relaxed);
        Progress {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            last_round_trip: (round_trip != NO_ROUND_TRIP).then_some(round_trip),
        }
    }

    /// Makes `progress` what watchers see.
    pub(crate) fn publish(&self, progress: Progress) {
        self.sent.store(progress.sent, Ordering::Relaxed);
        self.received.store(progress.received, Ordering::Relaxed);
        self.lost.store(progress.lost, Ordering::Relaxed);
        let round_trip = progress.last_round_trip.unwrap_or(NO_ROUND_TRIP);
        self.last_round_trip.store(round_trip, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_stop_waiting_is_not_taken_back() {
        let control = Control::default();
        assert!(!control.sending_stopped() && !control.waiting_stopped());
        control.stop_sending();
        assert!(control.sending_stopped() && !control.waiting_stopped());
        control.stop_waiting();
        control.stop_sending();
        assert!(control.sending_stopped() && control.waiting_stopped());
    }

    #[test]
    fn shows_what_was_published() {
        let control = Control::default();
        assert_eq!(control.progress(), Progress::default());
        let progress = Progress {
            sent: 3,
            received: 1,
            lost: 1,
            last_round_trip: Some(-5),
        };
        control.publish(progress);
        assert_eq!(control.progress(), progress);
    }
}
