//! What the reflector's programs share: one process, however many interfaces.

use std::io;
use std::sync::{Mutex, PoisonError};

use ipnet::{IpNet, Ipv4Net};
use libbpf_rs::MapType;

use super::reflector::Reflector;
use super::steering::Role;
use crate::abi::ClientKey;
use crate::object::{self, Map};
use crate::{Clients, Generation, LoadError, MapError};

/// `CLIENT_DENIED` and `CLIENT_ALLOWED` of `enum client`.
const SAYS: [[u8; 1]; 2] = [[0], [1]];

/// How much the programs of a process have room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Listeners: [`Rule::id`](crate::Rule::id) is below. Each takes 64 octets, and 40 per CPU.
    pub listeners: u32,
    /// Client lists: their slots are below.
    pub client_lists: u32,
    /// Source prefixes whose rate is known at a time, over all listeners, about 100 octets each. When
    /// there are more, the one that was silent longest starts anew.
    pub sources: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            listeners: 1024,
            client_lists: 1024,
            sources: 65_536,
        }
    }
}

/// Packets of one listener by what became of them, summed over CPUs and interfaces
/// (`struct listener_counts`). Those that no listener of the process answers are not among them, nor
/// those passed for lack of a socket or of room in a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListenerCounts {
    /// Redirected to `AF_XDP`.
    pub admitted: u64,
    /// Stopped by the loop guard.
    pub loops: u64,
    /// From no client, or in no session where there must be one; dropped or passed to the kernel.
    pub not_clients: u64,
    /// Over the limit of their source.
    pub over_source_limit: u64,
    /// Over the listener's limits.
    pub over_limit: u64,
}

/// The rules, client lists, buckets and counters that the reflector's programs of one process share.
///
/// They live as long as this or a program that was loaded with it, and not beyond the process.
#[derive(Debug)]
pub struct SharedMaps {
    sizes: Sizes,
    generations: Map,
    exact_sessions: Map,
    client_lists: Map,
    listener_buckets: Map,
    source_buckets: Map,
    counts: Map,
    /// Slot of the exact sessions of the generation that holds.
    sessions_slot: Mutex<u16>,
}

impl SharedMaps {
    /// Creates the maps. Nothing is answered before [`Self::publish`].
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn create(sizes: Sizes) -> Result<Self, LoadError> {
        let entries = [
            ("generations", 1),
            ("exact_sessions", 2),
            ("client_lists", sizes.client_lists.max(1)),
            ("listener_buckets", sizes.listeners.max(1)),
            ("source_buckets", sizes.sources.max(1)),
            ("counts", sizes.listeners.max(1)),
        ];
        let object = object::create_maps(Reflector::ELF, &entries)?;
        let map = |name| object::map(&object, name);
        Ok(Self {
            sizes,
            generations: map("generations")?,
            exact_sessions: map("exact_sessions")?,
            client_lists: map("client_lists")?,
            listener_buckets: map("listener_buckets")?,
            source_buckets: map("source_buckets")?,
            counts: map("counts")?,
            sessions_slot: Mutex::new(0),
        })
    }

    /// The maps to load a program with.
    pub(super) fn all(&self) -> [&Map; 6] {
        [
            &self.generations,
            &self.exact_sessions,
            &self.client_lists,
            &self.listener_buckets,
            &self.source_buckets,
            &self.counts,
        ]
    }

    /// Answers by `generation` from now on: all interfaces at once, and no packet by parts of two. When
    /// this returns, no program judges by the one before any more.
    ///
    /// # Errors
    ///
    /// A rule's [`id`](crate::Rule::id) or client list is beyond [`Sizes`], or there is no memory for the
    /// tables. The generation before holds on.
    pub fn publish(&self, generation: &Generation) -> Result<(), MapError> {
        self.check(generation)?;
        let mut slot = self
            .sessions_slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Nobody looks into the other slot: the generation before last is gone, see below.
        let [old, new] = [*slot, 1 - *slot];
        let tables = generation.tables(new);
        if !tables.sessions.is_empty() {
            let sessions = Map::with_entries("sessions", MapType::Hash, tables.sessions)?;
            self.exact_sessions.set_inner(new.into(), &sessions)?;
        }
        let listeners = Map::with_entries("listeners", MapType::Hash, tables.listeners)?;
        self.generations.set_inner(0, &listeners)?;
        *slot = new;
        self.exact_sessions.clear_inner(old.into())
    }

    /// Answers nothing from now on. When this returns, no program redirects a packet any more.
    ///
    /// # Errors
    ///
    /// The kernel refuses to write the map.
    pub fn withdraw(&self) -> Result<(), MapError> {
        self.generations.clear_inner(0)
    }

    /// Puts a client list into a slot, in place of any before. Prefixes, and whether those in them may
    /// ask: the longest one that holds a source counts, and who is in none may not. An IPv6 prefix
    /// says nothing about IPv4.
    ///
    /// # Errors
    ///
    /// The slot is beyond [`Sizes::client_lists`], or there is no memory for the list.
    pub fn set_client_list(
        &self,
        slot: u16,
        entries: impl IntoIterator<Item = (IpNet, bool)>,
    ) -> Result<(), MapError> {
        // First, so that an entry of the list for all of IPv4 prevails. It keeps the IPv6 prefixes out
        // that hold mapped addresses.
        let ipv4 = (IpNet::V4(Ipv4Net::default()), false);
        let entries = std::iter::once(ipv4)
            .chain(entries)
            .map(|(prefix, allowed)| (ClientKey::of(prefix), SAYS[usize::from(allowed)]));
        let list = Map::with_entries("client_list", MapType::LpmTrie, entries)?;
        self.client_lists.set_inner(slot.into(), &list)
    }

    /// What became of a listener's packets so far.
    ///
    /// # Errors
    ///
    /// The number is beyond [`Sizes::listeners`].
    pub fn listener_counts(&self, id: u32) -> Result<ListenerCounts, MapError> {
        let [admitted, loops, not_clients, over_source_limit, over_limit] =
            self.counts.sum_of_cpus(id)?;
        Ok(ListenerCounts {
            admitted,
            loops,
            not_clients,
            over_source_limit,
            over_limit,
        })
    }

    /// Whether there is room for what the rules name.
    fn check(&self, generation: &Generation) -> Result<(), MapError> {
        let Sizes {
            listeners,
            client_lists,
            ..
        } = self.sizes;
        for rule in generation.rules() {
            let problem = match rule.clients {
                _ if rule.id >= listeners => {
                    format!("no room for listener {}, there is for {listeners}", rule.id)
                }
                Clients::Listed(list) if u32::from(list) >= client_lists => {
                    format!("no room for client list {list}, there is for {client_lists}")
                }
                _ => continue,
            };
            return Err(MapError {
                map: "listeners",
                source: io::Error::new(io::ErrorKind::InvalidInput, problem).into(),
            });
        }
        Ok(())
    }
}
