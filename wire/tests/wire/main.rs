//! The crate against vectors, captured packets, slow models and an independent packet library.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod checksum;
mod error_estimate;
mod frame;
mod frame_oracle;
mod frames;
mod incoming;
mod reflection;
mod timestamps;
mod turn_around;
mod twamp;
mod vectors;
