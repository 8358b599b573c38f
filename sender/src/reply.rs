//! What a datagram from the target says: which probe it answers, and the reflector's stamps.
//!
//! Lenient where peers are sloppy and the fields we use are not concerned: any length from 38
//! octets, any MBZ, any padding, either timestamp format.

use wire::time::{NtpTimestamp, PtpTimestamp, Tai, TimestampFormat, Utc};
use wire::twamp::{REPLY_LEN, Reply, Request};

use crate::measure::ReplyStamps;
use crate::measure::delay::ReflectorTimes;
use crate::probe::Probe;

/// A datagram read as an answer to a probe. Whether such a probe was sent is for the caller to
/// check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Sequence number of the probe.
    pub sequence: u32,
    /// T1 as it came back.
    pub timestamp: [u8; 8],
    /// The reflector's stamps.
    pub stamps: ReplyStamps,
    /// The reflector's own sequence number; `None` for an echo.
    pub reflector: Option<u32>,
    /// The Session-Sender Identifier; 0 from peers that know none, `None` for an echo.
    pub ssid: Option<u16>,
    /// TTL or Hop Limit with which the probe arrived, unless the reply ends before it.
    pub sender_ttl: Option<u8>,
    /// The octet after it, which is the TOS with which the probe arrived where both ends agreed on
    /// RFC 7750, and padding or MBZ elsewhere.
    pub sender_tos: Option<u8>,
}

/// Reads a datagram as a reflected packet (RFC 5357 section 4.2.1, RFC 8762 section 4.3.1).
///
/// `t4` tells the era of T2 and T3. `None` when it is too short, or when a PTP timestamp has a
/// second's worth of nanoseconds or more.
pub fn reflected(head: &[u8], t4: Utc) -> Option<Answer> {
    let reply = Reply::parse(head).ok()?;
    Some(Answer {
        sequence: reply.sender_sequence(),
        timestamp: reply.sender_timestamp(),
        stamps: stamps(&reply, t4)?,
        reflector: Some(reply.sequence()),
        ssid: Some(reply.ssid()),
        sender_ttl: reply.sender_ttl(),
        sender_tos: head.get(REPLY_LEN).copied(),
    })
}

/// Reads a datagram of `len` octets, of which `head` are at hand, as one of our own probes, like
/// `probe`, sent back unchanged. Plain echo servers do that.
pub fn echoed(head: &[u8], len: usize, probe: &Probe) -> Option<Answer> {
    let request = Request::parse(head).ok()?;
    probe.has_rest_of(head, len).then(|| Answer {
        sequence: request.sequence(),
        timestamp: request.timestamp(),
        stamps: ReplyStamps::EchoOnly,
        reflector: None,
        ssid: None,
        sender_ttl: None,
        sender_tos: None,
    })
}

/// T2 and T3 in the format that the reflector's Z bit names (RFC 8186 section 2.1).
fn stamps(reply: &Reply<'_>, t4: Utc) -> Option<ReplyStamps> {
    let error = reply.error_estimate();
    let (t2, t3) = (reply.receive_timestamp(), reply.timestamp());
    // All zeros means "not available" in either format.
    if t2 == [0; 8] || t3 == [0; 8] {
        return Some(ReplyStamps::EchoOnly);
    }
    let times = match error.format() {
        TimestampFormat::Ntp => ReflectorTimes {
            receive: NtpTimestamp::from_bytes(t2).to_utc(t4).nanos(),
            transmit: NtpTimestamp::from_bytes(t3).to_utc(t4).nanos(),
        },
        TimestampFormat::Ptp => ReflectorTimes {
            receive: ptp_nanos(t2, t4)?,
            transmit: ptp_nanos(t3, t4)?,
        },
    };
    Some(ReplyStamps::Stamped(times, error))
}

fn ptp_nanos(octets: [u8; 8], t4: Utc) -> Option<i64> {
    // UTC stands in for TAI to choose the era: they are less than a minute apart, an era is 136
    // years.
    let near = Tai::from_nanos(t4.nanos());
    Some(PtpTimestamp::from_bytes(octets).ok()?.to_tai(near).nanos())
}

#[cfg(test)]
mod tests {
    use wire::error_estimate::ErrorEstimate;

    use super::*;
    use crate::probe::{Padding, ProbeSpec};
    use crate::stamp::StampFormat;
    use wire::twamp::REQUEST_LEN;

    const T1: Utc = Utc::from_nanos(1_700_000_000_000_000_000);
    const T4: Utc = Utc::from_nanos(1_700_000_000_000_900_000);

