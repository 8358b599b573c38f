//! What became of the probes (RFC 7680 loss, RFC 5560 duplication, RFC 4737 reordering).

use super::reordering::NReordering;

/// Packet counts of a run, over all sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Probes handed to the network.
    pub sent: u64,
    /// Probes with a valid reply within the timeout.
    pub received: u64,
    /// Probes whose first valid reply came after the timeout; they are also lost.
    pub late: u64,
    /// Valid replies beyond the first of their probe.
    pub duplicates: u64,
    /// Those of them whose reflector number is not that of the first reply: the probe was
    /// duplicated on the way there. 0 with a stateless reflector, which cannot tell.
    pub duplicates_forward: u64,
    /// Probes that had at least one duplicate.
    pub replicated: u64,
    /// Received replies that a later probe's reply overtook.
    pub reordered: u64,
    /// Largest reordering extent, in packets; 0 when nothing was reordered.
    pub reorder_extent_max: u64,
    /// Received replies overtaken by the three that arrived immediately before (3-reordered, RFC
    /// 4737 section 5.4): what TCP would take for a loss.
    pub reordered_by_three: u64,
    /// Largest n for which a reply was n-reordered, up to [`super::reordering::Reordering::MEMORY`].
    pub n_reordering_max: u64,
    /// Runs of lost probes, in sending order, of all sessions.
    pub loss_runs: u64,
    /// Probes in the longest run.
    pub loss_run_max: u64,
    /// Datagrams from the target that answer no probe in memory: too short, unknown sequence
    /// number, wrong echo of T1, impossible timestamps.
    pub invalid: u64,
}

impl Counts {
    /// Probes without a valid reply within the timeout (RFC 7680; late is lost).
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Lost probes per probe sent; `None` when nothing was sent.
    pub fn loss_ratio(&self) -> Option<f64> {
        ratio(self.lost(), self.sent)
    }

    /// Reordered replies per received reply; `None` when nothing was received.
    pub fn reordered_ratio(&self) -> Option<f64> {
        ratio(self.reordered, self.received)
    }

    /// Extra copies per answered probe (RFC 5560); `None` when nothing was answered.
    pub fn duplication_ratio(&self) -> Option<f64> {
        ratio(self.duplicates, self.answered())
    }

    /// Share of answered probes with more than one copy (RFC 5560).
    pub fn replicated_ratio(&self) -> Option<f64> {
        ratio(self.replicated, self.answered())
    }

    /// Counts a reordered reply.
    pub(super) fn reorder(&mut self, extent: u64, n_reordering: NReordering) {
        let NReordering(n) = n_reordering;
        self.reordered += 1;
        self.reorder_extent_max = self.reorder_extent_max.max(extent);
        self.reordered_by_three += u64::from(n >= 3);
        self.n_reordering_max = self.n_reordering_max.max(n as u64);
    }

    /// Adds the counts of another worker.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.duplicates_forward += other.duplicates_forward;
        self.replicated += other.replicated;
        self.reordered += other.reordered;
        self.reorder_extent_max = self.reorder_extent_max.max(other.reorder_extent_max);
        self.reordered_by_three += other.reordered_by_three;
        self.n_reordering_max = self.n_reordering_max.max(other.n_reordering_max);
        self.loss_runs += other.loss_runs;
        self.loss_run_max = self.loss_run_max.max(other.loss_run_max);
        self.invalid += other.invalid;
    }

    fn answered(&self) -> u64 {
        self.received + self.late
    }
}

/// A share of the whole; `None` of nothing.
#[expect(clippy::cast_precision_loss, reason = "a ratio is a float")]
pub(crate) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_of_nothing_are_unknown() {
        let none = Counts::default();
        assert_eq!(none.loss_ratio(), None);
        assert_eq!(none.reordered_ratio(), None);
        assert_eq!(none.duplication_ratio(), None);
        assert_eq!(none.replicated_ratio(), None);
    }

    #[test]
    fn duplicates_do_not_offset_losses() {
        let counts = Counts {
            sent: 4,
            received: 3,
            duplicates: 5,
            ..Counts::default()
        };
        assert_eq!(counts.lost(), 1);
        assert_eq!(counts.loss_ratio(), Some(0.25));
    }
}
