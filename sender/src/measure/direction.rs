//! Loss and duplication by direction, from the numbers of a stateful reflector (RFC 5357 section
//! 4.2, RFC 8762 section 4.3; RFC 5560 for duplicates).
//!
//! A stateful reflector numbers its replies 0, 1, 2… by itself. The largest of these numbers tells
//! how many probes reached it, so what is missing before it was lost on the way there, and what is
//! missing among its numbers on the way back. A stateless one copies the probe's number, and the two
//! directions cannot be told apart.

/// The numbers of one session.
#[derive(Debug, Clone, Copy, Default)]
pub struct Numbers {
    /// Losses of the epochs before the last restart of the reflector.
    earlier: Losses,
    /// What the reflector had counted before our first probe: it may remember the session, by its
    /// addresses and ports, from a run before this one (RFC 5357 section 4.2: for REFWAIT, 900 s).
    before: u32,
    /// First probe number of this epoch.
    from: u64,
    /// Largest probe number answered so far, and one more.
    probes: u64,
    /// Largest reflector number so far, and one more: what it reflected in this epoch.
    reflected: u64,
    /// Distinct reflector numbers received in this epoch.
    received: u64,
    /// Probes of this epoch that reached the reflector more than once, counted per extra copy.
    copies: u64,
    restarts: u64,
    /// A reply whose two numbers differ came in.
    stateful: bool,
}

/// Probes lost by direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Lost on the way to the reflector.
    pub forward: u64,
    /// Lost on the way back.
    pub backward: u64,
}

impl Losses {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            forward: self.forward + other.forward,
            backward: self.backward + other.backward,
        }
    }
}

impl Numbers {
    /// A restart is believed only when so many numbers were seen before; below, reordering looks
    /// the same.
    const RESTART_MIN: u64 = 8;

    /// Takes the first reply to probe `number`, with the reflector's own number.
    pub fn reply(&mut self, number: u64, reflector: u32) {
        self.stateful |= !equals_low(number, reflector);
        let is_first = self.probes == 0;
        if is_first {
            self.before = counted_before(number, reflector);
        }
        if !is_first && self.restarted(number, reflector) {
            self.begin_epoch(number);
            self.reflected = u64::from(reflector) + 1;
        } else {
            let count = self.count(reflector);
            self.reflected = self.reflected.max(count + 1);
        }
        self.probes = self.probes.max(number + 1);
        self.received += 1;
    }

    /// Takes a further reply to probe `number`, whose first one had the reflector's number `first`.
    pub fn duplicate(&mut self, number: u64, reflector: u32, first: u32) {
        self.stateful |= !equals_low(number, reflector);
        if reflector != first {
            let count = self.count(reflector);
            self.reflected = self.reflected.max(count + 1);
            self.received += 1;
            self.copies += 1;
        }
    }

    /// The reflector's number extended to 64 bits: the one nearest to the largest so far.
    fn extend(&self, reflector: u32) -> u64 {
        let reflector = reflector.wrapping_sub(self.before);
        let Some(latest) = self.reflected.checked_sub(1) else {
            return u64::from(reflector);
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the wire counts modulo 2^32"
        )]
        let ahead = reflector.wrapping_sub(latest as u32).cast_signed();
        latest
            .checked_add_signed(ahead.into())
            // Older than all that is counted.
            .unwrap_or(0)
    }

    /// As [`Numbers::extend`]. A number a little below that of the first reply shows that this one
    /// was to a later copy, or to a probe that overtook another: ours begin lower then.
    fn count(&mut self, reflector: u32) -> u64 {
        if let Some(below) = self.before.checked_sub(reflector)
            && u64::from(below) < Self::RESTART_MIN
        {
            self.before -= below;
            self.reflected += u64::from(below);
        }
        self.extend(reflector)
    }

    /// Whether the reflector began to count anew: a later probe has a number that is smaller, and
    /// small enough to have been reached since the last reply.
    fn restarted(&self, number: u64, reflector: u32) -> bool {
        let count = match self.before {
            0 => self.extend(reflector),
            _ => u64::from(reflector),
        };
        number >= self.probes
            && self.reflected >= Self::RESTART_MIN
            && count + 1 < self.reflected + u64::from(self.before)
            && count <= number - self.probes
    }

    fn begin_epoch(&mut self, number: u64) {
        self.earlier = self.losses_now();
        self.before = 0;
        // What was lost around the restart cannot be told apart: the probes before the first one of
        // the new epoch count as lost on the way there, as many as the new count leaves.
        self.from = self.probes.min(number);
        self.probes = self.from;
        self.received = 0;
        self.copies = 0;
        self.restarts += 1;
    }

    fn losses_now(&self) -> Losses {
        let distinct_reflected = self.reflected.saturating_sub(self.copies);
        let probes = self.probes - self.from;
        self.earlier.plus(Losses {
            forward: probes.saturating_sub(distinct_reflected),
            backward: self.reflected.saturating_sub(self.received),
        })
    }

    /// Losses among the probes up to the last one answered. What was sent after it is undecidable.
    pub fn losses(&self) -> Losses {
        self.losses_now()
    }

    /// Number of probes up to the last one answered.
    pub fn decided(&self) -> u64 {
        self.probes
    }

    /// How often the reflector began to count anew.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Whether the numbers prove that the reflector counts by itself. Equal numbers prove nothing:
    /// a stateful reflector that missed no probe sends them too.
    pub fn stateful(&self) -> bool {
        self.stateful
    }
}

