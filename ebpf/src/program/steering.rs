//! What the reflector's and the sender's program share (`steer.h`): sockets, interfaces, counters.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, Object, ProgramInput, ProgramOutput};

use crate::object::{self, Map};
use crate::{AttachError, Attachment, Interface, LoadError, MapError, Mode, VerdictCounts};

/// A loaded program that steers packets to AF_XDP sockets. The types around it document its methods.
#[derive(Debug)]
pub(super) struct Steering {
    object: Object,
    name: &'static str,
    program: OwnedFd,
    xsks: Map,
    interfaces: Map,
    verdicts: Map,
}

impl Steering {
    /// Loads the program called `name` from an object file.
    pub(super) fn load(
        bytes: &[u8],
        name: &'static str,
        queues: u32,
        frags: bool,
    ) -> Result<Self, LoadError> {
        let object = object::load(bytes, frags, &[("xsks", queues.max(1))])?;
        Ok(Self {
            name,
            xsks: object::map(&object, "xsks")?,
            interfaces: object::map(&object, "interfaces")?,
            verdicts: object::map(&object, "verdicts")?,
            program: object::program_fd(&object, name)?,
            object,
        })
    }

    /// A map that only this program has.
    pub(super) fn map(&self, name: &'static str) -> Result<Map, LoadError> {
        object::map(&self.object, name)
    }

    pub(super) fn attach(&self, ifindex: u32, mode: Mode) -> Result<Attachment, AttachError> {
        Attachment::create(self.program.as_fd(), ifindex, mode)
    }

    pub(super) fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        let value = socket.as_raw_fd().to_ne_bytes();
        self.xsks
            .with(|map| map.update(&queue.to_ne_bytes(), &value, MapFlags::ANY))
    }

    pub(super) fn set_interface(&self, ifindex: u32, interface: Interface) -> Result<(), MapError> {
        let key = ifindex.to_ne_bytes();
        self.interfaces
            .with(|map| map.update(&key, &interface.to_bytes(), MapFlags::ANY))
    }

    pub(super) fn verdicts(&self) -> Result<VerdictCounts, MapError> {
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

    pub(super) fn test_run<'data>(
        &self,
        input: ProgramInput<'data>,
    ) -> Result<ProgramOutput<'data>, LoadError> {
        object::program(&self.object, self.name)?
            .test_run(input)
            .map_err(LoadError::Refused)
    }
}
