//! Waits until the kernel stamps what arrives.
//!
//! It switches receive timestamps on for the whole machine, in a work item after the first socket asks
//! for them (`net_enable_timestamp` in net/core/dev.c). Until that has run, T4 has to be taken in user
//! space.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::socket::watch;
use super::{Receive, SocketReceive};
use crate::measure::T4Source;

/// How long it is waited for at most: a busy machine lets work items wait.
const PATIENCE: Duration = Duration::from_millis(500);
/// What it takes as a rule, where there is no way to tell.
const RULE: Duration = Duration::from_millis(20);
/// Longest wait for a datagram over the loopback interface.
const ON_THE_WAY: Duration = Duration::from_millis(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Returns when a datagram that arrives now is stamped by the kernel. A socket that asks for it must be
/// open already, and stay so.
pub fn await_kernel_stamps() {
    if look(Instant::now() + PATIENCE).is_err() {
        // No loopback interface, or no descriptors left.
        thread::sleep(RULE);
    }
}

/// Sends to itself until it is so.
fn look(deadline: Instant) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    let socket = Socket::from(socket);
    watch(&socket, address)?;
    let sockets: Arc<[UdpSocket]> = Arc::new([socket.into()]);
    let mut receive = SocketReceive::new(Arc::clone(&sockets))?;
    let mut stamped = false;
    while !stamped && Instant::now() < deadline {
        sockets[0].send(&[0; 44])?;
        receive.receive(ON_THE_WAY, &mut |datagram| {
            stamped |= datagram.reception.source == T4Source::Kernel;
        })?;
        if !stamped {
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_stamps_what_arrives_after_a_while() {
        let deadline = Instant::now() + Duration::from_secs(30);
        look(deadline).unwrap();
        assert!(Instant::now() < deadline, "it came to that");
    }
}
