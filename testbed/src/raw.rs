//! A packet socket at one end of a topology: whole Ethernet frames in and out.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
    recvmsg, sendmsg, setsockopt, socket,
};

use crate::{End, Error, Namespace};

mod option {
    //! Socket options of packet(7) that nix does not have, by its own macro.
    use nix::{setsockopt_impl, sockopt_impl};

    sockopt_impl!(
        /// Report the VLAN tag that the kernel took off a received frame.
        Auxdata,
        SetOnly,
        libc::SOL_PACKET,
        libc::PACKET_AUXDATA,
        bool
    );
    sockopt_impl!(
        /// Do not hand this host's outgoing frames to the socket (Linux 4.20).
        IgnoreOutgoing,
        SetOnly,
        libc::SOL_PACKET,
        libc::PACKET_IGNORE_OUTGOING,
        bool
    );
}

/// Room for the longest frame a veth carries, offloads included.
pub(crate) const LONGEST_FRAME: usize = 128 * 1024;
/// Room for a burst of small frames while the test is not scheduled; the kernel doubles it.
const SOCKET_BUFFER: usize = 8 << 20;
/// `sizeof(struct tpacket_auxdata)`.
const AUXDATA_LEN: usize = 20;

/// A packet socket bound to one interface: sends frames as they are, receives every frame that
/// arrives there (not those that leave), VLAN tags put back where they were.
///
/// Frames of a local socket on the far end may arrive with a partial UDP checksum: offload has
/// nobody to finish it on a veth.
#[derive(Debug)]
pub struct RawPeer {
    socket: OwnedFd,
    buffer: RefCell<Vec<u8>>,
}

impl RawPeer {
    /// Opens a packet socket at `end`.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or if the interface is gone.
    pub fn open(end: &End) -> Result<Self, Error> {
        Self::open_in(&end.namespace, end.interface)
    }

    /// Opens a packet socket on `interface` of `namespace`.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or if there is no such interface.
    pub fn open_in(namespace: &Namespace, interface: &str) -> Result<Self, Error> {
        let socket = namespace
            .run(|| bound_socket(interface, SOCKET_BUFFER))
            .map_err(|errno| Error::io(format!("open a packet socket on {interface}"), errno))?;
        Ok(Self {
            socket,
            buffer: RefCell::new(vec![0; LONGEST_FRAME]),
        })
    }

