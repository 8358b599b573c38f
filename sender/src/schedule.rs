//! Intended send times: a periodic schedule (RFC 3432) that never catches up by bursts.
//!
//! Pure arithmetic on the time elapsed since the start; the caller brings the clock. Slot `k` is
//! due at exactly `k / rate`, so rounding does not add up over a long run.

use std::time::Duration;

/// Lateness up to which a slot is still sent, however short the interval.
///
/// On a machine with few processors a thread loses its own for this long whenever another wakes
/// up there; a tolerance of one interval alone would turn each such pause into skipped slots at
/// high rates. Packets that bunch up within it are what the network sees of it.
pub const TOLERANCE_FLOOR: Duration = Duration::from_micros(200);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A rate as an exact ratio: `packets` per `nanos` nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    packets: u64,
    nanos: u64,
}

impl Pace {
    /// Resolution of a rate: millionths of a packet per second.
    const RATE_UNIT: u64 = 1_000_000;

    /// The pace of `rate` packets per second, to a millionth; `None` below that, for what is not a
    /// number, and above 10^12.
    pub fn from_rate(rate: f64) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "10^6 is exact")]
        let scaled = (rate * Self::RATE_UNIT as f64).round();
        if !(1.0..=1e18).contains(&scaled) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked against the range just above"
        )]
        let packets = scaled as u64;
        Some(Self {
            packets,
            nanos: NANOS_PER_SECOND * Self::RATE_UNIT,
        })
    }

    /// The pace of one packet per `interval`; `None` for zero and for more than 584 years.
    pub fn from_interval(interval: Duration) -> Option<Self> {
        let nanos = u64::try_from(interval.as_nanos())
            .ok()
            .filter(|&nanos| nanos > 0)?;
        Some(Self { packets: 1, nanos })
    }

    /// When slot `slot` is due, from the start.
    pub fn due(self, slot: u64) -> Duration {
        let nanos = u128::from(slot) * u128::from(self.nanos) / u128::from(self.packets);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Number of slots due before `elapsed` has passed, which is the first slot due at or after it.
    pub fn slots_before(self, elapsed: Duration) -> u64 {
        // `as_nanos` of the longest Duration times 10^18 still fits for any run below 10^11 years.
        let slots = elapsed
            .as_nanos()
            .saturating_mul(u128::from(self.packets))
            .div_ceil(u128::from(self.nanos));
        u64::try_from(slots).unwrap_or(u64::MAX)
    }

    /// Packets per second.
    #[expect(clippy::cast_precision_loss, reason = "a rate is reported as a float")]
    pub fn per_second(self) -> f64 {
        self.packets as f64 * NANOS_PER_SECOND as f64 / self.nanos as f64
    }

    /// Time between two packets, rounded down to a nanosecond.
    pub fn interval(self) -> Duration {
        self.due(1)
    }
}

/// When a run is over: when its packets are sent, or its slots used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Packets to send. A slot skipped is replaced by one more at the end, so the run takes
    /// longer and the packets keep their distance.
    pub packets: u64,
    /// Slots at most, skipped or not.
    pub slots: u64,
}

impl Limit {
    /// This many packets, however long it takes.
    pub fn packets(packets: u64) -> Self {
        Self {
            packets,
            slots: u64::MAX,
        }
    }

    /// As many packets as there are slots in `duration`. What this machine fails to send in time
    /// it may send in a tenth of the duration more; what is missing then stays so.
    pub fn duration(pace: Pace, duration: Duration) -> Self {
        let packets = pace.slots_before(duration);
        Self {
            packets,
            slots: packets.saturating_add(packets / 10),
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next slot is due this long after the start.
    WaitUntil(Duration),
    /// Send the packet of this slot.
    Send {
        /// Its number, from 0.
        slot: u64,
    },
    /// There are no slots left.
    Done,
}

/// The slots of a run, handed out one by one.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    /// The first slot that is not part of the run, so far.
    end: u64,
    /// How far skipped slots may move it.
    end_max: u64,
    next: u64,
    skipped: u64,
    tolerance: Duration,
}

impl Schedule {
    /// A schedule that runs up to `limit`. A slot more than one interval late, and more than
    /// [`TOLERANCE_FLOOR`], is skipped.
    pub fn new(pace: Pace, limit: Limit) -> Self {
        let tolerance = pace.interval().max(TOLERANCE_FLOOR);
        Self {
            pace,
            end: limit.packets.min(limit.slots),
            end_max: limit.slots,
            next: 0,
            skipped: 0,
            tolerance,
        }
    }

