//! What the options of the wire put on the wire, read from the frames at the far end, where a raw
//! peer sends each back.

use std::net::UdpSocket;
use std::time::{SystemTime, UNIX_EPOCH};

use testbed::{DEFAULT_TIMEOUT, Datagram, Fate, Need, RawPeer, RelayConfig, skip_unless};

use crate::scene::{BOTH, Ip, Run, Scene, Transport};

const COUNT: usize = 60;

/// The frames of one run, in the order in which they came, and the run.
struct Seen {
    frames: Vec<Vec<u8>>,
    datagrams: Vec<Datagram>,
    run: Run,
}

/// Where the Ethernet payload begins.
fn network_layer(frame: &[u8]) -> usize {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    at + 2
}

/// The frame as an echo server would send it back. No checksum changes by swapping.
fn turned_around(frame: &[u8]) -> Vec<u8> {
    let mut back = frame.to_vec();
    let (left, right) = back.split_at_mut(6);
    left.swap_with_slice(&mut right[..6]);
    let ip = network_layer(frame);
    let (addresses, octets) = if frame[ip] >> 4 == 4 {
        (ip + 12, 4)
    } else {
        (ip + 8, 16)
    };
    for (from, width) in [(addresses, octets), (addresses + 2 * octets, 2)] {
        let (left, right) = back[from..from + 2 * width].split_at_mut(width);
        left.swap_with_slice(right);
    }
    back
}

/// Runs the sender with these options and sends everything back.
fn exchange(ip: Ip, transport: Transport, options: &[&str]) -> Seen {
    let mut config = RelayConfig {
        reply_sequence_offset: 0,
        ..RelayConfig::default()
    };
    config.veth.permanent_neighbours = true;
    let scene = Scene::without_reflector(ip, &config, |_| Fate::pass());
    let end = &scene.relay.veth.reflector;
    let peer = RawPeer::open(end).unwrap();
    // So that the kernel there does not say that nobody listens.
    let target = scene.target();
    let _silent = end.namespace.run(|| UdpSocket::bind(target).unwrap());
    let count = COUNT.to_string();
    let mut all = vec!["--count", &count, "--rate", "1000"];
    all.extend(options);
    let mut sender = scene.start(transport, &all);
    let mut frames = Vec::new();
    let mut datagrams = Vec::new();
    while frames.len() < COUNT {
        let is_ours = |frame: &[u8]| {
            Datagram::parse(frame).is_ok_and(|datagram| datagram.destination == target)
        };
        let frame = peer.recv_matching(is_ours, DEFAULT_TIMEOUT).unwrap();
        let frame = frame.unwrap_or_else(|| panic!("no frame: {}", sender.stderr()));
        peer.send(&turned_around(&frame)).unwrap();
        datagrams.push(Datagram::parse(&frame).unwrap());
        frames.push(frame);
    }
    let run = scene.finish_unlogged(&mut sender);
    assert_eq!(run.status, Some(0), "{options:?}: {}", run.stderr);
    assert_eq!(run.number("received"), 60, "{options:?}: {:#}", run.report);
    for datagram in &datagrams {
        assert!(datagram.udp_checksum_valid, "{options:?}: {datagram:?}");
    }
    let numbers = |datagram: &Datagram| number(&datagram.payload[..4]);
    let sorted: Vec<u32> = datagrams.iter().map(numbers).collect();
    assert!(sorted.is_sorted(), "{sorted:?}");
    Seen {
        frames,
        datagrams,
        run,
    }
}

fn number(octets: &[u8]) -> u32 {
    u32::from_be_bytes(octets[..4].try_into().unwrap())
}

#[test]
fn sizes_are_those_asked_for_and_zero_padding_is_zero() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for (ip, size) in [
            (Ip::V4, 14),
            (Ip::V4, 15),
            (Ip::V4, 45),
            (Ip::V4, 1472),
            (Ip::V6, 14),
            (Ip::V6, 1452),
        ] {
            let seen = exchange(ip, transport, &["--size", &size.to_string()]);
            for datagram in &seen.datagrams {
                assert_eq!(datagram.payload.len(), size);
                assert!(datagram.payload[14..].iter().all(|&octet| octet == 0));
                assert_eq!((datagram.ttl, datagram.tos), (255, 0));
            }
            let numbers = seen
                .datagrams
                .iter()
                .map(|datagram| number(&datagram.payload));
            assert!(numbers.eq(0..60));
        }
    }
}

#[test]
fn random_padding_is_the_same_in_every_packet_and_follows_from_the_seed() {
    skip_unless!(Need::Xdp);
    let mut paddings = Vec::new();
    for transport in BOTH {
        let random = ["--size", "400", "--padding", "random", "--seed", "beef"];
        let seen = exchange(Ip::V4, transport, &random);
        let padding = seen.datagrams[0].payload[14..].to_vec();
        assert!(
            padding
                .chunks(16)
                .all(|part| part.iter().any(|&octet| octet != 0))
        );
        for datagram in &seen.datagrams {
            assert_eq!(datagram.payload[14..], padding);
        }
        paddings.push(padding);
    }
    assert_eq!(paddings[0], paddings[1]);
    let other = ["--size", "400", "--padding", "random", "--seed", "beee"];
    let seen = exchange(Ip::V4, Transport::Socket, &other);
    assert_ne!(seen.datagrams[0].payload[14..], paddings[0]);
}

