//! A run in a bounded number of steps of time, for charts: however long it lasts, nothing has to
//! be known beforehand.
//!
//! Time is cut into at most [`MAX_STEPS`] steps of equal width. When a probe falls beyond the last,
//! the width doubles and neighbours merge, so that a run fills between half and all of them. The
//! first width is a millisecond.
//!
//! Memory: a step takes 200 octets, 16 for each of at most [`MAX_GROUPS`] groups of sessions, and
//! a coarse [`Distribution`] of its round-trip times, 14 KiB at 1 ms and 24 KiB at 1 s. All steps
//! together take 9 MiB at 1 ms and 15 MiB at 1 s.

use std::time::Duration;

use wire::time::{Nanos, Utc};

use super::distribution::Distribution;

/// Largest number of steps.
pub const MAX_STEPS: usize = 600;

/// Largest number of groups that sessions are put into for the loss map.
pub const MAX_GROUPS: usize = 64;

/// Width of the steps of a short run, in nanoseconds.
const FIRST_WIDTH: u64 = 1_000_000;

/// A run in steps of time, by the time the probes were sent.
#[derive(Debug)]
pub struct Overview {
    origin: Utc,
    width: u64,
    sessions: usize,
    groups: usize,
    steps: Vec<Step>,
    /// Where the last event fell, as probes come in order: a step and its T1 from the origin, the
    /// end exclusive.
    last: (usize, u64, u64),
}

/// The probes sent in one step of time.
#[derive(Debug)]
pub struct Step {
    sent: u64,
    received: u64,
    lost: u64,
    round_trip: Distribution,
    groups: Box<[Cell]>,
}

/// The probes of one group of sessions in one step of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cell {
    /// Probes sent.
    pub sent: u64,
    /// Of these, given up.
    pub lost: u64,
}

impl Overview {
    /// An overview of a run of `sessions` sessions (one at least) that starts at `origin`.
    pub fn new(origin: Utc, sessions: usize) -> Self {
        let sessions = sessions.max(1);
        Self {
            origin,
            width: FIRST_WIDTH,
            sessions,
            groups: sessions.min(MAX_GROUPS),
            steps: Vec::new(),
            last: (0, 0, 0),
        }
    }

    /// A probe of `session` was sent at `t1`.
    pub fn sent(&mut self, t1: Utc, session: usize) {
        let group = self.group_of(session);
        if let Some(step) = self.at(t1) {
            step.sent += 1;
            if let Some(cell) = step.groups.get_mut(group) {
                cell.sent += 1;
            }
        }
    }

    /// The probe sent at `t1` was answered in time.
    pub fn received(&mut self, t1: Utc, round_trip: Nanos) {
        if let Some(step) = self.at(t1) {
            step.received += 1;
            step.round_trip.record(round_trip);
        }
    }

    /// The probe of `session` sent at `t1` was given up.
    pub fn lost(&mut self, t1: Utc, session: usize) {
        let group = self.group_of(session);
        if let Some(step) = self.at(t1) {
            step.lost += 1;
            if let Some(cell) = step.groups.get_mut(group) {
                cell.lost += 1;
            }
        }
    }

    /// When the run started.
    pub fn origin(&self) -> Utc {
        self.origin
    }

    /// How long a step is.
    pub fn width(&self) -> Duration {
        Duration::from_nanos(self.width)
    }

    /// The steps from the start to the last in which a probe was sent.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Number of groups of sessions in each step.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The sessions of a group: first and last.
    pub fn sessions_of(&self, group: usize) -> (usize, usize) {
        // The inverse of `group_of`.
        let first = |group: usize| (group * self.sessions).div_ceil(self.groups);
        (first(group), first(group + 1).saturating_sub(1))
    }

    fn group_of(&self, session: usize) -> usize {
        if self.groups == self.sessions {
            session
        } else {
            session.saturating_mul(self.groups) / self.sessions
        }
    }

