//! Many sessions: each has its own numbers, its own fate and its own figures.

use std::net::SocketAddr;

use testbed::{Direction, Fate, Need, ReflectorConfig, RelayConfig, VethConfig, skip_unless};

use crate::oracle::{check, check_directions};
use crate::scene::{BOTH, Ip, Scene, Transport};

/// A different fate for each session, told by its port, and some with none.
fn by_port(port: u16, direction: Direction, sequence: u32) -> Fate {
    let peculiar = u32::from(port / 6 % 8);
    match (port % 6, direction) {
        (1, Direction::Forward) if sequence == peculiar => Fate::lose(),
        (2, Direction::Forward) if sequence == peculiar => Fate::duplicate(1),
        (3, Direction::Backward) if sequence == peculiar => Fate::pass().after_sequence(9),
        (4, Direction::Backward) if (2..2 + peculiar).contains(&sequence) => Fate::lose(),
        (5, Direction::Backward) if sequence == peculiar => {
            Fate::duplicate(usize::from(port / 6 % 3) + 1)
        }
        _ => Fate::pass(),
    }
}

#[test]
fn five_hundred_sessions_meet_five_hundred_fates() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let config = ReflectorConfig {
            stateful: true,
            ..ReflectorConfig::default()
        };
        let scene = Scene::new(config, |packet| {
            by_port(
                packet.session.sender.port(),
                packet.direction,
                packet.sequence,
            )
        });
        let options = [
            "--sessions",
            "500",
            "--source-port",
            "20000",
            "--count",
            "5000",
            "--rate",
            "5000",
            "--per-session-histograms",
            "3",
        ];
        let run = scene.run(transport, &options);
        let figures = check(&run);
        assert!(
            figures.reordered > 50 && figures.duplicates > 150,
            "{figures:?}"
        );
        check_directions(&run, &figures, 0);
        let ports: Vec<_> = run.sources().iter().map(SocketAddr::port).collect();
        assert_eq!(ports, (20000..20500).collect::<Vec<_>>());
        let sessions = run.value("per_session").as_array().unwrap();
        for (number, session) in sessions.iter().enumerate() {
            assert_eq!(session["rtt_ns"]["exact"], number < 3, "{session:#}");
            assert_eq!(session["rtt_ns"]["count"], session["received"]);
        }
    }
}

#[test]
fn sessions_spread_over_a_range_of_addresses() {
    skip_unless!(Need::Xdp);
    for (ip, range, addresses) in [
        (
            Ip::V4,
            "10.86.2.10-10.86.2.13",
            ["10.86.2.10", "10.86.2.11", "10.86.2.12", "10.86.2.13"],
        ),
        (
            Ip::V6,
            "fd00:862::a-fd00:862::d",
            ["fd00:862::a", "fd00:862::b", "fd00:862::c", "fd00:862::d"],
        ),
    ] {
        for transport in BOTH {
            let length = if ip == Ip::V4 { 24 } else { 64 };
            let relay = RelayConfig::default();
            let relay = RelayConfig {
                veth: VethConfig {
                    sender_addresses: (addresses.iter())
                        .map(|address| format!("{address}/{length}"))
                        .collect(),
                    ..relay.veth
                },
                ..relay
            };
            let scene = Scene::with(ip, &relay, ReflectorConfig::default(), |packet| {
                match (packet.direction, packet.sequence) {
                    (Direction::Backward, 3) => Fate::lose(),
                    _ => Fate::pass(),
                }
            });
            knows_the_sender_as(&scene, &addresses);
            let options = [
                "--source-range",
                range,
                "--sessions",
                "12",
                "--count",
                "480",
                "--rate",
                "1000",
                "--source-port",
                "30000",
            ];
            let run = scene.run(transport, &options);
            let figures = check(&run);
            assert_eq!(figures.lost, 12);
            let mut sources = run.sources();
            sources.sort_unstable();
            let expected: Vec<SocketAddr> = (addresses.iter())
                .flat_map(|address| {
                    let address = address.parse::<std::net::IpAddr>().unwrap();
                    (30000..30003).map(move |port| SocketAddr::new(address, port))
                })
                .collect();
            assert_eq!(sources, expected);
        }
    }
}

/// Permanent neighbours, so that no packet waits for one; see [`RelayConfig::veth`].
fn knows_the_sender_as(scene: &Scene, addresses: &[&str]) {
    let veth = &scene.relay.veth;
    let mac = veth
        .sender
        .mac
        .map(|octet| format!("{octet:02x}"))
        .join(":");
    for address in addresses {
        let entry = format!("neighbour replace {address} lladdr {mac} dev veth-r nud permanent");
        veth.reflector.namespace.ip(&entry).unwrap();
    }
}

#[test]
fn five_thousand_sessions_share_one_address() {
    skip_unless!(Need::Xdp);
    let scene = Scene::new(ReflectorConfig::default(), |packet| {
        let lost = packet.session.sender.port() % 100 == 7 && packet.sequence == 1;
        if lost && packet.direction == Direction::Forward {
            Fate::lose()
        } else {
            Fate::pass()
        }
    });
    let options = ["--sessions", "5000", "--count", "10000", "--rate", "5000"];
    let run = scene.run(Transport::AfXdp, &options);
    let figures = check(&run);
    assert_eq!((figures.sent, figures.lost), (10_000, 50));
}

#[test]
fn replies_on_any_queue_find_their_session() {
    skip_unless!(Need::Xdp);
    let relay = RelayConfig::default();
    let relay = RelayConfig {
        veth: VethConfig {
            queues: 3,
            ..relay.veth
        },
        ..relay
    };
    for (transport, queues) in [
        (Transport::AfXdp, Some("1")),
        (Transport::AfXdp, Some("2")),
        (Transport::AfXdp, Some("3")),
        (Transport::Socket, None),
    ] {
        let config = ReflectorConfig::default();
        let scene = Scene::with(Ip::V4, &relay, config, |packet| match packet.sequence {
            5 if packet.direction == Direction::Forward => Fate::lose(),
            _ => Fate::pass(),
        });
        let mut options = vec!["--sessions", "50", "--count", "2500", "--rate", "5000"];
        if let Some(queues) = queues {
            options.extend(["--queues", queues]);
        }
        let run = scene.run(transport, &options);
        let figures = check(&run);
        assert_eq!((figures.lost, figures.reordered), (50, 0));
        let queues = queues.map(|queues| queues.parse::<u64>().unwrap());
        assert_eq!(run.value("transport/queues").as_u64(), queues);
    }
}
