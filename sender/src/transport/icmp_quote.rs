//! ICMP errors, and the UDP datagram that each quotes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::IcmpKind;

/// ICMP header, up to the quote (RFC 792, RFC 4443 section 2.1).
const ICMP_LEN: usize = 8;
const UDP: u8 = 17;

/// IPv6 extension headers at most before it is given up: no honest packet has more.
const EXTENSIONS_MAX: usize = 8;

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quote {
    /// What is wrong.
    pub(super) kind: IcmpKind,
    /// Where the datagram came from.
    pub(super) source: (IpAddr, u16),
    /// Where it was to go.
    pub(super) target: (IpAddr, u16),
}

/// Reads an IPv4 packet that holds an ICMP error about a UDP datagram, as a raw socket delivers it
/// (raw(7)). `None` for everything else, and where the quote ends before the ports.
pub(super) fn read_v4(packet: &[u8]) -> Option<Quote> {
    let (_, icmp) = split_ipv4(packet)?;
    let (header, quote) = icmp.split_first_chunk::<ICMP_LEN>()?;
    let [kind, code, ..] = *header;
    if !V4_ERRORS.contains(&kind) {
        return None;
    }
    let (header, body) = split_ipv4(quote)?;
    // Ports are in the first fragment only.
    let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if header[9] != UDP || fragment_offset != 0 {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = *header.get(at..)?.first_chunk()?;
        Some(Ipv4Addr::from(octets).into())
    };
    let (source, target) = ports(body)?;
    Some(Quote {
        kind: IcmpKind::from_v4(kind, code),
        source: (address(12)?, source),
        target: (address(16)?, target),
    })
}

/// Reads an `ICMPv6` error about a UDP datagram, as a raw socket delivers it: without the IPv6
/// header. `None` for everything else, and where the quote ends before the ports.
pub(super) fn read_v6(icmp: &[u8]) -> Option<Quote> {
    const IPV6_LEN: usize = 40;
    let (header, quote) = icmp.split_first_chunk::<ICMP_LEN>()?;
    let [kind, code, ..] = *header;
    if !V6_ERRORS.contains(&kind) {
        return None;
    }
    let (header, body) = quote.split_first_chunk::<IPV6_LEN>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = *header.get(at..)?.first_chunk()?;
        Some(Ipv6Addr::from(octets).into())
    };
    let (source, target) = ports(skip_extensions(header[6], body)?)?;
    Some(Quote {
        kind: IcmpKind::from_v6(kind, code),
        source: (address(8)?, source),
        target: (address(24)?, target),
    })
}

/// Destination unreachable, time exceeded, parameter problem. Redirects and the old source quench
/// are no errors.
pub(super) const V4_ERRORS: [u8; 3] = [3, 11, 12];
/// Destination unreachable, packet too big, time exceeded, parameter problem.
pub(super) const V6_ERRORS: [u8; 4] = [1, 2, 3, 4];

/// The fixed part of an IPv4 header, and what comes after its options.
fn split_ipv4(packet: &[u8]) -> Option<(&[u8; 20], &[u8])> {
    let header = packet.first_chunk::<20>()?;
    let words = header[0] & 0x0f;
    if header[0] >> 4 != 4 || words < 5 {
        return None;
    }
    Some((header, packet.get(usize::from(words) * 4..)?))
}

/// What comes after the extension headers, if it is UDP (RFC 8200 section 4).
fn skip_extensions(mut next: u8, mut rest: &[u8]) -> Option<&[u8]> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    for _ in 0..EXTENSIONS_MAX {
        let len = match next {
            UDP => return Some(rest),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*rest.get(1)?) + 1) * 8,
            FRAGMENT => {
                let [_, _, high, low, ..] = *rest.first_chunk::<8>()?;
                // Ports are in the first fragment only.
                if u16::from_be_bytes([high, low]) >> 3 != 0 {
                    return None;
                }
                8
            }
            _ => return None,
        };
        next = *rest.first()?;
        rest = rest.get(len..)?;
    }
    None
}

