//! The `AF_XDP` transport: frames past the kernel's network stack, stamped in the driver.
//!
//! ```text
//!  setup     way to the target, ports, program on the interface, a socket per queue
//!    │
//!    ▼ one worker per queue, in one thread: it owns the queue's rings
//!  worker ─┬─ outbox: template frames ─► rewritten in place ─► T1 last ─► tx ring
//!          │             ▲                                                  │
//!          │             └──────────── completion ring (stamps) ◄───────────┘
//!          └─ inbox:  rx ring ─► metadata (session, T4) ─► reply ─► measurement
//!                        │ a session of another worker
//!                        └─► exchange
//! ```
//!
//! Sending and receiving share a thread because they share the rings, and because T4 is taken in
//! the driver: a reply may wait in the ring while the next probe is stamped, and loses nothing.
//!
//! [`worker`], [`outbox`] and [`inbox`] run on rings in memory as well (`xsk::testing`).

pub mod exchange;
pub mod inbox;
pub mod outbox;
pub mod setup;
pub mod worker;
