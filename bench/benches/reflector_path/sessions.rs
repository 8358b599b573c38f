//! What numbering replies by session costs a packet, beside copying its number: the same packets of
//! the same flows, drawn at random, in turns.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::rig::{Case, Requests, Rig, STRETCH};

const FLOWS: [u32; 3] = [1, 10_000, 1_000_000];
/// In each, every way has its turn.
const ROUNDS: usize = 61;
/// Measured stretches of a way and round.
const STRETCHES: usize = 64;

/// All ways: what people call them, and the case.
const WAYS: [(&str, Case); 3] = [
    ("stateless", Case::PLAIN),
    (
        "stateful",
        Case {
            stateful: true,
            ..Case::PLAIN
        },
    ),
    (
        "stateful, untouched",
        Case {
            stateful: true,
            touching: false,
            ..Case::PLAIN
        },
    ),
];

/// Prints the ns per packet of each way, and how many times that of the first it is: medians of all
/// rounds, and the quartiles.
pub fn compare() -> Result<(), Box<dyn Error>> {
    println!(
        "{:>9} {:>20} {:>28} {:>28}",
        "sessions", "way", "ns per packet", "times stateless"
    );
    for flows in FLOWS {
        let requests = Requests::new(&Case::PLAIN, flows)?;
        let mut rigs = Vec::new();
        for (_, case) in WAYS {
            let mut rig = Rig::new(case, Arc::clone(&requests))?;
            // Until every flow has been seen, and the processor has warmed up.
            for _ in 0..usize::try_from(flows)?.div_ceil(STRETCH).max(STRETCHES) {
                rig.stretch()?;
            }
            rigs.push(rig);
        }
        let mut times = WAYS.map(|_| Vec::with_capacity(ROUNDS));
        let mut ratios = WAYS.map(|_| Vec::with_capacity(ROUNDS));
        for _ in 0..ROUNDS {
            let mut first = None;
            for (rig, (times, ratios)) in rigs.iter_mut().zip(times.iter_mut().zip(&mut ratios)) {
                let time = round(rig)?;
                times.push(time);
                ratios.push(time / *first.get_or_insert(time));
            }
        }
        for ((name, _), (times, ratios)) in WAYS.iter().zip(times.iter_mut().zip(&mut ratios)) {
            let (times, ratios) = (Quartiles::of(times)?, Quartiles::of(ratios)?);
            println!(
                "{flows:>9} {name:>20} {:>28} {:>28}",
                times.to_words(1),
                ratios.to_words(2)
            );
        }
        rigs.iter().try_for_each(Rig::check)?;
    }
    Ok(())
}

/// Nanoseconds per packet of some stretches.
fn round(rig: &mut Rig) -> Result<f64, Box<dyn Error>> {
    let mut took = Duration::ZERO;
    for _ in 0..STRETCHES {
        took += rig.stretch()?;
    }
    let packets = f64::from(u32::try_from(STRETCHES * STRETCH)?);
    Ok(took.as_secs_f64() * 1e9 / packets)
}

/// The middle of what was measured, and where the middle half of it lies.
#[derive(Debug, Clone, Copy)]
struct Quartiles {
    lower: f64,
    median: f64,
    upper: f64,
}

impl Quartiles {
    fn of(values: &mut [f64]) -> Result<Self, &'static str> {
        values.sort_by(f64::total_cmp);
        let at = |quarters: usize| {
            let index = (values.len().saturating_sub(1) * quarters) / 4;
            values.get(index).copied().ok_or("nothing was measured")
        };
        Ok(Self {
            lower: at(1)?,
            median: at(2)?,
            upper: at(3)?,
        })
    }

    fn to_words(self, digits: usize) -> String {
        let Self {
            lower,
            median,
            upper,
        } = self;
        format!("{median:.digits$} ({lower:.digits$} to {upper:.digits$})")
    }
}
