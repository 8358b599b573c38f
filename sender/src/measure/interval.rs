//! The figures of a run cut into intervals of equal width, by the time the probes were sent.
//!
//! An interval is open until the fate of its last probe is known, which is a timeout after it
//! ended; the owner says when ([`Intervals::close_before`]). Intervals close in order and without
//! gaps: one in which nothing was sent is closed as an empty one.
//!
//! At most [`MAX_OPEN`] are open at a time. When another one is needed (a short width and a long
//! timeout, or a clock that was set), the oldest open interval takes in the one after it: it keeps
//! its start and index, its `width` grows, and the next index shows what it took in.

use std::collections::VecDeque;
use std::time::Duration;

use wire::time::{Nanos, Utc};

use super::counts::ratio;
use super::distribution::Distribution;

/// Largest number of intervals open at a time. One with samples around 1 ms takes about 150 KiB,
/// so this is 150 MiB at worst; at the usual one second and two seconds of timeout, 450 KiB.
pub const MAX_OPEN: usize = 1_000;

/// What happened to the probes sent in one interval.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Its place in the run, from 0.
    pub index: u64,
    /// Where it starts, from the origin of the run.
    pub start: Duration,
    /// How long it is: the width asked for, less when the run ended in it, more when it took in
    /// others.
    pub width: Duration,
    /// Probes sent.
    pub sent: u64,
    /// Of these, answered in time.
    pub received: u64,
    /// Of these, given up.
    pub lost: u64,
    /// Replies after the timeout; their probes are lost as well.
    pub late: u64,
    /// Further replies to probes already answered.
    pub duplicates: u64,
    /// Replies that later probes' replies overtook (RFC 4737).
    pub reordered: u64,
    /// Events above that belong to intervals closed before. They are counted here so that the
    /// intervals add up to the run.
    pub carried: u64,
    /// Round-trip times, within 0.1 %. Its PDV is relative to the interval's own minimum
    /// ([`super::distribution::Summary::pdv`]).
    pub round_trip: Distribution,
    /// Forward delays, within 1 %.
    pub forward: Distribution,
    /// Backward delays, within 1 %.
    pub backward: Distribution,
    /// Round-trip delay variation between consecutive probes, within 1 %.
    pub ipdv: Distribution,
}

/// The intervals of a run, the open ones in memory.
#[derive(Debug)]
pub struct Intervals {
    origin: Utc,
    /// In nanoseconds, at least 1.
    width: u64,
    /// In order and without gaps. Only the first can be wider than `width`.
    open: VecDeque<Interval>,
    /// Widths that the first open interval covers.
    first_steps: u64,
    /// Index of the interval after the last open one.
    next: u64,
    /// Where the last event fell: probes come in order, so the next one is likely there as well.
    last: Place,
}

/// An open interval and the T1 that fall into it, from the origin.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    from: u64,
    /// Exclusive; 0 when there is no such place.
    to: u64,
    slot: usize,
}

impl Interval {
    fn new(index: u64, width: u64) -> Self {
        Self {
            index,
            start: Duration::from_nanos(index.saturating_mul(width)),
            width: Duration::from_nanos(width),
            sent: 0,
            received: 0,
            lost: 0,
            late: 0,
            duplicates: 0,
            reordered: 0,
            carried: 0,
            round_trip: Distribution::default(),
            forward: Distribution::coarse(),
            backward: Distribution::coarse(),
            ipdv: Distribution::coarse(),
        }
    }

    /// Share of the probes whose fate is known that were lost; `None` when there are none.
    pub fn loss_ratio(&self) -> Option<f64> {
        ratio(self.lost, self.received + self.lost)
    }

    /// Takes in the interval after this one.
    fn take_in(&mut self, next: &Self) {
        self.width += next.width;
        self.sent += next.sent;
        self.received += next.received;
        self.lost += next.lost;
        self.late += next.late;
        self.duplicates += next.duplicates;
        self.reordered += next.reordered;
        self.carried += next.carried;
        self.round_trip.merge(&next.round_trip);
        self.forward.merge(&next.forward);
        self.backward.merge(&next.backward);
        self.ipdv.merge(&next.ipdv);
    }
}

