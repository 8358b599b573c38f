//! Everything an `AF_XDP` run needs, in the order in which it can fail: the way to the target, ports,
//! the program on the interface, a socket per queue.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ebpf::{
    Attached, Attempt, BestError, Interface, LoadError, MapError, Mode, Scope, SenderProgram,
    SessionKey, SessionRange, attach_best,
};
use xsk::{BindMode, ChunkFit, Nic, Queue, Socket, SocketConfig, Umem, UmemConfig, VlanStripping};

use crate::args::{TransportArg, TxStampsArg};
use crate::config::Config;
use crate::frame::{FrameError, FrameSpec, FrameWriter, VlanTag};
use crate::path::{self, Path, PathError, PathRequest, RESOLVE_TIMEOUT};
use crate::probe::Probe;
use crate::transport::OpenError;
use crate::transport::icmp_raw::IcmpWatch;
use crate::transport::ports::{self, PortPlan, Ports};

use super::outbox::StampClock;

/// Entries of the receive and the fill ring: replies that may wait while a probe is waited for.
const RX_RING: u32 = 4096;
/// Entries of the transmit and the completion ring, and template frames.
pub const TX_RING: u32 = 2048;
/// `EtherType` of a VLAN tag (IEEE 802.1Q), and of the outer one of two.
const TPID: u16 = 0x8100;
const TPID_OUTER: u16 = 0x88a8;
/// Attaching a program resets the link of many network cards; how long it may take to come back.
const LINK_MAX: Duration = Duration::from_secs(10);

/// Why there is no `AF_XDP` transport.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no way for frames.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There are no ports, or no ICMP socket.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A probe makes no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A probe does not fit the path, and is not cut into fragments.
    #[error(
        "a probe of {size} octets makes an IP packet of {packet}, and the path to {target} takes \
         {most}; AF_XDP sends no fragments: lower --size, or use --transport socket"
    )]
    TooLong {
        /// Octets of UDP payload.
        size: usize,
        /// Octets of the IP packet.
        packet: u32,
        /// The target.
        target: IpAddr,
        /// Octets that the path, or a chunk of packet memory, takes.
        most: u32,
    },
    /// The kernel does not take the program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The interface does not.
    #[error("cannot use AF_XDP on {interface}: {reason}; use --transport socket")]
    Attach {
        /// Its name.
        interface: String,
        /// Why.
        reason: String,
    },
    /// There is no socket.
    #[error(transparent)]
    Socket(#[from] xsk::Error),
    /// The program's tables cannot be filled.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The link is down.
    #[error("{0} has no carrier; check the cable and the other end")]
    NoCarrier(String),
    /// The program would not see the tags that tell whose replies are ours.
    #[error(
        "{interface} takes VLAN tags off before XDP sees them, so no reply would be found; switch \
         that off with: ethtool -K {interface} {off}", off = .stripping.ethtool_off()
    )]
    TagsStripped {
        /// Its name.
        interface: String,
        /// Which tags.
        stripping: VlanStripping,
    },
    /// More queues asked for than there are.
    #[error("--queues {asked} is more than the {queues} of {interface} that send and receive")]
    Queues {
        /// Queues asked for.
        asked: usize,
        /// Queues there are.
        queues: u32,
        /// Its name.
        interface: String,
    },
}

impl SetupError {
    /// Whether sockets may do better, so that `auto` falls back to them. What the user got wrong
    /// stays wrong.
    pub fn is_for_sockets(&self) -> bool {
        match self {
            Self::Path(error) => matches!(
                error,
                PathError::Local(_)
                    | PathError::NotEthernet(_)
                    | PathError::Tunnel(_)
                    | PathError::NotAllowed { .. }
                    | PathError::System { .. }
            ),
            Self::TooLong { .. }
            | Self::Load(_)
            | Self::Attach { .. }
            | Self::Socket(_)
            | Self::Map(_)
            | Self::Open(OpenError::System { .. }) => true,
            Self::Open(_)
            | Self::Frame(_)
            | Self::NoCarrier(_)
            | Self::TagsStripped { .. }
            | Self::Queues { .. } => false,
        }
    }
}

/// One queue of the interface.
#[derive(Debug)]
pub struct Port {
    /// Its rings and memory.
    pub queue: Queue,
    /// Its socket.
    pub socket: Socket,
}

/// A transport that is ready. Dropping it detaches the program and gives the ports back.
#[derive(Debug)]
pub struct Setup {
    /// The way to the target.
    pub path: Path,
    /// Which address and port each session has.
    pub ports: Ports,
    /// Writes the frames.
    pub writer: FrameWriter,
    /// The queues, each with a worker. The first [`Setup::senders`] send.
    pub queues: Vec<Port>,
    /// Number of workers that send.
    pub senders: usize,
    /// ICMP errors about our probes; `None` where listening is not allowed.
    pub icmp: Option<IcmpWatch>,
    /// Whose stamps of departure to ask for.
    pub stamps: Option<StampClock>,
    /// The driver reads and writes the packet memory itself.
    pub zero_copy: bool,
    program: Attached<SenderProgram>,
}

