//! How frames flow: a queue against the in-memory kernel and against a plain model.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use xsk::testing::{KernelSide, pair};
use xsk::{Census, Frame, Kernel, Queue, Rejected, RingSizes, Umem, UmemConfig, Wake};

/// Larger than any count in these tests.
const ALL: usize = usize::MAX;

fn umem(frames: u32) -> Umem {
    Umem::allocate(&UmemConfig {
        frames,
        ..UmemConfig::default()
    })
    .unwrap()
}

fn small(frames: u32, start: u32) -> (Queue, KernelSide) {
    pair(
        umem(frames),
        RingSizes {
            rx: 8,
            tx: 4,
            fill: 16,
            completion: 4,
        },
        start,
    )
}

/// A packet that says which it is: from 14 to 269 octets.
fn packet(number: u32) -> Vec<u8> {
    let mut packet = vec![number.to_le_bytes()[0]; 14 + (number % 256) as usize];
    packet[..4].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Every chunk is somewhere, and `held` frames are in hand.
#[track_caller]
fn assert_conserved(queue: &Queue, held: usize) -> Census {
    let census = queue.audit().unwrap();
    assert_eq!(census.pool + census.held + census.kernel, census.total);
    assert_eq!(census.held as usize, held, "{census:?}");
    census
}

#[test]
fn ten_thousand_packets_are_reflected_in_order_and_every_frame_comes_home() {
    let count = if cfg!(miri) { 100 } else { 10_000 };
    // The cursors wrap after 50 entries.
    let (mut queue, mut kernel) = small(24, u32::MAX - 49);
    let (mut delivered, mut returned) = (0, 0);
    let mut batch = Vec::with_capacity(8);
    while returned < count {
        let before = (delivered, returned);
        while delivered < count && kernel.deliver(&packet(delivered), &delivered.to_be_bytes()) {
            delivered += 1;
        }
        let kept = batch.len();
        queue.receive(&mut batch, 8);
        for frame in &mut batch[kept..] {
            let number: [u8; 4] = queue.umem().metadata(frame, 4).unwrap().try_into().unwrap();
            assert_eq!(queue.umem().data(frame), packet(u32::from_be_bytes(number)));
            queue.umem().data_mut(frame)[4] ^= 0xff;
        }
        assert_conserved(&queue, batch.len());
        queue.transmit(&mut batch);
        assert_conserved(&queue, batch.len());
        for sent in kernel.transmitted() {
            let mut expected = packet(returned);
            expected[4] ^= 0xff;
            assert_eq!(sent, expected);
            returned += 1;
        }
        queue.complete();
        queue.refill();
        assert_conserved(&queue, batch.len());
        assert_ne!(before, (delivered, returned), "nothing moves any more");
    }
    assert!(batch.is_empty());
    assert_eq!(queue.rejected(), Rejected::default());
    assert_eq!(kernel.tx_invalid(), 0);
}

/// Says that the far side has ended, by a failure too.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn reflects_between_two_threads() {
    let count = if cfg!(miri) { 60 } else { 20_000 };
    let (mut queue, mut kernel) = small(32, u32::MAX - 9);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut batch = Vec::with_capacity(8);
            while !done.load(Ordering::Relaxed) {
                let kept = batch.len();
                queue.receive(&mut batch, 8 - kept);
                for frame in &mut batch[kept..] {
                    queue.umem().data_mut(frame).reverse();
                }
                queue.transmit(&mut batch);
                queue.complete();
                queue.refill();
                thread::yield_now();
            }
            for frame in batch {
                queue.umem_mut().release(frame);
            }
        });
        let _done = Done(&done);
        let (mut delivered, mut returned) = (0, 0);
        let deadline = Instant::now() + Duration::from_secs(120);
        while returned < count && Instant::now() < deadline {
            if delivered < count && kernel.deliver(&packet(delivered), &[]) {
                delivered += 1;
            }
            for sent in kernel.transmitted() {
                let expected: Vec<u8> = packet(returned).into_iter().rev().collect();
                assert_eq!(sent, expected);
                returned += 1;
            }
            thread::yield_now();
        }
        assert_eq!(returned, count, "nothing moves any more");
    });
    assert_conserved(&queue, 0);
    assert_eq!(queue.rejected(), Rejected::default());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver,
    Receive(usize),
    Transmit,
    Release(usize),
    Take(usize),
    Refill,
    Recycle,
    Complete,
    Reclaim,
    KernelTransmits(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Deliver),
        2 => (0..12_usize).prop_map(Step::Receive),
        2 => Just(Step::Transmit),
        1 => (0..6_usize).prop_map(Step::Release),
        1 => (0..6_usize).prop_map(Step::Take),
        2 => Just(Step::Refill),
        2 => Just(Step::Recycle),
        1 => Just(Step::Complete),
        1 => Just(Step::Reclaim),
        2 => (0..6_usize).prop_map(Step::KernelTransmits),
    ]
}

