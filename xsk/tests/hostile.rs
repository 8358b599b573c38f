//! Ring memory nobody should trust: whatever the kernel side writes, a chunk has one owner.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;

use proptest::prelude::*;
use xsk::testing::{KernelSide, pair};
use xsk::{Frame, Queue, Rejected, RingSizes, Umem, UmemConfig};

const FRAMES: u32 = 16;
const CHUNK: u64 = 2048;
/// `XDP_PKT_CONTD`: the packet goes on in the next descriptor.
const CONTINUED: u32 = 1;

fn hostile_pair() -> (Queue, KernelSide) {
    let umem = Umem::allocate(&UmemConfig {
        frames: FRAMES,
        ..UmemConfig::default()
    })
    .unwrap();
    // Half of the chunks stay in the pool.
    pair(
        umem,
        RingSizes {
            rx: 16,
            tx: 16,
            fill: 8,
            completion: 16,
        },
        u32::MAX - 5,
    )
}

/// Every chunk is somewhere, `held` frames are in hand and no two have one chunk.
#[track_caller]
fn assert_one_owner_each(queue: &Queue, held: &[Frame]) {
    let census = queue.audit().unwrap();
    assert_eq!(census.held as usize, held.len());
    let chunks: HashSet<u32> = held.iter().map(Frame::chunk).collect();
    assert_eq!(chunks.len(), held.len(), "two tokens for one chunk");
    assert!(chunks.iter().all(|&chunk| chunk < FRAMES));
}

fn receive(queue: &mut Queue) -> Vec<Frame> {
    let mut batch = Vec::new();
    queue.receive(&mut batch, usize::MAX);
    batch
}

#[test]
fn an_address_outside_the_umem_is_refused() {
    let (mut queue, mut kernel) = hostile_pair();
    let end = u64::from(FRAMES) * CHUNK;
    for address in [end, end + 256, u64::MAX, 1 << 32, (1 << 48) + 256, 1 << 63] {
        assert!(kernel.inject_rx(address, 60, 0));
        assert!(kernel.inject_completion(address));
    }
    assert!(receive(&mut queue).is_empty());
    assert_eq!(queue.complete(), 0);
    let expected = Rejected {
        rx_address: 6,
        completion_address: 6,
        ..Rejected::default()
    };
    assert_eq!(queue.rejected(), expected);
    assert_one_owner_each(&queue, &[]);
}

#[test]
fn a_descriptor_delivered_twice_yields_one_frame() {
    let (mut queue, mut kernel) = hostile_pair();
    assert!(kernel.deliver(&[7; 60], &[]));
    let held = receive(&mut queue);
    let address = u64::from(held[0].chunk()) * CHUNK + 256;
    for offset in [0, 1, 100] {
        assert!(kernel.inject_rx(address + offset, 60, 0));
    }
    assert!(receive(&mut queue).is_empty());
    assert_eq!(queue.rejected().rx_address, 3);
    assert_one_owner_each(&queue, &held);
    assert_eq!(queue.umem().data(&held[0]), [7; 60]);
}

#[test]
fn a_chunk_in_the_pool_or_on_the_tx_ring_cannot_be_received_into() {
    let (mut queue, mut kernel) = hostile_pair();
    assert!(kernel.deliver(&[7; 60], &[]));
    let mut batch = receive(&mut queue);
    let sent = u64::from(batch[0].chunk()) * CHUNK;
    assert_eq!(queue.transmit(&mut batch), 1);
    let free = u64::from(FRAMES - 1) * CHUNK;
    assert!(kernel.inject_rx(sent + 256, 60, 0));
    assert!(kernel.inject_rx(free + 256, 60, 0));
    assert!(receive(&mut queue).is_empty());
    assert_eq!(queue.rejected().rx_address, 2);
    assert_one_owner_each(&queue, &[]);
}

#[test]
fn a_packet_that_leaves_its_chunk_is_recycled() {
    let (mut queue, mut kernel) = hostile_pair();
    let pool = queue.census().pool;
    // Chunks 0 to 7 are on the fill ring.
    for (chunk, (offset, len)) in (0..).zip([(256, 1793), (2047, 2), (0, 2049), (0, u32::MAX)]) {
        assert!(kernel.inject_rx(chunk * CHUNK + offset, len, 0));
    }
    assert!(kernel.inject_rx(4 * CHUNK + 2047, 1, 0));
    let held = receive(&mut queue);
    assert_eq!(held.len(), 1);
    assert_eq!(queue.umem().data(&held[0]).len(), 1);
    assert_eq!(
        queue.rejected(),
        Rejected {
            rx_length: 4,
            ..Rejected::default()
        }
    );
    assert_eq!(queue.census().pool, pool + 4);
    assert_one_owner_each(&queue, &held);
}