impl Intervals {
    /// Intervals of `width` (a nanosecond at least), the first of which starts at `origin`.
    pub fn new(width: Duration, origin: Utc) -> Self {
        Self {
            origin,
            width: u64::try_from(width.as_nanos()).unwrap_or(u64::MAX).max(1),
            open: VecDeque::new(),
            first_steps: 1,
            next: 0,
            last: Place::default(),
        }
    }

    /// A probe was sent at `t1`.
    pub fn sent(&mut self, t1: Utc) {
        self.at(t1).sent += 1;
    }

    /// The probe sent at `t1` was answered in time. One-way delays if the reflector stamps.
    pub fn received(
        &mut self,
        t1: Utc,
        round_trip: Nanos,
        forward: Option<Nanos>,
        backward: Option<Nanos>,
    ) {
        let interval = self.at(t1);
        interval.received += 1;
        interval.round_trip.record(round_trip);
        if let Some(forward) = forward {
            interval.forward.record(forward);
        }
        if let Some(backward) = backward {
            interval.backward.record(backward);
        }
    }

    /// The probe sent at `t1` and the one before it in its session make this delay variation.
    pub fn ipdv(&mut self, t1: Utc, difference: Nanos) {
        self.at(t1).ipdv.record(difference);
    }

    /// The probe sent at `t1` was given up.
    pub fn lost(&mut self, t1: Utc) {
        self.at(t1).lost += 1;
    }

    /// The probe sent at `t1` was answered after its timeout.
    pub fn late(&mut self, t1: Utc) {
        self.at(t1).late += 1;
    }

    /// The probe sent at `t1` was answered once more.
    pub fn duplicate(&mut self, t1: Utc) {
        self.at(t1).duplicates += 1;
    }

    /// The reply to the probe sent at `t1` was overtaken.
    pub fn reordered(&mut self, t1: Utc) {
        self.at(t1).reordered += 1;
    }

    /// Closes the intervals that end at `limit` or before, and returns them in order. `limit` is
    /// now, less the timeout.
    pub fn close_before(&mut self, limit: Utc) -> Vec<Interval> {
        // The number of intervals that end by then.
        let ended = self.offset(limit) / self.width;
        if ended > self.next {
            self.open_until(ended - 1);
        }
        let mut closed = Vec::new();
        while let Some(first) = self.open.front()
            && first.index + self.first_steps <= ended
        {
            closed.extend(self.open.pop_front());
            self.first_steps = 1;
            self.last = Place::default();
        }
        closed
    }

    /// Closes all intervals at the end of a run. `end` is when the probe after the last would have
    /// been sent; the interval it falls into is cut there.
    pub fn finish(mut self, end: Utc) -> Vec<Interval> {
        let mut closed = self.close_before(end);
        closed.extend(self.open.drain(..));
        if let Some(last) = closed.last_mut() {
            let length = Duration::from_nanos(self.offset(end)).saturating_sub(last.start);
            if !length.is_zero() {
                last.width = last.width.min(length);
            }
        }
        closed
    }

    /// Nanoseconds from the origin; 0 before it.
    fn offset(&self, at: Utc) -> u64 {
        u64::try_from((at - self.origin).nanos()).unwrap_or(0)
    }

    /// The open interval of a probe sent at `t1`, or the oldest one if that is closed.
    fn at(&mut self, t1: Utc) -> &mut Interval {
        let offset = self.offset(t1);
        if offset < self.last.from || offset >= self.last.to {
            self.find(offset);
        }
        // There is such a slot: it is found anew whenever intervals close or merge.
        &mut self.open[self.last.slot]
    }

    /// Makes the place of `offset` the last one.
    #[cold]
    fn find(&mut self, offset: u64) {
        let index = offset / self.width;
        if index >= self.next || self.open.is_empty() {
            self.open_until(index.max(self.next));
        }
        let Some(first) = self.open.front_mut() else {
            return;
        };
        let second = first.index + self.first_steps;
        self.last = if index < first.index {
            first.carried += 1;
            // The next such event has to come here as well.
            Place::default()
        } else if index < second {
            Place {
                from: first.index.saturating_mul(self.width),
                to: second.saturating_mul(self.width),
                slot: 0,
            }
        } else {
            Place {
                from: index.saturating_mul(self.width),
                to: (index + 1).saturating_mul(self.width),
                slot: usize::try_from(index - second + 1).unwrap_or(0),
            }
        };
    }

