//! TWAMP-Light and STAMP Session-Reflector on XDP, AF_XDP and UDP sockets.
//!
//! - [`reflect`] decides, without clock or socket, by a [`rule`] and the state of a [`session`];
//!   [`datagram`] does so for a request in its frame.
//! - [`listener`] says which packets are answered and how, [`rulebook`] which of this host's they are;
//!   [`publisher`] tells it to workers and XDP programs.
//! - [`worker`] turns one queue's packets around; [`queue`] gives it a socket and a thread; [`served`] is
//!   an interface with all its queues and [`program`], [`af_xdp`] all interfaces.
//! - [`socket`] answers on UDP sockets: what XDP leaves to the kernel, or everything.
//! - [`service`] sets up, watches over addresses, clock and links, and takes down.

pub mod address;
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
pub mod stop;
pub mod summary;
pub mod told;
pub mod vlan_offload;
pub mod wait;
pub mod worker;
