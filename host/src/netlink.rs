//! Questions to the kernel over rtnetlink(7).

use std::convert::Infallible;
use std::io;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// How often a table is read again because it changed meanwhile.
const DUMP_TRIES: u32 = 8;

/// A socket for questions, one at a time.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// The kernel refuses a netlink socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Asks for one object.
    ///
    /// # Errors
    ///
    /// The kernel's, as the errno that it answers with; there is no such object, say.
    pub fn get(&mut self, question: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        self.exchange(question, 0)?
            .ok_or_else(|| io::Error::other("the kernel acknowledged a question"))
    }

    /// Asks for a change, with more flags of the netlink header.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(message, NLM_F_ACK | flags).map(|_| ())
    }

    /// Asks for a table and has `read` make something of each message of type `answer`.
    ///
    /// A table that changed while it was read is read again. One that never holds still is taken
    /// as it was the last time: whoever watches it learns of the next change anyway.
    pub(crate) fn dump<T>(
        &mut self,
        question: &RouteNetlinkMessage,
        answer: u16,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut tries = 1;
        loop {
            let mut entries = Vec::new();
            let interrupted = self.dump_once(question.clone(), |message| {
                if message.kind == answer {
                    entries.extend(read(&message.payload));
                }
            })?;
            if !interrupted || tries == DUMP_TRIES {
                return Ok(entries);
            }
            tries += 1;
        }
    }

    /// Hands out the messages; true if the table changed meanwhile.
    fn dump_once(
        &mut self,
        question: RouteNetlinkMessage,
        mut entry: impl FnMut(Raw),
    ) -> io::Result<bool> {
        self.send(question, NLM_F_DUMP)?;
        let mut interrupted = false;
        loop {
            let octets = self.receive()?;
            let mut rest = octets.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<Raw>::deserialize(rest).map_err(invalid)?;
                let (header, payload) = message.into_parts();
                rest = after(rest, header.length);
                if header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match payload {
                    NetlinkPayload::InnerMessage(message) => entry(message),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
                    }
                    NetlinkPayload::Done(_) => return Ok(interrupted),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    _ => {}
                }
            }
        }
    }

    /// The answer, or `None` for an acknowledgement.
    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.send(message, flags)?;
        loop {
            let octets = self.receive()?;
            let answer =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(&octets).map_err(invalid)?;
            let (header, payload) = answer.into_parts();
            if header.sequence_number != self.sequence {
                continue;
            }
            match payload {
                NetlinkPayload::InnerMessage(message) => return Ok(Some(message)),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) => return Ok(None),
                _ => {}
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut octets = vec![0; packet.buffer_len()];
        packet.serialize(&mut octets);
        self.socket.send(&octets, 0).map(drop)
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            match self.socket.recv_from_full() {
                Ok((octets, _)) => return Ok(octets),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A message as it came, for readers that take from it what they know.
struct Raw {
    kind: u16,
    payload: Vec<u8>,
}

impl NetlinkDeserializable for Raw {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self {
            kind: header.message_type,
            payload: payload.to_vec(),
        })
    }
}

/// What follows the first message of a datagram: each begins at a multiple of four octets.
fn after(datagram: &[u8], length: u32) -> &[u8] {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let next = length.checked_next_multiple_of(4);
    next.and_then(|next| datagram.get(next..)).unwrap_or(&[])
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
