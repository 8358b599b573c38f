//! AF_XDP sockets: UMEM, rings, wake-up, statistics.
//!
//! An AF_XDP socket shares packet memory (the UMEM) and four rings with the kernel, so that packets
//! move without a system call each. This crate owns that memory and keeps its bookkeeping honest:
//! every chunk of the UMEM has one owner, and a packet in user space is a [`Frame`], a token that
//! can be neither copied nor used twice.
//!
//! ```text
//!             refill              fill ring                 (packet arrives)
//!   ┌──────┐ ─────────► ═══════════════════════════► ┌────────┐
//!   │ pool │                                         │ kernel │
//!   └──────┘ ◄───────── ◄═══════════════════════════ └────────┘
//!     ▲  │    complete        completion ring          │    ▲
//!     │  │                                             │    │
//!     │  │ take      ┌───────┐  ◄══════════════════════╛    │ tx ring
//!     │  └─────────► │ Frame │        rx ring (receive)     │
//!     └───────────── │ token │  ════════════════════════════╛
//!        release     └───────┘        transmit
//!                         ▲
//!                         └─ reclaim instead of complete: a sender's frame comes back as it was sent
//! ```
//!
//! - [`Umem`] is the packet memory; [`Queue`] is a UMEM with its four rings; [`Socket`] is the file
//!   descriptor that binds both to one queue of an interface, and the way to wake the kernel.
//! - A sender takes its frames back by [`Queue::reclaim`], and may ask the kernel when each packet left
//!   ([`Umem::request_tx_stamp`]).
//! - [`Nic`] tells the facts about an interface that a caller needs before it opens sockets.
//! - [`testing`] connects a [`Queue`] to an in-memory kernel side: no socket, no privileges.
//!
//! The crate knows nothing of what packets mean, loads no XDP program and fills no XSKMAP.
//! Kernel facts are those of Linux 6.18; the files are named where a fact is used
//! (`net/xdp/xsk.c`, `net/xdp/xsk_queue.h`, `net/xdp/xsk_buff_pool.c`, `net/xdp/xdp_umem.c`,
//! `include/uapi/linux/if_xdp.h`, `Documentation/networking/af_xdp.rst`).
//!
//! # One worker
//!
//! ```no_run
//! use xsk::{Frame, Kernel, Nic, Queue, Socket, SocketConfig, Umem, UmemConfig};
//!
//! # fn main() -> Result<(), xsk::Error> {
//! let nic = Nic::by_name("eth1")?;
//! let umem = Umem::allocate(&UmemConfig::default())?;
//! let (socket, mut queue) = Socket::open(&SocketConfig::new(nic.index(), 0), umem)?;
//! let mut batch: Vec<Frame> = Vec::with_capacity(64);
//! loop {
//!     queue.complete();
//!     queue.refill();
//!     queue.receive(&mut batch, 64);
//!     for frame in &mut batch {
//!         let _packet: &mut [u8] = queue.umem().data_mut(frame);
//!     }
//!     queue.transmit(&mut batch);
//!     if queue.tx_needs_wakeup() && socket.wake_tx().is_err() {
//!         break;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("AF_XDP is Linux's, and this crate takes addresses to be 64 bits wide");

mod config;
mod cursor;
mod error;
mod frame;
mod ledger;
mod mmap;
mod nic;
mod queue;
mod ring;
mod socket;
mod sys;
pub mod testing;
mod tx_metadata;
mod umem;
mod vlan_stripping;

pub use config::{BindMode, BusyPoll, ChunkFit, RingSizes, SocketConfig, UmemConfig};
pub use error::Error;
pub use frame::{Frame, TooLong};
pub use ledger::{Census, Imbalance};
pub use nic::{Channels, LinkFlags, Nic};
pub use queue::{Queue, Rejected};
pub use socket::{Kernel, Socket, Statistics, Wake};
pub use umem::Umem;
pub use vlan_stripping::VlanStripping;
