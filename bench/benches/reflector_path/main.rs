//! Processor time that the reflector's worker takes per packet in user space, on rings in memory.
//!
//! ```console
//! $ cargo bench --package bench --bench reflector_path
//! ```
//!
//! Two readings of the thread's clock per 512 packets are in the figures. For instructions see
//! `reflector_instructions`.

mod rig;

use std::error::Error;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};

use rig::{Case, Rig, STRETCH};

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
        .configure_from_args();
    for case in Case::ALL {
        bench(&mut criterion, case)?;
    }
    criterion.final_summary();
    Ok(())
}

/// One iteration is one packet. Whole stretches are run, at least as many packets as asked for, and
/// the time is scaled to those asked for.
fn bench(criterion: &mut Criterion, case: Case) -> Result<(), Box<dyn Error>> {
    let mut rig = Rig::new(case)?;
    let mut failure = None;
    let mut group = criterion.benchmark_group("reflector");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
        bencher.iter_custom(|packets| {
            let stretches = packets.div_ceil(STRETCH as u64);
            let mut took = Duration::ZERO;
            for _ in 0..stretches {
                match rig.stretch() {
                    Ok(time) => took += time,
                    Err(error) => failure = Some(error),
                }
            }
            scaled(took, packets, stretches * STRETCH as u64)
        });
    });
    group.finish();
    rig.check()?;
    failure.map_or(Ok(()), Err)
}

/// `time` for `whole` packets, scaled to `packets` of them.
fn scaled(time: Duration, packets: u64, whole: u64) -> Duration {
    let nanos = time.as_nanos() * u128::from(packets) / u128::from(whole.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
