//! How T1 is written into a probe, and recognised when it comes back.

use wire::time::{NtpTimestamp, PtpTimestamp, TaiOffset, TimestampFormat, Utc};

/// The format of T1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampFormat {
    /// NTP 32.32, UTC since 1900 (RFC 5905).
    Ntp,
    /// PTPv2 truncated, TAI since 1970 (RFC 8186): our UTC clock and this many seconds.
    Ptp(TaiOffset),
}

impl StampFormat {
    /// The format as the Z bit of the Error Estimate names it.
    pub fn wire(self) -> TimestampFormat {
        match self {
            Self::Ntp => TimestampFormat::Ntp,
            Self::Ptp(_) => TimestampFormat::Ptp,
        }
    }

    /// The octets of a timestamp in this format.
    pub fn encode(self, t1: Utc) -> [u8; 8] {
        match self {
            Self::Ntp => NtpTimestamp::from_utc(t1).to_bytes(),
            Self::Ptp(offset) => PtpTimestamp::from_tai(t1.to_tai(offset)).to_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptp_counts_tai_from_1970() {
        let t1 = Utc::from_nanos(1_700_000_000_000_000_005);
        let octets = StampFormat::Ptp(TaiOffset::from_seconds(37)).encode(t1);
        assert_eq!(octets[..4], 1_700_000_037u32.to_be_bytes());
        assert_eq!(octets[4..], 5u32.to_be_bytes());
    }
}
