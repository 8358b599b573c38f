//! Interarrival jitter (RFC 3550 section 6.4.1, appendix A.8).

use wire::time::Nanos;

/// The running jitter estimate of one session, in the floating-point form.
///
/// `J += (|D| - J) / 16` for each packet after the first, starting at 0, in arrival order. The
/// transit time differenced here is the round-trip time, so the estimate needs no synchronised
/// clocks and leaves the reflector's residence out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Jitter {
    previous: Option<Nanos>,
    estimate: Option<f64>,
}

impl Jitter {
    /// Takes the transit time of the next packet to arrive.
    pub fn arrive(&mut self, transit: Nanos) {
        if let Some(previous) = self.previous.replace(transit) {
            #[expect(clippy::cast_precision_loss, reason = "the estimate is a float")]
            let difference = (transit - previous).nanos().unsigned_abs() as f64;
            let estimate = self.estimate.unwrap_or(0.0);
            self.estimate = Some(estimate + (difference - estimate) / 16.0);
        }
    }

    /// The estimate in nanoseconds; `None` until a second packet has arrived.
    pub fn nanos(&self) -> Option<f64> {
        self.estimate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_two_arrivals() {
        let mut jitter = Jitter::default();
        assert_eq!(jitter.nanos(), None);
        jitter.arrive(Nanos::from_nanos(500));
        assert_eq!(jitter.nanos(), None);
        jitter.arrive(Nanos::from_nanos(500));
        assert_eq!(jitter.nanos(), Some(0.0));
    }

    #[test]
    fn counts_a_drop_in_delay_like_a_rise() {
        let mut up = Jitter::default();
        let mut down = Jitter::default();
        for (a, b) in [(0, 160), (160, 0)] {
            up.arrive(Nanos::from_nanos(a));
            down.arrive(Nanos::from_nanos(b));
        }
        assert_eq!(up.nanos(), Some(10.0));
        assert_eq!(down.nanos(), Some(10.0));
    }
}