    /// What to do `elapsed` after the start. A slot answered with [`Step::Send`] is used up.
    pub fn step(&mut self, elapsed: Duration) -> Step {
        self.skip_before(elapsed.saturating_sub(self.tolerance));
        if self.next >= self.end {
            return Step::Done;
        }
        let due = self.pace.due(self.next);
        if elapsed < due {
            return Step::WaitUntil(due);
        }
        let slot = self.next;
        self.next += 1;
        Step::Send { slot }
    }

    /// Passes over the slots that were due before `limit`.
    fn skip_before(&mut self, limit: Duration) {
        if self.next >= self.end || self.pace.due(self.next) >= limit {
            return;
        }
        let resume = self.pace.slots_before(limit).min(self.end_max);
        let skipped = resume.saturating_sub(self.next);
        self.skipped += skipped;
        self.next += skipped;
        self.end = self.end.saturating_add(skipped).min(self.end_max);
    }

    /// Number of slots passed over because their time had passed.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Number of slots neither handed out nor skipped so far.
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// This many packets, and no slot more than that.
    fn slots_only(slots: u64) -> Limit {
        Limit {
            packets: slots,
            slots,
        }
    }

    /// One packet per millisecond.
    fn schedule(slots: u64) -> Schedule {
        Schedule::new(Pace::from_rate(1000.0).unwrap(), slots_only(slots))
    }

    #[test]
    fn sends_each_slot_at_its_time() {
        let mut schedule = schedule(3);
        assert_eq!(schedule.step(micros(0)), Step::Send { slot: 0 });
        for slot in 1..3 {
            let due = 1000 * slot;
            let early = schedule.step(micros(due - 1));
            assert_eq!(early, Step::WaitUntil(micros(due)));
            assert_eq!(schedule.step(micros(due)), Step::Send { slot });
        }
        assert_eq!(schedule.step(micros(2000)), Step::Done);
        assert_eq!(schedule.skipped(), 0);
    }

    #[test]
    fn a_slot_one_interval_late_is_still_sent() {
        let mut schedule = schedule(5);
        assert_eq!(schedule.step(micros(1000)), Step::Send { slot: 0 });
        assert_eq!(schedule.skipped(), 0);
    }

    #[test]
    fn a_slot_later_than_one_interval_is_skipped() {
        let mut schedule = schedule(5);
        assert_eq!(schedule.step(micros(1001)), Step::Send { slot: 1 });
        assert_eq!(schedule.skipped(), 1);
    }

    #[test]
    fn a_long_pause_is_not_made_up_for() {
        let mut schedule = schedule(100);
        assert_eq!(schedule.step(micros(0)), Step::Send { slot: 0 });
        let mut sent = Vec::new();
        let now = micros(50_500);
        while let Step::Send { slot } = schedule.step(now) {
            sent.push(slot);
        }
        assert_eq!(sent, [50], "slot 50 is 0.5 ms late; 1 to 49 are gone");
        assert_eq!(schedule.skipped(), 49);
        assert_eq!(schedule.step(now), Step::WaitUntil(micros(51_000)));
    }

    #[test]
    fn a_pause_past_the_end_skips_the_rest() {
        let mut schedule = schedule(10);
        assert_eq!(schedule.step(micros(0)), Step::Send { slot: 0 });
        assert_eq!(schedule.step(Duration::from_secs(60)), Step::Done);
        assert_eq!((schedule.skipped(), schedule.left()), (9, 0));
    }

    #[test]
    fn a_count_of_packets_is_sent_in_full_and_later() {
        let pace = Pace::from_rate(1000.0).unwrap();
        let mut schedule = Schedule::new(pace, Limit::packets(10));
        assert_eq!(schedule.step(micros(0)), Step::Send { slot: 0 });
        assert_eq!(schedule.step(micros(5_500)), Step::Send { slot: 5 });
        assert_eq!((schedule.skipped(), schedule.left()), (4, 8));
        for slot in 6..14 {
            assert_eq!(schedule.step(micros(1000 * slot)), Step::Send { slot });
        }
        assert_eq!(schedule.step(micros(14_000)), Step::Done);
        assert_eq!(schedule.step(Duration::from_secs(60)), Step::Done);
        assert_eq!((schedule.skipped(), schedule.left()), (4, 0));
    }

