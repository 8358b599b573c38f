//! The programs as typed objects: load, fill the maps, attach, read the counters.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, Object, ProgramInput, ProgramOutput};

use crate::object::{self, Map};
use crate::{
    AttachError, Attachment, Interface, ListenerKey, LoadError, MapError, Mode, Rule, Verdict,
};

/// An object file, aligned as its 64-bit ELF header wants it.
#[repr(C, align(8))]
struct Elf<Bytes: ?Sized>(Bytes);

static REFLECTOR: &Elf<[u8]> = &Elf(*include_bytes!(concat!(
    env!("OUT_DIR"),
    "/reflector.bpf.o"
)));
static DROP: &Elf<[u8]> = &Elf(*include_bytes!(concat!(env!("OUT_DIR"), "/drop.bpf.o")));

/// Packets per [`Verdict`], summed over the CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts([u64; Verdict::ALL.len()]);

impl VerdictCounts {
    /// Packets with this verdict.
    pub const fn of(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    /// Every verdict with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> {
        Verdict::ALL.into_iter().zip(self.0)
    }
}

/// The Session-Reflector's XDP program, loaded into the kernel.
#[derive(Debug)]
pub struct ReflectorProgram {
    object: Object,
    program: OwnedFd,
    xsks: Map,
    listeners: Map,
    interfaces: Map,
    verdicts: Map,
}

impl ReflectorProgram {
    const NAME: &str = "reflector";

    /// Loads the program with room for sockets on `queues` receive queues.
    ///
    /// `frags` promises the kernel that multi-buffer frames are understood (they are passed on).
    /// Drivers at jumbo MTUs demand it; where an attachment is refused with it, try without.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(queues: u32, frags: bool) -> Result<Self, LoadError> {
        let object = object::load(&REFLECTOR.0, frags, &[("xsks", queues.max(1))])?;
        Ok(Self {
            xsks: object::map(&object, "xsks")?,
            listeners: object::map(&object, "listeners")?,
            interfaces: object::map(&object, "interfaces")?,
            verdicts: object::map(&object, "verdicts")?,
            program: object::program_fd(&object, Self::NAME)?,
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
    /// The queue is beyond those given to [`Self::load`], or the socket is not bound.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        let value = socket.as_raw_fd().to_ne_bytes();
        self.xsks
            .with(|map| map.update(&queue.to_ne_bytes(), &value, MapFlags::ANY))
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
        object::program(&self.object, Self::NAME)?
            .test_run(input)
            .map_err(LoadError::Refused)
    }
}

/// A program that drops every packet: the floor that benchmarks measure against.
#[derive(Debug)]
pub struct DropProgram {
    program: OwnedFd,
}

impl DropProgram {
    /// Loads the program.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load() -> Result<Self, LoadError> {
        let object = object::load(&DROP.0, true, &[])?;
        Ok(Self {
            program: object::program_fd(&object, "drop")?,
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
}
