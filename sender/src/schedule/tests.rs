//! The schedule with a clock that jumps about as it likes.

use std::iter;

use super::*;
use proptest::prelude::*;

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn pace(rate: f64) -> Pace {
    Pace::from_rate(rate).unwrap()
}

fn burst(packets: u32) -> NonZeroU32 {
    NonZeroU32::new(packets).unwrap()
}

/// This many packets, and no place more than that.
fn slots_only(slots: u64) -> Limit {
    Limit {
        slots,
        ..Limit::packets(slots)
    }
}

/// One packet per millisecond.
fn schedule(limit: Limit) -> Schedule {
    Schedule::new(Times::periodic(pace(1000.0)), NonZeroU32::MIN, limit)
}

/// What leaves now, one packet at a time, and what comes after that.
fn taken(schedule: &mut Schedule, elapsed: Duration) -> (Vec<Duration>, Step) {
    let mut slots = Vec::new();
    loop {
        match schedule.take(elapsed, 1, &mut slots) {
            Step::Send => {}
            Step::WaitUntil(due) if due <= elapsed => {}
            step => return (slots, step),
        }
    }
}

/// Asserts that these packets, by their intended times in microseconds, leave now and no more.
#[track_caller]
fn assert_sends(schedule: &mut Schedule, elapsed: Duration, expected: &[u64]) {
    let expected: Vec<_> = expected.iter().copied().map(micros).collect();
    assert_eq!(taken(schedule, elapsed).0, expected);
}

#[test]
fn sends_each_slot_at_its_time() {
    let mut schedule = schedule(slots_only(3));
    let (slots, step) = taken(&mut schedule, micros(0));
    assert_eq!(
        (slots, step),
        (vec![micros(0)], Step::WaitUntil(micros(1000)))
    );
    for due in [1000, 2000] {
        let early = taken(&mut schedule, micros(due - 1));
        assert_eq!(early, (vec![], Step::WaitUntil(micros(due))));
        assert_sends(&mut schedule, micros(due), &[due]);
    }
    assert_eq!(taken(&mut schedule, micros(2000)), (vec![], Step::Done));
    assert_eq!(schedule.skipped(), 0);
}

#[test]
fn a_slot_one_interval_late_is_still_sent() {
    let mut schedule = schedule(slots_only(5));
    assert_sends(&mut schedule, micros(1000), &[0, 1000]);
    assert_eq!(schedule.skipped(), 0);
}

#[test]
fn a_slot_later_than_one_interval_is_skipped() {
    let mut schedule = schedule(slots_only(5));
    assert_sends(&mut schedule, micros(1001), &[1000]);
    assert_eq!(schedule.skipped(), 1);
}

#[test]
fn a_long_pause_is_not_made_up_for() {
    let mut schedule = schedule(slots_only(100));
    assert_sends(&mut schedule, micros(0), &[0]);
    let (slots, step) = taken(&mut schedule, micros(50_500));
    assert_eq!(
        slots,
        [micros(50_000)],
        "slot 50 is 0.5 ms late; 1 to 49 are gone"
    );
    assert_eq!(step, Step::WaitUntil(micros(51_000)));
    assert_eq!(schedule.skipped(), 49);
}

#[test]
fn a_pause_past_the_end_skips_the_rest() {
    let mut schedule = schedule(slots_only(10));
    assert_sends(&mut schedule, micros(0), &[0]);
    assert_eq!(
        taken(&mut schedule, Duration::from_secs(60)),
        (vec![], Step::Done)
    );
    assert_eq!((schedule.skipped(), schedule.left()), (9, 0));
}

#[test]
fn a_count_of_packets_is_sent_in_full_and_later() {
    let mut schedule = schedule(Limit::packets(10));
    assert_sends(&mut schedule, micros(0), &[0]);
    assert_sends(&mut schedule, micros(5_500), &[5_000]);
    assert_eq!((schedule.skipped(), schedule.left()), (4, 8));
    for slot in 6..14 {
        assert_sends(&mut schedule, micros(1000 * slot), &[1000 * slot]);
    }
    for later in [micros(14_000), Duration::from_secs(60)] {
        assert_eq!(taken(&mut schedule, later), (vec![], Step::Done));
    }
    assert_eq!((schedule.skipped(), schedule.left()), (4, 0));
}

