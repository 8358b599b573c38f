//! The sending thread with a clock, a kernel and a network made of memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZeroU32;

use clock::Discipline;
use wire::error_estimate::ErrorEstimate;
use wire::time::{Nanos, Tai, TaiOffset, TimestampFormat, Utc};
use wire::twamp::Request;

use super::*;
use crate::control::Control;
use crate::flight::{self, Departed};
use crate::probe::{Padding, ProbeSpec, Ssid};
use crate::schedule::{Limit, Pace, Times};

/// Time passes only by waiting, and by what the network takes.
#[derive(Clone, Copy)]
struct FakeTime<'a>(&'a Cell<Duration>);

impl Timer for FakeTime<'_> {
    fn elapsed(&self) -> Duration {
        self.0.get()
    }

    fn sleep(&mut self, pause: Duration) {
        self.0.set(self.0.get() + pause);
    }

    fn relax(&mut self) {
        self.0.set(self.0.get() + Duration::from_nanos(100));
    }
}

impl Clock for FakeTime<'_> {
    fn tai(&self) -> Tai {
        self.utc().to_tai(TaiOffset::from_seconds(0))
    }

    fn utc(&self) -> Utc {
        Utc::from_nanos(EPOCH + i64::try_from(self.0.get().as_nanos()).unwrap())
    }
}

const EPOCH: i64 = 1_700_000_000_000_000_000;

/// A probe that left.
#[derive(Debug, Clone)]
struct Left {
    session: usize,
    octets: Vec<u8>,
    /// Number of probes announced by then.
    announced: u64,
    /// T1 of the last of them.
    t1: Utc,
}

impl Left {
    fn request(&self) -> Request<'_> {
        Request::parse(&self.octets).unwrap()
    }
}

/// Takes what it is given, unless told otherwise.
struct FakeNetwork<'a> {
    time: &'a Cell<Duration>,
    /// How long a send takes.
    takes: Duration,
    /// What the receiving thread knows.
    departed: &'a RefCell<Option<Departed>>,
    /// After so many sends the receiving thread is gone.
    abandon_after: usize,
    left: &'a RefCell<Vec<Left>>,
    /// What happens to the next sends; empty means that they work.
    fate: &'a RefCell<VecDeque<Option<SendError>>>,
}

impl Transmit for FakeNetwork<'_> {
    fn send(&mut self, session: usize, probe: &[u8]) -> Result<(), SendError> {
        self.time.set(self.time.get() + self.takes);
        if let Some(Some(error)) = self.fate.borrow_mut().pop_front() {
            return Err(error);
        }
        let mut left = self.left.borrow_mut();
        let mut departed = self.departed.borrow_mut();
        let known = departed.as_ref().unwrap();
        let announced = known.announced();
        left.push(Left {
            session,
            octets: probe.to_vec(),
            announced,
            t1: known.t1(announced - 1),
        });
        if left.len() == self.abandon_after {
            *departed = None;
        }
        Ok(())
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands in for one that can fail"
)]
fn synchronised() -> io::Result<Discipline> {
    Ok(Discipline {
        tai_offset: TaiOffset::from_seconds(37),
        synchronised: true,
        max_error_ns: 1_000,
    })
}

fn refused() -> SendError {
    SendError::Refused(io::ErrorKind::PermissionDenied.into())
}

struct Scene {
    time: Cell<Duration>,
    takes: Duration,
    abandon_after: usize,
    left: RefCell<Vec<Left>>,
    fate: RefCell<VecDeque<Option<SendError>>>,
    control: Control,
    discipline: fn() -> io::Result<Discipline>,
    spec: ProbeSpec,
    format: StampFormat,
    sessions: usize,
    packets: u64,
    burst: u32,
    room: usize,
}

impl Default for Scene {
    /// Ten packets at 1000/s in one session.
    fn default() -> Self {
        Self {
            time: Cell::default(),
            takes: Duration::ZERO,
            abandon_after: usize::MAX,
            left: RefCell::default(),
            fate: RefCell::default(),
            control: Control::default(),
            discipline: synchronised,
            spec: ProbeSpec {
                size: 44,
                padding: Padding::Zero,
                ssid: None,
            },
            format: StampFormat::Ntp,
            sessions: 1,
            packets: 10,
            burst: 1,
            room: 1024,
        }
    }
}

