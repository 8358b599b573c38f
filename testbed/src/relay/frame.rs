//! Finds and changes the UDP datagram in an Ethernet frame, by plain offsets.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use etherparse::checksum::Sum16BitWords;

use super::fate::Change;

const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;

/// Where the parts of a frame with a whole UDP datagram are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Datagram {
    ip: Ip,
    /// Start of the UDP header.
    udp: usize,
    /// The UDP payload, by the UDP length.
    pub payload: Range<usize>,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
}

/// An IP header without fragment or IPv6 extension header behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ip {
    /// Start of the header.
    start: usize,
    version: Version,
    /// Start of the payload.
    payload: usize,
    /// End of the payload: Ethernet padding may follow.
    end: usize,
    protocol: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

impl Datagram {
    /// `None` where the frame has no whole UDP datagram, or one behind fragment or extension headers.
    pub(super) fn find(frame: &[u8]) -> Option<Self> {
        let ip = Ip::find(frame)?;
        if ip.protocol != UDP {
            return None;
        }
        let udp = ip.payload;
        let length = usize::from(word(frame, udp + 4)?);
        let end = udp + length;
        if length < UDP_HEADER || end > ip.end {
            return None;
        }
        let (source, destination) = ip.addresses(frame)?;
        Some(Self {
            ip,
            udp,
            payload: udp + UDP_HEADER..end,
            source: (source, word(frame, udp)?).into(),
            destination: (destination, word(frame, udp + 2)?).into(),
        })
    }

    /// The whole TOS or traffic class octet.
    pub(super) fn tos(&self, frame: &[u8]) -> Option<u8> {
        let first = word(frame, self.ip.start)?.to_be_bytes();
        Some(match self.ip.version {
            Version::V4 => first[1],
            Version::V6 => first[0] << 4 | first[1] >> 4,
        })
    }

    /// TTL or hop limit.
    pub(super) fn ttl(&self, frame: &[u8]) -> Option<u8> {
        frame.get(self.ip.ttl_at()).copied()
    }

    /// Four octets of the payload as a number; `None` if it is shorter.
    pub(super) fn number(&self, frame: &[u8], offset: usize) -> Option<u32> {
        let payload = frame.get(self.payload.clone())?;
        Some(u32::from_be_bytes(
            *payload.get(offset..)?.first_chunk::<4>()?,
        ))
    }

    /// Makes the change; `None`, and nothing is sound any more, where the payload is too short for it.
    pub(super) fn change(&mut self, frame: &mut Vec<u8>, change: Change) -> Option<()> {
        match change {
            Change::Corrupt { octet } => self.invert(frame, octet),
            Change::Garble { octet } => {
                self.invert(frame, octet)?;
                self.ip.finish_checksum(frame)
            }
            Change::Truncate { len } => self.truncate(frame, len),
            Change::Tos(tos) => self.ip.set_tos(frame, tos),
            Change::Ttl(ttl) => {
                *frame.get_mut(self.ip.ttl_at())? = ttl;
                self.ip.finish_header(frame)
            }
        }
    }

    fn invert(&self, frame: &mut [u8], octet: usize) -> Option<()> {
        let octet = frame.get_mut(self.payload.clone())?.get_mut(octet)?;
        *octet = !*octet;
        Some(())
    }

    fn truncate(&mut self, frame: &mut Vec<u8>, len: usize) -> Option<()> {
        if len > self.payload.len() {
            return None;
        }
        let end = self.payload.start + len;
        frame.truncate(end);
        self.payload.end = end;
        self.ip.end = end;
        put(frame, self.udp + 4, u16::try_from(UDP_HEADER + len).ok()?)?;
        let (length_at, counted_from) = match self.ip.version {
            Version::V4 => (2, self.ip.start),
            Version::V6 => (4, self.ip.payload),
        };
        let length = u16::try_from(end - counted_from).ok()?;
        put(frame, self.ip.start + length_at, length)?;
        self.ip.finish_header(frame)?;
        self.ip.finish_checksum(frame)
    }
}

/// Computes the TCP or UDP checksum that a local socket left to offload; other frames stay.
pub(super) fn finish_checksum(frame: &mut [u8]) {
    if let Some(ip) = Ip::find(frame) {
        ip.finish_checksum(frame);
    }
}

