//! Asking the kernel when packets left: requests and answers below the packet.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;

use proptest::prelude::*;
use xsk::testing::{KernelSide, pair};
use xsk::{Frame, Queue, Rejected, RingSizes, Umem, UmemConfig};

const SIZES: RingSizes = RingSizes {
    rx: 8,
    tx: 8,
    fill: 4,
    completion: 8,
};
const CHUNK: u64 = 2048;

fn umem(tx_metadata: bool) -> Umem {
    Umem::allocate(&UmemConfig {
        frames: 16,
        tx_metadata,
        ..UmemConfig::default()
    })
    .unwrap()
}

fn stamping() -> (Queue, KernelSide) {
    let (queue, mut kernel) = pair(umem(true), SIZES, u32::MAX - 3);
    kernel.stamp_from(1000);
    (queue, kernel)
}

/// A packet of 60 octets, all `fill`.
fn frame(queue: &mut Queue, fill: u8) -> Frame {
    let mut frame = queue.umem_mut().take().unwrap();
    queue.umem_mut().set_len(&mut frame, 60).unwrap();
    queue.umem().data_mut(&mut frame).fill(fill);
    frame
}

/// Transmits the one frame and takes it back.
fn round(queue: &mut Queue, kernel: &mut KernelSide, frame: Frame) -> Frame {
    let mut frames = vec![frame];
    assert_eq!(queue.transmit(&mut frames), 1);
    assert_eq!(kernel.transmitted().len(), 1);
    assert_eq!(queue.reclaim(&mut frames), 1);
    frames.pop().unwrap()
}

#[test]
fn stamps_come_back_to_the_frames_that_asked() {
    let (mut queue, mut kernel) = stamping();
    let mut frames: Vec<Frame> = (1..=4).map(|fill| frame(&mut queue, fill)).collect();
    for index in [1, 3] {
        assert!(queue.umem().request_tx_stamp(&mut frames[index]));
        assert_eq!(queue.umem().tx_stamp(&frames[index]), None, "not yet sent");
    }
    queue.transmit(&mut frames);
    let expected: Vec<Vec<u8>> = (1..=4).map(|fill| vec![fill; 60]).collect();
    assert_eq!(kernel.transmitted(), expected);
    queue.reclaim(&mut frames);
    let stamps: Vec<_> = frames
        .iter()
        .map(|frame| queue.umem().tx_stamp(frame))
        .collect();
    assert_eq!(stamps, [None, Some(1000), None, Some(1001)]);
    assert_eq!((kernel.stamps_asked(), kernel.tx_invalid()), (2, 0));
    assert_eq!(queue.rejected(), Rejected::default());
}

#[test]
fn a_stamp_is_that_of_the_last_transmission_only() {
    let (mut queue, mut kernel) = stamping();
    let mut frame = frame(&mut queue, 1);
    assert!(queue.umem().request_tx_stamp(&mut frame));
    let mut frame = round(&mut queue, &mut kernel, frame);
    assert_eq!(queue.umem().tx_stamp(&frame), Some(1000));

    // Asked again, the earlier answer is gone at once; an answer of 0 is none.
    assert!(queue.umem().request_tx_stamp(&mut frame));
    assert_eq!(queue.umem().tx_stamp(&frame), None);
    kernel.stamp_from(0);
    let mut frame = round(&mut queue, &mut kernel, frame);
    assert_eq!(queue.umem().tx_stamp(&frame), None);
    assert!(queue.umem().request_tx_stamp(&mut frame));
    let frame = round(&mut queue, &mut kernel, frame);
    assert_eq!(queue.umem().tx_stamp(&frame), Some(1));

    // Not asked again: nothing, although the octets are still there.
    let frame = round(&mut queue, &mut kernel, frame);
    assert_eq!(queue.umem().tx_stamp(&frame), None);
    assert_eq!(
        queue.umem().metadata(&frame, 8).unwrap(),
        1_u64.to_ne_bytes()
    );
    assert_eq!(kernel.stamps_asked(), 3);
}

