//! Processor time that the reflector's worker takes per packet in user space, on rings in memory.
//!
//! ```console
//! $ cargo bench --package bench --bench reflector_path
//! $ cargo bench --package bench --bench reflector_path -- --sessions
//! ```
//!
//! The second is what numbering by session costs a packet, with few and with many sessions.
//!
//! Two readings of the thread's clock per 512 packets are in the figures. For instructions see
//! `reflector_instructions`.

#[path = "../common/per_packet.rs"]
mod per_packet;
mod rig;
mod sessions;

use std::env;
use std::error::Error;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};

use per_packet::per_packet;
use rig::{Case, Requests, Rig, STRETCH};

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().any(|argument| argument == "--sessions") {
        return sessions::compare();
    }
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

fn bench(criterion: &mut Criterion, case: Case) -> Result<(), Box<dyn Error>> {
    let mut rig = Rig::new(case, Requests::new(&case, 1)?)?;
    let mut outcome = Ok(());
    let mut group = criterion.benchmark_group("reflector");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
        outcome = per_packet(bencher, STRETCH, || rig.stretch());
    });
    group.finish();
    outcome?;
    rig.check()
}
