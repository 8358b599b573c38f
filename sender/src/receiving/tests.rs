//! The receiving thread with a transport made of memory.

use std::collections::VecDeque;
use std::sync::Mutex;

use wire::error_estimate::ErrorEstimate;
use wire::time::{Nanos, NtpTimestamp, Tai, TaiOffset, Utc};
use wire::twamp::{ReplyFields, write_reply, write_transmit};

use super::*;
use crate::control::{Control, Progress};
use crate::flight::{self, Departures};
use crate::matching::Numbering;
use crate::measure::{Reception, T4Source, Terms};
use crate::probe::{Padding, Probe, ProbeSpec};
use crate::recorder::Recorder;
use crate::recorder::Wanted;
use crate::stamp::StampFormat;
use crate::transport::{Datagram, IcmpCounts, IcmpKind};

const T1: Utc = Utc::from_nanos(1_700_000_000_000_000_000);
const SIZE: usize = 44;

/// Hands out what it has, one datagram per call, and then nothing.
#[derive(Default)]
struct FakeReceive {
    datagrams: VecDeque<(usize, Vec<u8>, Reception)>,
    trouble: Trouble,
    broken: bool,
}

impl Receive for FakeReceive {
    fn receive(
        &mut self,
        _wait: Duration,
        take: &mut dyn FnMut(Datagram<'_>),
    ) -> io::Result<usize> {
        let Some((session, octets, reception)) = self.datagrams.pop_front() else {
            return if self.broken {
                Err(io::ErrorKind::BrokenPipe.into())
            } else {
                Ok(0)
            };
        };
        take(Datagram {
            session,
            head: &octets,
            len: octets.len(),
            reception,
            ttl: None,
            tos: None,
        });
        Ok(1)
    }

    fn trouble(&self) -> Trouble {
        self.trouble
    }
}

/// Stands still.
struct FakeClock(Utc);

impl Clock for FakeClock {
    fn tai(&self) -> Tai {
        self.0.to_tai(TaiOffset::from_seconds(0))
    }

    fn utc(&self) -> Utc {
        self.0
    }
}

fn probe() -> Probe {
    Probe::new(&ProbeSpec {
        size: SIZE,
        padding: Padding::Zero,
        ssid: None,
    })
}

/// T1 of the n-th probe.
fn t1(number: u32) -> Utc {
    T1 + Nanos::from_nanos(i64::from(number) * 1_000_000)
}

fn reply(number: u32) -> Vec<u8> {
    let estimate = ErrorEstimate::from_bits(1);
    let mut octets = probe()
        .write(0, number, StampFormat::Ntp.encode(t1(number)), estimate)
        .to_vec();
    let stamp = NtpTimestamp::from_utc(t1(number) + Nanos::from_nanos(1_000)).to_bytes();
    let fields = ReplyFields {
        sequence: number,
        receive_timestamp: stamp,
        sender_ttl: 255,
    };
    write_reply(&mut octets, SIZE, &fields).unwrap();
    write_transmit(&mut octets, stamp, estimate).unwrap();
    octets
}

/// The reply to probe `number`, which arrives `delay` ns after its T1.
fn arrival(number: u32, delay: i64) -> (usize, Vec<u8>, Reception) {
    let reception = Reception {
        t4: t1(number) + Nanos::from_nanos(delay),
        source: T4Source::Kernel,
    };
    (0, reply(number), reception)
}

struct Scene {
    receive: FakeReceive,
    probes: u32,
    timeout: Duration,
    clock: Utc,
    control: Control,
    recorder: Option<Mutex<Recorder>>,
}

impl Default for Scene {
    /// Nothing sent, nothing to receive, a timeout of 10 ms.
    fn default() -> Self {
        Self {
            receive: FakeReceive::default(),
            probes: 0,
            timeout: Duration::from_millis(10),
            clock: T1,
            control: Control::default(),
            recorder: None,
        }
    }
}

impl Scene {
    fn new(probes: u32, datagrams: impl IntoIterator<Item = (usize, Vec<u8>, Reception)>) -> Self {
        Self {
            receive: FakeReceive {
                datagrams: datagrams.into_iter().collect(),
                ..FakeReceive::default()
            },
            probes,
            ..Self::default()
        }
    }

    /// Announces the probes of session 0 and receives, after `and_then` was done to the sending end.
    fn run_after(
        &mut self,
        and_then: impl FnOnce(Departures) -> Option<Departures>,
    ) -> io::Result<Received> {
        let (mut departures, departed) = flight::open(64).unwrap();
        for number in 0..self.probes {
            departures.announce(1, t1(number));
        }
        let terms = Terms {
            sessions: 1,
            histograms: 0,
            timeout: Nanos::from_nanos(i64::try_from(self.timeout.as_nanos()).unwrap()),
            ttl: 255,
            numbering: Numbering::ALL,
        };
        let receiving = Receiving {
            receive: std::mem::take(&mut self.receive),
            matcher: Matcher {
                format: StampFormat::Ntp,
                probe: probe(),
                reports_tos: false,
                numbering: Numbering::ALL,
            },
            measurement: Measurement::new(terms, departed).unwrap(),
            clock: FakeClock(self.clock),
            site: Site {
                worker: 0,
                control: &self.control,
                recorder: self.recorder.as_ref(),
            },
            timeout: self.timeout,
            pause: Duration::ZERO,
        };
        let _departures = and_then(departures);
        receiving.run()
    }

