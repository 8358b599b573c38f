//! Values of options that are written in a way of their own.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use ebpf::policer::{BITS_MAX, BITS_MIN, PACKETS_MAX};
use ipnet::IpNet;
use wire::dscp::Dscp;

use crate::address::is_one_host;
use crate::clients;
use crate::listener::{SourcePrefix, Vlan};

/// An option that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "on is on")]
pub enum Switch {
    On,
    Off,
}

/// `--vrf`: a device, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VrfArg(pub Option<String>);

impl FromStr for VrfArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("write the name of a VRF device, or none".to_owned()),
            "none" => Ok(Self(None)),
            name => Ok(Self(Some(name.to_owned()))),
        }
    }
}

/// `--dscp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DscpArg {
    /// That of the request.
    Copy,
    /// This one.
    Fixed(Dscp),
}

impl FromStr for DscpArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "copy" => Ok(Self::Copy),
            "zero" => Ok(Self::Fixed(Dscp::default())),
            _ => text.parse().map(Self::Fixed).map_err(|_| {
                "write copy, zero, 0 to 63, be, le, cs0 to cs7, af11 to af43, va or ef".to_owned()
            }),
        }
    }
}

impl FromStr for Vlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let vid = |text: &str| match text.parse() {
            Ok(vid @ 1..=4094) => Ok(vid),
            _ => Err(
                "write a VLAN ID from 1 to 4094, two of them as OUTER.INNER, or none".to_owned(),
            ),
        };
        match (text, text.split_once('.')) {
            ("none", _) => Ok(Self::Untagged),
            (_, Some((outer, inner))) => Ok(Self::QinQ(vid(outer)?, vid(inner)?)),
            (_, None) => Ok(Self::Tag(vid(text)?)),
        }
    }
}

/// A rate that is not exceeded, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<NonZeroU64>);

impl Limit {
    /// Packets per second.
    pub(super) fn packets(text: &str) -> Result<Self, String> {
        Self::read(text, 1..=PACKETS_MAX).ok_or_else(|| {
            "write packets per second, from 1 to 1G, like 5000 or 10k, or none".to_owned()
        })
    }

    /// Bits per second.
    pub(super) fn bits(text: &str) -> Result<Self, String> {
        Self::read(text, BITS_MIN..=BITS_MAX).ok_or_else(|| {
            "write bits per second, from 1k to 1000G, like 500k or 1g, or none".to_owned()
        })
    }

    fn read(text: &str, range: RangeInclusive<u64>) -> Option<Self> {
        if text == "none" {
            return Some(Self(None));
        }
        let scale = match text.chars().last()? {
            'k' | 'K' => 1_000,
            'm' | 'M' => 1_000_000,
            'g' | 'G' => 1_000_000_000,
            _ => 1,
        };
        let digits = if scale == 1 {
            text
        } else {
            text.get(..text.len() - 1)?
        };
        let value = scaled(digits, scale)?;
        range
            .contains(&value)
            .then_some(Self(Some(NonZeroU64::new(value)?)))
    }
}

/// `digits` times `scale`, exactly: decimals beyond the scale are refused.
fn scaled(digits: &str, scale: u64) -> Option<u64> {
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |text: &str| -> Option<u64> {
        // `parse` would take a sign.
        let all_digits = text.bytes().all(|octet| octet.is_ascii_digit());
        text.parse().ok().filter(|_| all_digits)
    };
    let unit = 10_u64.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let part = number(decimals)?.checked_mul(scale)?;
    if part % unit != 0 {
        return None;
    }
    number(whole)?.checked_mul(scale)?.checked_add(part / unit)
}

impl FromStr for SourcePrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lengths = text
            .split_once('/')
            .map(|(v4, v6)| (v4.parse(), v6.parse()));
        match lengths {
            Some((Ok(v4 @ 0..=32), Ok(v6 @ 0..=128))) => Ok(Self { v4, v6 }),
            _ => Err(
                "write the length of an IPv4 prefix, 0 to 32, and of an IPv6 prefix, 0 to 128, \
                 like 32/64"
                    .to_owned(),
            ),
        }
    }
}

/// `--address`: an address that packets from elsewhere can be destined to.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "this is no IP address".to_owned())?;
    let address = address.to_canonical();
    if is_one_host(address) {
        return Ok(address);
    }
    Err(
        "no test packet can arrive for this address; leave it out to answer on every address of \
         this host"
            .to_owned(),
    )
}

