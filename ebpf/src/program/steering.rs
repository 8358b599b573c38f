//! A program that steers packets to AF_XDP sockets (`steer.h`), whoever's: sockets, interfaces, counters.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, Object, ProgramInput, ProgramOutput};

use crate::object::{self, Map};
use crate::{AttachError, Attachment, Interface, LoadError, MapError, Mode, VerdictCounts};

/// Whose program it is. Only this crate has any.
pub trait Role: Debug {
    /// The object file.
    const ELF: &'static [u8];
    /// The program's name in it.
    const NAME: &'static str;
    /// The map of what the program lets in.
    const KEYS: &'static str;
}

/// An XDP program that steers packets to AF_XDP sockets, loaded into the kernel. What it lets in is
/// its role's affair: see [`ReflectorProgram`](crate::ReflectorProgram) and
/// [`SenderProgram`](crate::SenderProgram).
#[derive(Debug)]
pub struct SteeringProgram<R: Role> {
    object: Object,
    program: OwnedFd,
    xsks: Map,
    interfaces: Map,
    verdicts: Map,
    pub(super) keys: Map,
    role: PhantomData<R>,
}

impl<R: Role> SteeringProgram<R> {
    /// Loads the program with room for sockets on `queues` receive queues.
    ///
    /// `frags` promises the kernel that multi-buffer frames are understood (they are passed on).
    /// Drivers at jumbo MTUs demand it; where an attachment is refused with it, try without.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(queues: u32, frags: bool) -> Result<Self, LoadError> {
        let object = object::load(R::ELF, frags, &[("xsks", queues.max(1))])?;
        Ok(Self {
            xsks: object::map(&object, "xsks")?,
            interfaces: object::map(&object, "interfaces")?,
            verdicts: object::map(&object, "verdicts")?,
            keys: object::map(&object, R::KEYS)?,
            program: object::program_fd(&object, R::NAME)?,
            object,
            role: PhantomData,
        })
    }

    /// Attaches the program to an interface for the life of the returned value.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn attach(&self, ifindex: u32, mode: Mode) -> Result<Attachment, AttachError> {
        Attachment::create(self.program.as_fd(), ifindex, mode)
    }

    /// Steers a receive queue's packets to an AF_XDP socket bound to that queue.
    ///
    /// # Errors
    ///
    /// The queue is beyond those given to [`Self::load`], or the socket is not bound.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        let value = socket.as_raw_fd().to_ne_bytes();
        self.xsks
            .with(|map| map.update(&queue.to_ne_bytes(), &value, MapFlags::ANY))
    }

    /// Tells the program the facts of an interface it is attached to.
    ///
    /// # Errors
    ///
    /// More than 64 interfaces.
    pub fn set_interface(&self, ifindex: u32, interface: Interface) -> Result<(), MapError> {
        let key = ifindex.to_ne_bytes();
        self.interfaces
            .with(|map| map.update(&key, &interface.to_bytes(), MapFlags::ANY))
    }

    /// Packets per verdict so far.
    ///
    /// # Errors
    ///
    /// The kernel refuses to read the map.
    pub fn verdicts(&self) -> Result<VerdictCounts, MapError> {
        let mut counts = VerdictCounts::default();
        for (index, count) in (0_u32..).zip(&mut counts.0) {
            let per_cpu = self
                .verdicts
                .with(|map| map.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY))?
                .unwrap_or_default();
            *count = per_cpu
                .iter()
                .filter_map(|value| value.as_slice().try_into().ok().map(u64::from_ne_bytes))
                .sum();
        }
        Ok(counts)
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
        object::program(&self.object, R::NAME)?
            .test_run(input)
            .map_err(LoadError::Refused)
    }
}