    /// Opens the intervals from the next one to `index`, and merges the oldest if they are too
    /// many.
    fn open_until(&mut self, index: u64) {
        if self.open.is_empty() {
            self.open_next();
        }
        let missing = (index + 1).saturating_sub(self.next);
        let mut excess = (self.open.len() as u64)
            .saturating_add(missing)
            .saturating_sub(MAX_OPEN as u64);
        if excess > 0 {
            self.last = Place::default();
        }
        while excess > 0
            && let Some(second) = self.open.remove(1)
            && let Some(first) = self.open.front_mut()
        {
            first.take_in(&second);
            self.first_steps += 1;
            excess -= 1;
        }
        // Those that would open only to be taken in at once are not worth opening.
        if let Some(first) = self.open.front_mut() {
            self.first_steps += excess;
            self.next += excess;
            first.width = Duration::from_nanos(self.first_steps.saturating_mul(self.width));
        }
        while self.next <= index {
            self.open_next();
        }
    }

    fn open_next(&mut self) {
        self.open.push_back(Interval::new(self.next, self.width));
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORIGIN: i64 = 1_000_000;

    fn at(offset: i64) -> Utc {
        Utc::from_nanos(ORIGIN + offset)
    }

    /// Intervals of 100 ns.
    fn intervals() -> Intervals {
        Intervals::new(Duration::from_nanos(100), at(0))
    }

    fn span(nanos: i64) -> Nanos {
        Nanos::from_nanos(nanos)
    }

    #[test]
    fn every_event_is_counted_where_its_probe_was_sent() {
        let mut intervals = intervals();
        for offset in [0, 99, 100, 250, 260] {
            intervals.sent(at(offset));
        }
        intervals.received(at(250), span(30), Some(span(-10)), Some(span(40)));
        intervals.received(at(0), span(10), None, None);
        intervals.reordered(at(0));
        intervals.duplicate(at(250));
        intervals.ipdv(at(260), span(-5));
        intervals.lost(at(99));
        intervals.late(at(99));
        intervals.received(at(260), span(50), None, None);
        let closed = intervals.finish(at(270));
        let counts: Vec<_> = closed
            .iter()
            .map(|i| {
                (
                    i.index,
                    i.sent,
                    i.received,
                    i.lost,
                    i.late,
                    i.duplicates,
                    i.reordered,
                )
            })
            .collect();
        assert_eq!(
            counts,
            [
                (0, 2, 1, 1, 1, 0, 1),
                (1, 1, 0, 0, 0, 0, 0),
                (2, 2, 2, 0, 0, 1, 0)
            ]
        );
        let last = &closed[2];
        assert_eq!(last.start, Duration::from_nanos(200));
        assert_eq!(last.width, Duration::from_nanos(70), "the run ended there");
        let pdv = last.round_trip.summary().unwrap().pdv();
        assert_eq!(pdv.max, span(20), "above the minimum of this interval");
        assert_eq!(last.forward.summary().unwrap().min, span(-10));
        assert_eq!(last.backward.summary().unwrap().max, span(40));
        assert_eq!(last.ipdv.summary().unwrap().min, span(-5));
        assert_eq!(closed[0].loss_ratio(), Some(0.5));
        assert_eq!(closed[1].loss_ratio(), None);
    }

    #[test]
    fn an_interval_closes_once_its_end_has_passed_and_empty_ones_as_well() {
        let mut intervals = intervals();
        intervals.sent(at(10));
        assert!(intervals.close_before(at(99)).is_empty());
        let closed = intervals.close_before(at(420));
        let shape: Vec<_> = closed.iter().map(|i| (i.index, i.sent)).collect();
        assert_eq!(shape, [(0, 1), (1, 0), (2, 0), (3, 0)]);
        assert!(intervals.close_before(at(420)).is_empty());
        intervals.sent(at(510));
        let closed = intervals.close_before(at(600));
        let shape: Vec<_> = closed.iter().map(|i| (i.index, i.sent)).collect();
        assert_eq!(shape, [(4, 0), (5, 1)]);
        assert!(intervals.finish(at(600)).is_empty());
    }

    #[test]
    fn what_comes_after_the_close_is_carried_into_the_oldest_open_interval() {
        let mut intervals = intervals();
        intervals.sent(at(10));
        intervals.lost(at(10));
        assert_eq!(intervals.close_before(at(100)).len(), 1);
        intervals.late(at(10));
        intervals.late(at(10));
        intervals.sent(at(210));
        intervals.late(at(10));
        let closed = intervals.finish(at(300));
        let counts: Vec<_> = closed.iter().map(|i| (i.sent, i.late, i.carried)).collect();
        assert_eq!(counts, [(0, 3, 3), (1, 0, 0)]);
    }

    #[test]
    fn a_time_before_the_origin_counts_in_the_first_interval() {
        let mut intervals = intervals();
        intervals.sent(at(-5_000));
        let closed = intervals.finish(at(100));
        assert_eq!(
            (closed[0].index, closed[0].sent, closed[0].carried),
            (0, 1, 0)
        );
    }

    #[test]
    fn beyond_the_limit_the_oldest_takes_in_the_next() {
        let mut intervals = intervals();
        let limit = i64::try_from(MAX_OPEN).unwrap();
        for i in 0..limit + 20 {
            intervals.sent(at(100 * i));
            intervals.received(at(100 * i), span(i), None, None);
        }
        assert_eq!(intervals.open.len(), MAX_OPEN);
        let closed = intervals.finish(at(100 * (limit + 20)));
        let first = &closed[0];
        assert_eq!((first.index, first.sent), (0, 21));
        assert_eq!(first.width, Duration::from_nanos(2_100));
        assert_eq!(first.round_trip.summary().unwrap().max, span(20));
        assert_eq!((closed[1].index, closed[1].sent), (21, 1));
        assert_eq!(closed[1].start, Duration::from_nanos(2_100));
    }

    #[test]
    fn a_clock_set_far_ahead_costs_no_memory() {
        let mut intervals = intervals();
        intervals.sent(at(5));
        let year = 31_536_000_000_000_000;
        intervals.sent(at(year));
        assert_eq!(intervals.open.len(), MAX_OPEN);
        let closed = intervals.close_before(at(3 * year));
        assert!(closed.len() <= 2 * MAX_OPEN);
        assert_eq!(closed.iter().map(|i| i.sent).sum::<u64>(), 2);
        let end = closed.last().map(|last| last.start + last.width).unwrap();
        assert_eq!(end, Duration::from_nanos(3 * year.unsigned_abs()));
        intervals.sent(at(i64::MAX - ORIGIN));
        assert_eq!(intervals.finish(Utc::from_nanos(i64::MAX)).len(), MAX_OPEN);
    }

    proptest! {
        /// Whatever the order of events and closes, nothing is lost, nothing overlaps.
        #[test]
        fn intervals_are_gapless_and_add_up(
            events in proptest::collection::vec((0i64..400_000, 0u8..5), 1..200),
        ) {
            let mut intervals = intervals();
            let mut closed = Vec::new();
            let mut expected = [0u64; 4];
            for &(offset, kind) in &events {
                match kind {
                    0 => intervals.sent(at(offset)),
                    1 => intervals.received(at(offset), span(offset), None, None),
                    2 => intervals.lost(at(offset)),
                    3 => intervals.late(at(offset)),
                    _ => closed.extend(intervals.close_before(at(offset))),
                }
                if let Some(count) = expected.get_mut(usize::from(kind)) {
                    *count += 1;
                }
                prop_assert!(intervals.open.len() <= MAX_OPEN);
            }
            closed.extend(intervals.finish(at(0)));
            let mut end = Duration::ZERO;
            let mut sums = [0u64; 4];
            for interval in &closed {
                prop_assert_eq!(interval.start, end);
                prop_assert_eq!(interval.round_trip.count(), interval.received);
                end += interval.width;
                let counts = [interval.sent, interval.received, interval.lost, interval.late];
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            prop_assert_eq!(sums, expected);
        }
    }
}
