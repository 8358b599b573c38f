//! The loop: batches, rings that are full, wake-ups.

use testbed::Datagram;
use wire::twamp::Reply;
use xsk::RingSizes;

use crate::oracle::{assert_answers, may_be_answered};
use crate::rig::{Bench, FRAMES, good_frames, meta_of, payload, v4};

#[test]
fn good_frames_are_answered_with_and_without_metadata() {
    let mut bench = Bench::new(u32::MAX - 100);
    for frame in good_frames() {
        let meta = meta_of(&frame).unwrap().to_bytes();
        for meta in [&meta[..], &[]] {
            let reply = bench.exchange(&frame, meta);
            assert_eq!(reply.is_some(), may_be_answered(&frame));
            if let Some(reply) = reply {
                assert_answers(&reply, &frame);
            }
        }
    }
    assert!(bench.counters.user_space_stamps.value() > 0);
}

#[test]
fn metadata_of_an_earlier_packet_is_not_believed() {
    let mut bench = Bench::new(0);
    let frame = v4().payload(&payload(44)).build();
    let meta = meta_of(&frame).unwrap().to_bytes();
    // Every chunk has carried metadata once.
    for _ in 0..FRAMES {
        bench.exchange(&frame, &meta).unwrap();
    }
    let stamped = bench.counters.user_space_stamps.value();
    for count in 1..=u64::from(FRAMES) {
        bench.exchange(&frame, &[]).unwrap();
        assert_eq!(bench.counters.user_space_stamps.value(), stamped + count);
    }
}

#[test]
fn one_stamp_serves_a_sub_batch_and_no_more() {
    let mut bench = Bench::new(0);
    let frame = v4().payload(&payload(44)).build();
    let meta = meta_of(&frame).unwrap().to_bytes();
    for _ in 0..20 {
        assert!(bench.kernel.deliver(&frame, &meta));
    }
    assert_eq!(bench.worker.turn().sent, 20);
    let stamps: Vec<[u8; 8]> = bench
        .kernel
        .transmitted()
        .iter()
        .map(|reply| {
            Reply::parse(&Datagram::parse(reply).unwrap().payload)
                .unwrap()
                .timestamp()
        })
        .collect();
    let runs: Vec<usize> = stamps.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    assert_eq!(runs, [8, 8, 4]);
    assert!(stamps.is_sorted());
}

#[test]
fn a_stuck_transmit_ring_holds_packets_back_and_loses_none() {
    // Room for 16 replies; the kernel takes none.
    let mut bench = Bench::with_rings(
        RingSizes {
            rx: 64,
            tx: 16,
            fill: 64,
            completion: 64,
        },
        u32::MAX - 7,
    );
    let frame = v4().payload(&payload(14)).build();
    let meta = meta_of(&frame).unwrap().to_bytes();
    let mut delivered = 0_u64;
    for _ in 0..8 {
        while bench.kernel.deliver(&frame, &meta) {
            delivered += 1;
        }
        bench.worker.turn();
    }
    assert!(bench.worker.is_backed_up());
    assert_eq!(bench.counters.reflected.value(), 16);
    assert_eq!(
        bench.counters.received.value(),
        16,
        "no more than there is room for the replies of"
    );
    bench.assert_conserved();

    // The kernel wakes up: everything delivered is answered, in time order.
    let mut sent = 0;
    while sent < delivered {
        sent += bench.kernel.transmitted().len() as u64;
        bench.worker.turn();
    }
    assert_eq!(sent, delivered);
    assert!(!bench.worker.is_backed_up());
    bench.assert_conserved();
}

#[test]
fn a_kernel_that_says_again_is_kicked_again() {
    let mut bench = Bench::new(0);
    let frame = v4().payload(&payload(44)).build();
    let doorbell = bench.kernel.doorbell();
    doorbell.answer_retry();
    bench.kernel.deliver(&frame, &[]);
    bench.worker.turn();
    assert!(
        bench.worker.is_backed_up(),
        "the reply still waits in the ring"
    );
    let kicks = doorbell.tx_count();
    bench.worker.turn();
    assert_eq!(doorbell.tx_count(), kicks + 1);

    doorbell.answer_done();
    assert_eq!(bench.kernel.transmitted().len(), 1);
    bench.worker.turn();
    assert!(!bench.worker.is_backed_up());
    // Asked while the link was down: counted, survived.
    doorbell.answer_error(100);
    bench.kernel.deliver(&frame, &[]);
    bench.worker.turn();
    assert_eq!(bench.counters.kick_errors.value(), 1);
    assert!(
        !bench.worker.is_backed_up(),
        "no use in spinning until the link is up"
    );
}
