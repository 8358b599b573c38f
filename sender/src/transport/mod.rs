//! How probes leave and replies come in.
//!
//! A transport is two halves, so that one thread can own each: [`Transmit`] and [`Receive`].
//! [`socket`] is the one over UDP sockets. For one that writes frames itself, [`ports`] keeps the
//! source ports of its [`sources::Sources`], and [`icmp_raw`] hears of ICMP errors. `settle` waits for
//! the kernel's receive stamps.

mod descriptors;
mod icmp;
mod icmp_quote;
pub mod icmp_raw;
pub mod ports;
mod receive;
pub(crate) mod settle;
pub mod socket;
pub mod sources;

pub use icmp::{IcmpCounts, IcmpKind};
pub use receive::SocketReceive;
pub use socket::{OpenError, SocketPlan, SocketTransmit, open};

use std::io;
use std::time::Duration;

use crate::measure::Reception;

/// The sending half.
pub trait Transmit {
    /// Hands one probe of `session` (from 0) to the network, without waiting.
    ///
    /// # Errors
    ///
    /// The probe was not sent.
    fn send(&mut self, session: usize, probe: &[u8]) -> Result<(), SendError>;
}

/// Why a probe was not sent.
#[derive(Debug)]
pub enum SendError {
    /// The way out is full at the moment.
    Full,
    /// The system refuses.
    Refused(io::Error),
}

/// The receiving half.
pub trait Receive {
    /// Waits up to `wait` for datagrams, hands those present to `take`, and returns their number,
    /// which is 0 when the time is over.
    ///
    /// # Errors
    ///
    /// Receiving is not possible any more.
    fn receive(&mut self, wait: Duration, take: &mut dyn FnMut(Datagram<'_>)) -> io::Result<usize>;

    /// What went wrong so far on the way in.
    fn trouble(&self) -> Trouble;
}

/// A datagram from the target.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// The session it came to, from 0.
    pub session: usize,
    /// Its first octets, at most [`HEAD_MAX`].
    pub head: &'a [u8],
    /// Its whole length in octets.
    pub len: usize,
    /// T4.
    pub reception: Reception,
    /// TTL or Hop Limit with which it came.
    pub ttl: Option<u8>,
    /// TOS or Traffic Class octet with which it came.
    pub tos: Option<u8>,
}

/// Octets of a datagram that a transport hands over at most: every field of a reply, and enough
/// of the padding to tell an echo of the request.
pub const HEAD_MAX: usize = 128;

/// What a receiving half noticed besides datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Datagrams that came in and were dropped on this host, for a full socket buffer or a wrong
    /// checksum.
    pub dropped_here: u64,
    /// ICMP errors about our probes.
    pub icmp: IcmpCounts,
}