impl Ip {
    fn find(frame: &[u8]) -> Option<Self> {
        // 802.1Q and 802.1ad tags, as many as there are
        let mut ethertype_at = 12;
        while matches!(word(frame, ethertype_at)?, 0x8100 | 0x88a8) {
            ethertype_at += 4;
        }
        let start = ethertype_at + 2;
        let ip = match word(frame, ethertype_at)? {
            0x0800 => Self::find_v4(frame, start)?,
            0x86dd => Self {
                start,
                version: Version::V6,
                payload: start + 40,
                end: start + 40 + usize::from(word(frame, start + 4)?),
                protocol: *frame.get(start + 6)?,
            },
            _ => return None,
        };
        (ip.payload <= ip.end && ip.end <= frame.len()).then_some(ip)
    }

    fn find_v4(frame: &[u8], start: usize) -> Option<Self> {
        const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;
        if word(frame, start + 6)? & MORE_FRAGMENTS_AND_OFFSET != 0 {
            return None;
        }
        let header = usize::from(*frame.get(start)? & 0xf) * 4;
        (header >= 20).then_some(Self {
            start,
            version: Version::V4,
            payload: start + header,
            end: start + usize::from(word(frame, start + 2)?),
            protocol: *frame.get(start + 9)?,
        })
    }

    fn ttl_at(self) -> usize {
        self.start
            + match self.version {
                Version::V4 => 8,
                Version::V6 => 7,
            }
    }

    /// Source and destination.
    fn addresses(self, frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
        let octets = frame.get(self.address_range())?;
        Some(match self.version {
            Version::V4 => {
                let (source, rest) = octets.split_first_chunk::<4>()?;
                (
                    IpAddr::from(*source),
                    IpAddr::from(*rest.first_chunk::<4>()?),
                )
            }
            Version::V6 => {
                let (source, rest) = octets.split_first_chunk::<16>()?;
                (
                    IpAddr::from(*source),
                    IpAddr::from(*rest.first_chunk::<16>()?),
                )
            }
        })
    }

    fn address_range(self) -> Range<usize> {
        match self.version {
            Version::V4 => self.start + 12..self.start + 20,
            Version::V6 => self.start + 8..self.start + 40,
        }
    }

    fn set_tos(self, frame: &mut [u8], tos: u8) -> Option<()> {
        let first = word(frame, self.start)?;
        let changed = match self.version {
            Version::V4 => first & 0xff00 | u16::from(tos),
            Version::V6 => first & 0xf00f | u16::from(tos) << 4,
        };
        put(frame, self.start, changed)?;
        self.finish_header(frame)
    }

    /// Makes the IPv4 header's checksum right.
    fn finish_header(self, frame: &mut [u8]) -> Option<()> {
        if self.version == Version::V4 {
            let at = self.start + 10;
            put(frame, at, 0)?;
            let header = frame.get(self.start..self.payload)?;
            let sum = Sum16BitWords::new().add_slice(header).ones_complement();
            put(frame, at, sum.to_be())?;
        }
        Some(())
    }

    /// Makes the TCP or UDP checksum right (RFC 768, RFC 9293, RFC 8200 section 8.1).
    fn finish_checksum(self, frame: &mut [u8]) -> Option<()> {
        let at = self.payload
            + match self.protocol {
                UDP => 6,
                TCP => 16,
                _ => return None,
            };
        put(frame, at, 0)?;
        let length = u16::try_from(self.end - self.payload).ok()?;
        let sum = Sum16BitWords::new()
            .add_slice(frame.get(self.address_range())?)
            .add_2bytes([0, self.protocol])
            .add_2bytes(length.to_be_bytes())
            .add_slice(frame.get(self.payload..self.end)?);
        let checksum = match self.protocol {
            UDP => sum.to_ones_complement_with_no_zero(),
            _ => sum.ones_complement(),
        };
        put(frame, at, checksum.to_be())
    }
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk::<2>()?))
}

