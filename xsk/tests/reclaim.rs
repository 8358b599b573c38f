//! A sender's frames: written once, changed in place, kept apart from those received into.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use xsk::testing::pair;
use xsk::{Frame, Queue, Rejected, RingSizes, Umem, UmemConfig};

const SIZES: RingSizes = RingSizes {
    rx: 8,
    tx: 4,
    fill: 8,
    completion: 8,
};

fn umem(frames: u32) -> Umem {
    Umem::allocate(&UmemConfig {
        frames,
        ..UmemConfig::default()
    })
    .unwrap()
}

/// Draws `count` frames from the pool and makes a template of each: a length of its own, and octets
/// that say which it is.
fn templates(queue: &mut Queue, count: u8) -> Vec<Frame> {
    (1..=count)
        .map(|number| {
            let mut frame = queue.umem_mut().take().unwrap();
            let len = 60 + usize::from(number);
            queue.umem_mut().set_len(&mut frame, len).unwrap();
            queue.umem().data_mut(&mut frame).fill(number);
            frame
        })
        .collect()
}

#[test]
fn frames_come_back_with_length_and_content_as_sent() {
    let (mut queue, mut kernel) = pair(umem(12), SIZES, u32::MAX - 2);
    let mut frames = templates(&mut queue, 3);
    let chunks: Vec<u32> = frames.iter().map(Frame::chunk).collect();
    assert_eq!(queue.transmit(&mut frames), 3);
    assert_eq!(queue.reclaim(&mut frames), 0, "nothing is sent yet");
    let sent = kernel.transmitted();
    assert_eq!(queue.reclaim(&mut frames), 3);
    assert_eq!(frames.iter().map(Frame::chunk).collect::<Vec<_>>(), chunks);
    for (frame, sent) in frames.iter().zip(&sent) {
        assert_eq!(queue.umem().data(frame), sent);
        assert_eq!(queue.umem().max_len(frame), 2048 - 256);
    }
    assert_eq!(queue.audit().unwrap().held, 3);
    assert_eq!((queue.reclaim(&mut frames), queue.complete()), (0, 0));
}

#[test]
fn a_received_packet_sent_back_is_reclaimed_where_it_lay() {
    let (mut queue, mut kernel) = pair(umem(12), SIZES, 0);
    assert!(kernel.deliver(&[9; 77], b"meta"));
    let mut batch = Vec::new();
    queue.receive(&mut batch, 1);
    queue.transmit(&mut batch);
    kernel.transmitted();
    assert_eq!(queue.reclaim(&mut batch), 1);
    assert_eq!(queue.umem().data(&batch[0]), [9; 77]);
    assert_eq!(queue.umem().metadata(&batch[0], 4), Some(&b"meta"[..]));
}

#[test]
fn ten_thousand_packets_are_sent_from_four_frames_that_never_reach_the_fill_ring() {
    let count: u32 = if cfg!(miri) { 50 } else { 10_000 };
    let (mut queue, mut kernel) = pair(umem(16), SIZES, u32::MAX - 99);
    let mut free = templates(&mut queue, 4);
    let ours: BTreeSet<u32> = free.iter().map(Frame::chunk).collect();
    let (mut batch, mut received) = (Vec::new(), Vec::new());
    let (mut next, mut echoed) = (0_u32, 0_u32);
    while echoed < count {
        while next < count
            && let Some(mut frame) = free.pop()
        {
            queue.umem().data_mut(&mut frame)[..4].copy_from_slice(&next.to_be_bytes());
            batch.push(frame);
            next += 1;
        }
        queue.transmit(&mut batch);
        // What is sent comes back as received packets on the same socket.
        for packet in kernel.transmitted_at_most(3) {
            assert_eq!(packet.len(), 60 + usize::from(packet[59]));
            assert!(kernel.deliver(&packet, &[]), "a chunk to receive into");
        }
        queue.reclaim(&mut free);
        queue.receive(&mut received, 8);
        for frame in received.drain(..) {
            assert!(!ours.contains(&frame.chunk()));
            let number = queue.umem().data(&frame)[..4].try_into().unwrap();
            assert_eq!(u32::from_be_bytes(number), echoed);
            echoed += 1;
            queue.umem_mut().release(frame);
        }
        queue.refill();
        assert!(queue.audit().unwrap().is_conserved());
    }
    queue.reclaim(&mut free);
    assert_eq!(free.iter().map(Frame::chunk).collect::<BTreeSet<_>>(), ours);
    assert_eq!(queue.audit().unwrap().held, 4);
    assert_eq!(queue.rejected(), Rejected::default());
}

#[test]
fn what_is_completed_goes_to_whoever_asks_first() {
    let (mut queue, mut kernel) = pair(umem(12), SIZES, 0);
    let pool = queue.census().pool;
    let mut frames = templates(&mut queue, 4);
    queue.transmit(&mut frames);
    kernel.transmitted_at_most(1);
    assert_eq!(queue.complete(), 1);
    kernel.transmitted_at_most(2);
    assert_eq!(queue.reclaim(&mut frames), 2);
    kernel.transmitted();
    assert_eq!(queue.complete(), 1);
    let census = queue.audit().unwrap();
    assert_eq!((census.pool, census.held), (pool - 2, 2));
    assert_eq!(queue.umem().data(&frames[0]), [2; 62]);
    assert_eq!(queue.umem().data(&frames[1]), [3; 63]);
}

#[test]
fn nothing_is_reclaimed_while_another_umem_is_in_place() {
    let (mut queue, mut kernel) = pair(umem(12), SIZES, 0);
    let mut frames = templates(&mut queue, 1);
    queue.transmit(&mut frames);
    kernel.transmitted();
    let mut other = umem(12);
    std::mem::swap(queue.umem_mut(), &mut other);
    assert_eq!(queue.reclaim(&mut frames), 0);
    std::mem::swap(queue.umem_mut(), &mut other);
    assert_eq!(queue.reclaim(&mut frames), 1);
}
