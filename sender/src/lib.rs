//! TWAMP-Light and STAMP Session-Sender: round-trip time, one-way delay, jitter, loss.
//!
//! A run goes from left to right:
//!
//! ```text
//! args ─► config ─► run ─┬─ sending:   schedule ─► pacer ─► probe ─► transport
//!                        │      │ events, before each send
//!                        │      ▼
//!                        └─ receiving: transport ─► reply ─► session ─► measure
//!                                                                         │
//!                                   report (table, json) ◄── outcome ◄────┘
//! ```
//!
//! Memory is bounded by what is out at a time: each session remembers the packets it sends within
//! the timeout and the late window ([`config::LATE_WINDOW`]), at 40 octets each (24 for its state
//! and 16 for its place in the order of arrival), and the histograms take 5 MiB at most, however
//! long the run.
//!
//! [`schedule`], [`ramp`], [`session`], [`reply`], [`measure`] and [`limits`] are pure: no I/O, no
//! clock. [`transport`] is the only door to the network. The binary `sender` is [`cli::main`].

pub mod args;
pub mod cli;
pub mod config;
pub mod control;
pub mod error;
pub mod frame;
pub mod json_file;
pub mod limits;
pub mod measure;
pub mod outcome;
pub mod pacer;
pub mod path;
pub mod probe;
pub mod progress;
pub mod ramp;
pub mod receiving;
pub mod reply;
pub mod report;
pub mod run;
pub mod schedule;
pub mod seed;
pub mod sending;
pub mod session;
pub mod signals;
pub mod steps;
pub mod target;
pub mod transport;
pub mod view;
pub mod warning;