/// What the queue must do, in terms of packets and counts only.
#[derive(Default)]
struct Model {
    pool: usize,
    fill: usize,
    rx: VecDeque<Vec<u8>>,
    held: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
    completed: VecDeque<Vec<u8>>,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn agrees_with_a_model_from_any_start(
        start in prop_oneof![any::<u32>(), (u32::MAX - 60)..=u32::MAX],
        frames in 1..40_u32,
        size_logs in prop::array::uniform4(0..5_u32),
        steps in prop::collection::vec(step(), 0..if cfg!(miri) { 60 } else { 300 }),
    ) {
        let [rx, tx, fill, completion] = size_logs.map(|log| 1_u32 << log);
        let (mut queue, mut kernel) = pair(umem(frames), RingSizes { rx, tx, fill, completion }, start);
        let [rx, tx, fill, completion] = [rx, tx, fill, completion].map(|size| size as usize);
        let mut model = Model { pool: frames as usize, ..Model::default() };
        model.fill = fill.min(model.pool);
        model.pool -= model.fill;
        let mut batch: Vec<Frame> = Vec::new();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Deliver => {
                    let fits = model.fill > 0 && model.rx.len() < rx;
                    prop_assert_eq!(kernel.deliver(&packet(number), &[]), fits);
                    if fits {
                        model.fill -= 1;
                        model.rx.push_back(packet(number));
                        number += 1;
                    }
                }
                Step::Receive(max) => {
                    let expected = max.min(model.rx.len());
                    prop_assert_eq!(queue.receive(&mut batch, max), expected);
                    model.held.extend(model.rx.drain(..expected));
                }
                Step::Transmit => {
                    let room = tx - model.tx.len();
                    prop_assert_eq!(queue.tx_free(), room);
                    let expected = room.min(model.held.len());
                    prop_assert_eq!(queue.transmit(&mut batch), expected);
                    model.tx.extend(model.held.drain(..expected));
                }
                Step::Release(count) => {
                    let count = count.min(batch.len());
                    batch.drain(..count).for_each(|frame| queue.umem_mut().release(frame));
                    model.held.drain(..count);
                    model.pool += count;
                }
                Step::Take(count) => {
                    for _ in 0..count {
                        let taken = queue.umem_mut().take();
                        prop_assert_eq!(taken.is_some(), model.pool > 0);
                        let Some(mut frame) = taken else { break };
                        let content = packet(number);
                        queue.umem_mut().set_len(&mut frame, content.len()).unwrap();
                        queue.umem().data_mut(&mut frame).copy_from_slice(&content);
                        batch.push(frame);
                        model.held.push_back(content);
                        model.pool -= 1;
                        number += 1;
                    }
                }
                Step::Refill => {
                    let expected = model.pool.min(fill - model.fill);
                    prop_assert_eq!(queue.refill(), expected);
                    model.pool -= expected;
                    model.fill += expected;
                }
                Step::Recycle => {
                    // What was transmitted and what is free: as much as there is room for.
                    model.pool += model.completed.drain(..).len();
                    let expected = model.pool.min(fill - model.fill);
                    prop_assert_eq!(queue.recycle(), expected);
                    model.pool -= expected;
                    model.fill += expected;
                }
                Step::Complete => {
                    prop_assert_eq!(queue.complete(), model.completed.len());
                    model.pool += model.completed.drain(..).len();
                }
                Step::Reclaim => {
                    prop_assert_eq!(queue.reclaim(&mut batch), model.completed.len());
                    model.held.append(&mut model.completed);
                }
                Step::KernelTransmits(max) => {
                    let room = completion - model.completed.len();
                    let expected: Vec<Vec<u8>> =
                        model.tx.drain(..max.min(model.tx.len()).min(room)).collect();
                    prop_assert_eq!(&kernel.transmitted_at_most(max), &expected);
                    model.completed.extend(expected);
                }
            }
            for (frame, content) in batch.iter().zip(&model.held) {
                prop_assert_eq!(queue.umem().data(frame), content.as_slice());
            }
            let census = assert_conserved(&queue, batch.len());
            prop_assert_eq!(batch.len(), model.held.len());
            prop_assert_eq!(census.pool as usize, model.pool);
            prop_assert_eq!(queue.tx_pending(), model.tx.len());
            prop_assert_eq!(kernel.fill_ready(), model.fill);
        }
        prop_assert_eq!(queue.rejected(), Rejected::default());
        prop_assert_eq!(kernel.tx_invalid(), 0);
    }
}

