//! Who owns which chunk: the bookkeeping of a UMEM, without its memory.

/// Who has how many chunks. `pool + held + kernel == total` at all times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Free.
    pub pool: u32,
    /// Held by user space as [`Frame`](crate::Frame)s.
    pub held: u32,
    /// Lent to the kernel, to receive into or to transmit.
    pub kernel: u32,
    /// All chunks of the UMEM.
    pub total: u32,
}

impl Census {
    /// Whether every chunk is accounted for.
    pub fn is_conserved(&self) -> bool {
        [self.pool, self.held, self.kernel]
            .map(u64::from)
            .iter()
            .sum::<u64>()
            == u64::from(self.total)
    }
}

/// An audit found books that disagree: a defect of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the UMEM's counters say {counted:?} but its table of owners says {recounted:?}")]
pub struct Imbalance {
    /// What the running counters say.
    pub counted: Census,
    /// What the table of owners says.
    pub recounted: Census,
}

/// The one owner of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody: the chunk is free.
    Pool,
    /// User space, by a token.
    User,
    /// The kernel, by the fill ring; comes back on the rx ring.
    Fill,
    /// The kernel, by the tx ring; comes back on the completion ring.
    Tx,
}

/// The table of owners, the free chunks and the counters.
#[derive(Debug)]
pub(crate) struct Ledger {
    owners: Box<[Owner]>,
    /// Free chunks, last in first out to stay in the cache. A chunk is on it at most once, so that
    /// it never outgrows its capacity.
    pool: Vec<u32>,
    total: u32,
    held: u32,
    lent: u32,
}

impl Ledger {
    /// Chunks 0 to `total - 1`, all free; low numbers are drawn first.
    pub(crate) fn new(total: u32) -> Ledger {
        Ledger {
            owners: vec![Owner::Pool; total as usize].into(),
            pool: (0..total).rev().collect(),
            total,
            held: 0,
            lent: 0,
        }
    }

    /// Free chunks.
    #[inline]
    pub(crate) fn free(&self) -> usize {
        self.pool.len()
    }

    /// Gives a free chunk to `to` and returns its number.
    #[inline]
    pub(crate) fn draw(&mut self, to: Owner) -> Option<u32> {
        let &chunk = self.pool.last()?;
        self.pass(chunk, Owner::Pool, to).then_some(chunk)
    }

    /// Hands a chunk on, if `from` has it: the only way a chunk changes hands.
    ///
    /// From the pool only the last chunk can go; [`draw`](Self::draw) says which it is.
    #[inline]
    pub(crate) fn pass(&mut self, chunk: u32, from: Owner, to: Owner) -> bool {
        let Some(owner) = self
            .owners
            .get_mut(chunk as usize)
            .filter(|owner| **owner == from)
        else {
            return false;
        };
        *owner = to;
        match from {
            Owner::Pool => drop(self.pool.pop()),
            Owner::User => self.held = self.held.wrapping_sub(1),
            Owner::Fill | Owner::Tx => self.lent = self.lent.wrapping_sub(1),
        }
        match to {
            Owner::Pool => self.pool.push(chunk),
            Owner::User => self.held = self.held.wrapping_add(1),
            Owner::Fill | Owner::Tx => self.lent = self.lent.wrapping_add(1),
        }
        true
    }

    #[cold]
    fn give_up(&mut self, chunk: u32, from: Owner) {
        self.pass(chunk, from, Owner::Pool);
    }

    /// Chunks that change hands from `from` to `to` one by one, neither of which is the pool: the same as
    /// [`pass`](Self::pass), for many.
    #[inline]
    pub(crate) fn passing(&mut self, from: Owner, to: Owner) -> Passing<'_> {
        Passing {
            ledger: self,
            from,
            to,
            count: 0,
        }
    }

    /// Who has how many, from the counters.
    pub(crate) fn census(&self) -> Census {
        Census {
            // At most `total`, so the conversion cannot fail.
            pool: u32::try_from(self.pool.len()).unwrap_or(u32::MAX),
            held: self.held,
            kernel: self.lent,
            total: self.total,
        }
    }

    /// Recounts from the table, and compares.
    pub(crate) fn audit(&self) -> Result<Census, Imbalance> {
        let mut is_free = vec![false; self.owners.len()];
        for &chunk in &self.pool {
            if let Some(is_free) = is_free.get_mut(chunk as usize) {
                *is_free = true;
            }
        }
        let mut recounted = Census {
            pool: 0,
            held: 0,
            kernel: 0,
            total: self.total,
        };
        for (owner, is_free) in self.owners.iter().zip(is_free) {
            let count = match owner {
                Owner::Pool if is_free => &mut recounted.pool,
                Owner::User if !is_free => &mut recounted.held,
                Owner::Fill | Owner::Tx if !is_free => &mut recounted.kernel,
                // Pool and table contradict each other: uncounted, the chunk shows up as missing.
                _ => continue,
            };
            *count = count.wrapping_add(1);
        }
        let counted = self.census();
        if counted == recounted && counted.is_conserved() {
            Ok(counted)
        } else {
            Err(Imbalance { counted, recounted })
        }
    }
}

