//! A run over UDP sockets: one thread sends, one receives.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use clock::Clock;

use super::{CLOCK, Done, RunTerms, join, may_spin, open_first, refused};
use crate::af_xdp::outbox::TxStamps;
use crate::config::Config;
use crate::control::Control;
use crate::error::Error;
use crate::flight;
use crate::matching::Numbering;
use crate::measure::Measurement;
use crate::outcome::{Endpoints, Transport};
use crate::pacer::{Pacer, SystemTimer};
use crate::probe::Probe;
use crate::receiving::Receiving;
use crate::recorder::Recorder;
use crate::schedule::Schedule;
use crate::sending::Sending;
use crate::transport::settle;
use crate::transport::socket::{self, SocketPlan};
use crate::transport::{OpenError, SocketReceive, SocketTransmit};
use crate::waiting::Site;

/// Runs a measurement to the first of the `addresses` that there is a route to.
pub(super) fn run(
    config: &Config,
    terms: &RunTerms,
    addresses: &[SocketAddr],
    control: &Control,
    recorder: Option<&Mutex<Recorder>>,
) -> Result<Done, Error> {
    let (address, (transmit, receive)) =
        open_first(addresses, |target| open(config, target), leaves_others)
            .map_err(|refusal| refused(config, refusal))?;
    let endpoints = Endpoints {
        address,
        source: transmit.source(),
    };
    let sources = if config.output.per_session {
        transmit.sources()
    } else {
        Vec::new()
    };
    let pause = pause(config, transmit.receive_buffer());
    let (departures, departed) =
        flight::open_with(config.window, config.output.csv_packets.is_some())
            .map_err(Error::Memory)?;
    let measured = terms.measure(config, config.sessions, Numbering::ALL);
    let measurement = Measurement::new(measured, departed).map_err(Error::Memory)?;
    settle::await_kernel_stamps();

    let site = Site {
        worker: 0,
        control,
        recorder,
    };
    if let Some(mut recorder) = site.recorder() {
        recorder.begin(CLOCK.utc(), 1);
    }
    let receiving = Receiving {
        receive,
        matcher: terms.matcher(config, Numbering::ALL),
        measurement,
        clock: CLOCK,
        site,
        timeout: config.timeout,
        pause,
    };
    let timing = &config.timing;
    let sending = move || Sending {
        transmit,
        schedule: Schedule::new(timing.times, timing.burst, timing.limit),
        // Made in the thread: its timer begins now, and sets the slack of its own thread.
        pacer: Pacer::new(SystemTimer::start(), may_spin()),
        clock: terms.own_clock(CLOCK),
        departures,
        site,
        probe: Probe::new(&config.probe),
        format: terms.format,
        sessions: config.sessions,
    };
    let (sent, received) = thread::scope(|scope| {
        let receiving = thread::Builder::new()
            .name("receiving".to_owned())
            .spawn_scoped(scope, move || receiving.run());
        let sending = thread::Builder::new()
            .name("sending".to_owned())
            .spawn_scoped(scope, move || sending().run());
        Ok::<_, Error>((
            join(sending.map_err(Error::Thread)?),
            join(receiving.map_err(Error::Thread)?),
        ))
    })?;
    let received = received.map_err(Error::Receive)?;
    Ok(Done {
        endpoints,
        transport: Transport::Socket { instead: None },
        sources,
        sent,
        stamps: TxStamps::default(),
        finished: vec![(Numbering::ALL, received.finished)],
        trouble: received.trouble,
        ending: received.ending,
    })
}

/// The sockets to an address.
fn open(config: &Config, target: SocketAddr) -> Result<(SocketTransmit, SocketReceive), OpenError> {
    socket::open(&SocketPlan {
        target,
        sources: config.path.sources,
        source_port: config.path.source_port,
        spread: config.spread(),
        header: config.header,
        device: config.path.vrf.clone().or(config.path.interface.clone()),
    })
}

/// Whether another address may have a route where this one has none.
fn leaves_others(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::Unreachable { .. } | OpenError::Family { .. }
    )
}

/// How long the receiving thread may pause with replies coming in: a quarter of the time in which
/// they would fill the receive buffers, and not long enough to be noticed.
fn pause(config: &Config, receive_buffer: usize) -> Duration {
    const PAUSE_MAX: Duration = Duration::from_micros(500);
    const PAUSE_MIN: Duration = Duration::from_micros(50);
    let Some(pace) = config.timing.times.pace() else {
        return Duration::ZERO;
    };
    // The kernel charges a datagram's memory, not its length: twice that at worst, and the
    // bookkeeping.
    let charged = 2 * config.probe.size + 1024;
    let datagrams = receive_buffer / charged * config.sessions / 4;
    let pause = pace.due(datagrams as u64).min(PAUSE_MAX);
    if pause < PAUSE_MIN {
        Duration::ZERO
    } else {
        pause
    }
}
