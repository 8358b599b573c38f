//! Intended send times: periodic, random or as fast as it goes, and never caught up by bursts.
//!
//! Pure arithmetic on the time elapsed since the start; the caller brings the clock. A time process
//! ([`Times`]) makes slots, each slot holds a burst of packets that are due together, and the
//! [`Schedule`] hands them out, skips what is too late, and ends at the [`Limit`]:
//!
//! ```text
//! periodic ─┐
//! poisson  ─┼─► slot (due) ─► × burst ─► too late? skipped ─► limit? done ─► packet (intended time)
//! owamp    ─┘
//! ```

mod exponential;
mod limit;
pub mod owamp;
pub mod pace;
pub mod periodic;
mod places;
pub mod poisson;
mod share;

use std::num::NonZeroU32;
use std::time::Duration;

pub use limit::Limit;
pub use pace::Pace;
pub use share::Share;

use self::owamp::Owamp;
use self::periodic::Periodic;
use self::places::{AtOnce, Places, Slots};
use self::poisson::Poisson;
use crate::seed::Seed;

/// Lateness up to which a slot is still sent, however short the interval.
///
/// On a machine with few processors a thread loses its own for this long whenever another wakes
/// up there; a tolerance of one interval alone would turn each such pause into skipped slots at
/// high rates. Packets that bunch up within it are what the network sees of it.
pub const TOLERANCE_FLOOR: Duration = Duration::from_micros(200);

/// Random slots passed over in one call at most: some milliseconds of work. What a longer pause
/// has left behind is passed over by the calls that follow.
const SKIPPED_PER_CALL: u32 = 1 << 18;

/// Whole nanoseconds, up to 584 years.
fn nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(pace::NANOS_PER_SECOND)
        .saturating_add(u64::from(duration.subsec_nanos()))
}

/// What makes the slots of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Slot `k` is due exactly `k` intervals after the first (RFC 3432).
    Periodic {
        /// Packets per time.
        pace: Pace,
        /// When the first slot is due, from the start; see [`periodic::random_start`].
        offset: Duration,
    },
    /// Exponential gaps, the longest [`poisson::GAP_MAX`] times the mean (RFC 2330).
    Poisson {
        /// Packets per time, in the mean.
        pace: Pace,
        /// What the gaps follow from.
        seed: Seed,
    },
    /// The exponential gaps of RFC 4656 section 5, of any length, known to all who know the SID.
    Owamp {
        /// Packets per time, in the mean.
        pace: Pace,
        /// The session identifier.
        sid: Seed,
    },
    /// Everything is due at once.
    Max,
}

impl Times {
    /// Periodic at `pace` from the very start.
    pub fn periodic(pace: Pace) -> Self {
        Self::Periodic {
            pace,
            offset: Duration::ZERO,
        }
    }