/// A batch of chunks on their way from one owner to another. The counters follow when it ends.
#[derive(Debug)]
pub(crate) struct Passing<'a> {
    ledger: &'a mut Ledger,
    from: Owner,
    to: Owner,
    count: u32,
}

impl Passing<'_> {
    /// As [`Ledger::pass`].
    #[inline]
    pub(crate) fn pass(&mut self, chunk: usize) -> bool {
        match self.ledger.owners.get_mut(chunk) {
            Some(owner) if *owner == self.from => {
                *owner = self.to;
                self.count = self.count.wrapping_add(1);
                true
            }
            _ => false,
        }
    }
}

impl Passing<'_> {
    /// Sends a chunk that was passed on to the pool after all.
    #[inline]
    pub(crate) fn give_up(&mut self, chunk: u32) {
        self.ledger.give_up(chunk, self.to);
    }
}

impl Drop for Passing<'_> {
    #[inline]
    fn drop(&mut self) {
        let mut count = |owner, delta: u32| match owner {
            Owner::Pool => {}
            Owner::User => self.ledger.held = self.ledger.held.wrapping_add(delta),
            Owner::Fill | Owner::Tx => self.ledger.lent = self.ledger.lent.wrapping_add(delta),
        };
        count(self.from, self.count.wrapping_neg());
        count(self.to, self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_every_chunk_once() {
        let mut ledger = Ledger::new(3);
        let drawn: Vec<u32> = std::iter::from_fn(|| ledger.draw(Owner::User)).collect();
        assert_eq!(drawn, [0, 1, 2]);
        assert_eq!(ledger.draw(Owner::Fill), None);
        let census = ledger.audit().unwrap();
        assert_eq!(
            census,
            Census {
                pool: 0,
                held: 3,
                kernel: 0,
                total: 3
            }
        );
    }

    #[test]
    fn passes_a_chunk_only_from_its_owner() {
        use Owner::{Fill, Pool, Tx, User};
        let owners = [Pool, User, Fill, Tx];
        for has in owners {
            for from in owners {
                let mut ledger = Ledger::new(2);
                let chunk = ledger.draw(User).unwrap();
                assert!(has == User || ledger.pass(chunk, User, has));
                let before = ledger.audit().unwrap();
                // The drawn chunk is the last of the pool if it went back there.
                let moved = ledger.pass(chunk, from, Tx);
                assert_eq!(moved, from == has, "owned by {has:?}, taken from {from:?}");
                let after = ledger.audit().unwrap();
                assert_eq!(after == before, !moved || has == Fill || has == Tx);
            }
        }
    }

    #[test]
    fn refuses_a_chunk_there_is_not() {
        let mut ledger = Ledger::new(4);
        assert!(!ledger.pass(4, Owner::Pool, Owner::User));
        assert!(!ledger.pass(u32::MAX, Owner::Fill, Owner::User));
        assert_eq!(ledger.audit().unwrap().pool, 4);
    }

    #[test]
    fn an_audit_finds_a_chunk_on_the_pool_twice() {
        let mut ledger = Ledger::new(4);
        ledger.pool.push(2);
        let imbalance = ledger.audit().unwrap_err();
        assert_eq!((imbalance.counted.pool, imbalance.recounted.pool), (5, 4));
    }

    #[test]
    fn an_audit_finds_a_chunk_both_free_and_held() {
        let mut ledger = Ledger::new(4);
        ledger.owners[3] = Owner::User;
        ledger.held = 1;
        assert!(ledger.audit().is_err());
    }
}
