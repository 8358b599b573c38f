//! Differentiated Services Code Points and their names.

use core::fmt;
use core::str::FromStr;

/// A Differentiated Services Code Point (RFC 2474): the upper six bits of a TOS or Traffic Class
/// octet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Dscp(u8);

/// A text that names no code point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDscp;

impl Dscp {
    /// Its value, 0 to 63.
    pub const fn value(self) -> u8 {
        self.0
    }
}

impl FromStr for Dscp {
    type Err = NoDscp;

    /// A number, or a name in any case: be (df), le, cs0 to cs7, af11 to af43, va, ef.
    fn from_str(text: &str) -> Result<Self, NoDscp> {
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        let digit = |at: usize| {
            text.as_bytes()
                .get(at)
                .map(|octet| octet.wrapping_sub(b'0'))
        };
        let prefixed = |prefix: &str, len: usize| {
            let head = text.get(..prefix.len());
            text.len() == len && head.is_some_and(|head| head.eq_ignore_ascii_case(prefix))
        };
        let value = if is("be") || is("df") {
            Some(0)
        } else if is("ef") {
            Some(46)
        } else if is("va") {
            Some(44)
        } else if is("le") {
            Some(1)
        } else if prefixed("cs", 3) {
            // RFC 2474 section 4.2.2.2.
            digit(2).filter(|class| *class < 8).map(|class| class << 3)
        } else if prefixed("af", 4) {
            // RFC 2597 section 6.
            match (digit(2), digit(3)) {
                (Some(class @ 1..=4), Some(drop @ 1..=3)) => Some((class << 3) | (drop << 1)),
                _ => None,
            }
        } else {
            text.parse().ok().filter(|value| *value < 64)
        };
        value.map(Self).ok_or(NoDscp)
    }
}

impl fmt::Display for NoDscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no DSCP: write 0 to 63, or be, le, cs0 to cs7, af11 to af43, va or ef")
    }
}

impl core::error::Error for NoDscp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dscp_has_numbers_and_names() {
        for (text, value) in [
            ("0", 0),
            ("63", 63),
            ("EF", 46),
            ("af11", 10),
            ("Af43", 38),
            ("cs6", 48),
            ("le", 1),
            ("be", 0),
            ("va", 44),
        ] {
            assert_eq!(text.parse().map(Dscp::value), Ok(value), "{text}");
        }
        for text in ["", "64", "-1", "af44", "af50", "af1", "cs8", "efe", "é"] {
            assert_eq!(text.parse::<Dscp>(), Err(NoDscp), "{text}");
        }
    }
}
