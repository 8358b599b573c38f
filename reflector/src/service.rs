//! The reflector as a running thing: set up in order, watch over it, take it down.
//!
//! Set-up order matters. Programs are attached first, because some drivers reset the link then; AF_XDP
//! sockets are bound and workers started; the listeners' UDP sockets claim their ports; rules come last,
//! so that no packet is claimed before it can be answered. `ready` waits for a link.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clock::Discipline;
use host::{ChangeWatch, HostView};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing::{debug, warn};
use wire::time::TimestampFormat;

use crate::af_xdp::AfXdp;
use crate::args::{Args, Datapath};
use crate::error::Error;
use crate::listener::{self, Listener};
use crate::policer::Policer;
use crate::publisher::Publisher;
use crate::reflect::Timescale;
use crate::session::Sessions;
use crate::shared::Shared;
use crate::socket::{self, Missing, Plan, SocketDatapath};
use crate::stop::Stop;
use crate::summary::Summary;
use crate::told::Told;
use crate::worker::SharedTimescale;

/// How often the clock's state is read. RFC 4656 asks for an honest Error Estimate, and the kernel's
/// bound grows by 500 ppm: half a millisecond per second.
const TICK: Duration = Duration::from_secs(1);

/// A running reflector.
#[derive(Debug)]
pub struct Service {
    args: Args,
    publisher: Publisher,
    shared: Shared,
    /// Interfaces served past the kernel; `None` where sockets are the whole reflector.
    af_xdp: Option<AfXdp>,
    sockets: SocketDatapath,
    /// Raised by a socket worker that ends by itself.
    stop: Stop,
    signals: UnixStream,
    changes: ChangeWatch,
    ready: bool,
    /// Listeners without a socket, for want of a device.
    gaps: Told,
    /// What the kernel refused and is to be asked again.
    trouble: Told,
    /// How many of the listeners get nothing through sockets.
    without_socket: usize,
}

impl Service {
    /// Sets everything up but the rules, which [`Self::run`] publishes.
    ///
    /// # Errors
    ///
    /// Whatever keeps the reflector from working; nothing is left behind.
    pub fn start(args: Args) -> Result<Self, Error> {
        let listeners = listener::validate(&args)?;
        let signals = signal_stream().map_err(Error::system("catching signals"))?;
        let changes = ChangeWatch::open().map_err(Error::system("watching for address changes"))?;
        let stop = Stop::new().map_err(Error::system("creating an event descriptor"))?;
        let timescale = read_timescale()?;
        let mut notes = notes(&listeners, timescale);
        let started = Instant::now();
        let policer = Policer::new(&listeners);
        let mut publisher = Publisher::new(listeners);
        let shared = Shared {
            rulebook: Arc::clone(publisher.rulebook()),
            policer: Arc::new(policer),
            started,
            sessions: Arc::new(sessions(&args)?),
            timescale: Arc::new(SharedTimescale::new(timescale)),
        };
        let af_xdp = start_af_xdp(&args, &mut publisher, &shared, &mut notes)?;
        let sockets = match start_sockets(&args, &publisher, &shared, &stop, af_xdp.is_some()) {
            Ok(sockets) => sockets,
            Err(error) => {
                if let Some(af_xdp) = af_xdp {
                    af_xdp.finish();
                }
                return Err(error);
            }
        };
        notes.extend(af_xdp.iter().flat_map(AfXdp::doubts));
        for note in notes {
            warn!("{note}");
        }
        Ok(Self {
            args,
            publisher,
            shared,
            af_xdp,
            sockets,
            stop,
            signals,
            changes,
            ready: false,
            gaps: Told::default(),
            trouble: Told::default(),
            without_socket: 0,
        })
    }

    /// Serves until SIGINT or SIGTERM, then stops the workers.
    ///
    /// # Errors
    ///
    /// A worker died, or the kernel refused something.
    pub fn run(mut self) -> Result<Summary, Error> {
        let outcome = self.serve();
        let (summary, failure) = self.shut_down();
        outcome?;
        failure.map_or(Ok(summary), Err)
    }

    fn serve(&mut self) -> Result<(), Error> {
        self.refresh()?;
        if !self.ready {
            self.tell_what_is_waited_for();
        }
        let mut next_tick = Instant::now() + TICK;
        loop {
            let wake = self.wait(next_tick.saturating_duration_since(Instant::now()))?;
            if wake.signal {
                // The summary names the interface as it is called by now.
                return if wake.change { self.refresh() } else { Ok(()) };
            }
            if self.stop.is_raised() {
                // Why it did is said when it is taken down.
                return Ok(());
            }
            let tick = Instant::now() >= next_tick;
            if tick {
                self.shared.timescale.store(read_timescale()?);
                self.shared.sessions.advance(self.shared.started.elapsed());
                next_tick = Instant::now() + TICK;
            }
            // What is waited for is told like any change; looking anyway costs little.
            let waiting = !self.ready
                || self.trouble.is_any()
                || self.af_xdp.as_ref().is_some_and(AfXdp::is_waiting);
            if wake.change || wake.worker || (tick && waiting) {
                self.refresh()?;
            }
        }
    }

