//! The `AF_XDP` worker on rings in memory, against a network that does to chosen probes what a
//! network may do.

#![cfg(test)]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use clock::{Clock, Discipline, SystemClock};
use ebpf::{RxMeta, StampSource};
use sender::af_xdp::exchange::{Exchange, Owner, exchanges};
use sender::af_xdp::outbox::{Endpoints, Outbox, OutboxParts, StampClock, TxStamps};
use sender::af_xdp::worker::{Arrivals, Done, Worker};
use sender::control::Control;
use sender::flight::{self, Correction, Departures, Flight};
use sender::frame::{FrameSpec, FrameWriter};
use sender::matching::Matcher;
use sender::measure::interval::Interval;
use sender::measure::{Measurement, Reception, T4Source, Terms};
use sender::own_clock::OwnClock;
use sender::pacer::{Pacer, SystemTimer, Timer};
use sender::probe::{Padding, Probe, ProbeSpec};
use sender::recorder::{Recorder, Wanted};
use sender::schedule::{Limit, Pace, Schedule, Share, Times};
use sender::stamp::StampFormat;
use sender::transport::Datagram;
use sender::transport::sources::Sources;
use sender::waiting::Site;
use wire::error_estimate::ErrorEstimate;
use wire::frame::{ChecksumPlan, FlowLabel, Layout, Packet, UdpChecksum, turn_around, verify_udp};
use wire::time::{Nanos, NtpTimestamp};
use wire::twamp::{ReplyFields, Request, write_reply, write_transmit};
use xsk::testing::{Doorbell, KernelSide, pair};
use xsk::{Kernel, Queue, RingSizes, Umem, UmemConfig, Wake};

const SIZE: usize = 44;
const RINGS: RingSizes = RingSizes {
    rx: 256,
    tx: 64,
    fill: 256,
    completion: 64,
};

const PROBE: ProbeSpec = ProbeSpec {
    size: SIZE,
    padding: Padding::Zero,
    ssid: None,
};

/// How much earlier than the run begins the kernel says that packets left.
const STAMPED_EARLIER: Nanos = Nanos::from_nanos(1_000_000_000);

/// What becomes of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answer,
    Lose,
    Twice,
    Corrupt,
    NoMetadata,
    /// Answered, but the reply comes to the queue of another worker.
    Elsewhere,
}

/// What the in-memory kernel has no socket for.
#[derive(Default)]
struct Arrived {
    /// Something was delivered since the last wait.
    delivered: Mutex<bool>,
    delivery: Condvar,
    /// For how long the worker wanted to wait, each time.
    waits: Mutex<Vec<Duration>>,
}

impl Arrived {
    fn deliver(&self) {
        *self.delivered.lock().unwrap() = true;
        self.delivery.notify_one();
    }
}

struct Bell<'a>(Doorbell, &'a Arrived);

impl Kernel for Bell<'_> {
    fn wake_tx(&self) -> std::io::Result<Wake> {
        self.0.wake_tx()
    }

    fn wake_rx(&self) -> std::io::Result<Wake> {
        self.0.wake_rx()
    }
}

impl Arrivals for Bell<'_> {
    fn dropped(&self) -> u64 {
        0
    }

    fn wait(&self, most: Duration) {
        let Self(_, arrived) = self;
        arrived.waits.lock().unwrap().push(most);
        let delivered = arrived.delivered.lock().unwrap();
        let waited = arrived
            .delivery
            .wait_timeout_while(delivered, most, |delivered| !*delivered);
        *waited.unwrap().0 = false;
    }
}

/// A run to be played.
struct Scene {
    sessions: usize,
    limit: Limit,
    times: Times,
    stamps: Option<StampClock>,
    /// The stamps are right, and not those of another clock.
    stamped_now: bool,
    /// Of how many workers this is the first.
    workers: usize,
    /// Or it is the last, has no sessions, and is done when it has waited so often.
    receives: Option<usize>,
    /// The kernel takes nothing out of the transmit ring.
    stuck: bool,
    timeout: Duration,
}

