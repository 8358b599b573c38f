//! How busy this machine's processors were: a saturated one measures itself.

use std::fs;

/// Processor time since boot, in the kernel's ticks (proc(5), `/proc/stat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let mut fields = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace();
        // user nice system idle iowait irq softirq steal; guest time is part of user time.
        let mut ticks = [0u64; 8];
        for tick in &mut ticks {
            *tick = fields.next()?.parse().ok()?;
        }
        Some(Self {
            idle: ticks[3] + ticks[4],
            all: ticks.iter().sum(),
        })
    }
}

/// Watches from when it is made.
#[derive(Debug)]
pub struct Busy {
    start: Option<Ticks>,
}

impl Busy {
    /// Begins to watch.
    pub fn start() -> Self {
        Self {
            start: Ticks::read(),
        }
    }

    /// The busy share of all processors together since, from 0 to 1; `None` when it cannot be told,
    /// as in the first hundredth of a second.
    #[expect(clippy::cast_precision_loss, reason = "a share is a float")]
    pub fn share(&self) -> Option<f64> {
        let (start, now) = (self.start?, Ticks::read()?);
        let all = now.all.checked_sub(start.all).filter(|&all| all > 0)?;
        let idle = now.idle.saturating_sub(start.idle).min(all);
        Some(1.0 - idle as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_line() {
        let stat = "cpu  10 1 20 300 5 0 4 2 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(
            Ticks::parse(stat),
            Some(Ticks {
                idle: 305,
                all: 342
            })
        );
        assert_eq!(Ticks::parse(""), None);
        assert_eq!(Ticks::parse("cpu  1 2 3"), None);
    }
}
