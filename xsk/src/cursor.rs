//! Ring cursors: free-running `u32` counters that wrap.
//!
//! A cursor counts entries since the ring was made, modulo 2³². The difference of the two cursors is
//! the number of entries in the ring, whatever has wrapped; the low bits are the slot
//! (`net/xdp/xsk_queue.h`). The arithmetic lives here, away from memory and atomics, so that it can
//! be tested on its own.

/// Both cursors of one ring, as one side knows them.
///
/// One of the two is the side's own and exact; the other is what it last saw of the peer's and may
/// lag. Invariant: `filled() <= size`, because own steps are refused and foreign values that would
/// break it are not believed.
#[derive(Debug)]
pub(crate) struct Cursors {
    producer: u32,
    consumer: u32,
    size: u32,
}

/// The peer published a cursor it cannot have reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

impl Cursors {
    /// An empty ring of `size` slots whose cursors both stand at `start`.
    pub(crate) fn empty_at(start: u32, size: u32) -> Cursors {
        Cursors {
            producer: start,
            consumer: start,
            size,
        }
    }

    /// Entries produced and not yet consumed.
    #[inline]
    pub(crate) fn filled(&self) -> u32 {
        self.producer.wrapping_sub(self.consumer)
    }

    /// Slots that may be produced into.
    #[inline]
    pub(crate) fn free(&self) -> u32 {
        self.size.wrapping_sub(self.filled())
    }

    /// Steps the producer and returns the cursor of the slot it may now write.
    #[inline]
    pub(crate) fn produce(&mut self) -> Option<u32> {
        if self.filled() == self.size {
            return None;
        }
        let slot = self.producer;
        self.producer = slot.wrapping_add(1);
        Some(slot)
    }

    /// Steps the consumer and returns the cursor of the slot it may now read.
    #[inline]
    pub(crate) fn consume(&mut self) -> Option<u32> {
        if self.filled() == 0 {
            return None;
        }
        let slot = self.consumer;
        self.consumer = slot.wrapping_add(1);
        Some(slot)
    }

    /// Slots from [`Self::producer`] on that may be produced into, `wanted` at most.
    #[inline]
    pub(crate) fn free_up_to(&self, wanted: usize) -> u32 {
        at_most(self.free(), wanted)
    }

    /// Steps the producer over `count` slots, or as many as are free.
    #[inline]
    pub(crate) fn produce_many(&mut self, count: u32) {
        self.producer = self.producer.wrapping_add(count.min(self.free()));
    }

    /// Steps the consumer over up to `wanted` slots, which may now be read: the cursor of the first, and
    /// how many.
    #[inline]
    pub(crate) fn consume_many(&mut self, wanted: usize) -> (u32, u32) {
        let count = at_most(self.filled(), wanted);
        let first = self.consumer;
        self.consumer = first.wrapping_add(count);
        (first, count)
    }

    /// Learns the peer's producer, which may only have moved forward into free slots.
    #[inline]
    pub(crate) fn observe_producer(&mut self, seen: u32) -> Result<(), Corrupt> {
        if seen.wrapping_sub(self.producer) > self.free() {
            return Err(Corrupt);
        }
        self.producer = seen;
        Ok(())
    }

    /// Learns the peer's consumer, which may only have moved forward over filled slots.
    #[inline]
    pub(crate) fn observe_consumer(&mut self, seen: u32) -> Result<(), Corrupt> {
        if seen.wrapping_sub(self.consumer) > self.filled() {
            return Err(Corrupt);
        }
        self.consumer = seen;
        Ok(())
    }

    /// The producer cursor, to be published by the producing side.
    #[inline]
    pub(crate) fn producer(&self) -> u32 {
        self.producer
    }

    /// The consumer cursor, to be published by the consuming side.
    #[inline]
    pub(crate) fn consumer(&self) -> u32 {
        self.consumer
    }
}

