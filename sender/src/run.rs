//! A run from the first look-up to the results: one thread sends, one receives.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clock::{Discipline, SystemClock};

use crate::config::Config;
use crate::control::Control;
use crate::error::Error;
use crate::measure::Measurement;
use crate::outcome::{Endpoints, Outcome};
use crate::pacer::{Pacer, SystemTimer};
use crate::receiving::Receiving;
use crate::schedule::{Schedule, Times};
use crate::sending::{Sending, Sent};
use crate::transport::socket::{self, SocketPlan};
use crate::transport::{OpenError, SocketReceive, SocketTransmit};

/// Time between opening the sockets and the first probe.
///
/// The kernel switches receive timestamps on in a work item after the first socket asks for them
/// (`net_enable_timestamp` in net/core/dev.c). Until it has run, T4 has to be taken in user space.
const SETTLE: Duration = Duration::from_millis(20);

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
/// from [`resolve`] that there is a route to.
///
/// # Errors
///
/// The target cannot be reached, sockets or memory cannot be had, or not one packet could be sent.
/// That nothing answers is no error here, see [`Outcome::silence`].
pub fn run(config: &Config, addresses: &[SocketAddr], control: &Control) -> Result<Outcome, Error> {
    let (address, transmit, receive) = open_first(config, addresses)?;
    let endpoints = Endpoints {
        address,
        source: transmit.source(),
    };
    let pause = pause(config, transmit.receive_buffer());
    let measurement = Measurement::new(config.sessions, config.window, config.timeout_nanos())
        .map_err(Error::Memory)?;
    thread::sleep(SETTLE);

    let (events, noted) = mpsc::sync_channel(config.queue);
    let (sent, received) = thread::scope(|scope| {
        let receiving = thread::Builder::new()
            .name("receiving".to_owned())
            .spawn_scoped(scope, move || {
                Receiving {
                    receive,
                    events: noted,
                    measurement,
                    clock: SystemClock,
                    control,
                    size: config.size,
                    timeout: config.timeout,
                    pause,
                }
                .run()
            });
        let sending = thread::Builder::new()
            .name("sending".to_owned())
            .spawn_scoped(scope, move || {
                let spin = thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1);
                Sending {
                    transmit,
                    schedule: Schedule::new(
                        Times::periodic(config.pace),
                        NonZeroU32::MIN,
                        config.limit,
                    ),
                    pacer: Pacer::new(SystemTimer::start(), spin),
                    clock: SystemClock,
                    discipline: Discipline::read,
                    events,
                    control,
                    size: config.size,
                    sessions: config.sessions,
                }
                .run()
            });
        Ok::<_, Error>((
            join(sending.map_err(Error::Thread)?),
            join(receiving.map_err(Error::Thread)?),
        ))
    })?;
    let received = received.map_err(Error::Receive)?;
    refused_at_once(&sent, address)?;
    Ok(Outcome::new(config, endpoints, &sent, &received))
}

/// The value of a thread; its panic goes on in this one.
fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The transport to the first address that there is a route to.
fn open_first(
    config: &Config,
    addresses: &[SocketAddr],
) -> Result<(SocketAddr, SocketTransmit, SocketReceive), Error> {
    let mut refusal = None;
    for &target in addresses {
        let plan = SocketPlan {
            target,
            source: config.source,
            source_port: config.source_port,
            sessions: config.sessions,
        };
        match socket::open(&plan) {
            Ok((transmit, receive)) => return Ok((target, transmit, receive)),
            Err(error @ (OpenError::Unreachable { .. } | OpenError::Family { .. })) => {
                refusal.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(refusal.map_or_else(
        || Error::Resolve {
            host: config.target.host.clone(),
            source: std::io::Error::other("the name has no address"),
        },
        Error::Open,
    ))
}

/// An error if the run ended because the system would not send the first packet.
fn refused_at_once(sent: &Sent, target: SocketAddr) -> Result<(), Error> {
    match &sent.refusal {
        Some(source) if sent.probes == 0 => Err(Error::Send {
            target,
            source: std::io::Error::new(source.kind(), source.to_string()),
        }),
        _ => Ok(()),
    }
}

/// How long the receiving thread may pause with replies coming in: a quarter of the time in which
/// they would fill the receive buffers, and not long enough to be noticed.
fn pause(config: &Config, receive_buffer: usize) -> Duration {
    const PAUSE_MAX: Duration = Duration::from_micros(500);
    const PAUSE_MIN: Duration = Duration::from_micros(50);
    // The kernel charges a datagram's memory, not its length: twice that at worst, and the
    // bookkeeping.
    let charged = 2 * config.size + 1024;
    let datagrams = receive_buffer / charged * config.sessions / 4;
    let pause = config.pace.due(datagrams as u64).min(PAUSE_MAX);
    if pause < PAUSE_MIN {
        Duration::ZERO
    } else {
        pause
    }
}