    fn at(&mut self, t1: Utc) -> Option<&mut Step> {
        // Before the origin (our clock was set back) is the first step.
        let offset = u64::try_from((t1 - self.origin).nanos()).unwrap_or(0);
        if offset < self.last.1 || offset >= self.last.2 {
            self.find(offset);
        }
        self.steps.get_mut(self.last.0)
    }

    #[cold]
    fn find(&mut self, offset: u64) {
        let mut index = offset / self.width;
        if index >= self.steps.len() as u64 {
            index = self.grow(offset);
        }
        let start = index * self.width;
        // There are at most `MAX_STEPS`.
        let step = usize::try_from(index).unwrap_or(0);
        self.last = (step, start, start.saturating_add(self.width));
    }

    /// Makes room for `offset` and returns the index of its step.
    fn grow(&mut self, offset: u64) -> u64 {
        while offset / self.width >= MAX_STEPS as u64 {
            self.width *= 2;
            let mut kept = Vec::with_capacity(MAX_STEPS);
            let mut steps = self.steps.drain(..);
            while let Some(mut step) = steps.next() {
                if let Some(next) = steps.next() {
                    step.take_in(next);
                }
                kept.push(step);
            }
            drop(steps);
            self.steps = kept;
        }
        let index = offset / self.width;
        while self.steps.len() as u64 <= index {
            self.steps.push(Step::new(self.groups));
        }
        index
    }
}

impl Step {
    fn new(groups: usize) -> Self {
        Self {
            sent: 0,
            received: 0,
            lost: 0,
            round_trip: Distribution::coarse(),
            groups: vec![Cell::default(); groups].into_boxed_slice(),
        }
    }

    /// Probes sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Of these, answered in time.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Of these, given up.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The loss map's cells of this step, by group of sessions.
    pub fn cells(&self) -> &[Cell] {
        &self.groups
    }

    /// Smallest round-trip time, exact.
    pub fn min(&self) -> Option<Nanos> {
        self.round_trip.percentile(0.0)
    }

    /// Largest round-trip time, exact.
    pub fn max(&self) -> Option<Nanos> {
        self.round_trip.percentile(100.0)
    }

    /// A percentile (0 to 100) of the round-trip time, within 1 %.
    pub fn percentile(&self, percent: f64) -> Option<Nanos> {
        self.round_trip.percentile(percent)
    }