impl Scene {
    /// What the sending side did, and how many probes are announced in the end.
    fn play(&self) -> (Sent, Option<u64>) {
        let (departures, departed) = flight::open(self.room).unwrap();
        let departed = RefCell::new(Some(departed));
        let times = Times::periodic(Pace::from_rate(1000.0).unwrap());
        let burst = NonZeroU32::new(self.burst).unwrap();
        let time = FakeTime(&self.time);
        let sending = Sending {
            transmit: FakeNetwork {
                time: &self.time,
                takes: self.takes,
                departed: &departed,
                abandon_after: self.abandon_after,
                left: &self.left,
                fate: &self.fate,
            },
            schedule: Schedule::new(times, burst, Limit::packets(self.packets)),
            pacer: Pacer::new(time, true),
            clock: OwnClock::new(time, self.discipline, self.format, false),
            departures,
            site: Site {
                worker: 0,
                control: &self.control,
                recorder: None,
            },
            probe: Probe::new(&self.spec),
            format: self.format,
            sessions: self.sessions,
        };
        let sent = sending.run();
        let announced = departed.borrow().as_ref().map(|departed| {
            assert!(departed.over(), "the receiving thread is told of the end");
            departed.announced()
        });
        (sent, announced)
    }

    fn sequences(&self) -> Vec<(usize, u32)> {
        let left = self.left.borrow();
        left.iter()
            .map(|left| (left.session, left.request().sequence()))
            .collect()
    }
}

#[test]
fn announces_each_probe_before_it_leaves_with_the_t1_it_carries() {
    let scene = Scene::default();
    let (sent, announced) = scene.play();
    assert_eq!(
        (
            sent.probes,
            sent.skipped + sent.congested,
            sent.refused,
            sent.not_reached
        ),
        (10, 0, 0, 0)
    );
    assert_eq!(announced, Some(10));
    for (place, left) in (1..).zip(scene.left.borrow().iter()) {
        assert_eq!(left.announced, place);
        assert_eq!(left.request().timestamp(), StampFormat::Ntp.encode(left.t1));
    }
    let (first, last) = (sent.first.unwrap(), sent.last.unwrap());
    assert!(first < Duration::from_micros(1), "{first:?}");
    assert!(
        last.abs_diff(Duration::from_millis(9)) < Duration::from_micros(1),
        "{last:?}"
    );
}

#[test]
fn sessions_take_turns_and_count_for_themselves() {
    let scene = Scene {
        sessions: 3,
        packets: 7,
        ..Scene::default()
    };
    scene.play();
    let expected = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)];
    assert_eq!(scene.sequences(), expected);
}