    /// Packets per time; `None` as fast as it goes.
    pub fn pace(&self) -> Option<Pace> {
        match *self {
            Self::Periodic { pace, .. } | Self::Poisson { pace, .. } | Self::Owamp { pace, .. } => {
                Some(pace)
            }
            Self::Max => None,
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send the packets handed out; there may be more that are due.
    Send,
    /// Nothing was handed out. Call again this long after the start: when the next slot is due, or
    /// at once, if that time has passed, because slots are still to be skipped.
    WaitUntil(Duration),
    /// Nothing was handed out, and nothing will be.
    Done,
}

/// The slots of a run as a process.
#[derive(Debug)]
enum Process {
    Periodic(Periodic),
    Poisson(Poisson),
    Owamp(Box<Owamp>),
    Max,
}

impl Process {
    /// When the slot in hand is due, in nanoseconds from the start; `now` if it always is.
    fn due(&self, now: u64) -> u64 {
        match self {
            Self::Periodic(periodic) => periodic.due(),
            Self::Poisson(poisson) => poisson.due(),
            Self::Owamp(owamp) => owamp.due(),
            Self::Max => now,
        }
    }

    /// Goes on to the next slot.
    fn advance(&mut self) {
        match self {
            Self::Periodic(periodic) => periodic.advance(),
            Self::Poisson(poisson) => poisson.advance(),
            Self::Owamp(owamp) => owamp.advance(),
            Self::Max => {}
        }
    }
}

/// The packets of a run, handed out by their intended send times.
#[derive(Debug)]
pub struct Schedule {
    times: Times,
    process: Process,
    places: Places,
    /// Slots due at this time or later are not part of the run, in nanoseconds from the start.
    until: u64,
    /// In nanoseconds.
    tolerance: u64,
}

impl Schedule {
    /// A schedule that runs up to `limit`, `burst` packets at a time. The rate of the packets stays
    /// what `times` says: larger bursts are rarer. A burst later than the mean time between two of
    /// them, and later than [`TOLERANCE_FLOOR`], is skipped, and so is the rest of a burst of which
    /// a part was handed out.
    pub fn new(times: Times, burst: NonZeroU32, limit: Limit) -> Self {
        let size = burst.get();
        let burst = match times {
            // One burst without an end.
            Times::Max => u64::MAX,
            _ => size.into(),
        };
        let process = match times {
            Times::Periodic { pace, offset } => {
                Process::Periodic(Periodic::new(pace, size, offset))
            }
            Times::Poisson { pace, seed } => Process::Poisson(Poisson::new(pace, size, seed)),
            Times::Owamp { pace, sid } => Process::Owamp(Box::new(Owamp::new(pace, size, sid))),
            Times::Max => Process::Max,
        };
        let interval = times.pace().map_or(0, |pace| pace.split(size.into()).0);
        Self {
            times,
            process,
            places: Places::new(burst, limit),
            until: nanos(limit.end),
            tolerance: interval.max(nanos(TOLERANCE_FLOOR)),
        }
    }

    /// Appends to `slots` the intended times, from the start, of the next packets to send `elapsed`
    /// after the start, `max` at most (and one at least, if one is due). They are used up by that.
    pub fn take(&mut self, elapsed: Duration, max: usize, slots: &mut Vec<Duration>) -> Step {
        let now = nanos(elapsed);
        if !self.skip_before(now, now.saturating_sub(self.tolerance)) {
            return Step::WaitUntil(Duration::from_nanos(self.process.due(now)));
        }
        let (places, until, max) = (&mut self.places, self.until, max.max(1));
        // The kind of process is settled here, once for all packets.
        match &mut self.process {
            Process::Periodic(periodic) => places.hand_out(periodic, now, until, max, slots),
            Process::Poisson(poisson) => places.hand_out(poisson, now, until, max, slots),
            Process::Owamp(owamp) => places.hand_out(owamp.as_mut(), now, until, max, slots),
            Process::Max => places.hand_out(&mut AtOnce(now), now, until, max, slots),
        }
    }

    /// Passes over what is too late `elapsed` after the start, while nothing can be sent; true if
    /// the run is over.
    pub fn pass(&mut self, elapsed: Duration) -> bool {
        let now = nanos(elapsed);
        self.skip_before(now, now.saturating_sub(self.tolerance))
            && (self.places.left() == 0 || self.process.due(now) >= self.until)
    }

    /// Passes over the slots that were due before `limit`; false if some are left for the next
    /// call.
    fn skip_before(&mut self, now: u64, limit: u64) -> bool {
        let limit = limit.min(self.until);
        for _ in 0..SKIPPED_PER_CALL {
            if self.places.left() == 0 || self.process.due(now) >= limit {
                return true;
            }
            self.places.skip_slot();
            self.process.advance();
            if let Process::Periodic(periodic) = &mut self.process {
                let passed = periodic.jump(limit);
                self.places.skip_slots(passed);
            }
        }
        false
    }

    /// Number of packets not handed out because their time had passed.
    pub fn skipped(&self) -> u64 {
        self.places.skipped()
    }

    /// Number of packets neither handed out nor skipped so far. Of a random schedule that ends with
    /// a duration it is what is to be expected, and 0 of one that goes as fast as it can.
    pub fn left(&self) -> u64 {
        let counted = self.places.left();
        if self.until == u64::MAX {
            return counted;
        }
        let expected = self.times.pace().map_or(0, |pace| {
            let time = self.until.saturating_sub(self.process.due(self.until));
            pace.slots_before(Duration::from_nanos(time))
        });
        counted.min(expected)
    }

    /// Mean time between two packets, rounded down to a nanosecond; `None` as fast as it goes.
    pub fn interval(&self) -> Option<Duration> {
        self.times.pace().map(Pace::interval)
    }
}

#[cfg(test)]
mod tests;