/// Source and destination port of a UDP header.
fn ports(udp: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *udp.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};
    use proptest::prelude::*;

    const SOURCE: u16 = 40_001;
    const TARGET: u16 = 862;

    fn probe_v4(options: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
            .udp(SOURCE, TARGET)
            .write(&mut octets, &[7; 44])
            .unwrap();
        insert_options(&mut octets, options);
        octets
    }

    /// Lengthens an IPv4 header; nobody looks at the other fields.
    fn insert_options(packet: &mut Vec<u8>, options: &[u8]) {
        packet.splice(20..20, options.iter().copied());
        packet[0] = 0x45 + u8::try_from(options.len() / 4).unwrap();
    }

    fn probe_v6() -> Vec<u8> {
        let mut octets = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 9)
            .udp(SOURCE, TARGET)
            .write(&mut octets, &[7; 44])
            .unwrap();
        octets
    }

    /// The IPv6 probe with extension headers, `(type, whole header but its next header)`.
    fn extended(headers: &[(u8, &[u8])]) -> Vec<u8> {
        let mut probe = probe_v6();
        let mut next = UDP;
        for &(kind, header) in headers.iter().rev() {
            probe.splice(40..40, [&[next], header].concat());
            next = kind;
        }
        probe[6] = next;
        probe
    }

    fn error_v4(kind: Icmpv4Type, quote: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        PacketBuilder::ipv4([10, 9, 9, 9], [10, 0, 0, 1], 9)
            .icmpv4(kind)
            .write(&mut octets, quote)
            .unwrap();
        octets
    }

    fn error_v6(kind: Icmpv6Type, quote: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        PacketBuilder::ipv6([3; 16], [1; 16], 9)
            .icmpv6(kind)
            .write(&mut octets, quote)
            .unwrap();
        octets.split_off(40)
    }

    fn quote_v4(kind: IcmpKind) -> Quote {
        Quote {
            kind,
            source: ([10, 0, 0, 1].into(), SOURCE),
            target: ([10, 0, 0, 2].into(), TARGET),
        }
    }

    fn quote_v6(kind: IcmpKind) -> Quote {
        Quote {
            kind,
            source: ([1; 16].into(), SOURCE),
            target: ([2; 16].into(), TARGET),
        }
    }

    const UNREACHABLE_V4: Icmpv4Type =
        Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
    const UNREACHABLE_V6: Icmpv6Type =
        Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port);

    #[test]
    fn reads_errors_of_both_protocols() {
        let exceeded = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
        for (kind, expected) in [
            (UNREACHABLE_V4, IcmpKind::PortUnreachable),
            (exceeded, IcmpKind::TimeExceeded),
        ] {
            let read = read_v4(&error_v4(kind, &probe_v4(&[])));
            assert_eq!(read, Some(quote_v4(expected)));
        }
        for (kind, expected) in [
            (UNREACHABLE_V6, IcmpKind::PortUnreachable),
            (Icmpv6Type::PacketTooBig { mtu: 1280 }, IcmpKind::TooBig),
        ] {
            let read = read_v6(&error_v6(kind, &probe_v6()));
            assert_eq!(read, Some(quote_v6(expected)));
        }
    }

    #[test]
    fn finds_the_ports_behind_options_and_extension_headers() {
        let quote = probe_v4(&[1, 1, 1, 1, 1, 1, 1, 0]);
        let mut packet = error_v4(UNREACHABLE_V4, &quote);
        let expected = Some(quote_v4(IcmpKind::PortUnreachable));
        assert_eq!(read_v4(&packet), expected);
        // Options in the outer header as well.
        insert_options(&mut packet, &[1, 1, 1, 0]);
        assert_eq!(read_v4(&packet), expected);

        let first_fragment: (u8, &[u8]) = (44, &[0, 0, 1, 0, 0, 0, 9]);
        let quote = extended(&[
            (0, &[0, 1, 4, 0, 0, 0, 0]),
            (60, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            first_fragment,
        ]);
        assert_eq!(
            read_v6(&error_v6(UNREACHABLE_V6, &quote)),
            Some(quote_v6(IcmpKind::PortUnreachable))
        );
    }

    #[test]
    fn gives_up_on_what_shows_no_ports() {
        let mut fragment = probe_v4(&[]);
        fragment[7] = 1;
        let mut tcp = probe_v4(&[]);
        tcp[9] = 6;
        for quote in [fragment, tcp, probe_v6()] {
            assert_eq!(read_v4(&error_v4(UNREACHABLE_V4, &quote)), None);
        }
        let later_fragment: (u8, &[u8]) = (44, &[0, 0, 8, 0, 0, 0, 9]);
        let authenticated: (u8, &[u8]) = (51, &[0, 0, 0, 0, 0, 0, 0]);
        let padded: (u8, &[u8]) = (60, &[0, 1, 4, 0, 0, 0, 0]);
        for headers in [vec![later_fragment], vec![authenticated], vec![padded; 8]] {
            let quote = extended(&headers);
            assert_eq!(read_v6(&error_v6(UNREACHABLE_V6, &quote)), None);
        }
        assert_eq!(read_v6(&error_v6(UNREACHABLE_V6, &probe_v4(&[]))), None);
    }

    #[test]
    fn news_that_is_no_error_is_none() {
        let echo = IcmpEchoHeader { id: 1, seq: 2 };
        let quote = probe_v4(&[]);
        assert_eq!(
            read_v4(&error_v4(Icmpv4Type::EchoReply(echo), &quote)),
            None
        );
        let echo = Icmpv6Type::EchoReply(echo);
        assert_eq!(read_v6(&error_v6(echo, &probe_v6())), None);
    }

    #[test]
    fn a_quote_may_end_right_after_the_ports_and_no_sooner() {
        let packet = error_v4(UNREACHABLE_V4, &probe_v4(&[0; 4]));
        let needed = 20 + 8 + 24 + 4;
        for len in 0..packet.len() {
            assert_eq!(read_v4(&packet[..len]).is_some(), len >= needed, "{len}");
        }
        let quote = extended(&[(0, &[0, 1, 4, 0, 0, 0, 0])]);
        let packet = error_v6(UNREACHABLE_V6, &quote);
        let needed = 8 + 40 + 8 + 4;
        for len in 0..packet.len() {
            assert_eq!(read_v6(&packet[..len]).is_some(), len >= needed, "{len}");
        }
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_v4(&octets);
            let _ = read_v6(&octets);
        }

        #[test]
        fn a_spoilt_error_does_no_harm(at in 0..100usize, value in any::<u8>(), len in 0..200usize) {
            let extended = extended(&[(0, &[0, 1, 4, 0, 0, 0, 0]), (44, &[0, 0, 1, 0, 0, 0, 9])]);
            for (read, mut packet) in [
                (read_v4 as fn(&[u8]) -> _, error_v4(UNREACHABLE_V4, &probe_v4(&[0; 8]))),
                (read_v6, error_v6(UNREACHABLE_V6, &extended)),
            ] {
                packet[at] = value;
                packet.truncate(len);
                let _: Option<Quote> = read(&packet);
            }
        }
    }
}
