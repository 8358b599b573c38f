//! Everything that can stop the reflector, each as one sentence: what is wrong, what to do.

use std::collections::BTreeSet;
use std::io;

/// Why the reflector did not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listeners cannot work as they are configured.
    #[error(transparent)]
    Listeners(#[from] crate::listener::Invalid),
    /// No such interface.
    #[error("there is no interface {name} here: name one of {known}", known = joined(.known))]
    NoInterface {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: BTreeSet<String>,
    },
    /// Loopback, tunnels and the like.
    #[error("{0} is no Ethernet interface: name a physical or virtual Ethernet interface")]
    NotEthernet(String),
    /// The interface is administratively down.
    #[error("interface {0} is down: bring it up with `ip link set dev {0} up`")]
    InterfaceDown(String),
    /// One interface by two of its names: it can have one program.
    #[error("{one} and {other} are one interface: name it once")]
    OneInterface {
        /// A name of it.
        one: String,
        /// Another.
        other: String,
    },
    /// The XDP program would not see the tags that tell VLANs apart.
    #[error(
        "{interface} takes VLAN tags off before XDP sees them, and its driver does not let go of \
         it: try `ethtool -K {interface} {off}`, or use another interface",
        off = .stripping.ethtool_off()
    )]
    VlanTagsHidden {
        /// The interface.
        interface: String,
        /// Which tags.
        stripping: xsk::VlanStripping,
    },
    /// More queues asked for than there are.
    #[error(
        "--queues {asked} is more than the {available} queues of {name} that both receive and \
         transmit: ask for fewer, or raise them with `ethtool -L {name} combined {asked}`"
    )]
    TooManyQueues {
        /// The interface.
        name: String,
        /// From the command line.
        asked: u32,
        /// In use by the driver.
        available: u32,
    },
    /// A processor the process may not run on.
    #[error(
        "--cpus names processor {cpu}, which this process may not run on: allowed are {allowed:?}"
    )]
    CpuNotAllowed {
        /// From the command line.
        cpu: usize,
        /// The process's own set.
        allowed: Vec<usize>,
    },
    /// The session table is too large for this machine.
    #[error("there is no memory for --session-limit {0}: ask for fewer sessions")]
    NoMemoryForSessions(u32),
    /// The rings need more memory than the process may lock.
    #[error(
        "a queue's packet memory needs {needed} octets of locked memory, but the limit is {limit}: raise \
         RLIMIT_MEMLOCK (`ulimit -l`, LimitMEMLOCK=), grant CAP_IPC_LOCK, or use a smaller --ring-size"
    )]
    LockedMemory {
        /// For one queue.
        needed: u64,
        /// For all that this user's processes lock.
        limit: u64,
    },
    /// Loading the XDP program failed.
    #[error(transparent)]
    Load(#[from] ebpf::LoadError),
    /// Attaching the XDP program failed.
    #[error("cannot attach to {name}: {source}")]
    Attach {
        /// The interface.
        name: String,
        /// Why.
        #[source]
        source: ebpf::AttachError,
    },
    /// A map could not be filled.
    #[error(transparent)]
    Map(#[from] ebpf::MapError),
    /// An AF_XDP socket could not be opened, or a fact of the interface not be read.
    #[error(transparent)]
    Socket(#[from] xsk::Error),
    /// The listeners' UDP sockets, or what serves them.
    #[error(transparent)]
    Listen(#[from] crate::socket::DatapathError),
    /// A worker stopped by itself.
    #[error("the worker of queue {queue} stopped: {reason}")]
    Worker {
        /// The receive queue.
        queue: u32,
        /// What it said.
        reason: String,
    },
    /// Some other call to the kernel failed.
    #[error("{operation} failed ({source})")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// A failed call, named.
    pub fn system(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { operation, source }
    }

    /// Whether it keeps AF_XDP from working, and sockets would do without.
    pub const fn is_of_af_xdp(&self) -> bool {
        matches!(
            self,
            Self::Load(_)
                | Self::Attach { .. }
                | Self::Map(_)
                | Self::Socket(_)
                | Self::LockedMemory { .. }
                | Self::NotEthernet(_)
                | Self::VlanTagsHidden { .. }
        )
    }

    /// Exit status: 2 for what the command line asked wrongly, 1 for what failed at run time.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Listeners(_)
            | Self::OneInterface { .. }
            | Self::TooManyQueues { .. }
            | Self::CpuNotAllowed { .. } => 2,
            _ => 1,
        }
    }
}

fn joined(names: &BTreeSet<String>) -> String {
    names
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
