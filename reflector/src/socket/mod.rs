//! The socket datapath: beside AF_XDP it owns the listeners' ports and answers what the XDP program
//! leaves to the kernel (IP options, fragments, IPv6 extension headers, what a chunk cannot hold); by
//! itself it is a whole reflector that needs no privileges.
//!
//! [`plan`] says which sockets the listeners need here, [`open`] opens them, [`worker`] answers what
//! arrives, with [`receive`] and [`send`] for its system calls; [`datapath`] runs the workers.
//!
//! What a socket cannot do: it does not see whether an IPv4 request had a UDP checksum (the reply has
//! one), nor the Flow Label of an IPv6 request (the kernel chooses the reply's), nor DF (replies come
//! without). Requests with a wrong checksum are not seen at all.

pub mod counters;
pub mod datapath;
pub mod open;
pub mod plan;
pub mod receive;
pub mod send;
mod watch;
pub mod worker;

pub use counters::{SendError, SocketCounters, Unanswered};
pub use datapath::{DatapathError, Options, SocketDatapath, SocketFigures};
pub use open::OpenError;
pub use plan::{Binding, Device, Gap, Missing, Plan};
