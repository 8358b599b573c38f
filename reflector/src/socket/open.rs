//! Opening the sockets that own a listener's port.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{
    MsgFlags, SetSockOpt, TimestampingFlag, getsockopt, recv, setsockopt, sockopt,
};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_freebind,
    set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::plan::Binding;

/// TTL and Hop Limit of replies (RFC 5357 section 4.2.1).
const TTL: u32 = 255;

/// Buffer asked for in either direction, in octets: some thousand small datagrams, or 60 of the
/// longest.
const BUFFER: usize = 4 << 20;

/// Datagrams that [`BUFFER`] cannot hold.
const LEFT_OVER_MAX: u32 = 100_000;

mod option {
    //! Socket options that nix does not have, by its own macro.
    use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};

    /// `SO_MEMINFO` of `asm-generic/socket.h`.
    const SO_MEMINFO: libc::c_int = 55;

    sockopt_impl!(
        /// Memory figures of a socket: `SK_MEMINFO_VARS` of them (`linux/sock_diag.h`).
        MemoryInfo,
        GetOnly,
        libc::SOL_SOCKET,
        SO_MEMINFO,
        [u32; 9]
    );
    sockopt_impl!(
        /// The kernel makes up an IPv6 Flow Label for each flow (`net.ipv6.auto_flowlabels`).
        AutoFlowLabel,
        SetOnly,
        libc::IPPROTO_IPV6,
        libc::IPV6_AUTOFLOWLABEL,
        bool
    );
}

/// Why a listener's port is not ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another socket has it.
    #[error(
        "UDP port {port} of {place} is in use by another program or a second reflector: stop it \
         (`ss -lunp sport = :{port}` names it) or choose another port",
        port = at.port(), place = place(at, device.as_deref())
    )]
    InUse {
        /// What was to be bound.
        at: SocketAddr,
        /// On which device.
        device: Option<String>,
    },
    /// The port is below the first that everybody may use.
    #[error(
        "UDP port {} needs CAP_NET_BIND_SERVICE: run with that capability, choose a port from 1024, or \
         lower net.ipv4.ip_unprivileged_port_start", .0.port()
    )]
    Reserved(SocketAddr),
    /// The device went.
    #[error("there is no device {0} any more: the listener has no socket there until it is back")]
    NoDevice(String),
    /// A kernel before 5.7 lets only the privileged bind to a device.
    #[error("binding a socket to {0} needs CAP_NET_RAW on this kernel (before 5.7)")]
    DeviceForbidden(String),
    /// The kernel has no IPv6, or no IPv4.
    #[error("this system has no {}", if .0.is_ipv4() { "IPv4" } else { "IPv6" })]
    NoFamily(SocketAddr),
    /// The address is no unicast address, or another reason of the kernel's to have none of it.
    #[error("cannot answer on {0}: the system does not take it for an address of its own")]
    NotLocal(SocketAddr),
    /// The process may not open enough sockets.
    #[error("more open files are needed than allowed: raise `ulimit -n`")]
    Descriptors,
    /// Anything else.
    #[error("cannot {action} for UDP {at} ({source})")]
    System {
        /// What was tried.
        action: &'static str,
        /// What was to be bound.
        at: SocketAddr,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

fn place(at: &SocketAddr, device: Option<&str>) -> String {
    let address = match at.ip() {
        ip if !ip.is_unspecified() => ip.to_string(),
        IpAddr::V4(_) => "every IPv4 address".to_owned(),
        IpAddr::V6(_) => "every IPv6 address".to_owned(),
    };
    match device {
        Some(device) => format!("{address} on {device}"),
        None => address,
    }
}

/// Opens a socket for each of `workers` workers; the kernel gives each flow to one of them.
///
/// The first is bound exclusively, so that a port that is in use is noticed whoever uses it, and
/// shared only then: `SO_REUSEPORT` alone would let a second reflector of the same user take part of
/// the packets.
///
/// # Errors
///
/// See [`OpenError`]. Nothing stays open then.
pub fn open(binding: &Binding, workers: usize) -> Result<Vec<UdpSocket>, OpenError> {
    let workers = workers.max(1);
    let mut sockets = Vec::with_capacity(workers);
    for worker in 0..workers {
        let socket = unbound(binding)?;
        let failed = system("share the port", binding);
        if worker > 0 {
            socket.set_reuse_port(true).map_err(failed)?;
            bind(&socket, binding)?;
        } else {
            bind(&socket, binding)?;
            socket.set_reuse_port(workers > 1).map_err(failed)?;
        }
        sockets.push(socket.into());
    }
    Ok(sockets)
}

/// Datagrams for this socket that the kernel dropped so far, most of them for want of room. (Of those
/// with a wrong checksum it counts the short ones for the host alone: `UdpInCsumErrors` of `nstat`.)
/// It counts modulo 2³².
///
/// # Errors
///
/// The kernel does not tell (before 4.12).
pub fn kernel_drops(socket: &UdpSocket) -> io::Result<u32> {
    /// `SK_MEMINFO_DROPS` of `linux/sock_diag.h`.
    const DROPS: usize = 8;
    Ok(getsockopt(socket, option::MemoryInfo)?[DROPS])
}

/// Takes what is in this socket, and says how many datagrams that was.
pub fn left_over(socket: &UdpSocket) -> u64 {
    // One that never runs dry would hold up the end of everything.
    let datagrams = (0..LEFT_OVER_MAX).take_while(|_| {
        let taken = recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT);
        taken.is_ok()
    });
    datagrams.count() as u64
}

