//! The probes in flight against models that forget nothing.

use proptest::prelude::*;

use super::*;
use crate::measure::reordering::Reordering;

#[derive(Debug, Clone)]
enum Step {
    Announce {
        count: usize,
        later: i64,
    },
    TakeBack {
        count: u64,
    },
    Reply {
        back: u64,
        on_time: bool,
        delays: Remembered,
        reflector: u32,
    },
    Correct {
        back: u64,
        later: i64,
    },
    Mark,
    GiveUpBefore {
        back: usize,
    },
    GiveUpMarked,
    GiveUpAll,
}

fn step() -> impl Strategy<Value = Step> {
    let delays = prop_oneof![
        (-50i64..50).prop_map(whole),
        (-50i64..50, -50i64..50).prop_map(|(forward, backward)| Remembered::Split {
            forward: Nanos::from_nanos(forward),
            backward: Nanos::from_nanos(backward),
        }),
    ];
    prop_oneof![
        // Our clock may be set back.
        5 => (1usize..4, -30i64..100)
            .prop_map(|(count, later)| Step::Announce { count, later }),
        1 => (1u64..3).prop_map(|count| Step::TakeBack { count }),
        8 => (0u64..40, any::<bool>(), delays, any::<u32>()).prop_map(
            |(back, on_time, delays, reflector)| Step::Reply { back, on_time, delays, reflector }
        ),
        1 => (1u64..40, prop_oneof![-9i64..9, Just(i64::from(i32::MAX) + 1)])
            .prop_map(|(back, later)| Step::Correct { back, later }),
        1 => Just(Step::Mark),
        2 => (0usize..24).prop_map(|back| Step::GiveUpBefore { back }),
        1 => Just(Step::GiveUpMarked),
        1 => Just(Step::GiveUpAll),
    ]
}

/// The plain model: every probe ever sent, and what is known of it.
#[derive(Default)]
struct Model {
    probes: Vec<ModelProbe>,
    closed: usize,
    marked: usize,
    clock: i64,
    announcements: i64,
}

#[derive(Default)]
struct ModelProbe {
    t1: i64,
    correction: i64,
    first: Option<(bool, Remembered, u32)>,
    replies: u32,
    /// A later probe took its place, even if that one was taken back since.
    displaced: bool,
}

impl Model {
    /// Announces as many probes as there is room for, and returns their number and T1.
    fn announce(&mut self, count: usize, later: i64, capacity: usize) -> (usize, i64) {
        self.clock += later;
        self.announcements += 1;
        // No two announcements have the same T1.
        let t1 = 100_000 * self.clock + self.announcements;
        let count = count.min(self.room(capacity));
        for _ in 0..count {
            if let Some(displaced) = self.probes.len().checked_sub(capacity) {
                self.probes[displaced].displaced = true;
            }
            self.probes.push(ModelProbe {
                t1,
                ..ModelProbe::default()
            });
        }
        (count, t1)
    }

    fn room(&self, capacity: usize) -> usize {
        capacity - (self.probes.len() - self.closed)
    }

    fn take_back(&mut self) {
        self.probes.pop();
        self.closed = self.closed.min(self.probes.len());
        self.marked = self.marked.min(self.probes.len());
    }

    fn close(&mut self, gives_up: impl Fn(usize, &ModelProbe) -> bool) -> Vec<(usize, bool)> {
        let mut closed = Vec::new();
        while let Some(probe) = self.probes.get(self.closed) {
            if probe.replies == 0 && !gives_up(self.closed, probe) {
                break;
            }
            let on_time = probe.first.is_some_and(|(on_time, ..)| on_time);
            closed.push((self.closed, on_time));
            self.closed += 1;
        }
        closed
    }

    fn awaited(&self) -> usize {
        self.probes[self.closed..]
            .iter()
            .filter(|probe| probe.replies == 0)
            .count()
    }

