//! The clock of all benchmarks of a path in user space.

use std::error::Error;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Processor time of this thread so far: what others do on the processor does not count.
pub fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(time))
}