    fn wait(&self, at_most: Duration) -> Result<Wake, Error> {
        let own = [
            self.signals.as_fd(),
            self.changes.as_fd(),
            self.stop.as_fd(),
        ];
        let workers = self.af_xdp.iter().flat_map(AfXdp::stops);
        let mut fds: Vec<PollFd<'_>> = own
            .into_iter()
            .chain(workers.map(Stop::as_fd))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // Rounded up, so that the end of the wait is not spent in turns of 0 ms.
        let milliseconds = u16::try_from(at_most.as_millis() + 1).unwrap_or(u16::MAX);
        match poll(&mut fds, milliseconds) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Error::system("waiting for events")(error.into())),
        }
        let is_set = |at: usize| fds.get(at).is_some_and(|fd| fd.any().unwrap_or(false));
        let wake = Wake {
            signal: is_set(0),
            change: is_set(1),
            worker: (own.len()..fds.len()).any(is_set),
        };
        if wake.change {
            self.changes
                .drain()
                .map_err(Error::system("watching for address changes"))?;
        }
        Ok(wake)
    }

    /// Brings interfaces, sockets, rules and readiness in line with the host as it is now.
    fn refresh(&mut self) -> Result<(), Error> {
        let mut host = match HostView::read().map_err(Error::system("reading links and addresses"))
        {
            Ok(host) => host,
            Err(error) if self.ready => {
                self.trouble
                    .are([format!("going by the rules before this change: {error}")]);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if let Some(af_xdp) = &mut self.af_xdp {
            af_xdp.refresh(&self.args, &self.publisher, &mut host)?;
        }
        let mut trouble = Vec::new();
        match self.publisher.publish(&host) {
            Ok(()) => {}
            Err(error) if self.ready => {
                trouble.push(format!(
                    "the XDP programs go on by the rules before ({error})"
                ));
            }
            Err(error) => return Err(error.into()),
        }
        // After the rules: a socket that gets a packet knows whose it is.
        let plan = Plan::new(self.publisher.listeners(), &host);
        self.tell_gaps(&plan);
        let errors = self.sockets.apply(&plan);
        trouble.extend(errors.iter().map(ToString::to_string));
        self.trouble.are(trouble);
        if !self.ready && self.af_xdp.as_ref().is_none_or(AfXdp::is_running) {
            self.ready = true;
            self.announce();
        }
        Ok(())
    }

    /// Says which listeners get nothing through sockets where they should.
    fn tell_gaps(&mut self, plan: &Plan) {
        let listeners = self.publisher.listeners();
        self.without_socket = plan.unserved(listeners).count();
        let is_slow_path = self.af_xdp.is_some();
        let what = if is_slow_path { "slow path" } else { "socket" };
        let gaps = plan.gaps.iter().filter(|gap| {
            // Who watches over the interface says so.
            !(is_slow_path && matches!(gap.missing, Missing::Interface(_)))
        });
        self.gaps.are(gaps.filter_map(|gap| {
            let listener = listeners.get(gap.listener as usize)?;
            Some(format!("{listener} has no {what} {}", gap.missing))
        }));
    }

    fn tell_what_is_waited_for(&self) {
        for name in self.af_xdp.iter().flat_map(AfXdp::without_carrier) {
            warn!("{name} has no carrier: waiting for the link");
        }
    }

    fn announce(&self) {
        let rulebook = self.shared.rulebook.load();
        for listener in self.publisher.listeners() {
            let number = listener.rule.listener;
            let answered = rulebook.addresses_of(number);
            let missing = |asked: &&IpAddr| !answered.contains(asked);
            for missing in listener.addresses.iter().filter(missing) {
                warn!(
                    "{missing} is no address of this host that packets of {listener} can arrive for: \
                     answering on it once it is"
                );
            }
            if listener.is_any() && answered.is_empty() {
                warn!("{listener}: this host has no address for it yet: answering once it has one");
            }
        }
        let ports = ports(self.publisher.listeners());
        let line = match &self.af_xdp {
            Some(af_xdp) => format!("ready: {}", af_xdp.description(&ports)),
            None => format!(
                "ready: {ports}, {} over UDP sockets",
                plural(self.sockets.workers(), "worker")
            ),
        };
        // Whoever waits for this line may have gone: no reason to stop answering.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Stops claiming packets, lets the workers end, collects the figures and the first failure.
    fn shut_down(self) -> (Summary, Option<Error>) {
        if let Err(error) = self.publisher.withdraw() {
            debug!("{error}");
        }
        let (interfaces, af_xdp_failure) = self.af_xdp.map_or_else(Default::default, AfXdp::finish);
        self.stop.raise();
        let (sockets, socket_failure) = self.sockets.finish();
        let summary = Summary {
            ports: ports(self.publisher.listeners()),
            elapsed: self.shared.started.elapsed(),
            interfaces,
            listeners: self.publisher.counts(),
            sockets,
            without_socket: self.without_socket,
            sessions: self.shared.sessions.counts(),
        };
        (summary, af_xdp_failure.or(socket_failure.map(Error::from)))
    }
}

/// What ended a wait.
struct Wake {
    signal: bool,
    change: bool,
    worker: bool,
}

/// AF_XDP on every interface, or, where sockets will do, why not.
fn start_af_xdp(
    args: &Args,
    publisher: &mut Publisher,
    shared: &Shared,
    notes: &mut Vec<String>,
) -> Result<Option<AfXdp>, Error> {
    if args.datapath == Datapath::Socket {
        return Ok(None);
    }
    match AfXdp::start(args, publisher, shared) {
        Ok(af_xdp) => Ok(Some(af_xdp)),
        Err(error) if args.datapath == Datapath::Auto && error.is_of_af_xdp() => {
            publisher.close_kernel();
            // To be told if sockets work.
            notes.push(format!(
                "answering over UDP sockets, because AF_XDP does not work: {error}"
            ));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The listeners' sockets: the slow path beside AF_XDP, or all there is.
fn start_sockets(
    args: &Args,
    publisher: &Publisher,
    shared: &Shared,
    stop: &Stop,
    beside_af_xdp: bool,
) -> Result<SocketDatapath, Error> {
    let host = HostView::read().map_err(Error::system("reading links and addresses"))?;
    let plan = Plan::new(publisher.listeners(), &host);
    // A device that comes later gets its socket then, but what is not there at all is a slip.
    let unknown = plan.gaps.iter().find_map(|gap| match &gap.missing {
        Missing::Interface(name) => Some(name.clone()),
        _ => None,
    });
    if let Some(name) = unknown {
        let known = host.links.into_iter().map(|link| link.name).collect();
        return Err(Error::NoInterface { name, known });
    }
    let options = if beside_af_xdp {
        socket::Options::slow_path()
    } else {
        socket::Options::whole(args)?
    };
    Ok(SocketDatapath::start(&plan, shared, stop, &options)?)
}

fn sessions(args: &Args) -> Result<Sessions, Error> {
    let limit = args.session_limit;
    Sessions::new(limit as usize, args.session_timeout)
        .map_err(|_| Error::NoMemoryForSessions(limit))
}

/// What an operator should know of the listeners.
fn notes(listeners: &[Listener], timescale: Timescale) -> Vec<String> {
    let mut notes = Vec::new();
    let open: Vec<_> = listeners
        .iter()
        .filter(|listener| listener.is_open())
        .collect();
    if let [first, more @ ..] = open.as_slice() {
        let others = match more.len() {
            0 => String::new(),
            count => format!(" and {}", plural(count, "other")),
        };
        notes.push(format!(
            "{first}{others} will answer everybody: say who may ask by --allow, --clients or --peer"
        ));
    }
    let ptp = |listener: &&Listener| listener.rule.timestamps == TimestampFormat::Ptp;
    if timescale.tai_offset.seconds() == 0
        && let Some(listener) = listeners.iter().find(ptp)
    {
        notes.push(format!(
            "{listener} writes PTPv2 timestamps, but the kernel does not know TAI-UTC: they are off by \
             it, and say that they are not synchronised"
        ));
    }
    notes
}

/// `port 862`, or `ports 900, 901, 902`.
fn ports(listeners: &[Listener]) -> String {
    let mut ports: Vec<u16> = listeners.iter().map(|listener| listener.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
    let word = if ports.len() == 1 { "port" } else { "ports" };
    format!("{word} {}", listed.join(", "))
}

fn plural(count: usize, word: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {word}{ending}")
}

fn read_timescale() -> Result<Timescale, Error> {
    let state = Discipline::read().map_err(Error::system("reading the state of the clock"))?;
    Ok(Timescale {
        tai_offset: state.tai_offset,
        error_estimate: state.error_estimate(TimestampFormat::Ntp),
    })
}

/// A stream that becomes readable on SIGINT or SIGTERM.
fn signal_stream() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGINT, write.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGTERM, write)?;
    Ok(read)
}
