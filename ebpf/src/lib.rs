//! The XDP programs, the structures they share with user space, and the way into the kernel.
//!
//! - `shared.h` is the contract; `abi.rs` mirrors it under compile-time assertions.
//! - `reflector.bpf.c` is the Session-Reflector's program and `sender.bpf.c` the Session-Sender's,
//!   both on top of `parse.h` and `steer.h`; [`ReflectorProgram`] and [`SenderProgram`] load them and
//!   fill their maps, with most of it in [`SteeringProgram`].
//! - `drop.bpf.c` is the floor that benchmarks measure against ([`DropProgram`]).
//! - [`Attachment`] ties a program to an interface for as long as it lives, and no longer: a killed
//!   process leaves nothing attached.

mod abi;
mod attach;
mod best;
mod error;
mod object;
pub mod policer;
mod program;
mod verdict;

pub use abi::{
    Interface, ListenerKey, RX_META_VERSION, Rule, RxMeta, SessionKey, SessionRange, StampSource,
};
pub use attach::{Attachment, Mode};
pub use best::{Attached, Attempt, BestError, attach_best};
pub use error::{AttachError, LoadError, MapError};
pub use program::{
    DropProgram, Reflector, ReflectorProgram, Role, Sender, SenderProgram, SteeringProgram,
};
pub use verdict::{Verdict, VerdictCounts};
