//! What became of the probes (RFC 7680 loss, RFC 5560 duplication, RFC 4737 reordering).

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
    /// Probes that had at least one duplicate.
    pub replicated: u64,
    /// Received replies that a later probe's reply overtook.
    pub reordered: u64,
    /// Largest reordering extent, in packets; 0 when nothing was reordered.
    pub reorder_extent_max: u64,
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

    fn answered(&self) -> u64 {
        self.received + self.late
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is a float")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
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
