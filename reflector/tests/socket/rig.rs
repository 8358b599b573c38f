//! A socket datapath at one end of a veth pair.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use clock::Discipline;
use host::HostView;
use reflector::args::Poll;
use reflector::listener::{Limits, Listener, RefusedPolicy, Vlan};
use reflector::policer::Policer;
use reflector::reflect::Timescale;
use reflector::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, Rule, SequencePolicy, ShortPolicy,
};
use reflector::rulebook::Rulebook;
use reflector::session::Sessions;
use reflector::shared::Shared;
use reflector::socket::{
    DatapathError, OpenError, Options, Plan, SocketDatapath, SocketFigures, Unanswered,
};
use reflector::stop::Stop;
use reflector::worker::SharedTimescale;
use testbed::{DEFAULT_TIMEOUT, Datagram, RawPeer, UdpFrame, Veth, VethConfig, wait_for};
use wire::time::TimestampFormat;

/// A port that needs no privileges.
pub const PORT: u16 = 8862;
/// How long a reply that must not come is waited for, after one that must come has come.
pub const SILENCE: Duration = Duration::from_millis(50);

/// A running datapath; dropping it stops its threads.
pub struct Rig {
    pub datapath: Option<SocketDatapath>,
    pub shared: Shared,
    stop: Stop,
}

/// Answers in every format, on every interface and address.
pub fn listener() -> Listener {
    Listener {
        rule: Rule {
            listener: 0,
            format: Format::ByLength,
            timestamps: TimestampFormat::Ntp,
            sequence: SequencePolicy::Stateless,
            dscp: DscpPolicy::Copy,
            ecn: EcnPolicy::Clear,
            flow_label: FlowLabelPolicy::Copy,
            short: ShortPolicy::Answer,
            refuse_replies: true,
        },
        interfaces: Vec::new(),
        vlan: Vlan::Untagged,
        vrf: None,
        addresses: Vec::new(),
        port: PORT,
        peers: Vec::new(),
        clients: None,
        refused: RefusedPolicy::Drop,
        limits: Limits::default(),
        guard_ports: true,
    }
}

/// The reflector's end as the kernel has it now.
pub fn host(veth: &Veth) -> HostView {
    veth.reflector.namespace.run(|| HostView::read().unwrap())
}

/// So many workers that sleep while there is nothing to do.
pub fn workers(count: usize) -> Options {
    Options {
        cpus: vec![None; count],
        poll: Poll::Interrupt,
        tx_batch: Options::TX_BATCH,
    }
}

/// What workers share.
pub fn shared(listeners: &[Listener], host: &HostView) -> Shared {
    let clock = Discipline::read().unwrap();
    Shared {
        rulebook: Arc::new(ArcSwap::from_pointee(Rulebook::build(1, listeners, host))),
        policer: Arc::new(Policer::new(listeners)),
        started: Instant::now(),
        sessions: Arc::new(Sessions::new(1024, Duration::from_secs(900)).unwrap()),
        timescale: Arc::new(SharedTimescale::new(Timescale {
            tai_offset: clock.tai_offset,
            error_estimate: clock.error_estimate(TimestampFormat::Ntp),
        })),
    }
}

impl Rig {
    /// One worker with `listeners` at the reflector's end.
    pub fn start(veth: &Veth, listeners: &[Listener]) -> Self {
        Self::start_with(veth, listeners, &host(veth), &workers(1))
    }

    pub fn start_with(
        veth: &Veth,
        listeners: &[Listener],
        host: &HostView,
        options: &Options,
    ) -> Self {
        // A socket just closed lives on for a moment where another test is starting a process.
        let start = || match Self::try_start(veth, listeners, host, options) {
            Err(DatapathError::Open(OpenError::InUse { .. })) => None,
            started => Some(started.unwrap()),
        };
        wait_for("the port is free", DEFAULT_TIMEOUT, start).unwrap()
    }

    pub fn try_start(
        veth: &Veth,
        listeners: &[Listener],
        host: &HostView,
        options: &Options,
    ) -> Result<Self, DatapathError> {
        let stop = Stop::new().unwrap();
        let shared = shared(listeners, host);
        let plan = Plan::new(listeners, host);
        let datapath = veth
            .reflector
            .namespace
            .run(|| SocketDatapath::start(&plan, &shared, &stop, options))?;
        Ok(Self {
            datapath: Some(datapath),
            shared,
            stop,
        })
    }

    pub fn datapath(&self) -> &SocketDatapath {
        self.datapath.as_ref().unwrap()
    }

    /// Stops the workers. Every datagram received must have become something.
    pub fn finish(mut self) -> SocketFigures {
        self.stop.raise();
        let (figures, error) = self.datapath.take().unwrap().finish();
        assert!(error.is_none(), "{error:?}");
        for worker in &figures.workers {
            assert_eq!(
                worker.received.value(),
                worker.reflected.value() + worker.unanswered_total() + worker.send_errors_total(),
                "{worker:?}"
            );
        }
        figures
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(datapath) = self.datapath.take() {
            let _ = datapath.finish();
        }
    }
}

/// Datagrams not answered for this reason, over all workers.
pub fn unanswered(figures: &SocketFigures, reason: Unanswered) -> u64 {
    figures.total(|worker| worker.unanswered(reason))
}

/// Replies sent, over all workers.
pub fn reflected(figures: &SocketFigures) -> u64 {
    figures.total(|worker| worker.reflected.value())
}

/// With neighbours that need no asking.
pub fn veth() -> Veth {
    veth_with(VethConfig::default())
}

pub fn veth_with(config: VethConfig) -> Veth {
    Veth::with(&VethConfig {
        permanent_neighbours: true,
        ..config
    })
    .unwrap()
}

/// A request of `len` octets whose fields are all different and no zero.
pub fn request(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at % 251).unwrap() + 1)
        .collect()
}

/// A kernel socket at the sender's end, connected: it takes replies from that address alone.
pub fn client(veth: &Veth, to: SocketAddr) -> UdpSocket {
    veth.sender.namespace.run(|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
        socket.connect(to).unwrap();
        socket
    })
}

/// Sends a request and returns its reply.
pub fn ask(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).unwrap();
    let mut reply = vec![0; 65_536];
    let len = socket.recv(&mut reply).unwrap();
    reply.truncate(len);
    reply
}

/// The next datagram at `peer` to this port.
pub fn answer_to(peer: &RawPeer, port: u16, timeout: Duration) -> Option<Datagram> {
    let is_reply = |frame: &[u8]| {
        Datagram::parse(frame).is_ok_and(|datagram| datagram.destination.port() == port)
    };
    let frame = peer.recv_matching(is_reply, timeout).unwrap()?;
    Some(Datagram::parse(&frame).unwrap())
}

/// Sends a frame and returns the datagram that comes back to `port`.
pub fn exchange(peer: &RawPeer, frame: &UdpFrame, port: u16) -> Datagram {
    peer.send(&frame.build()).unwrap();
    answer_to(peer, port, DEFAULT_TIMEOUT).unwrap()
}
