//! What a stateful listener pays per packet for a session's number, beside a stateless one.
//!
//! ```console
//! $ cargo bench --package bench --bench reflector_sessions
//! $ cargo bench --package bench --bench reflector_sessions -- --instructions
//! ```
//!
//! Batches of 64 packets, each of a session drawn at random, from tables of the default limit with 1
//! to 1 000 000 sessions. `copied` takes the Sequence Number from the packet: what all have in common,
//! going through packets and making keys of them. `next` takes the session's. `touched` does so after
//! all slots of the batch have been brought into the cache (which the table leaves out while there
//! are few sessions).
//!
//! Processor time of this thread. With `--instructions`, valgrind counts instead, for one session.

#[path = "common/callgrind.rs"]
mod callgrind;
#[path = "common/per_packet.rs"]
mod per_packet;
#[path = "common/processor_time.rs"]
mod processor_time;

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::mem;
use std::net::IpAddr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};
use reflector::session::{DEFAULT_IDLE, DEFAULT_LIMIT, SessionKey, Sessions};

use callgrind::count;
use per_packet::per_packet;
use processor_time::processor_time;

const SESSIONS: [u32; 5] = [1, 100, 10_000, 100_000, 1_000_000];
/// Packets that a worker takes from its ring at once.
const BATCH: usize = 64;
/// Batches whose packets are made before they are measured.
const BATCHES: usize = 16;
/// Batches per count of instructions.
const COUNTED: usize = 1000;
/// Ports of a source address.
const PORTS: u32 = 1000;
/// Tells the process that runs under valgrind what to count.
const CHILD: &str = "--count";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [CHILD, way] => {
            let way = Way::ALL.into_iter().find(|known| known.name() == *way);
            let way = way.ok_or("no such way")?;
            let mut rig = Rig::new(1)?;
            for _ in 0..COUNTED.div_ceil(BATCHES) {
                rig.stretch(way)?;
            }
            Ok(())
        }
        ["--instructions", ..] => {
            for way in Way::ALL {
                println!(
                    "{:>10} {:>6} instructions per packet",
                    way.name(),
                    instructions(way)?
                );
            }
            Ok(())
        }
        _ => measure(),
    }
}

/// Where the number of a reply comes from.
#[derive(Debug, Clone, Copy)]
enum Way {
    Copied,
    Next,
    Touched,
}

impl Way {
    const ALL: [Self; 3] = [Self::Copied, Self::Next, Self::Touched];

    fn name(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Next => "next",
            Self::Touched => "touched",
        }
    }
}

/// What the reflector has read of a packet.
#[derive(Debug, Clone, Copy)]
struct Packet {
    source: [u8; 4],
    port: u16,
    sequence: u32,
}

impl Packet {
    const DEFAULT: Self = Self {
        source: [10, 0, 0, 0],
        port: 0,
        sequence: 0,
    };

    /// Of the session with this number.
    fn of(session: u32, sequence: u32) -> Result<Self, Box<dyn Error>> {
        let [_, b, c, d] = (session / PORTS).to_be_bytes();
        Ok(Self {
            source: [10, b, c, d],
            port: u16::try_from(session % PORTS)? + 20_000,
            sequence,
        })
    }

    #[inline]
    fn key(&self) -> SessionKey {
        let source = (IpAddr::from(self.source), self.port).into();
        let destination = (IpAddr::from([10, 255, 0, 1]), 862).into();
        SessionKey::new(0, source, destination)
    }
}

struct Rig {
    sessions: Sessions,
    number: u32,
    random: Pcg64Mcg,
    batches: Vec<[Packet; BATCH]>,
}

impl Rig {
    /// A table with so many sessions.
    fn new(number: u32) -> Result<Self, Box<dyn Error>> {
        let sessions = Sessions::new(DEFAULT_LIMIT as usize, DEFAULT_IDLE)?;
        for session in 0..number {
            if sessions.next(&Packet::of(session, 0)?.key()) != Some(0) {
                return Err("a session is not new or has no room".into());
            }
        }
        Ok(Self {
            sessions,
            number,
            random: Pcg64Mcg::seed_from_u64(1),
            batches: vec![[Packet::DEFAULT; BATCH]; BATCHES],
        })
    }

    /// Passes [`BATCHES`] batches; returns how much processor time that took.
    fn stretch(&mut self, way: Way) -> Result<Duration, Box<dyn Error>> {
        for packet in self.batches.as_flattened_mut() {
            let random = self.random.next_u32();
            *packet = Packet::of(random % self.number, random)?;
        }
        let start = processor_time()?;
        for batch in &self.batches {
            match way {
                Way::Copied => copied(batch),
                Way::Next => next(&self.sessions, batch),
                Way::Touched => touched(&self.sessions, batch),
            }
        }
        Ok(processor_time()?.saturating_sub(start))
    }
}

#[inline(never)]
fn copied(batch: &[Packet; BATCH]) {
    for packet in batch {
        black_box(packet.key());
        black_box(packet.sequence);
    }
}

#[inline(never)]
fn next(sessions: &Sessions, batch: &[Packet; BATCH]) {
    for packet in batch {
        black_box(sessions.next(&packet.key()));
    }
}

#[inline(never)]
fn touched(sessions: &Sessions, batch: &[Packet; BATCH]) {
    let keys = batch.each_ref().map(Packet::key);
    sessions.touch(&keys);
    for key in &keys {
        black_box(sessions.next(key));
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .configure_from_args();
    for number in SESSIONS {
        let mut rig = Rig::new(number)?;
        let mut outcome = Ok(());
        let mut group = criterion.benchmark_group("sessions");
        group.throughput(Throughput::Elements(1));
        for way in Way::ALL {
            group.bench_function(BenchmarkId::new(way.name(), number), |bencher| {
                let passed = per_packet(bencher, BATCHES * BATCH, || rig.stretch(way));
                outcome = mem::replace(&mut outcome, Ok(())).and(passed);
            });
        }
        group.finish();
        let counts = rig.sessions.counts();
        if counts.created != u64::from(number) || counts.refused > 0 {
            return Err(format!("other sessions than {number}: {counts:?}").into());
        }
        outcome?;
    }
    criterion.final_summary();
    Ok(())
}

/// Instructions per packet, of this program under valgrind.
fn instructions(way: Way) -> Result<u64, Box<dyn Error>> {
    let (total, _) = count(
        &format!("sessions-{}", way.name()),
        &format!("reflector_sessions::{}", way.name()),
        &[CHILD, way.name()],
    )?;
    Ok(total / (COUNTED.div_ceil(BATCHES) * BATCHES * BATCH) as u64)
}