    fn blank(size: usize) -> Probe {
        Probe::new(&ProbeSpec {
            size,
            padding: Padding::Zero,
            ssid: None,
        })
    }

    fn probe(size: usize) -> Vec<u8> {
        let t1 = StampFormat::Ntp.encode(T1);
        blank(size)
            .write(0, 7, t1, ErrorEstimate::from_bits(0x0001))
            .to_vec()
    }

    /// A reply of 41 octets to probe 7.
    fn reply(t2: [u8; 8], t3: [u8; 8], error_estimate: u16) -> Vec<u8> {
        let mut octets = vec![0; 41];
        octets[4..12].copy_from_slice(&t3);
        octets[12..14].copy_from_slice(&error_estimate.to_be_bytes());
        octets[16..24].copy_from_slice(&t2);
        octets[24..38].copy_from_slice(&probe(14));
        octets
    }

    fn ntp(nanos: i64) -> [u8; 8] {
        NtpTimestamp::from_utc(Utc::from_nanos(nanos)).to_bytes()
    }

    #[test]
    fn reads_ntp_stamps_in_the_era_of_t4() {
        let (t2, t3) = (T1.nanos() + 100_000, T1.nanos() + 200_000);
        let answer = reflected(&reply(ntp(t2), ntp(t3), 0x8001), T4).unwrap();
        assert_eq!((answer.sequence, answer.timestamp), (7, ntp(T1.nanos())));
        let times = ReflectorTimes {
            receive: t2,
            transmit: t3,
        };
        assert_eq!(
            answer.stamps,
            ReplyStamps::Stamped(times, ErrorEstimate::from_bits(0x8001))
        );
    }

    #[test]
    fn reads_ptp_stamps_when_the_reflectors_z_bit_says_so() {
        let stamp = |nanos| PtpTimestamp::from_tai(Tai::from_nanos(nanos)).to_bytes();
        let (t2, t3) = (T1.nanos() + 37_000_000_001, T1.nanos() + 37_000_000_002);
        let answer = reflected(&reply(stamp(t2), stamp(t3), 0x4001), T4).unwrap();
        let times = ReflectorTimes {
            receive: t2,
            transmit: t3,
        };
        assert_eq!(
            answer.stamps,
            ReplyStamps::Stamped(times, ErrorEstimate::from_bits(0x4001))
        );
    }

    #[test]
    fn refuses_a_ptp_stamp_with_too_many_nanoseconds() {
        let bad = [0x65, 0, 0, 0, 0x3b, 0x9a, 0xca, 0x00];
        assert_eq!(reflected(&reply(bad, bad, 0x4001), T4), None);
        assert!(
            reflected(&reply(bad, bad, 0x0001), T4).is_some(),
            "legal as NTP"
        );
    }

    #[test]
    fn missing_stamps_make_an_echo() {
        for (t2, t3) in [([0; 8], [0; 8]), ([0; 8], ntp(5)), (ntp(5), [0; 8])] {
            let answer = reflected(&reply(t2, t3, 0x0001), T4).unwrap();
            assert_eq!(answer.stamps, ReplyStamps::EchoOnly);
        }
    }

    #[test]
    fn a_reply_may_be_38_octets_long_but_not_shorter() {
        let octets = reply(ntp(1), ntp(2), 1);
        assert!(reflected(&octets[..38], T4).is_some());
        for len in 0..38 {
            assert_eq!(reflected(&octets[..len], T4), None, "{len}");
        }
    }

    #[test]
    fn recognises_its_own_probe_coming_back() {
        for size in [14, 41, 44, 100] {
            let octets = probe(size);
            let answer = echoed(&octets, size, &blank(size)).unwrap();
            assert_eq!((answer.sequence, answer.timestamp), (7, ntp(T1.nanos())));
            assert_eq!(answer.stamps, ReplyStamps::EchoOnly);
        }
    }

    #[test]
    fn an_echo_is_unchanged_in_length_and_padding() {
        let mut octets = probe(44);
        assert_eq!(echoed(&octets, 44, &blank(45)), None, "another length");
        octets[43] = 1;
        assert_eq!(echoed(&octets, 44, &blank(44)), None, "another padding");
        assert_eq!(echoed(&octets[..13], 13, &blank(14)), None, "no header");
    }

    #[test]
    fn never_panics_on_any_length() {
        for len in 0..200 {
            let octets = vec![0xff; len];
            let _ = reflected(&octets, T4);
            assert_eq!(
                echoed(&octets, len, &blank(len)).is_some(),
                len == REQUEST_LEN
            );
        }
    }
}
