//! Exponentially distributed numbers from uniform ones, in integers alone: the algorithm of RFC
//! 4656 section 5 (Knuth's algorithm S), so that every machine finds the same.

use std::hint::select_unpredictable;

/// `Q[k]` of RFC 4656 section 5.2: the sum of (ln 2)^i / i! for i from 1 to k, in units of 2^-32.
const Q: [u32; 12] = [
    0,
    0xB172_17F8,
    0xEEF1_93F7,
    0xFD27_1862,
    0xFF9D_6DD0,
    0xFFF4_CFD0,
    0xFFFE_E819,
    0xFFFF_E7FF,
    0xFFFF_FE2B,
    0xFFFF_FFE0,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
];

/// ln 2 in units of 2^-32.
const LN2: u64 = Q[1] as u64;

/// A number of mean 1 in units of 2^-32, from as many of the uniformly distributed `words` as it
/// takes. It is below 23 (33 ln 2).
#[inline]
pub(super) fn deviate(mut words: impl FnMut() -> u32) -> u64 {
    let (integer, fraction) = split(words());
    if fraction < LN2 {
        return integer * LN2 + fraction;
    }
    let two = words().min(words());
    long(integer, least(fraction, two, words))
}

/// As [`deviate`], from three words whether it takes them or not, and from `more` in one case of 15:
/// faster where a word costs less than a branch that goes one way or the other by chance.
#[inline]
pub(super) fn deviate_of_three(word: u32, two: [u32; 2], more: impl FnMut() -> u32) -> u64 {
    let (integer, fraction) = split(word);
    let long = long(integer, least(fraction, two[0].min(two[1]), more));
    let short = integer * LN2 + fraction;
    select_unpredictable(fraction < LN2, short, long)
}

/// The number of leading ones of a word, and what follows the zero after them.
fn split(word: u32) -> (u64, u64) {
    let ones = word.leading_ones();
    // All 32 bits may be gone.
    let rest = word.checked_shl(ones + 1).unwrap_or(0);
    (ones.into(), rest.into())
}

/// The least of k words, k by the fraction, of which the least of two is known.
fn least(fraction: u64, two: u32, mut words: impl FnMut() -> u32) -> u32 {
    // The last entry stands for all that is left.
    let further = Q[2..11].iter().take_while(|&&q| fraction >= u64::from(q));
    further.fold(two, |least, _| least.min(words()))
}

/// The sum of an integer and a fraction, times ln 2.
fn long(integer: u64, fraction: u32) -> u64 {
    // At most 33 x 2^32 x LN2 < 2^70 before the shift.
    let product = u128::from((integer << 32) | u64::from(fraction)) * u128::from(LN2);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "below 2^38 after the shift"
    )]
    let result = (product >> 32) as u64;
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(words: &[u32]) -> u64 {
        let mut words = words.iter().copied();
        let found = deviate(|| words.next().expect("no more words than are due"));
        assert_eq!(words.next(), None, "words are left");
        found
    }

    #[test]
    fn takes_as_many_words_as_the_remainder_asks_for() {
        assert_eq!(of(&[0]), 0);
        assert_eq!(of(&[0x8000_0000]), LN2, "one leading one");
        assert_eq!(
            of(&[u32::MAX]),
            32 * LN2,
            "all ones: nothing is left to shift"
        );
        assert_eq!(of(&[0xFFFF_FFFE]), 31 * LN2);
        // A remainder of ln 2 or more: the least of k words, k by the remainder.
        let minimum = |least: u64| (least * LN2) >> 32;
        assert_eq!(of(&[0x6000_0000, 9 << 20, 5 << 20]), minimum(5 << 20));
        assert_eq!(
            of(&[0x7800_0000, 9 << 20, 7 << 20, 8 << 20]),
            minimum(7 << 20)
        );
        // The largest remainder there is: 2^32 - 2, which is below Q[11] only.
        let mut words = vec![0x7FFF_FFFF];
        words.extend((1..=11).rev().map(|word| word << 24));
        assert_eq!(of(&words), minimum(1 << 24));
    }

    proptest! {
        #[test]
        fn three_words_at_once_make_what_they_make_one_by_one(
            // Leading ones as often as not, so that every case occurs.
            mask in prop_oneof![Just(0u32), (0u32..=32).prop_map(|ones| !(u32::MAX.checked_shr(ones).unwrap_or(0)))],
            first in any::<u32>(),
            others in prop::collection::vec(any::<u32>(), 11),
        ) {
            let first = first | mask;
            let mut rest = others[2..].iter().copied();
            let more = || rest.next().expect("eleven words are enough");
            let at_once = deviate_of_three(first, [others[0], others[1]], more);
            let mut words = std::iter::once(first).chain(others.iter().copied());
            let one_by_one = deviate(|| words.next().expect("twelve words are enough"));
            prop_assert_eq!(at_once, one_by_one);
        }
    }
}
