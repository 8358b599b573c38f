//! What a request is to be answered with, in the words of the RFCs and without haste.

use proptest::prelude::*;
use reflector::reflect::{Ignored, Received, Timescale};
use reflector::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, Padding, Rule, SequencePolicy, ShortPolicy,
};
use wire::error_estimate::ErrorEstimate;
use wire::time::{Tai, TaiOffset, TimestampFormat};

/// TWAMP-Light without state, as little as can be asked of a rule.
pub const LIGHT: Rule = Rule {
    listener: 0,
    format: Format::TwampLight(Padding::SameOffset),
    timestamps: TimestampFormat::Ntp,
    sequence: SequencePolicy::Stateless,
    dscp: DscpPolicy::Copy,
    ecn: EcnPolicy::Clear,
    flow_label: FlowLabelPolicy::Copy,
    short: ShortPolicy::Answer,
    refuse_replies: false,
};

/// Everything that goes into an answer.
#[derive(Debug, Clone)]
pub struct Case {
    pub rule: Rule,
    pub request: Vec<u8>,
    pub at: Tai,
    pub ttl: u8,
    pub tos: u8,
    pub departure: Tai,
    pub timescale: Timescale,
    /// What the session table says.
    pub count: Option<u32>,
}

impl Case {
    pub fn received(&self) -> Received {
        Received {
            at: self.at,
            len: self.request.len(),
            ttl: self.ttl,
            tos: self.tos,
        }
    }

    /// The SSID that names the session.
    pub fn ssid(&self) -> u16 {
        let ssid = match self.request.get(14..16) {
            Some(octets) => u16::from_be_bytes([octets[0], octets[1]]),
            None => 0,
        };
        match self.rule.format {
            Format::Stamp => ssid,
            // A TWAMP-Light sender's padding is none, and a STAMP sender's zeros tell him.
            Format::ByLength if self.is_by_length_stamp() && self.has_stamp_zeros() => ssid,
            _ => 0,
        }
    }

    fn is_by_length_stamp(&self) -> bool {
        self.request.len() >= 44
    }

    fn has_stamp_zeros(&self) -> bool {
        self.request[16..44].iter().all(|&octet| octet == 0)
    }

    /// Octets of the reply's header: 41, or 44 in formats with three more.
    pub fn header_len(&self) -> usize {
        match self.rule.format {
            Format::TwampLight(_) => 41,
            Format::ByLength if !self.is_by_length_stamp() => 41,
            Format::ByLength | Format::TwampLightDscp(_) | Format::Stamp => 44,
        }
    }

    /// The reply, or why there is none.
    pub fn answer(&self) -> Result<Vec<u8>, Ignored> {
        let request = &self.request;
        if request.len() < 14 {
            return Err(Ignored::TooShort);
        }
        if self.rule.refuse_replies && looks_like_reply(request) {
            return Err(Ignored::LooksLikeReply);
        }
        let len = request.len().max(self.header_len());
        if self.rule.short == ShortPolicy::Refuse && len > request.len() {
            return Err(Ignored::ShortRefused);
        }
        let sequence = match self.rule.sequence {
            SequencePolicy::Stateless => request[..4].to_vec(),
            SequencePolicy::Stateful => {
                let count = self.count.ok_or(Ignored::SessionTableFull)?;
                count.to_be_bytes().to_vec()
            }
        };

        let mut reply = sequence;
        reply.extend(self.stamp(self.departure));
        reply.extend(self.estimate().to_be_bytes());
        reply.extend(self.ssid().to_be_bytes());
        reply.extend(self.stamp(self.at));
        reply.extend(&request[0..4]);
        reply.extend(&request[4..12]);
        reply.extend(&request[12..14]);
        reply.extend([0, 0]);
        reply.push(self.ttl);
        match self.rule.format {
            Format::TwampLightDscp(_) => reply.extend([self.tos, 0, 0]),
            _ if self.header_len() == 44 => reply.extend([0, 0, 0]),
            _ => {}
        }
        assert_eq!(reply.len(), self.header_len());
        let tail = len - reply.len();
        match self.padding() {
            Padding::SameOffset => {
                let tail = request.get(reply.len()..).unwrap_or_default();
                reply.extend(tail);
            }
            Padding::Shift => reply.extend(&request[14..14 + tail]),
            Padding::Zero => reply.extend(vec![0; tail]),
        }
        assert_eq!(reply.len(), len);
        Ok(reply)
    }

    fn padding(&self) -> Padding {
        match self.rule.format {
            Format::TwampLight(padding) | Format::TwampLightDscp(padding) => padding,
            Format::ByLength | Format::Stamp => Padding::SameOffset,
        }
    }

