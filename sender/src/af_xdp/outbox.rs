//! Probes on their way out: template frames rewritten in place, T1 last.

use std::net::IpAddr;
use std::time::Duration;

use clock::Clock;
use wire::time::{Tai, TaiOffset, Utc};
use xsk::{Frame, Kernel, Queue, Wake};

use crate::flight::{Correction, Departures, Ordinal};
use crate::frame::{FrameWriter, Pending};
use crate::own_clock::OwnClock;
use crate::probe::Ssid;
use crate::sending::{Sent, Turn};
use crate::stamp::StampFormat;
use crate::transport::SendError;
use crate::transport::sources::Sources;

use super::exchange::Exchange;

/// Source address, by its place among the addresses, and port of each session of one worker.
#[derive(Debug)]
pub struct Endpoints {
    addresses: Box<[IpAddr]>,
    places: Box<[(u16, u16)]>,
}

impl Endpoints {
    /// Those of the sessions of `exchange`'s worker.
    pub fn new(sources: &Sources, exchange: &Exchange) -> Self {
        let numbering = exchange.numbering();
        let addresses: Box<[_]> = sources.addresses().into();
        let ports = sources.ports_per_address().max(1);
        let end = if exchange.has_sessions() {
            sources.sessions()
        } else {
            0
        };
        let places = (numbering.first..end)
            .step_by(numbering.step)
            .filter_map(|session| {
                let address = u16::try_from(session / ports).ok()?;
                let (_, port) = sources.of(session)?;
                Some((address, port))
            })
            .collect();
        Self { addresses, places }
    }

    /// Number of sessions.
    pub fn sessions(&self) -> usize {
        self.places.len()
    }

    fn of(&self, session: usize) -> Option<(IpAddr, u16)> {
        let &(address, port) = self.places.get(session)?;
        Some((*self.addresses.get(usize::from(address))?, port))
    }
}

/// The clock that tells when packets left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampClock {
    /// The kernel's TAI clock, read when the packet's buffer is freed: copy mode.
    Kernel,
    /// The network card's.
    Nic,
}

/// What came of the stamps that tell when packets left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TxStamps {
    /// Usable stamps, taken by the kernel.
    pub kernel: u64,
    /// Usable stamps, taken by the network card.
    pub nic: u64,
    /// Stamps before T1, or later than they were read: of a clock that is not ours.
    pub unusable: u64,
    /// Stamps read when the reply had been measured without them.
    pub late: u64,
}

impl TxStamps {
    /// Adds those of another worker.
    pub fn absorb(&mut self, other: Self) {
        self.kernel += other.kernel;
        self.nic += other.nic;
        self.unusable += other.unusable;
        self.late += other.late;
    }
}

/// The sending half of a worker.
#[derive(Debug)]
pub struct Outbox {
    writer: FrameWriter,
    endpoints: Endpoints,
    /// Session-Sender Identifiers: that of the run's first session, and whose worker this is.
    ssid: Option<(Ssid, crate::matching::Numbering)>,
    format: StampFormat,
    /// Template frames at hand.
    spare: Vec<Frame>,
    staged: Vec<Frame>,
    pending: Vec<Pending>,
    departures: Option<Departures>,
    turn: Turn,
    /// Asks for stamps; then remembers which probe is in which chunk.
    stamps: Option<(StampClock, Vec<Ordinal>)>,
    stamped: TxStamps,
    /// The kernel asked to be woken again for what the transmit ring holds.
    kick_again: bool,
    /// The kernel did not take what the transmit ring holds, and will not take more.
    blocked: bool,
    /// What is done so far.
    pub sent: Sent,
}

/// What an outbox is made of.
pub struct OutboxParts {
    /// Writes the frames.
    pub writer: FrameWriter,
    /// Where they come from.
    pub endpoints: Endpoints,
    /// Session-Sender Identifier of the run's first session.
    pub ssid: Option<Ssid>,
    /// How T1 is written.
    pub format: StampFormat,
    /// Where probes are announced.
    pub departures: Departures,
    /// Whose stamps to ask for, if any.
    pub stamps: Option<StampClock>,
}

