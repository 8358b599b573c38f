//! A load whose generator sleeps between its packets.
//!
//! `sender` spins towards each send time, which keeps one processor busy whatever happens: against it
//! the machine's busy time says little. This one sends what is due every 100 µs and sleeps again.
//! It measures nothing but counts.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use testbed::Namespace;

use crate::procfs::machine_busy;

/// STAMP's base packet, which is also the reply's length.
const PACKET: [u8; wire::twamp::STAMP_LEN] = [0; wire::twamp::STAMP_LEN];
const TICK: Duration = Duration::from_micros(100);
const RECEIVE_BUFFER: usize = 32 << 20;
/// Replies on their way when the last packet has left.
const GRACE: Duration = Duration::from_millis(100);

/// What was sent, what came back, and what the whole machine did meanwhile.
#[derive(Debug, Default)]
pub struct Load {
    /// Packets sent.
    pub sent: u64,
    /// Packets that the kernel did not take.
    pub refused: u64,
    /// Replies received.
    pub received: u64,
    /// Busy time of all processors while the packets were sent.
    pub busy: Duration,
    /// For how long they were sent.
    pub elapsed: Duration,
}

/// Sends `rate` packets per second from `namespace` to `target` for `duration`.
pub fn offer(
    namespace: &Namespace,
    target: SocketAddrV4,
    rate: u32,
    duration: Duration,
) -> Result<Load, Box<dyn Error>> {
    let load = namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(target)?;
        socket.set_nonblocking(true)?;
        // Replies of many ticks: losing one here would be the generator's fault.
        setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER)?;
        // A sleep may else be late by 50 µs (PR_SET_TIMERSLACK of prctl(2)).
        prctl::set_timerslack(1)?;
        send_and_count(&socket, rate, duration)
    });
    Ok(load?)
}

fn send_and_count(socket: &UdpSocket, rate: u32, duration: Duration) -> io::Result<Load> {
    let mut load = Load::default();
    let busy = machine_busy()?;
    let start = Instant::now();
    loop {
        let elapsed = start.elapsed().min(duration);
        let due = elapsed.as_nanos() * u128::from(rate) / 1_000_000_000;
        while u128::from(load.sent + load.refused) < due {
            match socket.send(&PACKET) {
                Ok(_) => load.sent += 1,
                // A full queue, or an ICMP error for an earlier packet: that packet is not sent.
                Err(error) if is_passing(&error) => load.refused += 1,
                Err(error) => return Err(error),
            }
        }
        load.received += drain(socket)?;
        if elapsed == duration {
            break;
        }
        thread::sleep(TICK);
    }
    load.elapsed = start.elapsed();
    load.busy = machine_busy()?.saturating_sub(busy);
    let end = Instant::now() + GRACE;
    while Instant::now() < end && load.received < load.sent {
        load.received += drain(socket)?;
        thread::sleep(TICK);
    }
    Ok(load)
}

fn is_passing(error: &io::Error) -> bool {
    let kinds = [ErrorKind::WouldBlock, ErrorKind::ConnectionRefused];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Takes the replies that are there.
fn drain(socket: &UdpSocket) -> io::Result<u64> {
    let mut reply = [0; 2 * PACKET.len()];
    let mut count = 0;
    loop {
        match socket.recv(&mut reply) {
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
            Err(error) => return Err(error),
        }
    }
}
