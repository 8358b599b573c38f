//! A veth topology with a relay in the middle that loses, delays, duplicates, reorders and spoils
//! chosen packets, and keeps the truth about it.
//!
//! ```text
//!  fate    what a script may do to a packet
//!  frame   finds and changes the UDP datagram in a frame
//!  log     what came, and what was done with it
//!  worker  the thread between the two packet sockets
//! ```

mod fate;
mod frame;
mod log;
mod worker;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::background::Background;
use crate::veth::{REFLECTOR, SENDER, await_running, quiet_namespace};
use crate::{Error, Namespace, Veth, VethConfig, wait_for};

pub use fate::{Change, Fate, Onward, When};
pub use log::{Direction, Log, Record, Sent, Session, TestPacket};
use worker::{Port, Shared, Worker};

/// What may vary: `RelayConfig { ports: vec![862, 863], ..RelayConfig::default() }`.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The two ends. The relay's own interfaces have as many queues, and the same MTU.
    ///
    /// Permanent neighbours by default: a host lets packets that waited for an answer to ARP go while
    /// later ones overtake them, so that their order would be no fault of the relay or the program
    /// under test.
    pub veth: VethConfig,
    /// UDP ports of Session-Reflectors: what goes to or comes from one is a test packet. 862 by
    /// default.
    pub ports: Vec<u16>,
    /// Where the Sender Sequence Number is in the payload of a reply, in octets: 24 in
    /// unauthenticated TWAMP-Test and STAMP, the default (RFC 5357 section 4.2.1, RFC 8762 section
    /// 4.3.1); 0 where requests are echoed.
    pub reply_sequence_offset: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            veth: VethConfig {
                permanent_neighbours: true,
                ..VethConfig::default()
            },
            ports: vec![862],
            reply_sequence_offset: 24,
        }
    }
}

/// Three namespaces in a row; the middle one belongs to the relay.
///
/// ```text
///   reflector's namespace             relay's namespace               sender's namespace
///  ┌───────────────────────┐      ┌───────────────────────┐       ┌───────────────────────┐
///  │                veth-r │◄────►│ relay-r ◄──►  relay-s │◄─────►│ veth-s                │
///  │  10.86.2.1/24         │      │    packet sockets     │       │         10.86.2.2/24  │
///  │  fd00:862::1/64       │      │    without addresses  │       │       fd00:862::2/64  │
///  └───────────────────────┘      └───────────────────────┘       └───────────────────────┘
/// ```
///
/// The ends are as in [`Veth`], and do not see the relay: it forwards whole Ethernet frames. A script
/// decides the [`Fate`] of every test packet: a UDP datagram to or from a reflector's port, neither
/// fragmented nor behind IPv6 extension headers, that is long enough for its sequence number. All
/// other frames pass.
///
/// Checksums that a local socket left to offload are completed on the way, and batches that it left
/// to segmentation offload (UDP GSO) come as single datagrams. Order is kept where the script does
/// not say otherwise.
///
/// Dropping it lets go what it holds, stops it, and panics if it had failed.
///
/// ```no_run
/// use testbed::{DEFAULT_TIMEOUT, Direction, Fate, Relay};
/// # fn main() -> Result<(), testbed::Error> {
/// let relay = Relay::new(|packet| match (packet.direction, packet.sequence) {
///     (Direction::Forward, 3) => Fate::lose(),
///     (Direction::Backward, 5) => Fate::pass().after_sequence(7),
///     _ => Fate::pass(),
/// })?;
/// // … traffic between relay.veth.sender and relay.veth.reflector …
/// let log = relay.wait_until("ten requests came", DEFAULT_TIMEOUT, |log| {
///     log.came(Direction::Forward).count() == 10
/// })?;
/// assert_eq!(relay.kernel_drops()?, 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Relay {
    /// First, and so stopped before its interfaces go.
    background: Background,
    /// The two ends.
    pub veth: Veth,
    shared: Arc<Shared>,
    /// Packets that the ends could not hand to their interfaces before the relay started.
    dropped_before: u64,
    /// Its interfaces live as long as this.
    _namespace: Namespace,
}

const TOWARDS_REFLECTOR: &str = "relay-r";
const TOWARDS_SENDER: &str = "relay-s";

impl Relay {
    /// A relay with one queue, MTU 1500, permanent neighbours and a reflector on port 862.
    ///
    /// # Errors
    /// Without privileges, or where iproute2 is missing.
    pub fn new(script: impl FnMut(&TestPacket) -> Fate + Send + 'static) -> Result<Self, Error> {
        Self::with(&RelayConfig::default(), script)
    }

    /// A relay as described.
    ///
    /// # Errors
    /// Without privileges, where iproute2 is missing, or if the kernel refuses the description.
    pub fn with(
        config: &RelayConfig,
        script: impl FnMut(&TestPacket) -> Fate + Send + 'static,
    ) -> Result<Self, Error> {
        let (namespace, veth) = topology(&config.veth)?;
        let ports = [
            Port::open(&namespace, TOWARDS_SENDER)?,
            Port::open(&namespace, TOWARDS_REFLECTOR)?,
        ];
        let shared = Arc::new(Shared::new(Box::new(script), ports));
        let mut worker = Worker::new(Arc::clone(&shared), config);
        let background = Background::start("relay", move |bell| worker.run(bell))?;
        let mut relay = Self {
            background,
            veth,
            shared,
            dropped_before: 0,
            _namespace: namespace,
        };
        relay.dropped_before = relay.dropped_at_the_ends()?;
        Ok(relay)
    }

