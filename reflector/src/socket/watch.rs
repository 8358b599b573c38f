//! How a worker learns which sockets are its own, and which of them have something.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::worker::Endpoint;
use crate::stop::Stop;

/// Sockets reported ready by one system call.
const READY_MAX: usize = 64;

/// Epoll data of the descriptors that are no sockets.
const STOP: u64 = u64::MAX;
const CHANGE: u64 = u64::MAX - 1;

/// The sockets a worker is to serve, and a bell.
#[derive(Debug)]
pub(super) struct Inbox {
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    changed: EventFd,
}

/// A worker's sockets, and whether there is anything on them.
#[derive(Debug)]
pub(super) struct Watch {
    epoll: Epoll,
    endpoints: Arc<Vec<Arc<Endpoint>>>,
    events: [EpollEvent; READY_MAX],
}

impl Watch {
    /// Watches them, the bell and `stop`.
    ///
    /// # Errors
    ///
    /// There is no descriptor left, or no memory.
    pub(super) fn new(inbox: &Inbox, stop: &Stop) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(stop.as_fd(), readable(STOP))?;
        epoll.add(inbox.changed.as_fd(), readable(CHANGE))?;
        let mut watch = Self {
            epoll,
            endpoints: Arc::default(),
            events: [EpollEvent::empty(); READY_MAX],
        };
        watch.follow(inbox)?;
        Ok(watch)
    }

    /// Watches the sockets there are now. Takes no descriptor: there may be none left.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(super) fn follow(&mut self, inbox: &Inbox) -> nix::Result<()> {
        // Silenced first: what changes from here on is not missed.
        let _ = inbox.changed.read();
        for endpoint in self.endpoints.iter() {
            self.epoll.delete(endpoint.socket())?;
        }
        self.endpoints = inbox.endpoints.load_full();
        for (place, endpoint) in (0..).zip(self.endpoints.iter()) {
            self.epoll.add(endpoint.socket(), readable(place))?;
        }
        Ok(())
    }

    /// Waits until there is something, and tells on how many descriptors.
    ///
    /// # Errors
    ///
    /// The kernel refuses to wait.
    pub(super) fn wait(&mut self, at_most_ms: u16) -> nix::Result<usize> {
        match self
            .epoll
            .wait(&mut self.events, EpollTimeout::from(at_most_ms))
        {
            Err(Errno::EINTR) => Ok(0),
            ready => ready,
        }
    }

    /// The bell is among those.
    pub(super) fn is_change(&self, ready: usize) -> bool {
        let mut events = self.events.iter().take(ready);
        events.any(|event| event.data() == CHANGE)
    }

    /// The socket that event `place` is about, if it is about one.
    pub(super) fn endpoint(&self, place: usize) -> Option<&Arc<Endpoint>> {
        let data = self.events.get(place)?.data();
        self.endpoints.get(usize::try_from(data).ok()?)
    }

    /// All sockets.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter()
    }
}

impl Inbox {
    /// Rings the bell for the first time when the sockets change.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub(super) fn new(endpoints: Vec<Arc<Endpoint>>) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            endpoints: ArcSwap::from_pointee(endpoints),
            changed: EventFd::from_flags(flags)?,
        })
    }

    /// Other sockets from now on.
    pub(super) fn replace(&self, endpoints: Vec<Arc<Endpoint>>) {
        self.endpoints.store(Arc::new(endpoints));
        // Fails only if the counter would overflow: then it is readable already.
        let _ = self.changed.write(1);
    }
}

fn readable(data: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, data)
}