/// What a run brought home.
struct Played {
    done: Done,
    recorder: Recorder,
    /// It had to be told to end.
    stopped: bool,
    /// How long the worker wanted to sleep, each time.
    pauses: Vec<Duration>,
    /// Just before its clock began to run.
    began: Instant,
    /// The same where a reply was to wake it.
    waits: Vec<Duration>,
}

/// Notes for how long it is asked to sleep.
struct Noted<'a> {
    timer: SystemTimer,
    pauses: &'a Mutex<Vec<Duration>>,
}

impl Timer for Noted<'_> {
    fn elapsed(&self) -> Duration {
        self.timer.elapsed()
    }

    fn sleep(&mut self, pause: Duration) {
        self.pauses.lock().unwrap().push(pause);
        self.timer.sleep(pause);
    }

    fn relax(&mut self) {
        self.timer.relax();
    }
}

/// Tells the other thread when this one ends, by a failure too.
struct OnEnd<F: Fn()>(F);

impl<F: Fn()> Drop for OnEnd<F> {
    fn drop(&mut self) {
        self.0();
    }
}

impl Scene {
    fn new(sessions: usize, packets: u64) -> Self {
        Self {
            sessions,
            limit: Limit::packets(packets),
            times: Times::Max,
            stamps: None,
            stamped_now: false,
            workers: 1,
            receives: None,
            stuck: false,
            timeout: Duration::from_secs(2),
        }
    }

    fn sources(&self) -> Sources {
        Sources::new(["192.0.2.9".parse().unwrap()], 20_000, self.sessions).unwrap()
    }

    fn outbox(
        &self,
        endpoints: Endpoints,
        departures: Departures,
        exchange: &Exchange,
        queue: &mut Queue,
    ) -> Outbox {
        let target: SocketAddr = "192.0.2.1:862".parse().unwrap();
        let writer = FrameWriter::new(&FrameSpec {
            source_mac: [2, 0, 0, 0, 0, 9],
            destination_mac: [2, 0, 0, 0, 0, 1],
            tags: Vec::new(),
            source: self.sources().addresses()[0],
            target,
            ttl: 255,
            tos: 0,
            dont_fragment: true,
            payload: Probe::new(&PROBE).octets().to_vec(),
        })
        .unwrap();
        let parts = OutboxParts {
            writer,
            endpoints,
            ssid: None,
            format: StampFormat::Ntp,
            departures,
            stamps: self.stamps,
        };
        let mut outbox = Outbox::new(parts, exchange, queue, 64);
        if self.receives.is_some() {
            outbox.close();
        }
        outbox
    }

    /// Runs the worker in this thread and the network, which asks `fate` of each probe, in another.
    fn play(&self, fate: impl Fn(usize, u32) -> Fate + Sync) -> Done {
        self.play_recorded(fate).done
    }

    fn rings(&self) -> (Queue, KernelSide) {
        let umem = Umem::allocate(&UmemConfig {
            frames: 1024,
            tx_metadata: self.stamps.is_some(),
            ..UmemConfig::default()
        })
        .unwrap();
        let (queue, mut kernel) = pair(umem, RINGS, u32::MAX - 100);
        if self.stamps.is_some() {
            let earlier = SystemClock.tai() - STAMPED_EARLIER;
            kernel.stamp_from(u64::try_from(earlier.nanos()).unwrap());
        }
        (queue, kernel)
    }

    /// The worker's end and that of another, if there is one.
    fn ends(&self) -> (Exchange, Option<Exchange>) {
        let senders = self.workers - usize::from(self.receives.is_some());
        let mut ends = exchanges(self.workers, senders).into_iter();
        let ours = match self.receives {
            None => ends.next(),
            Some(_) => ends.next_back(),
        };
        (ours.unwrap(), ends.next())
    }

