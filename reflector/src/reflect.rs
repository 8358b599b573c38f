//! The decision: what a test packet is answered with. Pure: no clock, no socket, no frame.
//!
//! Two steps, so that the transmit timestamp can come last. [`decide`] turns a request into all of
//! its reply that does not depend on T3; [`Departure::finish`] writes T3 and its Error Estimate. Between the
//! two a caller addresses the packet, waits for room, reads the clock once for a whole batch.

use wire::checksum::Sum;
use wire::error_estimate::ErrorEstimate;
use wire::time::{NtpTimestamp, PtpTimestamp, Tai, TaiOffset, TimestampFormat};
use wire::twamp::{
    self, PaddingPolicy, REPLY_LEN, ReplyFields, ReplyFormat, ReplyHeader, Request, STAMP_LEN,
};

use crate::rule::{Format, Padding, Rule, SequencePolicy, ShortPolicy};

/// What is known of a request beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// T2.
    pub at: Tai,
    /// Octets of UDP payload.
    pub len: usize,
    /// TTL or Hop Limit of its IP header; 255 where it cannot be read.
    pub ttl: u8,
    /// TOS or Traffic Class octet of its IP header.
    pub tos: u8,
}

/// The reflector's own clock at the moment: how its readings are written into packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timescale {
    /// TAI−UTC.
    pub tai_offset: TaiOffset,
    /// Quality of T2 and T3; its Z bit is not looked at.
    pub error_estimate: ErrorEstimate,
}

impl Timescale {
    #[inline]
    fn stamp(self, at: Tai, format: TimestampFormat) -> [u8; 8] {
        match format {
            TimestampFormat::Ntp => NtpTimestamp::from_utc(at.to_utc(self.tai_offset)).to_bytes(),
            TimestampFormat::Ptp => PtpTimestamp::from_tai(at).to_bytes(),
        }
    }

