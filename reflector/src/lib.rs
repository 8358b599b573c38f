//! TWAMP-Light and STAMP Session-Reflector on XDP and AF_XDP.
//!
//! - [`reflect`] decides, without clock or socket; [`datagram`] does so for a request in its frame.
//! - [`worker`] turns one queue's packets around; [`queue`] gives it a socket and a thread.
//! - [`listener`] says which packets are answered and how, [`rulebook`] which of this host's they are.
//! - [`socket`] answers on UDP sockets: what XDP leaves to the kernel, or everything.
//! - [`service`] sets up, watches over addresses, clock and link, and takes down; [`program`] gets
//!   the XDP program onto the interface.

pub mod af_xdp;
pub mod args;
pub mod clients;
pub mod counters;
pub mod cpus;
pub mod datagram;
pub mod error;
pub mod interface;
pub mod listener;
pub mod policer;
pub mod program;
pub mod publisher;
pub mod queue;
pub mod reflect;
pub mod rule;
pub mod rulebook;
pub mod served;
pub mod service;
pub mod session;
pub mod shared;
pub mod socket;
pub mod standin;
pub mod stop;
pub mod summary;
pub mod vlan_offload;
pub mod wait;
pub mod worker;
