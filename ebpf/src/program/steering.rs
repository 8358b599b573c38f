//! A program that steers packets to AF_XDP sockets (`steer.h`), whoever's: sockets, interfaces, counters.

use std::fmt::Debug;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, Object, ProgramInput, ProgramOutput};

use crate::object::{self, Map};
use crate::{AttachError, Attachment, Interface, LoadError, MapError, Mode, VerdictCounts};

/// Whose program it is, and the maps that only that one has. Only this crate has any.
pub trait Role: Debug {
    /// The object file.
    const ELF: &'static [u8];
    /// The program's name in it.
    const NAME: &'static str;
}

/// An XDP program that steers packets to AF_XDP sockets, loaded into the kernel for one interface.
/// What it lets in is its role's affair: see [`ReflectorProgram`](crate::ReflectorProgram) and
/// [`SenderProgram`](crate::SenderProgram).
#[derive(Debug)]
pub struct SteeringProgram<R: Role> {
    object: Object,
    program: OwnedFd,
    xsks: Map,
    attached_to: Map,
    verdicts: Map,
    pub(super) role: R,
}

impl<R: Role> SteeringProgram<R> {
    /// Loads the program with room for sockets on `queues` receive queues, on top of maps that are
    /// there already.
    pub(super) fn load_with(
        queues: u32,
        frags: bool,
        reuse: &[&Map],
        role: impl FnOnce(&Object) -> Result<R, LoadError>,
    ) -> Result<Self, LoadError> {
        let object = object::load(R::ELF, frags, &[("xsks", queues.max(1))], reuse)?;
        Ok(Self {
            xsks: object::map(&object, "xsks")?,
            attached_to: object::map(&object, "attached_to")?,
            verdicts: object::map(&object, "verdicts")?,
            program: object::program_fd(&object, R::NAME)?,
            role: role(&object)?,
            object,
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
    /// The queue is beyond those given when it was loaded, or the socket is not bound.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        let value = socket.as_raw_fd().to_ne_bytes();
        self.xsks
            .with(|map| map.update(&queue.to_ne_bytes(), &value, MapFlags::ANY))
    }

    /// Tells the program the facts of the interface it is attached to. Before that it takes nothing for
    /// ours.
    ///
    /// # Errors
    ///
    /// The kernel refuses to write the map.
    pub fn set_interface(&self, ifindex: u32, interface: Interface) -> Result<(), MapError> {
        let only = 0_u32.to_ne_bytes();
        self.attached_to
            .with(|map| map.update(&only, &interface.to_bytes(ifindex), MapFlags::ANY))
    }

    /// Packets per verdict so far.
    ///
    /// # Errors
    ///
    /// The kernel refuses to read the map.
    pub fn verdicts(&self) -> Result<VerdictCounts, MapError> {
        let mut counts = VerdictCounts::default();
        for (index, count) in (0_u32..).zip(&mut counts.0) {
            [*count] = self.verdicts.sum_of_cpus(index)?;
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

    /// Runs the program `repeat` times over a frame, and returns the mean time of a run. What a run
    /// leaves behind, the next one finds: metadata above all.
    ///
    /// # Errors
    ///
    /// As for [`Self::test_run`].
    pub fn time_runs(&self, frame: &[u8], repeat: u32) -> Result<Duration, LoadError> {
        object::time_runs(&self.object, R::NAME, frame, repeat)
    }
}