fn put(frame: &mut [u8], at: usize, word: u16) -> Option<()> {
    *frame.get_mut(at..)?.first_chunk_mut::<2>()? = word.to_be_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{CUSTOMER_TAG, SERVICE_TAG};
    use crate::{Checksum, UdpFrame};

    const PAYLOAD: [u8; 15] = *b"fifteen octets!";

    fn sound() -> [UdpFrame; 4] {
        let v4 = UdpFrame::v4(
            "10.86.2.2:4000".parse().unwrap(),
            "10.86.2.1:862".parse().unwrap(),
        );
        let v6 = UdpFrame::v6(
            "[fd00:862::2]:4000".parse().unwrap(),
            "[fd00:862::1]:862".parse().unwrap(),
        );
        [
            v4.clone(),
            v4.ipv4_options(&[1, 1, 1, 0]).vlan(CUSTOMER_TAG, 7),
            v6.clone(),
            v6.vlan(SERVICE_TAG, 5).vlan(CUSTOMER_TAG, 7),
        ]
        .map(|frame| frame.payload(&PAYLOAD).tos(0xb9).ttl(77))
    }

    fn changed(frame: &UdpFrame, change: Change) -> crate::Datagram {
        let mut octets = frame.build();
        let mut datagram = Datagram::find(&octets).unwrap();
        datagram.change(&mut octets, change).unwrap();
        crate::Datagram::parse(&octets).unwrap()
    }

    #[test]
    fn finds_what_the_oracle_finds() {
        for frame in sound().map(|frame| frame.pad_to(90).build()) {
            let found = Datagram::find(&frame).unwrap();
            let oracle = crate::Datagram::parse(&frame).unwrap();
            assert_eq!(
                (found.source, found.destination),
                (oracle.source, oracle.destination)
            );
            assert_eq!(frame[found.payload.clone()], PAYLOAD);
            assert_eq!(
                (found.tos(&frame), found.ttl(&frame)),
                (Some(0xb9), Some(77))
            );
            assert_eq!(found.number(&frame, 11), Some(0x6574_7321), "ets!");
            assert_eq!(found.number(&frame, 12), None);
        }
    }

    #[test]
    fn fragments_extensions_and_broken_lengths_are_not_taken_for_datagrams() {
        for frame in sound() {
            assert_eq!(
                Datagram::find(&frame.clone().fragment(0, true).build()),
                None
            );
            assert_eq!(
                Datagram::find(&frame.clone().fragment(3, false).build()),
                None
            );
            assert_eq!(Datagram::find(&frame.clone().udp_length(7).build()), None);
            assert_eq!(Datagram::find(&frame.clone().udp_length(400).build()), None);
            let whole = frame.build();
            for length in 0..whole.len() {
                assert_eq!(Datagram::find(&whole[..length]), None, "{length} octets");
            }
        }
        let [_, _, v6, _] = sound();
        assert_eq!(Datagram::find(&v6.hop_by_hop().build()), None);
    }

    #[test]
    fn changes_do_what_they_say_and_nothing_else() {
        for frame in sound() {
            let before = crate::Datagram::parse(&frame.build()).unwrap();
            let mut inverted = PAYLOAD;
            inverted[3] = !inverted[3];

            let corrupt = changed(&frame, Change::Corrupt { octet: 3 });
            assert_eq!(
                (&corrupt.payload[..], corrupt.udp_checksum_valid),
                (&inverted[..], false)
            );
            assert_eq!(corrupt.udp_checksum, before.udp_checksum);

            let garbled = changed(&frame, Change::Garble { octet: 3 });
            assert_eq!(
                (&garbled.payload[..], garbled.udp_checksum_valid),
                (&inverted[..], true)
            );

            for len in 0..=PAYLOAD.len() {
                let cut = changed(&frame, Change::Truncate { len });
                assert_eq!(
                    (&cut.payload[..], cut.udp_checksum_valid),
                    (&PAYLOAD[..len], true)
                );
                assert_eq!((cut.tos, cut.ttl), (before.tos, before.ttl));
            }

            let tos = changed(&frame, Change::Tos(0x2e));
            assert_eq!(
                tos,
                crate::Datagram {
                    tos: 0x2e,
                    ..before.clone()
                }
            );
            let ttl = changed(&frame, Change::Ttl(1));
            assert_eq!(ttl, crate::Datagram { ttl: 1, ..before });
        }
    }

    #[test]
    fn a_change_that_does_not_fit_is_refused() {
        for frame in sound() {
            for change in [
                Change::Corrupt { octet: 15 },
                Change::Garble { octet: 15 },
                Change::Truncate { len: 16 },
            ] {
                let mut octets = frame.clone().pad_to(90).build();
                let mut datagram = Datagram::find(&octets).unwrap();
                assert_eq!(datagram.change(&mut octets, change), None, "{change:?}");
            }
        }
    }

    #[test]
    fn completes_partial_checksums() {
        for frame in sound() {
            let mut octets = frame.clone().checksum(Checksum::Partial).build();
            finish_checksum(&mut octets);
            assert_eq!(octets, frame.build());
        }
    }
}
