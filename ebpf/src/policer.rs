//! Policers: how much per second is let through, and how much at once.
//!
//! The generic cell rate algorithm, as `policer.h` does it in the kernel: all state of a bucket is one
//! number, the time at which it will be empty again. A packet is let through while that is at most the
//! burst ahead, and then moves it by its own cost. So a bucket admits what its rate allows plus one burst,
//! and a packet that finds it idle is never too long for it. A burst shorter than a packet's own time admits
//! packets that are at least that far apart; to use a rate up, it should have room for some.
//!
//! Times are counted in 1/256 ns modulo 2^64, which is 2.28 years. A bucket that ends more than 18
//! minutes ahead, which no admitted packet brings about, lies in the past; one that ends at 0 was never
//! charged, and is empty at all times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// `TICKS_PER_NS` of `policer.h`: what a nanosecond is divided into.
const TICKS_PER_NS: u64 = 256;
/// `OCTET_SHIFT` of `policer.h`: the cost of an octet is counted in 2^-17 ticks.
const OCTET_SHIFT: u32 = 17;
/// `DEBT_MAX` of `policer.h`, 1100 s: the longest burst and the dearest packet together stay below.
const DEBT_MAX: u64 = 1 << 48;
/// `POLICER_TRIES` of `policer.h`.
const TRIES: u32 = 8;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Longest burst, and longest time between two packets.
pub const BURST_MAX: Duration = Duration::from_secs(500);
/// Most packets per second that can be told from any more.
pub const PACKETS_MAX: u64 = 1_000_000_000;
/// Fewest bits per second: the longest IP packet then takes 525 s.
pub const BITS_MIN: u64 = 1_000;
/// Most bits per second.
pub const BITS_MAX: u64 = 1_000_000_000_000;

/// A limit that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Packets per second out of range.
    #[error("a limit must be 1 to {PACKETS_MAX} packets per second")]
    Packets,
    /// Time between packets out of range.
    #[error("the time between packets must be 1 ns to 500 s")]
    Interval,
    /// Bits per second out of range.
    #[error("a limit must be {BITS_MIN} to {BITS_MAX} bits per second")]
    Bits,
    /// Burst too long.
    #[error("a burst can be 500 s at most")]
    Burst,
}

/// A limit on packets: one each so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketLimit(Limit);

/// A limit on octets of IP packet, header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitLimit(Limit);

/// `struct limit` of `shared.h`: not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Of a packet in ticks, or of an octet in 2^-17 ticks.
    pub(crate) cost: u64,
    /// The burst in ticks.
    pub(crate) burst: u64,
}

impl PacketLimit {
    /// `rate` packets per second, and what comes in `burst` at once beside the first.
    ///
    /// # Errors
    ///
    /// Not 1 to [`PACKETS_MAX`] packets, or a burst beyond [`BURST_MAX`].
    pub const fn per_second(rate: u64, burst: Duration) -> Result<Self, LimitError> {
        if rate == 0 || rate > PACKETS_MAX {
            return Err(LimitError::Packets);
        }
        let cost = (NANOS_PER_SEC * TICKS_PER_NS + rate / 2) / rate;
        Self::of_cost(cost, burst)
    }

    /// One packet each `interval`, and what comes in `burst` at once beside the first: for tests, none
    /// of which is to live to see another packet fall due.
    ///
    /// # Errors
    ///
    /// Not 1 ns to [`BURST_MAX`], or a burst beyond that.
    #[doc(hidden)]
    pub const fn every(interval: Duration, burst: Duration) -> Result<Self, LimitError> {
        match ticks(interval) {
            Some(cost) if cost > 0 => Self::of_cost(cost, burst),
            _ => Err(LimitError::Interval),
        }
    }

    const fn of_cost(cost: u64, burst: Duration) -> Result<Self, LimitError> {
        match ticks(burst) {
            Some(burst) => Ok(Self(Limit { cost, burst })),
            None => Err(LimitError::Burst),
        }
    }

    pub(crate) const fn limit(self) -> Limit {
        self.0
    }
}