#[test]
fn a_driver_without_stamps_leaves_none_and_not_a_stale_one() {
    let (mut queue, mut kernel) = pair(umem(true), SIZES, 0);
    let mut frame = frame(&mut queue, 1);
    queue
        .umem()
        .metadata_mut(&mut frame, 16)
        .unwrap()
        .fill(0xaa);
    assert!(queue.umem().request_tx_stamp(&mut frame));
    let frame = round(&mut queue, &mut kernel, frame);
    assert_eq!(queue.umem().tx_stamp(&frame), None);
    assert_eq!(kernel.stamps_asked(), 1);
}

#[test]
fn the_request_is_whole_whatever_is_written_there_before_the_transmission() {
    let (mut queue, mut kernel) = stamping();
    let mut frame = frame(&mut queue, 7);
    assert!(queue.umem().request_tx_stamp(&mut frame));
    queue
        .umem()
        .metadata_mut(&mut frame, 24)
        .unwrap()
        .fill(0xff);
    let frame = round(&mut queue, &mut kernel, frame);
    assert_eq!(kernel.tx_invalid(), 0);
    assert_eq!(queue.umem().tx_stamp(&frame), Some(1000));
    // Nothing but those 16 octets has changed.
    assert_eq!(queue.umem().metadata(&frame, 24).unwrap()[..8], [0xff; 8]);
    assert_eq!(queue.umem().data(&frame), [7; 60]);
}

#[test]
fn received_metadata_is_read_first_and_gone_after_the_transmission() {
    let (mut queue, mut kernel) = stamping();
    assert!(kernel.deliver(&[5; 60], b"from the program"));
    let mut batch = Vec::new();
    queue.receive(&mut batch, 1);
    let mut frame = batch.pop().unwrap();
    assert_eq!(queue.umem().tx_stamp(&frame), None, "no stamp of ours");
    assert!(queue.umem().request_tx_stamp(&mut frame));
    assert_eq!(
        queue.umem().metadata(&frame, 16),
        Some(&b"from the program"[..])
    );
    let frame = round(&mut queue, &mut kernel, frame);
    assert_eq!(queue.umem().tx_stamp(&frame), Some(1000));
    assert_ne!(
        queue.umem().metadata(&frame, 16),
        Some(&b"from the program"[..])
    );
}

#[test]
fn completed_into_the_pool_a_chunk_forgets_its_stamp() {
    let (mut queue, mut kernel) = stamping();
    let mut frames = vec![frame(&mut queue, 1)];
    let chunk = frames[0].chunk();
    assert!(queue.umem().request_tx_stamp(&mut frames[0]));
    queue.transmit(&mut frames);
    kernel.transmitted();
    assert_eq!(queue.complete(), 1);
    let again = queue.umem_mut().take().unwrap();
    assert_eq!(again.chunk(), chunk, "last in, first out");
    assert_eq!(queue.umem().tx_stamp(&again), None);
    queue.umem_mut().release(again);
}

#[test]
fn without_tx_metadata_nobody_is_asked() {
    let (mut queue, mut kernel) = pair(umem(false), SIZES, 0);
    kernel.stamp_from(1000);
    let mut frame = frame(&mut queue, 1);
    assert!(!queue.umem().tx_metadata());
    assert!(!queue.umem().request_tx_stamp(&mut frame));
    let frame = round(&mut queue, &mut kernel, frame);
    assert_eq!(queue.umem().tx_stamp(&frame), None);
    assert_eq!((kernel.stamps_asked(), kernel.tx_invalid()), (0, 0));
}

#[test]
fn a_frame_of_another_umem_neither_asks_nor_tells() {
    let (mut queue, mut kernel) = stamping();
    let other = umem(true);
    let mut frame = frame(&mut queue, 1);
    assert!(!other.request_tx_stamp(&mut frame));
    assert!(queue.umem().request_tx_stamp(&mut frame));
    let frame = round(&mut queue, &mut kernel, frame);
    assert_eq!(other.tx_stamp(&frame), None);
    assert_eq!(queue.umem().tx_stamp(&frame), Some(1000));
}