/// The lesser of both.
#[inline]
fn at_most(there: u32, wanted: usize) -> u32 {
    u32::try_from(wanted).map_or(there, |wanted| wanted.min(there))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Produce,
        Consume,
        ProduceMany(u32),
        ConsumeMany(u32),
        ObserveProducer(u32),
        ObserveConsumer(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Produce),
            4 => Just(Step::Consume),
            1 => (0..80_u32).prop_map(Step::ProduceMany),
            1 => (0..80_u32).prop_map(Step::ConsumeMany),
            1 => (0..80_u32).prop_map(Step::ObserveProducer),
            1 => (0..80_u32).prop_map(Step::ObserveConsumer),
        ]
    }

    /// The low 32 bits.
    fn wrapped(count: u64) -> u32 {
        u32::try_from(count % (1 << 32)).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// The oracle counts in 64 bits and so never wraps.
        #[test]
        fn agrees_with_an_oracle_that_never_wraps(
            below_wrap in 0..200_u32,
            size_log in 0..7_u32,
            steps in prop::collection::vec(step(), 0..400),
        ) {
            let size = 1_u32 << size_log;
            let start = u32::MAX - below_wrap;
            let mut cursors = Cursors::empty_at(start, size);
            let (mut produced, mut consumed) = (u64::from(start), u64::from(start));
            for step in steps {
                match step {
                    Step::Produce => {
                        let room = produced - consumed < u64::from(size);
                        prop_assert_eq!(cursors.produce(), room.then_some(wrapped(produced)));
                        produced += u64::from(room);
                    }
                    Step::Consume => {
                        let any = produced > consumed;
                        prop_assert_eq!(cursors.consume(), any.then_some(wrapped(consumed)));
                        consumed += u64::from(any);
                    }
                    Step::ProduceMany(wanted) => {
                        let room = u64::from(size) - (produced - consumed);
                        let count = cursors.free_up_to(wanted as usize);
                        prop_assert_eq!(u64::from(count), room.min(u64::from(wanted)));
                        cursors.produce_many(wanted);
                        produced += u64::from(count);
                    }
                    Step::ConsumeMany(wanted) => {
                        let count = (produced - consumed).min(u64::from(wanted));
                        let expected = (wrapped(consumed), wrapped(count));
                        prop_assert_eq!(cursors.consume_many(wanted as usize), expected);
                        consumed += count;
                    }
                    Step::ObserveProducer(ahead) => {
                        let seen = produced + u64::from(ahead);
                        let credible = seen - consumed <= u64::from(size);
                        let result = cursors.observe_producer(wrapped(seen));
                        prop_assert_eq!(result.is_ok(), credible);
                        produced = if credible { seen } else { produced };
                    }
                    Step::ObserveConsumer(ahead) => {
                        let seen = consumed + u64::from(ahead);
                        let credible = seen <= produced;
                        let result = cursors.observe_consumer(wrapped(seen));
                        prop_assert_eq!(result.is_ok(), credible);
                        consumed = if credible { seen } else { consumed };
                    }
                }
                prop_assert_eq!(u64::from(cursors.filled()), produced - consumed);
                prop_assert_eq!(u64::from(cursors.free()), u64::from(size) - (produced - consumed));
                prop_assert_eq!(cursors.producer(), wrapped(produced));
                prop_assert_eq!(cursors.consumer(), wrapped(consumed));
            }
        }
    }

    #[test]
    fn does_not_believe_a_cursor_that_moved_back() {
        let mut cursors = Cursors::empty_at(u32::MAX, 8);
        assert_eq!(cursors.observe_producer(2), Ok(()));
        assert_eq!(cursors.filled(), 3);
        assert_eq!(cursors.observe_producer(1), Err(Corrupt));
        assert_eq!(cursors.observe_consumer(u32::MAX - 1), Err(Corrupt));
        assert_eq!(cursors.filled(), 3);
    }
}