    /// RFC 5905 section 6 over UTC, or RFC 8186 section 2 over TAI.
    fn stamp(&self, at: Tai) -> Vec<u8> {
        let tai = i128::from(at.nanos());
        let offset = i128::from(self.timescale.tai_offset.seconds());
        let (seconds, fraction) = match self.rule.timestamps {
            TimestampFormat::Ptp => {
                let (seconds, nanos) = split(tai);
                (seconds, nanos)
            }
            TimestampFormat::Ntp => {
                let (seconds, nanos) = split(tai - offset * 1_000_000_000);
                // Rounded to the nearest 2^-32 s.
                let fraction = ((nanos << 33) + 1_000_000_000) / 2_000_000_000;
                (seconds + 2_208_988_800, fraction)
            }
        };
        let modulo = |count: i128| u32::try_from(count.rem_euclid(1 << 32)).unwrap();
        [modulo(seconds), modulo(fraction)]
            .map(u32::to_be_bytes)
            .concat()
    }

    /// Z as the stamps are; S as the clock is, but never for PTP where the kernel knows no TAI.
    fn estimate(&self) -> u16 {
        let bits = self.timescale.error_estimate.to_bits() & 0xbfff;
        match self.rule.timestamps {
            TimestampFormat::Ntp => bits,
            TimestampFormat::Ptp if self.timescale.tai_offset.seconds() == 0 => {
                0x4000 | (bits & 0x7fff)
            }
            TimestampFormat::Ptp => 0x4000 | bits,
        }
    }
}

fn split(nanos: i128) -> (i128, i128) {
    (
        nanos.div_euclid(1_000_000_000),
        nanos.rem_euclid(1_000_000_000),
    )
}

/// Octets 4-11, 16-23 and 28-35 all non-zero and T3 - T2 from 0 to less than 10 s.
fn looks_like_reply(payload: &[u8]) -> bool {
    let stamp = |at: usize| -> u64 { u64::from_be_bytes(payload[at..at + 8].try_into().unwrap()) };
    payload.len() >= 38
        && [4, 16, 28].into_iter().all(|at| stamp(at) != 0)
        && stamp(4).wrapping_sub(stamp(16)) < 10 << 32
}

fn padding() -> impl Strategy<Value = Padding> {
    prop_oneof![
        Just(Padding::SameOffset),
        Just(Padding::Shift),
        Just(Padding::Zero)
    ]
}

/// Every rule there can be.
pub fn rule() -> impl Strategy<Value = Rule> {
    let format = prop_oneof![
        Just(Format::ByLength),
        padding().prop_map(Format::TwampLight),
        padding().prop_map(Format::TwampLightDscp),
        Just(Format::Stamp),
    ];
    let dscp = prop_oneof![
        Just(DscpPolicy::Copy),
        (0_u8..64).prop_map(DscpPolicy::Fixed)
    ];
    (format, dscp, any::<[bool; 6]>()).prop_map(|(format, dscp, choice)| Rule {
        listener: 7,
        format,
        timestamps: if choice[0] {
            TimestampFormat::Ptp
        } else {
            TimestampFormat::Ntp
        },
        sequence: if choice[1] {
            SequencePolicy::Stateful
        } else {
            SequencePolicy::Stateless
        },
        dscp,
        ecn: if choice[2] {
            EcnPolicy::Copy
        } else {
            EcnPolicy::Clear
        },
        flow_label: if choice[3] {
            FlowLabelPolicy::Zero
        } else {
            FlowLabelPolicy::Copy
        },
        short: if choice[4] {
            ShortPolicy::Refuse
        } else {
            ShortPolicy::Answer
        },
        refuse_replies: choice[5],
    })
}

/// Requests of every length: padded with zeros, as STAMP has them, or with anything, or replies.
pub fn request() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![4 => 0_usize..130, 1 => 130_usize..1_500];
    let kind = 0..4_u8;
    (len, kind).prop_flat_map(|(len, kind)| {
        let octets = prop::collection::vec(any::<u8>(), len);
        (octets, 0_u64..12 << 32).prop_map(move |(mut octets, dwell)| {
            match kind {
                0 => octets.iter_mut().skip(14).for_each(|octet| *octet = 0),
                1 => octets
                    .iter_mut()
                    .skip(16)
                    .take(28)
                    .for_each(|octet| *octet = 0),
                2 if octets.len() >= 24 => {
                    let t2 = u64::from_be_bytes(octets[16..24].try_into().unwrap());
                    octets[4..12].copy_from_slice(&t2.wrapping_add(dwell).to_be_bytes());
                }
                _ => {}
            }
            octets
        })
    })
}

pub fn case() -> impl Strategy<Value = Case> {
    let clock = (
        prop_oneof![
            any::<i64>(),
            1_600_000_000_000_000_000_i64..1_900_000_000_000_000_000
        ],
        0_i64..20_000_000_000,
        prop_oneof![Just(0), Just(37), -100..100],
        any::<u16>(),
    );
    (
        rule(),
        request(),
        clock,
        any::<(u8, u8)>(),
        any::<Option<u32>>(),
    )
        .prop_map(
            |(rule, request, (at, dwell, tai_offset, estimate), (ttl, tos), count)| Case {
                rule,
                request,
                // The offset must not saturate: the ends of the scale are another test's.
                at: Tai::from_nanos(at / 2),
                ttl,
                tos,
                departure: Tai::from_nanos(at / 2 + dwell),
                timescale: Timescale {
                    tai_offset: TaiOffset::from_seconds(tai_offset),
                    error_estimate: ErrorEstimate::from_bits(estimate),
                },
                count,
            },
        )
}
