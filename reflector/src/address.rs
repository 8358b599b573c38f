//! Which addresses can be another host's.

use std::net::IpAddr;

/// Whether a packet to this address has one receiver, which is another host: only such a source is
/// answered. The rest are addresses that nobody has (unspecified, reserved, IPv4 mapped into IPv6), that
/// many have (multicast, broadcast), or that every host has (loopback): RFC 1122 section 3.2.1.3,
/// RFC 4291 section 2.5.
#[inline]
pub fn is_one_host(address: IpAddr) -> bool {
    match address {
        // Not 0/8 (unspecified, "this network"), 127/8 (loopback), 224/4 (multicast) and 240/4 (reserved,
        // broadcast).
        IpAddr::V4(v4) => matches!(v4.octets()[0], 1..=126 | 128..=223),
        IpAddr::V6(v6) => {
            let mapped = v6.to_ipv4_mapped().is_some();
            !(mapped || v6.is_unspecified() || v6.is_loopback() || v6.is_multicast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_neither_none_nor_many_nor_this_one() {
        let is_one = |text: &str| is_one_host(text.parse().unwrap());
        for one in [
            "1.0.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "223.255.255.255",
            "169.254.0.1",
            "2001:db8::1",
            "fe80::1",
            "::2",
        ] {
            assert!(is_one(one), "{one}");
        }
        for other in [
            "0.0.0.0",
            "0.255.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "::ffff:192.0.2.1",
        ] {
            assert!(!is_one(other), "{other}");
        }
    }
}
