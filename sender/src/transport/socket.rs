//! The UDP socket transport: one connected socket per session, no privileges needed.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{SendError, SocketReceive, Transmit, descriptors};
use crate::config::HeaderConfig;
use crate::config::addresses::{SourceRange, Spread};

/// Receive buffer asked for, in octets: some thousand small replies.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Which sockets to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPlan {
    /// The reflector.
    pub target: SocketAddr,
    /// Addresses to send from; the kernel chooses if there are none.
    pub sources: Option<SourceRange>,
    /// Port of the first session on each address; the others take the ports after it. The kernel
    /// chooses if there is none.
    pub source_port: Option<u16>,
    /// Number of sessions, and how they are spread.
    pub spread: Spread,
    /// The IP header of the probes.
    pub header: HeaderConfig,
    /// Interface or VRF device to send on.
    pub device: Option<String>,
}

/// The sending half.
#[derive(Debug)]
pub struct SocketTransmit {
    sockets: Arc<[UdpSocket]>,
    source: SocketAddr,
    receive_buffer: usize,
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `connect` found no way to the target.
    #[error("no route to {target} ({source}); check the address and `ip route get {}`", target.ip())]
    Unreachable {
        /// The target.
        target: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// `connect` may not.
    #[error("not allowed to send to {0}: it is a broadcast address, or a route prohibits it")]
    Forbidden(SocketAddr),
    /// The source address is not of this host.
    #[error("source address {0} is no address of this host; `ip address` lists those that are")]
    NotLocal(IpAddr),
    /// The source address is of this host alone. IPv4; the kernel takes `::1`, and no reply comes.
    #[error(
        "--source is a loopback address, which nothing leaves this host from; take it out to send to \
         {}", .0.ip()
    )]
    Loopback(SocketAddr),
    /// The source port is taken.
    #[error("source port {0} is in use; choose another --source-port")]
    PortInUse(u16),
    /// The source port is reserved.
    #[error("source port {0} needs privileges; choose a --source-port above 1023")]
    PortReserved(u16),
    /// There is no such interface.
    #[error("there is no interface '{0}'; `ip link` lists those that there are")]
    NoInterface(String),
    /// The target is not of the source's address family.
    #[error("--source {source_address} cannot reach {target}: they are not of the same family")]
    Family {
        /// The source address.
        source_address: IpAddr,
        /// The target.
        target: SocketAddr,
    },
    /// A link-local source address needs the target's interface.
    #[error(
        "--source {0} is link-local and reaches only a target written with its interface, like \
         fe80::1%eth0"
    )]
    NoScope(Ipv6Addr),
    /// The process may not open enough sockets.
    #[error(
        "{sessions} sessions need more open files than the limit of {limit}; raise `ulimit -n` or lower --sessions"
    )]
    Descriptors {
        /// Sessions wanted.
        sessions: usize,
        /// Open files allowed.
        limit: u64,
    },
    /// The kernel, left to choose, has no source port left.
    #[error(
        "the system has not enough free source ports for {sessions} sessions; give --source-port, \
         add addresses by --source-range, widen net.ipv4.ip_local_port_range or lower --sessions"
    )]
    NoPort {
        /// Sessions wanted.
        sessions: usize,
    },
    /// There are not enough source ports.
    #[error(
        "{sessions} sessions need more source ports in a row than are free: there is room for \
         {fit}; add source addresses by --source-range, choose another --source-port or lower \
         --sessions"
    )]
    Ports {
        /// Sessions wanted.
        sessions: usize,
        /// Sessions that would fit.
        fit: usize,
    },
    /// Anything else.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

/// Wraps an error of the step `action`.
pub(super) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> OpenError {
    move |error| OpenError::System {
        action,
        source: error.into(),
    }
}

