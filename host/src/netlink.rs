//! Questions to the kernel over rtnetlink(7).

use std::convert::Infallible;
use std::io;
use std::ops::ControlFlow;

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
        let mut dump = Dump {
            sequence: self.sequence,
            interrupted: false,
        };
        while dump.take(&self.receive()?, &mut entry)?.is_continue() {}
        Ok(dump.interrupted)
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

/// The answer to a dump as it comes in.
struct Dump {
    /// Of the question.
    sequence: u32,
    /// The table changed while it was read (`NLM_F_DUMP_INTR`): entries may be missing.
    interrupted: bool,
}

impl Dump {
    /// Takes what came in one datagram; breaks at the end of the table.
    fn take(&mut self, datagram: &[u8], mut entry: impl FnMut(Raw)) -> io::Result<ControlFlow<()>> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let message = NetlinkMessage::<Raw>::deserialize(rest).map_err(invalid)?;
            let (header, payload) = message.into_parts();
            rest = after(rest, header.length);
            if header.sequence_number != self.sequence {
                continue;
            }
            self.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
            match payload {
                NetlinkPayload::InnerMessage(message) => entry(message),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
                }
                NetlinkPayload::Done(_) => return Ok(ControlFlow::Break(())),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A message as it came, for readers that take from it what they know.
#[derive(Debug, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use nix::libc::{NLMSG_DONE, NLMSG_ERROR, RTM_NEWADDR, RTM_NEWLINK};

    use super::*;

    const SEQUENCE: u32 = 7;

    /// `struct nlmsghdr`, the payload, and zeros up to a multiple of four.
    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let mut octets = Vec::new();
        octets.extend(length.to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend(flags.to_ne_bytes());
        octets.extend(sequence.to_ne_bytes());
        octets.extend(0_u32.to_ne_bytes());
        octets.extend(payload);
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    fn done(code: i32) -> Vec<u8> {
        message(
            u16::try_from(NLMSG_DONE).unwrap(),
            0,
            SEQUENCE,
            &code.to_ne_bytes(),
        )
    }

    /// Takes the datagrams until the end.
    fn read(datagrams: &[Vec<u8>]) -> io::Result<(Vec<Vec<u8>>, bool)> {
        let mut dump = Dump {
            sequence: SEQUENCE,
            interrupted: false,
        };
        let mut payloads = Vec::new();
        for (number, datagram) in datagrams.iter().enumerate() {
            let flow = dump.take(datagram, |message| payloads.push(message.payload))?;
            assert_eq!(flow.is_break(), number + 1 == datagrams.len(), "{number}");
        }
        Ok((payloads, dump.interrupted))
    }

    #[test]
    fn a_table_comes_in_many_messages_and_datagrams() {
        let other = message(RTM_NEWADDR, 0, SEQUENCE - 1, b"of another question");
        let datagrams = [
            [
                message(RTM_NEWLINK, 0, SEQUENCE, b"one"),
                other,
                message(RTM_NEWLINK, 0, SEQUENCE, b"two"),
            ]
            .concat(),
            message(RTM_NEWLINK, 0, SEQUENCE, b"three"),
            done(0),
        ];
        let (payloads, interrupted) = read(&datagrams).unwrap();
        assert_eq!(payloads, [&b"one"[..], b"two", b"three"]);
        assert!(!interrupted);
    }

    #[test]
    fn a_table_that_changed_meanwhile_is_noticed() {
        let flags = NLM_F_DUMP_INTR;
        let datagrams = [message(RTM_NEWLINK, flags, SEQUENCE, b"one"), done(0)];
        assert!(read(&datagrams).unwrap().1);
        let foreign = message(RTM_NEWLINK, flags, SEQUENCE - 1, b"one");
        assert!(!read(&[[foreign, done(0)].concat()]).unwrap().1);
    }

    #[test]
    fn a_refused_or_broken_dump_is_an_error() {
        let refused = Errno::EPERM as i32;
        let error = [&(-refused).to_ne_bytes()[..], &[0; 16]].concat();
        let kind = u16::try_from(NLMSG_ERROR).unwrap();
        for datagram in [message(kind, 0, SEQUENCE, &error), done(-refused)] {
            let error = read(&[datagram]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(refused));
        }
        let cut = message(RTM_NEWLINK, 0, SEQUENCE, b"cut off")[..20].to_vec();
        let error = read(&[cut]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
