//! The packet a probe is: a TWAMP-Test packet (RFC 5357 section 4.1.2) or a STAMP base packet
//! (RFC 8762 section 4.2.1), and padding.

use rand_pcg::rand_core::Rng;
use wire::error_estimate::ErrorEstimate;
use wire::twamp::{REQUEST_LEN, RequestFields, STAMP_LEN, write_ssid};

use crate::seed::Seed;

/// What a probe is made of, the same for every probe of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSpec {
    /// Octets of UDP payload, at least 14 (44 for STAMP).
    pub size: usize,
    /// What the padding is made of.
    pub padding: Padding,
    /// Session-Sender Identifier of the first session (RFC 8972 section 3), if this is STAMP.
    pub ssid: Option<Ssid>,
}

/// What the padding is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Zeros.
    Zero,
    /// Pseudo-random octets from this seed, the same in every probe of a run.
    Random(Seed),
}

/// A Session-Sender Identifier, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssid(std::num::NonZeroU16);

impl Ssid {
    /// An identifier; `None` for 0, which means "unused".
    pub fn new(ssid: u16) -> Option<Self> {
        std::num::NonZeroU16::new(ssid).map(Self)
    }

    /// The identifier of session `session`, if this is that of session 0: they count up and leave 0
    /// out, so that 65 535 sessions differ.
    pub fn of_session(self, session: usize) -> u16 {
        let usable = u64::from(u16::MAX);
        let index = (u64::from(self.0.get()) - 1 + session as u64 % usable) % usable;
        u16::try_from(index + 1).unwrap_or(u16::MAX)
    }
}

/// Room for a probe; each probe of a run is written into it in turn.
#[derive(Debug, Clone)]
pub struct Probe {
    octets: Box<[u8]>,
    ssid: Option<Ssid>,
}

/// Where the SSID ends (RFC 8972 section 3).
const SSID_END: usize = 16;

impl Probe {
    /// A probe of `spec` with an empty header.
    pub fn new(spec: &ProbeSpec) -> Self {
        let header = spec.ssid.map_or(REQUEST_LEN, |_| STAMP_LEN);
        let mut octets = vec![0; spec.size.max(header)];
        if let Padding::Random(seed) = spec.padding {
            seed.generator().fill_bytes(&mut octets[header..]);
        }
        Self {
            octets: octets.into_boxed_slice(),
            ssid: spec.ssid,
        }
    }

    /// Writes the header and returns the whole. `t1` is in the format that `error_estimate` names.
    pub fn write(
        &mut self,
        session: usize,
        sequence: u32,
        t1: [u8; 8],
        error_estimate: ErrorEstimate,
    ) -> &[u8] {
        let fields = RequestFields {
            sequence,
            timestamp: t1,
            error_estimate,
        };
        // `new` made room for the header.
        let _ = fields.emit(&mut self.octets);
        if let Some(ssid) = self.ssid {
            let _ = write_ssid(&mut self.octets, ssid.of_session(session));
        }
        &self.octets
    }

    /// The whole as it was last written.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The SSID that probes of `session` carry, if this is STAMP.
    pub fn ssid(&self, session: usize) -> Option<u16> {
        self.ssid.map(|ssid| ssid.of_session(session))
    }

    /// Whether a datagram of `len` octets, of which `head` are at hand, is one of our probes but for
    /// the header.
    pub fn has_rest_of(&self, head: &[u8], len: usize) -> bool {
        let rest = if self.ssid.is_some() {
            SSID_END
        } else {
            REQUEST_LEN
        };
        len == self.octets.len()
            && head.len() >= rest
            && self.octets.get(rest..head.len()) == head.get(rest..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn light(size: usize, padding: Padding) -> ProbeSpec {
        ProbeSpec {
            size,
            padding,
            ssid: None,
        }
    }

    #[test]
    fn writes_the_header_and_leaves_the_padding_zero() {
        let mut probe = Probe::new(&light(20, Padding::Zero));
        probe.write(0, u32::MAX, [0xff; 8], ErrorEstimate::from_bits(u16::MAX));
        let octets = probe.write(0, 0x0102_0304, [7; 8], ErrorEstimate::from_bits(0x8587));
        assert_eq!(octets[..4], [1, 2, 3, 4]);
        assert_eq!(octets[4..12], [7; 8]);
        assert_eq!(octets[12..], [0x85, 0x87, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn has_room_for_the_header_at_least() {
        assert_eq!(Probe::new(&light(0, Padding::Zero)).octets().len(), 14);
        let stamp = ProbeSpec {
            ssid: Ssid::new(1),
            ..light(0, Padding::Zero)
        };
        assert_eq!(Probe::new(&stamp).octets().len(), 44);
    }

    #[test]
    fn random_padding_is_repeatable_and_leaves_the_base_packet_zero() {
        let spec = light(200, Padding::Random(Seed::new(7)));
        let probe = Probe::new(&spec);
        assert_eq!(probe.octets(), Probe::new(&spec).octets());
        assert!(probe.octets()[14..].windows(8).all(|run| run != [0; 8]));
        let stamp = ProbeSpec {
            ssid: Ssid::new(9),
            ..spec
        };
        let probe = Probe::new(&stamp);
        assert_eq!(probe.octets()[..44], [0; 44]);
        assert!(probe.octets()[44..].windows(8).all(|run| run != [0; 8]));
    }

    #[test]
    fn each_session_has_an_identifier_of_its_own() {
        let mut probe = Probe::new(&ProbeSpec {
            ssid: Ssid::new(0xfffe),
            ..light(44, Padding::Zero)
        });
        let mut ssid = |session| {
            let octets = probe.write(session, 0, [0; 8], ErrorEstimate::from_bits(1));
            u16::from_be_bytes([octets[14], octets[15]])
        };
        assert_eq!((ssid(0), ssid(1), ssid(2)), (0xfffe, 0xffff, 1));
        assert_eq!(Ssid::new(0), None);
    }

    #[test]
    fn knows_its_rest() {
        let probe = Probe::new(&light(60, Padding::Random(Seed::new(1))));
        let mut octets = probe.octets().to_vec();
        octets[..14].fill(0xaa);
        assert!(probe.has_rest_of(&octets, 60));
        assert!(
            probe.has_rest_of(&octets[..30], 60),
            "as far as it is at hand"
        );
        assert!(!probe.has_rest_of(&octets, 61));
        assert!(!probe.has_rest_of(&octets[..13], 60));
        octets[59] ^= 1;
        assert!(!probe.has_rest_of(&octets, 60));
    }
}
