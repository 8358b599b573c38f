//! Which source address and port belong to which session.

use std::collections::HashMap;
use std::net::IpAddr;

/// Source addresses with the same row of ports each, dealt out to the sessions: the first sessions
/// have the ports of the first address, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    addresses: Vec<IpAddr>,
    index: HashMap<IpAddr, usize>,
    first: u16,
    per_address: usize,
    sessions: usize,
}

impl Sources {
    /// Ports from `first` on for `sessions` sessions. An address given twice counts once.
    ///
    /// `None` if the ports of the addresses do not suffice.
    pub fn new(
        addresses: impl IntoIterator<Item = IpAddr>,
        first: u16,
        sessions: usize,
    ) -> Option<Self> {
        let mut index = HashMap::new();
        let mut distinct = Vec::new();
        for address in addresses {
            index.entry(address).or_insert_with(|| {
                distinct.push(address);
                distinct.len() - 1
            });
        }
        let per_address = per_address(sessions, distinct.len())?;
        (per_address <= room(first)).then_some(Self {
            addresses: distinct,
            index,
            first,
            per_address,
            sessions,
        })
    }

    /// Number of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// The addresses, each once.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The first port of every address.
    pub fn first_port(&self) -> u16 {
        self.first
    }

    /// Ports of an address; the last address may use fewer.
    pub fn ports_per_address(&self) -> usize {
        self.per_address
    }

    /// Address and port of a session, from 0; `None` beyond the last.
    #[inline]
    pub fn of(&self, session: usize) -> Option<(IpAddr, u16)> {
        if session >= self.sessions {
            return None;
        }
        let address = *self.addresses.get(session.checked_div(self.per_address)?)?;
        let offset = u16::try_from(session % self.per_address).ok()?;
        Some((address, self.first.checked_add(offset)?))
    }

    /// The session that has this address and port, if any.
    #[inline]
    pub fn session(&self, address: IpAddr, port: u16) -> Option<usize> {
        let offset = usize::from(port.checked_sub(self.first)?);
        if offset >= self.per_address {
            return None;
        }
        let session = self.index.get(&address)? * self.per_address + offset;
        (session < self.sessions).then_some(session)
    }
}

/// Ports that each of `addresses` has to have; `None` without addresses.
pub(super) fn per_address(sessions: usize, addresses: usize) -> Option<usize> {
    (addresses != 0).then(|| sessions.div_ceil(addresses))
}

/// Ports from `first` to the last one.
pub(super) fn room(first: u16) -> usize {
    usize::from(u16::MAX - first) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u8) -> Vec<IpAddr> {
        (1..=count).map(|host| [10, 0, 0, host].into()).collect()
    }

    #[test]
    fn every_session_has_its_own_address_and_port_and_is_found_by_them() {
        for (count, first, sessions) in [(1, 65_535, 1), (1, 1, 65_535), (3, 60_000, 1000)] {
            let sources = Sources::new(addresses(count), first, sessions).unwrap();
            for session in 0..sessions {
                let (address, port) = sources.of(session).unwrap();
                assert_eq!(sources.session(address, port), Some(session));
            }
            assert_eq!(sources.of(sessions), None);
        }
    }

    #[test]
    fn ports_are_dealt_out_address_by_address() {
        let sources = Sources::new(addresses(3), 40_000, 7).unwrap();
        assert_eq!(sources.ports_per_address(), 3);
        let [a, b, c] = [1, 2, 3].map(|host| IpAddr::from([10, 0, 0, host]));
        let dealt: Vec<_> = (0..7).filter_map(|session| sources.of(session)).collect();
        assert_eq!(
            dealt,
            [
                (a, 40_000),
                (a, 40_001),
                (a, 40_002),
                (b, 40_000),
                (b, 40_001),
                (b, 40_002),
                (c, 40_000)
            ]
        );
        assert_eq!(sources.session(c, 40_001), None, "no session has it");
        assert_eq!(sources.session(a, 40_003), None);
        assert_eq!(sources.session(a, 39_999), None);
        assert_eq!(sources.session([10, 0, 0, 4].into(), 40_000), None);
    }

    #[test]
    fn there_is_no_more_room_than_ports() {
        assert!(Sources::new(addresses(1), 65_535, 2).is_none());
        assert!(Sources::new(addresses(2), 65_535, 2).is_some());
        assert!(Sources::new(addresses(0), 1, 1).is_none());
        let twice = addresses(1).into_iter().chain(addresses(1));
        assert!(Sources::new(twice, 65_535, 2).is_none());
        assert_eq!(Sources::new(addresses(1), 1, 0).unwrap().of(0), None);
    }
}
