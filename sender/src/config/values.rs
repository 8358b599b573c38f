//! Values of options that are written in a way of their own.

use std::fmt;
use std::str::FromStr;

pub use wire::dscp::Dscp;

use crate::schedule::Pace;
use crate::schedule::pace::PaceError;

/// `--rate`: packets per second, or as many as go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Packets per second.
    Fixed(f64),
    /// As fast as it goes.
    Max,
}

impl FromStr for Rate {
    type Err = PaceError;

    /// `max`, or a rate as [`Pace`] reads it.
    fn from_str(text: &str) -> Result<Self, PaceError> {
        if text == "max" {
            return Ok(Self::Max);
        }
        text.parse()
            .map(|pace: Pace| Self::Fixed(pace.per_second()))
    }
}

/// A share of the packets, like `0.1%` or `0.001`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    /// From 0 to 1.
    pub fn ratio(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, scale) = match text.strip_suffix('%') {
            Some(digits) => (digits.trim_end(), 100.0),
            None => (text, 1.0),
        };
        digits
            .parse()
            .ok()
            .map(|number: f64| number / scale)
            .filter(|ratio| (0.0..1.0).contains(ratio))
            .map(Self)
            .ok_or_else(|| "write a share below 100 %, like 0.1% or 0.001".to_owned())
    }
}

/// `--ecn`: Explicit Congestion Notification (RFC 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ecn(u8);

impl Ecn {
    /// Its value, 0 to 3.
    pub fn value(self) -> u8 {
        self.0
    }
}

impl FromStr for Ecn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "not-ect" | "0" => Ok(Self(0)),
            "ect1" | "1" => Ok(Self(1)),
            "ect0" | "2" => Ok(Self(2)),
            "ce" | "3" => Ok(Self(3)),
            _ => Err("it is no ECN: write not-ect, ect0, ect1 or ce".to_owned()),
        }
    }
}

/// `--vlan`: a VLAN identifier and perhaps a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanArg {
    /// VLAN identifier, 1 to 4094.
    pub vid: u16,
    /// Priority code point, 0 to 7.
    pub pcp: u8,
}

impl FromStr for VlanArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (vid, pcp) = text.split_once(':').unwrap_or((text, "0"));
        match (vid.parse(), pcp.parse()) {
            (Ok(vid @ 1..=4094), Ok(pcp @ 0..=7)) => Ok(Self { vid, pcp }),
            _ => Err(
                "write a VLAN identifier from 1 to 4094, and its priority from 0 to 7 after a \
                      colon if need be, like 100 or 100:5"
                    .to_owned(),
            ),
        }
    }
}

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "it is no MAC address: write it like 02:00:5e:10:00:01".to_owned();
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            // `from_str_radix` would take a sign.
            let part = parts.next().filter(|part| {
                (1..=2).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_hexdigit())
            });
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *octet = value.ok_or_else(refused)?;
        }
        if parts.next().is_some() {
            return Err(refused());
        }
        if octets[0] & 1 != 0 || octets == [0; 6] {
            return Err("it is not the MAC address of one station".to_owned());
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|octet| write!(f, ":{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_multiples() {
        for (text, rate) in [
            ("10", 10.0),
            ("0.1", 0.1),
            ("20k", 20_000.0),
            ("1.5M", 1_500_000.0),
        ] {
            assert_eq!(text.parse(), Ok(Rate::Fixed(rate)), "{text}");
        }
        assert_eq!("max".parse(), Ok(Rate::Max));
        for text in [
            "", "fast", "k", "0", "-5", "NaN", "inf", "10000001", "11M", "1G",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_a_percentage_or_a_ratio() {
        for (text, ratio) in [("0", 0.0), ("0.1%", 0.001), ("0.25", 0.25), ("5 %", 0.05)] {
            assert_eq!(text.parse::<Share>().map(Share::ratio), Ok(ratio), "{text}");
        }
        for text in ["", "%", "-1%", "100%", "1", "NaN"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn ecn_has_names() {
        let value = |text: &str| text.parse().map(Ecn::value);
        assert_eq!(
            (value("ect0"), value("ect1"), value("CE")),
            (Ok(2), Ok(1), Ok(3))
        );
        assert!("ecn".parse::<Ecn>().is_err());
    }

    #[test]
    fn a_tag_has_an_identifier_and_perhaps_a_priority() {
        assert_eq!("100".parse(), Ok(VlanArg { vid: 100, pcp: 0 }));
        assert_eq!("4094:7".parse(), Ok(VlanArg { vid: 4094, pcp: 7 }));
        for text in ["0", "4095", "1:8", "1:", ":1", "a"] {
            assert!(text.parse::<VlanArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_mac_addresses_of_stations() {
        let mac: Mac = "02:00:5e:10:00:Ab".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ab");
        for text in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "02:00:5e:10:00:+1",
            "02:00:5e:10:00:001",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