#[test]
fn what_does_not_fit_stays_with_the_caller_in_order() {
    let (mut queue, mut kernel) = small(16, 0);
    for number in 0..8 {
        assert!(kernel.deliver(&packet(number), &[]));
    }
    let mut batch = Vec::new();
    assert_eq!(queue.receive(&mut batch, ALL), 8);
    assert_eq!(queue.transmit(&mut batch), 4);
    assert_eq!(
        (batch.len(), queue.tx_free(), queue.tx_pending()),
        (4, 0, 4)
    );
    assert_eq!(queue.transmit(&mut batch), 0);
    assert_eq!(kernel.transmitted(), (0..4).map(packet).collect::<Vec<_>>());
    // The completion ring is full: the kernel takes nothing more until it is emptied.
    assert_eq!(queue.transmit(&mut batch), 4);
    assert!(kernel.transmitted().is_empty());
    assert_eq!(queue.complete(), 4);
    assert_eq!(kernel.transmitted(), (4..8).map(packet).collect::<Vec<_>>());
    assert_conserved(&queue, 0);
}

#[test]
fn a_packet_without_a_chunk_or_room_is_not_delivered() {
    let (mut queue, mut kernel) = small(4, 0);
    assert!(
        !kernel.deliver(&[0; 2048 - 255], &[]),
        "longer than a chunk holds"
    );
    assert!(
        kernel.deliver(&[0; 2048 - 256], &[0; 256]),
        "as long as a chunk holds"
    );
    assert!(
        !kernel.deliver(&packet(0), &[0; 257]),
        "metadata longer than the headroom"
    );
    for number in 0..3 {
        assert!(kernel.deliver(&packet(number), &[]));
    }
    assert!(
        !kernel.deliver(&packet(3), &[]),
        "no chunk on the fill ring"
    );
    let mut batch = Vec::new();
    assert_eq!(queue.receive(&mut batch, 1), 1);
    assert_eq!(queue.umem().data(&batch[0]).len(), 2048 - 256);
    assert_eq!(queue.umem().max_len(&batch[0]), 2048 - 256);
    assert_eq!(queue.receive(&mut batch, ALL), 3);
    assert_conserved(&queue, 4);
}

#[test]
fn runts_are_recycled_and_do_not_block_the_rest() {
    let (mut queue, mut kernel) = small(8, 0);
    let mut batch = Vec::new();
    for packet in [&[][..], &[1; 13], &[2; 14], &[3; 60]] {
        assert!(kernel.deliver(packet, &[]));
    }
    queue.receive(&mut batch, ALL);
    assert_eq!(queue.transmit(&mut batch), 2);
    assert!(batch.is_empty());
    assert_eq!(
        queue.rejected(),
        Rejected {
            tx_runt: 2,
            ..Rejected::default()
        }
    );
    assert_eq!(kernel.transmitted(), [vec![2; 14], vec![3; 60]]);
    assert_eq!(assert_conserved(&queue, 0).pool, 2);
}

