//! The socket datapath over a veth pair, without a program on the interface.
//!
//! ```text
//!   workers on UDP sockets │ veth-r ◄──► veth-s │ kernel sockets, or a raw packet socket
//! ```

#![cfg(test)]

mod allocations;
mod answers;
mod header;
mod ports;
mod rig;
mod silence;
mod unprivileged;
mod workers;
