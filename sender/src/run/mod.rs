//! A run from the first look-up to the results.

mod af_xdp;
mod sockets;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;

use clock::{Clock, Discipline, SystemClock};
use wire::time::TaiOffset;

use crate::af_xdp::outbox::TxStamps;
use crate::af_xdp::setup::{self, SetupError};
use crate::args::{FormatArg, TransportArg};
use crate::config::Config;
use crate::control::Control;
use crate::error::Error;
use crate::matching::{Matcher, Numbering};
use crate::measure::{Finished, Terms};
use crate::outcome::{Endpoints, Outcome, Transport};
use crate::own_clock::OwnClock;
use crate::probe::Probe;
use crate::recorder::Recorder;
use crate::sending::Sent;
use crate::stamp::StampFormat;
use crate::transport::Trouble;
use crate::waiting::Ending;

/// Looks the target up, which may take as long as the resolver likes.
///
/// # Errors
///
/// The target cannot be resolved.
pub fn resolve(config: &Config) -> Result<Vec<SocketAddr>, Error> {
    config.target.resolve().map_err(|source| Error::Resolve {
        host: config.target.host.clone(),
        source,
    })
}

/// Runs a measurement to its end, or until `control` stops it, to the first of the `addresses`
/// from [`resolve`] that there is a route to. What happens over time goes to `recorder`, if anything
/// is wanted.
///
/// # Errors
///
/// The target cannot be reached, sockets or memory cannot be had, or not one packet could be sent.
/// That nothing answers is no error here, see [`Outcome::silence`].
pub fn run(
    config: &Config,
    addresses: &[SocketAddr],
    control: &Control,
    recorder: Option<&Mutex<Recorder>>,
) -> Result<Outcome, Error> {
    let terms = RunTerms::new(config);
    let busy = crate::cpu::Busy::start();
    let mut done = measure(config, &terms, addresses, control, recorder)?;
    refused_at_once(&mut done)?;
    Ok(Outcome::new(config, &terms, done, busy.share()))
}

/// Runs over the transport asked for, or the best one that works.
fn measure(
    config: &Config,
    terms: &RunTerms,
    addresses: &[SocketAddr],
    control: &Control,
    recorder: Option<&Mutex<Recorder>>,
) -> Result<Done, Error> {
    if config.path.transport == TransportArg::Socket {
        return sockets::run(config, terms, addresses, control, recorder);
    }
    let opened = open_first(
        addresses,
        |target| setup::open(config, target),
        |error| matches!(error, SetupError::Path(_)),
    );
    match opened {
        Ok((target, setup)) => af_xdp::run(config, terms, target, setup, control, recorder),
        Err(Some(error))
            if config.path.transport == TransportArg::Auto && error.is_for_sockets() =>
        {
            let mut done = sockets::run(config, terms, addresses, control, recorder)?;
            done.transport = Transport::Socket {
                instead: Some(error.to_string()),
            };
            Ok(done)
        }
        Err(refusal) => Err(refused(config, refusal)),
    }
}

/// The first of the `addresses` that `open` can make a transport to, and that. After an error that
/// `leaves_others` the next address is tried; if none will do, the first error counts, and `None`
/// says that there was no address.
fn open_first<T, E>(
    addresses: &[SocketAddr],
    open: impl Fn(SocketAddr) -> Result<T, E>,
    leaves_others: impl Fn(&E) -> bool,
) -> Result<(SocketAddr, T), Option<E>> {
    let mut refusal = None;
    for &target in addresses {
        match open(target) {
            Ok(transport) => return Ok((target, transport)),
            Err(error) if leaves_others(&error) => {
                refusal.get_or_insert(error);
            }
            Err(error) => return Err(Some(error)),
        }
    }
    Err(refusal)
}

/// Why there is no transport. A name that is resolved has an address.
fn refused<E: Into<Error>>(config: &Config, refusal: Option<E>) -> Error {
    refusal.map_or_else(
        || Error::Resolve {
            host: config.target.host.clone(),
            source: std::io::Error::other("the name has no address"),
        },
        Into::into,
    )
}

/// What a run found out, before it is put together.
pub(crate) struct Done {
    /// Where it went.
    pub endpoints: Endpoints,
    /// How.
    pub transport: Transport,
    /// What the sending sides did.
    pub sent: Sent,
    /// What came of the stamps of departure.
    pub stamps: TxStamps,
    /// Source of each session; empty if nobody asked for them.
    pub sources: Vec<SocketAddr>,
    /// What was measured, per worker, and how its sessions are numbered.
    pub finished: Vec<(Numbering, Finished)>,
    /// What went wrong on the way in.
    pub trouble: Trouble,
    /// How it ended.
    pub ending: Ending,
}

/// What is settled for a run before it starts.
pub(crate) struct RunTerms {
    /// How T1 is written.
    pub format: StampFormat,
    /// Our T1 is on no known scale: PTP wants TAI, and this host does not know it.
    pub no_tai: bool,
}

impl RunTerms {
    fn new(config: &Config) -> Self {
        let offset =
            Discipline::read().map_or(TaiOffset::from_seconds(0), |state| state.tai_offset);
        match config.format {
            FormatArg::Ntp => Self {
                format: StampFormat::Ntp,
                no_tai: false,
            },
            FormatArg::Ptp => Self {
                format: StampFormat::Ptp(offset),
                no_tai: offset == TaiOffset::from_seconds(0),
            },
        }
    }

    /// The clock that stamps probes.
    pub fn own_clock<C: Clock>(&self, clock: C) -> OwnClock<C> {
        OwnClock::new(clock, Discipline::read, self.format, self.no_tai)
    }

    /// How a worker with `sessions` sessions measures.
    #[expect(clippy::unused_self, reason = "one of the terms like the others")]
    pub fn measure(&self, config: &Config, sessions: usize, numbering: Numbering) -> Terms {
        // Of the first `histograms` sessions of the run, those that are this worker's.
        let histograms = config
            .output
            .histograms
            .saturating_sub(numbering.first)
            .div_ceil(numbering.step);
        Terms {
            sessions,
            histograms,
            timeout: config.timeout_nanos(),
            ttl: config.header.ttl,
            numbering,
        }
    }

    /// How a worker recognises replies.
    pub fn matcher(&self, config: &Config, numbering: Numbering) -> Matcher {
        Matcher {
            format: self.format,
            probe: Probe::new(&config.probe),
            reports_tos: config.peer.reports_tos,
            numbering,
        }
    }
}

/// The value of a thread; its panic goes on in this one.
fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// An error if the run ended because the system would not send the first packet.
fn refused_at_once(done: &mut Done) -> Result<(), Error> {
    if !done.sent.is_refused() {
        return Ok(());
    }
    match done.sent.refusal.take() {
        Some(source) => Err(Error::Send {
            target: done.endpoints.address,
            source,
        }),
        None => Ok(()),
    }
}

/// Whether a thread may spin: with a single processor that only keeps others from running.
fn may_spin() -> bool {
    thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1)
}

/// The clock of a run.
const CLOCK: SystemClock = SystemClock;
