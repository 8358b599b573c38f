//! Replies that came to the queue of one worker and belong to a session of another.
//!
//! The card spreads replies over its queues by a hash that we do not know, so a reply may come to
//! any of them. Its T4 is taken by then; what remains is to hand it over.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::matching::Numbering;
use crate::measure::Reception;
use crate::transport::{Datagram, HEAD_MAX};

/// Replies that wait for a worker at most. One that finds no room is dropped and counted.
const ROOM: usize = 4096;

/// A reply on its way to another worker.
#[derive(Debug)]
struct Handed {
    session: usize,
    head: [u8; HEAD_MAX],
    head_len: usize,
    len: usize,
    reception: Reception,
    ttl: Option<u8>,
    tos: Option<u8>,
}

/// One worker's end.
#[derive(Debug)]
pub struct Exchange {
    worker: usize,
    /// Number of workers that have sessions: the first ones.
    senders: usize,
    to: Vec<SyncSender<Handed>>,
    from: Receiver<Handed>,
}

/// Whose reply it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Ours: the number of the session with us.
    Us(usize),
    /// That of another worker, to whom it was handed over.
    Other,
    /// That of another worker, who has no room for it.
    OtherFull,
}

/// An end for each of `workers` workers (one at least), of which the first `senders` have sessions.
pub fn exchanges(workers: usize, senders: usize) -> Vec<Exchange> {
    let (to, from): (Vec<_>, Vec<_>) = (0..workers.max(1)).map(|_| sync_channel(ROOM)).unzip();
    let end = |(worker, from)| Exchange {
        worker,
        senders: senders.clamp(1, workers.max(1)),
        to: to.clone(),
        from,
    };
    from.into_iter().enumerate().map(end).collect()
}

impl Exchange {
    /// Whether this worker has sessions; else it only receives, for those that have.
    pub fn has_sessions(&self) -> bool {
        self.worker < self.senders
    }

    /// How this worker's sessions are numbered in the run: in turn over the workers that have any.
    pub fn numbering(&self) -> Numbering {
        Numbering {
            first: self.worker,
            step: self.senders,
        }
    }

    /// Hands a datagram for session `datagram.session` of the run to its worker, unless it is ours.
    #[inline]
    pub fn hand_over(&self, datagram: &Datagram<'_>) -> Owner {
        if self.senders == 1 && self.worker == 0 {
            return Owner::Us(datagram.session);
        }
        self.hand_over_among_many(datagram)
    }

    fn hand_over_among_many(&self, datagram: &Datagram<'_>) -> Owner {
        let session = datagram.session / self.senders;
        let worker = datagram.session % self.senders;
        if worker == self.worker {
            return Owner::Us(session);
        }
        let mut head = [0; HEAD_MAX];
        let head_len = datagram.head.len().min(HEAD_MAX);
        head[..head_len].copy_from_slice(&datagram.head[..head_len]);
        let handed = Handed {
            session,
            head,
            head_len,
            len: datagram.len,
            reception: datagram.reception,
            ttl: datagram.ttl,
            tos: datagram.tos,
        };
        match self.to[worker].try_send(handed) {
            Ok(()) => Owner::Other,
            Err(_) => Owner::OtherFull,
        }
    }

    /// Takes the replies that others handed over; returns their number. Those that come in meanwhile
    /// are for the next call: others may bring them as fast as they are taken.
    pub fn take(&self, mut each: impl FnMut(&Datagram<'_>)) -> usize {
        let mut taken = 0;
        for handed in self.from.try_iter().take(ROOM) {
            taken += 1;
            each(&Datagram {
                session: handed.session,
                head: &handed.head[..handed.head_len],
                len: handed.len,
                reception: handed.reception,
                ttl: handed.ttl,
                tos: handed.tos,
            });
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use wire::time::Utc;

    use super::*;
    use crate::measure::T4Source;

    fn datagram(session: usize, head: &[u8]) -> Datagram<'_> {
        Datagram {
            session,
            head,
            len: 500,
            reception: Reception {
                t4: Utc::from_nanos(7),
                source: T4Source::Xdp,
            },
            ttl: Some(3),
            tos: None,
        }
    }

    #[test]
    fn a_reply_finds_its_worker() {
        let ends = exchanges(4, 3);
        assert_eq!(ends[1].hand_over(&datagram(7, b"ours")), Owner::Us(2));
        assert_eq!(ends[1].hand_over(&datagram(8, b"theirs")), Owner::Other);
        let mut seen = Vec::new();
        let taken = ends[2].take(|datagram| {
            seen.push((
                datagram.session,
                datagram.head.to_vec(),
                datagram.len,
                datagram.ttl,
            ));
        });
        assert_eq!(
            (taken, &seen[..]),
            (1, &[(2, b"theirs".to_vec(), 500, Some(3))][..])
        );
        assert_eq!(ends[2].numbering().global(2), 8);
        let with = ends.iter().map(Exchange::has_sessions);
        assert_eq!(with.collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!(ends[0].take(|_| ()), 0);
    }

    #[test]
    fn taking_ends_though_others_go_on_handing_over() {
        let ends = exchanges(2, 2);
        assert_eq!(ends[0].hand_over(&datagram(1, b"")), Owner::Other);
        let taken = ends[1].take(|_| {
            let _ = ends[0].hand_over(&datagram(1, b""));
        });
        assert_eq!(taken, ROOM);
    }

    #[test]
    fn a_worker_that_does_not_look_loses_no_more_than_what_is_counted() {
        let ends = exchanges(2, 2);
        for _ in 0..ROOM {
            assert_eq!(ends[0].hand_over(&datagram(1, b"")), Owner::Other);
        }
        assert_eq!(ends[0].hand_over(&datagram(1, b"")), Owner::OtherFull);
    }
}
