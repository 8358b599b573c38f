//! The kernel's clocks: reading them, and what the kernel says of their quality.
//!
//! Readers of time take a [`Clock`], so that tests own it. [`Discipline`] is the kernel's own word
//! (`adjtimex(2)`) on whether its clock is synchronised and how far it may be off; the Error
//! Estimate that packets carry comes from it and is never a constant.

mod discipline;
mod system;

pub use discipline::Discipline;
pub use system::{SystemClock, utc};

use wire::time::{Tai, Utc};

/// A source of the current time.
pub trait Clock {
    /// The time on the TAI scale.
    fn tai(&self) -> Tai;

    /// The time on the UTC scale.
    fn utc(&self) -> Utc;
}