    fn play_recorded(&self, fate: impl Fn(usize, u32) -> Fate + Sync) -> Played {
        let (mut queue, kernel) = self.rings();
        let arrived = Arrived::default();
        let bell = Bell(kernel.doorbell(), &arrived);
        let sources = self.sources();
        let probe = PROBE;
        let (exchange, other) = self.ends();
        let endpoints = Endpoints::new(&sources, &exchange);
        let (departures, departed) = flight::open(4096).unwrap();
        let terms = Terms {
            sessions: endpoints.sessions(),
            histograms: 1,
            timeout: Nanos::from_nanos(i64::try_from(self.timeout.as_nanos()).unwrap()),
            ttl: 255,
            numbering: exchange.numbering(),
        };
        let outbox = self.outbox(endpoints, departures, &exchange, &mut queue);
        let control = Control::default();
        let recorder = Mutex::new(recorder());
        let pauses = Mutex::default();
        let unfinished = AtomicUsize::new(1);
        let began = Instant::now();
        let worker = Worker {
            queue,
            kernel: bell,
            schedule: Schedule::new(
                Share::WHOLE.times(self.times, NonZeroU32::MIN),
                NonZeroU32::MIN,
                self.limit,
            ),
            pacer: Pacer::new(
                Noted {
                    timer: SystemTimer::start(),
                    pauses: &pauses,
                },
                true,
            ),
            clock: OwnClock::new(SystemClock, Discipline::read, StampFormat::Ntp, false),
            outbox,
            tx_batch: 8,
            matcher: Matcher {
                format: StampFormat::Ntp,
                probe: Probe::new(&probe),
                reports_tos: false,
                numbering: exchange.numbering(),
            },
            measurement: Measurement::new(terms, departed).unwrap(),
            exchange,
            sources: Arc::new(sources),
            icmp: None,
            site: Site {
                worker: 0,
                control: &control,
                recorder: Some(&recorder),
            },
            timeout: self.timeout,
            unfinished: self.receives.is_none().then_some(&unfinished),
            others: &unfinished,
        };
        let over = AtomicBool::new(false);
        let kernel = Mutex::new((kernel, other));
        let (done, stopped) = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut network = kernel.lock().unwrap();
                let (kernel, other) = &mut *network;
                let patience = Instant::now() + testbed::DEFAULT_TIMEOUT;
                // A network that fails says so, and the worker does not wait for it.
                let _end = OnEnd(|| control.stop_waiting());
                while !over.load(Ordering::Relaxed) {
                    if Instant::now() >= patience {
                        control.stop_waiting();
                    }
                    if let Some(waits) = self.receives
                        && arrived.waits.lock().unwrap().len() >= waits
                    {
                        unfinished.store(0, Ordering::Release);
                    }
                    if self.stamped_now {
                        stamp_now(kernel);
                    }
                    if self.stuck || !carry(kernel, &arrived, other.as_ref(), &fate, &over) {
                        std::thread::yield_now();
                    }
                }
            });
            let _end = OnEnd(|| over.store(true, Ordering::Relaxed));
            let done = worker.run();
            (done, control.sending_stopped())
        });
        Played {
            done,
            recorder: recorder.into_inner().unwrap(),
            stopped,
            pauses: pauses.into_inner().unwrap(),
            began,
            waits: arrived.waits.into_inner().unwrap(),
        }
    }
}

/// Of one interval that holds the whole run.
fn recorder() -> Recorder {
    let mut recorder = Recorder::new(Wanted {
        intervals: Some(Duration::from_secs(3600)),
        overview: None,
    });
    recorder.begin(SystemClock.utc(), 1);
    recorder
}

/// The next packets leave now.
fn stamp_now(kernel: &mut KernelSide) {
    kernel.stamp_from(u64::try_from(SystemClock.tai().nanos()).unwrap());
}

