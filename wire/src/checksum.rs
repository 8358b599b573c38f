//! The Internet checksum (RFC 1071), its incremental update (RFC 1624) and the Checksum Complement
//! (RFC 7820).

/// A one's complement sum of 16-bit words, still open for more.
///
/// Kept as a 64-bit one's complement sum in the machine's byte order: such a sum is the same in
/// every word size that 16 divides and in both byte orders (RFC 1071 section 2), so the octets are
/// taken eight at a time as they lie.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl PartialEq for Sum {
    /// As words: the same octets added in other pieces make an equal sum.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.fold() == other.fold()
    }
}

impl Eq for Sum {}

impl Sum {
    /// The sum of nothing.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds octets as big-endian words; an odd last octet is padded on the right with zero.
    ///
    /// Chaining is therefore right only where each piece but the last has an even length.
    #[inline]
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "`+ octets` would hide the rule about even lengths"
    )]
    pub fn add(self, octets: &[u8]) -> Self {
        // Sums twice as wide as their words need no carrying around on the way, and two of them
        // keep the processor busier than one. Overflow would take 2^64 additions.
        let (pairs, rest) = octets.as_chunks::<16>();
        let (mut left, mut right) = (u128::from(self.0), 0_u128);
        for &pair in pairs {
            let pair = u128::from_ne_bytes(pair);
            left = left.wrapping_add(pair & u128::from(u64::MAX));
            right = right.wrapping_add(pair >> 64);
        }
        let (words, rest) = rest.as_chunks::<8>();
        for &word in words {
            left = left.wrapping_add(u128::from(u64::from_ne_bytes(word)));
        }
        right = right.wrapping_add(u128::from(up_to_seven(rest)));
        Self(narrow(left.wrapping_add(right)))
    }

    /// [`Self::add`] for few octets, whose number the compiler knows.
    #[inline]
    #[must_use]
    pub fn add_few<const N: usize>(self, octets: &[u8; N]) -> Self {
        let (words, rest) = octets.as_chunks::<8>();
        let mut sum = self.0;
        for &word in words {
            sum = add_carry_around(sum, u64::from_ne_bytes(word));
        }
        Self(add_carry_around(sum, up_to_seven(rest)))
    }

    /// Adds one word.
    #[inline]
    #[must_use]
    pub const fn add_u16(self, word: u16) -> Self {
        // Cannot be `u64::from` in a const fn; lossless.
        Self(add_carry_around(self.0, word.to_be() as u64))
    }

    /// Adds all that is in `other`.
    #[inline]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(add_carry_around(self.0, other.0))
    }

    /// Takes away all that is in `other`.
    #[inline]
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        self.add_u16(!other.fold())
    }

    /// The sum as one word. It is 0 only if every word added was 0.
    #[inline]
    pub const fn fold(self) -> u16 {
        let sum = add_carry_around_u32((self.0 >> 32) as u32, (self.0 & 0xffff_ffff) as u32);
        let sum = add_carry_around_u16((sum >> 16) as u16, (sum & 0xffff) as u16);
        u16::from_be(sum)
    }

    /// The checksum: the complement of the sum. Over data with its checksum in place it is 0.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// Sum of fewer than eight octets; cannot overflow.
#[inline]
fn up_to_seven(octets: &[u8]) -> u64 {
    let (mut sum, mut rest) = (0, octets);
    if let Some((&word, after)) = rest.split_first_chunk() {
        (sum, rest) = (u64::from(u32::from_ne_bytes(word)), after);
    }
    if let Some((&word, after)) = rest.split_first_chunk() {
        (sum, rest) = (sum + u64::from(u16::from_ne_bytes(word)), after);
    }
    if let Some(&last) = rest.first() {
        sum += u64::from(u16::from_ne_bytes([last, 0]));
    }
    sum
}

/// Brings a sum back to 64 bits.
#[inline]
const fn narrow(sum: u128) -> u64 {
    add_carry_around((sum >> 64) as u64, (sum & 0xffff_ffff_ffff_ffff) as u64)
}

#[inline]
const fn add_carry_around(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u64)
}

#[inline]
const fn add_carry_around_u32(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u32)
}

#[inline]
const fn add_carry_around_u16(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u16)
}

/// Sum of the IPv4 pseudo-header of a datagram whose UDP length is `len` (RFC 768).
#[inline]
pub fn pseudo_header_v4(source: [u8; 4], destination: [u8; 4], protocol: u8, len: u16) -> Sum {
    Sum::new()
        .add(&source)
        .add(&destination)
        .add_u16(u16::from(protocol))
        .add_u16(len)
}

/// Sum of the IPv6 pseudo-header of an upper-layer packet of `len` octets (RFC 8200 section 8.1).
#[inline]
pub fn pseudo_header_v6(source: [u8; 16], destination: [u8; 16], next_header: u8, len: u32) -> Sum {
    Sum::new()
        .add(&source)
        .add(&destination)
        .add(&len.to_be_bytes())
        .add_u16(u16::from(next_header))
}

/// The checksum after a part of the data, of sum `old`, was replaced by data of sum `new`: RFC 1624
/// equation 3 over whole regions. The result may be 0, see [`udp_wire`].
///
/// Both regions must begin at an even offset of the checksummed data.
#[inline]
pub const fn update(checksum: u16, old: Sum, new: Sum) -> u16 {
    Sum::new()
        .add_u16(!checksum)
        .minus(old)
        .plus(new)
        .checksum()
}

/// A computed UDP checksum as it is sent: 0 would mean "none", so 0xffff stands in (RFC 768).
#[inline]
pub const fn udp_wire(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// The Checksum Complement (RFC 7820): the word that keeps the checksum unchanged when it replaces
/// a zero word while data of sum `old` is replaced by data of sum `new`.
#[inline]
pub const fn complement_7820(old: Sum, new: Sum) -> u16 {
    old.minus(new).fold()
}