impl Outbox {
    /// An outbox that takes `frames` frames from `queue` for its templates.
    pub fn new(parts: OutboxParts, exchange: &Exchange, queue: &mut Queue, frames: usize) -> Self {
        let OutboxParts {
            writer,
            endpoints,
            ssid,
            format,
            departures,
            stamps,
        } = parts;
        let umem = queue.umem_mut();
        let mut spare = Vec::with_capacity(frames);
        while spare.len() < frames {
            let Some(mut frame) = umem.take() else { break };
            let fits = umem.set_len(&mut frame, writer.len()).is_ok();
            if !fits || writer.fill(umem.data_mut(&mut frame)).is_err() {
                umem.release(frame);
                break;
            }
            spare.push(frame);
        }
        let chunks = umem.census().total as usize;
        Self {
            turn: Turn::new(endpoints.sessions()),
            writer,
            endpoints,
            ssid: ssid.map(|ssid| (ssid, exchange.numbering())),
            format,
            staged: Vec::with_capacity(spare.len()),
            pending: Vec::with_capacity(spare.len()),
            spare,
            departures: Some(departures),
            stamps: stamps.map(|clock| (clock, vec![0; chunks])),
            stamped: TxStamps::default(),
            kick_again: false,
            blocked: false,
            sent: Sent::default(),
        }
    }

    /// How many of `wanted` probes can be sent now.
    pub fn room(&mut self, queue: &mut Queue, wanted: usize) -> usize {
        let Some(departures) = &mut self.departures else {
            return 0;
        };
        let room = wanted.min(self.spare.len()).min(queue.tx_free());
        departures.room(room)
    }

    /// Sends one probe for each of the intended times in `dues`, as many as there is
    /// [`Outbox::room`] for; `now` tells the time since the start.
    ///
    /// T1 is read once, after all else is written; the sub-batch bounds how old it can be when its
    /// packets leave.
    pub fn send<C: Clock>(
        &mut self,
        queue: &mut Queue,
        kernel: &impl Kernel,
        clock: &OwnClock<C>,
        dues: &[Duration],
        now: impl FnOnce() -> Duration,
    ) {
        if self.blocked {
            self.kick(queue, kernel);
        }
        if self.blocked {
            // Stamped now, they would wait in the ring, and the wait would look like the network's.
            self.sent.refused += dues.len() as u64;
            return;
        }
        let Some(departures) = &mut self.departures else {
            return;
        };
        let umem = queue.umem_mut();
        let first_turn = self.turn;
        let first = departures.next();
        let estimate = clock.estimate();
        for _ in dues {
            let Some(mut frame) = self.spare.pop() else {
                break;
            };
            let Turn { session, round, .. } = self.turn;
            let source = self.endpoints.of(session);
            let ssid = self
                .ssid
                .map(|(ssid, numbering)| ssid.of_session(numbering.global(session)));
            let prepared = source.and_then(|source| {
                let frame = umem.data_mut(&mut frame);
                self.writer
                    .prepare(frame, source, round, ssid, estimate)
                    .ok()
            });
            let Some(pending) = prepared else {
                // Set-up made every template and every source fit, so this is never reached.
                self.spare.push(frame);
                break;
            };
            if let Some((_, probes)) = &mut self.stamps {
                if let Some(probe) = probes.get_mut(frame.chunk() as usize) {
                    *probe = first + self.staged.len() as u64;
                }
                let _ = umem.request_tx_stamp(&mut frame);
            }
            self.staged.push(frame);
            self.pending.push(pending);
            self.turn.advance();
        }
        let count = self.staged.len() as u64;
        let elapsed = now();
        // The last thing before the commit: what follows costs nanoseconds per packet.
        let t1 = clock.utc();
        let stamp = self.format.encode(t1);
        for (frame, pending) in self.staged.iter_mut().zip(self.pending.drain(..)) {
            // `prepare` found that the frame fits.
            let _ = self.writer.stamp(umem.data_mut(frame), pending, stamp);
        }
        if departures.intends() {
            for (ahead, &due) in (0..count).zip(dues) {
                departures.intend(ahead, elapsed.saturating_sub(due));
            }
        }
        // Announced before they leave, so that they are known when the replies come in.
        departures.announce(count, t1);
        let queued = queue.transmit(&mut self.staged) as u64;
        if queued < count {
            self.undo(count - queued, first_turn, queued);
        }
        let left = usize::try_from(queued)
            .ok()
            .and_then(|queued| dues.get(..queued));
        self.sent.stamped_together(left.unwrap_or(dues), elapsed);
        self.sent.left(queued, elapsed);
        self.kick(queue, kernel);
    }