/// Takes what was transmitted and delivers the answers, unless the worker is gone; false when there
/// was nothing.
fn carry(
    network: &mut KernelSide,
    arrived: &Arrived,
    other: Option<&Exchange>,
    fate: &impl Fn(usize, u32) -> Fate,
    gone: &AtomicBool,
) -> bool {
    let gone = || gone.load(Ordering::Relaxed);
    let frames = network.transmitted_at_most(16);
    for frame in &frames {
        let layout = Layout::parse(frame).unwrap();
        assert_eq!(verify_udp(frame, &layout), UdpChecksum::Valid);
        let packet = Packet::new(frame, &layout).unwrap();
        let session = usize::from(packet.source_port() - 20_000);
        let request = Request::parse(packet.payload()).unwrap();
        let mut reply = answer(frame, &layout, request.sequence());
        let mut meta = RxMeta {
            arrival_ns: u64::try_from(SystemClock.tai().nanos()).unwrap(),
            rule: u32::try_from(session).unwrap(),
            l3: layout.l3,
            l4: layout.l4,
            payload: layout.payload,
            payload_len: layout.payload_len,
            stamp_source: StampSource::KERNEL_TAI,
            vlan_tags: 0,
            generation: 0,
        }
        .to_bytes()
        .to_vec();
        let copies = match fate(session, request.sequence()) {
            Fate::Answer => 1,
            Fate::Lose => 0,
            Fate::Twice => 2,
            Fate::Corrupt => {
                let last = reply.len() - 1;
                reply[last] ^= 1;
                1
            }
            Fate::NoMetadata => {
                meta.fill(0);
                1
            }
            Fate::Elsewhere => {
                let reply = Datagram {
                    session,
                    head: &reply[usize::from(layout.payload)..],
                    len: SIZE,
                    reception: Reception {
                        t4: SystemClock.utc(),
                        source: T4Source::Xdp,
                    },
                    ttl: None,
                    tos: None,
                };
                while other.unwrap().hand_over(&reply) != Owner::Other && !gone() {
                    std::thread::yield_now();
                }
                0
            }
        };
        for _ in 0..copies {
            while !network.deliver(&reply, &meta) && !gone() {
                std::thread::yield_now();
            }
            arrived.deliver();
        }
    }
    !frames.is_empty()
}

/// The reply of a stateless reflector.
fn answer(frame: &[u8], layout: &Layout, sequence: u32) -> Vec<u8> {
    let mut reply = frame.to_vec();
    turn_around(&mut reply, layout, 0, FlowLabel::Keep);
    let payload = &mut reply[usize::from(layout.payload)..];
    let stamp = NtpTimestamp::from_utc(SystemClock.utc()).to_bytes();
    let fields = ReplyFields {
        sequence,
        receive_timestamp: stamp,
        sender_ttl: 255,
    };
    write_reply(payload, SIZE, &fields).unwrap();
    write_transmit(payload, stamp, ErrorEstimate::from_bits(1)).unwrap();
    ChecksumPlan::Full.seal(&mut reply, layout);
    reply
}

/// Every chunk is with the kernel, which receives into it, or at home.
fn assert_conserved(done: &Done) {
    let census = done.queue.audit().unwrap();
    assert!(census.is_conserved(), "{census:?}");
    assert_eq!(done.queue.rejected().total(), 0);
}

#[test]
fn every_probe_is_sent_and_measured_once() {
    for sessions in [1, 7, 1000] {
        let done = Scene::new(sessions, 5_000).play(|_, _| Fate::Answer);
        assert_conserved(&done);
        let counts = done.finished.totals.counts;
        assert_eq!(
            (counts.sent, counts.received, counts.invalid),
            (5_000, 5_000, 0)
        );
        assert_eq!((counts.duplicates, counts.reordered), (0, 0));
        assert_eq!(done.finished.totals.peer.t4_xdp, 5_000);
        let sent = &done.finished.sent;
        assert_eq!(sent.len(), sessions);
        assert!(sent.iter().max().unwrap() - sent.iter().min().unwrap() <= 1);
        assert_eq!(done.sent.send_error.count(), 5_000);
    }
}

