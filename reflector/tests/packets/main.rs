//! The reflector over veth pairs, told everything that an operator's packets can be.
//!
//! ```text
//!   reflector --listener … │ veth-r  ◄──► veth-s  │ raw packet socket
//!                          │ veth-r2 ◄──► veth-s2 │ another, in some tests
//! ```
//!
//! This kernel has no VLAN devices: tagged frames are crafted.

#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
mod formats;
mod interfaces;
mod listeners;
mod malformed;
mod replies;
mod rig;
mod sender;
mod stateful;
mod vlans;
