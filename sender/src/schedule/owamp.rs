//! The reproducible schedule of RFC 4656 section 5: exponential gaps from AES in counter mode,
//! keyed by a session identifier, so that both ends and every implementation know it beforehand.

use std::fmt;

use aes::Aes128;
use aes::cipher::{Array, Block, BlockCipherEncrypt, KeyInit};

use super::exponential;
use super::pace::Pace;
use super::places::Slots;
use crate::seed::Seed;

/// Blocks made at a time: as many as the processor's AES units work on at once.
const BLOCKS: usize = 8;
/// Words in a block.
const WORDS: u128 = 4;

/// Uniformly distributed words (RFC 4656 section 5.2).
struct Uniform {
    key: Aes128,
    /// Number of words made so far; each block is the encryption of the number of its first word.
    counter: u128,
    blocks: [Block<Aes128>; BLOCKS],
    /// Next word of `blocks`.
    next: usize,
}

impl fmt::Debug for Uniform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uniform")
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

impl Uniform {
    fn new(sid: Seed) -> Self {
        Self {
            key: Aes128::new(&Array::from(sid.octets())),
            counter: 0,
            blocks: [Array::default(); BLOCKS],
            next: BLOCKS * 4,
        }
    }

    fn word(&mut self) -> u32 {
        if self.next == BLOCKS * 4 {
            for block in &mut self.blocks {
                *block = Array::from(self.counter.to_be_bytes());
                self.counter = self.counter.wrapping_add(WORDS);
            }
            self.key.encrypt_blocks(&mut self.blocks);
            self.next = 0;
        }
        let block = &self.blocks[self.next / 4];
        let at = self.next % 4 * 4;
        self.next += 1;
        u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
    }
}

/// Deviates of mean 1, in units of 2^-32.
#[derive(Debug)]
pub struct Deviates(Uniform);

impl Deviates {
    /// The deviates of a session.
    pub fn new(sid: Seed) -> Self {
        Self(Uniform::new(sid))
    }
}

impl Iterator for Deviates {
    type Item = u64;

    /// There always is a next one.
    fn next(&mut self) -> Option<u64> {
        Some(exponential::deviate(|| self.0.word()))
    }
}

/// The slots of an RFC 4656 schedule with a single exponential slot, one after the other.
///
/// Gaps are counted in units of 2^-32 s, as the RFC does, and their mean is rounded to that: the
/// price of finding the very times that other implementations find. At 1 000 000 slots/s the rate
/// may be off by 0.02 %, at 1000 slots/s by a thousandth of that.
#[derive(Debug)]
pub(super) struct Owamp {
    deviates: Deviates,
    /// The slot parameter: mean gap in units of 2^-32 s.
    mean: u64,
    /// When the slot in hand is due, in units of 2^-32 s from the start.
    due: u128,
}

impl Owamp {
    /// Slots of `burst` packets each, together at `pace`; the first one a gap after the start.
    pub fn new(pace: Pace, burst: u32, sid: Seed) -> Self {
        let mean = pace.gap_scaled(burst, super::pace::NANOS_PER_SECOND);
        let mut owamp = Self {
            deviates: Deviates::new(sid),
            mean: u64::try_from(mean).unwrap_or(u64::MAX).max(1),
            due: 0,
        };
        owamp.advance();
        owamp
    }
}

impl Slots for Owamp {
    fn due(&self) -> u64 {
        let nanos = self
            .due
            .saturating_mul(u128::from(super::pace::NANOS_PER_SECOND))
            >> 32;
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    fn advance(&mut self) {
        let deviate = exponential::deviate(|| self.deviates.0.word());
        self.due += (u128::from(deviate) * u128::from(self.mean)) >> 32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_deviates_of_the_session() {
        let sid = Seed::new(0x2872_9793_03ab_47ee_ac02_8dab_3829_dab2);
        let mut owamp = Owamp::new(Pace::from_rate(1.0).unwrap(), 1, sid);
        // The mean is a second, so times are sums of deviates: 0x6d27e540 and 0x34cbb103 first.
        for (sum, nanos) in [(0x6d27_e540u64, 426_390_007), (0xa1f3_9643, 632_623_092)] {
            let exact = (u128::from(sum) * 1_000_000_000) >> 32;
            assert_eq!(u128::from(owamp.due()), exact);
            assert_eq!(owamp.due(), nanos);
            owamp.advance();
        }
    }

    #[test]
    fn bursts_thin_the_process() {
        let pace = Pace::from_rate(1000.0).unwrap();
        let slow = Pace::from_rate(100.0).unwrap();
        let (mut bursts, mut singles) = (
            Owamp::new(pace, 10, Seed::new(1)),
            Owamp::new(slow, 1, Seed::new(1)),
        );
        for _ in 0..1000 {
            assert_eq!(bursts.due(), singles.due());
            bursts.advance();
            singles.advance();
        }
    }
}