#[test]
fn what_happens_to_a_probe_is_what_is_counted() {
    let fate = |session: usize, number: u32| match (session, number % 10) {
        (0, 3) => Fate::Lose,
        (1, 4) => Fate::Twice,
        (2, 5) => Fate::Corrupt,
        (3, 6) => Fate::NoMetadata,
        _ => Fate::Answer,
    };
    let done = Scene::new(4, 4_000).play(fate);
    assert_conserved(&done);
    let counts = done.finished.totals.counts;
    assert_eq!(counts.sent, 4_000);
    assert_eq!(counts.lost(), 200, "100 lost, 100 corrupt");
    assert_eq!((counts.duplicates, counts.replicated), (100, 100));
    assert_eq!((done.trouble.dropped_here, done.unreadable), (100, 0));
    let peer = done.finished.totals.peer;
    assert_eq!(peer.t4_user_space, 100, "those without metadata");
    assert_eq!(peer.t4_xdp, 3_700);
    let lost: Vec<_> = done
        .finished
        .sessions
        .iter()
        .zip(&done.finished.sent)
        .map(|(session, sent)| sent - session.counts().received)
        .collect();
    assert_eq!(lost, [100, 0, 100, 0]);
}

#[test]
fn probes_leave_at_their_times_and_never_early() {
    let pace = Pace::from_rate(2_000.0).unwrap();
    let scene = Scene {
        times: Times::periodic(pace),
        ..Scene::new(2, 200)
    };
    let seen = Mutex::new(Vec::new());
    let Played { done, began, .. } = scene.play_recorded(|_, _| {
        seen.lock().unwrap().push(Instant::now());
        Fate::Answer
    });
    assert_conserved(&done);
    assert_eq!(done.finished.totals.counts.received, 200);
    assert_eq!(done.sent.probes, 200);
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), 200);
    for (number, seen) in (0..).zip(seen) {
        let (after, due) = (seen - began, pace.due(number));
        assert!(after >= due, "probe {number} after {after:?}, not {due:?}");
    }
}

#[test]
fn stamps_of_another_clock_correct_nothing() {
    let scene = Scene {
        stamps: Some(StampClock::Kernel),
        ..Scene::new(3, 600)
    };
    let done = scene.play(|_, _| Fate::Answer);
    assert_conserved(&done);
    assert_eq!(done.finished.totals.counts.received, 600);
    // These say that packets left a second before they were stamped.
    assert_eq!((done.stamps.kernel, done.stamps.unusable), (0, 600));
    let forward = done.finished.totals.forward.summary().unwrap();
    assert!(forward.min.nanos() >= 0, "{forward:?}");
}

#[test]
fn stamps_correct_t1_unless_the_reply_was_faster() {
    let scene = Scene {
        stamps: Some(StampClock::Kernel),
        stamped_now: true,
        ..Scene::new(3, 600)
    };
    let done = scene.play(|_, _| Fate::Answer);
    assert_conserved(&done);
    assert_eq!(done.finished.totals.counts.received, 600);
    let TxStamps {
        kernel,
        nic,
        unusable,
        late,
    } = done.stamps;
    // A probe may get its T1 between the stamp and what it stamps.
    assert_eq!((kernel + late + unusable, nic), (600, 0));
    assert_ne!(kernel, 0);
}