impl Setup {
    /// Where the program runs.
    pub fn mode(&self) -> Mode {
        self.program.mode()
    }
}

/// Makes a transport to `target`.
///
/// # Errors
///
/// See [`SetupError`]. Nothing stays behind then.
pub fn open(config: &Config, target: SocketAddr) -> Result<Setup, SetupError> {
    let path = find_path(config, target)?;
    let nic = Nic::by_index(path.ifindex)?;
    let stripping = nic.hidden_vlan_tags()?;
    if !config.path.vlans.is_empty() && stripping.is_on() {
        let interface = path.interface;
        return Err(SetupError::TagsStripped {
            interface,
            stripping,
        });
    }
    check_length(config, &path, target)?;
    let fit = ChunkFit::for_mtu(path.mtu);
    let channels = nic.channels()?;
    // Copy-mode transmit takes nothing for a transmit queue that does not exist, and says nothing.
    let senders = senders(config, &path, channels.rx.min(channels.tx))?;

    let addresses: Vec<_> = match config.path.sources {
        Some(range) => range.iter().collect(),
        None => vec![path.source],
    };
    let ports = ports::reserve(&PortPlan {
        target,
        addresses: &addresses,
        first: config.path.source_port,
        sessions: config.sessions,
        vrf: config.path.vrf.as_deref(),
    })?;
    let writer = FrameWriter::new(&frame_spec(config, &path, target))?;
    let sources = Arc::clone(ports.sources());
    // Without it a run says less of why nothing answers; that is no reason not to run.
    let icmp = IcmpWatch::open(target, sources, config.path.vrf.as_deref()).ok();

    let program = attach(config, &path, channels.rx)?;
    let tx_metadata = config.path.tx_stamps != TxStampsArg::Off;
    let mut queues = Vec::new();
    for queue in 0..channels.rx {
        queues.push(open_queue(
            &path,
            queue,
            fit.chunk_size,
            program.mode(),
            tx_metadata,
        )?);
    }
    let zero_copy = queues.iter().all(|port| port.socket.zero_copy());
    wait_for_carrier(&nic)?;
    for (number, port) in (0u32..).zip(&queues) {
        program.set_socket(number, port.socket.as_fd())?;
    }
    program.set_interface(
        path.ifindex,
        Interface {
            mac: path.source_mac,
            frame_limit: fit.frame_limit,
        },
    )?;
    // Last: from here on replies come to us.
    let setup = Setup {
        stamps: stamp_clock(config, &queues, zero_copy),
        path,
        ports,
        writer,
        queues,
        senders,
        icmp,
        zero_copy,
        program,
    };
    setup.let_in(config, target)?;
    Ok(setup)
}

impl Setup {
    /// Tells the program which replies are ours.
    fn let_in(&self, config: &Config, target: SocketAddr) -> Result<(), MapError> {
        let sources = self.ports.sources();
        let vid = |place: usize| config.path.vlans.get(place).map_or(0, |tag| tag.vid);
        let per_address = sources.ports_per_address();
        for (place, &local) in sources.addresses().iter().enumerate() {
            let first = place * per_address;
            let ports = sources.sessions().saturating_sub(first).min(per_address);
            let (Ok(first_session), Ok(ports)) = (u32::try_from(first), u16::try_from(ports))
            else {
                continue;
            };
            if ports == 0 {
                continue;
            }
            let key = SessionKey {
                scope: Scope {
                    ifindex: self.path.ifindex,
                    outer_vid: vid(0),
                    inner_vid: vid(1),
                },
                local,
                remote: target.ip(),
                remote_port: target.port(),
            };
            let range = SessionRange {
                first_session,
                first_port: sources.first_port(),
                ports,
            };
            self.program.add_sessions(&key, range)?;
        }
        Ok(())
    }
}

fn find_path(config: &Config, target: SocketAddr) -> Result<Path, PathError> {
    path::find(&PathRequest {
        target: target.ip(),
        scope: match target {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        },
        source: config.path.sources.map(|range| range.first()),
        interface: config.path.interface.clone(),
        vrf: config.path.vrf.clone(),
        next_hop_mac: config.path.next_hop_mac.map(|mac| mac.0),
        timeout: RESOLVE_TIMEOUT,
    })
}

