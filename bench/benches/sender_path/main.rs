//! Processor time that the sender's `AF_XDP` worker takes per packet in user space, on rings in memory.
//!
//! ```console
//! $ cargo bench --package bench --bench sender_path
//! ```
//!
//! `send` is per probe sent, `receive` per reply measured, `both` per probe sent and answered. Two
//! readings of the thread's clock per 256 packets are in the figures. For instructions see
//! `sender_instructions`.

#[path = "../common/per_packet.rs"]
mod per_packet;
mod rig;

use std::error::Error;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};

use per_packet::per_packet;
use rig::{Part, Rig, STRETCH, Shared};

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(50)
        .configure_from_args();
    for sessions in [1, 100_000] {
        for part in Part::ALL {
            bench(&mut criterion, part, sessions)?;
        }
    }
    criterion.final_summary();
    Ok(())
}

fn bench(criterion: &mut Criterion, part: Part, sessions: usize) -> Result<(), Box<dyn Error>> {
    let shared = Shared::default();
    let mut rig = Rig::new(&shared, sessions)?;
    warm_up(&mut rig, sessions)?;
    let mut outcome = Ok(());
    let mut group = criterion.benchmark_group("sender");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new(part.name(), sessions), |bencher| {
        outcome = per_packet(bencher, STRETCH, || rig.stretch(part));
    });
    group.finish();
    outcome?;
    rig.check(part)
}

/// Sends and measures until every session has been touched, and the caches are as they will be.
fn warm_up(rig: &mut Rig<'_>, sessions: usize) -> Result<(), Box<dyn Error>> {
    let probes = (2 * sessions).max(1 << 16);
    for _ in 0..probes.div_ceil(STRETCH) {
        rig.stretch(Part::Both)?;
    }
    rig.check(Part::Both)
}