#[test]
fn a_duration_is_exceeded_by_a_tenth_at_most() {
    let times = Times::periodic(pace(1000.0));
    let limit = Limit::duration(&times, Duration::from_millis(20));
    assert_eq!((limit.packets, limit.slots), (20, 22));
    let mut schedule = schedule(limit);
    assert_sends(&mut schedule, micros(0), &[0]);
    assert_sends(&mut schedule, micros(4_500), &[4_000]);
    assert_eq!((schedule.skipped(), schedule.left()), (3, 17));
    for slot in 5..22 {
        assert_sends(&mut schedule, micros(1000 * slot), &[1000 * slot]);
    }
    assert_eq!(taken(&mut schedule, micros(22_000)), (vec![], Step::Done));
    assert_eq!((schedule.skipped(), schedule.left()), (3, 0));
}

#[test]
fn high_rates_tolerate_the_floor() {
    let times = Times::periodic(pace(100_000.0));
    let mut schedule = Schedule::new(times, NonZeroU32::MIN, slots_only(1000));
    let (slots, _) = taken(&mut schedule, TOLERANCE_FLOOR);
    assert_eq!((slots.len(), slots[0]), (21, micros(0)));
    let (slots, _) = taken(&mut schedule, TOLERANCE_FLOOR * 2 + micros(11));
    assert_eq!((slots.len(), slots[0]), (20, micros(220)));
    assert_eq!(schedule.skipped(), 1);
}

#[test]
fn hands_out_no_more_than_asked_for() {
    let times = Times::periodic(pace(100_000.0));
    let mut schedule = Schedule::new(times, burst(4), Limit::packets(100));
    let mut slots = Vec::new();
    for expected in [3, 6, 9, 12] {
        assert_eq!(schedule.take(micros(80), 3, &mut slots), Step::Send);
        assert_eq!(slots.len(), expected);
    }
    assert_eq!(
        schedule.take(micros(80), 3, &mut slots),
        Step::WaitUntil(micros(120))
    );
    let expected = [0, 40, 80].map(|due| [micros(due); 4]);
    assert_eq!(slots, expected.concat());
}

#[test]
fn a_burst_is_due_together_and_the_rate_is_that_of_the_packets() {
    let times = Times::periodic(pace(1000.0));
    let mut schedule = Schedule::new(times, burst(5), Limit::packets(12));
    assert_sends(&mut schedule, micros(0), &[0; 5]);
    assert_sends(&mut schedule, micros(4_999), &[]);
    assert_sends(&mut schedule, micros(5_000), &[5_000; 5]);
    let (slots, step) = taken(&mut schedule, micros(10_000));
    assert_eq!(slots, [micros(10_000); 2], "what is left of 12");
    assert_eq!(step, Step::Done);
}

#[test]
fn bursts_are_skipped_whole() {
    let times = Times::periodic(pace(1000.0));
    let mut schedule = Schedule::new(times, burst(5), Limit::packets(12));
    assert_sends(&mut schedule, micros(0), &[0; 5]);
    assert_sends(&mut schedule, micros(20_001), &[20_000; 5]);
    assert_eq!((schedule.skipped(), schedule.left()), (15, 2));
    // The last two have missed three slots by then.
    assert_sends(&mut schedule, micros(41_000), &[40_000; 2]);
    assert_eq!((schedule.skipped(), schedule.left()), (21, 0));
}

#[test]
fn the_rest_of_a_burst_begun_too_long_ago_is_skipped() {
    let times = Times::periodic(pace(1000.0));
    let mut schedule = Schedule::new(times, burst(5), slots_only(10));
    let mut slots = Vec::new();
    assert_eq!(schedule.take(micros(0), 2, &mut slots), Step::Send);
    assert_sends(&mut schedule, micros(5_001), &[5_000; 5]);
    assert_eq!((schedule.skipped(), schedule.left()), (3, 0));
}

#[test]
fn an_offset_delays_every_slot() {
    let times = Times::Periodic {
        pace: pace(1000.0),
        offset: micros(300),
    };
    let mut schedule = Schedule::new(times, NonZeroU32::MIN, Limit::packets(4));
    assert_eq!(
        taken(&mut schedule, micros(0)),
        (vec![], Step::WaitUntil(micros(300)))
    );
    assert_sends(&mut schedule, micros(300), &[300]);
    assert_sends(&mut schedule, micros(3_500), &[3_300]);
    assert_eq!(schedule.skipped(), 2);
}

