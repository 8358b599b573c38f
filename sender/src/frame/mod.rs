//! Whole Ethernet frames of probes, for a transport that writes them itself.
//!
//! [`FrameSpec`] says what all probes of a run share. [`FrameWriter`] is built from it once; from
//! then on a frame costs no allocation and no pass over its octets:
//!
//! ```text
//! fill      once per buffer: the whole template
//! prepare   per probe: source address and port, sequence number, SSID, Error Estimate,
//!           IPv4 header checksum ─► Pending, the sum of all but T1
//! stamp     per probe, last before it leaves: T1 and the UDP checksum
//! ```
//!
//! Nothing depends on what a buffer held before, as long as it was filled once: buffers may change
//! hands between sessions.

mod template;
#[cfg(test)]
mod tests;
mod writer;

pub use template::{FrameSpec, VlanTag};
pub use writer::{FrameWriter, Pending};

use wire::twamp::REQUEST_LEN;

/// Why there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The payload does not fit into a datagram, or has no room for a probe.
    #[error("a probe has {REQUEST_LEN} to {most} octets of UDP payload, not {len}")]
    PayloadLength {
        /// Octets wanted.
        len: usize,
        /// Octets an IP packet of this version holds.
        most: usize,
    },
    /// Nobody understands so many tags.
    #[error("a frame has at most two VLAN tags, not {0}")]
    Tags(usize),
    /// A field of a tag exceeds its bits.
    #[error(
        "a VLAN tag has a priority of 0 to 7 and an identifier of 0 to 4095, not {pcp} and {vid}"
    )]
    Tag {
        /// Priority wanted.
        pcp: u8,
        /// Identifier wanted.
        vid: u16,
    },
    /// The source is not of the target's address family.
    #[error("source and target of a frame must be of the same address family")]
    Family,
    /// The buffer is not as long as the frame.
    #[error("a frame of {needed} octets needs a buffer of that length, not of {len}")]
    Buffer {
        /// Octets of the frame.
        needed: usize,
        /// Octets of the buffer.
        len: usize,
    },
    /// A probe this short has no octets 14 and 15.
    #[error("a probe with a session identifier has at least 16 octets")]
    NoSsid,
}
