//! One queue's thread: sends at the times of the schedule, measures what comes back.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use clock::Clock;
use ebpf::RxMeta;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use xsk::{Frame, Kernel, Queue};

use super::exchange::{Exchange, Owner};
use super::inbox::{self, Unreadable};
use super::outbox::{Outbox, TxStamps};
use crate::matching::{Matcher, Numbering};
use crate::measure::{Finished, Measurement, T4Source};
use crate::own_clock::OwnClock;
use crate::pacer::{Pacer, Timer};
use crate::schedule::{Schedule, Step};
use crate::sending::Sent;
use crate::transport::Trouble;
use crate::transport::icmp_raw::IcmpWatch;
use crate::transport::sources::Sources;
use crate::waiting::{Ending, Site, Waiting};

/// Frames taken from the receive ring per turn.
pub const RX_BATCH: usize = 64;
/// Longest wait at a stretch. What comes in during a wait is stamped already; it only must not
/// overflow the ring.
const WAIT_MAX: Duration = Duration::from_millis(5);
/// Longest wait without a look at the ring where drivers leave no room for our stamps: T4 is when
/// we look, so this is its error.
const WAIT_UNSTAMPED: Duration = Duration::from_micros(50);
/// Longest wait at a stretch for replies that other workers hand over, which wake nobody: no longer
/// than they need to fill the room for them, at 2 million a second.
const WAIT_HANDED: Duration = Duration::from_millis(2);
/// Pause after something came in, so that what follows comes together.
const PAUSE: Duration = Duration::from_micros(200);
/// More than a sleep usually overshoots by.
const NEAR: Duration = Duration::from_micros(250);
/// Time between two looks at ICMP errors.
const ICMP_INTERVAL: Duration = Duration::from_millis(20);

/// What a queue's socket tells of packets on their way in.
pub trait Arrivals {
    /// How many the kernel dropped so far on the way into the rings.
    fn dropped(&self) -> u64;

    /// Gives the processor away until something is in the receive ring, for `most` at most.
    fn wait(&self, most: Duration);
}

impl Arrivals for xsk::Socket {
    fn dropped(&self) -> u64 {
        self.statistics().map_or(0, |statistics| {
            statistics.rx_dropped + statistics.rx_ring_full
        })
    }

    fn wait(&self, most: Duration) {
        let mut sockets = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        let waited = ppoll(&mut sockets, Some(TimeSpec::from_duration(most)), None);
        let broken = match waited {
            Ok(_) => sockets[0]
                .revents()
                .is_some_and(|seen| seen.intersects(!PollFlags::POLLIN)),
            Err(error) => error != Errno::EINTR,
        };
        if broken {
            // It would come back at once every time.
            thread::sleep(PAUSE.min(most));
        }
    }
}

/// A worker's parts.
pub struct Worker<'a, K, T, C> {
    /// The rings.
    pub queue: Queue,
    /// Whom to wake.
    pub kernel: K,
    /// When probes leave.
    pub schedule: Schedule,
    /// How to wait.
    pub pacer: Pacer<T>,
    /// T1, and what it is worth.
    pub clock: OwnClock<C>,
    /// Probes on their way out.
    pub outbox: Outbox,
    /// Probes that share one T1 at most.
    pub tx_batch: usize,
    /// What our probes look like.
    pub matcher: Matcher,
    /// The measurement, empty.
    pub measurement: Measurement,
    /// The other workers.
    pub exchange: Exchange,
    /// Which session has which address and port, for drivers without room for metadata.
    pub sources: Arc<Sources>,
    /// ICMP errors about the probes of all workers; one worker listens for them.
    pub icmp: Option<IcmpWatch>,
    /// What is shared with others.
    pub site: Site<'a>,
    /// How long replies are waited for after the last probe.
    pub timeout: Duration,
    /// Workers that are not done yet, of those that send: ours is among them unless this is `None`.
    pub unfinished: Option<&'a AtomicUsize>,
    /// The same, to wait for the others: replies to their probes may come to our queue.
    pub others: &'a AtomicUsize,
}

/// What a worker brings home.
#[derive(Debug)]
pub struct Done {
    /// What it sent.
    pub sent: Sent,
    /// What came of the stamps of departure.
    pub stamps: TxStamps,
    /// What it measured.
    pub finished: Finished,
    /// What went wrong on the way in.
    pub trouble: Trouble,
    /// How the run ended.
    pub ending: Ending,
    /// Frames that belong to no session.
    pub unreadable: u64,
    /// How its sessions are numbered in the run.
    pub numbering: Numbering,
    /// Its rings and their memory, for who wants to see that no frame is lost.
    pub queue: Queue,
}