#[test]
fn as_fast_as_it_goes_is_due_at_any_time() {
    let mut schedule = Schedule::new(Times::Max, burst(2), Limit::packets(1000));
    assert_eq!(schedule.interval(), None);
    let mut slots = Vec::new();
    for elapsed in [0, 1, 1_000_000_000] {
        slots.clear();
        assert_eq!(schedule.take(micros(elapsed), 300, &mut slots), Step::Send);
        assert_eq!(slots, vec![micros(elapsed); 300]);
    }
    slots.clear();
    assert_eq!(schedule.take(micros(2), 300, &mut slots), Step::Send);
    assert_eq!(slots.len(), 100);
    assert_eq!(schedule.take(micros(2), 300, &mut slots), Step::Done);
    assert_eq!((schedule.skipped(), schedule.left()), (0, 0));
}

#[test]
fn as_fast_as_it_goes_ends_with_its_duration() {
    let limit = Limit::duration(&Times::Max, micros(10));
    let mut schedule = Schedule::new(Times::Max, NonZeroU32::MIN, limit);
    let mut slots = Vec::new();
    assert_eq!(schedule.take(micros(9), 64, &mut slots), Step::Send);
    assert_eq!((slots.len(), schedule.left()), (64, 0));
    assert_eq!(schedule.take(micros(10), 64, &mut slots), Step::Done);
}

#[test]
fn a_random_schedule_ends_with_its_duration() {
    let seconds = Duration::from_secs;
    let times = Times::Poisson {
        pace: pace(1000.0),
        seed: Seed::new(7),
    };
    let limit = Limit::duration(&times, seconds(10));
    let mut schedule = Schedule::new(times, NonZeroU32::MIN, limit);
    let mut sent = 0;
    for millis in 0..10_000 {
        let (slots, step) = taken(&mut schedule, Duration::from_millis(millis));
        assert!(slots.iter().all(|&slot| slot < seconds(10)));
        // It is known a gap earlier that nothing will come: nine mean gaps, hardly ever.
        assert!(step != Step::Done || millis > 9_990);
        sent += slots.len();
        if millis == 5_000 {
            assert!(schedule.left().abs_diff(5_000) < 10, "{}", schedule.left());
        }
    }
    let (slots, step) = taken(&mut schedule, seconds(10));
    assert_eq!((step, schedule.left()), (Step::Done, 0));
    sent += slots.len();
    // Four standard deviations of a Poisson number.
    assert!(sent.abs_diff(10_000) < 400, "{sent}");
}

#[test]
fn a_very_long_pause_is_skipped_in_bounded_pieces() {
    let times = Times::Owamp {
        pace: pace(1_000_000.0),
        sid: Seed::new(7),
    };
    let mut schedule = Schedule::new(times, NonZeroU32::MIN, Limit::packets(10));
    let mut slots = Vec::new();
    let resumed = Duration::from_secs(1);
    let mut calls = 0;
    let first = loop {
        match schedule.take(resumed, 1, &mut slots) {
            Step::Send => break slots[0],
            Step::WaitUntil(due) => assert!(due < resumed && slots.is_empty()),
            Step::Done => panic!("ten packets were asked for"),
        }
        calls += 1;
        assert!(schedule.skipped() <= calls * u64::from(SKIPPED_PER_CALL));
    };
    assert!(calls >= 3);
    assert!(first + TOLERANCE_FLOOR >= resumed);
    assert_eq!(schedule.left(), 9);
}

/// Every kind of process at this rate.
fn any_times(rate: f64) -> impl Strategy<Value = Times> {
    let pace = pace(rate);
    prop_oneof![
        (0u64..1_000_000).prop_map(move |offset| Times::Periodic {
            pace,
            offset: Duration::from_nanos(offset)
        }),
        any::<u128>().prop_map(move |seed| Times::Poisson {
            pace,
            seed: Seed::new(seed)
        }),
        any::<u128>().prop_map(move |seed| Times::Owamp {
            pace,
            sid: Seed::new(seed)
        }),
    ]
}

