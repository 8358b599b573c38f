//! Packet reordering (RFC 4737): which arrivals are reordered (section 3.3), and n-reordering
//! (section 5.4). The extent (section 4.2) needs the history of a session and is found by
//! [`crate::flight::Flight::overtaken_since`].

/// Judges first copies of one session in arrival order.
///
/// Numbers are sequence numbers extended to 64 bits, so that they do not wrap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reordering {
    /// `NextExp` of RFC 4737: one above the largest number that arrived.
    next_expected: u64,
    arrivals: u64,
    /// Numbers of the last arrivals modulo 2^32, a ring.
    last: [u32; Self::MEMORY],
}

/// The verdict on one arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its place in the order of arrival, from 0.
    pub index: u64,
    /// `None` when its number is above every number before it.
    pub reordered: Option<NReordering>,
}

/// How many packets that arrived immediately before have larger numbers: the packet is n-reordered
/// for every n up to this. [`Reordering::MEMORY`] means that many or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NReordering(pub usize);

impl Reordering {
    /// How many arrivals are remembered for n-reordering.
    pub const MEMORY: usize = 8;

    /// Takes the number of the next first copy to arrive.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        let index = self.arrivals;
        self.arrivals += 1;
        let reordered = if number >= self.next_expected {
            self.next_expected = number + 1;
            None
        } else {
            Some(self.larger_before(number, index))
        };
        #[expect(clippy::cast_possible_truncation, reason = "compared modulo 2^32")]
        {
            self.last[index as usize % Self::MEMORY] = number as u32;
        }
        Arrival { index, reordered }
    }

    #[expect(clippy::cast_possible_truncation, reason = "compared modulo 2^32")]
    fn larger_before(&self, number: u64, index: u64) -> NReordering {
        let remembered = (Self::MEMORY as u64).min(index);
        let larger = (1..=remembered)
            .take_while(|back| {
                let earlier = self.last[(index - back) as usize % Self::MEMORY];
                earlier.wrapping_sub(number as u32).cast_signed() > 0
            })
            .count();
        NReordering(larger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_arrival_is_in_order_whatever_its_number() {
        let first = Reordering::default().arrive(7);
        assert_eq!((first.index, first.reordered), (0, None));
    }

    #[test]
    fn beyond_its_memory_it_gives_a_lower_bound() {
        let mut judge = Reordering::default();
        for number in 1..=20 {
            assert_eq!(judge.arrive(number).reordered, None);
        }
        assert_eq!(
            judge.arrive(0).reordered,
            Some(NReordering(Reordering::MEMORY)),
            "truly 20"
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            numbers in Just((0..60u64).collect::<Vec<_>>()).prop_shuffle(),
            base in prop_oneof![Just(0), Just(u64::from(u32::MAX) - 30)],
        ) {
            let mut judge = Reordering::default();
            for (i, &number) in numbers.iter().enumerate() {
                let before = &numbers[..i];
                let larger = before.iter().rev().take_while(|&&earlier| earlier > number).count();
                let expected = before.iter().any(|&earlier| earlier > number)
                    .then_some(NReordering(larger.min(Reordering::MEMORY)));
                let arrival = judge.arrive(base + number);
                prop_assert_eq!(arrival.reordered, expected);
                prop_assert_eq!(arrival.index, i as u64);
            }
        }
    }
}