#[test]
fn a_probe_that_does_not_leave_is_taken_back_and_its_number_used_again() {
    let scene = Scene {
        sessions: 2,
        ..Scene::default()
    };
    scene
        .fate
        .borrow_mut()
        .extend([None, Some(SendError::Full), Some(refused())]);
    let (sent, announced) = scene.play();
    assert_eq!(
        (sent.probes, sent.skipped, sent.congested, sent.refused),
        (8, 0, 1, 1)
    );
    assert_eq!(
        sent.refusal.unwrap().kind(),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(announced, Some(8));
    let left = scene.left.borrow();
    assert_eq!(left[1].announced, 2, "not announced twice");
    assert!(
        left[1].t1 >= Utc::from_nanos(EPOCH + 3_000_000),
        "with a T1 of its own"
    );
    let expected: Vec<_> = (0..8).map(|probe| (probe % 2, low(probe / 2))).collect();
    assert_eq!(
        scene.sequences(),
        expected,
        "it is still the second session's turn"
    );
}

fn low(number: usize) -> u32 {
    u32::try_from(number).unwrap()
}

#[test]
fn a_system_that_refuses_the_first_probe_is_not_asked_again() {
    let scene = Scene::default();
    scene.fate.borrow_mut().push_back(Some(refused()));
    let (sent, announced) = scene.play();
    assert_eq!((sent.probes, sent.refused, sent.not_reached), (0, 1, 9));
    assert!(sent.is_refused());
    assert_eq!(announced, Some(0));
}

#[test]
fn sends_nothing_the_receiving_thread_could_not_remember() {
    let scene = Scene {
        room: 4,
        ..Scene::default()
    };
    let (sent, announced) = scene.play();
    assert_eq!((sent.probes, sent.skipped, sent.congested), (4, 0, 6));
    assert_eq!(announced, Some(4));
    assert_eq!(scene.sequences().len(), 4);
}

#[test]
fn a_stop_leaves_the_rest_unreached() {
    let scene = Scene::default();
    scene.control.stop_sending();
    let (sent, announced) = scene.play();
    assert_eq!((sent.probes, sent.not_reached, announced), (0, 10, Some(0)));
}

#[test]
fn sends_nothing_more_when_nobody_receives() {
    let scene = Scene {
        abandon_after: 3,
        ..Scene::default()
    };
    let (sent, _) = scene.play();
    assert_eq!((sent.probes, sent.not_reached), (3, 7));
}

#[test]
fn how_late_a_probe_was_stamped_is_its_send_error() {
    let scene = Scene {
        takes: Duration::from_micros(100),
        burst: 4,
        packets: 8,
        ..Scene::default()
    };
    let (sent, _) = scene.play();
    assert_eq!(sent.probes, 8);
    // Each of a burst is stamped when the ones before it have left.
    let error = sent.send_error.summary().unwrap();
    assert_eq!(error.count, 8);
    let micros = |nanos: Nanos| (nanos.nanos() + 500) / 1_000;
    assert_eq!(
        (micros(error.min), micros(error.p50), micros(error.max)),
        (0, 100, 300)
    );
}

#[test]
fn the_error_estimate_on_the_wire_is_that_of_the_clock() {
    let scene = Scene {
        packets: 3_500,
        room: 4_096,
        // Loses its synchronisation after two seconds.
        discipline: || {
            thread_local!(static READ: Cell<u32> = const { Cell::new(0) });
            READ.set(READ.get() + 1);
            synchronised().map(|state| Discipline {
                synchronised: READ.get() < 3,
                ..state
            })
        },
        ..Scene::default()
    };
    let (sent, _) = scene.play();
    let expected = SenderClock {
        synchronised: false,
        error_max: 1_000,
    };
    assert_eq!(sent.clock, expected);
    let left = scene.left.borrow();
    let estimate = |probe: usize| left[probe].request().error_estimate().to_bits();
    assert_eq!(
        (estimate(0), estimate(1_999), estimate(3_499)),
        (0x8587, 0x8587, 0x0587)
    );
}

#[test]
fn a_stamp_sender_tells_its_sessions_apart_by_their_identifiers() {
    let spec = ProbeSpec {
        ssid: Ssid::new(0xffff),
        ..Scene::default().spec
    };
    let scene = Scene {
        spec,
        sessions: 2,
        packets: 4,
        ..Scene::default()
    };
    scene.play();
    let left = scene.left.borrow();
    let ssids: Vec<_> = left
        .iter()
        .map(|left| [left.octets[14], left.octets[15]])
        .collect();
    assert_eq!(ssids, [[0xff, 0xff], [0, 1], [0xff, 0xff], [0, 1]]);
}

#[test]
fn t1_may_be_in_ptp_format_and_the_z_bit_says_so() {
    let format = StampFormat::Ptp(TaiOffset::from_seconds(37));
    let scene = Scene {
        format,
        packets: 1,
        ..Scene::default()
    };
    scene.play();
    let left = scene.left.borrow();
    let request = left[0].request();
    assert_eq!(request.timestamp(), format.encode(left[0].t1));
    assert_eq!(request.timestamp()[..4], 1_700_000_037u32.to_be_bytes());
    assert_eq!(request.error_estimate().format(), TimestampFormat::Ptp);
    assert_eq!(request.error_estimate(), ErrorEstimate::from_bits(0xc587));
}

#[test]
fn turns_go_round() {
    let mut turn = Turn::new(2);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push((turn.session, turn.round));
        turn.advance();
    }
    assert_eq!(seen, [(0, 0), (1, 0), (0, 1)]);
}

#[test]
fn what_workers_did_adds_up() {
    let mut one = Sent::default();
    one.left(2, Duration::from_millis(5));
    one.stamped(Duration::from_millis(4), Duration::from_millis(5));
    one.failed(SendError::Full);
    let mut other = Sent {
        skipped: 1,
        not_reached: 2,
        ..Sent::default()
    };
    other.left(1, Duration::from_millis(3));
    other.left(1, Duration::from_millis(9));
    other.stamped(Duration::from_millis(9), Duration::from_millis(9));
    other.failed(refused());
    one.absorb(other);
    assert_eq!(
        (one.probes, one.skipped, one.congested, one.refused),
        (4, 1, 1, 1)
    );
    assert_eq!(one.not_reached, 2);
    assert!(one.refusal.is_some() && !one.is_refused());
    assert_eq!(one.first, Some(Duration::from_millis(3)));
    assert_eq!(one.last, Some(Duration::from_millis(9)));
    let error = one.send_error.summary().unwrap();
    assert_eq!((error.count, error.max.nanos()), (2, 1_000_000));
}