    /// Receives after the last probe was sent.
    fn run(&mut self) -> Received {
        self.run_after(|_| None).unwrap()
    }
}

#[test]
fn knows_of_a_probe_before_its_reply() {
    let mut scene = Scene::new(1, [arrival(0, 5_000)]);
    let counts = scene.run().finished.totals.counts;
    assert_eq!((counts.sent, counts.received, counts.invalid), (1, 1, 0));
    let expected = Progress {
        sent: 1,
        received: 1,
        lost: 0,
        icmp: IcmpCounts::default(),
    };
    assert_eq!(scene.control.progress(), expected);
}

#[test]
fn ends_after_the_timeout_when_replies_are_missing() {
    let mut scene = Scene::new(3, [arrival(1, 5_000)]);
    let Received {
        finished, ending, ..
    } = scene.run();
    let counts = finished.totals.counts;
    assert_eq!((counts.received, counts.lost()), (1, 2));
    assert_eq!(ending.cut_short, None);
    // The clock of this test stands still, so nothing was given up by it before the end.
    assert_eq!(scene.control.progress().lost, 0);
}

#[test]
fn shows_what_was_given_up_by_now() {
    let mut scene = Scene {
        clock: t1(11) + Nanos::from_nanos(1),
        ..Scene::new(3, [])
    };
    let counts = scene.run().finished.totals.counts;
    assert_eq!(counts.lost(), 3);
    let progress = scene.control.progress();
    assert_eq!(
        (progress.sent, progress.lost),
        (3, 2),
        "sent 10 ms and more before"
    );
}

#[test]
fn a_probe_that_did_not_leave_is_not_counted() {
    let mut scene = Scene::new(1, [arrival(0, 5_000)]);
    let received = scene.run_after(|mut departures| {
        departures.take_back(1);
        None
    });
    let counts = received.unwrap().finished.totals.counts;
    assert_eq!((counts.sent, counts.invalid), (0, 1));
}

#[test]
fn user_space_timestamps_are_counted_as_such() {
    let mut late_stamp = arrival(0, 5_000);
    late_stamp.2.source = T4Source::UserSpace;
    let mut scene = Scene::new(2, [late_stamp, arrival(1, 5_000)]);
    let peer = scene.run().finished.totals.peer;
    assert_eq!((peer.t4_kernel, peer.t4_user_space), (1, 1));
}

#[test]
fn a_reply_at_the_wrong_session_is_invalid() {
    let mut stray = arrival(0, 5_000);
    stray.0 = 1;
    let counts = Scene::new(1, [stray]).run().finished.totals.counts;
    assert_eq!((counts.received, counts.invalid), (0, 1));
}

#[test]
fn a_target_that_the_network_calls_unreachable_is_not_waited_for() {
    let mut scene = Scene {
        timeout: Duration::from_secs(3600),
        ..Scene::new(3, [])
    };
    scene.receive.trouble.icmp.add(IcmpKind::PortUnreachable);
    // With a timeout of an hour, coming back at all is the proof.
    let Received {
        finished,
        trouble,
        ending,
    } = scene.run();
    assert_eq!(finished.totals.counts.lost(), 3);
    assert_eq!(trouble.icmp.of(IcmpKind::PortUnreachable), 1);
    assert_eq!(ending.cut_short, None);
    assert_eq!(scene.control.progress().icmp, trouble.icmp);
}

#[test]
fn a_run_told_to_stop_waiting_says_how_long_it_waited() {
    let mut scene = Scene {
        timeout: Duration::from_secs(3600),
        ..Scene::new(2, [arrival(0, 5_000)])
    };
    // An error about another probe does not make the answered target unreachable.
    scene.receive.trouble.icmp.add(IcmpKind::HostUnreachable);
    scene.control.stop_waiting();
    let Received {
        finished, ending, ..
    } = scene.run();
    assert_eq!(finished.totals.counts.lost(), 1);
    assert!(
        ending
            .cut_short
            .is_some_and(|waited| waited < Duration::from_secs(3600))
    );
}

#[test]
fn a_transport_that_breaks_ends_the_run_and_tells_the_sending_thread() {
    let mut scene = Scene::new(1, [arrival(0, 5_000)]);
    scene.receive.broken = true;
    // While the sending end exists, sending is not over.
    let mut kept = None;
    let received = scene.run_after(|departures| {
        kept = Some(departures);
        None
    });
    let error = received.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(kept.unwrap().abandoned());
}

#[test]
fn what_happens_is_recorded_up_to_the_end() {
    let mut recorder = Recorder::new(Wanted {
        intervals: Some(Duration::from_millis(2)),
        overview: None,
    });
    recorder.begin(T1, 1);
    let mut scene = Scene {
        recorder: Some(Mutex::new(recorder)),
        ..Scene::new(4, [arrival(0, 5_000), arrival(3, 6_000), arrival(3, 7_000)])
    };
    scene.run();
    let mut recorder = scene.recorder.unwrap().into_inner().unwrap();
    let figures: Vec<_> = recorder
        .last_intervals(Duration::from_millis(1))
        .iter()
        .map(|i| (i.sent, i.received, i.lost, i.duplicates))
        .collect();
    assert_eq!(figures, [(2, 1, 1, 0), (2, 1, 1, 1)]);
}
