//! Packet reordering (RFC 4737 section 3.3) and its extent (section 4.2).

use std::collections::{TryReserveError, VecDeque};

/// Judges first copies of one session in arrival order.
///
/// Numbers are sequence numbers extended to 64 bits, so that they do not wrap.
#[derive(Debug)]
pub struct Reordering {
    /// `NextExp` of RFC 4737: one above the largest number that arrived.
    next_expected: Option<u64>,
    arrivals: u64,
    /// The in-order arrivals, oldest first. Both fields rise from entry to entry.
    in_order: VecDeque<InOrder>,
    /// How many in-order arrivals are remembered.
    memory: usize,
}

#[derive(Debug, Clone, Copy)]
struct InOrder {
    number: u64,
    arrival: u64,
}

/// The verdict on one arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Its number is at or above every number before it.
    InOrder,
    /// A larger number arrived before it.
    Reordered {
        /// `i - j`, where `i` is this packet's arrival index and `j` that of the earliest arrival
        /// with a larger number. A lower bound once more in-order packets than are remembered
        /// have arrived since.
        extent: u64,
    },
}

impl Reordering {
    /// A judge that remembers the last `memory` (at least 1) in-order arrivals for extents.
    ///
    /// # Errors
    ///
    /// There is not enough memory.
    pub fn new(memory: usize) -> Result<Self, TryReserveError> {
        let memory = memory.max(1);
        let mut in_order = VecDeque::new();
        in_order.try_reserve_exact(memory)?;
        Ok(Self {
            next_expected: None,
            arrivals: 0,
            in_order,
            memory,
        })
    }

    /// Takes the number of the next first copy to arrive.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        let arrival = self.arrivals;
        self.arrivals += 1;
        if self.next_expected.is_none_or(|expected| number >= expected) {
            self.next_expected = Some(number.saturating_add(1));
            if self.in_order.len() == self.memory {
                self.in_order.pop_front();
            }
            self.in_order.push_back(InOrder { number, arrival });
            return Arrival::InOrder;
        }
        // Every arrival that exceeds all before it is in `in_order`, so the earliest arrival
        // above `number` is the first entry there above `number`.
        let first_above = self
            .in_order
            .partition_point(|earlier| earlier.number <= number);
        let extent = self
            .in_order
            .get(first_above)
            .map_or(1, |earlier| arrival - earlier.arrival);
        Arrival::Reordered { extent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_arrival_is_in_order_whatever_its_number() {
        assert_eq!(Reordering::new(8).unwrap().arrive(7), Arrival::InOrder);
    }

    #[test]
    fn a_forgotten_arrival_leaves_a_lower_bound() {
        let mut judge = Reordering::new(2).unwrap();
        for number in [1, 2, 3, 4, 5] {
            assert_eq!(judge.arrive(number), Arrival::InOrder);
        }
        assert_eq!(
            judge.arrive(0),
            Arrival::Reordered { extent: 2 },
            "true extent is 5"
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(numbers in Just((0..60u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut judge = Reordering::new(64).unwrap();
            for (i, &number) in numbers.iter().enumerate() {
                let expected = match numbers[..i].iter().position(|&earlier| earlier > number) {
                    Some(j) => Arrival::Reordered { extent: (i - j) as u64 },
                    None => Arrival::InOrder,
                };
                prop_assert_eq!(judge.arrive(number), expected);
            }
        }
    }
}
