//! A run over `AF_XDP`: a thread per queue.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use clock::Clock;

use super::{CLOCK, Done, RunTerms, join, may_spin};
use crate::af_xdp::exchange::{Exchange, exchanges};
use crate::af_xdp::outbox::{Endpoints, Outbox, OutboxParts};
use crate::af_xdp::setup::{Port, Setup, TX_RING};
use crate::af_xdp::worker::{self, Worker};
use crate::config::Config;
use crate::control::Control;
use crate::error::Error;
use crate::flight;
use crate::measure::Measurement;
use crate::outcome::{Endpoints as RunEndpoints, Transport};
use crate::pacer::{Pacer, SystemTimer};
use crate::recorder::Recorder;
use crate::schedule::{Schedule, Share, Times};
use crate::waiting::Site;

/// Up to this rate each probe has a T1 of its own.
const SINGLE_MAX: f64 = 20_000.0;
/// Probes that share a T1 at higher rates.
const BATCH: usize = 8;
/// Probes that share a T1 when they go as fast as they can: what the kernel takes at a time in copy
/// mode (`xsk_generic_xmit`, net/xdp/xsk.c).
const BATCH_UNPACED: usize = 32;

/// Runs a measurement to `target` over `setup`.
pub(super) fn run(
    config: &Config,
    terms: &RunTerms,
    target: SocketAddr,
    mut setup: Setup,
    control: &Control,
    recorder: Option<&Mutex<Recorder>>,
) -> Result<Done, Error> {
    let source = setup
        .ports
        .sources()
        .of(0)
        .map_or((setup.path.source, 0), |source| source);
    let sources = setup.ports.sources();
    let listed = if config.output.per_session {
        config.sessions
    } else {
        0
    };
    let listed = (0..listed).filter_map(|session| sources.of(session).map(Into::into));
    let listed: Vec<SocketAddr> = listed.collect();
    let transport = Transport::AfXdp {
        interface: setup.path.interface.clone(),
        queues: setup.senders,
        zero_copy: setup.zero_copy,
        native: setup.mode() == ebpf::Mode::Native,
        stamps: setup.stamps,
    };
    let unfinished = AtomicUsize::new(setup.senders);
    let queues = std::mem::take(&mut setup.queues);
    let ends = exchanges(queues.len(), setup.senders);
    let mut workers = Vec::new();
    for (number, (port, exchange)) in queues.into_iter().zip(ends).enumerate() {
        let site = Site {
            worker: number,
            control,
            recorder,
        };
        let make = worker_of(config, terms, &mut setup, port, exchange, site, &unfinished)?;
        workers.push(make);
    }
    // After the memory for all that was had, which takes its time.
    if let Some(recorder) = recorder {
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.begin(CLOCK.utc(), workers.len());
    }
    let done = thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .enumerate()
            .map(|(number, make)| {
                thread::Builder::new()
                    .name(format!("queue-{number}"))
                    .spawn_scoped(scope, move || {
                        let stop = StopTheOthers(control);
                        let done = make().run();
                        std::mem::forget(stop);
                        done
                    })
                    .inspect_err(|_| control.stop_waiting())
            })
            .collect();
        let mut done = Vec::new();
        for thread in threads {
            done.push(join(thread.map_err(Error::Thread)?));
        }
        Ok::<_, Error>(done)
    })?;
    let endpoints = RunEndpoints {
        address: target,
        source: source.into(),
    };
    let mut done = gather(done, endpoints, transport);
    done.sources = listed;
    Ok(done)
}

/// A worker that panics leaves nobody waiting for it.
struct StopTheOthers<'a>(&'a Control);

impl Drop for StopTheOthers<'_> {
    fn drop(&mut self) {
        self.0.stop_waiting();
    }
}

/// Makes a worker, in the thread that runs it: its timer sets the slack of its own thread.
type Make<'a> =
    Box<dyn FnOnce() -> Worker<'a, xsk::Socket, SystemTimer, clock::SystemClock> + Send + 'a>;

fn worker_of<'a>(
    config: &'a Config,
    terms: &'a RunTerms,
    setup: &mut Setup,
    port: Port,
    exchange: Exchange,
    site: Site<'a>,
    unfinished: &'a AtomicUsize,
) -> Result<Make<'a>, Error> {
    let Port { mut queue, socket } = port;
    let sends = site.worker < setup.senders;
    let numbering = exchange.numbering();
    let endpoints = Endpoints::new(setup.ports.sources(), &exchange);
    let window = if sends {
        config.window / setup.senders
    } else {
        1
    };
    let (departures, departed) =
        flight::open_with(window, config.output.csv_packets.is_some()).map_err(Error::Memory)?;
    let measured = terms.measure(config, endpoints.sessions(), numbering);
    let measurement = Measurement::new(measured, departed).map_err(Error::Memory)?;
    let share = Share {
        worker: u32::try_from(site.worker).unwrap_or(u32::MAX),
        workers: u32::try_from(setup.senders).unwrap_or(u32::MAX),
    };
    let timing = &config.timing;
    let limit = if sends {
        share.limit(timing.limit)
    } else {
        Share::nothing()
    };
    let parts = OutboxParts {
        writer: setup.writer.clone(),
        endpoints,
        ssid: config.probe.ssid,
        format: terms.format,
        departures,
        stamps: setup.stamps,
    };
    let frames = if sends { TX_RING as usize } else { 0 };
    let mut outbox = Outbox::new(parts, &exchange, &mut queue, frames);
    if !sends {
        // Or it would wait for room, which it never has, instead of noticing that it is done.
        outbox.close();
    }
    let icmp = if site.worker == 0 {
        setup.icmp.take()
    } else {
        None
    };
    let sources = Arc::clone(setup.ports.sources());
    let times = share.times(timing.times, timing.burst);
    Ok(Box::new(move || Worker {
        queue,
        kernel: socket,
        schedule: Schedule::new(times, timing.burst, limit),
        pacer: Pacer::new(SystemTimer::start(), may_spin()),
        clock: terms.own_clock(CLOCK),
        outbox,
        tx_batch: config.path.tx_batch.unwrap_or_else(|| batch(config)),
        matcher: terms.matcher(config, numbering),
        measurement,
        exchange,
        sources,
        icmp,
        site,
        timeout: config.timeout,
        unfinished: sends.then_some(unfinished),
        others: unfinished,
    }))
}

/// Probes that share a T1.
fn batch(config: &Config) -> usize {
    match config.timing.times {
        Times::Max => BATCH_UNPACED,
        times
            if times
                .pace()
                .is_some_and(|pace| pace.per_second() <= SINGLE_MAX) =>
        {
            1
        }
        _ => BATCH,
    }
}

/// Puts together what the workers brought home.
fn gather(workers: Vec<worker::Done>, endpoints: RunEndpoints, transport: Transport) -> Done {
    let mut sum = Done {
        endpoints,
        transport,
        sent: crate::sending::Sent::default(),
        stamps: crate::af_xdp::outbox::TxStamps::default(),
        sources: Vec::new(),
        finished: Vec::new(),
        trouble: crate::transport::Trouble::default(),
        ending: crate::waiting::Ending::default(),
    };
    for worker in workers {
        sum.sent.absorb(worker.sent);
        sum.stamps.absorb(worker.stamps);
        sum.finished.push((worker.numbering, worker.finished));
        sum.trouble.dropped_here += worker.trouble.dropped_here + worker.unreadable;
        sum.trouble.icmp.absorb(&worker.trouble.icmp);
        sum.ending.absorb(worker.ending);
    }
    sum
}
