//! The XDP programs, the structures they share with user space, and the way into the kernel.
//!
//! - `shared.h` is the contract; `abi/` mirrors it under compile-time assertions.
//! - `reflector.bpf.c` is the Session-Reflector's program and `sender.bpf.c` the Session-Sender's,
//!   both on top of `parse.h` and `steer.h`; [`ReflectorProgram`] and [`SenderProgram`] load them, one
//!   for each interface, with most of it in [`SteeringProgram`].
//! - [`SharedMaps`] is what the reflector's programs of a process share: who is answered, as one
//!   [`Generation`] after the other, client lists, buckets and counters.
//! - [`policer`] is the arithmetic of `policer.h` in Rust, for packets that no XDP program judges.
//! - `drop.bpf.c` is the floor that benchmarks measure against ([`DropProgram`]).
//! - [`Attachment`] ties a program to an interface for as long as it lives, and no longer: a killed
//!   process leaves nothing attached.

mod abi;
mod attach;
mod best;
mod error;
mod generation;
mod object;
pub mod policer;
mod program;
mod verdict;

pub use abi::{
    Clients, FlowKey, Interface, ListenerKey, RX_META_VERSION, Refused, Rule, RxMeta, Scope,
    SessionKey, SessionRange, SourceLimit, StampSource,
};
pub use attach::{Attachment, Mode};
pub use best::{Attached, Attempt, BestError, attach_best};
pub use error::{AttachError, LoadError, MapError};
pub use generation::Generation;
pub use program::{
    DropProgram, ListenerCounts, Reflector, ReflectorProgram, Role, Sender, SenderProgram,
    SharedMaps, Sizes, SteeringProgram,
};
pub use verdict::{Verdict, VerdictCounts};
