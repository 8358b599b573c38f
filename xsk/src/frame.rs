//! Frames as tokens.

/// A token: user space owns one chunk of a UMEM, and the packet in it, for as long as it exists.
///
/// It is neither `Clone` nor `Copy`; [`Umem::release`](crate::Umem::release) and
/// [`Queue::transmit`](crate::Queue::transmit) consume it. Dropping one loses its chunk for the life
/// of the UMEM ([`Census::held`](crate::Census::held) shows it).
///
/// ```compile_fail,E0599
/// # fn twice(frame: xsk::Frame) { let copy = frame.clone(); }
/// ```
/// ```compile_fail,E0382
/// # fn twice(umem: &mut xsk::Umem, frame: xsk::Frame) {
/// umem.release(frame);
/// umem.release(frame);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a dropped frame loses its chunk: release or transmit it"]
pub struct Frame {
    /// Number of the UMEM it belongs to.
    pub(crate) umem: u32,
    pub(crate) chunk: u32,
    /// Start of the packet within the chunk.
    pub(crate) offset: u32,
    /// Length of the packet; `offset + len <= chunk_size`.
    pub(crate) len: u32,
    /// Whether somebody wants to know when the packet left.
    pub(crate) stamp: TxStamp,
}

/// Where the question stands when a frame's packet left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TxStamp {
    /// Nobody asks.
    #[default]
    Unasked,
    /// To be asked at the next transmission.
    Asked,
    /// Asked at the last transmission: the answer lies below the packet.
    Answered,
}

impl Frame {
    /// Octets in the packet.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the packet has no octets.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of the chunk within its UMEM, from 0.
    #[inline]
    pub fn chunk(&self) -> u32 {
        self.chunk
    }
}

/// A packet cannot be made that long in its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {len} octets does not fit: the frame has room for {max}")]
pub struct TooLong {
    /// Octets asked for.
    pub len: usize,
    /// Octets there is room for.
    pub max: usize,
}

/// Where in its chunk a packet lies, and whether a stamp was asked for, for as long as the kernel
/// transmits it.
///
/// Both numbers are at most 4096, the largest chunk, so that 4 octets per chunk hold them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent(u32);

impl Extent {
    const ASKED: u32 = 1 << 15;

    /// What a frame says of itself.
    #[inline]
    pub(crate) fn of(frame: &Frame) -> Extent {
        let asked = match frame.stamp {
            TxStamp::Asked => Self::ASKED,
            TxStamp::Unasked | TxStamp::Answered => 0,
        };
        Extent(frame.offset << 16 | asked | frame.len)
    }

    /// As [`Frame::offset`].
    #[inline]
    pub(crate) fn offset(self) -> u32 {
        self.0 >> 16
    }

    /// As [`Frame::len`].
    #[inline]
    pub(crate) fn len(self) -> u32 {
        self.0 & (Self::ASKED - 1)
    }

    /// As [`Frame::stamp`] once the packet is transmitted.
    #[inline]
    pub(crate) fn stamp(self) -> TxStamp {
        if self.0 & Self::ASKED == 0 {
            TxStamp::Unasked
        } else {
            TxStamp::Answered
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_keeps_what_the_largest_chunk_needs() {
        for (offset, len) in [(0, 0), (0, 4096), (4096, 0), (256, 1500)] {
            for (before, after) in [
                (TxStamp::Unasked, TxStamp::Unasked),
                (TxStamp::Asked, TxStamp::Answered),
                // Of an earlier transmission: nobody asked again.
                (TxStamp::Answered, TxStamp::Unasked),
            ] {
                let extent = Extent::of(&Frame {
                    umem: 1,
                    chunk: 2,
                    offset,
                    len,
                    stamp: before,
                });
                assert_eq!((extent.offset(), extent.len()), (offset, len));
                assert_eq!(extent.stamp(), after);
            }
        }
    }
}
