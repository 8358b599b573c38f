//! The truth about a run: what came, and what the relay did with it.

use std::net::SocketAddr;
use std::time::Duration;

use super::fate::{Fate, Onward};

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the Session-Sender to the Session-Reflector.
    Forward,
    /// From the Session-Reflector to the Session-Sender.
    Backward,
}

/// The two ends of a test session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session {
    /// The Session-Sender's address and port.
    pub sender: SocketAddr,
    /// The Session-Reflector's address and port.
    pub reflector: SocketAddr,
}

/// A test packet as it came to the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPacket {
    /// Which way it goes.
    pub direction: Direction,
    /// Whose it is.
    pub session: Session,
    /// The Sender Sequence Number: of the request, or of the request that a reply answers.
    pub sequence: u32,
    /// The packet's own Sequence Number, octets 0 to 3: in a reply the reflector's.
    pub own_sequence: u32,
    /// How many packets with the same session, direction and `sequence` came before it.
    pub copy: u32,
    /// Octets of UDP payload.
    pub payload_len: usize,
    /// The whole TOS or traffic class octet.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
}

/// A packet and what was done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The packet.
    pub packet: TestPacket,
    /// When the relay read it, since it started.
    pub came: Duration,
    /// What the script decided.
    pub fate: Fate,
    /// What has gone on so far, in the order in which it went.
    pub sent: Vec<Sent>,
}

/// A copy that has gone on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Which of the fate's copies it is.
    pub copy: usize,
    /// How many test packets had left in the same direction before it.
    pub place: u64,
    /// When it was handed to the kernel, since the relay started.
    pub at: Duration,
}

/// Everything that came so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Test packets in the order in which they came.
    pub records: Vec<Record>,
    /// Frames that are no test packets and passed.
    pub others: u64,
    /// Frames that the kernel would not take for want of room: lost unintended.
    pub refused: u64,
    /// Test packets that have left, by direction.
    pub(super) left: [u64; 2],
}

impl Session {
    pub(super) fn new(sender: SocketAddr, reflector: SocketAddr) -> Self {
        Self { sender, reflector }
    }
}

impl Log {
    /// Packets that came, going that way.
    pub fn came(&self, direction: Direction) -> impl Iterator<Item = &Record> {
        let wanted = move |record: &&Record| record.packet.direction == direction;
        self.records.iter().filter(wanted)
    }

    /// Copies that went on that way, in the order in which they left and so arrive: what the far end
    /// sees, corrupt ones included.
    pub fn went(&self, direction: Direction) -> Vec<(&Record, &Onward)> {
        let mut went: Vec<_> = self
            .came(direction)
            .flat_map(|record| record.sent.iter().map(move |sent| (record, sent)))
            .collect();
        went.sort_by_key(|(_, sent)| sent.place);
        went.into_iter()
            .filter_map(|(record, sent)| Some((record, record.fate.copies().get(sent.copy)?)))
            .collect()
    }

    /// Sequence numbers of [`went`](Self::went), without the corrupt ones that a checksum check
    /// drops.
    pub fn sequences(&self, direction: Direction) -> Vec<u32> {
        self.went(direction)
            .into_iter()
            .filter(|(_, copy)| !copy.is_corrupt())
            .map(|(record, _)| record.packet.sequence)
            .collect()
    }

    /// Copies that are yet to go on.
    pub fn held(&self) -> usize {
        let held = |record: &Record| record.fate.copies().len() - record.sent.len();
        self.records.iter().map(held).sum()
    }

    /// Notes that a copy has gone on.
    pub(super) fn note(&mut self, record: usize, copy: usize, at: Duration) {
        if let Some(record) = self.records.get_mut(record) {
            let left = match record.packet.direction {
                Direction::Forward => &mut self.left[0],
                Direction::Backward => &mut self.left[1],
            };
            record.sent.push(Sent {
                copy,
                place: *left,
                at,
            });
            *left += 1;
        }
    }
}
