//! The Session-Reflector's program.

use std::os::fd::BorrowedFd;

use libbpf_rs::{MapCore, MapFlags, ProgramInput, ProgramOutput};

use super::Elf;
use super::steering::Steering;
use crate::object::Map;
use crate::{
    AttachError, Attachment, Interface, ListenerKey, LoadError, MapError, Mode, Rule, VerdictCounts,
};

static ELF: &Elf<[u8]> = &Elf(*include_bytes!(concat!(
    env!("OUT_DIR"),
    "/reflector.bpf.o"
)));

/// The Session-Reflector's XDP program, loaded into the kernel.
#[derive(Debug)]
pub struct ReflectorProgram {
    steering: Steering,
    listeners: Map,
}

impl ReflectorProgram {
    /// Loads the program with room for sockets on `queues` receive queues.
    ///
    /// `frags` promises the kernel that multi-buffer frames are understood (they are passed on).
    /// Drivers at jumbo MTUs demand it; where an attachment is refused with it, try without.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(queues: u32, frags: bool) -> Result<Self, LoadError> {
        let steering = Steering::load(&ELF.0, "reflector", queues, frags)?;
        Ok(Self {
            listeners: steering.map("listeners")?,
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

    /// Lets packets that match `key` in.
    ///
    /// # Errors
    ///
    /// The map is full (65 536 listeners).
    pub fn add_listener(&self, key: &ListenerKey, rule: Rule) -> Result<(), MapError> {
        self.listeners
            .with(|map| map.update(&key.to_bytes(), &rule.to_bytes(), MapFlags::ANY))
    }

    /// Sends packets that match `key` to the kernel again.
    ///
    /// # Errors
    ///
    /// There is no such listener.
    pub fn remove_listener(&self, key: &ListenerKey) -> Result<(), MapError> {
        self.listeners.with(|map| map.delete(&key.to_bytes()))
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