/// Refuses a probe that does not fit the path and a chunk.
fn check_length(config: &Config, path: &Path, target: SocketAddr) -> Result<(), SetupError> {
    let headers = if target.is_ipv4() { 28 } else { 48 };
    let size = config.probe.size;
    let packet = u32::try_from(size)
        .unwrap_or(u32::MAX)
        .saturating_add(headers);
    let most = path.mtu.min(ChunkFit::LARGE.packet_limit().into());
    if packet > most {
        return Err(SetupError::TooLong {
            size,
            packet,
            target: target.ip(),
            most,
        });
    }
    Ok(())
}

/// How many of `queues` queues send.
fn senders(config: &Config, path: &Path, queues: u32) -> Result<usize, SetupError> {
    let owamp = matches!(config.timing.times, crate::schedule::Times::Owamp { .. });
    let most = (queues as usize).min(config.sessions);
    match config.path.queues {
        Some(asked) if asked > queues as usize => Err(SetupError::Queues {
            asked,
            queues,
            interface: path.interface.clone(),
        }),
        Some(asked) => Ok(asked.min(most)),
        None if owamp => Ok(1),
        None => {
            let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
            Ok(most.min(processors).max(1))
        }
    }
}

fn frame_spec(config: &Config, path: &Path, target: SocketAddr) -> FrameSpec {
    let double = config.path.vlans.len() > 1;
    let tags = config
        .path
        .vlans
        .iter()
        .enumerate()
        .map(|(place, tag)| VlanTag {
            tpid: if double && place == 0 {
                TPID_OUTER
            } else {
                TPID
            },
            pcp: tag.pcp,
            dei: false,
            vid: tag.vid,
        });
    FrameSpec {
        source_mac: path.source_mac,
        destination_mac: path.next_hop_mac,
        tags: tags.collect(),
        source: path.source,
        target,
        ttl: config.header.ttl,
        tos: config.header.tos,
        dont_fragment: config.header.dont_fragment,
        payload: Probe::new(&config.probe).octets().to_vec(),
    }
}

fn attach(
    config: &Config,
    path: &Path,
    queues: u32,
) -> Result<Attached<SenderProgram>, SetupError> {
    // Generic mode is slower than sockets, stamps later, and is for who asks for it by name.
    let attempts: &[Attempt] = if config.path.transport == TransportArg::Auto {
        &Attempt::NATIVE
    } else {
        &Attempt::ANY
    };
    attach_best(
        attempts,
        |frags| SenderProgram::load(queues, frags),
        |program, mode| program.attach(path.ifindex, mode),
    )
    .map_err(|error| match error {
        BestError::Load(error) => SetupError::Load(error),
        BestError::Attach(error) => SetupError::Attach {
            interface: path.interface.clone(),
            reason: error.to_string(),
        },
    })
}

fn open_queue(
    path: &Path,
    queue: u32,
    chunk: u32,
    mode: Mode,
    tx_metadata: bool,
) -> Result<Port, SetupError> {
    let config = SocketConfig {
        rx_size: RX_RING,
        fill_size: RX_RING,
        tx_size: TX_RING,
        completion_size: TX_RING,
        mode: if mode == Mode::Generic {
            BindMode::Copy
        } else {
            BindMode::Auto
        },
        ..SocketConfig::new(path.ifindex, queue)
    };
    let umem = |tx_metadata| {
        Umem::allocate(&UmemConfig {
            // Fill ring and receive ring full, and the templates.
            frames: 2 * RX_RING + TX_RING,
            chunk_size: chunk,
            tx_metadata,
            ..UmemConfig::default()
        })
    };
    let opened = match Socket::open(&config, umem(tx_metadata)?) {
        // Older kernels know nothing of stamps; then T1 is what it is.
        Err(xsk::Error::NoTxMetadata) => Socket::open(&config, umem(false)?),
        opened => opened,
    };
    let (socket, queue) = opened?;
    Ok(Port { queue, socket })
}

/// Whose stamps of departure are worth asking for.
fn stamp_clock(config: &Config, queues: &[Port], zero_copy: bool) -> Option<StampClock> {
    let possible = queues.iter().all(|port| port.queue.umem().tx_metadata());
    match config.path.tx_stamps {
        _ if !possible => None,
        TxStampsArg::Auto | TxStampsArg::On if zero_copy => Some(StampClock::Nic),
        // In copy mode the stamp is taken when the packet's buffer is let go. On veth the receiving
        // side does that, before or after its own stamp, as the peer may be.
        TxStampsArg::Auto | TxStampsArg::Off => None,
        TxStampsArg::On => Some(StampClock::Kernel),
    }
}

fn wait_for_carrier(nic: &Nic) -> Result<(), SetupError> {
    const LOOK: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + LINK_MAX;
    while !nic.flags()?.is_running() {
        if Instant::now() >= deadline {
            return Err(SetupError::NoCarrier(nic.name().to_owned()));
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
