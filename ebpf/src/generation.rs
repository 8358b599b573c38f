//! What a process answers at one time, and the table the XDP program looks it up in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::abi::{Context, OwnFilter};
use crate::{FlowKey, ListenerKey, Rule, Scope};

/// Everything that is answered at one time. Changes come as a whole: a packet is judged by one
/// generation or by the next, never by parts of both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generation {
    /// Named in [`RxMeta::generation`](crate::RxMeta::generation). Differs from that of the one before.
    pub number: u16,
    /// Who answers everybody. Of two with one key the last holds, as everywhere here.
    pub listeners: Vec<(ListenerKey, Rule)>,
    /// Exact sessions, which take what a listener with the same destination would get.
    pub sessions: Vec<(FlowKey, Rule)>,
    /// Addresses of this host: a packet that claims to come from one of them, in its scope, is dropped.
    pub own_addresses: Vec<(Scope, IpAddr)>,
    /// Ports of open listeners: what comes from one of them, in its scope, is dropped for listeners with
    /// [`Rule::guard_ports`].
    pub open_ports: Vec<(Scope, u16)>,
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
        let own = self.own_filters();
        let context = |scope: &Scope| Context {
            generation: self.number,
            sessions: None,
            guarded: None,
            own_filter: own.get(scope).copied().unwrap_or_default(),
        };

        let mut listeners = BTreeMap::new();
        for (scope, address) in &self.own_addresses {
            let key = ListenerKey::own_address(*scope, *address);
            listeners.insert(key, context(scope).sessions_only());
        }
        for (scope, port) in &self.open_ports {
            let key = ListenerKey::open_port(*scope, *port);
            listeners.insert(key, context(scope).sessions_only());
        }
        for key in &with_sessions {
            let context = Context {
                sessions: Some(slot),
                ..context(&key.scope)
            };
            listeners.insert(key.to_bytes(), context.sessions_only());
        }
        for (key, rule) in &self.listeners {
            let context = Context {
                sessions: with_sessions.contains(key).then_some(slot),
                guarded: guarded.get(&key.scope).copied(),
                ..context(&key.scope)
            };
            listeners.insert(key.to_bytes(), rule.to_bytes(context));
        }
        let session = |(flow, rule): &(FlowKey, Rule)| {
            let value = rule.to_bytes(context(&flow.scope));
            (flow.to_bytes(), value)
        };
        Tables {
            listeners,
            sessions: self.sessions.iter().map(session).collect(),
        }
    }

    /// What tells most addresses of each scope from ours without a look-up.
    fn own_filters(&self) -> BTreeMap<Scope, OwnFilter> {
        let mut filters: BTreeMap<Scope, OwnFilter> = BTreeMap::new();
        for &(scope, address) in &self.own_addresses {
            filters.entry(scope).or_default().add(address);
        }
        filters
    }

    /// The lowest and the highest open port of each scope: for all others no look-up is needed.
    fn port_ranges(&self) -> BTreeMap<Scope, (u16, u16)> {
        let mut ranges = BTreeMap::new();
        for &(scope, port) in &self.open_ports {
            let (first, last) = ranges.entry(scope).or_insert((port, port));
            *first = port.min(*first);
            *last = port.max(*last);
        }
        ranges
    }
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
    fn ports_are_guarded_where_they_are_open() {
        let generation = Generation {
            open_ports: vec![(HERE, 900), (THERE, 862), (HERE, 862), (HERE, 901)],
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