    /// Replaces the script; packets that have come already keep their fate.
    pub fn set_script(&self, script: impl FnMut(&TestPacket) -> Fate + Send + 'static) {
        *self.shared.script() = Box::new(script);
    }

    /// Lets everything go that is held, delayed packets first, each kind in its order: soon after the
    /// call.
    pub fn release(&self) {
        self.shared.ask_for_release();
        self.background.wake();
    }

    /// What came so far, and what was done with it.
    pub fn log(&self) -> Log {
        self.shared.log().clone()
    }

    /// Waits until `condition` holds of the log, and returns that log.
    ///
    /// # Errors
    /// [`Error::Timeout`] after `timeout`, naming `description` (it reads after "until"), or at once
    /// if the relay has failed.
    pub fn wait_until(
        &self,
        description: &str,
        timeout: Duration,
        mut condition: impl FnMut(&Log) -> bool,
    ) -> Result<Log, Error> {
        wait_for(description, timeout, || {
            // Looked at before the log: a relay that has failed adds nothing to it any more.
            let ended = self.background.has_ended();
            let log = self.shared.log();
            if condition(&log) {
                Some(Ok(log.clone()))
            } else {
                ended.then(|| Err(Error::Relay("it has stopped".to_owned())))
            }
        })?
    }

    /// Frames lost other than by the script: dropped by the kernel at the relay's sockets, refused by
    /// it when the relay sent them, or dropped where an end sends. Queues beyond (a program's own
    /// sockets) are not looked at.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn kernel_drops(&self) -> Result<u64, Error> {
        let at_the_ends = self
            .dropped_at_the_ends()?
            .saturating_sub(self.dropped_before);
        Ok(self.shared.dropped()? + self.shared.log().refused + at_the_ends)
    }

    /// Stops the relay, after it has let go what it held, and returns the whole log. The ends stay,
    /// cut off from each other.
    ///
    /// # Errors
    /// If the relay had failed.
    pub fn stop(&mut self) -> Result<Log, Error> {
        self.background.stop()?;
        Ok(self.log())
    }

    /// Frames that the kernel dropped on their way out of the ends.
    fn dropped_at_the_ends(&self) -> Result<u64, Error> {
        let mut dropped = 0;
        for end in [&self.veth.reflector, &self.veth.sender] {
            // The thread's own file: that of the process is another namespace's.
            let read = || fs::read_to_string("/proc/thread-self/net/dev");
            let table = (end.namespace.run(read))
                .map_err(|error| Error::io("read the interfaces' counters", error))?;
            dropped += transmit_drops(&table, end.interface).ok_or_else(|| {
                Error::Relay(format!("no counters of {} in:\n{table}", end.interface))
            })?;
        }
        Ok(dropped)
    }
}

/// The relay's namespace, and the ends, joined to it and not yet to each other.
fn topology(config: &VethConfig) -> Result<(Namespace, Veth), Error> {
    let (reflector, sender) = (quiet_namespace()?, quiet_namespace()?);
    let relay = quiet_namespace()?;
    // Its interfaces are a wire: they say nothing by themselves.
    relay.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
    let VethConfig { queues, mtu, .. } = config;
    let transmit = config.reflector_transmit_queues.unwrap_or(*queues);
    for (near, near_index, far, far_index, far_transmit, namespace) in [
        (TOWARDS_REFLECTOR, 30, REFLECTOR, 10, transmit, &reflector),
        (TOWARDS_SENDER, 40, SENDER, 20, *queues, &sender),
    ] {
        // Different indices: see `Veth::with`. No segmentation offload, so that no frame is longer
        // than the MTU.
        relay.ip(&format!(
            "link add {near} index {near_index} mtu {mtu} numrxqueues {queues} numtxqueues {queues} \
             type veth peer name {far} index {far_index} mtu {mtu} \
             numrxqueues {queues} numtxqueues {far_transmit} netns {}",
            namespace.path().display()
        ))?;
        namespace.ip(&format!("link set {far} gso_max_segs 1"))?;
        relay.ip(&format!("link set {near} up"))?;
    }
    let veth = Veth::set_up(reflector, sender, config)?;
    for interface in [TOWARDS_REFLECTOR, TOWARDS_SENDER] {
        await_running(&relay, interface)?;
    }
    Ok((relay, veth))
}

/// The "drop" column of the transmit half in `/proc/net/dev` (`proc_pid_net(5)`).
fn transmit_drops(table: &str, interface: &str) -> Option<u64> {
    let counters = table.lines().find_map(|line| {
        let (name, counters) = line.split_once(':')?;
        (name.trim() == interface).then_some(counters)
    })?;
    // receive: bytes packets errs drop fifo frame compressed multicast; transmit: bytes packets errs
    // drop
    counters.split_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_transmit_drops() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs \
             drop fifo colls carrier compressed\n\
             veth-s:    1       2    3    4    5     6          7         8        9      10   11   \
             12    13     14       15         16\n";
        assert_eq!(transmit_drops(table, "veth-s"), Some(12));
        assert_eq!(transmit_drops(table, "veth-r"), None);
    }
}