#[test]
fn each_stamp_corrects_the_probe_that_it_is_of() {
    const LATER: Nanos = Nanos::from_nanos(1_000_000_000);
    let umem = Umem::allocate(&UmemConfig {
        tx_metadata: true,
        ..UmemConfig::default()
    })
    .unwrap();
    let (mut queue, mut kernel) = pair(umem, RINGS, 0);
    let scene = Scene {
        stamps: Some(StampClock::Nic),
        ..Scene::new(3, 0)
    };
    let exchange = exchanges(1, 1).remove(0);
    let endpoints = Endpoints::new(&scene.sources(), &exchange);
    let (departures, departed) = flight::open(4096).unwrap();
    let mut flight = Flight::new(departed, 3).unwrap();
    let mut outbox = scene.outbox(endpoints, departures, &exchange, &mut queue);
    let mut clock = OwnClock::new(SystemClock, Discipline::read, StampFormat::Ntp, false);
    clock.refresh(Duration::ZERO);

    let first = SystemClock.utc() + LATER;
    let in_tai = first.to_tai(clock.tai_offset());
    kernel.stamp_from(u64::try_from(in_tai.nanos()).unwrap());
    let of = |probe: u64| first + Nanos::from_nanos(i64::try_from(probe).unwrap());
    let mut sent = 0;
    // Unequal parts, so that probes and frames go out of step.
    for (batch, left) in [(8, 5), (3, 4), (7, 2), (1, 9)]
        .into_iter()
        .cycle()
        .take(80)
    {
        let room = outbox.room(&mut queue, batch);
        let dues = vec![Duration::ZERO; room];
        outbox.send(&mut queue, &kernel, &clock, &dues, || Duration::ZERO);
        sent += room as u64;
        kernel.transmitted_at_most(left);
        flight.open();
        outbox.reclaim(&mut queue, clock.tai_offset(), |probe, at| {
            assert_eq!(at, of(probe));
            flight.correct(probe, at, |t1, at| Outbox::plausible(t1, at, at))
        });
    }
    kernel.transmitted();
    outbox.reclaim(&mut queue, clock.tai_offset(), |probe, at| {
        flight.correct(probe, at, |t1, at| Outbox::plausible(t1, at, at))
    });
    assert!(sent > 300, "frames come again and again: {sent}");
    assert_eq!(outbox.stamps().nic, sent);
    assert!((0..sent).all(|probe| flight.t1(probe) == of(probe)));
    assert_eq!(
        flight.correct(sent, first, |_, _| true),
        Correction::TooLate
    );
}

#[test]
fn a_network_that_takes_nothing_ends_a_run_all_the_same() {
    let scene = Scene {
        timeout: Duration::from_millis(200),
        ..Scene::new(1, 10)
    };
    let done = scene.play(|_, _| Fate::Lose);
    assert_conserved(&done);
    assert_eq!(done.finished.totals.counts.lost(), 10);
}

#[test]
fn replies_that_others_hand_over_are_recorded_like_ours() {
    let scene = Scene {
        times: Times::periodic(Pace::from_rate(2_000.0).unwrap()),
        workers: 2,
        ..Scene::new(4, 200)
    };
    let Played {
        done,
        mut recorder,
        stopped,
        ..
    } = scene.play_recorded(|_, number| match number % 2 {
        0 => Fate::Answer,
        _ => Fate::Elsewhere,
    });
    assert!(!stopped);
    assert_eq!(done.finished.totals.counts.received, 200);
    let intervals = recorder.last_intervals(Duration::from_millis(1));
    let sums = |figure: fn(&Interval) -> u64| intervals.iter().map(figure).sum::<u64>();
    assert_eq!((sums(|i| i.sent), sums(|i| i.received)), (200, 200));
}

#[test]
fn a_run_ends_with_its_time_though_the_kernel_takes_nothing() {
    let times = Times::periodic(Pace::from_rate(10_000.0).unwrap());
    let scene = Scene {
        limit: Limit::duration(&times, Duration::from_millis(100)),
        times,
        stuck: true,
        timeout: Duration::from_millis(200),
        ..Scene::new(1, 0)
    };
    let Played { done, stopped, .. } = scene.play_recorded(|_, _| Fate::Answer);
    assert!(!stopped, "it had to be told to end");
    assert_eq!(done.sent.probes, 64, "as many as there are frames");
    assert!(done.sent.skipped > 900, "{}", done.sent.skipped);
}