#[test]
fn a_frame_of_another_umem_is_neither_transmitted_nor_released() {
    let (mut queue, mut kernel) = small(4, 0);
    let mut other = umem(4);
    let mut foreign = || {
        let mut frame = other.take().unwrap();
        other.set_len(&mut frame, 60).unwrap();
        frame
    };
    assert!(kernel.deliver(&packet(7), &[]));
    let mut batch = vec![foreign()];
    queue.receive(&mut batch, ALL);
    assert_eq!(queue.transmit(&mut batch), 1);
    assert_eq!(kernel.transmitted(), [packet(7)]);
    queue.umem_mut().release(foreign());
    assert_eq!(
        queue.rejected(),
        Rejected {
            foreign: 2,
            ..Rejected::default()
        }
    );
    assert_conserved(&queue, 0);
    assert_eq!(other.audit().unwrap().held, 2);
}

#[test]
fn nothing_moves_while_another_umem_is_in_place() {
    let (mut queue, mut kernel) = small(20, 0);
    assert!(kernel.deliver(&packet(1), &[]));
    let mut batch = Vec::new();
    queue.receive(&mut batch, ALL);
    assert!(kernel.deliver(&packet(2), &[]));

    let mut other = umem(20);
    std::mem::swap(queue.umem_mut(), &mut other);
    assert_eq!(queue.receive(&mut batch, ALL), 0);
    assert_eq!(queue.transmit(&mut batch), 0);
    assert_eq!(queue.refill(), 0);
    assert_eq!(queue.complete(), 0);
    assert_eq!(batch.len(), 1);
    assert_eq!(
        other.data(&batch[0]),
        packet(1),
        "a token finds its UMEM wherever that is"
    );

    std::mem::swap(queue.umem_mut(), &mut other);
    assert_eq!(queue.receive(&mut batch, ALL), 1);
    assert_eq!(queue.transmit(&mut batch), 2);
    assert_eq!(kernel.transmitted(), [packet(1), packet(2)]);
    assert_conserved(&queue, 0);
}

#[test]
fn a_umem_given_to_another_queue_no_longer_moves_by_the_rings_of_the_first() {
    let (mut first, mut first_kernel) = small(8, 0);
    // Bring every chunk home: a UMEM with chunks in the kernel cannot be paired again.
    let mut batch = Vec::new();
    for number in 0..8 {
        assert!(first_kernel.deliver(&packet(number), &[]));
    }
    assert_eq!(first.receive(&mut batch, ALL), 8);
    let mut frames = batch.drain(..);
    let kept = frames.next().unwrap();
    for frame in frames {
        first.umem_mut().release(frame);
    }
    let moved = std::mem::replace(first.umem_mut(), umem(1));
    let (mut second, mut second_kernel) = pair(
        moved,
        RingSizes {
            rx: 8,
            tx: 8,
            fill: 8,
            completion: 8,
        },
        0,
    );
    assert!(second_kernel.deliver(&packet(9), &[]));

    // Back in its old place, with chunks lent by the second queue's rings.
    std::mem::swap(first.umem_mut(), second.umem_mut());
    assert!(first_kernel.inject_rx(256, 60, 0) && first_kernel.inject_completion(0));
    let mut batch = vec![kept];
    assert_eq!(
        first.receive(&mut batch, ALL) + first.complete() + first.refill(),
        0
    );
    assert_eq!(first.transmit(&mut batch), 0);
    assert_conserved(&first, 1);
}

#[test]
fn wakeups_are_asked_for_counted_and_answered() {
    let (queue, mut kernel) = small(4, 0);
    assert!(queue.tx_needs_wakeup() && !queue.fill_needs_wakeup());
    kernel.ask_for_wakeups(false, true);
    assert!(!queue.tx_needs_wakeup() && queue.fill_needs_wakeup());

    let doorbell = kernel.doorbell();
    assert_eq!(kernel.wake_tx().unwrap(), Wake::Done);
    doorbell.answer_retry();
    assert_eq!(doorbell.wake_tx().unwrap(), Wake::Retry);
    doorbell.answer_error(libc::ENETDOWN);
    assert_eq!(
        kernel.wake_rx().unwrap_err().raw_os_error(),
        Some(libc::ENETDOWN)
    );
    doorbell.answer_done();
    assert_eq!(doorbell.wake_rx().unwrap(), Wake::Done);
    assert_eq!((doorbell.tx_count(), doorbell.rx_count()), (2, 2));
}