#[test]
fn a_packet_in_several_chunks_is_recycled_to_its_last() {
    let (mut queue, mut kernel) = hostile_pair();
    let pool = queue.census().pool;
    let descriptors = [CONTINUED, CONTINUED, 0, 0, 1 << 7, 0];
    for (chunk, options) in (0..).zip(descriptors) {
        assert!(kernel.inject_rx(chunk * CHUNK + 256, 60, options));
    }
    let held = receive(&mut queue);
    // 0 to 2 are one packet, 3 is whole, 4 has an option unknown to us, 5 is whole.
    assert_eq!(held.iter().map(Frame::chunk).collect::<Vec<_>>(), [3, 5]);
    assert_eq!(
        queue.rejected(),
        Rejected {
            rx_options: 4,
            ..Rejected::default()
        }
    );
    assert_eq!(queue.census().pool, pool + 4);
    assert_one_owner_each(&queue, &held);
}

#[test]
fn fragments_are_refused_across_batches_and_bad_addresses() {
    let (mut queue, mut kernel) = hostile_pair();
    assert!(kernel.inject_rx(256, 60, CONTINUED));
    assert!(receive(&mut queue).is_empty());
    assert!(kernel.inject_rx(u64::MAX, 60, CONTINUED));
    assert!(kernel.inject_rx(CHUNK + 256, 60, 0));
    assert!(
        receive(&mut queue).is_empty(),
        "the last part of the packet"
    );
    assert!(kernel.inject_rx(2 * CHUNK + 256, 60, 0));
    assert_eq!(receive(&mut queue).len(), 1);
    let expected = Rejected {
        rx_options: 2,
        rx_address: 1,
        ..Rejected::default()
    };
    assert_eq!(queue.rejected(), expected);
}

#[test]
fn a_completion_nobody_is_owed_frees_nothing() {
    let (mut queue, mut kernel) = hostile_pair();
    assert!(kernel.deliver(&[7; 60], &[]));
    assert!(kernel.deliver(&[8; 60], &[]));
    let mut batch = receive(&mut queue);
    let held = batch.pop().unwrap();
    let sent = u64::from(batch[0].chunk()) * CHUNK + 256;
    let pool = queue.census().pool;
    assert_eq!(queue.transmit(&mut batch), 1);
    // In hand, on the fill ring, in the pool; then the one that is owed, and the same again.
    let in_hand = u64::from(held.chunk()) * CHUNK;
    let on_fill = 5 * CHUNK;
    let in_pool = u64::from(FRAMES - 1) * CHUNK;
    for address in [in_hand, on_fill, in_pool, sent, sent] {
        assert!(kernel.inject_completion(address));
    }
    assert_eq!(queue.complete(), 1);
    assert_eq!(queue.rejected().completion_address, 4);
    assert_eq!(queue.census().pool, pool + 1);
    assert_one_owner_each(&queue, &[held]);
}

#[test]
fn a_chunk_is_recycled_once_and_from_its_start() {
    let (mut queue, mut kernel) = hostile_pair();
    assert!(kernel.deliver(&[7; 60], &[]) && kernel.deliver(&[8; 60], &[]));
    let mut batch = receive(&mut queue);
    let held = batch.pop().unwrap();
    let sent = u64::from(batch[0].chunk()) * CHUNK;
    assert_eq!(queue.transmit(&mut batch), 1);
    let in_hand = u64::from(held.chunk()) * CHUNK;
    let (on_fill, in_pool) = (5 * CHUNK, u64::from(FRAMES - 1) * CHUNK);
    for address in [in_hand, on_fill, in_pool, u64::MAX, sent + 2047, sent] {
        assert!(kernel.inject_completion(address));
    }
    let before = (queue.census(), kernel.fill_ready());
    // The one that is owed, and one from the pool for the other that was received into.
    assert_eq!(queue.recycle(), 2);
    assert_eq!(queue.rejected().completion_address, 5);
    assert_eq!(kernel.fill_ready(), before.1 + 2);
    assert_eq!(queue.census().pool, before.0.pool - 1);
    assert_one_owner_each(&queue, &[held]);
}

#[test]
fn a_reclaimed_frame_is_what_was_sent_whatever_the_ring_says_of_it() {
    let (mut queue, mut kernel) = hostile_pair();
    assert!(kernel.deliver(&[7; 60], &[]) && kernel.deliver(&[8; 60], &[]));
    let mut batch = receive(&mut queue);
    let held = batch.pop().unwrap();
    let sent = u64::from(batch[0].chunk()) * CHUNK;
    assert_eq!(queue.transmit(&mut batch), 1);
    // In hand, on the fill ring, in the pool, nowhere; then the one that is owed, with another
    // offset, and the same again.
    let in_hand = u64::from(held.chunk()) * CHUNK;
    let (on_fill, in_pool) = (5 * CHUNK, u64::from(FRAMES - 1) * CHUNK);
    for address in [in_hand, on_fill, in_pool, u64::MAX, sent + 2047, sent] {
        assert!(kernel.inject_completion(address));
    }
    let mut back = vec![held];
    assert_eq!(queue.reclaim(&mut back), 1);
    assert_eq!(queue.rejected().completion_address, 5);
    assert_eq!(queue.umem().data(&back[1]), [7; 60]);
    assert_eq!(queue.umem().max_len(&back[1]), 2048 - 256);
    assert_one_owner_each(&queue, &back);
}

