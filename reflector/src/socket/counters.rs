//! What happened to the datagrams of one worker, counted by it and read by any.

use nix::errno::Errno;

use crate::counters::Counter;
use crate::policer::Exceeded;
use crate::reflect::Ignored;
use crate::rulebook::Refusal;

/// Why a datagram that a socket delivered is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Unanswered {
    /// It was cut off, or came without word of its destination: the system broke its promise.
    Malformed,
    /// It was sent to a broadcast or multicast address: a reply would be one of many.
    Group,
    /// No listener is at its address, port and device.
    NotOurs,
    /// Its source is no single other host, or its port is 0: a reply would go nowhere or everywhere.
    Source,
    /// Its source is an address of this host.
    OwnSource,
    /// Its source port is a general listener's: the other side might be a reflector like us.
    ListenerPort,
    /// The client list is against it, or the listener is for its peers alone.
    Client,
    /// The source's bucket is empty.
    SourcePoliced,
    /// The listener's bucket is empty.
    Policed,
    /// Fewer octets than a request has.
    TooShort,
    /// Shorter than its reply, which the rule refuses.
    ShortRefused,
    /// It looks like another reflector's reply.
    LooksLikeReply,
    /// There is no room for one more session.
    SessionTableFull,
    /// The reply does not fit in the buffer.
    NoRoom,
    /// The decision gave a reason that is not listed here.
    Other,
}

impl Unanswered {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::Group,
        Self::NotOurs,
        Self::Source,
        Self::OwnSource,
        Self::ListenerPort,
        Self::Client,
        Self::SourcePoliced,
        Self::Policed,
        Self::TooShort,
        Self::ShortRefused,
        Self::LooksLikeReply,
        Self::SessionTableFull,
        Self::NoRoom,
        Self::Other,
    ];

    /// The reason in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Malformed => "malformed datagram",
            Self::Group => "sent to a broadcast or multicast address",
            Self::NotOurs => "no listener there",
            Self::Source => "source that cannot be answered",
            Self::OwnSource => "source is an address of this host",
            Self::ListenerPort => "source port is a listener's",
            Self::Client => "client not allowed",
            Self::SourcePoliced => "source above its rate",
            Self::Policed => "listener above its rate",
            Self::TooShort => "payload shorter than 14 octets",
            Self::ShortRefused => "payload shorter than its reply",
            Self::LooksLikeReply => "looks like a reply",
            Self::SessionTableFull => "session table full",
            Self::NoRoom => "no room for the reply",
            Self::Other => "other reason",
        }
    }
}

impl From<Ignored> for Unanswered {
    fn from(reason: Ignored) -> Self {
        match reason {
            Ignored::TooShort => Self::TooShort,
            Ignored::ShortRefused => Self::ShortRefused,
            Ignored::LooksLikeReply => Self::LooksLikeReply,
            Ignored::SessionTableFull => Self::SessionTableFull,
            Ignored::NoRoom => Self::NoRoom,
        }
    }
}

impl From<Refusal> for Unanswered {
    fn from(reason: Refusal) -> Self {
        match reason {
            Refusal::Source => Self::Source,
            Refusal::OwnSource => Self::OwnSource,
            Refusal::ListenerPort => Self::ListenerPort,
            Refusal::Client => Self::Client,
        }
    }
}

impl From<Exceeded> for Unanswered {
    fn from(limit: Exceeded) -> Self {
        match limit {
            Exceeded::Source => Self::SourcePoliced,
            Exceeded::Listener => Self::Policed,
        }
    }
}

/// Why the kernel did not take a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum SendError {
    /// The socket's or the device's queue is full.
    Full,
    /// A route or a packet filter forbids it.
    Forbidden,
    /// There is no way to the source.
    Unreachable,
    /// It is longer than the path takes, or than a datagram can be.
    TooLong,
    /// Anything else; an address that was this host's and is not any more, for one.
    Other,
}

impl SendError {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 5] = [
        Self::Full,
        Self::Forbidden,
        Self::Unreachable,
        Self::TooLong,
        Self::Other,
    ];

    /// The reason in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Full => "send queue full",
            Self::Forbidden => "sending forbidden",
            Self::Unreachable => "source unreachable",
            Self::TooLong => "reply too long for the path",
            Self::Other => "other send error",
        }
    }
}

impl From<Errno> for SendError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM => Self::Full,
            Errno::EPERM | Errno::EACCES => Self::Forbidden,
            Errno::ENETUNREACH
            | Errno::EHOSTUNREACH
            | Errno::ENETDOWN
            | Errno::EHOSTDOWN
            | Errno::ENODEV
            | Errno::ENXIO => Self::Unreachable,
            Errno::EMSGSIZE => Self::TooLong,
            _ => Self::Other,
        }
    }
}

/// One worker's datagrams. `received` = `reflected` + all of `unanswered` + all of `send_errors`
/// between two turns of the worker.
///
/// Datagrams that the kernel dropped before they reached a worker are not among them: see
/// [`super::SocketFigures::kernel_drops`].
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct SocketCounters {
    /// Datagrams taken from the sockets.
    pub received: Counter,
    /// Replies that the kernel took.
    pub reflected: Counter,
    /// Datagrams whose T2 came from user space, because the kernel had no stamp for them.
    pub user_space_stamps: Counter,
    /// Receive calls that failed for a reason other than having nothing (link down, say).
    pub receive_errors: Counter,
    /// Datagrams not answered, by reason.
    pub unanswered: [Counter; Unanswered::ALL.len()],
    /// Replies that the kernel did not take, by reason.
    pub send_errors: [Counter; SendError::ALL.len()],
}

impl SocketCounters {
    /// Counts a datagram that is not answered.
    pub fn count(&self, reason: Unanswered) {
        self.unanswered[reason as usize].add(1);
    }

    /// Counts `replies` that the kernel did not take.
    pub fn count_unsent(&self, reason: SendError, replies: u64) {
        self.send_errors[reason as usize].add(replies);
    }

    /// Datagrams not answered for this reason.
    pub fn unanswered(&self, reason: Unanswered) -> u64 {
        self.unanswered[reason as usize].value()
    }

    /// Datagrams not answered for whatever reason.
    pub fn unanswered_total(&self) -> u64 {
        self.unanswered.iter().map(Counter::value).sum()
    }

    /// Replies not taken for this reason.
    pub fn send_errors(&self, reason: SendError) -> u64 {
        self.send_errors[reason as usize].value()
    }

    /// Replies not taken for whatever reason.
    pub fn send_errors_total(&self) -> u64 {
        self.send_errors.iter().map(Counter::value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_in_the_order_of_their_reasons() {
        for (place, reason) in Unanswered::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        for (place, reason) in SendError::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }

    #[test]
    fn send_errors_have_names() {
        assert_eq!(SendError::from(Errno::ENOBUFS), SendError::Full);
        assert_eq!(SendError::from(Errno::EPERM), SendError::Forbidden);
        assert_eq!(SendError::from(Errno::EHOSTUNREACH), SendError::Unreachable);
        assert_eq!(SendError::from(Errno::EMSGSIZE), SendError::TooLong);
        assert_eq!(SendError::from(Errno::EINVAL), SendError::Other);
    }
}