    /// The Error Estimate beside stamps of `format`. A kernel that knows no TAI offset counts UTC as
    /// TAI, so that its `PTPv2` stamps are tens of seconds off: nobody should think them synchronised.
    #[inline]
    fn estimate(self, format: TimestampFormat) -> ErrorEstimate {
        let estimate = self.error_estimate.with_format(format);
        match format {
            TimestampFormat::Ptp if self.tai_offset == TaiOffset::default() => {
                estimate.unsynchronised()
            }
            _ => estimate,
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Verdict {
    /// Answer it: the payload holds the reply but for what [`Departure::finish`] writes.
    Reply(Pending),
    /// Do not answer.
    Ignore(Ignored),
}

/// Why a packet that is ours by address and port is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ignored {
    /// Shorter than the 14 octets of a request: the fields do not exist (RFC 5357 section 4.1.2).
    TooShort,
    /// Shorter than its reply, and the rule refuses to send more than it got.
    ShortRefused,
    /// Another reflector's reply, by the looks of it: answered, it might be answered again.
    LooksLikeReply,
    /// A session of its own is needed for it, and there is no room for one more.
    SessionTableFull,
    /// The reply does not fit in the buffer.
    NoRoom,
}

/// A reply that lacks its transmit timestamp. Not `Copy`: a reply is stamped once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reply without T3 must not be sent"]
pub struct Pending {
    len: usize,
    timestamps: TimestampFormat,
    keeps_tail: bool,
    sum: Sum,
}

impl Pending {
    /// Octets of the reply's UDP payload: those of the request, or those of a reply header if that is
    /// more.
    #[inline]
    pub const fn payload_len(&self) -> usize {
        self.len
    }

    /// The sum of the reply's first 44 octets, or of all if there are fewer, without what is still to
    /// be written: [`Departure::sum`].
    #[inline]
    pub const fn sum(&self) -> Sum {
        self.sum
    }

    /// Whether octet 44 and all after it are those of the request.
    #[inline]
    pub const fn keeps_tail(&self) -> bool {
        self.keeps_tail
    }
}

/// Decides by `rule` on the request in `buffer[..received.len]` and rewrites it in place.
///
/// `buffer` must have room for the reply, which is longer than requests below 41 octets, or below 44
/// in formats that have as many. On [`Verdict::Ignore`] it is as it was.
///
/// `next` yields the next Sequence Number of the packet's session, which the SSID it is given is part
/// of the name of (0 where the format has none); `None` if there is no room for another session. It
/// is called for stateful rules only, at most once, and last, when nothing else can refuse the
/// packet: so numbers count the packets transmitted.
#[inline]
pub fn decide(
    buffer: &mut [u8],
    received: &Received,
    rule: &Rule,
    timescale: Timescale,
    next: impl FnOnce(u16) -> Option<u32>,
) -> Verdict {
    let Some(payload) = buffer.get(..received.len) else {
        return Verdict::Ignore(Ignored::TooShort);
    };
    let Ok(request) = Request::parse(payload) else {
        return Verdict::Ignore(Ignored::TooShort);
    };
    if rule.refuse_replies && twamp::looks_like_reply(payload) {
        return Verdict::Ignore(Ignored::LooksLikeReply);
    }
    let format = reply_format(rule.format, payload, &request, received.tos);
    let len = format.reply_len(received.len);
    if len > received.len && rule.short == ShortPolicy::Refuse {
        return Verdict::Ignore(Ignored::ShortRefused);
    }
    if len > buffer.len() {
        return Verdict::Ignore(Ignored::NoRoom);
    }
    let sequence = match rule.sequence {
        SequencePolicy::Stateless => request.sequence(),
        SequencePolicy::Stateful => match next(format.header.ssid()) {
            Some(number) => number,
            None => return Verdict::Ignore(Ignored::SessionTableFull),
        },
    };
    let fields = ReplyFields {
        sequence,
        receive_timestamp: timescale.stamp(received.at, rule.timestamps),
        sender_ttl: received.ttl,
    };
    match twamp::write_reply_as(buffer, received.len, &fields, format) {
        Ok(sum) => Verdict::Reply(Pending {
            len,
            sum,
            timestamps: rule.timestamps,
            keeps_tail: format.padding == PaddingPolicy::SameOffset,
        }),
        Err(_) => Verdict::Ignore(Ignored::NoRoom),
    }
}

/// Octets of the reply by `rule` to a request of `request_len` octets: as many, but 41 or 44 at least.
#[inline]
pub const fn reply_len(rule: &Rule, request_len: usize) -> usize {
    let shortest = match rule.format {
        Format::ByLength if request_len < STAMP_LEN => REPLY_LEN,
        Format::TwampLight(_) => REPLY_LEN,
        Format::ByLength | Format::TwampLightDscp(_) | Format::Stamp => STAMP_LEN,
    };
    if request_len > shortest {
        request_len
    } else {
        shortest
    }
}

/// The SSID that is part of the name of a packet's session; 0 where its format has none.
#[inline]
pub fn session_ssid(rule: &Rule, payload: &[u8]) -> u16 {
    Request::parse(payload).map_or(0, |request| {
        reply_format(rule.format, payload, &request, 0)
            .header
            .ssid()
    })
}

/// The format of the reply to `payload`.
#[inline]
fn reply_format(format: Format, payload: &[u8], request: &Request<'_>, tos: u8) -> ReplyFormat {
    match format {
        Format::ByLength if payload.len() < STAMP_LEN => ReplyFormat::default(),
        Format::ByLength => {
            // The padding of a TWAMP-Light sender names no session, least of all a new one each time.
            let ssid = if twamp::is_stamp_request(payload) {
                request.ssid()
            } else {
                0
            };
            stamp(ssid)
        }
        Format::TwampLight(padding) => ReplyFormat {
            header: ReplyHeader::Light,
            padding: padding.into(),
        },
        Format::TwampLightDscp(padding) => ReplyFormat {
            header: ReplyHeader::LightDscp { tos },
            padding: padding.into(),
        },
        Format::Stamp => stamp(request.ssid()),
    }
}

#[inline]
const fn stamp(ssid: u16) -> ReplyFormat {
    ReplyFormat {
        header: ReplyHeader::Stamp { ssid },
        padding: PaddingPolicy::SameOffset,
    }
}

impl From<Padding> for PaddingPolicy {
    #[inline]
    fn from(padding: Padding) -> Self {
        match padding {
            Padding::SameOffset => Self::SameOffset,
            Padding::Shift => Self::Shift,
            Padding::Zero => Self::Zero,
        }
    }
}

/// T3 and the Error Estimate as the packets of a batch carry them, in either format.
#[derive(Debug, Clone, Copy)]
pub struct Departure {
    ntp: Stamp,
    ptp: Stamp,
}

#[derive(Debug, Clone, Copy)]
struct Stamp {
    timestamp: [u8; 8],
    estimate: ErrorEstimate,
    sum: Sum,
}

impl Departure {
    /// At T3.
    #[inline]
    pub fn new(at: Tai, timescale: Timescale) -> Self {
        let stamp = |format| {
            let (timestamp, estimate) = (timescale.stamp(at, format), timescale.estimate(format));
            Stamp {
                timestamp,
                estimate,
                sum: twamp::transmit_sum(timestamp, estimate),
            }
        };
        Self {
            ntp: stamp(TimestampFormat::Ntp),
            ptp: stamp(TimestampFormat::Ptp),
        }
    }

    #[inline]
    const fn stamp(&self, pending: &Pending) -> &Stamp {
        match pending.timestamps {
            TimestampFormat::Ntp => &self.ntp,
            TimestampFormat::Ptp => &self.ptp,
        }
    }

    /// The sum of what [`Self::finish`] writes.
    #[inline]
    pub const fn sum(&self, pending: &Pending) -> Sum {
        self.stamp(pending).sum
    }

    /// Writes the transmit timestamp T3 and the Error Estimate, which speaks for T2 and T3.
    ///
    /// `payload` is the reply that [`decide`] left. Returns false, and writes nothing, if it is shorter
    /// than a reply (which [`decide`] does not leave).
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "a reply is stamped once")]
    pub fn finish(&self, pending: Pending, payload: &mut [u8]) -> bool {
        let stamp = self.stamp(&pending);
        twamp::write_transmit(payload, stamp.timestamp, stamp.estimate).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{DscpPolicy, EcnPolicy, FlowLabelPolicy};

    const TIMESCALE: Timescale = Timescale {
        tai_offset: TaiOffset::from_seconds(37),
        error_estimate: ErrorEstimate::from_bits(0x8587),
    };
    /// 2023-11-14T22:13:20.5 UTC, NTP e8fe6f80.80000000.
    const T2: Tai = Tai::from_nanos(1_700_000_037_500_000_000);
    const T2_NTP: [u8; 8] = [0xe8, 0xfe, 0x6f, 0x80, 0x80, 0, 0, 0];

    const RULE: Rule = Rule {
        listener: 0,
        format: Format::TwampLight(Padding::SameOffset),
        timestamps: TimestampFormat::Ntp,
        sequence: SequencePolicy::Stateless,
        dscp: DscpPolicy::Copy,
        ecn: EcnPolicy::Clear,
        flow_label: FlowLabelPolicy::Copy,
        short: ShortPolicy::Answer,
        refuse_replies: true,
    };

    /// By a rule that keeps no state.
    fn decide(buffer: &mut [u8], received: &Received) -> Verdict {
        super::decide(buffer, received, &RULE, TIMESCALE, |_| unreachable!())
    }

    fn received(len: usize) -> Received {
        Received {
            at: T2,
            len,
            ttl: 61,
            tos: 0,
        }
    }

    fn request() -> [u8; 44] {
        std::array::from_fn(|at| u8::try_from(at + 1).unwrap())
    }

    #[test]
    fn a_reply_is_complete_but_for_t3_and_its_estimate() {
        let mut payload = request();
        let Verdict::Reply(pending) = decide(&mut payload, &received(44)) else {
            panic!("not answered");
        };
        assert_eq!(pending.payload_len(), 44);
        let before_t3 = payload;
        let t3 = Tai::from_nanos(T2.nanos() + 500_000_000);
        assert!(Departure::new(t3, TIMESCALE).finish(pending, &mut payload));

        assert_eq!(payload[..4], request()[..4], "sequence copied");
        assert_eq!(payload[4..12], [0xe8, 0xfe, 0x6f, 0x81, 0, 0, 0, 0], "T3");
        assert_eq!(payload[12..14], [0x85, 0x87], "Error Estimate");
        assert_eq!(payload[16..24], T2_NTP);
        assert_eq!(payload[24..38], request()[..14], "the sender's fields");
        assert_eq!(payload[40], 61, "Sender TTL");
        assert_eq!(payload[41..], request()[41..], "padding");
        // T3 and its estimate are all that finishing wrote.
        assert_eq!(payload[..4], before_t3[..4]);
        assert_eq!(payload[14..], before_t3[14..]);
    }

    #[test]
    fn a_short_request_grows_to_41_octets_if_there_is_room() {
        let mut buffer = [0xee; 60];
        buffer[..14].copy_from_slice(&request()[..14]);
        let Verdict::Reply(pending) = decide(&mut buffer, &received(14)) else {
            panic!("not answered");
        };
        assert_eq!(pending.payload_len(), 41);
        assert_eq!(buffer[24..38], request()[..14]);
        assert_eq!(
            buffer[41..],
            [0xee; 19],
            "nothing beyond the reply is touched"
        );
    }

    #[test]
    fn what_is_ignored_is_left_alone() {
        let mut buffer = request();
        let verdict = decide(&mut buffer, &received(13));
        assert_eq!(verdict, Verdict::Ignore(Ignored::TooShort));
        assert_eq!(buffer, request());

        // A request of 14 octets at the very end of the memory.
        let verdict = decide(&mut buffer[..40], &received(14));
        assert_eq!(verdict, Verdict::Ignore(Ignored::NoRoom));
        assert_eq!(buffer, request());

        // A length that the memory does not have.
        let verdict = decide(&mut buffer, &received(45));
        assert_eq!(verdict, Verdict::Ignore(Ignored::TooShort));
    }
}
