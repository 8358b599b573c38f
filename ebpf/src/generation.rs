//! What a process answers at one time, and the table the XDP program looks it up in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use crate::abi::{Context, OwnFilter};
use crate::{Clients, FlowKey, ListenerKey, Rule, Scope};

/// Everything that is answered at one time. Changes come as a whole: a packet is judged by one
/// generation or by the next, never by parts of both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generation {
    /// Named in [`RxMeta::generation`](crate::RxMeta::generation). Differs from that of the one before.
    pub number: u16,
    /// Whose packets they are. Of two with one key the last holds, as everywhere here.
    pub listeners: Vec<(ListenerKey, Rule)>,
    /// Exact sessions, which take what a listener with the same destination would get: there must be one.
    pub sessions: Vec<(FlowKey, Rule)>,
    /// Addresses that no other host has, by [`Rule::domain`]: those of this host, that is, and broadcast
    /// addresses. A packet that claims to come from one of them is dropped.
    pub own_addresses: Vec<(u32, IpAddr)>,
    /// IPv6 link-local addresses of this host, each in its scope alone.
    pub link_local: Vec<(Scope, Ipv6Addr)>,
    /// Ports of general listeners: what comes from one of them, in its scope, is dropped for listeners
    /// with [`Rule::guard_ports`].
    pub general_ports: Vec<(Scope, u16)>,
}

/// Keys and values of the maps of a generation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    pub listeners: BTreeMap<[u8; ListenerKey::SIZE], [u8; Rule::SIZE]>,
    pub sessions: BTreeMap<[u8; FlowKey::SIZE], [u8; Rule::SIZE]>,
}

impl Generation {
    /// The rules of listeners and sessions.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        let listeners = self.listeners.iter().map(|(_, rule)| rule);
        listeners.chain(self.sessions.iter().map(|(_, rule)| rule))
    }

    /// The tables, with exact sessions to be found in `slot`.
    pub(crate) fn tables(&self, slot: u16) -> Tables {
        let with_sessions: BTreeSet<ListenerKey> = self
            .sessions
            .iter()
            .map(|(flow, _)| ListenerKey {
                scope: flow.scope,
                address: flow.destination.ip(),
                port: flow.destination.port(),
            })
            .collect();
        let guarded = self.port_ranges();
        let of_domains = filters(self.own_addresses.iter().copied());
        let of_scopes = filters(self.link_local.iter().map(|&(at, ip)| (at, ip.into())));
        let context = |scope: &Scope, rule: &Rule| {
            let shared = of_domains.get(&rule.domain).copied().unwrap_or_default();
            let own = of_scopes.get(scope).copied().unwrap_or_default();
            Context {
                generation: self.number,
                sessions: None,
                guarded: None,
                own_filter: shared.or(own),
            }
        };

        let own = self.own_addresses.iter();
        let own = own.map(|&(domain, address)| ListenerKey::own_address(domain, address));
        let link_local = self.link_local.iter();
        let link_local =
            link_local.map(|&(scope, address)| ListenerKey::link_local(scope, address));
        let ports = self.general_ports.iter();
        let ports = ports.map(|&(scope, port)| ListenerKey::general_port(scope, port));
        let marks = own.chain(link_local).chain(ports);
        let mut listeners: BTreeMap<_, _> = marks.map(|mark| (mark, [0; Rule::SIZE])).collect();
        for (key, rule) in &self.listeners {
            let context = Context {
                sessions: with_sessions.contains(key).then_some(slot),
                guarded: guarded.get(&key.scope).copied(),
                ..context(&key.scope, rule)
            };
            listeners.insert(key.to_bytes(), rule.to_bytes(context));
        }
        let session = |(flow, rule): &(FlowKey, Rule)| {
            let context = context(&flow.scope, rule);
            let mut rule = *rule;
            if rule.clients == Clients::SessionsOnly {
                rule.clients = Clients::All;
            }
            (flow.to_bytes(), rule.to_bytes(context))
        };
        Tables {
            listeners,
            sessions: self.sessions.iter().map(session).collect(),
        }
    }

    /// The lowest and the highest port of general listeners of each scope: for all others no look-up is
    /// needed.
    fn port_ranges(&self) -> BTreeMap<Scope, (u16, u16)> {
        let mut ranges = BTreeMap::new();
        for &(scope, port) in &self.general_ports {
            let (first, last) = ranges.entry(scope).or_insert((port, port));
            *first = port.min(*first);
            *last = port.max(*last);
        }
        ranges
    }
}

/// What tells most addresses from ours without a look-up, for each place where some are ours.
fn filters<P: Ord>(own: impl Iterator<Item = (P, IpAddr)>) -> BTreeMap<P, OwnFilter> {
    let mut filters: BTreeMap<P, OwnFilter> = BTreeMap::new();
    for (place, address) in own {
        filters.entry(place).or_default().add(address);
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Scope = Scope::untagged(1);
    const THERE: Scope = Scope {
        outer_vid: 7,
        ..HERE
    };

    fn key(scope: Scope, port: u16) -> ListenerKey {
        ListenerKey {
            scope,
            address: IpAddr::from([192, 0, 2, 1]),
            port,
        }
    }

    #[test]
    fn ports_are_guarded_where_listeners_have_them() {
        let generation = Generation {
            general_ports: vec![(HERE, 900), (THERE, 862), (HERE, 862), (HERE, 901)],
            ..Generation::default()
        };
        let ranges = generation.port_ranges();
        assert_eq!(ranges[&HERE], (862, 901));
        assert_eq!(ranges[&THERE], (862, 862));
    }

    #[test]
    fn sessions_are_looked_for_where_there_are_some() {
        let flow = FlowKey {
            scope: HERE,
            source: ([192, 0, 2, 9], 5000).into(),
            destination: ([192, 0, 2, 1], 900).into(),
        };
        let generation = Generation {
            number: 3,
            listeners: vec![
                (key(HERE, 900), Rule::open(1)),
                (key(THERE, 900), Rule::open(2)),
            ],
            sessions: vec![(flow, Rule::open(3))],
            ..Generation::default()
        };
        let tables = generation.tables(1);
        let context = |sessions| Context {
            generation: 3,
            sessions,
            guarded: None,
            own_filter: OwnFilter::default(),
        };
        assert_eq!(tables.listeners.len(), 2);
        assert_eq!(
            tables.listeners[&key(HERE, 900).to_bytes()],
            Rule::open(1).to_bytes(context(Some(1)))
        );
        assert_eq!(
            tables.listeners[&key(THERE, 900).to_bytes()],
            Rule::open(2).to_bytes(context(None))
        );
        assert_eq!(
            tables.sessions[&flow.to_bytes()],
            Rule::open(3).to_bytes(context(None))
        );
    }
}
