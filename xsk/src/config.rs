//! What a caller may choose, and the ranges it must keep.

use crate::error::Error;
use crate::sys::XDP_PACKET_HEADROOM;

/// Size and shape of a UMEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UmemConfig {
    /// Number of chunks, 1 to 1 048 576: all that wait on the fill, tx and completion rings, that
    /// the driver works on and that user space holds, together.
    pub frames: u32,
    /// Octets per chunk: 2048 or 4096.
    pub chunk_size: u32,
    /// Octets kept free before a packet in addition to the kernel's own 256; together they must stay
    /// below `chunk_size`.
    pub headroom: u32,
    /// Back the memory by huge pages, which must have been set aside (`vm.nr_hugepages`).
    pub huge_pages: bool,
    /// Let the kernel be asked when packets left
    /// ([`Umem::request_tx_stamp`](crate::Umem::request_tx_stamp)); needs Linux 6.11.
    pub tx_metadata: bool,
}

impl Default for UmemConfig {
    /// 8192 chunks of 2048 octets, 16 MiB: enough for the default rings, all full, and as many
    /// frames in hand.
    fn default() -> UmemConfig {
        UmemConfig {
            frames: 8192,
            chunk_size: 2048,
            headroom: 0,
            huge_pages: false,
            tx_metadata: false,
        }
    }
}

impl UmemConfig {
    /// [`Error::Config`] naming the first field that is out of range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |field, value: u32, expected| {
            Err(Error::Config {
                field,
                value: value.into(),
                expected,
            })
        };
        if !(1..=1 << 20).contains(&self.frames) {
            return refuse("frames", self.frames, "from 1 to 1048576");
        }
        // The kernel takes powers of two from 2048 to the page size (`xdp_umem_reg`,
        // `net/xdp/xdp_umem.c`).
        if ![2048, 4096].contains(&self.chunk_size) {
            return refuse("chunk_size", self.chunk_size, "2048 or 4096");
        }
        if self.headroom >= self.chunk_size.saturating_sub(XDP_PACKET_HEADROOM) {
            return refuse("headroom", self.headroom, "less than chunk_size minus 256");
        }
        Ok(())
    }
}

/// How large chunks are made for the frames of an interface, and how long a frame may be to fit in
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkFit {
    /// Octets per chunk ([`UmemConfig::chunk_size`]), without a headroom of its own.
    pub chunk_size: u32,
    /// Octets of the longest frame, from its destination address on.
    pub frame_limit: u16,
}

impl ChunkFit {
    /// Octets before an IP packet at most: destination, source, `EtherType`, and two VLAN tags.
    const LINK_HEADER_MAX: u16 = 14 + 2 * 4;
    const SMALL: ChunkFit = ChunkFit {
        chunk_size: 2048,
        frame_limit: 2048 - 256,
    };
    /// The largest there are.
    pub const LARGE: ChunkFit = ChunkFit {
        chunk_size: 4096,
        frame_limit: 4096 - 256,
    };

    /// Small chunks where a full-sized frame with two VLAN tags fits in one, else large ones, in
    /// which it may not fit either. `mtu` is in octets.
    pub const fn for_mtu(mtu: u32) -> ChunkFit {
        if mtu <= ChunkFit::SMALL.packet_limit() as u32 {
            ChunkFit::SMALL
        } else {
            ChunkFit::LARGE
        }
    }

    /// Octets of the longest IP packet, whatever VLAN tags stand before it.
    pub const fn packet_limit(self) -> u16 {
        self.frame_limit - ChunkFit::LINK_HEADER_MAX
    }
}

const _: () =
    assert!(ChunkFit::SMALL.chunk_size - XDP_PACKET_HEADROOM == ChunkFit::SMALL.frame_limit as u32);
const _: () =
    assert!(ChunkFit::LARGE.chunk_size - XDP_PACKET_HEADROOM == ChunkFit::LARGE.frame_limit as u32);

