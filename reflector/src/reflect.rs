//! The decision: what a TWAMP-Test packet is answered with. Pure: no clock, no socket, no frame.
//!
//! Two steps, so that the transmit timestamp can come last. [`decide`] turns a request into all of
//! its reply that does not depend on T3; [`finish`] writes T3 and its Error Estimate. Between the
//! two a caller addresses the packet, waits for room, reads the clock once for a whole batch.

use wire::error_estimate::ErrorEstimate;
use wire::time::{NtpTimestamp, Tai, TaiOffset};
use wire::twamp::{self, ReplyFields, Request};

/// What is known of a request beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// T2.
    pub at: Tai,
    /// Octets of UDP payload.
    pub len: usize,
    /// TTL or Hop Limit of its IP header.
    pub ttl: u8,
}

/// The reflector's own clock at the moment: how its readings are written into packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timescale {
    /// TAI−UTC.
    pub tai_offset: TaiOffset,
    /// Quality of T2 and T3.
    pub error_estimate: ErrorEstimate,
}

impl Timescale {
    fn stamp(self, at: Tai) -> [u8; 8] {
        NtpTimestamp::from_utc(at.to_utc(self.tai_offset)).to_bytes()
    }
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Verdict {
    /// Answer it: the payload holds the reply but for what [`finish`] writes.
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
    /// The reply does not fit in the buffer.
    NoRoom,
}

/// A reply that lacks its transmit timestamp. Not `Copy`: a reply is stamped once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reply without T3 must not be sent"]
pub struct Pending {
    len: usize,
}

impl Pending {
    /// Octets of the reply's UDP payload: max(41, received) (RFC 5357 section 4.2.1).
    pub const fn payload_len(&self) -> usize {
        self.len
    }
}

/// Decides on the request in `buffer[..received.len]` and rewrites it in place.
///
/// `buffer` must have room for the reply, which is longer than requests below 41 octets. The
/// Sequence Number is copied, as a reflector without session state must (RFC 5357 appendix I).
/// On [`Verdict::Ignore`] the buffer is as it was.
pub fn decide(buffer: &mut [u8], received: &Received, timescale: Timescale) -> Verdict {
    let Some(Ok(request)) = buffer.get(..received.len).map(Request::parse) else {
        return Verdict::Ignore(Ignored::TooShort);
    };
    let fields = ReplyFields {
        sequence: request.sequence(),
        receive_timestamp: timescale.stamp(received.at),
        sender_ttl: received.ttl,
    };
    match twamp::write_reply(buffer, received.len, &fields) {
        Ok(()) => Verdict::Reply(Pending {
            len: twamp::reply_len(received.len),
        }),
        Err(_) => Verdict::Ignore(Ignored::NoRoom),
    }
}

/// Writes the transmit timestamp T3 and the Error Estimate, which speaks for T2 and T3.
///
/// `payload` is the reply that [`decide`] left. Returns false, and writes nothing, if it is shorter
/// than a reply (which [`decide`] does not leave).
pub fn finish(_pending: Pending, payload: &mut [u8], at: Tai, timescale: Timescale) -> bool {
    twamp::write_transmit(payload, timescale.stamp(at), timescale.error_estimate).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMESCALE: Timescale = Timescale {
        tai_offset: TaiOffset::from_seconds(37),
        error_estimate: ErrorEstimate::from_bits(0x8587),
    };
    /// 2023-11-14T22:13:20.5 UTC, NTP e8fe6f80.80000000.
    const T2: Tai = Tai::from_nanos(1_700_000_037_500_000_000);
    const T2_NTP: [u8; 8] = [0xe8, 0xfe, 0x6f, 0x80, 0x80, 0, 0, 0];

    fn received(len: usize) -> Received {
        Received {
            at: T2,
            len,
            ttl: 61,
        }
    }

    fn request() -> [u8; 44] {
        std::array::from_fn(|at| u8::try_from(at + 1).unwrap())
    }

    #[test]
    fn a_reply_is_complete_but_for_t3_and_its_estimate() {
        let mut payload = request();
        let Verdict::Reply(pending) = decide(&mut payload, &received(44), TIMESCALE) else {
            panic!("not answered");
        };
        assert_eq!(pending.payload_len(), 44);
        let before_t3 = payload;
        let t3 = Tai::from_nanos(T2.nanos() + 500_000_000);
        assert!(finish(pending, &mut payload, t3, TIMESCALE));

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
        let Verdict::Reply(pending) = decide(&mut buffer, &received(14), TIMESCALE) else {
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
        let verdict = decide(&mut buffer, &received(13), TIMESCALE);
        assert_eq!(verdict, Verdict::Ignore(Ignored::TooShort));
        assert_eq!(buffer, request());

        // A request of 14 octets at the very end of the memory.
        let verdict = decide(&mut buffer[..40], &received(14), TIMESCALE);
        assert_eq!(verdict, Verdict::Ignore(Ignored::NoRoom));
        assert_eq!(buffer, request());

        // A length that the memory does not have.
        let verdict = decide(&mut buffer, &received(45), TIMESCALE);
        assert_eq!(verdict, Verdict::Ignore(Ignored::TooShort));
    }
}