/// Opens one socket per session.
///
/// # Errors
///
/// See [`OpenError`]. Nothing stays open then.
pub fn open(plan: &SocketPlan) -> Result<(SocketTransmit, SocketReceive), OpenError> {
    descriptors::raise_limit(plan.spread.sessions, plan.spread.sessions)?;
    let addresses: Vec<_> = match plan.sources {
        Some(range) => range.iter().map(Some).collect(),
        None => vec![None],
    };
    let sockets: Vec<_> = (0..plan.spread.sessions)
        .map(|session| {
            let (address, port) = plan.spread.place(session);
            let source = addresses.get(address).copied().flatten();
            connect(plan, source, port)
        })
        .collect::<Result<_, _>>()?;
    let first = sockets.first().ok_or_else(|| {
        system("open sockets")(io::Error::new(ErrorKind::InvalidInput, "no sessions"))
    })?;
    let receive_buffer = first
        .recv_buffer_size()
        .map_err(system("read the buffer size"))?;
    let sockets: Arc<[UdpSocket]> = sockets.into_iter().map(UdpSocket::from).collect();
    let source = sockets[0]
        .local_addr()
        .map_err(system("read the source address"))?;
    let receive = SocketReceive::new(Arc::clone(&sockets)).map_err(system("watch the sockets"))?;
    Ok((
        SocketTransmit {
            sockets,
            source,
            receive_buffer,
        },
        receive,
    ))
}

impl SocketTransmit {
    /// Address and port of the first session.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Address and port of every session, as far as the kernel tells.
    pub fn sources(&self) -> Vec<SocketAddr> {
        let sockets = self.sockets.iter();
        sockets
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }

    /// Octets of receive buffer that each socket was granted.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }
}

impl Transmit for SocketTransmit {
    fn send(&mut self, session: usize, probe: &[u8]) -> Result<(), SendError> {
        /// An ICMP error about an earlier probe makes the next call fail instead of sending, and
        /// another may come in before the call after that.
        const ATTEMPTS: u32 = 4;
        let Some(socket) = self.sockets.get(session) else {
            return Err(SendError::Refused(ErrorKind::InvalidInput.into()));
        };
        let mut attempt = 1;
        loop {
            match socket.send(probe) {
                Ok(_) => return Ok(()),
                Err(error) if is_full(&error) => return Err(SendError::Full),
                Err(error) if attempt < ATTEMPTS && is_news(&error) => attempt += 1,
                Err(error) => return Err(SendError::Refused(error)),
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

/// Whether this may be an ICMP error about an earlier probe (`icmp_err_convert` in net/ipv4/icmp.c,
/// `tab_unreach` in net/ipv6/icmp.c) and not a refusal of this one.
fn is_news(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(
            Errno::ECONNREFUSED
                | Errno::EHOSTUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENETUNREACH
                | Errno::ENONET
                | Errno::EPROTO
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EACCES
                | Errno::EMSGSIZE
        )
    )
}

/// A socket of the `place`-th session on `source`, ready for use.
fn connect(plan: &SocketPlan, source: Option<IpAddr>, place: usize) -> Result<Socket, OpenError> {
    let target = plan.target;
    if let Some(source_address) = source
        && source_address.is_ipv4() != target.is_ipv4()
    {
        return Err(OpenError::Family {
            source_address,
            target,
        });
    }
    let domain = Domain::for_address(target);
    let socket =
        Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(|error| {
            match error.raw_os_error() {
                Some(errno) if errno == Errno::EAFNOSUPPORT as i32 => OpenError::Unreachable {
                    target,
                    source: error,
                },
                _ => system("open a UDP socket")(error),
            }
        })?;
    socket
        .set_nonblocking(true)
        .map_err(system("make a socket non-blocking"))?;
    set_header(&socket, target, plan.header).map_err(system("set the IP header"))?;
    watch(&socket, target).map_err(system("ask for receive timestamps"))?;
    grow_receive_buffer(&socket);
    if let Some(device) = &plan.device {
        socket
            .bind_device(Some(device.as_bytes()))
            .map_err(|error| match error.raw_os_error() {
                Some(errno) if errno == Errno::ENODEV as i32 => {
                    OpenError::NoInterface(device.clone())
                }
                _ => system("bind to the interface")(error),
            })?;
    }
    bind(&socket, plan, source, place)?;
    socket
        .connect(&target.into())
        .map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => OpenError::Forbidden(target),
            // `connect` chooses the port of a socket without one (connect(2)).
            ErrorKind::WouldBlock => OpenError::NoPort {
                sessions: plan.spread.sessions,
            },
            // EINVAL (ip_route_output_key_hash_rcu in net/ipv4/route.c).
            ErrorKind::InvalidInput if source.is_some_and(|source| source.is_loopback()) => {
                OpenError::Loopback(target)
            }
            _ => OpenError::Unreachable {
                target,
                source: error,
            },
        })?;
    Ok(socket)
}

/// TTL, DSCP, ECN and DF of what is sent.
fn set_header(socket: &Socket, target: SocketAddr, header: HeaderConfig) -> io::Result<()> {
    let HeaderConfig {
        tos,
        ttl,
        dont_fragment,
    } = header;
    // PROBE sets DF and takes no notice of what the kernel knows of the path, as a measurement must;
    // DONT leaves DF out and fragments here what does not fit.
    if target.is_ipv4() {
        socket.set_ttl_v4(ttl.into())?;
        socket.set_tos_v4(tos.into())?;
        let discovery = if dont_fragment {
            Ipv4PathMtuDiscovery::PROBE
        } else {
            Ipv4PathMtuDiscovery::DONT
        };
        set_ip_mtu_discover(socket, discovery)?;
    } else {
        socket.set_unicast_hops_v6(ttl.into())?;
        socket.set_tclass_v6(tos.into())?;
        let discovery = if dont_fragment {
            Ipv6PathMtuDiscovery::PROBE
        } else {
            Ipv6PathMtuDiscovery::DONT
        };
        set_ipv6_mtu_discover(socket, discovery)?;
    }
    Ok(())
}

/// Asks for what comes along with replies: T4, TTL, DSCP and ECN, ICMP errors, and the count of
/// dropped ones.
pub(super) fn watch(socket: &Socket, target: SocketAddr) -> nix::Result<()> {
    // Not SO_TIMESTAMPNS: for a datagram that the kernel did not stamp, that one reports the time
    // of the system call, and nothing tells the two apart. This one reports nothing then.
    let software = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE;
    setsockopt(socket, sockopt::Timestamping, &software)?;
    setsockopt(socket, sockopt::RxqOvfl, &1)?;
    if target.is_ipv4() {
        setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?;
        setsockopt(socket, sockopt::IpRecvTos, &true)?;
        setsockopt(socket, sockopt::Ipv4RecvErr, &true)
    } else {
        setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true)?;
        setsockopt(socket, sockopt::Ipv6RecvTClass, &true)?;
        setsockopt(socket, sockopt::Ipv6RecvErr, &true)
    }
}

