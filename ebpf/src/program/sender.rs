//! The Session-Sender's program.

use std::os::fd::BorrowedFd;

use libbpf_rs::{MapCore, MapFlags, ProgramInput, ProgramOutput};

use super::Elf;
use super::steering::Steering;
use crate::object::Map;
use crate::{
    AttachError, Attachment, Interface, LoadError, MapError, Mode, SessionKey, SessionRange,
    VerdictCounts,
};

static ELF: &Elf<[u8]> = &Elf(*include_bytes!(concat!(env!("OUT_DIR"), "/sender.bpf.o")));

/// The Session-Sender's XDP program, loaded into the kernel: it takes replies to our sessions, and
/// only those, out of what an interface receives.
#[derive(Debug)]
pub struct SenderProgram {
    steering: Steering,
    sessions: Map,
}

impl SenderProgram {
    /// Loads the program with room for sockets on `queues` receive queues.
    ///
    /// `frags` promises the kernel that multi-buffer frames are understood (they are passed on).
    /// Drivers at jumbo MTUs demand it; where an attachment is refused with it, try without.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(queues: u32, frags: bool) -> Result<Self, LoadError> {
        let steering = Steering::load(&ELF.0, "sender", queues, frags)?;
        Ok(Self {
            sessions: steering.map("sessions")?,
            steering,
        })
    }

    /// Attaches the program to an interface for the life of the returned value.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn attach(&self, ifindex: u32, mode: Mode) -> Result<Attachment, AttachError> {
        self.steering.attach(ifindex, mode)
    }

    /// Steers a receive queue's packets to an AF_XDP socket bound to that queue.
    ///
    /// # Errors
    ///
    /// The queue is beyond those given to [`Self::load`], or the socket is not bound.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        self.steering.set_socket(queue, socket)
    }

    /// Tells the program the facts of an interface it is attached to.
    ///
    /// # Errors
    ///
    /// More than 64 interfaces.
    pub fn set_interface(&self, ifindex: u32, interface: Interface) -> Result<(), MapError> {
        self.steering.set_interface(ifindex, interface)
    }

    /// Lets replies to the sessions of `range` in, in place of any added with an equal key before.
    ///
    /// # Errors
    ///
    /// The map is full (65 536 keys).
    pub fn add_sessions(&self, key: &SessionKey, range: SessionRange) -> Result<(), MapError> {
        self.sessions
            .with(|map| map.update(&key.to_bytes(), &range.to_bytes(), MapFlags::ANY))
    }

    /// Sends replies that match `key` to the kernel again.
    ///
    /// # Errors
    ///
    /// There are no such sessions.
    pub fn remove_sessions(&self, key: &SessionKey) -> Result<(), MapError> {
        self.sessions.with(|map| map.delete(&key.to_bytes()))
    }

    /// Packets per verdict so far.
    ///
    /// # Errors
    ///
    /// The kernel refuses to read the map.
    pub fn verdicts(&self) -> Result<VerdictCounts, MapError> {
        self.steering.verdicts()
    }

    /// Runs the program once over a frame (`BPF_PROG_TEST_RUN`), as if it had arrived on the
    /// loopback interface of this network namespace, queue 0.
    ///
    /// # Errors
    ///
    /// The kernel refuses the frame (shorter than an Ethernet header, longer than a page).
    pub fn test_run<'data>(
        &self,
        input: ProgramInput<'data>,
    ) -> Result<ProgramOutput<'data>, LoadError> {
        self.steering.test_run(input)
    }
}