/// The slots of a process when nothing is ever late, one packet per slot.
fn all_slots(times: Times, size: NonZeroU32) -> impl Iterator<Item = Duration> {
    let mut schedule = Schedule::new(times, size, Limit::packets(u64::MAX));
    let mut now = Duration::ZERO;
    iter::from_fn(move || {
        let mut slot = Vec::new();
        while schedule.take(now, size.get() as usize, &mut slot) != Step::Send {
            if let Step::WaitUntil(due) = schedule.take(now, size.get() as usize, &mut slot) {
                now = due;
            }
        }
        Some(slot[0])
    })
}

proptest! {
    /// However the clock jumps about, each packet is sent once or skipped once, in order, at a time
    /// of the process, never early and never beyond the tolerance.
    #[test]
    fn every_packet_is_sent_once_or_skipped_once(
        times in (1.0f64..2_000_000.0).prop_flat_map(any_times),
        size in prop_oneof![Just(1u32), 1u32..50],
        max in prop_oneof![Just(1usize), 1usize..200],
        packets in 0u64..200,
        extra in prop_oneof![Just(0u64), 0u64..400, Just(1 << 40)],
        pauses in prop::collection::vec(0u64..2_000_000, 1..400),
    ) {
        let limit = Limit { slots: packets + extra, ..Limit::packets(packets) };
        let mut schedule = Schedule::new(times, burst(size), limit);
        let pace = times.pace().unwrap();
        let tolerance = pace.due(size.into()).max(TOLERANCE_FLOOR);
        let mut elapsed = Duration::ZERO;
        let mut sent = Vec::new();
        // Then at the pace of the bursts, so that some packets are sent whatever the rate.
        let endless = iter::repeat(nanos(pace.due(size.into())));
        let mut accounted = 0;
        for pause in pauses.into_iter().chain(endless) {
            elapsed += Duration::from_nanos(pause);
            let mut step;
            loop {
                let before = sent.len();
                step = schedule.take(elapsed, max, &mut sent);
                let handed_out = &sent[before..];
                prop_assert!(handed_out.len() <= max);
                prop_assert_eq!(handed_out.is_empty(), step != Step::Send);
                for &due in handed_out {
                    prop_assert!(due <= elapsed, "early");
                    prop_assert!(elapsed <= due + tolerance, "late");
                }
                prop_assert!(sent.len() as u64 + schedule.skipped() >= accounted);
                accounted = sent.len() as u64 + schedule.skipped();
                if step != Step::Send {
                    break;
                }
            }
            if let Step::WaitUntil(due) = step {
                prop_assert!(due > elapsed);
                prop_assert!(accounted + schedule.left() <= packets + extra);
            } else {
                break;
            }
        }
        prop_assert_eq!(schedule.left(), 0);
        let count = sent.len() as u64;
        prop_assert!(count <= packets);
        prop_assert!(count == packets || count + schedule.skipped() == packets + extra);
        // Each packet belongs to a slot of the process, and none has more than its burst.
        let mut process = all_slots(times, burst(size));
        for slot in sent.chunk_by(|a, b| a == b) {
            prop_assert!(process.any(|due| due == slot[0]), "{:?} is no slot", slot[0]);
            // Random slots may fall on the same nanosecond.
            let periodic = matches!(times, Times::Periodic { .. });
            prop_assert!(slot.len() <= size as usize || !periodic);
        }
    }

    /// In time, all packets are sent when they are due, whatever the batches.
    #[test]
    fn nothing_is_skipped_when_nothing_is_late(
        times in (1.0f64..2_000_000.0).prop_flat_map(any_times),
        size in 1u32..50,
        max in 1usize..100,
        packets in 1u64..1000,
    ) {
        let mut schedule = Schedule::new(times, burst(size), Limit::packets(packets));
        let mut sent = Vec::new();
        let mut now = Duration::ZERO;
        loop {
            match schedule.take(now, max, &mut sent) {
                Step::Send => prop_assert_eq!(sent.last(), Some(&now)),
                Step::WaitUntil(due) => {
                    prop_assert!(due > now);
                    now = due;
                }
                Step::Done => break,
            }
        }
        prop_assert_eq!((sent.len() as u64, schedule.skipped()), (packets, 0));
        let places = all_slots(times, burst(size)).flat_map(|due| iter::repeat_n(due, size as usize));
        prop_assert!(sent.iter().copied().eq(places.take(sent.len())));
    }
}