    fn take_in(&mut self, next: Self) {
        self.sent += next.sent;
        self.received += next.received;
        self.lost += next.lost;
        for (mine, theirs) in self.groups.iter_mut().zip(next.groups) {
            mine.sent += theirs.sent;
            mine.lost += theirs.lost;
        }
        self.round_trip.merge(&next.round_trip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    fn at(nanos: i64) -> Utc {
        Utc::from_nanos(7 * MS + nanos)
    }

    fn overview(sessions: usize) -> Overview {
        Overview::new(at(0), sessions)
    }

    #[test]
    fn a_short_run_is_seen_by_the_millisecond() {
        let mut overview = overview(1);
        overview.sent(at(0), 0);
        overview.sent(at(2 * MS), 0);
        overview.sent(at(2 * MS + 5), 0);
        overview.received(at(2 * MS), Nanos::from_nanos(300));
        overview.received(at(2 * MS + 5), Nanos::from_nanos(-100));
        overview.lost(at(0), 0);
        assert_eq!(overview.width(), Duration::from_millis(1));
        let [first, second, third] = overview.steps() else {
            panic!("{} steps", overview.steps().len());
        };
        assert_eq!((first.sent(), first.lost(), first.min()), (1, 1, None));
        assert_eq!((second.sent(), second.max()), (0, None));
        assert_eq!((third.sent(), third.received()), (2, 2));
        assert_eq!(third.min().unwrap().nanos(), -100);
        assert_eq!(third.max().unwrap().nanos(), 300);
        assert_eq!(third.percentile(100.0).unwrap().nanos(), 300);
    }

    #[test]
    fn a_long_run_takes_no_more_steps_than_a_short_one() {
        let mut overview = overview(2);
        for i in 0..100_000 {
            let t1 = at(i * 100 * MS);
            overview.sent(t1, usize::from(i % 2 == 1));
            overview.received(t1, Nanos::from_nanos(50_000 + i));
        }
        let steps = overview.steps();
        assert!((MAX_STEPS / 2..=MAX_STEPS).contains(&steps.len()));
        assert_eq!(steps.iter().map(Step::sent).sum::<u64>(), 100_000);
        assert_eq!(steps[0].min().unwrap().nanos(), 50_000);
        let last = steps.last().unwrap();
        assert_eq!(last.max().unwrap().nanos(), 149_999);
        let p50 = last.percentile(50.0).unwrap().nanos();
        assert!(p50.abs_diff(149_900) < 1_500, "{p50}");
        let cells = steps.iter().map(Step::cells);
        assert_eq!(cells.map(|cells| cells[1].sent).sum::<u64>(), 50_000);
    }

    #[test]
    fn a_clock_set_far_ahead_costs_no_memory() {
        let mut overview = overview(1);
        overview.sent(at(-5), 0);
        overview.sent(Utc::from_nanos(i64::MAX), 0);
        assert!(overview.steps().len() <= MAX_STEPS);
        assert_eq!(overview.steps().iter().map(Step::sent).sum::<u64>(), 2);
    }

    #[test]
    fn the_loss_map_tells_groups_of_sessions_apart() {
        let mut overview = overview(1_000);
        for session in 0..1_000 {
            overview.sent(at(0), session);
        }
        overview.lost(at(0), 0);
        overview.lost(at(0), 999);
        overview.lost(at(0), 5_000);
        let cells = overview.steps()[0].cells();
        assert_eq!(cells.len(), MAX_GROUPS);
        assert_eq!((cells[0].lost, cells[63].lost), (1, 1));
        let mut next = 0;
        for (group, cell) in cells.iter().enumerate() {
            let (first, last) = overview.sessions_of(group);
            assert_eq!(first, next);
            assert_eq!(cell.sent, (last - first + 1) as u64);
            next = last + 1;
        }
        assert_eq!(next, 1_000);
    }

    proptest! {
        #[test]
        fn merging_steps_loses_nothing(
            events in proptest::collection::vec((0i64..40_000 * MS, -10i64..9 * MS, 0usize..70), 1..300),
        ) {
            let mut overview = overview(70);
            for &(offset, round_trip, session) in &events {
                overview.sent(at(offset), session);
                if round_trip < 0 {
                    overview.lost(at(offset), session);
                } else {
                    overview.received(at(offset), Nanos::from_nanos(round_trip));
                }
            }
            let steps = overview.steps();
            prop_assert!(steps.len() <= MAX_STEPS);
            let width = i64::try_from(overview.width().as_nanos()).unwrap();
            for (i, step) in (0i64..).zip(steps) {
                let inside = |offset: i64| offset / width == i;
                let here: Vec<_> = events.iter().filter(|event| inside(event.0)).collect();
                let lost = here.iter().filter(|event| event.1 < 0).count() as u64;
                prop_assert_eq!(step.sent(), here.len() as u64);
                prop_assert_eq!((step.lost(), step.received()), (lost, step.sent() - lost));
                prop_assert_eq!(step.cells().iter().map(|cell| cell.sent).sum::<u64>(), step.sent());
                prop_assert_eq!(step.cells().iter().map(|cell| cell.lost).sum::<u64>(), lost);
                let times = here.iter().map(|event| event.1).filter(|&time| time >= 0);
                prop_assert_eq!(step.min().map(Nanos::nanos), times.clone().min());
                prop_assert_eq!(step.max().map(Nanos::nanos), times.max());
                prop_assert_eq!(step.round_trip.count(), step.received());
            }
        }
    }
}
