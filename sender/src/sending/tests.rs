//! The sending thread with a clock, a kernel and a network made of memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::mpsc;

use wire::time::{NtpTimestamp, Tai, TaiOffset};
use wire::twamp::Request;

use super::*;
use crate::schedule::{Limit, Pace, Times};

/// Time passes only by waiting.
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

/// Takes what it is given, unless told otherwise.
#[derive(Default)]
struct FakeNetwork {
    /// Session, sequence number, T1 and Error Estimate of what was sent.
    sent: RefCell<Vec<(usize, u32, NtpTimestamp, u16)>>,
    /// What happens to the next sends; empty means that they work.
    fate: RefCell<VecDeque<Option<SendError>>>,
}

impl Transmit for &FakeNetwork {
    fn send(&mut self, session: usize, probe: &[u8]) -> Result<(), SendError> {
        if let Some(Some(error)) = self.fate.borrow_mut().pop_front() {
            return Err(error);
        }
        let request = Request::parse(probe).unwrap();
        self.sent.borrow_mut().push((
            session,
            request.sequence(),
            NtpTimestamp::from_bytes(request.timestamp()),
            request.error_estimate().to_bits(),
        ));
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
    network: FakeNetwork,
    time: Cell<Duration>,
    control: Control,
    discipline: fn() -> io::Result<Discipline>,
    sessions: usize,
    packets: u64,
    room: usize,
}

impl Default for Scene {
    /// Ten packets at 1000/s in one session.
    fn default() -> Self {
        Self {
            network: FakeNetwork::default(),
            time: Cell::default(),
            control: Control::default(),
            discipline: synchronised,
            sessions: 1,
            packets: 10,
            room: 1000,
        }
    }
}

impl Scene {
    fn play(&self) -> (Sent, Vec<Event>) {
        let (events, noted) = mpsc::sync_channel(self.room);
        let pace = Pace::from_rate(1000.0).unwrap();
        let sending = Sending {
            transmit: &self.network,
            schedule: Schedule::new(
                Times::periodic(pace),
                NonZeroU32::MIN,
                Limit::packets(self.packets),
            ),
            pacer: Pacer::new(FakeTime(&self.time), true),
            clock: FakeTime(&self.time),
            discipline: self.discipline,
            events,
            control: &self.control,
            size: 44,
            sessions: self.sessions,
        };
        let sent = sending.run();
        (sent, noted.iter().collect())
    }

    fn sequences(&self) -> Vec<(usize, u32)> {
        self.network
            .sent
            .borrow()
            .iter()
            .map(|&(session, number, ..)| (session, number))
            .collect()
    }
}

#[test]
fn announces_each_probe_with_the_t1_it_carries() {
    let scene = Scene::default();
    let (sent, events) = scene.play();
    assert_eq!(
        (
            sent.probes,
            sent.skipped + sent.congested,
            sent.refused,
            sent.not_reached
        ),
        (10, 0, 0, 0)
    );
    let stamps: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Sending { session: 0, t1 } => NtpTimestamp::from_utc(*t1),
            other => panic!("{other:?}"),
        })
        .collect();
    let carried: Vec<_> = scene
        .network
        .sent
        .borrow()
        .iter()
        .map(|sent| sent.2)
        .collect();
    assert_eq!(carried, stamps);
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
    let scene = Scene::default();
    scene
        .network
        .fate
        .borrow_mut()
        .extend([None, Some(SendError::Full), Some(refused())]);
    let (sent, events) = scene.play();
    assert_eq!(
        (sent.probes, sent.skipped, sent.congested, sent.refused),
        (8, 0, 1, 1)
    );
    assert_eq!(
        sent.refusal.unwrap().kind(),
        io::ErrorKind::PermissionDenied
    );
    let taken_back = Event::NotSent { session: 0 };
    let positions: Vec<_> = (0..events.len())
        .filter(|&i| events[i] == taken_back)
        .collect();
    assert_eq!(
        positions,
        [2, 4],
        "right after the announcements of the second and third"
    );
    assert_eq!(
        scene.sequences(),
        (0..8).map(|number| (0, number)).collect::<Vec<_>>()
    );
}

#[test]
fn a_system_that_refuses_the_first_probe_is_not_asked_again() {
    let scene = Scene::default();
    scene.network.fate.borrow_mut().push_back(Some(refused()));
    let (sent, _) = scene.play();
    assert_eq!((sent.probes, sent.refused, sent.not_reached), (0, 1, 9));
}

#[test]
fn sends_nothing_the_receiving_thread_has_no_room_to_hear_of() {
    let scene = Scene {
        room: 4,
        ..Scene::default()
    };
    let (sent, events) = scene.play();
    assert_eq!((sent.probes, sent.skipped, sent.congested), (4, 0, 6));
    assert_eq!(events.len(), 4);
    assert_eq!(scene.sequences().len(), 4);
}

#[test]
fn a_stop_leaves_the_rest_unreached() {
    let scene = Scene::default();
    scene.control.stop_sending();
    let (sent, events) = scene.play();
    assert_eq!((sent.probes, sent.not_reached, events.len()), (0, 10, 0));
}

#[test]
fn the_error_estimate_follows_the_kernel() {
    let scene = Scene::default();
    let (sent, _) = scene.play();
    assert_eq!(
        sent.clock,
        SenderClock {
            synchronised: true,
            error_max: 1_000
        }
    );
    assert!(
        scene
            .network
            .sent
            .borrow()
            .iter()
            .all(|sent| sent.3 == 0x8587)
    );

    let scene = Scene {
        discipline: || Err(io::ErrorKind::PermissionDenied.into()),
        ..Scene::default()
    };
    let (sent, _) = scene.play();
    assert_eq!(
        sent.clock,
        SenderClock {
            synchronised: false,
            error_max: UNKNOWN_ERROR
        }
    );
    let estimate = ErrorEstimate::from_bits(scene.network.sent.borrow()[0].3);
    assert!(!estimate.synchronised() && estimate.error_nanos() >= Some(UNKNOWN_ERROR));
}

#[test]
fn the_clock_state_is_read_again_every_second() {
    thread_local!(static READ: Cell<u32> = const { Cell::new(0) });
    let scene = Scene {
        packets: 3_500,
        room: 4_000,
        // Loses its synchronisation after two seconds.
        discipline: || {
            READ.set(READ.get() + 1);
            synchronised().map(|state| Discipline {
                synchronised: READ.get() < 3,
                ..state
            })
        },
        ..Scene::default()
    };
    let (sent, _) = scene.play();
    assert_eq!(READ.get(), 4);
    assert!(!sent.clock.synchronised);
    let probes = scene.network.sent.borrow();
    assert_eq!(
        (probes[0].3, probes[1_999].3, probes[3_499].3),
        (0x8587, 0x8587, 0x0587)
    );
}
