//! Namespaces, veth topologies, raw peers and condition waits for tests and benchmarks.
//!
//! ```text
//!  netns      an anonymous network namespace; run closures and children in it
//!    ↑
//!  veth       two namespaces joined by a veth pair: the Session-Reflector's and the sender's
//!    ↑
//!  raw        a packet socket at one end: sends and receives whole Ethernet frames
//!
//!  relay      the same with a relay in between that loses, delays, duplicates, reorders and spoils
//!             chosen packets, and keeps the truth about it
//!  reflector  a Session-Reflector that does as it is told, on a UDP socket
//!
//!  frames     crafts UDP frames, sound or broken on purpose     (etherparse, not `wire`)
//!  dissect    reads a frame back, as an oracle independent of the code under test
//!  pcap       writes frames to a capture file for other people's dissectors
//!  process    a child under guard: its output by line, signals, exit, never left behind
//!  binary     finds or builds the workspace's own binaries; finds those of peers
//!  privilege  what a test needs, probed; skipping is loud
//!  wait       waiting for a condition instead of sleeping
//! ```
//!
//! A typical end-to-end test:
//!
//! ```no_run
//! use std::process::Command;
//! use testbed::{DEFAULT_TIMEOUT, Need, Signal, Veth, binary, skip_unless};
//!
//! # fn stops_when_told() {
//! skip_unless!(Need::Xdp);
//! let veth = Veth::new().unwrap();
//! let mut command = Command::new(binary("reflector").unwrap());
//! command.args(["--interface", veth.reflector.interface]);
//! let mut reflector = veth.reflector.namespace.spawn(&mut command).unwrap();
//! reflector.wait_for_line("ready", DEFAULT_TIMEOUT).unwrap();
//! reflector.signal(Signal::SIGTERM).unwrap();
//! assert!(reflector.wait_exit(DEFAULT_TIMEOUT).unwrap().success());
//! # }
//! ```
//!
//! Nothing here outlives the test, whether it passes or panics: children are killed and reaped when
//! their guard is dropped, and namespaces have no name and vanish with their last user. Only a test
//! process that is itself killed (`SIGKILL`) leaves its children, and they their namespaces.
//!
//! Integration tests that use it begin with `#![cfg(test)]`, so that clippy lets their helper
//! functions unwrap like the tests themselves.

mod background;
pub mod binary;
pub mod dissect;
mod error;
pub mod frames;
pub mod netns;
pub mod pcap;
pub mod peers;
pub mod privilege;
pub mod process;
pub mod raw;
pub mod reflector;
pub mod relay;
pub mod veth;
pub mod wait;

pub use binary::{binary, peer};
pub use dissect::Datagram;
pub use error::Error;
pub use frames::{Checksum, UdpFrame};
pub use netns::Namespace;
pub use nix::sys::signal::Signal;
pub use pcap::write_pcap;
pub use privilege::Need;
pub use process::Process;
pub use raw::RawPeer;
pub use reflector::{ReflectorConfig, ScriptedReflector};
pub use relay::{Direction, Fate, Relay, RelayConfig};
pub use veth::{End, Veth, VethConfig};
pub use wait::{DEFAULT_TIMEOUT, wait_for, wait_until};
