//! When a run is over.

use std::time::Duration;

use super::Times;

/// When a run is over: when its packets are sent, its slots used up, or its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Packets to send. A packet skipped is replaced by one more at the end, so the run takes
    /// longer and the packets keep their distance.
    pub packets: u64,
    /// Places for packets at most, used or skipped.
    pub slots: u64,
    /// What would be due this long after the start, or later, is not part of the run.
    pub end: Duration,
}

impl Limit {
    /// This many packets, however long it takes.
    pub fn packets(packets: u64) -> Self {
        Self {
            packets,
            slots: u64::MAX,
            end: Duration::MAX,
        }
    }

    /// As many packets as leave within `duration`.
    ///
    /// A periodic schedule knows how many these are. What this machine fails to send in time it
    /// may send in a tenth of the duration more; what is missing then stays so. The others end
    /// with the duration, and the number of their packets is up to chance or to this machine.
    pub fn duration(times: &Times, duration: Duration) -> Self {
        match times {
            Times::Periodic { pace, .. } => {
                let packets = pace.slots_before(duration);
                Self {
                    packets,
                    slots: packets.saturating_add(packets / 10),
                    end: Duration::MAX,
                }
            }
            Times::Poisson { .. } | Times::Owamp { .. } | Times::Max => Self {
                packets: u64::MAX,
                slots: u64::MAX,
                end: duration,
            },
        }
    }
}
