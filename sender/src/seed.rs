//! Where chance comes from: a number that is reported, so that a run can be repeated.

use std::fmt;
use std::io;
use std::str::FromStr;

use rand_pcg::Pcg64;

/// Stream of the generator: the default of the PCG reference implementation.
const STREAM: u128 = 0x0a02_bdbf_7bb3_c0a7_ac28_fa16_a64a_bf96;

/// 128 bits from which all chance in a run follows; written as 32 hexadecimal digits.
///
/// The same number is the SID, and so the key, of an RFC 4656 schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(u128);

/// Why a text is no seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no seed: write 1 to 32 hexadecimal digits, like 2872979303ab47eeac028dab3829dab2"
)]
pub struct SeedError(String);

impl Seed {
    /// The seed whose last hexadecimal digits are those of `number`.
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// A seed that nobody has had before.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub fn fresh() -> io::Result<Self> {
        let mut octets = [0; 16];
        getrandom::fill(&mut octets).map_err(io::Error::other)?;
        Ok(Self(u128::from_be_bytes(octets)))
    }

    /// The octets in the order they are written: a SID (RFC 4656 section 3.5).
    pub fn octets(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The generator that starts from this seed, PCG XSL RR 128/64. Its numbers are fixed by its
    /// definition, on every machine and in every version.
    pub fn generator(self) -> Pcg64 {
        Pcg64::new(self.0, STREAM)
    }
}

impl FromStr for Seed {
    type Err = SeedError;

    /// Accepts 1 to 32 hexadecimal digits; fewer are the last ones.
    fn from_str(text: &str) -> Result<Self, SeedError> {
        let refused = || SeedError(text.to_owned());
        // `from_str_radix` would take a sign.
        if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(refused());
        }
        // Leading zeros beyond 32 digits would parse.
        let fits = (1..=32).contains(&text.len());
        let number = fits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_pcg::rand_core::Rng;

    #[test]
    fn what_is_written_is_read_again() {
        let sid = "2872979303ab47eeac028dab3829dab2";
        let seed: Seed = sid.parse().unwrap();
        assert_eq!(seed.to_string(), sid);
        assert_eq!((seed.octets()[0], seed.octets()[15]), (0x28, 0xb2));
        assert_eq!("2A".parse(), Ok(Seed::new(42)));
        let fresh = Seed::fresh().unwrap();
        assert_eq!(fresh.to_string().parse(), Ok(fresh));
        assert_ne!(fresh, Seed::fresh().unwrap());
    }

    #[test]
    fn refuses_what_is_no_seed() {
        for text in ["", "-1", "+1", "0x1", "seed", " 1", &"0".repeat(33)] {
            let error = text.parse::<Seed>().unwrap_err().to_string();
            assert!(error.contains("hexadecimal"), "{error}");
        }
    }

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        // pcg64 seeded with (42, 54), from the PCG reference implementation's sample output
        // (pcg-c, test-high/expected/check-pcg64.out).
        let mut reference = Pcg64::new(42, 54);
        assert_eq!(reference.next_u64(), 0x86b1_da1d_7206_2b68);
        let numbers = |seed: u128| {
            let mut generator = Seed::new(seed).generator();
            [generator.next_u32(), generator.next_u32()]
        };
        assert_eq!(numbers(42), numbers(42));
        assert_ne!(numbers(42), numbers(43));
    }
}
