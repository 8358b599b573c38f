//! Taking datagrams from a socket, many at a time, each into a buffer that any datagram fits in.

use std::array;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, Timestamps, recvmmsg,
};
use wire::time::Utc;

/// Datagrams taken by one system call at most.
pub const BATCH: usize = 32;

/// Room for one datagram: 65 527 octets are the most that UDP carries (over IPv6), and 64 more. Not
/// the round 65 536, because the beginnings of all buffers would fall into the same cache set.
const STRIDE: usize = 65_536 + 64;

/// What came with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Who sent it. A link-local address has its device as scope.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub destination: Destination,
    /// Octets of payload.
    pub len: usize,
    /// TTL or Hop Limit, if the kernel told.
    pub ttl: Option<u8>,
    /// TOS or Traffic Class octet, if the kernel told.
    pub tos: Option<u8>,
    /// When the kernel received it: the last fragment, where it came in fragments.
    pub stamp: Option<Utc>,
}

/// Where a datagram was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Destination address of its IP header.
    pub address: IpAddr,
    /// It is one of this host's own addresses, and not broadcast or multicast.
    pub unicast: bool,
    /// Index of the device it came through last: the VLAN device where there is one.
    pub device: u32,
}

/// Datagrams in their buffers, and what came with each.
#[derive(Debug)]
pub struct Batch {
    buffers: Box<[u8]>,
    arrivals: Vec<Option<Arrival>>,
    headers: [Headers; 2],
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// Room for [`BATCH`] datagrams. What is never used of it takes no memory.
    pub fn new() -> Self {
        Self {
            buffers: vec![0; BATCH * STRIDE].into_boxed_slice(),
            arrivals: Vec::with_capacity(BATCH),
            headers: [Family::V4, Family::V6].map(Headers::new),
        }
    }

    /// Takes what `socket` has, [`BATCH`] datagrams at most, in place of what is here. Never blocks.
    ///
    /// # Errors
    ///
    /// Whatever the kernel says but that there is nothing.
    pub fn receive(&mut self, socket: &UdpSocket, family: Family) -> Result<usize, Errno> {
        self.arrivals.clear();
        let headers = &mut self.headers[family as usize];
        let taken = take(
            socket,
            &mut headers.multi,
            &mut self.buffers,
            &mut self.arrivals,
        );
        match taken {
            Ok(AllStamped(true)) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(AllStamped(false)) => *headers = Headers::new(family),
            Err(error) => return Err(error),
        }
        Ok(self.arrivals.len())
    }

    /// What came with the datagram in buffer `place`; `None` if it is cut off or the kernel did not
    /// say where it was sent to.
    pub fn arrival(&self, place: usize) -> Option<Arrival> {
        self.arrivals.get(place).copied().flatten()
    }

    /// Buffer `place`: the datagram, and room behind it.
    pub fn buffer_mut(&mut self, place: usize) -> &mut [u8] {
        self.buffers
            .chunks_exact_mut(STRIDE)
            .nth(place)
            .unwrap_or_default()
    }

    /// The first `len` octets of buffer `place`.
    pub fn payload(&self, place: usize, len: usize) -> &[u8] {
        let start = place * STRIDE;
        self.buffers.get(start..start + len).unwrap_or_default()
    }
}

/// An address family that UDP runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// Message headers for one address family, used over and over.
///
/// The kernel leaves in a header how much it wrote, and nix does not reset that. So a header has room
/// in its next use for as much as came with its last datagram: enough, as the same comes with every
/// datagram of a family. The one exception is a datagram without a stamp; then the headers are made
/// afresh.
#[derive(Debug)]
struct Headers {
    multi: MultiHeaders<SockaddrStorage>,
}

impl Headers {
    fn new(family: Family) -> Self {
        let control = match family {
            Family::V4 => nix::cmsg_space!(Timestamps, in_pktinfo, i32, u8),
            Family::V6 => nix::cmsg_space!(Timestamps, in6_pktinfo, i32, i32),
        };
        Self {
            multi: MultiHeaders::preallocate(BATCH, Some(control)),
        }
    }
}

/// Whether every datagram of a batch had its stamp.
struct AllStamped(bool);

fn take(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrStorage>,
    buffers: &mut [u8],
    arrivals: &mut Vec<Option<Arrival>>,
) -> Result<AllStamped, Errno> {
    let mut buffers = buffers.chunks_exact_mut(STRIDE);
    let mut slices: [_; BATCH] =
        array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
    let messages = recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)?;
    let mut all_stamped = true;
    for message in messages {
        let arrival = read(&message);
        all_stamped &= arrival.is_some_and(|arrival| arrival.stamp.is_some());
        arrivals.push(arrival);
    }
    Ok(AllStamped(all_stamped))
}

fn read(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<Arrival> {
    let cut = MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC;
    if message.flags.intersects(cut) {
        return None;
    }
    let source = socket_address(message.address.as_ref()?)?;
    let (mut destination, mut ttl, mut tos, mut stamp) = (None, None, None, None);
    for control in message.cmsgs().ok()? {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => destination = Some(destination_v4(&info)?),
            ControlMessageOwned::Ipv6PacketInfo(info) => destination = Some(destination_v6(&info)),
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                ttl = u8::try_from(hops).ok();
            }
            ControlMessageOwned::Ipv4Tos(octet) => tos = Some(octet),
            ControlMessageOwned::Ipv6TClass(octet) => tos = u8::try_from(octet).ok(),
            ControlMessageOwned::ScmTimestampsns(stamps) => stamp = Some(clock::utc(stamps.system)),
            _ => {}
        }
    }
    Some(Arrival {
        source,
        destination: destination?,
        len: message.bytes,
        ttl,
        tos,
        stamp,
    })
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| {
        let v6 = address.as_sockaddr_in6()?;
        Some(SocketAddr::V6((*v6).into()))
    })
}

/// The kernel offers the address that a reply should come from beside the one in the header
/// (`ipv4_pktinfo_prepare` in `net/ipv4/ip_sockglue.c`): they differ for broadcast and multicast.
fn destination_v4(info: &in_pktinfo) -> Option<Destination> {
    let [address, own] = [info.ipi_addr, info.ipi_spec_dst]
        .map(|address| Ipv4Addr::from(u32::from_be(address.s_addr)));
    Some(Destination {
        address: address.into(),
        unicast: address == own && !address.is_multicast() && !address.is_broadcast(),
        device: u32::try_from(info.ipi_ifindex).ok()?,
    })
}

fn destination_v6(info: &in6_pktinfo) -> Destination {
    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
    Destination {
        address: address.into(),
        unicast: !address.is_multicast(),
        device: info.ipi6_ifindex,
    }
}
