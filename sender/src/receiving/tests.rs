//! The receiving thread with a transport made of memory.

use std::collections::VecDeque;

use proptest::prelude::*;
use wire::error_estimate::ErrorEstimate;
use wire::time::{Nanos, NtpTimestamp, Tai, TaiOffset, Utc};
use wire::twamp::{ReplyFields, write_reply, write_transmit};

use super::*;
use crate::measure::{Reception, T4Source};
use crate::probe::Probe;
use crate::transport::Trouble;

const T1: Utc = Utc::from_nanos(1_700_000_000_000_000_000);
const SIZE: usize = 44;

/// Hands out what it has, one datagram per call, and then nothing.
struct FakeReceive(VecDeque<(usize, Vec<u8>, Reception)>);

impl Receive for FakeReceive {
    fn receive(
        &mut self,
        _wait: Duration,
        take: &mut dyn FnMut(Datagram<'_>),
    ) -> io::Result<usize> {
        let Some((session, octets, reception)) = self.0.pop_front() else {
            return Ok(0);
        };
        take(Datagram {
            session,
            head: &octets,
            len: octets.len(),
            reception,
        });
        Ok(1)
    }

    fn trouble(&self) -> Trouble {
        Trouble::default()
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

/// T1 of the n-th probe.
fn t1(number: u32) -> Utc {
    T1 + Nanos::from_nanos(i64::from(number) * 1_000_000)
}

fn reply(number: u32) -> Vec<u8> {
    let mut octets = Probe::new(SIZE)
        .write(number, t1(number), ErrorEstimate::from_bits(1))
        .to_vec();
    let stamp = NtpTimestamp::from_utc(t1(number) + Nanos::from_nanos(1_000)).to_bytes();
    let fields = ReplyFields {
        sequence: number,
        receive_timestamp: stamp,
        sender_ttl: 255,
    };
    write_reply(&mut octets, SIZE, &fields).unwrap();
    write_transmit(&mut octets, stamp, ErrorEstimate::from_bits(1)).unwrap();
    octets
}

/// A datagram that arrives `delay` ns after the T1 of probe `number`.
fn arrival(number: u32, octets: Vec<u8>, delay: i64) -> (usize, Vec<u8>, Reception) {
    let t4 = t1(number) + Nanos::from_nanos(delay);
    (
        0,
        octets,
        Reception {
            t4,
            source: T4Source::Kernel,
        },
    )
}

/// Announces `probes` probes of session 0, then receives `datagrams` with a timeout of 10 ms.
fn receive(probes: u32, datagrams: Vec<(usize, Vec<u8>, Reception)>) -> (Measurement, Control) {
    let control = Control::default();
    let (events, noted) = mpsc::sync_channel(1000);
    for number in 0..probes {
        events
            .send(Event::Sending {
                session: 0,
                t1: t1(number),
            })
            .unwrap();
    }
    drop(events);
    let receiving = Receiving {
        receive: FakeReceive(datagrams.into()),
        events: noted,
        measurement: Measurement::new(1, 64, Nanos::from_nanos(10_000_000)).unwrap(),
        clock: FakeClock(T1),
        control: &control,
        size: SIZE,
        timeout: Duration::from_millis(10),
        pause: Duration::ZERO,
    };
    let Received { measurement, .. } = receiving.run().unwrap();
    (measurement, control)
}

#[test]
fn knows_of_a_probe_before_its_reply() {
    let (measurement, control) = receive(1, vec![arrival(0, reply(0), 5_000)]);
    let counts = measurement.counts();
    assert_eq!((counts.sent, counts.received, counts.invalid), (1, 1, 0));
    let expected = Progress {
        sent: 1,
        received: 1,
        lost: 0,
        last_round_trip: Some(5_000),
    };
    assert_eq!(control.progress(), expected);
}

#[test]
fn ends_after_the_timeout_when_replies_are_missing() {
    let (measurement, control) = receive(3, vec![arrival(1, reply(1), 5_000)]);
    assert_eq!(
        (measurement.counts().received, measurement.counts().lost()),
        (1, 2)
    );
    // The clock of this test stands still, so nothing was given up by it.
    assert_eq!((measurement.awaited(), control.progress().lost), (2, 0));
}

#[test]
fn probes_are_given_up_by_monotonic_time_when_the_clock_is_set() {
    const HOUR: i64 = 3_600_000_000_000;
    for step in [HOUR, -HOUR] {
        let timeout = Duration::from_millis(10);
        let mut measurement = Measurement::new(1, 64, Nanos::from_nanos(10_000_000)).unwrap();
        let mut giving_up = GivingUp::new(timeout);
        let mut awaited_after = |millis: u32, step: i64, measurement: &mut Measurement| {
            let reading = Reading {
                utc: t1(millis) + Nanos::from_nanos(step),
                monotonic: Duration::from_millis(millis.into()),
            };
            giving_up.tick(reading, measurement);
            measurement.awaited()
        };
        measurement.sent(0, t1(0));
        assert_eq!(awaited_after(0, 0, &mut measurement), 1);
        measurement.sent(0, t1(1));
        assert_eq!(awaited_after(2, step, &mut measurement), 2, "{step}");
        measurement.sent(0, t1(3) + Nanos::from_nanos(step));
        assert_eq!(awaited_after(12, step, &mut measurement), 3, "{step}");
        assert_eq!(awaited_after(13, step, &mut measurement), 1, "{step}");
        assert_eq!(awaited_after(14, step, &mut measurement), 0, "{step}");
        assert_eq!(giving_up.steps.total(), Nanos::from_nanos(HOUR));
    }
}

#[test]
fn a_probe_that_did_not_leave_is_not_counted() {
    let control = Control::default();
    let (events, noted) = mpsc::sync_channel(1000);
    events
        .send(Event::Sending {
            session: 0,
            t1: t1(0),
        })
        .unwrap();
    events.send(Event::NotSent { session: 0 }).unwrap();
    drop(events);
    let receiving = Receiving {
        receive: FakeReceive(vec![arrival(0, reply(0), 5_000)].into()),
        events: noted,
        measurement: Measurement::new(1, 64, Nanos::from_nanos(10_000_000)).unwrap(),
        clock: FakeClock(T1),
        control: &control,
        size: SIZE,
        timeout: Duration::from_millis(10),
        pause: Duration::ZERO,
    };
    let Received { measurement, .. } = receiving.run().unwrap();
    assert_eq!(
        (measurement.counts().sent, measurement.counts().invalid),
        (0, 1)
    );
}

#[test]
fn user_space_timestamps_are_counted_as_such() {
    let mut late_stamp = arrival(0, reply(0), 5_000);
    late_stamp.2.source = T4Source::UserSpace;
    let (measurement, _) = receive(2, vec![late_stamp, arrival(1, reply(1), 5_000)]);
    let peer = measurement.peer();
    assert_eq!((peer.t4_kernel, peer.t4_user_space), (1, 1));
}

#[test]
fn a_reply_at_the_wrong_session_is_invalid() {
    let mut stray = arrival(0, reply(0), 5_000);
    stray.0 = 1;
    let (measurement, _) = receive(1, vec![stray]);
    assert_eq!(
        (measurement.counts().received, measurement.counts().invalid),
        (0, 1)
    );
}

#[test]
fn an_unchanged_probe_is_an_echo() {
    let octets = Probe::new(SIZE)
        .write(0, t1(0), ErrorEstimate::from_bits(1))
        .to_vec();
    let (measurement, _) = receive(1, vec![arrival(0, octets, 5_000)]);
    assert_eq!(
        (measurement.counts().received, measurement.peer().echo_only),
        (1, 1)
    );
}

proptest! {
    /// Whatever comes in is measured or counted as invalid, never both and never a panic.
    #[test]
    fn any_datagram_is_a_reply_or_invalid(
        octets in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..160),
            // A true reply with a few octets changed, cut anywhere.
            (prop::collection::vec((0usize..44, any::<u8>()), 0..4), 0usize..=44).prop_map(
                |(changes, len)| {
                    let mut octets = reply(1);
                    for (at, value) in changes {
                        octets[at] = value;
                    }
                    octets.truncate(len);
                    octets
                },
            ),
        ],
    ) {
        let mut measurement = Measurement::new(1, 64, Nanos::from_nanos(10_000_000)).unwrap();
        for number in 0..3 {
            measurement.sent(0, t1(number));
        }
        let (session, octets, reception) = arrival(1, octets, 5_000);
        let datagram = Datagram { session, head: &octets, len: octets.len(), reception };
        let verdict = judge(&mut measurement, SIZE, datagram);
        let counts = measurement.counts();
        prop_assert_eq!(counts.received + counts.late + counts.invalid, 1);
        prop_assert_eq!(verdict.is_none(), counts.invalid == 1);
        if verdict.is_some() {
            prop_assert!(octets.len() >= 38);
            prop_assert_eq!(&octets[24..36], &reply(1)[24..36], "number and T1 are the probe's");
        }
    }
}
