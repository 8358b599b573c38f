//! Named byte ranges of fixed-size headers.

/// `N` octets at offset `AT` of a header.
///
/// A field outside its header does not compile, so reading and writing never fail and cost no
/// bounds check. Integers are big-endian, as everywhere on the wire.
#[derive(Clone, Copy)]
pub(crate) struct Field<const AT: usize, const N: usize>;

#[expect(
    clippy::unused_self,
    reason = "the value names the field: `TTL.read(header)`"
)]
impl<const AT: usize, const N: usize> Field<AT, N> {
    /// Copies the field out of `header`.
    #[inline]
    pub(crate) fn read<const LEN: usize>(self, header: &[u8; LEN]) -> [u8; N] {
        const { assert!(AT + N <= LEN, "the field lies inside its header") };
        let mut octets = [0; N];
        octets.copy_from_slice(&header[AT..AT + N]);
        octets
    }

    /// Overwrites the field in `header`.
    #[inline]
    pub(crate) fn write<const LEN: usize>(self, header: &mut [u8; LEN], octets: [u8; N]) {
        const { assert!(AT + N <= LEN, "the field lies inside its header") };
        header[AT..AT + N].copy_from_slice(&octets);
    }
}

impl<const AT: usize> Field<AT, 1> {
    /// The field as a number.
    #[inline]
    pub(crate) fn read_u8<const LEN: usize>(self, header: &[u8; LEN]) -> u8 {
        let [octet] = self.read(header);
        octet
    }

    /// Overwrites the field with a number.
    #[inline]
    pub(crate) fn write_u8<const LEN: usize>(self, header: &mut [u8; LEN], value: u8) {
        self.write(header, [value]);
    }
}

impl<const AT: usize> Field<AT, 2> {
    /// The field as a number.
    #[inline]
    pub(crate) fn read_u16<const LEN: usize>(self, header: &[u8; LEN]) -> u16 {
        u16::from_be_bytes(self.read(header))
    }

    /// Overwrites the field with a number.
    #[inline]
    pub(crate) fn write_u16<const LEN: usize>(self, header: &mut [u8; LEN], value: u16) {
        self.write(header, value.to_be_bytes());
    }
}

impl<const AT: usize> Field<AT, 4> {
    /// The field as a number.
    #[inline]
    pub(crate) fn read_u32<const LEN: usize>(self, header: &[u8; LEN]) -> u32 {
        u32::from_be_bytes(self.read(header))
    }
}

#[cfg(test)]
mod tests {
    use super::Field;

    #[test]
    fn reads_big_endian_numbers_at_the_offset() {
        let header = [0, 1, 2, 3, 4, 5];
        assert_eq!(Field::<1, 1>.read_u8(&header), 1);
        assert_eq!(Field::<1, 2>.read_u16(&header), 0x0102);
        assert_eq!(Field::<2, 4>.read_u32(&header), 0x0203_0405);
    }

    #[test]
    fn writes_nothing_but_the_field() {
        let mut header = [0xff; 6];
        Field::<2, 2>.write_u16(&mut header, 0x0102);
        assert_eq!(header, [0xff, 0xff, 1, 2, 0xff, 0xff]);
    }
}
