//! Client lists: prefixes whose sources may ask, or may not.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// Who may ask. The longest prefix that holds a source decides; both families have a prefix of
/// length 0, so that one always does.
#[derive(Clone, PartialEq, Eq)]
pub struct Clients {
    v4: PrefixMap<Ipv4Net, bool>,
    v6: PrefixMap<Ipv6Net, bool>,
}

impl Clients {
    /// Whether this source may ask.
    #[inline]
    pub fn allows(&self, source: IpAddr) -> bool {
        let verdict = match source {
            IpAddr::V4(v4) => self.v4.get_lpm(&v4.into()).map(|(_, allowed)| allowed),
            IpAddr::V6(v6) => self.v6.get_lpm(&v6.into()).map(|(_, allowed)| allowed),
        };
        verdict.copied().unwrap_or(false)
    }

    /// Every prefix, those of length 0 included, and whether it may ask.
    pub fn entries(&self) -> impl Iterator<Item = (IpNet, bool)> {
        let v4 = self.v4.iter().map(|(net, &allowed)| (net.into(), allowed));
        let v6 = self.v6.iter().map(|(net, &allowed)| (net.into(), allowed));
        v4.chain(v6)
    }
}

impl fmt::Debug for Clients {
    /// Sizes alone: there may be 100 000 entries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("v4", &self.v4.len())
            .field("v6", &self.v6.len())
            .finish()
    }
}
