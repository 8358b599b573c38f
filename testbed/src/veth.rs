//! The topology of nearly every end-to-end test.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use crate::{DEFAULT_TIMEOUT, Error, Namespace, UdpFrame, wait_for};

/// Two namespaces joined by a veth pair.
///
/// ```text
///   reflector's namespace                          sender's namespace
///  ┌───────────────────────────────┐              ┌───────────────────────────────┐
///  │                        veth-r │◄────────────►│ veth-s                        │
///  │  10.86.2.1/24      N queues   │              │  N queues      10.86.2.2/24   │
///  │  fd00:862::1/64               │              │             fd00:862::2/64    │
///  └───────────────────────────────┘              └───────────────────────────────┘
/// ```
///
/// Both ends are up, without IPv6 duplicate address detection and router solicitation, when
/// [`new`](Self::new) returns. Names are the same in every test: the namespaces are not.
/// Flows of kernel sockets spread over the queues by hash. Drop it and everything is gone.
#[derive(Debug)]
pub struct Veth {
    /// The Session-Reflector's end, `veth-r`.
    pub reflector: End,
    /// The Session-Sender's end, `veth-s`.
    pub sender: End,
}

/// One end of the pair.
#[derive(Debug)]
pub struct End {
    /// The namespace it lives in.
    pub namespace: Namespace,
    /// The interface's name.
    pub interface: &'static str,
    /// The interface's index in its namespace.
    pub ifindex: u32,
    /// The interface's MAC address.
    pub mac: [u8; 6],
    /// The first IPv4 address, in a /24 that reaches the other end.
    pub ipv4: Ipv4Addr,
    /// The first IPv6 address, in a /64 that reaches the other end.
    pub ipv6: Ipv6Addr,
}

/// What may vary: `VethConfig { mtu: 9000, ..VethConfig::default() }`.
#[derive(Debug, Clone)]
pub struct VethConfig {
    /// Receive and transmit queues at each end; 1 by default.
    pub queues: u32,
    /// Transmit queues at the reflector's end, if not as many as `queues`.
    pub reflector_transmit_queues: Option<u32>,
    /// MTU of both ends in octets; 1500 by default.
    pub mtu: u32,
    /// Permanent neighbour entries at both ends, for tests whose raw frames nobody answers ARP or
    /// neighbour discovery for; off by default, so that both are exercised.
    pub permanent_neighbours: bool,
    /// More addresses for the reflector's end, with prefix lengths: `"10.86.3.1/24"`.
    pub reflector_addresses: Vec<String>,
    /// More addresses for the sender's end.
    pub sender_addresses: Vec<String>,
}

impl Default for VethConfig {
    fn default() -> Self {
        Self {
            queues: 1,
            reflector_transmit_queues: None,
            mtu: 1500,
            permanent_neighbours: false,
            reflector_addresses: Vec::new(),
            sender_addresses: Vec::new(),
        }
    }
}

impl VethConfig {
    /// So many receive and transmit queues at each end, and otherwise the default.
    pub fn queues(queues: u32) -> Self {
        Self {
            queues,
            ..Self::default()
        }
    }
}

/// The interface of the reflector's end.
pub(crate) const REFLECTOR: &str = "veth-r";
/// The interface of the sender's end.
pub(crate) const SENDER: &str = "veth-s";

/// What tells a pair from another one between the same namespaces.
#[derive(Debug, Clone, Copy)]
struct Names {
    reflector: &'static str,
    sender: &'static str,
    /// `N` in 10.86.N.0/24 and `fd00:86N::/64`.
    network: u8,
}

const FIRST: Names = Names {
    reflector: REFLECTOR,
    sender: SENDER,
    network: 2,
};
const SECOND: Names = Names {
    reflector: "veth-r2",
    sender: "veth-s2",
    network: 3,
};

impl Veth {
    /// A pair with one queue and MTU 1500.
    ///
    /// # Errors
    /// Without privileges, or where iproute2 is missing.
    pub fn new() -> Result<Self, Error> {
        Self::with(&VethConfig::default())
    }

    /// A pair as described.
    ///
    /// # Errors
    /// Without privileges, where iproute2 is missing, or if the kernel refuses the description.
    pub fn with(config: &VethConfig) -> Result<Self, Error> {
        let (reflector, sender) = (quiet_namespace()?, quiet_namespace()?);
        Self::lay(FIRST, reflector, sender, [10, 20], config)
    }

