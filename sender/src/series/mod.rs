//! Test series, like the probe configuration of a router: a file names tests, `sender run` makes
//! them on a timetable, and `sender results` shows what came of them.
//!
//! ```text
//! file ─► plan ─► runner ── a thread per test: timetable ─► run ─► entry ─► history (on disk)
//!                   │                                      thresholds ┘        │
//!                   └─► lines on standard output                   results ◄───┘
//! ```

pub mod cli;
pub mod entry;
pub mod error;
pub mod file;
pub mod history;
pub mod keys;
pub mod plan;
pub mod results;
pub mod runner;
pub mod state_dir;
pub mod stop;
pub mod threshold;
pub mod timetable;
