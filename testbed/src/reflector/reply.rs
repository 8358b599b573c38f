//! The octets of a reply.

use std::net::SocketAddr;
use std::time::Duration;

use super::socket::Received;
use super::{Format, Layout, Reflection, ReflectorConfig, ReplySize, Stamps};

/// The shortest request (RFC 4656 section 4.1.2).
const REQUEST_LEN: usize = 14;
/// The longest of the layouts.
const LONGEST_HEADER: usize = 44;
/// The Error Estimate's bit for PTPv2 (RFC 8186 section 2).
const Z: u16 = 0x4000;
/// Seconds from 1900 to 1970.
const NTP_TO_UNIX: i64 = 2_208_988_800;
/// What TAI is ahead of UTC since 2017, in seconds.
const TAI_TO_UTC: i64 = 37;

/// A request with its circumstances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    payload: &'a [u8],
    header: &'a [u8; REQUEST_LEN],
    received: Received,
}

impl<'a> Request<'a> {
    /// `None` if it is too short for one.
    pub(super) fn parse(payload: &'a [u8], received: Received) -> Option<Self> {
        Some(Self {
            payload,
            header: payload.first_chunk()?,
            received,
        })
    }

    pub(super) fn sender(&self) -> SocketAddr {
        self.received.from
    }

    pub(super) fn sequence(&self) -> u32 {
        let [a, b, c, d, ..] = *self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Octets 14 and 15 (RFC 8972 section 3); zero where the request ends before them.
    pub(super) fn ssid(&self) -> [u8; 2] {
        let after = self.payload.get(REQUEST_LEN..).unwrap_or_default();
        after.first_chunk().copied().unwrap_or_default()
    }
}

/// A reply that lacks T3.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub payload: Vec<u8>,
    pub ttl: u8,
    pub tos: u8,
    /// When it leaves by the reflector's clock; `None`: at once.
    pub due: Option<i64>,
    reflection: Reflection,
}

impl Answer {
    pub(super) fn new(
        config: &ReflectorConfig,
        request: &Request<'_>,
        number: u32,
        t2: i64,
    ) -> Self {
        let received = &request.received;
        let (payload, own_sequence) = if config.echo {
            (request.payload.to_vec(), request.sequence())
        } else {
            (payload(config, request, number, t2), number)
        };
        let due = match config.stamps {
            Stamps::Residence(time) => Some(t2.saturating_add(nanos(time))),
            Stamps::Clock | Stamps::Backwards(_) | Stamps::Zero => None,
        };
        let reflection = Reflection {
            sender: received.from,
            sequence: request.sequence(),
            own_sequence,
            ttl: received.ttl,
            tos: received.tos,
            request_len: request.payload.len(),
            reply_len: payload.len(),
            t2,
            t3: t2,
        };
        Self {
            payload,
            ttl: config.ttl,
            tos: config.tos.unwrap_or(received.tos & !0b11),
            due,
            reflection,
        }
    }

    /// Writes T3, by a clock that reads `now`, and tells what was done.
    pub(super) fn finish(&mut self, config: &ReflectorConfig, now: i64) -> Reflection {
        let t3 = match config.stamps {
            Stamps::Clock | Stamps::Zero => now,
            Stamps::Residence(_) => self.due.unwrap_or(now),
            Stamps::Backwards(time) => self.reflection.t2.saturating_sub(nanos(time)),
        };
        if !config.echo {
            put(&mut self.payload, 4, &stamp(config, t3));
        }
        self.reflection.t3 = t3;
        self.reflection
    }
}

fn payload(config: &ReflectorConfig, request: &Request<'_>, number: u32, t2: i64) -> Vec<u8> {
    let header_len = match config.layout {
        Layout::Light => 41,
        Layout::DscpEcn | Layout::Stamp => 44,
    };
    let z = match config.format {
        Format::Ntp => 0,
        Format::Ptp => Z,
    };
    let mut header = [0; LONGEST_HEADER];
    put(&mut header, 0, &number.to_be_bytes());
    put(
        &mut header,
        12,
        &(config.error_estimate & !Z | z).to_be_bytes(),
    );
    put(&mut header, 16, &stamp(config, t2));
    // Sequence Number, T1 and Error Estimate of the request, bit for bit
    put(&mut header, 24, request.header);
    put(
        &mut header,
        40,
        &[config.sender_ttl.unwrap_or(request.received.ttl)],
    );
    match config.layout {
        Layout::Light => {}
        Layout::DscpEcn => put(&mut header, 41, &[request.received.tos]),
        Layout::Stamp => put(&mut header, 14, &request.ssid()),
    }
    let len = match config.size {
        ReplySize::Rule => request.payload.len().max(header_len),
        ReplySize::Request => request.payload.len(),
        ReplySize::Exactly(len) => len,
    };
    // What follows the header is the request's, at the same offsets.
    let mut reply = request.payload.to_vec();
    reply.resize(len.max(header_len), 0);
    put(&mut reply, 0, header.get(..header_len).unwrap_or_default());
    reply.truncate(len);
    reply
}

