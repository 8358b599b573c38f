//! Damage: what a checksum catches is lost, what it does not catch the sender has to.

use testbed::relay::TestPacket;
use testbed::{Direction, Fate, Need, ReflectorConfig, RelayConfig, skip_unless};

use crate::oracle::check;
use crate::scene::{BOTH, Ip, Scene};

const OPTIONS: [&str; 4] = ["--count", "300", "--rate", "2000"];

fn backward(
    mut fate: impl FnMut(u32) -> Fate + Send + 'static,
) -> impl FnMut(&TestPacket) -> Fate + Send {
    move |packet| match packet.direction {
        Direction::Forward => Fate::pass(),
        Direction::Backward => fate(packet.sequence),
    }
}

#[test]
fn what_fails_its_checksum_is_lost() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for ip in [Ip::V4, Ip::V6] {
            let config = ReflectorConfig {
                stateful: true,
                ..ReflectorConfig::default()
            };
            let script = |packet: &TestPacket| match (packet.direction, packet.sequence % 30) {
                // Every octet of the reply in turn, padding too.
                (Direction::Backward, 1) | (Direction::Forward, 2) => {
                    Fate::pass().corrupt(packet.sequence as usize % 44)
                }
                _ => Fate::pass(),
            };
            let scene = Scene::with(ip, &RelayConfig::default(), config, script);
            let run = scene.run(transport, &OPTIONS);
            let figures = check(&run);
            assert_eq!((figures.lost, figures.invalid), (20, 0));
            assert_eq!((figures.forward, figures.backward), (10, 10));
            // The kernel counts them among the drops of the socket, or nobody does.
            assert!(
                (0..=10).contains(&run.number("dropped_here")),
                "{:#}",
                run.report
            );
        }
    }
}

#[test]
fn garbage_with_a_right_checksum_is_invalid_and_answers_nothing() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(
            ReflectorConfig::default(),
            // Sender Sequence Number and Sender Timestamp, octets 24 to 35, each in turn.
            backward(|number| match number {
                10..22 => Fate::pass().garble(24 + number as usize - 10),
                // The damaged one is followed by a sound one.
                50..62 => Fate::pass()
                    .garble(24 + number as usize - 50)
                    .and(Fate::pass()),
                _ => Fate::pass(),
            }),
        );
        let run = scene.run(transport, &OPTIONS);
        let figures = check(&run);
        assert_eq!(
            (figures.invalid, figures.lost, figures.duplicates),
            (24, 12, 0)
        );
        assert!(run.warnings().contains(&"invalid"), "{:?}", run.warnings());
    }
}

#[test]
fn damage_to_padding_does_no_harm() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(
            ReflectorConfig::default(),
            backward(|number| Fate::pass().garble(44 + number as usize % 56)),
        );
        let options = [&OPTIONS[..], &["--size", "100"]].concat();
        let run = scene.run(transport, &options);
        let figures = check(&run);
        assert_eq!((figures.received, figures.invalid), (300, 0));
    }
}

#[test]
fn requests_spoilt_on_the_way_there_are_not_taken_for_answered() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(ReflectorConfig::default(), |packet| {
            match (packet.direction, packet.sequence) {
                // Far from any number in use, or a T1 that nobody sent.
                (Direction::Forward, 40) => Fate::pass().garble(0),
                (Direction::Forward, 41..49) => {
                    Fate::pass().garble(4 + packet.sequence as usize - 41)
                }
                (Direction::Forward, 60) => Fate::pass().truncate(13),
                (Direction::Forward, 70) => Fate::pass().truncate(14),
                _ => Fate::pass(),
            }
        });
        let run = scene.run(transport, &OPTIONS);
        let figures = check(&run);
        assert_eq!((figures.invalid, figures.lost), (9, 10));
    }
}

#[test]
fn short_replies_count_down_to_the_end_of_what_they_echo() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let scene = Scene::new(
            ReflectorConfig::default(),
            backward(|number| match number {
                100..141 => Fate::pass().truncate(number as usize - 100),
                _ => Fate::pass(),
            }),
        );
        let run = scene.run(transport, &OPTIONS);
        let figures = check(&run);
        assert_eq!((figures.invalid, figures.lost), (38, 38));
    }
}