impl BitLimit {
    /// `rate` bits per second, and what comes in `burst` at once beside the first packet.
    ///
    /// # Errors
    ///
    /// Not [`BITS_MIN`] to [`BITS_MAX`] bits, or a burst beyond [`BURST_MAX`].
    pub const fn per_second(rate: u64, burst: Duration) -> Result<Self, LimitError> {
        /// Of an octet at one bit per second, in 2^-17 ticks.
        const OCTET: u64 = (8 * NANOS_PER_SEC * TICKS_PER_NS) << OCTET_SHIFT;
        if rate < BITS_MIN || rate > BITS_MAX {
            return Err(LimitError::Bits);
        }
        match ticks(burst) {
            Some(burst) => Ok(Self(Limit {
                cost: (OCTET + rate / 2) / rate,
                burst,
            })),
            None => Err(LimitError::Burst),
        }
    }

    /// Of a packet, in ticks.
    const fn cost(self, octets: u32) -> u64 {
        // The longest packet at the lowest rate fits, by little.
        let fine = self.0.cost.saturating_mul(octets as u64);
        fine.saturating_add(1 << (OCTET_SHIFT - 1)) >> OCTET_SHIFT
    }

    pub(crate) const fn limit(self) -> Limit {
        self.0
    }
}

/// A duration in ticks, up to [`BURST_MAX`].
const fn ticks(duration: Duration) -> Option<u64> {
    if duration.as_nanos() > BURST_MAX.as_nanos() {
        return None;
    }
    Some((duration.as_secs() * NANOS_PER_SEC + duration.subsec_nanos() as u64) * TICKS_PER_NS)
}

/// A reading of a monotonic clock, as policers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now(u64);

impl Now {
    /// The time since any moment that is the same for all readings of a bucket.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "policers count modulo 2^64"
    )]
    pub const fn since_start(elapsed: Duration) -> Self {
        Self((elapsed.as_nanos() as u64).wrapping_mul(TICKS_PER_NS))
    }
}

/// The state of one limit: when it will be empty again. Any number of threads may charge it.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one packet, if that is within the limit; a packet refused costs nothing.
    pub fn take_packet(&self, now: Now, limit: PacketLimit) -> bool {
        self.charge(now, limit.0.cost, limit.0.burst)
    }

    /// Takes an IP packet of so many octets, if that is within the limit; a packet refused costs
    /// nothing.
    pub fn take_octets(&self, now: Now, limit: BitLimit, octets: u32) -> bool {
        self.charge(now, limit.cost(octets), limit.0.burst)
    }

    /// How far ahead the bucket ends, in ticks: `debt` of `policer.h`.
    const fn debt(end: u64, now: Now) -> u64 {
        let debt = end.wrapping_sub(now.0);
        if end == 0 || debt > DEBT_MAX { 0 } else { debt }
    }

    /// Where a bucket ends that is charged: a tick before 0, which is the end of one that never was.
    const fn end(now: Now, ahead: u64) -> u64 {
        match now.0.wrapping_add(ahead) {
            0 => u64::MAX,
            end => end,
        }
    }

    fn conforms(&self, now: Now, burst: u64) -> bool {
        Self::debt(self.0.load(Ordering::Relaxed), now) <= burst
    }

    /// `charge` of `policer.h`.
    ///
    /// Each lost race means that another packet was charged meanwhile. After so many the bucket is
    /// charged without looking again: it may exceed its burst by one packet per racing thread, which
    /// later packets pay for, but no packet is refused that found room.
    fn charge(&self, now: Now, cost: u64, burst: u64) -> bool {
        let mut end = self.0.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let debt = Self::debt(end, now);
            if debt > burst {
                return false;
            }
            let moved = Self::end(now, debt + cost);
            match self
                .0
                .compare_exchange_weak(end, moved, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(seen) => end = seen,
            }
        }
        self.0.fetch_add(cost, Ordering::Relaxed);
        true
    }
}

/// The limits of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// On packets.
    pub packets: Option<PacketLimit>,
    /// On bits of IP packets.
    pub bits: Option<BitLimit>,
}

/// The state of [`Limits`].
#[derive(Debug, Default)]
pub struct Buckets {
    packets: Bucket,
    octets: Bucket,
}

impl Buckets {
    /// Takes an IP packet of so many octets, if that is within both limits: `within_limits` of
    /// `policer.h`.
    ///
    /// What one limit refuses costs nothing of the other; only a packet that loses a race for the last
    /// octets has cost one packet.
    pub fn take(&self, now: Now, limits: &Limits, octets: u32) -> bool {
        if let Some(bits) = limits.bits
            && !self.octets.conforms(now, bits.0.burst)
        {
            return false;
        }
        limits
            .packets
            .is_none_or(|limit| self.packets.take_packet(now, limit))
            && limits
                .bits
                .is_none_or(|limit| self.octets.take_octets(now, limit, octets))
    }
}

