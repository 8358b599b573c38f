//! A thread under guard: told to stop, joined, and its failure is the test's.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, panic, thread};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;

use crate::Error;

/// A running thread. Dropping it stops and joins it, and panics if the work failed.
#[derive(Debug)]
pub(crate) struct Background {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

/// What the work of a [`Background`] looks at between its steps.
#[derive(Debug)]
pub(crate) struct Bell {
    event: EventFd,
    stop: AtomicBool,
}

impl Background {
    /// Starts `work`, which returns soon after [`Bell::stopped`] holds.
    pub(crate) fn start(
        name: &str,
        work: impl FnOnce(&Bell) -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event =
            EventFd::from_flags(flags).map_err(|errno| Error::io("make an eventfd", errno))?;
        let bell = Arc::new(Bell {
            event,
            stop: AtomicBool::new(false),
        });
        let rung = Arc::clone(&bell);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&rung))
            .map_err(|error| Error::io(format!("start the thread {name}"), error))?;
        Ok(Self {
            bell,
            thread: Some(thread),
        })
    }

    /// Wakes the work from [`Bell::wait`].
    pub(crate) fn wake(&self) {
        // Fails only where the counter is full, and then the work is awake.
        let _ = self.bell.event.write(1);
    }

    /// Whether the work has ended by itself, which it does only in failure.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops and joins the thread; later calls do nothing.
    ///
    /// # Errors
    /// With the failure of the work.
    ///
    /// # Panics
    /// With the panic of the work.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        self.bell.stop.store(true, Ordering::Release);
        self.wake();
        let outcome = self.thread.take().map(JoinHandle::join);
        outcome.map_or(Ok(()), |joined| {
            joined.unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }
}

impl Drop for Background {
    #[expect(
        clippy::panic,
        reason = "a helper that failed would make the test's result meaningless"
    )]
    fn drop(&mut self) {
        if thread::panicking() {
            // The cause of the test's failure, perhaps: tell it, but do not abort.
            let stopped = panic::catch_unwind(panic::AssertUnwindSafe(|| self.stop()));
            if let Ok(Err(error)) = stopped {
                eprintln!("a helper thread had failed: {error}");
            }
        } else if let Err(error) = self.stop() {
            panic!("{error}");
        }
    }
}

impl Bell {
    /// Whether the work should end.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Sleeps until one of `sources` is readable, the bell rings, or the time is over.
    pub(crate) fn wait(
        &self,
        sources: &[BorrowedFd<'_>],
        at_most: Option<Duration>,
    ) -> Result<(), Error> {
        let mut polled: Vec<_> = sources
            .iter()
            .copied()
            .chain([self.event.as_fd()])
            .map(|source| PollFd::new(source, PollFlags::POLLIN))
            .collect();
        match ppoll(&mut polled, at_most.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::io("wait for packets", io::Error::from(errno))),
        }
        if polled.last().and_then(PollFd::any) == Some(true) {
            // It rang: reading silences it, and cannot fail for want of anything to read.
            let _ = self.event.read();
        }
        Ok(())
    }
}
