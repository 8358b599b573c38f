//! How a worker passes the time when there is nothing to do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::args::Poll;
use crate::stop::Stop;

/// An adaptive worker spins while packets come closer together than this on average, and for this
/// long after the last one. At wider gaps spinning would burn a processor and still end in a sleep
/// before the next packet. A wake-up costs tens of microseconds, so it is denser traffic that gains.
const SPIN: Duration = Duration::from_micros(50);

/// A pause counts as no longer than this, so that a burst after it is recognised soon.
const GAP_MAX: Duration = Duration::from_micros(500);

/// Upper bound on a sleep: a lost wake-up delays a packet by this much, not for ever.
const SLEEP_MAX_MS: u16 = 1_000;

/// Waits as [`Poll`] says.
#[derive(Debug)]
pub struct Waiter {
    mode: Poll,
    traffic: Traffic,
}

/// How densely packets come.
#[derive(Debug)]
struct Traffic {
    last: Instant,
    /// Moving average over about eight gaps.
    mean_gap: Duration,
}

impl Traffic {
    fn new(now: Instant) -> Self {
        Self {
            last: now,
            mean_gap: GAP_MAX,
        }
    }

    fn packet_at(&mut self, now: Instant) {
        let gap = now.duration_since(self.last).min(GAP_MAX);
        self.mean_gap = (self.mean_gap * 7 + gap) / 8;
        self.last = now;
    }

    fn is_worth_spinning(&self, now: Instant) -> bool {
        self.mean_gap < SPIN && now.duration_since(self.last) < SPIN
    }
}

/// What a worker cannot go on without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// Packets to answer.
    Packets,
    /// Packets, or room for replies that the kernel has yet to take.
    PacketsOrRoom,
    /// Room for replies: without it no packet is taken, however many there are.
    Room,
}

impl Waiter {
    /// A waiter that knows of no traffic yet.
    pub fn new(mode: Poll) -> Self {
        Self {
            mode,
            traffic: Traffic::new(Instant::now()),
        }
    }

    /// A turn of the loop had packets.
    pub fn packet_seen(&mut self) {
        if self.mode == Poll::Adaptive {
            self.traffic.packet_at(Instant::now());
        }
    }

    /// There was none: spins or sleeps until there may be what is awaited.
    ///
    /// # Errors
    ///
    /// The kernel refuses to wait.
    pub fn idle(&self, socket: BorrowedFd<'_>, stop: &Stop, awaited: Awaited) -> io::Result<()> {
        if self.spins() {
            std::hint::spin_loop();
            return Ok(());
        }
        sleep(socket, stop, awaited)
    }

    /// Whether it looks again at once, rather than sleep, when there is nothing to do.
    pub fn spins(&self) -> bool {
        match self.mode {
            Poll::Busy => true,
            Poll::Interrupt => false,
            Poll::Adaptive => self.traffic.is_worth_spinning(Instant::now()),
        }
    }
}

/// Sleeps until the socket has what is awaited, or `stop` is raised.
fn sleep(socket: BorrowedFd<'_>, stop: &Stop, awaited: Awaited) -> io::Result<()> {
    let interest = match awaited {
        Awaited::Packets => PollFlags::POLLIN,
        Awaited::PacketsOrRoom => PollFlags::POLLIN | PollFlags::POLLOUT,
        Awaited::Room => PollFlags::POLLOUT,
    };
    let mut fds = [
        PollFd::new(socket, interest),
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, SLEEP_MAX_MS) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `count` packets `gap` apart and returns the time of the last.
    fn feed(traffic: &mut Traffic, start: Instant, gap: Duration, count: u32) -> Instant {
        for index in 1..=count {
            traffic.packet_at(start + gap * index);
        }
        start + gap * count
    }

    #[test]
    fn spins_on_dense_traffic_only() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start);
        assert!(!traffic.is_worth_spinning(start), "nothing known yet");
        let last = feed(&mut traffic, start, Duration::from_micros(10), 64);
        assert!(traffic.is_worth_spinning(last + Duration::from_micros(10)));

        let last = feed(&mut traffic, last, Duration::from_micros(100), 64);
        assert!(!traffic.is_worth_spinning(last), "10 000 packets/s");
    }

    #[test]
    fn stops_spinning_when_dense_traffic_stops() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start);
        let last = feed(&mut traffic, start, Duration::from_micros(5), 64);
        assert!(traffic.is_worth_spinning(last + SPIN / 2));
        assert!(!traffic.is_worth_spinning(last + SPIN));
    }

    #[test]
    fn a_long_pause_is_soon_forgotten() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start);
        let later = start + Duration::from_secs(3600);
        traffic.packet_at(later);
        let last = feed(&mut traffic, later, Duration::from_micros(5), 32);
        assert!(traffic.is_worth_spinning(last));
    }
}