/// `--peer`.
pub(super) fn peer(text: &str) -> Result<SocketAddr, String> {
    let peer: SocketAddr = text.parse().map_err(|_| {
        "write an address and a port, as 192.0.2.1:5000 or [2001:db8::1]:5000".to_owned()
    })?;
    if peer.port() == 0 {
        return Err("no packet comes from port 0".to_owned());
    }
    if !is_one_host(peer.ip().to_canonical()) {
        return Err("no other host has this address".to_owned());
    }
    match peer {
        SocketAddr::V6(v6) if v6 != SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0) => {
            Err("leave the zone out: the listener's interface says which link it is".to_owned())
        }
        _ => Ok(SocketAddr::new(peer.ip().to_canonical(), peer.port())),
    }
}

/// `--allow` and `--deny`.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    clients::prefix(text)
}

/// `--burst`.
pub(super) fn burst(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(1), Duration::from_secs(10))
        .ok_or_else(|| "write a time from 1ms to 10s".to_owned())
}

/// `--session-timeout`.
pub(super) fn session_timeout(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(1), Duration::from_secs(86_400))
        .ok_or_else(|| "write a time from 1s to 1day, like 900s or 15m".to_owned())
}

fn within(text: &str, least: Duration, most: Duration) -> Option<Duration> {
    let time = humantime::parse_duration(text).ok()?;
    (least..=most).contains(&time).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_none_one_tag_or_two() {
        assert_eq!("none".parse(), Ok(Vlan::Untagged));
        assert_eq!("1".parse(), Ok(Vlan::Tag(1)));
        assert_eq!("4094.100".parse(), Ok(Vlan::QinQ(4094, 100)));
        for text in [
            "", "0", "4095", "100.0", "0.100", "1.2.3", "100.", "a", "-1",
        ] {
            assert!(text.parse::<Vlan>().is_err(), "{text}");
        }
        for text in ["none", "7", "7.8"] {
            assert_eq!(text.parse::<Vlan>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn limits_have_multiples_and_are_exact() {
        let bits = |text| {
            Limit::bits(text)
                .ok()
                .and_then(|limit| limit.0)
                .map(u64::from)
        };
        for (text, value) in [
            ("1000", 1000),
            ("500k", 500_000),
            ("1.5M", 1_500_000),
            ("1g", 1_000_000_000),
            ("1.001k", 1001),
            ("1000G", 1_000_000_000_000),
        ] {
            assert_eq!(bits(text), Some(value), "{text}");
        }
        assert_eq!(Limit::bits("none"), Ok(Limit(None)));
        for text in [
            "",
            "0",
            "999",
            "0k",
            "-1",
            "+1",
            "1.5",
            "0.0001k",
            "1001G",
            "k",
            "1t",
            "1 k",
            ".5k",
            "1.k",
            "é",
            "99999999999999999999",
            "1.00000000000000000000k",
        ] {
            assert!(Limit::bits(text).is_err(), "{text}");
        }
        assert!(Limit::packets("1G").is_ok());
        assert!(Limit::packets("1.1G").is_err());
    }

    #[test]
    fn a_source_is_a_pair_of_lengths() {
        assert_eq!("32/64".parse(), Ok(SourcePrefix::default()));
        assert_eq!("0/128".parse(), Ok(SourcePrefix { v4: 0, v6: 128 }));
        for text in ["", "32", "33/64", "32/129", "/64", "32/", "a/b"] {
            assert!(text.parse::<SourcePrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn peers_and_addresses_are_single_hosts() {
        assert_eq!(peer("[::ffff:192.0.2.1]:5"), peer("192.0.2.1:5"));
        for text in [
            "192.0.2.1",
            "192.0.2.1:0",
            "0.0.0.0:5",
            "224.0.0.1:5",
            // Reserved: never answered.
            "240.0.0.1:5",
            "0.1.2.3:5",
            "[::ffff:240.0.0.1]:5",
            "fd00::1:5",
            "[fe80::1%2]:5",
            "host:5",
        ] {
            assert!(peer(text).is_err(), "{text}");
        }
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        for text in [
            "0.0.0.0",
            "::1",
            "255.255.255.255",
            "ff02::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(burst("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(session_timeout("15m"), Ok(Duration::from_secs(900)));
        for text in ["", "1", "0s", "11s", "999us"] {
            assert!(burst(text).is_err(), "{text}");
        }
        assert!(session_timeout("0s").is_err());
        assert!(session_timeout("2days").is_err());
    }

    #[test]
    fn dscp_is_copied_or_fixed() {
        assert_eq!("copy".parse(), Ok(DscpArg::Copy));
        assert_eq!("zero".parse::<DscpArg>(), "0".parse());
        assert!("none".parse::<DscpArg>().is_err());
    }
}
