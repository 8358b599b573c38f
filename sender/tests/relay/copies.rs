//! Duplicates, late replies and reordering.

use std::collections::BTreeSet;
use std::time::Duration;

use testbed::relay::TestPacket;
use testbed::{Direction, Fate, Need, ReflectorConfig, RelayConfig, skip_unless};

use crate::oracle::{check, check_directions, check_no_directions};
use crate::scene::{BOTH, Ip, Run, Scene, stateful};

const OPTIONS: [&str; 4] = ["--count", "500", "--rate", "2000"];

/// The last packet is lost, so that the sender waits a whole timeout for whatever else comes.
fn lose_the_last(packet: &TestPacket, other: Fate) -> Fate {
    if packet.sequence == 499 {
        Fate::lose()
    } else {
        other
    }
}

#[test]
fn duplicates_are_told_apart_by_direction() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), |packet| {
            let fate = match (packet.direction, packet.sequence % 10) {
                (Direction::Forward, 2) => Fate::duplicate(1),
                (Direction::Backward, 5) => Fate::duplicate(2),
                (Direction::Forward, 7) if packet.sequence < 100 => Fate::lose(),
                _ => Fate::pass(),
            };
            lose_the_last(packet, fate)
        });
        let run = scene.run(transport, &OPTIONS);
        let figures = check(&run);
        assert_eq!((figures.duplicates, figures.replicated), (50 + 100, 100));
        assert_eq!(figures.duplicates_forward, 50);
        assert_eq!(
            (figures.forward, figures.backward, figures.undecided),
            (10, 0, 1)
        );
        check_directions(&run, &figures, 0);
    }
}

#[test]
fn duplicates_of_a_stateless_reflector_have_no_direction() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let config = ReflectorConfig::default();
        let scene = Scene::with(Ip::V6, &RelayConfig::default(), config, |packet| {
            let copies = usize::try_from(packet.sequence % 3).unwrap();
            lose_the_last(packet, Fate::duplicate(copies))
        });
        let run = scene.run(transport, &["--count", "500", "--rate", "500"]);
        let figures = check(&run);
        // Duplicated on both ways: up to nine replies.
        let each = [1_u64, 4, 9].map(|replies| replies - 1);
        let expected: u64 = (0..499).map(|sequence| each[sequence % 3]).sum();
        assert_eq!(figures.duplicates, expected);
        check_no_directions(&run);
    }
}

/// Which numbers a script holds back, and until when.
type Held = BTreeSet<u32>;

fn late_numbers(run: &Run) -> Held {
    run.rows_of("late").map(|row| row.sequence).collect()
}

#[test]
fn late_replies_are_late_and_lost() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        // Two seconds of sending: whatever is held back is long there before the run ends.
        let held: Held = (0..200).filter(|number| number % 9 == 4).collect();
        let expected = held.clone();
        let scene = Scene::new(stateful(), move |packet| {
            let late = held.contains(&packet.sequence);
            match packet.direction {
                Direction::Backward if late => Fate::pass().after(Duration::from_millis(500)),
                _ => Fate::pass(),
            }
        });
        let options = [
            "--count",
            "1000",
            "--rate",
            "500",
            "--timeout",
            "200ms",
            "--stateful",
        ];
        let run = scene.run(transport, &options);
        let figures = check(&run);
        assert!(figures.late >= expected.len() as u64);
        assert!(expected.is_subset(&late_numbers(&run)));
        // They came, so that neither direction lost them.
        check_directions(&run, &figures, 0);
        assert_eq!((figures.forward, figures.backward), (0, 0));
    }
}

#[test]
fn a_late_reply_and_its_copies_are_one_late_packet_and_duplicates() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), |packet| {
            let late = Duration::from_millis(500);
            match (packet.direction, packet.sequence) {
                (Direction::Backward, 10..20) => Fate::duplicate(1).after(late),
                (Direction::Backward, 30..40) => Fate::pass().and(Fate::pass().after(late)),
                _ => Fate::pass(),
            }
        });
        let options = ["--count", "1000", "--rate", "500", "--timeout", "200ms"];
        let run = scene.run(transport, &options);
        let figures = check(&run);
        assert_eq!((figures.duplicates, figures.replicated), (20, 20));
        assert!((10..20).all(|number| late_numbers(&run).contains(&number)));
    }
}

#[test]
fn reordering_on_the_way_back_is_measured_as_rfc_4737_has_it() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(ReflectorConfig::default(), |packet| {
            if packet.direction == Direction::Forward {
                return Fate::pass();
            }
            match packet.sequence {
                // The example of RFC 4737 section 5.4: 1, 2, 3, 7, 8, 9, 4, 5, 6.
                4..=6 => Fate::pass().after_sequence(9),
                20 => Fate::pass().after_sequence(21),
                // Further than the sender counts n-reordering.
                30 => Fate::pass().after_sequence(60),
                100 => Fate::lose().and(Fate::pass().after_sequence(140)),
                number @ 200..400 if number % 13 == 0 => {
                    Fate::pass().after_sequence(number + 1 + number * 7 % 20)
                }
                _ => Fate::pass(),
            }
        });
        let run = scene.run(transport, &OPTIONS);
        let figures = check(&run);
        assert!(figures.reordered > 15, "{figures:?}");
        assert_eq!(figures.reorder_extent_max, 40);
        assert_eq!((figures.n_reordering_max, figures.lost), (8, 0));
    }
}

#[test]
fn reordering_on_the_way_there_costs_nothing_else() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(stateful(), |packet| match packet.direction {
            Direction::Forward if packet.sequence % 17 == 3 => {
                Fate::pass().after_sequence(packet.sequence + 5)
            }
            Direction::Backward if packet.sequence % 50 == 13 => Fate::lose(),
            _ => Fate::pass(),
        });
        // The tail is passed in order, so that nobody waits for a number that never comes.
        let run = scene.run(transport, &["--count", "493", "--rate", "2000"]);
        let figures = check(&run);
        assert_eq!(figures.reordered, 29);
        assert_eq!(figures.reorder_extent_max, 5);
        check_directions(&run, &figures, 0);
        assert_eq!((figures.forward, figures.backward), (0, 10));
        assert_eq!(run.number("n_reordering_max"), 5);
    }
}