    #[test]
    fn a_duration_is_exceeded_by_a_tenth_at_most() {
        let pace = Pace::from_rate(1000.0).unwrap();
        let limit = Limit::duration(pace, Duration::from_millis(20));
        assert_eq!(
            limit,
            Limit {
                packets: 20,
                slots: 22
            }
        );
        let mut schedule = Schedule::new(pace, limit);
        assert_eq!(schedule.step(micros(0)), Step::Send { slot: 0 });
        assert_eq!(schedule.step(micros(4_500)), Step::Send { slot: 4 });
        assert_eq!((schedule.skipped(), schedule.left()), (3, 17));
        for slot in 5..22 {
            assert_eq!(schedule.step(micros(1000 * slot)), Step::Send { slot });
        }
        assert_eq!(schedule.step(micros(22_000)), Step::Done);
        assert_eq!((schedule.skipped(), schedule.left()), (3, 0));
    }

    #[test]
    fn high_rates_tolerate_the_floor() {
        let mut schedule = Schedule::new(Pace::from_rate(100_000.0).unwrap(), slots_only(1000));
        assert_eq!(schedule.step(TOLERANCE_FLOOR), Step::Send { slot: 0 });
        assert_eq!(
            schedule.step(TOLERANCE_FLOOR + micros(11)),
            Step::Send { slot: 2 }
        );
        assert_eq!(schedule.skipped(), 1);
    }

    #[test]
    fn durations_hold_the_slots_an_engineer_expects() {
        let slots = |rate, seconds| {
            Pace::from_rate(rate)
                .unwrap()
                .slots_before(Duration::from_secs_f64(seconds))
        };
        assert_eq!(slots(10_000.0, 5.0), 50_000);
        assert_eq!(slots(3.0, 5.0), 15);
        assert_eq!(slots(0.1, 30.0), 3);
        assert_eq!(slots(10.0, 0.05), 1);
        assert_eq!(slots(10.0, 0.1), 1);
        assert_eq!(slots(10.0, 0.11), 2);
        let interval = Pace::from_interval(Duration::from_millis(10)).unwrap();
        assert_eq!(interval.slots_before(Duration::from_secs(1)), 100);
    }

    #[test]
    fn rounding_does_not_add_up() {
        let pace = Pace::from_rate(3.0).unwrap();
        assert_eq!(pace.due(3_000_000_000), Duration::from_secs(1_000_000_000));
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for rate in [0.0, -1.0, 1e-7, f64::NAN, f64::INFINITY, 1e13] {
            assert_eq!(Pace::from_rate(rate), None, "{rate}");
        }
        assert_eq!(Pace::from_interval(Duration::ZERO), None);
        assert_eq!(Pace::from_interval(Duration::MAX), None);
    }

    #[test]
    fn gives_the_rate_back() {
        assert!((Pace::from_rate(0.5).unwrap().per_second() - 0.5).abs() < 1e-12);
        let interval = Pace::from_interval(Duration::from_millis(20)).unwrap();
        assert!((interval.per_second() - 50.0).abs() < 1e-12);
        assert_eq!(interval.interval(), Duration::from_millis(20));
    }

    proptest! {
        /// However the clock jumps about, each slot is sent once or skipped once, in order, never
        /// early and never beyond the tolerance.
        #[test]
        fn every_slot_is_sent_once_or_skipped_once(
            rate in 1.0f64..2_000_000.0,
            packets in 0u64..200,
            extra in prop_oneof![Just(0u64), 0u64..400, Just(1 << 40)],
            pauses in prop::collection::vec(0u64..2_000_000, 1..400),
        ) {
            let pace = Pace::from_rate(rate).unwrap();
            let limit = Limit { packets, slots: packets + extra };
            let mut schedule = Schedule::new(pace, limit);
            let tolerance = pace.interval().max(TOLERANCE_FLOOR);
            let mut elapsed = Duration::ZERO;
            let mut sent = 0u64;
            let mut next = 0u64;
            let endless = std::iter::repeat(1_000_000_000);
            for pause in pauses.into_iter().chain(endless) {
                elapsed += Duration::from_nanos(pause);
                let mut step = schedule.step(elapsed);
                while let Step::Send { slot } = step {
                    prop_assert!(slot >= next);
                    prop_assert!(pace.due(slot) <= elapsed);
                    prop_assert!(elapsed <= pace.due(slot) + tolerance);
                    next = slot + 1;
                    sent += 1;
                    step = schedule.step(elapsed);
                }
                if step == Step::Done {
                    break;
                }
            }
            prop_assert_eq!(schedule.left(), 0);
            prop_assert!(sent <= packets);
            prop_assert!(sent == packets || sent + schedule.skipped() == packets + extra);
        }
    }
}
