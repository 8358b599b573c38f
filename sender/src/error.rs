//! Why a run failed: one sentence each, exit status 1.

use std::collections::TryReserveError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::af_xdp::setup::SetupError;
use crate::outcome::Silence;
use crate::report::sink::OutputError;
use crate::transport::OpenError;

/// A failure at run time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name has no address.
    #[error("cannot resolve '{host}' ({source}); check the name or give an address")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's word.
        source: io::Error,
    },
    /// There is no transport.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no `AF_XDP` transport.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The system would not send even one packet.
    #[error("cannot send to {target}: {source}; {}", send_advice(source))]
    Send {
        /// The reflector.
        target: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// What may be out at a time does not fit in memory.
    #[error(
        "not enough memory for the packets out at a time ({0}); shorten --timeout or lower the rate"
    )]
    Memory(TryReserveError),
    /// Receiving failed.
    #[error("cannot receive replies: {0}")]
    Receive(io::Error),
    /// A thread would not start.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// Nothing answered.
    #[error("no reply from {target}: {silence}")]
    NoReply {
        /// The reflector.
        target: String,
        /// The likely reason.
        silence: Silence,
    },
    /// A document cannot be written.
    #[error("cannot write '{}': {source}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file that grows during the run cannot be written.
    #[error(transparent)]
    Growing(#[from] OutputError),
    /// Standard output or standard error cannot be written.
    #[error("cannot write the report: {0}")]
    Output(io::Error),
    /// Signals cannot be caught.
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
}

/// What to do about the system's refusal to send.
fn send_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(number) if number == Errno::EMSGSIZE as i32 => {
            "the packets are larger than the way to it takes: lower --size, or let them be \
             fragmented by leaving --df out"
        }
        _ => "check the route and the local firewall",
    }
}
