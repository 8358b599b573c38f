//! Why frames have no way to the target.

use std::io;
use std::net::IpAddr;

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The target is this host.
    #[error("{0} is an address of this host, which AF_XDP cannot send to; use --transport socket")]
    Local(IpAddr),
    /// The target is a group or everybody.
    #[error("{0} is not the address of one host; give the reflector's own address")]
    NotUnicast(IpAddr),
    /// The routing table has none, or one that says no.
    #[error("no route to {target} ({reason}); check the address and `ip route get {target}`")]
    NoRoute {
        /// The target.
        target: IpAddr,
        /// The kernel's word.
        reason: String,
    },
    /// The route wraps packets in another protocol.
    #[error(
        "the route to {0} leads into a tunnel (`ip route get {0}`), which AF_XDP cannot enter; use \
         --transport socket"
    )]
    Tunnel(IpAddr),
    /// There is no such interface.
    #[error("there is no interface '{0}'; `ip link` lists those that there are")]
    NoInterface(String),
    /// The interface is down.
    #[error("interface {0} is down; `ip link set {0} up` brings it up")]
    Down(String),
    /// The interface carries no Ethernet frames.
    #[error("{0} is no Ethernet interface, which AF_XDP needs; use --transport socket")]
    NotEthernet(String),
    /// The device is no VRF.
    #[error("{0} is no VRF; `ip link show type vrf` lists those that there are")]
    NotVrf(String),
    /// Interface and VRF contradict each other.
    #[error("interface {interface} does not belong to VRF {vrf}; leave one of the two out")]
    OutsideVrf {
        /// The interface.
        interface: String,
        /// The VRF.
        vrf: String,
    },
    /// Interface and target contradict each other.
    #[error("{target} belongs to another interface than {interface}; leave --interface out")]
    Scope {
        /// The target.
        target: IpAddr,
        /// The interface asked for.
        interface: String,
    },
    /// Source and target are not of the same address family.
    #[error("--source {source_address} cannot reach {target}: they are not of the same family")]
    Family {
        /// The source address.
        source_address: IpAddr,
        /// The target.
        target: IpAddr,
    },
    /// The source address is not of this host.
    #[error("source address {0} is no address of this host; `ip address` lists those that are")]
    NotLocal(IpAddr),
    /// The source address is of this host alone.
    #[error(
        "--source is a loopback address, which nothing leaves this host from; take it out to send to \
         {target}"
    )]
    Loopback {
        /// The target.
        target: IpAddr,
    },
    /// There is no address to send from.
    #[error(
        "no address to send to {target} from; give {interface} one of its family, or use --source"
    )]
    NoSource {
        /// The target.
        target: IpAddr,
        /// The interface that packets would leave by.
        interface: String,
    },
    /// The next hop does not say its MAC address.
    #[error(
        "{next_hop} does not answer on {interface}; check that it is up and on that link, or give \
         its MAC address by --next-hop-mac"
    )]
    NoAnswer {
        /// Gateway, or the target itself.
        next_hop: IpAddr,
        /// The interface it should be reached by.
        interface: String,
    },
    /// Asking for a MAC address needs privileges.
    #[error(
        "not allowed to ask for the MAC address of {next_hop}; grant CAP_NET_ADMIN, or give it by \
         --next-hop-mac"
    )]
    NotAllowed {
        /// Gateway, or the target itself.
        next_hop: IpAddr,
    },
    /// The kernel cannot be asked.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

impl PathError {
    /// Wraps an error of the step `action`.
    pub(super) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System {
            action,
            source: error.into(),
        }
    }
}
