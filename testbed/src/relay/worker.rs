//! The thread between the two packet sockets.

use std::cmp::{self, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::getsockopt;

use super::RelayConfig;
use super::fate::{Fate, Onward, When};
use super::frame::{Datagram, finish_checksum};
use super::log::{Direction, Log, Record, Session, TestPacket};
use crate::background::Bell;
use crate::raw::{Captured, LONGEST_FRAME, bound_socket, capture, inject};
use crate::{Error, Namespace};

/// Room for a second of small frames at 20 000 a second and more while the relay is not scheduled.
const SOCKET_BUFFER: usize = 32 << 20;
/// Frames taken from one side before the other has its turn.
const BATCH: usize = 64;
/// How long a frame is offered to a kernel that has no room for it.
const PATIENCE: Duration = Duration::from_millis(100);

mod option {
    //! A socket option of packet(7) that nix does not have, by its own macro.
    use nix::{getsockopt_impl, sockopt_impl};

    sockopt_impl!(
        /// Packets received and dropped since last asked: `struct tpacket_stats`.
        Statistics,
        GetOnly,
        libc::SOL_PACKET,
        libc::PACKET_STATISTICS,
        [u32; 2]
    );
}

pub(super) type Script = Box<dyn FnMut(&TestPacket) -> Fate + Send>;

/// What the thread and its owner both touch.
pub(super) struct Shared {
    script: Mutex<Script>,
    log: Mutex<Log>,
    release: AtomicBool,
    /// By the direction of what comes in there.
    ports: [Port; 2],
}

/// One of the relay's interfaces.
#[derive(Debug)]
pub(super) struct Port {
    interface: &'static str,
    socket: OwnedFd,
    /// The kernel counts from zero again whenever it is asked.
    dropped: AtomicU64,
}

impl Port {
    pub(super) fn open(namespace: &Namespace, interface: &'static str) -> Result<Self, Error> {
        let socket = namespace
            .run(|| bound_socket(interface, SOCKET_BUFFER))
            .map_err(|errno| Error::io(format!("open a packet socket on {interface}"), errno))?;
        let port = Self {
            interface,
            socket,
            dropped: AtomicU64::new(0),
        };
        // What other interfaces brought before the socket was bound is not ours.
        port.dropped()?;
        port.dropped.store(0, Ordering::Relaxed);
        Ok(port)
    }

    /// Frames that found no room in the socket.
    fn dropped(&self) -> Result<u64, Error> {
        let [_, new] = getsockopt(&self.socket, option::Statistics)
            .map_err(|errno| Error::io("read a packet socket's counters", errno))?;
        let before = self.dropped.fetch_add(new.into(), Ordering::Relaxed);
        Ok(before + u64::from(new))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(script: Script, ports: [Port; 2]) -> Self {
        Self {
            script: Mutex::new(script),
            log: Mutex::default(),
            release: AtomicBool::new(false),
            ports,
        }
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ask_for_release(&self) {
        self.release.store(true, Ordering::Release);
    }

    /// Frames that the kernel dropped at the sockets.
    pub(super) fn dropped(&self) -> Result<u64, Error> {
        let [forward, backward] = &self.ports;
        Ok(forward.dropped()? + backward.dropped()?)
    }

    fn incoming(&self, direction: Direction) -> &Port {
        let [forward, backward] = &self.ports;
        match direction {
            Direction::Forward => forward,
            Direction::Backward => backward,
        }
    }

    fn outgoing(&self, direction: Direction) -> &Port {
        self.incoming(match direction {
            Direction::Forward => Direction::Backward,
            Direction::Backward => Direction::Forward,
        })
    }
}

/// What packets are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    direction: Direction,
    session: Session,
    sequence: u32,
}

/// What is known of the packets of one key.
#[derive(Debug, Default)]
struct History {
    came: u32,
    /// One of them has gone on, or was lost: nobody waits for the key any more.
    gone: bool,
    /// Copies of other packets that go on when this one has.
    waiting: Vec<Pending>,
}

/// A copy that is to go on.
#[derive(Debug)]
struct Pending {
    key: Key,
    /// Its packet's place in the log.
    record: usize,
    /// Its place in the fate.
    copy: usize,
    frame: Vec<u8>,
}

/// A copy that goes on later; ordered by time, then as they came.
#[derive(Debug)]
struct Delayed {
    due: Instant,
    serial: u64,
    pending: Pending,
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    reflector_ports: Vec<u16>,
    reply_sequence_offset: usize,
    started: Instant,
    buffer: Vec<u8>,
    history: HashMap<Key, History>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    /// How many copies were delayed so far.
    serial: u64,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, config: &RelayConfig) -> Self {
        Self {
            shared,
            reflector_ports: config.ports.clone(),
            reply_sequence_offset: config.reply_sequence_offset,
            started: Instant::now(),
            buffer: vec![0; LONGEST_FRAME],
            history: HashMap::new(),
            delayed: BinaryHeap::new(),
            serial: 0,
        }
    }

    pub(super) fn run(&mut self, bell: &Bell) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let sources = shared.ports.each_ref().map(|port| port.socket.as_fd());
        while !bell.stopped() {
            let next = self.delayed.peek().map(|Reverse(delayed)| delayed.due);
            let at_most = next.map(|due| due.saturating_duration_since(Instant::now()));
            bell.wait(&sources, at_most)?;
            for direction in [Direction::Forward, Direction::Backward] {
                self.take(direction)?;
            }
            self.send_due(Instant::now())?;
            if shared.release.swap(false, Ordering::AcqRel) {
                self.release()?;
            }
        }
        self.release()
    }

    /// Deals with a batch of what has come.
    fn take(&mut self, direction: Direction) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let port = shared.incoming(direction);
        for _ in 0..BATCH {
            let captured = capture(&port.socket, &mut self.buffer).map_err(|errno| {
                Error::io(format!("receive a frame on {}", port.interface), errno)
            })?;
            let Some(captured) = captured else { break };
            self.deal_with(direction, captured)?;
        }
        Ok(())
    }

    fn deal_with(&mut self, direction: Direction, captured: Captured) -> Result<(), Error> {
        let came = Instant::now();
        let mut frame = captured.frame;
        if captured.checksum_unfinished {
            finish_checksum(&mut frame);
        }
        let found = self.read(direction, &frame);
        let Some((packet, datagram)) = found else {
            let mut log = self.shared.log();
            let sent = self.send(direction, &frame)?;
            log.others += 1;
            log.refused += u64::from(!sent);
            return Ok(());
        };
        let key = Key {
            direction,
            session: packet.session,
            sequence: packet.sequence,
        };
        let fate = (self.shared.script())(&packet);
        let copies = prepare(&fate, &packet, &datagram, &frame)?;
        let record = {
            let mut log = self.shared.log();
            log.records.push(Record {
                packet,
                came: came.duration_since(self.started),
                fate: fate.clone(),
                sent: Vec::new(),
            });
            log.records.len() - 1
        };
        if fate.copies().is_empty() {
            return self
                .gone(key)
                .into_iter()
                .try_for_each(|pending| self.go_on(pending));
        }
        for (copy, (onward, frame)) in fate.copies().iter().zip(copies).enumerate() {
            let pending = Pending {
                key,
                record,
                copy,
                frame,
            };
            self.schedule(onward.when, came, pending)?;
        }
        Ok(())
    }

    /// The frame as a test packet, counted; `None` if it is none.
    fn read(&mut self, direction: Direction, frame: &[u8]) -> Option<(TestPacket, Datagram)> {
        let datagram = Datagram::find(frame)?;
        let (source, destination) = (datagram.source, datagram.destination);
        let (session, offset) = match direction {
            Direction::Forward => (Session::new(source, destination), 0),
            Direction::Backward => {
                let session = Session::new(destination, source);
                (session, self.reply_sequence_offset)
            }
        };
        if !self.reflector_ports.contains(&session.reflector.port()) {
            return None;
        }
        let sequence = datagram.number(frame, offset)?;
        let own_sequence = datagram.number(frame, 0)?;
        let (tos, ttl) = (datagram.tos(frame)?, datagram.ttl(frame)?);
        let key = Key {
            direction,
            session,
            sequence,
        };
        let history = self.history.entry(key).or_default();
        let copy = history.came;
        history.came += 1;
        let packet = TestPacket {
            direction,
            session,
            sequence,
            own_sequence,
            copy,
            payload_len: datagram.payload.len(),
            tos,
            ttl,
        };
        Some((packet, datagram))
    }

    fn schedule(&mut self, when: When, came: Instant, pending: Pending) -> Result<(), Error> {
        match when {
            When::AtOnce => self.go_on(pending),
            When::After(delay) => {
                self.serial += 1;
                self.delayed.push(Reverse(Delayed {
                    due: came + delay,
                    serial: self.serial,
                    pending,
                }));
                Ok(())
            }
            When::AfterSequence(sequence) => {
                let awaited = Key {
                    sequence,
                    ..pending.key
                };
                let awaited = self.history.entry(awaited).or_default();
                if awaited.gone {
                    return self.go_on(pending);
                }
                awaited.waiting.push(pending);
                Ok(())
            }
        }
    }

    fn send_due(&mut self, now: Instant) -> Result<(), Error> {
        while let Some(Reverse(next)) = self.delayed.peek() {
            if next.due > now {
                break;
            }
            if let Some(Reverse(next)) = self.delayed.pop() {
                self.go_on(next.pending)?;
            }
        }
        Ok(())
    }

    /// Lets everything go that is held.
    fn release(&mut self) -> Result<(), Error> {
        while let Some(Reverse(next)) = self.delayed.pop() {
            self.go_on(next.pending)?;
        }
        // What waits for each other goes in the order in which it came.
        let mut waiting: Vec<_> = self
            .history
            .values_mut()
            .flat_map(|history| mem::take(&mut history.waiting))
            .collect();
        waiting.sort_by_key(|pending| (pending.record, pending.copy));
        waiting
            .into_iter()
            .try_for_each(|pending| self.go_on(pending))
    }

    /// Sends a copy, and those that wait for it.
    fn go_on(&mut self, pending: Pending) -> Result<(), Error> {
        // No recursion: ten thousand packets may each wait for the next.
        let mut stack = vec![pending];
        while let Some(next) = stack.pop() {
            // Locked first, so that whoever has received the packet finds it in the log.
            let mut log = self.shared.log();
            let at = self.started.elapsed();
            if self.send(next.key.direction, &next.frame)? {
                log.note(next.record, next.copy, at);
            } else {
                log.refused += 1;
            }
            drop(log);
            stack.extend(self.gone(next.key).into_iter().rev());
        }
        Ok(())
    }

    /// Nobody need wait for that packet any more: returns what did.
    fn gone(&mut self, key: Key) -> Vec<Pending> {
        let history = self.history.entry(key).or_default();
        history.gone = true;
        mem::take(&mut history.waiting)
    }

    /// Sends a frame on; false if the kernel had no room for it for a while.
    fn send(&self, direction: Direction, frame: &[u8]) -> Result<bool, Error> {
        let port = self.shared.outgoing(direction);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match inject(&port.socket, frame) {
                Ok(()) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS | Errno::EAGAIN) => {
                    if Instant::now() >= deadline {
                        return Ok(false);
                    }
                    thread::yield_now();
                }
                Err(errno) => {
                    let what = format!(
                        "send a frame of {} octets on {}",
                        frame.len(),
                        port.interface
                    );
                    return Err(Error::io(what, errno));
                }
            }
        }
    }
}

/// The frames of a fate's copies.
fn prepare(
    fate: &Fate,
    packet: &TestPacket,
    datagram: &Datagram,
    original: &[u8],
) -> Result<Vec<Vec<u8>>, Error> {
    let prepared = |onward: &Onward| {
        let (mut frame, mut datagram) = (original.to_vec(), datagram.clone());
        for &change in &onward.changes {
            datagram.change(&mut frame, change).ok_or_else(|| {
                Error::Relay(format!("the script's {change:?} does not fit {packet:?}"))
            })?;
        }
        Ok(frame)
    };
    fate.copies().iter().map(prepared).collect()
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        (self.due, self.serial).cmp(&(other.due, other.serial))
    }
}
