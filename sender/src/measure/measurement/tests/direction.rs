//! Losses and duplicates by direction.

use proptest::prelude::*;

use super::*;
use crate::measure::direction::Losses;
use crate::measure::totals::Direction;

#[test]
fn a_stateless_reflector_tells_no_direction() {
    let mut scene = Scene::new(terms(1), 4);
    for number in [0, 3] {
        scene.answer(0, number, numbered(number)).unwrap();
    }
    let direction = scene.finish().totals.direction;
    assert!(!direction.stateful);
}

#[test]
fn an_echo_has_no_number_and_tells_no_direction() {
    let mut scene = Scene::new(terms(1), 4);
    scene.echo(&[(1, 5), (1, 6), (3, 5)]);
    let Finished { totals, .. } = scene.finish();
    assert_eq!(totals.direction, Direction::default());
    assert_eq!(
        (totals.counts.duplicates, totals.counts.duplicates_forward),
        (1, 0)
    );
}

/// What becomes of a probe on its way to a stateful reflector and back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Through,
    /// Through, but too slow.
    Late,
    LostThere,
    LostBack,
    /// Reflected twice, with two numbers.
    DoubledThere,
    /// Reflected once, and the reply doubled.
    DoubledBack,
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        4 => Just(Way::Through),
        1 => Just(Way::Late),
        1 => Just(Way::LostThere),
        1 => Just(Way::LostBack),
        1 => Just(Way::DoubledThere),
        1 => Just(Way::DoubledBack),
    ]
}

proptest! {
    /// RFC 5357 section 4.2.1, `spec/05-metrics.md` section 5.3.
    #[test]
    fn the_numbers_of_a_stateful_reflector_tell_the_directions(
        ways in prop::collection::vec(way(), 1..60),
        sessions in 1usize..4,
    ) {
        let mut scene = Scene::new(terms(sessions), i64::try_from(ways.len()).unwrap());
        let mut next = vec![0u32; sessions];
        let mut decided = vec![0usize; sessions];
        let mut replies = [0u64; 3];
        for (probe, &way) in ways.iter().enumerate() {
            let session = probe % sessions;
            let number = u32::try_from(probe / sessions).unwrap();
            if way == Way::LostThere {
                continue;
            }
            let reflector = next[session];
            next[session] += if way == Way::DoubledThere { 2 } else { 1 };
            if way == Way::LostBack {
                continue;
            }
            decided[session] = probe / sessions + 1;
            let mut first = numbered(reflector);
            if way == Way::Late {
                first.reception.t4 = Utc::from_nanos(1001);
            }
            scene.answer(session, number, first).unwrap();
            let second = match way {
                Way::DoubledThere => reflector + 1,
                Way::DoubledBack => reflector,
                _ => continue,
            };
            let verdict = scene.answer(session, number, numbered(second));
            prop_assert_eq!(verdict, Some(Verdict::Duplicate));
            replies[usize::from(way == Way::DoubledThere)] += 1;
            replies[2] += 1;
        }
        let decided_ways = |way: Way| {
            let is_it = |&(probe, of): &(usize, &Way)| {
                *of == way && probe / sessions < decided[probe % sessions]
            };
            ways.iter().enumerate().filter(is_it).count() as u64
        };
        let losses = Losses {
            forward: decided_ways(Way::LostThere),
            backward: decided_ways(Way::LostBack),
        };
        let Finished { totals, .. } = scene.finish();
        prop_assert_eq!(totals.direction.losses, losses);
        let decided = decided.iter().sum::<usize>() as u64;
        prop_assert_eq!(totals.direction.decided, decided);
        prop_assert_eq!(totals.direction.restarts, 0);
        let counts = totals.counts;
        prop_assert_eq!(counts.duplicates_forward, replies[1]);
        prop_assert_eq!(counts.duplicates - counts.duplicates_forward, replies[0]);
        prop_assert_eq!(counts.replicated, replies[2]);
        let undecided = counts.sent - decided;
        let explained = losses.forward + losses.backward + undecided + counts.late;
        prop_assert_eq!(counts.lost(), explained, "every loss has its place");
    }
}
