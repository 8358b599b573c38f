//! The Session-Reflector's program.

use libbpf_rs::{MapCore, MapFlags};

use super::Elf;
use super::steering::{Role, SteeringProgram};
use crate::{ListenerKey, MapError, Rule};

static ELF: &Elf<[u8]> = &Elf(*include_bytes!(concat!(
    env!("OUT_DIR"),
    "/reflector.bpf.o"
)));

/// The Session-Reflector: lets in what its listeners match.
#[derive(Debug)]
pub enum Reflector {}

impl Role for Reflector {
    const ELF: &'static [u8] = &ELF.0;
    const NAME: &'static str = "reflector";
    const KEYS: &'static str = "listeners";
}

/// The Session-Reflector's XDP program, loaded into the kernel.
pub type ReflectorProgram = SteeringProgram<Reflector>;

impl ReflectorProgram {
    /// Lets packets that match `key` in.
    ///
    /// # Errors
    ///
    /// The map is full (65 536 listeners).
    pub fn add_listener(&self, key: &ListenerKey, rule: Rule) -> Result<(), MapError> {
        self.keys
            .with(|map| map.update(&key.to_bytes(), &rule.to_bytes(), MapFlags::ANY))
    }

    /// Sends packets that match `key` to the kernel again.
    ///
    /// # Errors
    ///
    /// There is no such listener.
    pub fn remove_listener(&self, key: &ListenerKey) -> Result<(), MapError> {
        self.keys.with(|map| map.delete(&key.to_bytes()))
    }
}
