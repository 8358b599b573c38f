//! The fastest that a plain socket goes: `sendmmsg` over one connected UDP socket.
//!
//! It sends the same packets again and again and measures nothing: less work than any sender of
//! probes has, so that a comparison with it flatters nobody but it.

use std::io::{self, IoSlice};
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// Packets per system call.
pub const BATCH: usize = 64;

/// Sends from this thread's namespace to `target` for `duration`; returns how many packets the
/// kernel took, and for how long it was.
pub fn flood(target: SocketAddrV4, duration: Duration) -> io::Result<(u64, Duration)> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(target)?;
    let packet = [0; wire::twamp::STAMP_LEN];
    let parts = [IoSlice::new(&packet)];
    // Made once and used for every call: the kernel writes nothing in them but lengths.
    let mut controls: Vec<_> = (0..BATCH).map(|_| SendAncillaryBuffer::default()).collect();
    let mut batch: Vec<_> = controls
        .iter_mut()
        .map(|control| MMsgHdr::new(&parts, control))
        .collect();
    let mut sent = 0;
    let start = Instant::now();
    loop {
        match sendmmsg(&socket, &mut batch, SendFlags::empty()) {
            Ok(count) => sent += count as u64,
            // A full queue of the interface: on with the next.
            Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let elapsed = start.elapsed();
        if elapsed >= duration {
            return Ok((sent, elapsed));
        }
    }
}
