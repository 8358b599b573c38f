//! Statistics of a run: pure bookkeeping, no I/O and no clock.
//!
//! Formulas follow RFC 2681 (round trip), RFC 7679 (one way), RFC 3393 (IPDV), RFC 3550 (jitter),
//! RFC 4737 (reordering), RFC 5560 (duplication) and RFC 7680 (loss). [`Measurement`] puts them
//! together; the other modules hold one metric each.

mod buckets;
pub mod counts;
pub mod delay;
pub mod direction;
pub mod distribution;
pub mod header;
pub mod interval;
pub mod jitter;
pub mod loss_runs;
mod measurement;
pub mod overview;
pub mod recent;
pub mod reordering;
pub mod session;
pub mod sketch;
pub mod totals;

pub use measurement::{
    Arrived, Finished, Measurement, Reception, ReplyStamps, T4Source, Terms, Verdict,
};
pub use totals::{Peer, Totals};
