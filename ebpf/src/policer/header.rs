//! The arithmetic of `policer.h`, compiled for this machine, against the one here: at times that no
//! test in the kernel can wait for.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

use super::*;

/// A bucket's end, the time, a packet's cost, the burst: all in ticks.
type Case = [u64; 4];

/// What `charge.c` was compiled to.
struct Filter(TempDir);

impl Filter {
    fn compile() -> Self {
        let filter = Self(TempDir::new().unwrap());
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tests = sources.join("tests/policer");
        let compiled = Command::new("clang")
            .args(["-O2", "-Wall", "-Werror", "-I"])
            .arg(&tests)
            .arg("-I")
            .arg(sources)
            .arg(tests.join("charge.c"))
            .arg("-o")
            .arg(filter.0.path().join("charge"))
            .status();
        assert!(compiled.unwrap().success());
        filter
    }

    /// Whether each packet is taken, and the end after it.
    fn run(&self, cases: &[Case]) -> Vec<(bool, u64)> {
        let mut lines = String::new();
        for [end, now, cost, burst] in cases {
            writeln!(lines, "{end} {now} {cost} {burst}").unwrap();
        }
        let input = self.0.path().join("cases");
        fs::write(&input, lines).unwrap();
        let output = Command::new(self.0.path().join("charge"))
            .stdin(Stdio::from(File::open(&input).unwrap()))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| {
                let (taken, end) = line.split_once(' ').unwrap();
                (taken == "1", end.parse().unwrap())
            })
            .collect()
    }
}

/// Ends around the times, times around the turn, and anything.
fn a_case() -> impl Strategy<Value = Case> {
    let costs = 1..=DEBT_MAX / 2;
    let now = prop_oneof![
        any::<u64>(),
        (0..DEBT_MAX * 2).prop_map(u64::wrapping_neg),
        0..DEBT_MAX
    ];
    let ahead = prop_oneof![
        0..DEBT_MAX,
        select(&[0, 1, DEBT_MAX, DEBT_MAX + 1]),
        any::<u64>()
    ];
    (now, ahead, 0..4_u8, costs.clone(), costs).prop_map(|(now, ahead, kind, cost, burst)| {
        match kind {
            // Never charged.
            0 => [0, now, cost, burst],
            // To end at 0.
            1 => [1, cost.wrapping_neg(), cost, burst],
            _ => [now.wrapping_add(ahead), now, cost, burst],
        }
    })
}

#[test]
fn the_header_charges_a_bucket_as_this_module_does() {
    let mut runner = TestRunner::deterministic();
    let cases: Vec<Case> = (0..20_000)
        .map(|_| a_case().new_tree(&mut runner).unwrap().current())
        .collect();
    let charged = Filter::compile().run(&cases);
    assert_eq!(charged.len(), cases.len());
    for ([end, now, cost, burst], by_header) in cases.into_iter().zip(charged) {
        let bucket = Bucket(AtomicU64::new(end));
        let taken = bucket.charge(Now(now), cost, burst);
        let by_this = (taken, bucket.0.load(Ordering::Relaxed));
        assert_eq!(by_header, by_this, "{end} {now} {cost} {burst}");
    }
}
