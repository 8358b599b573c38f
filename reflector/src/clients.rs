//! Client lists: prefixes whose sources may ask, or may not.

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// Longest list.
pub const ENTRIES_MAX: usize = 100_000;

/// Who may ask. The longest prefix that holds a source decides; both families have a prefix of
/// length 0, so that one always does.
#[derive(Clone, PartialEq, Eq)]
pub struct Clients {
    v4: PrefixMap<Ipv4Net, bool>,
    v6: PrefixMap<Ipv6Net, bool>,
}

/// Why there is no client list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientsError {
    /// The file cannot be read.
    #[error("cannot read the client list {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of it is wrong.
    #[error("{} line {number}: '{line}': {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        number: usize,
        /// What it says, or its beginning.
        line: String,
        /// Why that is wrong.
        reason: String,
    },
    /// It has none but empty lines and comments.
    #[error("the client list {} names nobody: leave it out, or write a prefix in it", .0.display())]
    Empty(PathBuf),
    /// An `--allow` or `--deny` beside it is wrong.
    #[error("{0}: {1}")]
    Entry(IpNet, &'static str),
}

/// Why an entry is not added.
const CONTRADICTION: &str = "this prefix is both allowed and denied";
const TOO_MANY: &str = "a client list has 100000 entries at most";

impl Clients {
    /// Everybody in `allow` and what `file` allows, but nobody in `deny` or what it denies. Whoever
    /// stands in neither may ask if nobody is allowed by name.
    ///
    /// # Errors
    ///
    /// The file cannot be read or understood, a prefix is both allowed and denied, or there are more
    /// than [`ENTRIES_MAX`].
    pub fn read(
        allow: &[IpNet],
        deny: &[IpNet],
        file: Option<&Path>,
    ) -> Result<Self, ClientsError> {
        let mut list = Draft::default();
        let named = allow.iter().map(|net| (net, true));
        for (&net, allowed) in named.chain(deny.iter().map(|net| (net, false))) {
            list.add(net, allowed)
                .map_err(|reason| ClientsError::Entry(net, reason))?;
        }
        if let Some(path) = file {
            list.add_file(path)?;
        }
        Ok(list.finish())
    }

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

/// A list that grows.
#[derive(Default)]
struct Draft {
    v4: PrefixMap<Ipv4Net, bool>,
    v6: PrefixMap<Ipv6Net, bool>,
    any_allowed: bool,
}

impl Draft {
    fn add(&mut self, net: IpNet, allowed: bool) -> Result<(), &'static str> {
        let before = match net {
            IpNet::V4(v4) => self.v4.insert(v4, allowed),
            IpNet::V6(v6) => self.v6.insert(v6, allowed),
        };
        self.any_allowed |= allowed;
        if before.is_some_and(|before| before != allowed) {
            return Err(CONTRADICTION);
        }
        if self.len() > ENTRIES_MAX {
            return Err(TOO_MANY);
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    fn add_file(&mut self, path: &Path) -> Result<(), ClientsError> {
        let text = fs::read(path).map_err(|source| ClientsError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut empty = true;
        for (number, line) in (1..).zip(text.split(|&octet| octet == b'\n')) {
            // What is no UTF-8 is no address either.
            let line = String::from_utf8_lossy(line);
            let added = entry(&line).and_then(|entry| {
                let Some((net, allowed)) = entry else {
                    return Ok(());
                };
                empty = false;
                self.add(net, allowed).map_err(str::to_owned)
            });
            added.map_err(|reason| ClientsError::Line {
                path: path.to_owned(),
                number,
                line: beginning(&line),
                reason,
            })?;
        }
        if empty {
            return Err(ClientsError::Empty(path.to_owned()));
        }
        Ok(())
    }

    fn finish(mut self) -> Clients {
        let rest = !self.any_allowed;
        let v4 = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
        let v6 = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0);
        self.v4.entry(v4).or_insert(rest);
        self.v6.entry(v6).or_insert(rest);
        Clients {
            v4: self.v4,
            v6: self.v6,
        }
    }
}

/// What a line of a file says: a prefix, and whether it is allowed; nothing, if it is a comment.
fn entry(line: &str) -> Result<Option<(IpNet, bool)>, String> {
    let said = line.split('#').next().unwrap_or_default().trim();
    if said.is_empty() {
        return Ok(None);
    }
    let (word, rest) = said.split_once(char::is_whitespace).unwrap_or(("", said));
    let (allowed, net) = match (word, said.strip_prefix('!')) {
        (_, Some(net)) => (false, net),
        ("deny", None) => (false, rest),
        _ => (true, said),
    };
    Ok(Some((prefix(net.trim())?, allowed)))
}

/// What is shown of a line.
fn beginning(line: &str) -> String {
    const SHOWN: usize = 60;
    let line = line.trim();
    match line.char_indices().nth(SHOWN) {
        None => line.escape_debug().to_string(),
        Some((end, _)) => format!("{}...", line[..end].escape_debug()),
    }
}

/// A prefix such as `192.0.2.0/24`, or an address, which is a prefix of one host. An IPv6 prefix of
/// mapped IPv4 addresses is that of the IPv4 addresses.
///
/// # Errors
///
/// In words, why `text` is neither.
pub fn prefix(text: &str) -> Result<IpNet, String> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "write a prefix such as 192.0.2.0/24 or 2001:db8::/32".to_owned())?;
    let net = match len {
        None => IpNet::from(address),
        Some(len) => {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let net = len
                .parse()
                .ok()
                .and_then(|len| IpNet::new(address, len).ok());
            net.ok_or_else(|| format!("a prefix length of its family is 0 to {most}"))?
        }
    };
    if net.trunc() != net {
        let meant = net.trunc();
        return Err(format!(
            "host bits are set below the prefix: {meant} was probably meant"
        ));
    }
    Ok(unmapped(net))
}

fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6.addr().to_ipv4_mapped();
    let len = v6.prefix_len().checked_sub(96);
    v4.zip(len)
        .and_then(|(v4, len)| Ipv4Net::new(v4, len).ok())
        .map_or(net, IpNet::V4)
}