#[test]
fn a_packet_without_room_below_is_recycled_before_the_kernel_loses_it() {
    for (offset, tx_metadata, sent) in [(15, true, 0), (16, true, 1), (0, false, 1)] {
        let (mut queue, mut kernel) = pair(umem(tx_metadata), SIZES, 0);
        let pool = queue.census().pool;
        // Chunk 1 is on the fill ring.
        assert!(kernel.inject_rx(CHUNK + offset, 60, 0));
        let mut batch = Vec::new();
        assert_eq!(queue.receive(&mut batch, 1), 1);
        let asks = queue.umem().request_tx_stamp(&mut batch[0]);
        assert_eq!(asks, tx_metadata && sent == 1);
        assert_eq!(queue.transmit(&mut batch), sent);
        let expected = Rejected {
            tx_headroom: 1 - sent as u64,
            ..Rejected::default()
        };
        assert_eq!(queue.rejected(), expected);
        assert_eq!(queue.rejected().total(), expected.tx_headroom);
        kernel.transmitted();
        assert_eq!((queue.complete(), kernel.tx_invalid()), (sent, 0));
        assert_eq!(queue.audit().unwrap().pool, pool + 1);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(usize),
    Scribble(usize),
    Transmit,
    KernelTransmits(usize),
    Reclaim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..8_usize).prop_map(Step::Ask),
        1 => (0..8_usize).prop_map(Step::Scribble),
        2 => Just(Step::Transmit),
        2 => (0..6_usize).prop_map(Step::KernelTransmits),
        2 => Just(Step::Reclaim),
    ]
}

/// A frame as the model sees it.
#[derive(Clone, Copy, Debug)]
struct Known {
    chunk: u32,
    asks: bool,
    stamp: Option<u64>,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_answer_finds_the_frame_that_asked(
        steps in prop::collection::vec(step(), 0..if cfg!(miri) { 60 } else { 300 }),
    ) {
        let (mut queue, mut kernel) = stamping();
        let mut frames: Vec<Frame> = (1..=6).map(|fill| frame(&mut queue, fill)).collect();
        let mut held: VecDeque<Known> = frames
            .iter()
            .map(|frame| Known { chunk: frame.chunk(), asks: false, stamp: None })
            .collect();
        let (mut sent, mut done) = (VecDeque::new(), VecDeque::new());
        let mut next = 1000;
        for step in steps {
            match step {
                Step::Ask(index) => {
                    if let Some(frame) = frames.get_mut(index) {
                        prop_assert!(queue.umem().request_tx_stamp(frame));
                        held[index].asks = true;
                        held[index].stamp = None;
                    }
                }
                // Anywhere but on an answer.
                Step::Scribble(index) => {
                    if let Some(frame) = frames.get_mut(index)
                        && held[index].stamp.is_none()
                    {
                        queue.umem().metadata_mut(frame, 64).unwrap().fill(0x5a);
                    }
                }
                Step::Transmit => {
                    queue.transmit(&mut frames);
                    sent.append(&mut held);
                }
                Step::KernelTransmits(max) => {
                    let count = max.min(sent.len());
                    prop_assert_eq!(kernel.transmitted_at_most(max).len(), count);
                    for known in sent.drain(..count) {
                        let stamp = known.asks.then_some(next);
                        next += u64::from(known.asks);
                        done.push_back(Known { asks: false, stamp, ..known });
                    }
                }
                Step::Reclaim => {
                    prop_assert_eq!(queue.reclaim(&mut frames), done.len());
                    held.append(&mut done);
                }
            }
            prop_assert_eq!(frames.len(), held.len());
            for (frame, known) in frames.iter().zip(&held) {
                prop_assert_eq!(frame.chunk(), known.chunk);
                // Octets that were scribbled there must not look like an answer.
                prop_assert_eq!(queue.umem().tx_stamp(frame), known.stamp);
            }
            prop_assert_eq!(queue.audit().unwrap().held as usize, frames.len());
        }
        prop_assert_eq!(queue.rejected(), Rejected::default());
        prop_assert_eq!(kernel.tx_invalid(), 0);
        prop_assert_eq!(kernel.stamps_asked(), next - 1000);
    }
}
