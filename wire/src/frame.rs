//! The frame around a test packet: found, checked and turned around in place.
//!
//! [`Packet::parse`] accepts exactly what the reflector answers: Ethernet with at most two VLAN
//! tags, IPv4 without options or IPv6 without extension headers, no fragment, and a UDP datagram
//! that fills the IP packet, all of which is in the frame. [`Packet::verify_ipv4_header`] and
//! [`Packet::judge_udp`] judge its checksums. The reply is then made in this order, so that the UDP
//! checksum is right in the end:
//!
//! 1. the [`ChecksumPlan`] of [`Packet::judge_udp`], while the request is still whole;
//! 2. the payload, [`turn_around`], and [`set_payload_len`] if the length changes, while what changes
//!    is added to the plan;
//! 3. [`ChecksumPlan::seal`].

mod checksums;
mod ethernet;
mod incoming;
mod ipv4;
mod ipv6;
mod layout;
mod packet;
mod rewrite;
mod udp;
mod vlan;

pub use checksums::{ChecksumPlan, UdpChecksum, verify_ipv4_header, verify_udp};
pub use incoming::{Headers, Incoming, Request, V4, V6};
pub use layout::{FrameError, IpVersion, Layout};
pub use packet::Packet;
pub use rewrite::{FlowLabel, set_payload_len, turn_around};

/// TTL or Hop Limit of every test packet (RFC 5357 section 4.2.1).
const REPLY_TTL: u8 = 255;