    /// What a neighbour of a probe, this far from the first one, is remembered by.
    fn delays(&self, probe: Option<usize>, capacity: usize) -> Option<Remembered> {
        let probe = probe?;
        let oldest = self.probes.len().saturating_sub(capacity);
        let known = self
            .probes
            .get(probe)
            .filter(|known| probe >= oldest && !known.displaced)?;
        known
            .first
            .and_then(|(on_time, delays, _)| on_time.then_some(delays))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn agrees_with_a_model_that_forgets_nothing(
        steps in prop::collection::vec(step(), 0..300),
        sessions in 1usize..5,
        // Half of the runs cross the wrap of the 32-bit sequence number.
        first in prop_oneof![Just(0u64), (u64::from(u32::MAX) - 40)..=u64::from(u32::MAX)],
        bits in 1u32..6,
    ) {
        let capacity = 1usize << bits;
        let (mut departures, mut flight) = flight_from(capacity, sessions, first);
        let base = first * sessions as u64;
        let mut model = Model::default();
        for step in steps {
            let next = model.probes.len() as u64;
            match step {
                Step::Announce { count, later } => {
                    let (count, t1) = model.announce(count, later, capacity);
                    departures.announce(count as u64, at(t1));
                }
                Step::TakeBack { count } => {
                    for _ in 0..count {
                        // What did not leave has no reply.
                        if model.probes.last().is_some_and(|probe| probe.replies == 0) {
                            departures.take_back(1);
                            model.take_back();
                        }
                    }
                }
                Step::Reply { back, on_time, delays, reflector } => {
                    let Some(index) = next.checked_sub(back) else { continue };
                    let ordinal = base + index;
                    let session = usize::try_from(ordinal % sessions as u64).unwrap();
                    let found = flight.find(session, low(ordinal / sessions as u64));
                    let index = usize::try_from(index).unwrap();
                    let Some(probe) = model.probes.get_mut(index) else {
                        prop_assert_eq!(found, None, "not sent yet");
                        continue;
                    };
                    if probe.displaced {
                        prop_assert!(found.is_none_or(|(_, t1)| t1 != at(probe.t1)));
                        continue;
                    }
                    prop_assert_eq!(found, Some((ordinal, at(probe.t1))));
                    prop_assert_eq!(flight.t1(ordinal), at(probe.t1 + probe.correction));
                    let answer = flight.answer(ordinal, on_time, delays, reflector);
                    let expected = match probe.first {
                        None if on_time => Answer::OnTime,
                        None => Answer::Late,
                        Some((_, _, reflector)) => {
                            Answer::Duplicate { first: probe.replies == 1, reflector }
                        }
                    };
                    prop_assert_eq!(answer, expected);
                    probe.first.get_or_insert((on_time, delays, reflector));
                    probe.replies += 1;
                    let before = model.delays(index.checked_sub(sessions), capacity);
                    let after = model.delays(Some(index + sessions), capacity);
                    prop_assert_eq!((flight.before(ordinal), flight.after(ordinal)), (before, after));
                }
                Step::Correct { back, later } => {
                    let Some(index) = next.checked_sub(back) else { continue };
                    let probe = &mut model.probes[usize::try_from(index).unwrap()];
                    if !probe.displaced {
                        let corrected =
                            flight.correct(base + index, at(probe.t1 + later), |_, _| true);
                        let expected = match i32::try_from(later) {
                            Err(_) => Correction::Implausible,
                            Ok(_) if probe.replies > 0 => Correction::TooLate,
                            Ok(_) => {
                                probe.correction = later;
                                Correction::Made
                            }
                        };
                        prop_assert_eq!(corrected, expected);
                    }
                }
                Step::Mark => {
                    flight.mark();
                    model.marked = model.probes.len();
                }
                Step::GiveUpBefore { .. } | Step::GiveUpMarked | Step::GiveUpAll => {
                    let limit = match step {
                        Step::GiveUpBefore { back } => model.probes.len().checked_sub(back),
                        _ => None,
                    };
                    let limit = limit.and_then(|at| model.probes.get(at)).map_or(0, |p| p.t1);
                    let marked = model.marked;
                    let (give_up, expected) = match step {
                        Step::GiveUpMarked =>
                            (GiveUp::Marked, model.close(|index, _| index < marked)),
                        Step::GiveUpAll => (GiveUp::All, model.close(|_, _| true)),
                        _ => (GiveUp::Before(at(limit)), model.close(|_, p| p.t1 < limit)),
                    };
                    let expected: Vec<_> = expected
                        .into_iter()
                        .map(|(index, on_time)| (base + index as u64, index % sessions, on_time))
                        .collect();
                    prop_assert_eq!(close(&mut flight, give_up), expected);
                }
            }
            flight.open();
            let sent = model.probes.len();
            prop_assert_eq!(flight.opened(), base + sent as u64);
            prop_assert_eq!(flight.awaited(), model.awaited() as u64);
            let oldest = model.probes.get(model.closed).map(|probe| at(probe.t1));
            prop_assert_eq!(flight.oldest_open(), oldest);
            let each = (0..sessions).map(|session| flight.sent(session));
            let expected = (0..sessions)
                .map(|session| first + (sent + sessions - 1 - session) as u64 / sessions as u64);
            prop_assert!(each.eq(expected));
            prop_assert_eq!(departures.room(capacity), model.room(capacity));
        }
    }

    /// RFC 4737 section 4.2.1: of an arrival `i` that is reordered, the extent is `i - j` for the
    /// earliest arrival `j` with a larger number.
    #[test]
    fn the_extent_is_that_of_the_definition(
        arrivals in Just((0..60u64).collect::<Vec<_>>()).prop_shuffle(),
        lost in 0usize..20,
        sessions in 1u64..4,
        reach in prop_oneof![Just(60usize), 1usize..20],
        // Half of the runs cross the wrap of the 32-bit sequence number.
        first in prop_oneof![Just(0u64), Just(u64::from(u32::MAX) - 10)],
    ) {
        let (mut departures, mut flight) = flight_from(64, usize::try_from(sessions).unwrap(), first);
        departures.announce(60, at(0));
        flight.open();
        let base = first * sessions;
        let mut judges = vec![Reordering::default(); usize::try_from(sessions).unwrap()];
        let mut seen = vec![Vec::new(); usize::try_from(sessions).unwrap()];
        for &probe in &arrivals[lost..] {
            let (session, number) = (usize::try_from(probe % sessions).unwrap(), probe / sessions);
            let arrival = judges[session].arrive(number);
            flight.answer(base + probe, true, WHOLE, 0);
            flight.arrived(base + probe, arrival.index, arrival.reordered.is_none());
            let before: &mut Vec<u64> = &mut seen[session];
            let overtaker = before.iter().position(|&earlier| earlier > number);
            prop_assert_eq!(arrival.reordered.is_some(), overtaker.is_some());
            // It is not looked for beyond the reach.
            let expected = overtaker
                .filter(|&place| before[place] - number <= reach as u64)
                .map(|place| (before.len() - place) as u64);
            let extent = flight.overtaken_since(base + probe, arrival.index, reach);
            prop_assert_eq!(extent, expected);
            before.push(number);
        }
    }
}
