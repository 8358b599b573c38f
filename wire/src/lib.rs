//! Byte formats of TWAMP-Test and STAMP: packets, timestamps, checksums and the frames around them.
//!
//! Everything here is a pure function of bytes. There is no I/O, no clock, no allocation and no
//! `unsafe`, so reflector, sender, benches and fuzzers share one definition of what is on the wire.
//!
//! | module | subject |
//! |---|---|
//! | [`time`] | UTC and TAI as types; NTP and `PTPv2` timestamps of the wire |
//! | [`error_estimate`] | the 16-bit Error Estimate |
//! | [`twamp`] | unauthenticated Session-Sender and Session-Reflector packets, reflection in place |
//! | [`checksum`] | Internet checksum, full and incremental |
//! | [`dscp`] | Differentiated Services Code Points and their names |
//! | [`frame`] | Ethernet, VLAN, IPv4, IPv6 and UDP around a packet, turned around in place |
//!
//! No function of this crate panics, whatever bytes, lengths and offsets it is given: what does not
//! fit is an error, or, where the documentation says so, leaves the bytes alone.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod checksum;
pub mod dscp;
pub mod error_estimate;
mod field;
pub mod frame;
pub mod time;
pub mod twamp;
