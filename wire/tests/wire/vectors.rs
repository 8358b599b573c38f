//! Reading the JSON vectors.

use serde_json::Value;

/// Parses a vector file at compile-time-known path `tests/vectors/$name`.
macro_rules! vectors {
    ($name:literal) => {
        serde_json::from_str::<serde_json::Value>(include_str!(concat!("../vectors/", $name)))
            .unwrap()
    };
}
pub(crate) use vectors;

/// Access to the members of a vector that are known to be there.
pub(crate) trait Vector {
    /// The elements of the array `key`, of which there must be some.
    fn cases(&self, key: &str) -> &[Value];
    fn text(&self, key: &str) -> &str;
    fn int(&self, key: &str) -> i64;
    /// The octets of the hex string `key`.
    fn octets(&self, key: &str) -> Vec<u8>;

    fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        self.octets(key).try_into().unwrap()
    }

    /// The number a hex string of four digits stands for.
    fn word(&self, key: &str) -> u16 {
        u16::from_be_bytes(self.array(key))
    }

    fn bits(&self, key: &str) -> u64 {
        u64::from_be_bytes(self.array(key))
    }
}

impl Vector for Value {
    fn cases(&self, key: &str) -> &[Value] {
        let cases = self[key].as_array().unwrap();
        assert!(!cases.is_empty(), "no vectors under {key}");
        cases
    }

    fn text(&self, key: &str) -> &str {
        self[key].as_str().unwrap()
    }

    fn int(&self, key: &str) -> i64 {
        self[key].as_i64().unwrap()
    }

    fn octets(&self, key: &str) -> Vec<u8> {
        let digits = self.text(key);
        assert!(digits.len().is_multiple_of(2), "odd hex {digits}");
        (0..digits.len())
            .step_by(2)
            .map(|at| hex_octet(&digits[at..at + 2]))
            .collect()
    }
}

fn hex_octet(digits: &str) -> u8 {
    u8::from_str_radix(digits, 16).unwrap()
}
