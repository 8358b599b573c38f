//! The packet a probe is.

use wire::error_estimate::ErrorEstimate;
use wire::time::{NtpTimestamp, Utc};
use wire::twamp::{REQUEST_LEN, RequestFields};

/// Room for a probe, zero beyond the header; each probe of a run is written into it in turn.
#[derive(Debug, Clone)]
pub struct Probe {
    octets: Box<[u8]>,
}

impl Probe {
    /// A probe of `size` octets, at least 14.
    pub fn new(size: usize) -> Self {
        Self {
            octets: vec![0; size.max(REQUEST_LEN)].into_boxed_slice(),
        }
    }

    /// Writes the header (RFC 5357 section 4.1.2) and returns the whole.
    pub fn write(&mut self, sequence: u32, t1: Utc, error_estimate: ErrorEstimate) -> &[u8] {
        let fields = RequestFields {
            sequence,
            timestamp: NtpTimestamp::from_utc(t1).to_bytes(),
            error_estimate,
        };
        // `new` made room for the header.
        let _ = fields.emit(&mut self.octets);
        &self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_header_and_leaves_the_padding_zero() {
        let mut probe = Probe::new(20);
        let t1 = Utc::from_nanos(1_700_000_000_500_000_000);
        probe.write(u32::MAX, t1, ErrorEstimate::from_bits(u16::MAX));
        let octets = probe.write(0x0102_0304, t1, ErrorEstimate::from_bits(0x8587));
        assert_eq!(octets[..4], [1, 2, 3, 4]);
        assert_eq!(octets[4..12], [0xe8, 0xfe, 0x6f, 0x80, 0x80, 0, 0, 0]);
        assert_eq!(octets[12..], [0x85, 0x87, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn has_room_for_the_header_at_least() {
        assert_eq!(
            Probe::new(0)
                .write(0, Utc::from_nanos(0), ErrorEstimate::from_bits(1))
                .len(),
            14
        );
    }
}
