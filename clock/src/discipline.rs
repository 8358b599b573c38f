//! What the kernel knows of its clock's quality.

use std::io;

use wire::error_estimate::ErrorEstimate;
use wire::time::{TaiOffset, TimestampFormat};

/// The state of the kernel's clock discipline (`adjtimex(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discipline {
    /// TAI−UTC as the kernel keeps it; 0 where nobody has set it.
    pub tai_offset: TaiOffset,
    /// The clock is steered by an outside source (`STA_UNSYNC` is clear).
    pub synchronised: bool,
    /// Bound on the clock's error in nanoseconds. The kernel raises it by 500 ppm between updates
    /// from the steering daemon; 16 s is the kernel's word for "unknown".
    pub max_error_ns: u64,
}

impl Discipline {
    /// Reads the state. Needs no privilege.
    ///
    /// # Errors
    ///
    /// The kernel refuses the call (a seccomp filter may).
    #[expect(
        unsafe_code,
        reason = "no maintained crate reads adjtimex's status and maxerror"
    )]
    pub fn read() -> io::Result<Self> {
        // SAFETY: all-zero is a valid `timex`: it holds integers only.
        let mut timex: libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: `timex` is a live, exclusive `timex`; with `modes` 0 the call only reads the clock
        // state into it.
        let state = unsafe { libc::adjtimex(&raw mut timex) };
        if state < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            tai_offset: TaiOffset::from_seconds(timex.tai),
            synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
            max_error_ns: u64::try_from(timex.maxerror)
                .unwrap_or(0)
                .saturating_mul(1_000),
        })
    }

    /// The Error Estimate that a timestamp of this clock carries (RFC 4656 section 4.1.2): S from
    /// the synchronisation state, the error from the kernel's bound, rounded up.
    pub fn error_estimate(&self, format: TimestampFormat) -> ErrorEstimate {
        ErrorEstimate::from_nanos(self.max_error_ns, self.synchronised, format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discipline(synchronised: bool, max_error_ns: u64) -> Discipline {
        Discipline {
            tai_offset: TaiOffset::from_seconds(37),
            synchronised,
            max_error_ns,
        }
    }

    #[test]
    fn the_kernel_answers() {
        let state = Discipline::read().unwrap();
        assert!(state.max_error_ns <= 1_000_000_000_000, "{state:?}");
    }

    #[test]
    fn the_estimate_says_what_the_kernel_says() {
        let synced = discipline(true, 1_000).error_estimate(TimestampFormat::Ntp);
        assert_eq!(synced.to_bits(), 0x8587);
        let free = discipline(false, 1_000_000).error_estimate(TimestampFormat::Ntp);
        assert_eq!(free.to_bits(), 0x0f84);
    }
}
