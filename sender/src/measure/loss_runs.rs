//! Runs of lost probes (loss periods of RFC 3357), in sending order.

/// The loss runs of one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LossRuns {
    current: u64,
    runs: u64,
    longest: u64,
}

impl LossRuns {
    /// Takes the fate of the next probe in sending order.
    pub fn close(&mut self, lost: bool) {
        if !lost {
            self.current = 0;
            return;
        }
        self.runs += u64::from(self.current == 0);
        self.current += 1;
        self.longest = self.longest.max(self.current);
    }

    /// Number of runs: of losses that follow no loss.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Probes in the longest run.
    pub fn longest(&self) -> u64 {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_in_a_row_are_one_run() {
        let mut runs = LossRuns::default();
        for lost in [true, false, true, true, true, false, false, true] {
            runs.close(lost);
        }
        assert_eq!((runs.runs(), runs.longest()), (3, 3));
    }

    #[test]
    fn no_loss_is_no_run() {
        let mut runs = LossRuns::default();
        runs.close(false);
        assert_eq!(runs, LossRuns::default());
    }
}
