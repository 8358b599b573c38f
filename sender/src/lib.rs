//! TWAMP-Light and STAMP Session-Sender: round-trip time, one-way delay, jitter, loss.
//!
//! A run goes from left to right:
//!
//! ```text
//!                      ┌─ over UDP sockets, two threads ───────────────────────────────┐
//!                      │ sending:   schedule ─► pacer ─► probe ─► transport::socket    │
//!                      │               │ flight: departures, before each send          │
//!                      │               ▼                                               │
//! args ─► config ─► run┤ receiving: transport ─► matching ─► measure ──┐               │
//!                      │                                               │               │
//!                      │─ over AF_XDP, one thread per queue ───────────┼───────────────│
//!                      │ af_xdp::worker: schedule ─► outbox            │               │
//!                      │                 inbox ─► matching ─► measure ─┤               │
//!                      └───────────────────────────────────────────────┼───────────────┘
//!                                         recorder (over time) ◄───────┤
//!                  outputs (csv, hdr log, page, json), table ◄── outcome
//! ```
//!
//! Memory is bounded by what is out at a time. A worker remembers the packets it sends within the
//! timeout and the late window ([`config::LATE_WINDOW`]), 32 octets each, in one ring whatever the
//! number of sessions ([`flight`]). A session takes [`measure::session::Session::OCTETS`] octets
//! more. The histograms of a run take 7 MiB at most, however long it is, and an `AF_XDP` queue
//! 20 MiB of packet memory.
//!
//! [`schedule`], [`ramp`], [`flight`], [`reply`], [`matching`], [`measure`], [`frame`] and [`limits`]
//! are pure: no I/O, no clock. [`transport`] and [`af_xdp`] are the only doors to the network,
//! [`path`] asks the kernel for the way. [`series`] runs named tests from a file. The binary `sender`
//! is [`cli::main`].

pub mod af_xdp;
pub mod args;
pub mod cli;
pub mod config;
pub mod control;
pub mod cpu;
pub mod document_file;
pub mod error;
pub mod flight;
pub mod frame;
pub mod limits;
pub mod matching;
pub mod measure;
pub mod outcome;
pub mod outputs;
pub mod own_clock;
pub mod pacer;
pub mod path;
pub mod probe;
pub mod ramp;
pub mod receiving;
pub mod recorder;
pub mod reply;
pub mod report;
pub mod run;
pub mod schedule;
pub mod seed;
pub mod sending;
pub mod series;
pub mod signals;
pub mod stamp;
pub mod steps;
pub mod target;
pub mod transport;
pub mod view;
pub mod waiting;
pub mod warning;
