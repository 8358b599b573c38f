//! What the outside may ask of a run while it goes on: to stop, and how it stands.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::transport::IcmpCounts;

/// Shared between a run and whoever watches it.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicU8,
    /// How each worker stands.
    workers: Mutex<Vec<Progress>>,
}

const STOP_SENDING: u8 = 1;
const STOP_WAITING: u8 = 2;

/// How a run stands. Figures of one snapshot may be some packets apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Probes sent.
    pub sent: u64,
    /// Probes answered in time.
    pub received: u64,
    /// Probes given up so far.
    pub lost: u64,
    /// ICMP errors about our probes.
    pub icmp: IcmpCounts,
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

    /// How the run stands, all workers together.
    pub fn progress(&self) -> Progress {
        let mut sum = Progress::default();
        for worker in self.lock().iter() {
            sum.sent += worker.sent;
            sum.received += worker.received;
            sum.lost += worker.lost;
            sum.icmp.absorb(&worker.icmp);
        }
        sum
    }

    /// Makes `progress` what watchers see of `worker`.
    pub(crate) fn publish(&self, worker: usize, progress: Progress) {
        let mut workers = self.lock();
        if workers.len() <= worker {
            workers.resize(worker + 1, Progress::default());
        }
        workers[worker] = progress;
    }

    /// Plain numbers: what a panicking thread left is as good as any.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Progress>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn shows_the_sum_of_what_the_workers_published() {
        let control = Control::default();
        assert_eq!(control.progress(), Progress::default());
        let progress = Progress {
            sent: 3,
            received: 1,
            lost: 1,
            icmp: IcmpCounts::default(),
        };
        control.publish(1, progress);
        assert_eq!(control.progress(), progress);
        control.publish(
            0,
            Progress {
                sent: 2,
                ..progress
            },
        );
        let sum = control.progress();
        assert_eq!((sum.sent, sum.received, sum.lost), (5, 2, 2));
    }
}