/// T2 or T3 as the reply tells it.
fn stamp(config: &ReflectorConfig, utc: i64) -> [u8; 8] {
    if config.stamps == Stamps::Zero {
        return [0; 8];
    }
    let (seconds, nanos) = (utc.div_euclid(1_000_000_000), utc.rem_euclid(1_000_000_000));
    let (seconds, fraction) = match config.format {
        Format::Ntp => (
            seconds + NTP_TO_UNIX,
            ((nanos << 32) + 500_000_000) / 1_000_000_000,
        ),
        Format::Ptp => (seconds + TAI_TO_UTC, nanos),
    };
    // Seconds wrap in 2036 and 2106; the fraction always fits into the lower half.
    let value = seconds.cast_unsigned() << 32 | fraction.cast_unsigned();
    value.to_be_bytes()
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Writes as much of `octets` as there is room for.
fn put(payload: &mut [u8], at: usize, octets: &[u8]) {
    let room = payload.get_mut(at..).unwrap_or_default();
    for (target, &octet) in room.iter_mut().zip(octets) {
        *target = octet;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29T12:00:00.5 UTC.
    const T2: i64 = 1_709_208_000_500_000_000;

    fn request(payload: &[u8]) -> Request<'_> {
        let received = Received {
            len: payload.len(),
            from: "10.86.2.2:4000".parse().unwrap(),
            ttl: 61,
            tos: 0xb9,
            dropped: None,
        };
        Request::parse(payload, received).unwrap()
    }

    fn numbered(len: u8) -> Vec<u8> {
        (1..=len).collect()
    }

    fn reply(config: &ReflectorConfig, payload: &[u8]) -> Vec<u8> {
        let mut answer = Answer::new(config, &request(payload), 0x0708_090a, T2);
        answer.finish(config, T2 + 250_000_000);
        answer.payload
    }

    #[test]
    fn fields_stand_where_the_standard_puts_them() {
        let sent = numbered(50);
        let found = reply(&ReflectorConfig::default(), &sent);
        assert_eq!(found[0..4], [7, 8, 9, 10]);
        // 1709208000 + 2208988800 = 0xe98a_f040
        assert_eq!(found[4..12], [0xe9, 0x8a, 0xf0, 0x40, 0xc0, 0, 0, 0], "T3");
        assert_eq!(found[12..16], [0, 1, 0, 0]);
        assert_eq!(found[16..24], [0xe9, 0x8a, 0xf0, 0x40, 0x80, 0, 0, 0], "T2");
        assert_eq!(found[24..38], sent[..14]);
        assert_eq!(found[38..41], [0, 0, 61]);
        assert_eq!(found[41..], sent[41..]);
    }

    #[test]
    fn ptp_counts_from_1970_in_tai_and_says_so() {
        let config = ReflectorConfig {
            format: Format::Ptp,
            error_estimate: 0x8a07,
            ..ReflectorConfig::default()
        };
        let found = reply(&config, &numbered(14));
        assert_eq!(found[16..20], 1_709_208_037_u32.to_be_bytes());
        assert_eq!(found[20..24], 500_000_000_u32.to_be_bytes());
        assert_eq!(found[12..14], [0xca, 0x07]);
    }

    #[test]
    fn layouts_differ_in_length_dscp_and_ssid() {
        let with = |layout, payload: &[u8]| {
            let config = ReflectorConfig {
                layout,
                ..ReflectorConfig::default()
            };
            reply(&config, payload)
        };
        let sent = numbered(60);
        let [light, dscp_ecn, stamp] =
            [Layout::Light, Layout::DscpEcn, Layout::Stamp].map(|layout| with(layout, &sent));
        assert_eq!(
            (&light[14..16], &light[41..44]),
            (&[0, 0][..], &sent[41..44])
        );
        assert_eq!(
            (&dscp_ecn[14..16], &dscp_ecn[41..44]),
            (&[0, 0][..], &[0xb9, 0, 0][..])
        );
        assert_eq!(
            (&stamp[14..16], &stamp[41..44]),
            (&sent[14..16], &[0, 0, 0][..])
        );
        for (layout, shortest) in [
            (Layout::Light, 41),
            (Layout::DscpEcn, 44),
            (Layout::Stamp, 44),
        ] {
            for len in [14, 15, 43, 44, 60] {
                let found = with(layout, &sent[..len]);
                assert_eq!(found.len(), len.max(shortest), "{layout:?} {len}");
            }
        }
    }

    #[test]
    fn replies_may_have_any_length() {
        let with = |size, len| {
            let config = ReflectorConfig {
                size,
                ..ReflectorConfig::default()
            };
            reply(&config, &numbered(len))
        };
        let whole = reply(&ReflectorConfig::default(), &numbered(14));
        assert_eq!(with(ReplySize::Request, 14), whole[..14]);
        assert_eq!(with(ReplySize::Exactly(38), 14), whole[..38]);
        assert_eq!(with(ReplySize::Exactly(41), 60).len(), 41);
        assert_eq!(with(ReplySize::Exactly(100), 60)[60..], [0; 40]);
    }

    #[test]
    fn stamps_are_as_told() {
        let told = |stamps| {
            let config = ReflectorConfig {
                stamps,
                ..ReflectorConfig::default()
            };
            let payload = numbered(14);
            let mut answer = Answer::new(&config, &request(&payload), 0, T2);
            let reflection = answer.finish(&config, T2 + 9);
            (answer, reflection.t3 - reflection.t2)
        };
        assert_eq!(told(Stamps::Clock).1, 9);
        let (late, residence) = told(Stamps::Residence(Duration::from_millis(3)));
        assert_eq!((late.due, residence), (Some(T2 + 3_000_000), 3_000_000));
        assert_eq!(told(Stamps::Backwards(Duration::from_nanos(7))).1, -7);
        let (zero, _) = told(Stamps::Zero);
        assert_eq!(
            (&zero.payload[4..12], &zero.payload[16..24]),
            (&[0; 8][..], &[0; 8][..])
        );
    }

    #[test]
    fn echoes_are_the_request_unchanged() {
        let config = ReflectorConfig {
            echo: true,
            ..ReflectorConfig::default()
        };
        assert_eq!(reply(&config, &numbered(50)), numbered(50));
    }
}
