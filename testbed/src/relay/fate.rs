//! What a script may do to a packet.

use std::time::Duration;

/// What becomes of one packet: the copies of it that go on; none loses it.
///
/// ```
/// use std::time::Duration;
/// use testbed::Fate;
/// let twice = Fate::pass().and(Fate::pass().after(Duration::from_millis(50)).garble(20));
/// assert_eq!(twice.copies().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Fate {
    copies: Vec<Onward>,
}

/// One copy that goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Onward {
    /// When it goes.
    pub when: When,
    /// What is changed in it, in this order.
    pub changes: Vec<Change>,
}

/// When a copy goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum When {
    /// As soon as it has come.
    #[default]
    AtOnce,
    /// This long after it has come.
    After(Duration),
    /// Right after the packet with this sequence number, of the same session and direction: after
    /// its first copy, or at once if that has gone on, or was lost, already. If it never comes, when
    /// the relay is told to [`release`](crate::Relay::release) what it holds, or stops.
    AfterSequence(u32),
}

/// A change of one packet. Whatever is not named stays as it was; lengths and the IPv4 header's
/// checksum are always made right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Inverts this octet of the UDP payload and leaves the UDP checksum: whoever checks it drops
    /// the packet.
    Corrupt {
        /// Counted from the start of the payload.
        octet: usize,
    },
    /// Inverts this octet of the UDP payload and makes the UDP checksum right: the garbage arrives.
    Garble {
        /// Counted from the start of the payload.
        octet: usize,
    },
    /// Cuts the UDP payload to this many octets, with a right checksum.
    Truncate {
        /// Octets of payload that stay.
        len: usize,
    },
    /// Sets the whole TOS or traffic class octet: DSCP in the upper six bits, ECN in the lower two.
    Tos(u8),
    /// Sets the TTL or hop limit.
    Ttl(u8),
}

impl Fate {
    /// It goes on as it is, at once.
    pub fn pass() -> Self {
        Self::copies_of(1)
    }

    /// It is lost.
    pub fn lose() -> Self {
        Self::copies_of(0)
    }

    /// It goes on, and `more` copies of it right behind.
    pub fn duplicate(more: usize) -> Self {
        Self::copies_of(more.saturating_add(1))
    }

    fn copies_of(count: usize) -> Self {
        Self {
            copies: vec![Onward::default(); count],
        }
    }

    /// The copies of `other` too, those due at the same time behind these.
    pub fn and(mut self, other: Self) -> Self {
        self.copies.extend(other.copies);
        self
    }

    /// All copies so far go on this long after the packet has come.
    pub fn after(self, delay: Duration) -> Self {
        self.when(When::After(delay))
    }

    /// All copies so far go on right after the packet with this sequence number; see
    /// [`When::AfterSequence`].
    pub fn after_sequence(self, sequence: u32) -> Self {
        self.when(When::AfterSequence(sequence))
    }

    /// [`Change::Corrupt`] in all copies so far.
    pub fn corrupt(self, octet: usize) -> Self {
        self.change(Change::Corrupt { octet })
    }

    /// [`Change::Garble`] in all copies so far.
    pub fn garble(self, octet: usize) -> Self {
        self.change(Change::Garble { octet })
    }

    /// [`Change::Truncate`] in all copies so far.
    pub fn truncate(self, len: usize) -> Self {
        self.change(Change::Truncate { len })
    }

    /// [`Change::Tos`] in all copies so far.
    pub fn tos(self, tos: u8) -> Self {
        self.change(Change::Tos(tos))
    }

    /// [`Change::Ttl`] in all copies so far.
    pub fn ttl(self, ttl: u8) -> Self {
        self.change(Change::Ttl(ttl))
    }

    /// The copies that go on.
    pub fn copies(&self) -> &[Onward] {
        &self.copies
    }

    fn when(mut self, when: When) -> Self {
        for copy in &mut self.copies {
            copy.when = when;
        }
        self
    }

    fn change(mut self, change: Change) -> Self {
        for copy in &mut self.copies {
            copy.changes.push(change);
        }
        self
    }
}

impl Onward {
    /// Whether somebody who checks the UDP checksum drops it.
    pub fn is_corrupt(&self) -> bool {
        // A later change of the payload repairs the checksum over the damage.
        let last = self.changes.iter().rev().find_map(|change| match change {
            Change::Corrupt { .. } => Some(true),
            Change::Garble { .. } | Change::Truncate { .. } => Some(false),
            Change::Tos(_) | Change::Ttl(_) => None,
        });
        last.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_touch_the_copies_so_far_and_no_later_ones() {
        let late = Duration::from_millis(5);
        let fate = Fate::duplicate(1).after(late).ttl(3).and(Fate::pass());
        let changed = Onward {
            when: When::After(late),
            changes: vec![Change::Ttl(3)],
        };
        assert_eq!(fate.copies(), [changed.clone(), changed, Onward::default()]);
        assert!(Fate::lose().copies().is_empty());
    }

    #[test]
    fn a_checksum_made_right_later_is_right() {
        let corrupt = |fate: Fate| fate.copies()[0].is_corrupt();
        assert!(!corrupt(Fate::pass().tos(1)));
        assert!(corrupt(Fate::pass().corrupt(0).tos(1)));
        assert!(!corrupt(Fate::pass().corrupt(0).truncate(10)));
        assert!(corrupt(Fate::pass().garble(0).corrupt(1)));
    }
}
