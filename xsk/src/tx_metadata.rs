//! TX metadata: asking the kernel when a packet left.
//!
//! ```text
//!              packet - 16    packet - 8         packet
//!   ┌──────────┬──────────────┬──────────────────┬─────────┐
//!   │ headroom │ flags        │ stamp            │ octets  │
//!   └──────────┴──────────────┴──────────────────┴─────────┘
//! ```
//!
//! The first 16 octets of `struct xsk_tx_metadata` (`include/uapi/linux/if_xdp.h`;
//! `Documentation/networking/xsk-tx-metadata.rst`). Flags are written when a frame is lent to the
//! kernel and never before: in copy mode a descriptor with flags that the kernel does not know stays
//! at the head of the tx ring for ever (`__xsk_generic_xmit`, `net/xdp/xsk.c`).

use std::mem::{offset_of, size_of};

use crate::frame::{Frame, TxStamp};
use crate::umem::Umem;

/// `tx_metadata_len`: flags and stamp. The rest of the structure serves requests never made here.
pub(crate) const LEN: u32 = 16;
/// Octets of the stamp, just below the packet.
const STAMP: u32 = 8;

const _: () = {
    assert!(offset_of!(libc::xsk_tx_metadata, flags) == 0);
    assert!(offset_of!(libc::xsk_tx_metadata, xsk_tx_metadata_union) == (LEN - STAMP) as usize);
    assert!(offset_of!(libc::xsk_tx_metadata_completion, tx_timestamp) == 0);
    assert!(size_of::<libc::xsk_tx_metadata_completion>() == STAMP as usize);
};

/// Flags that ask for a stamp, and the stamp that says there is none.
pub(crate) const REQUEST: [u8; LEN as usize] = {
    let flag = (libc::XDP_TXMD_FLAGS_TIMESTAMP as u64).to_ne_bytes();
    let mut octets = [0; LEN as usize];
    let mut at = 0;
    while at < flag.len() {
        octets[at] = flag[at];
        at += 1;
    }
    octets
};

impl Umem {
    /// Asks the kernel for the time at which this frame's packet leaves, once: the next
    /// [`transmit`](crate::Queue::transmit) takes the request along, and after
    /// [`reclaim`](crate::Queue::reclaim) [`tx_stamp`](Self::tx_stamp) has the answer.
    ///
    /// `transmit` writes to the 16 octets below the packet then. What an XDP program left there
    /// ([`metadata`](Self::metadata)) must have been read by that time.
    ///
    /// `false`, and the packet will go without, if the UMEM was allocated without
    /// [`tx_metadata`](crate::UmemConfig::tx_metadata), the packet starts within 16 octets of its
    /// chunk, or the frame is another UMEM's.
    #[inline]
    pub fn request_tx_stamp(&self, frame: &mut Frame) -> bool {
        let has_room = self.tx_metadata() && self.octets(frame, LEN, 0).is_some();
        if has_room {
            frame.stamp = TxStamp::Asked;
        }
        has_room
    }

    /// When this frame's packet left, in nanoseconds; `None` if nobody asked when it was last
    /// transmitted, or nobody answered.
    ///
    /// The clock depends on [`Socket::zero_copy`](crate::Socket::zero_copy). In copy mode it is the
    /// kernel's TAI clock (nanoseconds since 1970 TAI), read in software when the kernel lets go of
    /// the packet (`xsk_destruct_skb`, `net/xdp/xsk.c`): after the driver of a NIC has seen it leave,
    /// or once the other end of a veth pair has it. In zero-copy mode it is the NIC's own clock and
    /// scale, if the driver supports it at all (`xsk_tx_metadata_complete`,
    /// `include/net/xdp_sock.h`).
    #[inline]
    pub fn tx_stamp(&self, frame: &Frame) -> Option<u64> {
        if frame.stamp != TxStamp::Answered {
            return None;
        }
        let stamp = self.octets(frame, STAMP, 0)?.try_into().ok()?;
        Some(u64::from_ne_bytes(stamp)).filter(|&stamp| stamp != 0)
    }
}