/// How many packets of the session the reflector had counted before our first, by its first reply:
/// number `reflector` to probe `number`. Where they are duplicates or reordering on the way there, a
/// smaller number that follows shows it ([`Numbers::count`]); losses there before this reply would
/// make it less, and cannot be told from it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the wire counts modulo 2^32"
)]
fn counted_before(number: u64, reflector: u32) -> u32 {
    reflector.saturating_sub(number as u32)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the wire counts modulo 2^32"
)]
fn equals_low(number: u64, reflector: u32) -> bool {
    number as u32 == reflector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(replies: &[(u64, u32)]) -> Numbers {
        let mut numbers = Numbers::default();
        for &(number, reflector) in replies {
            numbers.reply(number, reflector);
        }
        numbers
    }

    fn losses(forward: u64, backward: u64) -> Losses {
        Losses { forward, backward }
    }

    #[test]
    fn tells_the_directions_apart() {
        let numbers = numbers(&[(0, 0), (2, 1), (4, 3)]);
        assert_eq!(numbers.losses(), losses(1, 1));
        assert_eq!(numbers.decided(), 5);
        assert!(numbers.stateful());
    }

    #[test]
    fn equal_numbers_prove_nothing() {
        assert!(!numbers(&[(0, 0), (3, 3)]).stateful());
    }

    #[test]
    fn reordering_on_either_way_is_no_loss() {
        // Probe 4 overtook probe 3 on the way there.
        assert_eq!(
            numbers(&[(0, 0), (1, 1), (2, 2), (4, 3), (3, 4)]).losses(),
            losses(0, 0)
        );
        // Reply 4 overtook reply 3 on the way back.
        assert_eq!(
            numbers(&[(0, 0), (1, 1), (2, 2), (4, 4), (3, 3)]).losses(),
            losses(0, 0)
        );
    }

    #[test]
    fn a_probe_duplicated_on_the_way_there_is_not_counted_as_two() {
        let mut numbers = numbers(&[(0, 0), (1, 1)]);
        numbers.duplicate(1, 2, 1);
        numbers.reply(2, 3);
        assert_eq!(numbers.losses(), losses(0, 0));
        numbers.duplicate(2, 3, 3);
        assert_eq!(numbers.losses(), losses(0, 0));
        numbers.reply(4, 4);
        assert_eq!(numbers.losses(), losses(1, 0));
    }

    #[test]
    fn a_restart_of_the_reflector_begins_a_new_epoch() {
        let mut numbers = numbers(&[]);
        for number in 0..20 {
            numbers.reply(number, u32::try_from(number).unwrap());
        }
        for (number, reflector) in [(22, 0), (23, 1), (25, 3)] {
            numbers.reply(number, reflector);
        }
        assert_eq!(numbers.restarts(), 1);
        // 20 and 21 did not reach it, or not while it counted; 24 was lost on the way back.
        assert_eq!(numbers.losses(), losses(2, 1));
    }

    #[test]
    fn what_the_reflector_counted_before_is_no_loss() {
        for before in [1, 5, 8, 400, u32::MAX - 1] {
            let numbered = |(number, count): (u64, u32)| (number, before.wrapping_add(count));
            let replies = [(0, 0), (1, 1), (3, 2), (5, 4)].map(numbered);
            let mut numbers = numbers(&replies);
            assert_eq!(numbers.losses(), losses(1, 1), "{before}");
            numbers.duplicate(5, before.wrapping_add(5), before.wrapping_add(4));
            assert_eq!(numbers.losses(), losses(1, 1), "{before}");
            assert_eq!((numbers.restarts(), numbers.decided()), (0, 6));
        }
        // Nor is it where it was less than a run.
        assert_eq!(numbers(&[(0, 5), (1, 6), (2, 7)]).losses(), losses(0, 0));
    }

    #[test]
    fn a_restart_too_early_to_be_believed_makes_no_large_number() {
        let numbers = numbers(&[(0, 500), (1, 501), (3, 1)]);
        assert_eq!(numbers.losses().backward, 0);
    }

    #[test]
    fn a_number_below_that_of_the_first_reply_is_no_large_one() {
        // Probe 1 overtook probe 0 on the way there, and the reply to 0 that to 1 on the way back.
        assert_eq!(numbers(&[(0, 101), (1, 100)]).losses(), losses(0, 0));
        // A copy of probe 0, and then the reply to its first arrival.
        let mut numbers = numbers(&[(0, 101)]);
        numbers.duplicate(0, 100, 101);
        assert_eq!(numbers.losses(), losses(0, 0));
    }

    #[test]
    fn a_reflector_that_remembered_us_may_restart_too() {
        let mut numbers = Numbers::default();
        for number in 0..20 {
            numbers.reply(number, 500 + u32::try_from(number).unwrap());
        }
        for (number, reflector) in [(22, 0), (23, 1), (25, 3)] {
            numbers.reply(number, reflector);
        }
        assert_eq!((numbers.restarts(), numbers.losses()), (1, losses(2, 1)));
    }

    #[test]
    fn numbers_wrap() {
        let mut numbers = Numbers::default();
        let base = u64::from(u32::MAX) - 1;
        for step in 0..4 {
            let number = base + step;
            #[expect(clippy::cast_possible_truncation, reason = "that is the point")]
            numbers.reply(number, number as u32);
        }
        assert_eq!(numbers.reflected, base + 4);
        assert!(!numbers.stateful());
    }
}
