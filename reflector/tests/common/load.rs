//! A sender that goes on while something happens to the path, and knows what came back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testbed::{DEFAULT_TIMEOUT, Datagram, RawPeer, UdpFrame, Veth, wait_until};

/// Requests without answer at a time: few enough for every queue on the way.
const WINDOW: u64 = 32;
/// Without any answer for so long, those under way are taken for lost, and it goes on.
const PATIENCE: Duration = Duration::from_millis(100);
/// So long the last ones are waited for.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Requests on their way, from a thread of its own.
pub struct Load {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<Traffic>>,
}

#[derive(Default)]
struct Progress {
    answered: AtomicU64,
    stop: AtomicBool,
}

/// What was sent and what came back.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Requests that the sender's end took; numbered from 0.
    pub sent: u64,
    /// Requests that were answered, by number.
    pub answered: BTreeSet<u32>,
    /// More answers to one request.
    pub duplicates: u64,
    /// Answers that are none to a request of ours.
    pub wrong: Vec<Datagram>,
}

impl Traffic {
    /// Requests without an answer.
    pub fn lost(&self) -> u64 {
        self.sent - self.answered.len() as u64
    }

    /// Every request was answered, once.
    pub fn assert_nothing_lost(&self) {
        assert!(self.sent > 0);
        assert_eq!(self.lost(), 0, "of {}: {:?}", self.sent, self.holes());
        self.assert_nothing_wrong();
    }

    /// Every answer is one to a request.
    pub fn assert_nothing_wrong(&self) {
        assert_eq!((self.duplicates, self.wrong.as_slice()), (0, &[][..]));
    }

    fn holes(&self) -> Vec<u32> {
        let all = 0..u32::try_from(self.sent).unwrap();
        all.filter(|number| !self.answered.contains(number))
            .take(20)
            .collect()
    }
}

impl Load {
    /// Sends 44-octet requests from `port` over the pair.
    pub fn start(veth: &Veth, port: u16) -> Self {
        Self::repeat(
            RawPeer::open(&veth.sender).unwrap(),
            veth.request_v4(port, 862),
        )
    }

    /// Sends `frame` with numbered payload over and over.
    pub fn repeat(peer: RawPeer, frame: UdpFrame) -> Self {
        let progress = Arc::<Progress>::default();
        let shared = Arc::clone(&progress);
        let thread = thread::spawn(move || run(&peer, &frame, &shared));
        Self {
            progress,
            thread: Some(thread),
        }
    }

    /// Answers so far.
    pub fn answered(&self) -> u64 {
        self.progress.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more are answered.
    pub fn await_answers(&self, more: u64) {
        let before = self.answered();
        wait_until("more requests are answered", DEFAULT_TIMEOUT, || {
            self.answered() >= before + more
        });
    }

    /// Ends it, after the last answers came.
    pub fn stop(mut self) -> Traffic {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(peer: &RawPeer, frame: &UdpFrame, progress: &Progress) -> Traffic {
    let example = Datagram::parse(&frame.build()).unwrap();
    let ours = |frame: &[u8]| is_answer(frame, &example);
    let mut traffic = Traffic::default();
    // Requests without an answer that are not waited for any more; some may be answered yet.
    let mut given_up = 0;
    let mut last = Instant::now();
    loop {
        let stopping = progress.stop.load(Ordering::Relaxed);
        let mut patience = Duration::from_millis(5);
        if !stopping && traffic.lost() < given_up + WINDOW {
            patience = Duration::ZERO;
            let number = u32::try_from(traffic.sent).unwrap();
            // Refused while the link is down, or gone.
            if peer.send(&numbered(frame, number)).is_ok() {
                traffic.sent += 1;
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
        // An error tells that the link went down.
        if let Ok(Some(frame)) = peer.recv_matching(ours, patience) {
            let answer = Datagram::parse(&frame).unwrap();
            last = Instant::now();
            progress.answered.fetch_add(1, Ordering::Relaxed);
            note(&mut traffic, answer, example.destination);
        } else if stopping && (traffic.lost() == 0 || last.elapsed() > LAST_PATIENCE) {
            return traffic;
        } else if !stopping && last.elapsed() > PATIENCE {
            given_up = traffic.lost();
            last = Instant::now();
        }
    }
}

fn numbered(frame: &UdpFrame, number: u32) -> Vec<u8> {
    let mut payload = [0; 44];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    frame.clone().payload(&payload).build()
}

fn is_answer(frame: &[u8], request: &Datagram) -> bool {
    Datagram::parse(frame).is_ok_and(|datagram| datagram.destination == request.source)
}

fn note(traffic: &mut Traffic, answer: Datagram, asked: SocketAddr) {
    let number = answer.payload.get(24..28).map(|octets| {
        let octets = octets.try_into().unwrap();
        u32::from_be_bytes(octets)
    });
    match number {
        Some(number)
            if u64::from(number) < traffic.sent
                && answer.source == asked
                && answer.payload.len() == 44 =>
        {
            traffic.duplicates += u64::from(!traffic.answered.insert(number));
        }
        _ => traffic.wrong.push(answer),
    }
}