#[test]
fn dscp_ecn_ttl_and_df_are_in_the_header() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for ip in [Ip::V4, Ip::V6] {
            for fragments in [true, false] {
                let mut options = vec!["--dscp", "af41", "--ecn", "ce", "--ttl", "17"];
                if !fragments {
                    options.push("--df");
                }
                let seen = exchange(ip, transport, &options);
                for (datagram, frame) in seen.datagrams.iter().zip(&seen.frames) {
                    assert_eq!((datagram.tos, datagram.ttl), (34 << 2 | 3, 17));
                    if ip == Ip::V4 {
                        let flags = frame[14 + 6];
                        assert_eq!(flags, if fragments { 0 } else { 0x40 });
                    }
                }
            }
        }
    }
}

#[test]
fn t1_is_written_in_the_format_asked_for_and_kept_as_it_was_written() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        for (format, z, epoch, scale) in [
            ("ntp", 0, 2_208_988_800_i64, 1_i64 << 32),
            ("ptp", 0x4000, 0, 1_000_000_000),
        ] {
            let seen = exchange(Ip::V4, transport, &["--format", format]);
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs();
            for datagram in &seen.datagrams {
                let payload = &datagram.payload;
                let sequence = number(payload);
                let seconds = i64::from(number(&payload[4..])) - epoch;
                let off = seconds - i64::try_from(now).unwrap();
                assert!((-200..=100).contains(&off), "{format}: {off}");
                let estimate = u16::from_be_bytes([payload[12], payload[13]]);
                assert_eq!(estimate & 0x4000, z, "the Z bit (RFC 8186 section 2.1)");
                assert_ne!(estimate & 0xff, 0, "a Multiplier of 0 is forbidden");
                let fraction = i64::from(number(&payload[8..])) * 1_000_000_000 / scale;
                let t1 = seconds * 1_000_000_000 + fraction;
                let row = seen
                    .run
                    .rows
                    .iter()
                    .find(|row| row.sequence == sequence)
                    .unwrap();
                // The kernel's offset between TAI and UTC, whatever it says.
                let offset = t1 - row.t1_ns;
                let whole = (offset + 500_000_000).div_euclid(1_000_000_000) * 1_000_000_000;
                assert!((offset - whole).abs() <= 1, "{format}: {offset}");
                assert!(z != 0 || whole == 0, "{format}: {offset}");
            }
        }
    }
}

#[test]
fn stamp_packets_carry_an_identifier_per_session() {
    skip_unless!(Need::Xdp);
    for transport in BOTH {
        let options = ["--stamp", "--ssid", "65534", "--sessions", "3"];
        let seen = exchange(Ip::V6, transport, &options);
        let sources = seen.run.sources();
        for datagram in &seen.datagrams {
            let session = sources.iter().position(|&source| source == datagram.source);
            // 0 means none (RFC 8972 section 3), and so is left out.
            let expected = [65534_u16, 65535, 1][session.unwrap()];
            assert_eq!(datagram.payload.len(), 44, "RFC 8762 section 4.2.1");
            assert_eq!(datagram.payload[14..16], expected.to_be_bytes());
            assert!(datagram.payload[16..].iter().all(|&octet| octet == 0));
        }
    }
}

#[test]
fn tags_and_next_hop_are_those_asked_for_and_tagged_replies_are_measured() {
    skip_unless!(Need::Xdp);
    let mac = "02:00:00:00:be:ef";
    // EtherType and tag of each (IEEE 802.1Q).
    let single = [0x81, 0x00, 0x60, 0x64];
    let double = [0x88, 0xa8, 0x00, 0xc8, 0x81, 0x00, 0xa1, 0x2c];
    for (ip, options, tags) in [
        (Ip::V4, &["--vlan", "100:3"][..], &single[..]),
        (Ip::V6, &["--vlan", "100:3"][..], &single[..]),
        (
            Ip::V4,
            &["--vlan", "200", "--vlan", "300:5"][..],
            &double[..],
        ),
        (Ip::V4, &[][..], &[][..]),
    ] {
        let options = [options, &["--next-hop-mac", mac]].concat();
        let seen = exchange(ip, Transport::AfXdp, &options);
        for (frame, datagram) in seen.frames.iter().zip(&seen.datagrams) {
            assert_eq!(frame[12..12 + tags.len()], *tags);
            assert_eq!(datagram.destination_mac, [2, 0, 0, 0, 0xbe, 0xef]);
        }
        assert_eq!(*seen.run.value("t4/xdp_replies"), 60);
    }
}