#[cfg(test)]
mod header;

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are compared within a percent"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(nanos: u64) -> Now {
        Now::since_start(Duration::from_nanos(nanos))
    }

    #[test]
    fn an_idle_bucket_admits_its_burst_and_one_more() {
        let bucket = Bucket::default();
        let limit = PacketLimit::per_second(1000, Duration::from_millis(10)).unwrap();
        let taken = (0..100).filter(|_| bucket.take_packet(at(7), limit));
        assert_eq!(taken.count(), 11);
        assert!(!bucket.take_packet(at(999_000), limit));
        assert!(bucket.take_packet(at(1_000_007), limit));
        assert!(!bucket.take_packet(at(1_000_007), limit));
    }

    #[test]
    fn without_a_burst_packets_come_one_by_one() {
        let bucket = Bucket::default();
        let limit = PacketLimit::every(SECOND, Duration::ZERO).unwrap();
        let admitted: Vec<bool> = [
            0,
            1,
            999_999_999,
            1_000_000_000,
            2_500_000_000,
            3_400_000_000,
        ]
        .map(|nanos| bucket.take_packet(at(nanos), limit))
        .into();
        assert_eq!(admitted, [true, false, false, true, true, false]);
    }

    #[test]
    fn a_bucket_never_charged_is_empty_at_all_times() {
        let limit = PacketLimit::every(SECOND, 9 * SECOND).unwrap();
        // From just before time begins anew until after it has.
        for before in [
            DEBT_MAX,
            DEBT_MAX / 2,
            600 * NANOS_PER_SEC * TICKS_PER_NS,
            1,
            0,
        ] {
            let now = Now(before.wrapping_neg());
            let bucket = Bucket::default();
            assert!(bucket.conforms(now, 0), "{before}");
            let taken = (0..100).filter(|_| bucket.take_packet(now, limit));
            assert_eq!(taken.count(), 10, "{before}");
        }
    }

    #[test]
    fn the_longest_packet_at_the_lowest_rate_costs_what_it_should() {
        let limit = BitLimit::per_second(BITS_MIN, BURST_MAX).unwrap();
        let cost = limit.cost(40 + 65_535);
        let seconds = 8 * (40 + 65_535) / 1000;
        assert_eq!(cost / (NANOS_PER_SEC * TICKS_PER_NS), seconds);
        assert!(cost + limit.0.burst < DEBT_MAX);
    }

    #[test]
    fn a_short_packet_at_the_highest_rate_costs_something_too() {
        let limit = BitLimit::per_second(400_000_000_000, Duration::ZERO).unwrap();
        // 64 octets take 1.28 ns.
        assert_eq!(limit.cost(64), 328);
    }

    #[test]
    fn limits_out_of_range_are_refused() {
        let burst = Duration::ZERO;
        assert_eq!(PacketLimit::per_second(0, burst), Err(LimitError::Packets));
        assert_eq!(
            PacketLimit::per_second(PACKETS_MAX + 1, burst),
            Err(LimitError::Packets)
        );
        assert_eq!(
            PacketLimit::every(Duration::ZERO, burst),
            Err(LimitError::Interval)
        );
        assert_eq!(
            PacketLimit::every(BURST_MAX + SECOND, burst),
            Err(LimitError::Interval)
        );
        assert_eq!(
            BitLimit::per_second(BITS_MIN - 1, burst),
            Err(LimitError::Bits)
        );
        assert_eq!(
            BitLimit::per_second(BITS_MAX + 1, burst),
            Err(LimitError::Bits)
        );
        let long = BURST_MAX + Duration::from_nanos(1);
        assert_eq!(PacketLimit::per_second(1, long), Err(LimitError::Burst));
        assert_eq!(BitLimit::per_second(BITS_MAX, long), Err(LimitError::Burst));
    }

    #[test]
    fn what_one_limit_refuses_costs_nothing_of_the_other() {
        let second = Some(PacketLimit::every(SECOND, 9 * SECOND).unwrap());
        let bits = |burst| Some(BitLimit::per_second(8000, burst).unwrap());
        let buckets = Buckets::default();
        let octets_short = Limits {
            packets: second,
            bits: bits(SECOND),
        };
        // 1000 octets take a second: the first, one of the burst, and no third.
        let taken = (0..100).filter(|_| buckets.take(at(0), &octets_short, 1000));
        assert_eq!(taken.count(), 2);
        // Of the packets, those two are gone.
        let packets_short = Limits {
            packets: second,
            bits: bits(50 * SECOND),
        };
        let taken = (0..100).filter(|_| buckets.take(at(0), &packets_short, 1000));
        assert_eq!(taken.count(), 8);
        // Of the octets, these ten.
        let octets_only = Limits {
            packets: None,
            ..packets_short
        };
        let taken = (0..100).filter(|_| buckets.take(at(0), &octets_only, 1000));
        assert_eq!(taken.count(), 41);
    }

    #[test]
    fn threads_that_race_get_no_more_and_no_less_than_one_by_one() {
        let bucket = Bucket::default();
        let limit = PacketLimit::every(SECOND, 499 * SECOND).unwrap();
        let taken: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..1000)
                            .filter(|_| bucket.take_packet(at(0), limit))
                            .count()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        // A racer that gave up looking is let through: at most one each beyond the burst.
        assert!((500..=504).contains(&taken), "{taken} packets");
    }

    /// Offers packets each `gap` ticks, 20 000 times, from `start` ticks on; returns how many are
    /// admitted, and how many packets of `cost` ticks the time and a burst have room for.
    fn long_run(
        start: u64,
        cost: u64,
        burst: u64,
        overload: f64,
        mut take: impl FnMut(Now) -> bool,
    ) -> (f64, f64) {
        const OFFERS: u64 = 20_000;
        let gap = (cost as f64 / overload).max(1.0) as u64;
        let times = (0..OFFERS).map(|n| Now(start.wrapping_add(n * gap)));
        let passed: u32 = times.map(|now| u32::from(take(now))).sum();
        let room = ((OFFERS - 1) * gap + burst) as f64 / cost as f64 + 1.0;
        (f64::from(passed), room.min(OFFERS as f64))
    }

    proptest! {
        // A burst shorter than a packet would waste what part of a packet's time goes by unused.
        #[test]
        fn over_a_long_time_as_many_packets_pass_as_the_limit_says(
            rate in 1..=PACKETS_MAX,
            burst in 1..=500_u64,
            overload in 1.1..50.0_f64,
            start: u64,
        ) {
            let exact = NANOS_PER_SEC as f64 * TICKS_PER_NS as f64 / rate as f64;
            let burst = Duration::from_nanos((burst * NANOS_PER_SEC).div_ceil(rate));
            let limit = PacketLimit::per_second(rate, burst).unwrap();
            let bucket = Bucket(AtomicU64::new(start));
            let run = |now| bucket.take_packet(now, limit);
            let (passed, room) = long_run(start, exact as u64, limit.0.burst, overload, run);
            prop_assert!((passed - room).abs() <= room * 0.01, "{passed} instead of {room}");
        }

        #[test]
        fn over_a_long_time_as_many_octets_pass_as_the_limit_says(
            magnitude in 3.0..11.6_f64,
            octets in 28..=9000_u32,
            overload in 1.1..50.0_f64,
            start: u64,
        ) {
            let rate = (10_f64.powf(magnitude) as u64).clamp(BITS_MIN, 400_000_000_000);
            let nanos = f64::from(8 * octets) * NANOS_PER_SEC as f64 / rate as f64;
            let burst = Duration::from_nanos(nanos.ceil() as u64);
            let limit = BitLimit::per_second(rate, burst).unwrap();
            let bucket = Bucket(AtomicU64::new(start));
            let exact = (nanos * TICKS_PER_NS as f64) as u64;
            let run = |now| bucket.take_octets(now, limit, octets);
            let (passed, room) = long_run(start, exact, limit.0.burst, overload, run);
            prop_assert!((passed - room).abs() <= room * 0.01, "{passed} instead of {room}");
        }

        #[test]
        fn a_source_below_its_limit_loses_nothing(
            rate in 1..=1_000_000_u64,
            gaps in prop::collection::vec(1.0..3.0_f64, 1..200),
            start: u64,
        ) {
            let limit = PacketLimit::per_second(rate, Duration::ZERO).unwrap();
            let bucket = Bucket(AtomicU64::new(start));
            let mut now = start;
            for gap in gaps {
                prop_assert!(bucket.take_packet(Now(now), limit));
                now = now.wrapping_add((limit.0.cost as f64 * gap).ceil() as u64);
            }
        }
    }
}
