//! Real TX stamps. Veth has no zero-copy, so the kernel takes them in software.

use std::io::Read;

use nix::time::{ClockId, clock_gettime};
use testbed::{DEFAULT_TIMEOUT, wait_until};
use xsk::{Frame, Queue, Socket, Umem, UmemConfig, Wake};

use crate::namespace::with_veth;
use crate::{config, fill, listener, packet};

/// The kernel reads its clock for stamps by a way of its own (`ktime_get_tai_fast_ns`), which may be
/// off by a little while the clock is being adjusted. Nanoseconds.
const SLACK: u64 = 10_000;

/// `CLOCK_TAI` in nanoseconds.
fn tai() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_TAI).unwrap();
    let nanos = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
    nanos.try_into().unwrap()
}

fn open() -> (Socket, Queue) {
    let umem = Umem::allocate(&UmemConfig {
        frames: 128,
        tx_metadata: true,
        ..UmemConfig::default()
    });
    Socket::open(&config("near", 0), umem.unwrap()).unwrap()
}

/// Transmits all of `frames` and takes them back, in order.
fn round(socket: &Socket, queue: &mut Queue, frames: &mut Vec<Frame>) {
    let count = frames.len();
    assert_eq!(queue.transmit(frames), count);
    wait_until("all is reclaimed", DEFAULT_TIMEOUT, || {
        let (Wake::Done | Wake::Retry) = socket.wake_tx().unwrap();
        queue.reclaim(frames);
        frames.len() == count
    });
}

#[test]
fn stamps_of_copy_mode_are_tai_and_between_commit_and_completion() {
    with_veth(|| {
        let (socket, mut queue) = open();
        let mut far = listener();
        let mut buffer = [0; 2048];
        let mut frames = fill(&mut queue, 0..20);
        for _ in 0..50 {
            for frame in &mut frames {
                assert!(queue.umem().request_tx_stamp(frame));
            }
            let before = tai();
            round(&socket, &mut queue, &mut frames);
            let after = tai();
            // A clock that is stepped meanwhile fails this, as it would fail any measurement.
            for frame in &frames {
                let stamp = queue.umem().tx_stamp(frame).unwrap();
                assert!(
                    (before - SLACK..=after + SLACK).contains(&stamp),
                    "{before} <= {stamp} <= {after}"
                );
            }
            for frame in &frames {
                let len = far.read(&mut buffer).unwrap();
                assert_eq!(buffer[..len], *queue.umem().data(frame));
            }
        }
        assert_eq!(socket.statistics().unwrap().tx_invalid_descs, 0);
        assert_eq!(queue.audit().unwrap().held, 20);
    });
}

#[test]
fn frames_that_do_not_ask_travel_with_those_that_do() {
    with_veth(|| {
        let (socket, mut queue) = open();
        let mut far = listener();
        let mut frames = fill(&mut queue, 0..20);
        for frame in frames.iter_mut().step_by(3) {
            assert!(queue.umem().request_tx_stamp(frame));
        }
        round(&socket, &mut queue, &mut frames);
        for (number, frame) in (0..).zip(&frames) {
            assert_eq!(queue.umem().data(frame), packet(number));
            let is_stamped = queue.umem().tx_stamp(frame).is_some();
            assert_eq!(is_stamped, number % 3 == 0, "packet {number}");
            let mut buffer = [0; 2048];
            let len = far.read(&mut buffer).unwrap();
            assert_eq!(buffer[..len], packet(number));
        }
        // Nobody asks any more: nobody is answered.
        round(&socket, &mut queue, &mut frames);
        assert!(
            frames
                .iter()
                .all(|frame| queue.umem().tx_stamp(frame).is_none())
        );
        assert_eq!(queue.rejected(), xsk::Rejected::default());
    });
}
