//! The programs as typed objects: load, fill the maps, attach, read the counters.

mod drop;
mod reflector;
mod sender;
mod shared;
mod steering;

pub use drop::DropProgram;
pub use reflector::{Reflector, ReflectorProgram};
pub use sender::{Sender, SenderProgram};
pub use shared::{ListenerCounts, SharedMaps, Sizes};
pub use steering::{Role, SteeringProgram};

/// An object file, aligned as its 64-bit ELF header wants it.
#[repr(C, align(8))]
struct Elf<Bytes: ?Sized>(Bytes);