    /// A second pair between the same namespaces: `veth-r2` with 10.86.3.1/24 and `fd00:863::1/64`,
    /// `veth-s2` with the addresses that end in 2. There is no third.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn second(&self, config: &VethConfig) -> Result<Self, Error> {
        let (reflector, sender) = (&self.reflector.namespace, &self.sender.namespace);
        Self::lay(
            SECOND,
            reflector.share()?,
            sender.share()?,
            [50, 60],
            config,
        )
    }

    /// Another pair in the same namespaces, in place of one that was deleted. It has other indices and
    /// MAC addresses.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn lay_again(self, config: &VethConfig) -> Result<Self, Error> {
        let [near, far] = [self.reflector.ifindex + 1, self.sender.ifindex + 1];
        let (reflector, sender) = (self.reflector.namespace, self.sender.namespace);
        Self::lay(FIRST, reflector, sender, [near, far], config)
    }

    /// Indices that differ, or the kernel takes the pair for plain links and lets up to a second
    /// pass before it declares them up (`linkwatch_urgent_event` in `net/core/link_watch.c`).
    fn lay(
        names: Names,
        reflector: Namespace,
        sender: Namespace,
        [near, far]: [u32; 2],
        config: &VethConfig,
    ) -> Result<Self, Error> {
        let VethConfig { queues, mtu, .. } = config;
        let transmit = config.reflector_transmit_queues.unwrap_or(*queues);
        let near_queues = format!("numrxqueues {queues} numtxqueues {transmit}");
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        reflector.ip(&format!(
            "link add {} index {near} mtu {mtu} {near_queues} type veth \
             peer name {} index {far} mtu {mtu} {queues} netns {}",
            names.reflector,
            names.sender,
            sender.path().display()
        ))?;
        Self::set_up_as(names, reflector, sender, config)
    }

    /// Addresses both interfaces, which are there already, and brings them up.
    pub(crate) fn set_up(
        reflector: Namespace,
        sender: Namespace,
        config: &VethConfig,
    ) -> Result<Self, Error> {
        Self::set_up_as(FIRST, reflector, sender, config)
    }

    fn set_up_as(
        names: Names,
        reflector: Namespace,
        sender: Namespace,
        config: &VethConfig,
    ) -> Result<Self, Error> {
        let (near, far) = ([names.network, 1], [names.network, 2]);
        let reflector = End::set_up(
            reflector,
            names.reflector,
            near,
            &config.reflector_addresses,
        )?;
        let sender = End::set_up(sender, names.sender, far, &config.sender_addresses)?;
        let veth = Self { reflector, sender };
        if config.permanent_neighbours {
            veth.reflector.knows(&veth.sender)?;
            veth.sender.knows(&veth.reflector)?;
        }
        for end in [&veth.reflector, &veth.sender] {
            await_running(&end.namespace, end.interface)?;
        }
        Ok(veth)
    }

    /// An IPv4 frame from the sender's end to the reflector's, MAC addresses filled in.
    pub fn request_v4(&self, source_port: u16, destination_port: u16) -> UdpFrame {
        let (from, to) = (&self.sender, &self.reflector);
        UdpFrame::v4(from.socket_v4(source_port), to.socket_v4(destination_port))
            .macs(from.mac, to.mac)
    }

    /// An IPv6 frame from the sender's end to the reflector's, MAC addresses filled in.
    pub fn request_v6(&self, source_port: u16, destination_port: u16) -> UdpFrame {
        let (from, to) = (&self.sender, &self.reflector);
        UdpFrame::v6(from.socket_v6(source_port), to.socket_v6(destination_port))
            .macs(from.mac, to.mac)
    }
}

impl End {
    /// Its IPv4 address with a port.
    pub fn socket_v4(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.ipv4, port)
    }

    /// Its IPv6 address with a port.
    pub fn socket_v6(&self, port: u16) -> SocketAddrV6 {
        SocketAddrV6::new(self.ipv6, port, 0, 0)
    }

    /// Addresses the interface, which is there already, and brings it up.
    fn set_up(
        namespace: Namespace,
        interface: &'static str,
        [network, host]: [u8; 2],
        more: &[String],
    ) -> Result<Self, Error> {
        let ipv4 = Ipv4Addr::new(10, 86, network, host);
        let prefix = 0x860 + u16::from(network);
        let ipv6 = Ipv6Addr::new(0xfd00, prefix, 0, 0, 0, 0, 0, host.into());
        namespace.ip(&format!("address add {ipv4}/24 dev {interface}"))?;
        namespace.ip(&format!("address add {ipv6}/64 dev {interface} nodad"))?;
        for address in more {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            namespace.ip(&format!("address add {address} dev {interface} {nodad}"))?;
        }
        namespace.ip(&format!("link set {interface} up"))?;
        let (ifindex, mac) = namespace
            .run(|| Ok((if_nametoindex(interface)?, mac_address(interface)?)))
            .map_err(|errno: nix::Error| Error::io(format!("look {interface} up"), errno))?;
        Ok(Self {
            namespace,
            interface,
            ifindex,
            mac,
            ipv4,
            ipv6,
        })
    }

    /// Enters the other end's addresses into the neighbour table for good.
    fn knows(&self, other: &Self) -> Result<(), Error> {
        let mac = other.mac.map(|octet| format!("{octet:02x}")).join(":");
        for address in [other.ipv4.to_string(), other.ipv6.to_string()] {
            let entry = format!(
                "{address} lladdr {mac} dev {} nud permanent",
                self.interface
            );
            self.namespace.ip(&format!("neighbour replace {entry}"))?;
        }
        Ok(())
    }
}

/// Waits until the interface is up and has a carrier.
pub(crate) fn await_running(namespace: &Namespace, interface: &str) -> Result<(), Error> {
    let description = format!("{interface} is operationally up");
    wait_for(&description, DEFAULT_TIMEOUT, || {
        namespace.run(|| is_running(interface)).then_some(())
    })
}

/// A namespace whose interfaces do not chatter by themselves while they come up.
pub(crate) fn quiet_namespace() -> Result<Namespace, Error> {
    let namespace = Namespace::new()?;
    for setting in [
        "accept_dad",
        "dad_transmits",
        "router_solicitations",
        "accept_ra",
    ] {
        namespace.sysctl(&format!("net/ipv6/conf/default/{setting}"), "0")?;
    }
    Ok(namespace)
}

/// In the calling thread's namespace.
fn is_running(interface: &str) -> bool {
    let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    getifaddrs().is_ok_and(|mut found| {
        found.any(|found| found.interface_name == interface && found.flags.contains(wanted))
    })
}

/// In the calling thread's namespace.
fn mac_address(interface: &str) -> nix::Result<[u8; 6]> {
    getifaddrs()?
        .filter(|found| found.interface_name == interface)
        .find_map(|found| found.address?.as_link_addr()?.addr())
        .ok_or(nix::Error::ENODEV)
}