/// What a worker carries from turn to turn.
#[derive(Debug)]
pub struct Turns {
    arrived: Vec<Frame>,
    dues: Vec<Duration>,
    waiting: Waiting,
    trouble: Trouble,
    unreadable: u64,
    icmp_due: Duration,
    /// Whether the last reply brought its T4 along; not before the first.
    stamped: bool,
    /// Nothing came in since the last rest.
    quiet: bool,
    /// Set when our part is over, while others are not done.
    ended: Option<Ending>,
}

impl<K: Kernel + Arrivals, T: Timer, C: Clock> Worker<'_, K, T, C> {
    /// Sends until the schedule is done or the run is stopped, and receives until [`Waiting`] says
    /// that the run is over.
    pub fn run(mut self) -> Done {
        let mut turns = self.begin();
        let ending = loop {
            if let Some(ending) = self.turn(&mut turns) {
                break ending;
            }
        };
        turns.trouble.dropped_here += self.kernel.dropped();
        self.outbox.sent.skipped = self.schedule.skipped();
        self.outbox.sent.not_reached += self.schedule.left();
        self.outbox.sent.clock = self.clock.seen();
        let mut recorder = self.site.recorder();
        Done {
            stamps: self.outbox.stamps(),
            finished: self.measurement.finish(recorder.as_deref_mut()),
            sent: self.outbox.sent,
            trouble: turns.trouble,
            ending,
            unreadable: turns.unreadable,
            numbering: self.exchange.numbering(),
            queue: self.queue,
        }
    }

    /// What [`Worker::turn`] needs.
    pub fn begin(&self) -> Turns {
        Turns {
            arrived: Vec::with_capacity(RX_BATCH),
            dues: Vec::with_capacity(self.tx_batch),
            waiting: Waiting::new(self.timeout),
            trouble: Trouble::default(),
            unreadable: 0,
            icmp_due: Duration::ZERO,
            stamped: false,
            quiet: false,
            ended: None,
        }
    }

    /// One turn of [`Worker::run`]: takes back what has left, measures what has come in, sends what
    /// is due. Returns the ending when the run is over.
    pub fn turn(&mut self, turns: &mut Turns) -> Option<Ending> {
        let elapsed = self.pacer.elapsed();
        self.clock.refresh(elapsed);
        self.listen(turns, elapsed);
        self.reclaim();
        let taken = self.receive(turns);
        if turns.ended.is_none() {
            turns.ended = turns.waiting.look(
                taken,
                &mut self.measurement,
                &turns.trouble,
                self.clock.inner(),
                &self.site,
            );
            if let (Some(_), Some(unfinished)) = (turns.ended, self.unfinished) {
                unfinished.fetch_sub(1, Ordering::Release);
            }
        }
        if turns.ended.is_some()
            && (self.others.load(Ordering::Acquire) == 0 || self.site.control.waiting_stopped())
        {
            return turns.ended;
        }
        turns.quiet &= taken == 0;
        if !self.send(turns) && taken == 0 {
            self.rest(turns);
        }
        None
    }

    /// Takes notice of ICMP errors.
    fn listen(&mut self, turns: &mut Turns, elapsed: Duration) {
        if let Some(icmp) = &mut self.icmp
            && elapsed >= turns.icmp_due
        {
            turns.icmp_due = elapsed + ICMP_INTERVAL;
            let heard = icmp.receive(&mut |_| ());
            turns.trouble.icmp = icmp.counts();
            if heard.is_err() {
                // What it heard is kept; a run says less of why nothing answers, and goes on.
                self.icmp = None;
            }
        }
    }

    /// Takes back the frames of the probes that have left.
    pub fn reclaim(&mut self) {
        let Self {
            queue,
            outbox,
            measurement,
            clock,
            ..
        } = self;
        outbox.reclaim(queue, clock.tai_offset(), |probe, at| {
            measurement.notice();
            let now = clock.utc();
            measurement.departed(probe, at, |t1, at| Outbox::plausible(t1, at, now))
        });
        if outbox.is_backed_up() {
            outbox.kick(queue, &self.kernel);
        }
    }

    /// Measures what has come in; returns how much that was.
    pub fn receive(&mut self, turns: &mut Turns) -> usize {
        self.queue.refill();
        let received = self.queue.receive(&mut turns.arrived, RX_BATCH);
        if received == 0 && self.queue.fill_needs_wakeup() {
            // What cannot be woken now is tried again in the next turn.
            let _ = self.kernel.wake_rx();
        }
        let mut recorder = if received > 0 {
            self.site.recorder()
        } else {
            None
        };
        self.measurement.notice();
        let now = self.clock.utc();
        let offset = self.clock.tai_offset();
        for mut frame in turns.arrived.drain(..) {
            let meta = take_metadata(&self.queue, &mut frame);
            let data = self.queue.umem().data(&frame);
            match inbox::read(data, meta.as_ref(), &self.sources, now, offset) {
                Ok(mut datagram) => {
                    turns.stamped = datagram.reception.source == T4Source::Xdp;
                    match self.exchange.hand_over(&datagram) {
                        Owner::Us(session) => {
                            datagram.session = session;
                            let recorder = recorder.as_deref_mut();
                            let verdict =
                                self.matcher
                                    .judge(&mut self.measurement, &datagram, recorder);
                            turns.waiting.saw(verdict);
                        }
                        Owner::Other => {}
                        Owner::OtherFull => turns.trouble.dropped_here += 1,
                    }
                }
                Err(Unreadable::Checksum) => turns.trouble.dropped_here += 1,
                Err(Unreadable::Unknown) => turns.unreadable += 1,
            }
            self.queue.umem_mut().release(frame);
        }
        drop(recorder);
        let (matcher, measurement, site) = (&self.matcher, &mut self.measurement, &self.site);
        let handed = self.exchange.take(|datagram| {
            // One driver serves all queues.
            turns.stamped = datagram.reception.source == T4Source::Xdp;
            let mut recorder = site.recorder();
            let verdict = matcher.judge(measurement, datagram, recorder.as_deref_mut());
            turns.waiting.saw(verdict);
        });
        received + handed
    }

    /// Sends what is due, after waiting for it if it is due soon; false when there was nothing.
    pub fn send(&mut self, turns: &mut Turns) -> bool {
        let stamped = turns.stamped;
        let dues = &mut turns.dues;
        if !self.outbox.is_sending() {
            return false;
        }
        let control = self.site.control;
        if control.sending_stopped() || self.outbox.is_abandoned() {
            self.outbox.close();
            return false;
        }
        let room = self.outbox.room(&mut self.queue, self.tx_batch);
        if room == 0 {
            // The kernel has not taken what it has. Slots that pass meanwhile are skipped, and the
            // run may end: a link that is down may stay so.
            self.outbox.kick(&mut self.queue, &self.kernel);
            if self.schedule.pass(self.pacer.elapsed()) {
                self.outbox.close();
            }
            return true;
        }
        dues.clear();
        let mut step = self.schedule.take(self.pacer.elapsed(), room, dues);
        if let Step::WaitUntil(due) = step {
            let now = self.pacer.elapsed();
            let limit = now + if stamped { WAIT_MAX } else { WAIT_UNSTAMPED };
            if due > limit + NEAR {
                if stamped {
                    self.pacer.pause(WAIT_MAX);
                } else {
                    self.kernel
                        .wait(due.saturating_sub(now + NEAR).min(WAIT_MAX));
                }
                return true;
            }
            if !self
                .pacer
                .wait_until(due.min(limit), || control.sending_stopped())
            {
                return false;
            }
            if due > limit {
                return true;
            }
            step = self.schedule.take(self.pacer.elapsed(), room, dues);
        }
        match step {
            Step::Done => self.outbox.close(),
            Step::WaitUntil(_) => {}
            Step::Send => {
                let pacer = &self.pacer;
                self.outbox
                    .send(&mut self.queue, &self.kernel, &self.clock, dues, || {
                        pacer.elapsed()
                    });
            }
        }
        true
    }

    /// Nothing to send, nothing came in: gives the processor away. A stamped reply may wait for those
    /// that follow it, any other is waited for. A stop is noticed after [`WAIT_MAX`].
    fn rest(&mut self, turns: &mut Turns) {
        if self.outbox.is_backed_up() || turns.stamped && !turns.quiet {
            self.pacer.pause(PAUSE);
        } else if self.exchange.has_sessions() && self.measurement.awaited() > 0 {
            self.kernel.wait(WAIT_HANDED);
        } else {
            self.kernel.wait(WAIT_MAX);
        }
        turns.quiet = true;
    }
}

/// Reads the metadata below the frame and wipes it, so that what a later packet finds in this chunk
/// is never another packet's.
fn take_metadata(queue: &Queue, frame: &mut Frame) -> Option<RxMeta> {
    let below = queue.umem().metadata_mut(frame, RxMeta::SIZE)?;
    // As an array, it is wiped by two instructions.
    let below: &mut [u8; RxMeta::SIZE] = below.first_chunk_mut()?;
    RxMeta::from_bytes(&std::mem::replace(below, [0; RxMeta::SIZE]))
}
