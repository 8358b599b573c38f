//! Packet memory: what a frame opens, and what it does not.

#![expect(clippy::unwrap_used, reason = "tests")]

use xsk::{Error, Frame, TooLong, Umem, UmemConfig};

const HEADROOM: u32 = 64;

fn umem(frames: u32) -> Umem {
    let config = UmemConfig {
        frames,
        headroom: HEADROOM,
        ..UmemConfig::default()
    };
    Umem::allocate(&config).unwrap()
}

#[test]
fn a_taken_frame_is_empty_and_has_the_kernels_headroom() {
    let mut umem = umem(2);
    let frame = umem.take().unwrap();
    assert!(frame.is_empty() && umem.data(&frame).is_empty());
    assert_eq!(umem.max_len(&frame), 2048 - 256 - 64);
    assert_eq!(umem.metadata(&frame, 256 + 64).map(<[u8]>::len), Some(320));
    assert_eq!(umem.metadata(&frame, 256 + 65), None);
    assert_eq!(umem.metadata(&frame, usize::MAX), None);
}

#[test]
fn frames_do_not_overlap() {
    let mut umem = umem(3);
    let mut frames: Vec<Frame> = std::iter::from_fn(|| umem.take()).collect();
    assert_eq!(frames.len(), 3);
    for (frame, value) in frames.iter_mut().zip(1..) {
        let max = umem.max_len(frame);
        umem.set_len(frame, max).unwrap();
        umem.data_mut(frame).fill(value);
        umem.metadata_mut(frame, 320).unwrap().fill(value + 100);
    }
    for (frame, value) in frames.iter().zip(1..) {
        assert!(umem.data(frame).iter().all(|&octet| octet == value));
        assert!(
            umem.metadata(frame, 320)
                .unwrap()
                .iter()
                .all(|&octet| octet == value + 100)
        );
    }
}

#[test]
fn a_grown_tail_is_zero_and_a_cut_one_gone() {
    let mut umem = umem(1);
    let mut frame = umem.take().unwrap();
    umem.set_len(&mut frame, 41).unwrap();
    umem.data_mut(&mut frame).fill(0xaa);
    umem.set_len(&mut frame, 14).unwrap();
    assert_eq!(frame.len(), 14);
    umem.set_len(&mut frame, 41).unwrap();
    assert_eq!(umem.data(&frame)[..14], [0xaa; 14]);
    assert_eq!(umem.data(&frame)[14..], [0; 27]);
}

#[test]
fn a_packet_cannot_outgrow_its_chunk() {
    let mut umem = umem(1);
    let mut frame = umem.take().unwrap();
    let max = umem.max_len(&frame);
    umem.set_len(&mut frame, max).unwrap();
    for len in [max + 1, usize::MAX] {
        assert_eq!(umem.set_len(&mut frame, len), Err(TooLong { len, max }));
    }
    assert_eq!(frame.len(), max);
    assert_eq!(umem.data(&frame).len(), max);
}

#[test]
fn a_frame_of_another_umem_opens_nothing() {
    let (mut ours, mut theirs) = (umem(1), umem(1));
    let mut frame = theirs.take().unwrap();
    theirs.set_len(&mut frame, 60).unwrap();
    assert!(ours.data(&frame).is_empty());
    assert!(ours.data_mut(&mut frame).is_empty());
    assert_eq!(ours.metadata(&frame, 0), None);
    assert_eq!(ours.metadata_mut(&mut frame, 8), None);
    assert_eq!(
        ours.set_len(&mut frame, 10),
        Err(TooLong { len: 10, max: 0 })
    );
    ours.release(frame);
    assert_eq!(ours.audit().unwrap().pool, 1);
    assert_eq!(theirs.audit().unwrap().held, 1);
}

#[test]
fn counts_what_is_taken_released_and_lost() {
    let mut umem = umem(4);
    let kept = umem.take().unwrap();
    let returned = umem.take().unwrap();
    drop(umem.take().unwrap());
    umem.release(returned);
    let census = umem.audit().unwrap();
    assert_eq!(
        (census.pool, census.held, census.kernel, census.total),
        (2, 2, 0, 4)
    );
    assert_eq!(census, umem.census());
    umem.release(kept);
    assert_eq!(
        umem.audit().unwrap().held,
        1,
        "a dropped frame is not found again"
    );
}

#[test]
fn chunks_of_4096_hold_a_jumbo_of_that_size() {
    let config = UmemConfig {
        frames: 2,
        chunk_size: 4096,
        ..UmemConfig::default()
    };
    let mut umem = Umem::allocate(&config).unwrap();
    let mut frame = umem.take().unwrap();
    umem.set_len(&mut frame, 4096 - 256).unwrap();
    assert_eq!(umem.data(&frame).len(), 3840);
}

#[test]
fn refuses_a_shape_the_kernel_would_refuse() {
    let config = UmemConfig {
        chunk_size: 8192,
        ..UmemConfig::default()
    };
    let error = Umem::allocate(&config).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "chunk_size",
                value: 8192,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "chunk_size is 8192: it must be 2048 or 4096"
    );
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no huge pages")]
fn huge_pages_work_or_the_error_says_how_to_get_them() {
    let config = UmemConfig {
        frames: 8,
        huge_pages: true,
        ..UmemConfig::default()
    };
    match Umem::allocate(&config) {
        Ok(mut umem) => {
            let mut frame = umem.take().unwrap();
            umem.set_len(&mut frame, 1000).unwrap();
            umem.data_mut(&mut frame).fill(1);
        }
        Err(error) => assert!(error.to_string().contains("vm.nr_hugepages"), "{error}"),
    }
}