    /// Takes back the last `missing` probes of a sub-batch whose first `queued` left.
    #[cold]
    fn undo(&mut self, missing: u64, first_turn: Turn, queued: u64) {
        if let Some(departures) = &mut self.departures {
            departures.take_back(missing);
        }
        self.turn = first_turn;
        for _ in 0..queued {
            self.turn.advance();
        }
        self.spare.append(&mut self.staged);
        for _ in 0..missing {
            self.sent.failed(SendError::Full);
        }
    }

    /// Takes back the frames of the packets that have left, and hands the times of departure, where
    /// they were stamped, to `departed`, which says what came of it.
    pub fn reclaim(
        &mut self,
        queue: &mut Queue,
        offset: TaiOffset,
        mut departed: impl FnMut(Ordinal, Utc) -> Correction,
    ) {
        let before = self.spare.len();
        if queue.reclaim(&mut self.spare) == 0 {
            return;
        }
        let Some((clock, probes)) = &self.stamps else {
            return;
        };
        for frame in &self.spare[before..] {
            let Some(stamp) = queue.umem().tx_stamp(frame) else {
                continue;
            };
            let probe = probes.get(frame.chunk() as usize).copied();
            let at = i64::try_from(stamp).unwrap_or(i64::MAX);
            let at = Tai::from_nanos(at).to_utc(offset);
            let made = probe.map_or(Correction::Implausible, |probe| departed(probe, at));
            match (made, clock) {
                (Correction::Made, StampClock::Kernel) => self.stamped.kernel += 1,
                (Correction::Made, StampClock::Nic) => self.stamped.nic += 1,
                (Correction::Implausible, _) => self.stamped.unusable += 1,
                (Correction::TooLate, _) => self.stamped.late += 1,
            }
        }
    }

    /// Whether a departure at `at` can be that of a packet stamped `t1` whose completion is seen at
    /// `now`: it lies in between. A clock that is not ours seldom does.
    pub fn plausible(t1: Utc, at: Utc, now: Utc) -> bool {
        t1 <= at && at <= now
    }

    /// Wakes the kernel if it wants to be woken, and again while it says so: in copy mode it takes
    /// 32 packets at a time. A kick fails while the interface is down, for instance: the frames stay
    /// in the ring, stamped as they are, and leave with a later kick. They are counted as held, and
    /// until then no others join them.
    pub fn kick(&mut self, queue: &mut Queue, kernel: &impl Kernel) {
        self.kick_again = false;
        if !queue.tx_needs_wakeup() {
            self.blocked = false;
            return;
        }
        match kernel.wake_tx() {
            Ok(wake) => {
                self.blocked = false;
                self.kick_again = wake == Wake::Retry && queue.tx_pending() > 0;
            }
            Err(error) => {
                if !self.blocked {
                    self.sent.held += queue.tx_pending() as u64;
                }
                self.blocked = true;
                self.sent.refusal.get_or_insert(error);
                self.kick_again = true;
            }
        }
    }

    /// Whether the kernel is to be woken for what the transmit ring holds.
    pub fn is_backed_up(&self) -> bool {
        self.kick_again
    }

    /// Whether more probes may be sent.
    pub fn is_sending(&self) -> bool {
        self.departures.is_some()
    }

    /// Whether nobody measures any more.
    pub fn is_abandoned(&self) -> bool {
        self.departures.as_ref().is_some_and(Departures::abandoned)
    }

    /// Sends no more.
    pub fn close(&mut self) {
        self.departures = None;
    }

    /// What came of the stamps.
    pub fn stamps(&self) -> TxStamps {
        self.stamped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_left_after_its_stamp_and_before_it_was_seen_to_have() {
        let at = Utc::from_nanos;
        assert!(Outbox::plausible(at(10), at(10), at(12)));
        assert!(Outbox::plausible(at(10), at(12), at(12)));
        assert!(!Outbox::plausible(at(10), at(9), at(12)));
        assert!(!Outbox::plausible(at(10), at(13), at(12)));
    }
}
