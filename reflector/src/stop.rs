//! A flag that ends threads, awake or asleep.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A flag that threads can sleep on.
#[derive(Debug, Clone)]
pub struct Stop(Arc<(AtomicBool, EventFd)>);

impl Stop {
    /// Not raised.
    ///
    /// # Errors
    ///
    /// The kernel has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self(Arc::new((AtomicBool::new(false), event))))
    }

    /// Raises the flag and wakes all who sleep on it. It stays raised.
    pub fn raise(&self) {
        self.0.0.store(true, Ordering::Release);
        // Fails only if the counter would overflow: then it is readable already.
        let _ = self.0.1.write(1);
    }

    /// Whether it is raised.
    pub fn is_raised(&self) -> bool {
        self.0.0.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.1.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn wakes_all_who_sleep_on_it_and_stays_raised() {
        let stop = Stop::new().unwrap();
        let sleepers: Vec<_> = (0..3)
            .map(|_| {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    let mut fds = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
                    poll(&mut fds, PollTimeout::NONE).unwrap();
                    stop.is_raised()
                })
            })
            .collect();
        assert!(!stop.is_raised());
        stop.raise();
        for sleeper in sleepers {
            assert!(sleeper.join().unwrap());
        }
        assert!(stop.is_raised());
    }
}