#[test]
fn where_the_driver_leaves_no_room_for_stamps_replies_wake_who_waits_for_the_next_probe() {
    const LONG: Duration = Duration::from_millis(1);
    let scene = Scene {
        times: Times::periodic(Pace::from_rate(20.0).unwrap()),
        ..Scene::new(1, 6)
    };
    let played = |fate| {
        let played = scene.play_recorded(|_, _| fate);
        assert_eq!(played.done.finished.totals.counts.received, 6);
        played
    };
    // With T4 in the frame, they may wait.
    let Played { pauses, .. } = played(Fate::Answer);
    assert!(pauses.iter().max() > Some(&LONG), "{pauses:?}");
    let Played { pauses, waits, .. } = played(Fate::NoMetadata);
    assert!(pauses.iter().max() < Some(&LONG), "{pauses:?}");
    assert!(waits.iter().max() > Some(&LONG), "{waits:?}");
}

#[test]
fn a_worker_without_sessions_rests_until_something_comes_in() {
    let scene = Scene {
        workers: 2,
        receives: Some(20),
        ..Scene::new(1, 0)
    };
    let Played {
        stopped,
        pauses,
        waits,
        ..
    } = scene.play_recorded(|_, _| Fate::Answer);
    assert!(!stopped, "it had to be told to end");
    assert_eq!(pauses, [], "but for what wakes it");
    assert!(
        waits.iter().all(|&wait| wait >= Duration::from_millis(2)),
        "{waits:?}"
    );
}

#[test]
fn who_waits_for_replies_that_do_not_come_rests() {
    let Played { pauses, waits, .. } = Scene::new(1, 10).play_recorded(|_, _| Fate::Lose);
    let short = |rest: &&Duration| **rest < Duration::from_millis(2);
    let short = pauses.iter().chain(&waits).filter(short).count();
    // For a timeout of 200 ms.
    assert!(
        short < 10,
        "{short} of {} rests",
        pauses.len() + waits.len()
    );
    assert_ne!(waits, [], "it has to be woken");
}

#[test]
fn what_the_kernel_does_not_take_is_refused_and_not_stamped_to_wait_in_the_ring() {
    const BATCH: [Duration; 8] = [Duration::ZERO; 8];
    const ENETDOWN: i32 = 100;
    let umem = Umem::allocate(&UmemConfig::default()).unwrap();
    let (mut queue, mut kernel) = pair(umem, RINGS, 0);
    kernel.ask_for_wakeups(true, false);
    let bell = kernel.doorbell();
    let scene = Scene::new(1, 0);
    let exchange = exchanges(1, 1).remove(0);
    let endpoints = Endpoints::new(&scene.sources(), &exchange);
    let (departures, _departed) = flight::open(4096).unwrap();
    let mut outbox = scene.outbox(endpoints, departures, &exchange, &mut queue);
    let mut clock = OwnClock::new(SystemClock, Discipline::read, StampFormat::Ntp, false);
    clock.refresh(Duration::ZERO);
    let send = |outbox: &mut Outbox, queue: &mut Queue| {
        outbox.send(queue, &bell, &clock, &BATCH, || Duration::ZERO);
        (outbox.sent.probes, outbox.sent.held, outbox.sent.refused)
    };

    bell.answer_error(ENETDOWN);
    assert_eq!(send(&mut outbox, &mut queue), (8, 8, 0), "already stamped");
    assert_eq!(send(&mut outbox, &mut queue), (8, 8, 8));
    assert_eq!(queue.tx_pending(), 8, "no more are stamped and kept");
    assert_eq!(
        outbox.sent.refusal.as_ref().unwrap().kind(),
        std::io::ErrorKind::NetworkDown
    );
    bell.answer_done();
    assert_eq!(send(&mut outbox, &mut queue), (16, 8, 8));
    assert_eq!(kernel.transmitted_at_most(64).len(), 16);
}
