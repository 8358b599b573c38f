//! The receiving half of the socket transport: replies in batches, with kernel timestamps.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, SystemClock};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, Timestamps, recvmmsg};

use super::{Datagram, HEAD_MAX, Receive, Trouble, icmp};
use crate::measure::{Reception, T4Source};

/// Datagrams taken by one system call at most.
const BATCH: usize = 32;
/// Datagrams asked for at least. With room for a second, one call tells that there is only one.
const ROOM_MIN: usize = 2;
/// Batches taken from one socket before the next has its turn.
const TURN: usize = 8;
/// Sockets reported ready by one system call.
const READY_MAX: usize = 64;

/// Receives on the sockets of all sessions.
#[derive(Debug)]
pub struct SocketReceive {
    sockets: Arc<[UdpSocket]>,
    epoll: Epoll,
    ready: Vec<EpollEvent>,
    heads: Box<[u8]>,
    /// Datagrams asked for by the next system call: room for more than came last.
    room: usize,
    /// The kernel's count of dropped datagrams per socket (`SO_RXQ_OVFL`), as last seen.
    drops_seen: Box<[u32]>,
    trouble: Trouble,
}

impl SocketReceive {
    pub(super) fn new(sockets: Arc<[UdpSocket]>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (session, socket) in (0u64..).zip(sockets.iter()) {
            epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, session))?;
        }
        Ok(Self {
            drops_seen: vec![0; sockets.len()].into_boxed_slice(),
            sockets,
            epoll,
            ready: vec![EpollEvent::empty(); READY_MAX],
            heads: vec![0; BATCH * HEAD_MAX].into_boxed_slice(),
            room: ROOM_MIN,
            trouble: Trouble::default(),
        })
    }

    /// Takes what `session` has, up to its turn's share.
    fn take_turn(
        &mut self,
        session: usize,
        take: &mut dyn FnMut(Datagram<'_>),
    ) -> io::Result<usize> {
        let mut taken = 0;
        for _ in 0..TURN {
            let room = self.room;
            let batch = self.take_batch(session, take)?;
            taken += batch;
            // Headers are made for each call, see below, and 32 of them for one datagram are many.
            self.room = (2 * batch).clamp(ROOM_MIN, BATCH);
            if batch < room {
                break;
            }
        }
        Ok(taken)
    }

    /// Takes one batch. An error queued on the socket, such as an ICMP error, ends the batch and
    /// is not an error here.
    fn take_batch(
        &mut self,
        session: usize,
        take: &mut dyn FnMut(Datagram<'_>),
    ) -> io::Result<usize> {
        let Some(socket) = self.sockets.get(session) else {
            return Ok(0);
        };
        // Made afresh each time: the kernel leaves in the headers how much control data it wrote,
        // and nix does not reset that, so a second use would have less room and lose timestamps.
        let mut headers = MultiHeaders::<()>::preallocate(
            self.room,
            Some(nix::cmsg_space!(Timestamps, u32, i32, i32)),
        );
        let mut slices: Vec<_> = self
            .heads
            .chunks_exact_mut(HEAD_MAX)
            .take(self.room)
            .map(|head| [IoSliceMut::new(head)])
            .collect();
        // With MSG_TRUNC the length reported is that of the datagram, not of the part taken.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let messages = match recvmmsg(
            socket.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            flags,
            None,
        ) {
            Ok(messages) => messages,
            Err(error) if is_fatal(error) => return Err(error.into()),
            Err(_) => return Ok(0),
        };
        let now = SystemClock.utc();
        let mut taken = 0;
        for message in messages {
            taken += 1;
            let mut reception = Reception {
                t4: now,
                source: T4Source::UserSpace,
            };
            let (mut ttl, mut tos) = (None, None);
            for control in message.cmsgs().into_iter().flatten() {
                match control {
                    ControlMessageOwned::ScmTimestampsns(stamps) => {
                        reception = Reception {
                            t4: clock::utc(stamps.system),
                            source: T4Source::Kernel,
                        };
                    }
                    ControlMessageOwned::RxqOvfl(total) => {
                        if let Some(seen) = self.drops_seen.get_mut(session) {
                            self.trouble.dropped_here += u64::from(total.wrapping_sub(*seen));
                            *seen = total;
                        }
                    }
                    ControlMessageOwned::Ipv4Ttl(hops)
                    | ControlMessageOwned::Ipv6HopLimit(hops) => {
                        ttl = u8::try_from(hops).ok();
                    }
                    ControlMessageOwned::Ipv4Tos(octet) => tos = Some(octet),
                    ControlMessageOwned::Ipv6TClass(octet) => tos = u8::try_from(octet).ok(),
                    _ => {}
                }
            }
            let head = message.iovs().next().unwrap_or(&[]);
            take(Datagram {
                session,
                head,
                len: message.bytes,
                reception,
                ttl,
                tos,
            });
        }
        Ok(taken)
    }
}

impl Receive for SocketReceive {
    fn receive(&mut self, wait: Duration, take: &mut dyn FnMut(Datagram<'_>)) -> io::Result<usize> {
        let timeout = EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX);
        let ready = match self.epoll.wait(&mut self.ready, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut taken = 0;
        for event in 0..ready {
            let event = self.ready[event];
            let Ok(session) = usize::try_from(event.data()) else {
                continue;
            };
            if event.events().contains(EpollFlags::EPOLLERR) {
                self.take_errors(session);
            }
            if event.events().contains(EpollFlags::EPOLLIN) {
                taken += self.take_turn(session, take)?;
            }
        }
        Ok(taken)
    }

    fn trouble(&self) -> Trouble {
        self.trouble
    }
}

impl SocketReceive {
    fn take_errors(&mut self, session: usize) {
        if let Some(socket) = self.sockets.get(session) {
            icmp::drain(socket.as_raw_fd(), &mut self.trouble.icmp);
            // Clears a pending error that has no entry in the queue (which may have been full);
            // otherwise epoll would report it for ever.
            let _ = socket.take_error();
        }
    }
}

/// Whether receiving makes no sense any more. Everything else is nothing to read, or news of the
/// network about an earlier probe.
fn is_fatal(error: Errno) -> bool {
    matches!(
        error,
        Errno::EBADF | Errno::EFAULT | Errno::EINVAL | Errno::ENOTSOCK
    )
}
