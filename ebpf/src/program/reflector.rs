//! The Session-Reflector's program.

use super::Elf;
use super::shared::SharedMaps;
use super::steering::{Role, SteeringProgram};
use crate::LoadError;

static ELF: &Elf<[u8]> = &Elf(*include_bytes!(concat!(
    env!("OUT_DIR"),
    "/reflector.bpf.o"
)));

/// The Session-Reflector: lets in what its process's rules answer.
#[derive(Debug)]
pub struct Reflector(());

impl Role for Reflector {
    const ELF: &'static [u8] = &ELF.0;
    const NAME: &'static str = "reflector";
}

/// The Session-Reflector's XDP program, loaded into the kernel for one interface. What it answers is in
/// the [`SharedMaps`] of the process.
pub type ReflectorProgram = SteeringProgram<Reflector>;

impl ReflectorProgram {
    /// Loads the program with room for sockets on `queues` receive queues.
    ///
    /// `frags` promises the kernel that multi-buffer frames are understood (they are passed on).
    /// Drivers at jumbo MTUs demand it; where an attachment is refused with it, try without.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(shared: &SharedMaps, queues: u32, frags: bool) -> Result<Self, LoadError> {
        Self::load_with(queues, frags, &shared.all(), |_| Ok(Reflector(())))
    }
}
