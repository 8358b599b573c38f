//! Loops: one forged packet must not make two reflectors answer each other for ever, nor one itself.
//!
//! ```text
//!   reflector │ veth-r ◄──► veth-s │ another one, ours or somebody else's
//!                  ▲            ▲
//!                  └── raw packet sockets forge packets of the other end ──┘
//! ```

#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
mod ours;
mod sources;
mod stamp_suite;
