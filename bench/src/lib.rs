//! Benchmarks: both sides in one run, ratios, machine state