#[test]
fn the_kernel_side_keeps_off_chunks_it_gave_away_by_force() {
    let (mut queue, mut kernel) = hostile_pair();
    // Chunk 0 is on the fill ring, and now also in hand.
    let address = 256;
    assert!(kernel.inject_rx(address, 60, 0));
    let mut held = receive(&mut queue);
    queue.umem().data_mut(&mut held[0]).fill(0x55);
    for _ in 0..7 {
        assert!(kernel.deliver(&[0xaa; 60], &[]));
    }
    assert!(!kernel.deliver(&[0xaa; 60], &[]));
    assert_eq!(queue.umem().data(&held[0]), [0x55; 60]);
    queue.receive(&mut held, usize::MAX);
    assert_one_owner_each(&queue, &held);
    assert_eq!(held.len(), 8);
}

#[test]
fn a_packet_completed_before_it_was_sent_is_not_read() {
    let (mut queue, mut kernel) = hostile_pair();
    assert!(kernel.deliver(&[7; 60], &[]));
    let mut batch = receive(&mut queue);
    let address = u64::from(batch[0].chunk()) * CHUNK + 256;
    assert_eq!(queue.transmit(&mut batch), 1);
    assert!(kernel.inject_completion(address));
    assert_eq!(queue.complete(), 1);
    assert!(kernel.transmitted().is_empty());
    assert_eq!(
        (queue.complete(), queue.rejected().completion_address),
        (0, 1)
    );
    assert_one_owner_each(&queue, &[]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver,
    InjectRx {
        address: u64,
        len: u32,
        options: u32,
    },
    InjectCompletion(u64),
    KernelTransmits,
    Receive,
    Transmit,
    Release,
    Complete,
    Reclaim,
    Refill,
    Recycle,
}

/// Mostly plausible, sometimes wild.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (0..u64::from(FRAMES), 0..CHUNK).prop_map(|(chunk, offset)| chunk * CHUNK + offset),
        1 => 0..4 * u64::from(FRAMES) * CHUNK,
        1 => any::<u64>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![4 => 0..2100_u32, 1 => any::<u32>()];
    let options = prop_oneof![4 => Just(0), 1 => Just(CONTINUED), 1 => any::<u32>()];
    prop_oneof![
        2 => Just(Step::Deliver),
        4 => (address(), len, options)
            .prop_map(|(address, len, options)| Step::InjectRx { address, len, options }),
        3 => address().prop_map(Step::InjectCompletion),
        1 => Just(Step::KernelTransmits),
        2 => Just(Step::Receive),
        2 => Just(Step::Transmit),
        1 => Just(Step::Release),
        1 => Just(Step::Complete),
        1 => Just(Step::Reclaim),
        2 => Just(Step::Refill),
        2 => Just(Step::Recycle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_ring_content_makes_two_owners(
        steps in prop::collection::vec(step(), 0..if cfg!(miri) { 80 } else { 400 }),
    ) {
        let (mut queue, mut kernel) = hostile_pair();
        let mut held: Vec<Frame> = Vec::new();
        for step in steps {
            match step {
                Step::Deliver => drop(kernel.deliver(&[1; 60], &[2; 16])),
                Step::InjectRx { address, len, options } => {
                    kernel.inject_rx(address, len, options);
                }
                Step::InjectCompletion(address) => drop(kernel.inject_completion(address)),
                Step::KernelTransmits => drop(kernel.transmitted()),
                Step::Receive => drop(queue.receive(&mut held, usize::MAX)),
                Step::Transmit => drop(queue.transmit(&mut held)),
                Step::Release => {
                    if let Some(frame) = held.pop() {
                        queue.umem_mut().release(frame);
                    }
                }
                Step::Complete => drop(queue.complete()),
                Step::Reclaim => drop(queue.reclaim(&mut held)),
                Step::Refill => drop(queue.refill()),
                Step::Recycle => drop(queue.recycle()),
            }
            assert_one_owner_each(&queue, &held);
            // Writing to every frame in hand changes no other.
            for (frame, value) in held.iter_mut().zip(1..) {
                queue.umem().data_mut(frame).fill(value);
            }
            for (frame, value) in held.iter().zip(1..) {
                prop_assert!(queue.umem().data(frame).iter().all(|&octet| octet == value));
            }
        }
    }
}
