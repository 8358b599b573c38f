//! The program that drops every packet.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use libbpf_rs::Object;

use super::Elf;
use crate::{AttachError, Attachment, LoadError, Mode, object};

static ELF: &Elf<[u8]> = &Elf(*include_bytes!(concat!(env!("OUT_DIR"), "/drop.bpf.o")));

/// A program that drops every packet: the floor that benchmarks measure against.
#[derive(Debug)]
pub struct DropProgram {
    object: Object,
    program: OwnedFd,
}

const NAME: &str = "drop";

impl DropProgram {
    /// Loads the program.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load() -> Result<Self, LoadError> {
        let object = object::load(&ELF.0, true, &[], &[])?;
        Ok(Self {
            program: object::program_fd(&object, NAME)?,
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

    /// Runs the program `repeat` times over a frame, and returns the mean time of a run: what the
    /// kernel's loop costs.
    ///
    /// # Errors
    ///
    /// The kernel refuses the frame.
    pub fn time_runs(&self, frame: &[u8], repeat: u32) -> Result<Duration, LoadError> {
        object::time_runs(&self.object, NAME, frame, repeat)
    }
}