/// Entries of each of the four rings; each a power of two from 1 to 65 536.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// Received packets not yet taken.
    pub rx: u32,
    /// Packets to transmit the kernel has not yet taken.
    pub tx: u32,
    /// Chunks waiting for packets.
    pub fill: u32,
    /// Transmitted chunks not yet taken back. The kernel takes a packet from the tx ring only with
    /// room for its completion.
    pub completion: u32,
}

impl Default for RingSizes {
    /// 2048 entries each.
    fn default() -> RingSizes {
        RingSizes {
            rx: 2048,
            tx: 2048,
            fill: 2048,
            completion: 2048,
        }
    }
}

impl RingSizes {
    const MAX: u32 = 1 << 16;

    /// [`Error::Config`] naming the first size that is no power of two or too large.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let sizes = [
            ("rx_size", self.rx),
            ("tx_size", self.tx),
            ("fill_size", self.fill),
            ("completion_size", self.completion),
        ];
        for (field, size) in sizes {
            if !size.is_power_of_two() || size > RingSizes::MAX {
                let expected = "a power of two from 1 to 65536";
                return Err(Error::Config {
                    field,
                    value: size.into(),
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// Whether packets are copied between driver and UMEM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindMode {
    /// Zero-copy if the driver can, else copy: the kernel tries both in one bind.
    /// [`Socket::zero_copy`](crate::Socket::zero_copy) tells which it is.
    #[default]
    Auto,
    /// Zero-copy or [`Error::NoZeroCopy`].
    ZeroCopy,
    /// Copy, even if the driver could do better.
    Copy,
}

/// Preferred busy polling: the driver's work is done in our system calls
/// (`Documentation/networking/napi.rst`). Needs `CAP_NET_ADMIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// `SO_BUSY_POLL`: how long a call may poll, in microseconds.
    pub usecs: u16,
    /// `SO_BUSY_POLL_BUDGET`: packets per poll, at least 1.
    pub budget: u16,
}

/// Which queue to bind, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Interface index ([`Nic::index`](crate::Nic::index)).
    pub ifindex: u32,
    /// Queue number, from 0.
    pub queue: u32,
    /// Entries of the rx ring: a power of two from 1 to 65 536, as the three sizes below.
    pub rx_size: u32,
    /// Entries of the tx ring.
    pub tx_size: u32,
    /// Entries of the fill ring.
    pub fill_size: u32,
    /// Entries of the completion ring.
    pub completion_size: u32,
    /// Zero-copy or copy.
    pub mode: BindMode,
    /// Let the kernel say when it must be woken (`XDP_USE_NEED_WAKEUP`), which saves system calls.
    pub need_wakeup: bool,
    /// Preferred busy polling, if any.
    pub busy_poll: Option<BusyPoll>,
}

impl SocketConfig {
    /// Defaults for one queue: rings of 2048 entries, automatic mode, need-wakeup, no busy polling.
    pub fn new(ifindex: u32, queue: u32) -> SocketConfig {
        let RingSizes {
            rx,
            tx,
            fill,
            completion,
        } = RingSizes::default();
        SocketConfig {
            ifindex,
            queue,
            rx_size: rx,
            tx_size: tx,
            fill_size: fill,
            completion_size: completion,
            mode: BindMode::default(),
            need_wakeup: true,
            busy_poll: None,
        }
    }

    /// The four ring sizes.
    pub fn ring_sizes(&self) -> RingSizes {
        RingSizes {
            rx: self.rx_size,
            tx: self.tx_size,
            fill: self.fill_size,
            completion: self.completion_size,
        }
    }

    /// [`Error::Config`] naming the first field that is out of range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if matches!(self.busy_poll, Some(BusyPoll { budget: 0, .. })) {
            let expected = "from 1 to 65535";
            return Err(Error::Config {
                field: "busy_poll.budget",
                value: 0,
                expected,
            });
        }
        self.ring_sizes().check()
    }

    /// `sxdp_flags` of the bind.
    pub(crate) fn bind_flags(&self) -> u16 {
        let mode = match self.mode {
            BindMode::Auto => 0,
            BindMode::ZeroCopy => libc::XDP_ZEROCOPY,
            BindMode::Copy => libc::XDP_COPY,
        };
        if self.need_wakeup {
            mode | libc::XDP_USE_NEED_WAKEUP
        } else {
            mode
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(result: Result<(), Error>) -> &'static str {
        match result.unwrap_err() {
            Error::Config { field, .. } => field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn defaults_are_valid() {
        UmemConfig::default().check().unwrap();
        RingSizes::default().check().unwrap();
        SocketConfig::new(1, 0).check().unwrap();
    }

    #[test]
    fn names_the_umem_field_that_is_out_of_range() {
        let with = |change: fn(&mut UmemConfig)| {
            let mut config = UmemConfig::default();
            change(&mut config);
            config.check()
        };
        assert_eq!(field(with(|config| config.frames = 0)), "frames");
        assert_eq!(
            field(with(|config| config.frames = (1 << 20) + 1)),
            "frames"
        );
        assert_eq!(field(with(|config| config.chunk_size = 1024)), "chunk_size");
        assert_eq!(field(with(|config| config.chunk_size = 3000)), "chunk_size");
        assert_eq!(
            field(with(|config| config.headroom = 2048 - 256)),
            "headroom"
        );
        assert_eq!(field(with(|config| config.headroom = u32::MAX)), "headroom");
        with(|config| config.headroom = 2048 - 257).unwrap();
        with(|config| (config.chunk_size, config.headroom) = (4096, 4096 - 257)).unwrap();
    }

    #[test]
    fn chunks_are_small_where_a_tagged_frame_fits() {
        for (mtu, chunk_size, frame_limit) in [
            (1500, 2048, 1792),
            (1792 - 22, 2048, 1792),
            (1792 - 21, 4096, 3840),
            (9000, 4096, 3840),
            (u32::MAX, 4096, 3840),
        ] {
            let fit = ChunkFit::for_mtu(mtu);
            assert_eq!((fit.chunk_size, fit.frame_limit), (chunk_size, frame_limit));
            let config = UmemConfig {
                chunk_size,
                ..UmemConfig::default()
            };
            config.check().unwrap();
        }
        assert_eq!(ChunkFit::LARGE.packet_limit(), 3818);
    }

    #[test]
    fn names_the_socket_field_that_is_out_of_range() {
        let with = |change: fn(&mut SocketConfig)| {
            let mut config = SocketConfig::new(1, 0);
            change(&mut config);
            config.check()
        };
        assert_eq!(field(with(|config| config.rx_size = 0)), "rx_size");
        assert_eq!(field(with(|config| config.tx_size = 3)), "tx_size");
        assert_eq!(field(with(|config| config.fill_size = 1000)), "fill_size");
        assert_eq!(
            field(with(|config| config.completion_size = 1 << 17)),
            "completion_size"
        );
        let no_budget = Some(BusyPoll {
            usecs: 20,
            budget: 0,
        });
        let config = SocketConfig {
            busy_poll: no_budget,
            ..SocketConfig::new(1, 0)
        };
        assert_eq!(field(config.check()), "busy_poll.budget");
        assert_eq!(
            with(|config| config.fill_size = 1000)
                .unwrap_err()
                .to_string(),
            "fill_size is 1000: it must be a power of two from 1 to 65536"
        );
    }

    #[test]
    fn bind_flags_are_those_of_the_mode() {
        let config = SocketConfig::new(1, 0);
        assert_eq!(config.bind_flags(), libc::XDP_USE_NEED_WAKEUP);
        let config = SocketConfig {
            mode: BindMode::Copy,
            need_wakeup: false,
            ..config
        };
        assert_eq!(config.bind_flags(), libc::XDP_COPY);
        let config = SocketConfig {
            mode: BindMode::ZeroCopy,
            ..config
        };
        assert_eq!(config.bind_flags(), libc::XDP_ZEROCOPY);
    }
}
