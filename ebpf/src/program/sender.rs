//! The Session-Sender's program.

use libbpf_rs::{MapCore, MapFlags};

use super::Elf;
use super::steering::{Role, SteeringProgram};
use crate::object::{self, Map};
use crate::{LoadError, MapError, SessionKey, SessionRange};

static ELF: &Elf<[u8]> = &Elf(*include_bytes!(concat!(env!("OUT_DIR"), "/sender.bpf.o")));

/// The Session-Sender: lets in the replies to its sessions.
#[derive(Debug)]
pub struct Sender {
    sessions: Map,
}

impl Role for Sender {
    const ELF: &'static [u8] = &ELF.0;
    const NAME: &'static str = "sender";
}

/// The Session-Sender's XDP program, loaded into the kernel: it takes replies to our sessions, and
/// only those, out of what an interface receives.
pub type SenderProgram = SteeringProgram<Sender>;

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
        Self::load_with(queues, frags, &[], |object| {
            Ok(Sender {
                sessions: object::map(object, "sessions")?,
            })
        })
    }

    /// Lets replies to the sessions of `range` in, in place of any added with an equal key before.
    ///
    /// # Errors
    ///
    /// The map is full (65 536 keys).
    pub fn add_sessions(&self, key: &SessionKey, range: SessionRange) -> Result<(), MapError> {
        self.role
            .sessions
            .with(|map| map.update(&key.to_bytes(), &range.to_bytes(), MapFlags::ANY))
    }

    /// Sends replies that match `key` to the kernel again.
    ///
    /// # Errors
    ///
    /// There are no such sessions.
    pub fn remove_sessions(&self, key: &SessionKey) -> Result<(), MapError> {
        self.role.sessions.with(|map| map.delete(&key.to_bytes()))
    }
}