    /// Sends one frame, without frame check sequence, as it is.
    ///
    /// # Errors
    /// If the kernel refuses it: shorter than an Ethernet header, longer than the MTU allows, or
    /// the link is down.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        inject(&self.socket, frame)
            .map_err(|errno| Error::io(format!("send a frame of {} octets", frame.len()), errno))
    }

    /// Receives the next frame; `None` if none arrives within `timeout`.
    ///
    /// # Errors
    /// If the link goes down, or the kernel refuses.
    pub fn recv(&self, timeout: Duration) -> Result<Option<Vec<u8>>, Error> {
        self.recv_matching(|_| true, timeout)
    }

    /// Receives frames until one matches, and returns that; `None` if none does within `timeout`.
    /// Frames that do not match (neighbour discovery, multicast reports) are dropped.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_matching(
        &self,
        mut matches: impl FnMut(&[u8]) -> bool,
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>, Error> {
        let deadline = Instant::now() + timeout;
        let failed = |errno: Errno| Error::io("receive a frame", errno);
        loop {
            while let Some(frame) = self.take().map_err(failed)? {
                if matches(&frame) {
                    return Ok(Some(frame));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.await_frame(left).map_err(failed)?;
        }
    }

    /// Takes a frame that is there already.
    fn take(&self) -> Result<Option<Vec<u8>>, Errno> {
        let captured = capture(&self.socket, &mut self.buffer.borrow_mut())?;
        Ok(captured.map(|captured| captured.frame))
    }

    fn await_frame(&self, at_most: Duration) -> Result<(), Errno> {
        // Rounded up, so that the last part of a millisecond is no busy loop.
        let millis = at_most.as_millis().saturating_add(1);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(
            &mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// A frame as it came from a packet socket.
pub(crate) struct Captured {
    /// Its octets, VLAN tags included.
    pub frame: Vec<u8>,
    /// A local socket sent it and left the TCP or UDP checksum to offload: the field holds the sum of
    /// the pseudo-header alone.
    pub checksum_unfinished: bool,
}

/// Takes a frame that is there already; `buffer` has room for the longest.
pub(crate) fn capture(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<Captured>, Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!([u8; AUXDATA_LEN]);
    let flags = MsgFlags::MSG_DONTWAIT;
    let fd = socket.as_raw_fd();
    let received = recvmsg::<LinkAddr>(fd, &mut parts, Some(&mut control), flags);
    let (length, told) = match received {
        Ok(message) => (message.bytes, message.cmsgs()?.find_map(Auxdata::read)),
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let mut frame = buffer.get(..length).unwrap_or_default().to_vec();
    if let Some(tag) = told.as_ref().and_then(Auxdata::stripped_tag)
        && frame.len() >= 12
    {
        frame.splice(12..12, tag);
    }
    Ok(Some(Captured {
        frame,
        checksum_unfinished: told.is_some_and(|told| told.checksum_unfinished()),
    }))
}

/// Sends one frame as it is.
pub(crate) fn inject(socket: &OwnedFd, frame: &[u8]) -> Result<(), Errno> {
    let parts = [IoSlice::new(frame)];
    sendmsg::<()>(socket.as_raw_fd(), &parts, &[], MsgFlags::empty(), None).map(drop)
}

/// Opens, sets up and binds the socket, in the calling thread's namespace; the kernel doubles
/// `buffer`.
pub(crate) fn bound_socket(interface: &str, buffer: usize) -> Result<OwnedFd, Errno> {
    // The kernel's own answer for the interface is the one safe source of a `sockaddr_ll`. Its
    // protocol is 0, which bind(2) reads as "the protocol given to socket(2)".
    let address = getifaddrs()?
        .filter(|found| found.interface_name == interface)
        .find_map(|found| found.address?.as_link_addr().copied())
        .ok_or(Errno::ENODEV)?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, option::Auxdata, &true)?;
    setsockopt(&socket, option::IgnoreOutgoing, &true)?;
    setsockopt(&socket, RcvBufForce, &buffer)?;
    setsockopt(&socket, SndBufForce, &buffer)?;
    bind(socket.as_raw_fd(), &address)?;
    // Until bound, the socket heard every interface.
    let mut byte = [0; 1];
    while recv_now(&socket, &mut byte)? {}
    Ok(socket)
}

/// Receives and forgets one frame; false when there is none.
fn recv_now(socket: &OwnedFd, buffer: &mut [u8]) -> Result<bool, Errno> {
    match nix::sys::socket::recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What the kernel tells about a frame beside its octets (`struct tpacket_auxdata` of
/// `linux/if_packet.h`, packet(7)).
struct Auxdata {
    status: u32,
    tag_control: u16,
    tag_protocol: u16,
}

impl Auxdata {
    fn read(message: ControlMessageOwned) -> Option<Self> {
        let ControlMessageOwned::Unknown(message) = message else {
            return None;
        };
        let header = message.cmsg_header;
        if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            return None;
        }
        let (status, rest) = message.data_bytes.split_first_chunk::<4>()?;
        // status, then length, captured length (4 octets each), two offsets (2 each), then the tag
        let [tci_a, tci_b, tpid_a, tpid_b] = *rest.get(12..)?.first_chunk::<4>()?;
        Some(Self {
            status: u32::from_ne_bytes(*status),
            tag_control: u16::from_ne_bytes([tci_a, tci_b]),
            tag_protocol: u16::from_ne_bytes([tpid_a, tpid_b]),
        })
    }

    fn has(&self, flag: u32) -> bool {
        self.status & flag != 0
    }

    fn checksum_unfinished(&self) -> bool {
        const STATUS_CHECKSUM_NOT_READY: u32 = 1 << 3;
        self.has(STATUS_CHECKSUM_NOT_READY)
    }

    /// The four octets of the VLAN tag that the kernel took off, if it did.
    fn stripped_tag(&self) -> Option<[u8; 4]> {
        const STATUS_VLAN_VALID: u32 = 1 << 4;
        const STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
        if !self.has(STATUS_VLAN_VALID) {
            return None;
        }
        let protocol = if self.has(STATUS_VLAN_TPID_VALID) {
            self.tag_protocol
        } else {
            0x8100
        };
        let ([a, b], [c, d]) = (protocol.to_be_bytes(), self.tag_control.to_be_bytes());
        Some([a, b, c, d])
    }
}