fn unbound(binding: &Binding) -> Result<Socket, OpenError> {
    let at = binding.at();
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP)).map_err(
        |error| match errno(&error) {
            Errno::EAFNOSUPPORT => OpenError::NoFamily(at),
            Errno::EMFILE | Errno::ENFILE => OpenError::Descriptors,
            _ => system("open a socket", binding)(error),
        },
    )?;
    socket
        .set_nonblocking(true)
        .map_err(system("make a socket non-blocking", binding))?;
    set_header(&socket, at).map_err(system("set the IP header", binding))?;
    watch(&socket, at).map_err(|error| system("ask for arrival data", binding)(error.into()))?;
    grow_buffers(&socket);
    Ok(socket)
}

fn bind(socket: &Socket, binding: &Binding) -> Result<(), OpenError> {
    let at = binding.at();
    if at.is_ipv6() {
        socket
            .set_only_v6(true)
            .map_err(system("keep IPv4 apart", binding))?;
    }
    if !at.ip().is_unspecified() {
        // The address may come later, and go and come back.
        let set = if at.is_ipv4() {
            socket.set_freebind_v4(true)
        } else {
            set_ipv6_freebind(socket, true).map_err(Into::into)
        };
        set.map_err(system("bind ahead of the address", binding))?;
    }
    if let Some(device) = &binding.device {
        socket
            .bind_device(Some(device.name.as_bytes()))
            .map_err(|error| match errno(&error) {
                Errno::ENODEV => OpenError::NoDevice(device.name.clone()),
                Errno::EPERM => OpenError::DeviceForbidden(device.name.clone()),
                _ => system("bind to the device", binding)(error),
            })?;
    }
    socket
        .bind(&at.into())
        .map_err(|error| match errno(&error) {
            Errno::EADDRINUSE => OpenError::InUse {
                at,
                device: binding.device.as_ref().map(|device| device.name.clone()),
            },
            Errno::EACCES => OpenError::Reserved(at),
            Errno::EADDRNOTAVAIL | Errno::EINVAL => OpenError::NotLocal(at),
            Errno::ENODEV => OpenError::NoDevice(
                binding
                    .device
                    .as_ref()
                    .map_or_else(|| at.to_string(), |device| device.name.clone()),
            ),
            _ => system("bind", binding)(error),
        })
}

/// TTL of what is sent, and that it may be fragmented: a reply is as long as its request, which may
/// have come in fragments.
fn set_header(socket: &Socket, at: SocketAddr) -> io::Result<()> {
    if at.is_ipv4() {
        socket.set_ttl_v4(TTL)?;
        // Fragmented by the device's MTU, without DF. ICMP messages, which anybody can send, do not
        // make it shorter.
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::OMIT)?;
    } else {
        socket.set_unicast_hops_v6(TTL)?;
        // IPv6 routers do not fragment, so the source has to heed what they say.
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)?;
        // 0, since a socket is not told that of the request: none is better than one made up.
        setsockopt(socket, option::AutoFlowLabel, &false)?;
    }
    Ok(())
}

/// Asks for what comes along with requests: T2, destination, TTL, TOS.
///
/// Every one of these comes with every datagram: [`super::receive`] counts on it. The number of
/// dropped datagrams (`SO_RXQ_OVFL`) would come with some, and late; [`kernel_drops`] reads it.
fn watch(socket: &Socket, at: SocketAddr) -> nix::Result<()> {
    // Not SO_TIMESTAMPNS: for a datagram that the kernel did not stamp, that one reports the time
    // of the system call, and nothing tells the two apart. This one reports nothing then.
    let software = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE;
    setsockopt(socket, sockopt::Timestamping, &software)?;
    if at.is_ipv4() {
        turn_on(socket, sockopt::Ipv4PacketInfo)?;
        turn_on(socket, sockopt::Ipv4RecvTtl)?;
        turn_on(socket, sockopt::IpRecvTos)
    } else {
        turn_on(socket, sockopt::Ipv6RecvPacketInfo)?;
        turn_on(socket, sockopt::Ipv6RecvHopLimit)?;
        turn_on(socket, sockopt::Ipv6RecvTClass)
    }
}

fn turn_on(socket: &Socket, option: impl SetSockOpt<Val = bool>) -> nix::Result<()> {
    setsockopt(socket, option, &true)
}

/// Asks for large buffers: beyond the system's limits if privileges allow, else up to them. Small
/// ones are no error; what they cannot hold is counted.
fn grow_buffers(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(BUFFER);
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(BUFFER);
    }
}

fn system(action: &'static str, binding: &Binding) -> impl Fn(io::Error) -> OpenError + use<> {
    let at = binding.at();
    move |source| OpenError::System { action, at, source }
}

fn errno(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw)
}

impl Binding {
    /// Address and port, with the device where the address is link-local.
    fn at(&self) -> SocketAddr {
        match self.address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                let scope = self.device.as_ref().map_or(0, |device| device.index);
                SocketAddrV6::new(v6, self.port, 0, scope).into()
            }
            address => SocketAddr::new(address, self.port),
        }
    }
}
