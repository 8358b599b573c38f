//! `TARGET[:PORT]`: what the user wrote, and the addresses behind it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A host, by name or address, and the UDP port of its Session-Reflector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or literal address, without brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

/// Why a target cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// There is no host.
    #[error("it names no host")]
    NoHost,
    /// What follows the colon is no port.
    #[error("'{0}' is no UDP port (1 to 65535)")]
    Port(String),
    /// A bracket without its counterpart, or text after the closing one.
    #[error("an IPv6 address with a port is written [ADDRESS]:PORT")]
    Brackets,
    /// An address no single host answers from.
    #[error("{0} is not the address of one host")]
    NotUnicast(IpAddr),
    /// A link-local address is one of many interfaces.
    #[error("{0} is link-local and needs its interface: write {0}%INTERFACE, like {0}%eth0")]
    NoScope(Ipv6Addr),
}

/// Whether no single host answers from this address.
fn is_not_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    address.is_multicast() || address.is_unspecified() || broadcast
}

impl FromStr for Target {
    type Err = TargetError;

    /// Accepts `host`, `host:port`, an IPv4 or IPv6 address, `address:port` and `[v6]:port`.
    /// Without a port it is 862 (RFC 8545).
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (host, port) = split(text)?;
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        let port = match port {
            None => wire::twamp::UDP_PORT,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|&port| port != 0)
                .ok_or_else(|| TargetError::Port(digits.to_owned()))?,
        };
        let (literal, scope) = match host.split_once('%') {
            Some((literal, scope)) => (literal, Some(scope)),
            None => (host, None),
        };
        match literal.parse::<IpAddr>() {
            Ok(address) if is_not_unicast(address) => return Err(TargetError::NotUnicast(address)),
            Ok(IpAddr::V6(v6)) if v6.is_unicast_link_local() && scope.is_none_or(str::is_empty) => {
                return Err(TargetError::NoScope(v6));
            }
            _ => {}
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Host and port as written. More than one colon without brackets is a bare IPv6 address.
fn split(text: &str) -> Result<(&str, Option<&str>), TargetError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(TargetError::Brackets)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(TargetError::Brackets),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        _ => Ok((text, None)),
    }
}

impl Target {
    /// The addresses behind the target, in the resolver's order of preference; never empty.
    ///
    /// # Errors
    ///
    /// The resolver does not know the name, or cannot be asked, or no single host has the name.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        unicast((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

/// Those addresses that single hosts have, if there are any.
fn unicast(mut addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let not_unicast = addresses.iter().find(|found| is_not_unicast(found.ip()));
    let problem = not_unicast.map_or_else(
        || "the name has no address".to_owned(),
        |found| TargetError::NotUnicast(found.ip()).to_string(),
    );
    addresses.retain(|found| !is_not_unicast(found.ip()));
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, problem));
    }
    Ok(addresses)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, u16) {
        let target: Target = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        (target.host, target.port)
    }

    #[test]
    fn understands_every_way_to_write_a_target() {
        for (text, host, port) in [
            ("10.0.0.2", "10.0.0.2", 862),
            ("10.0.0.2:4000", "10.0.0.2", 4000),
            ("reflector.example", "reflector.example", 862),
            ("reflector.example:65535", "reflector.example", 65535),
            ("::1", "::1", 862),
            ("fd00::2:1", "fd00::2:1", 862),
            ("[fd00::2]", "fd00::2", 862),
            ("[fd00::2]:1", "fd00::2", 1),
            ("[fe80::1%eth0]:862", "fe80::1%eth0", 862),
            ("[10.0.0.2]:5", "10.0.0.2", 5),
        ] {
            assert_eq!(parsed(text), (host.to_owned(), port), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_target() {
        let error = |text: &str| text.parse::<Target>().unwrap_err();
        assert_eq!(error(""), TargetError::NoHost);
        assert_eq!(error(":862"), TargetError::NoHost);
        assert_eq!(error("[]:862"), TargetError::NoHost);
        for port in ["0", "65536", "http", "", "-1"] {
            assert_eq!(
                error(&format!("a:{port}")),
                TargetError::Port(port.to_owned())
            );
            assert_eq!(
                error(&format!("[::1]:{port}")),
                TargetError::Port(port.to_owned())
            );
        }
        assert_eq!(error("[::1"), TargetError::Brackets);
        assert_eq!(error("[::1]862"), TargetError::Brackets);
        for address in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert_eq!(
                error(address),
                TargetError::NotUnicast(address.parse().unwrap())
            );
        }
        let all_nodes = TargetError::NotUnicast("ff02::1".parse().unwrap());
        assert_eq!(error("ff02::1%eth0"), all_nodes);
        for text in ["fe80::1", "[fe80::1]:862", "fe80::1%"] {
            let address = "fe80::1".parse().unwrap();
            assert_eq!(error(text), TargetError::NoScope(address), "{text}");
        }
    }

    #[test]
    fn a_name_must_stand_for_a_host() {
        let host: SocketAddr = "192.0.2.1:862".parse().unwrap();
        let group: SocketAddr = "224.0.0.1:862".parse().unwrap();
        assert_eq!(unicast(vec![group, host]).unwrap(), [host]);
        let error = |addresses| unicast(addresses).unwrap_err().to_string();
        assert_eq!(
            error(vec![group]),
            "224.0.0.1 is not the address of one host"
        );
        assert_eq!(error(vec![]), "the name has no address");
    }

    #[test]
    fn prints_what_it_parses() {
        for text in ["10.0.0.2:4000", "[fd00::2]:1", "reflector.example:862"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn resolves_literal_addresses_without_a_resolver() {
        let target: Target = "[::1]:7".parse().unwrap();
        assert_eq!(target.resolve().unwrap(), ["[::1]:7".parse().unwrap()]);
    }
}
