//! Source addresses and ports of the sessions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `--source-range`: consecutive addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRange {
    first: IpAddr,
    count: u32,
}

impl SourceRange {
    /// Most addresses of a range.
    pub const MAX: u32 = 65_536;

    /// A range of one address.
    pub fn one(address: IpAddr) -> Self {
        Self {
            first: address,
            count: 1,
        }
    }

    /// The first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Number of addresses.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a range has one address at least"
    )]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Its addresses in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let first = self.first;
        (0..self.count).map(move |step| match first {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits().saturating_add(step))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(
                v6.to_bits().saturating_add(step.into()),
            )),
        })
    }
}

impl FromStr for SourceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let read = |end| {
            source_address(end).map_err(|why| {
                format!("'{end}': {why}; a range is two addresses, like 192.0.2.10-192.0.2.19")
            })
        };
        let (first, last) = (read(first)?, read(last)?);
        let distance = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                last.to_bits().checked_sub(first.to_bits()).map(u128::from)
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => last.to_bits().checked_sub(first.to_bits()),
            _ => return Err("both addresses must be of the same family".to_owned()),
        };
        let distance = distance.ok_or_else(|| "the last address is before the first".to_owned())?;
        match u32::try_from(distance) {
            Ok(distance) if distance < Self::MAX => Ok(Self {
                first,
                count: distance + 1,
            }),
            _ => Err(format!("a range has {} addresses at most", Self::MAX)),
        }
    }
}

/// Reads a source address; its interface, if it needs one, is the target's.
///
/// # Errors
///
/// It is no address, or not that of one host.
pub fn source_address(text: &str) -> Result<IpAddr, String> {
    if let Some((address, interface)) = text.split_once('%') {
        return Err(format!(
            "write {address} alone: the interface is that of the target, like fe80::1%{interface}"
        ));
    }
    let address: IpAddr = text.parse().map_err(|_| "it is no IP address".to_owned())?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || broadcast {
        return Err("it is not the address of one host".to_owned());
    }
    Ok(address)
}

/// How sessions are spread over source addresses and ports: the first ones take the first address,
/// with consecutive ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Number of sessions.
    pub sessions: usize,
    /// Number of addresses.
    pub addresses: usize,
}

impl Spread {
    /// Ports needed on each address.
    pub fn ports(&self) -> usize {
        self.sessions.div_ceil(self.addresses.max(1)).max(1)
    }

    /// Place of the address and of the port of a session, each from 0.
    pub fn place(&self, session: usize) -> (usize, usize) {
        let ports = self.ports();
        (session / ports, session % ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_counts_its_addresses() {
        let range: SourceRange = "192.0.2.254-192.0.3.1".parse().unwrap();
        let list: Vec<_> = range.iter().map(|address| address.to_string()).collect();
        assert_eq!(
            list,
            ["192.0.2.254", "192.0.2.255", "192.0.3.0", "192.0.3.1"]
        );
        let range: SourceRange = "2001:db8::ffff-2001:db8::1:0".parse().unwrap();
        assert_eq!(range.len(), 2);
        assert_eq!(range.iter().last().unwrap().to_string(), "2001:db8::1:0");
        assert_eq!("::1".parse::<SourceRange>().unwrap().len(), 1);
    }

    #[test]
    fn refuses_what_is_no_range() {
        for (text, named) in [
            ("", "two addresses"),
            (
                "192.0.2.1-x",
                "'x': it is no IP address; a range is two addresses",
            ),
            (
                "224.0.0.1-224.0.0.9",
                "'224.0.0.1': it is not the address of one host",
            ),
            ("223.255.255.255-224.0.0.0", "'224.0.0.0': it is not"),
            (
                "255.255.255.250-255.255.255.255",
                "'255.255.255.255': it is not",
            ),
            ("ff02::1-ff02::2", "'ff02::1': it is not"),
            ("fe80::1%eth0-fe80::2", "write fe80::1 alone"),
            ("192.0.2.2-192.0.2.1", "before the first"),
            ("192.0.2.2-2001:db8::1", "same family"),
            ("10.0.0.0-10.1.0.0", "65536 addresses"),
            ("2001:db8::-2001:db9::", "65536 addresses"),
        ] {
            let error = text.parse::<SourceRange>().unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn sessions_fill_address_after_address() {
        let spread = Spread {
            sessions: 7,
            addresses: 3,
        };
        assert_eq!(spread.ports(), 3);
        let places: Vec<_> = (0..7).map(|session| spread.place(session)).collect();
        assert_eq!(
            places,
            [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
        );
    }
}