/// Asks for a large receive buffer: beyond the system's limit if privileges allow, else up to it.
/// A small one is no error; what it drops is counted.
fn grow_receive_buffer(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
}

fn bind(
    socket: &Socket,
    plan: &SocketPlan,
    source: Option<IpAddr>,
    place: usize,
) -> Result<(), OpenError> {
    let any = match plan.target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let port = match plan.source_port {
        Some(first) => u16::try_from(usize::from(first) + place).map_err(|_| {
            system("choose a source port")(io::Error::new(
                ErrorKind::InvalidInput,
                "the ports are used up",
            ))
        })?,
        None => 0,
    };
    if source.is_none() && port == 0 {
        return Ok(());
    }
    bind_to(socket, source.unwrap_or(any), port, plan.target).map_err(|error| match error {
        OpenError::PortInUse(0) => OpenError::NoPort {
            sessions: plan.spread.sessions,
        },
        other => other,
    })
}

/// Binds a socket to a source address and port, which may be unspecified and 0.
pub(super) fn bind_to(
    socket: &Socket,
    source: IpAddr,
    port: u16,
    target: SocketAddr,
) -> Result<(), OpenError> {
    // A link-local source address means one on the interface of the target's scope.
    let address = match (source, target) {
        (IpAddr::V6(v6), SocketAddr::V6(target)) => {
            if v6.is_unicast_link_local() && target.scope_id() == 0 {
                return Err(OpenError::NoScope(v6));
            }
            std::net::SocketAddrV6::new(v6, port, 0, target.scope_id()).into()
        }
        (address, _) => SocketAddr::new(address, port),
    };
    socket
        .bind(&address.into())
        .map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => OpenError::PortInUse(port),
            ErrorKind::AddrNotAvailable => OpenError::NotLocal(address.ip()),
            ErrorKind::PermissionDenied => OpenError::PortReserved(port),
            _ => system("bind the source address")(error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_network_may_have_said_is_tried_again() {
        for (errno, news) in [
            (Errno::ECONNREFUSED, true),
            (Errno::EHOSTUNREACH, true),
            (Errno::EMSGSIZE, true),
            (Errno::EPERM, false),
            (Errno::EINVAL, false),
            (Errno::EDESTADDRREQ, false),
        ] {
            assert_eq!(is_news(&errno.into()), news, "{errno}");
        }
        assert!(!is_news(&ErrorKind::InvalidInput.into()));
    }
}
