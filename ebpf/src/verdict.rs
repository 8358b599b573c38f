//! What became of each packet, and the counters of it.

use std::ops::AddAssign;

/// Why an XDP program sent a packet where it sent it (`enum verdict`), in the header's order.
///
/// The programs share the list: each has one way to say that nothing of its own matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[expect(
    missing_docs,
    reason = "`Verdict::meaning` says each in words a user reads"
)]
pub enum Verdict {
    Redirected,
    RedirectedBare,
    PassedNotIp,
    PassedVlanDepth,
    PassedTruncated,
    PassedIpOptions,
    PassedIpMalformed,
    PassedFragment,
    PassedNotUdp,
    PassedUdpLength,
    PassedOtherMac,
    PassedNoListener,
    PassedTooLong,
    PassedNoSocket,
    PassedNoSession,
    PassedClient,
    DroppedOwnSource,
    DroppedListenerPort,
    DroppedClient,
    DroppedSourceRate,
    DroppedRate,
}

impl Verdict {
    /// Every verdict, in the order of the counter array.
    pub const ALL: [Self; 21] = [
        Self::Redirected,
        Self::RedirectedBare,
        Self::PassedNotIp,
        Self::PassedVlanDepth,
        Self::PassedTruncated,
        Self::PassedIpOptions,
        Self::PassedIpMalformed,
        Self::PassedFragment,
        Self::PassedNotUdp,
        Self::PassedUdpLength,
        Self::PassedOtherMac,
        Self::PassedNoListener,
        Self::PassedTooLong,
        Self::PassedNoSocket,
        Self::PassedNoSession,
        Self::PassedClient,
        Self::DroppedOwnSource,
        Self::DroppedListenerPort,
        Self::DroppedClient,
        Self::DroppedSourceRate,
        Self::DroppedRate,
    ];

    /// The verdict in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Redirected => "redirected to AF_XDP",
            Self::RedirectedBare => "redirected to AF_XDP without metadata",
            Self::PassedNotIp => "not IP",
            Self::PassedVlanDepth => "more than two VLAN tags",
            Self::PassedTruncated => "truncated",
            Self::PassedIpOptions => "IP options or extension headers",
            Self::PassedIpMalformed => "malformed IP header",
            Self::PassedFragment => "IP fragment",
            Self::PassedNotUdp => "not UDP",
            Self::PassedUdpLength => "UDP length disagrees with IP length",
            Self::PassedOtherMac => "another destination MAC address",
            Self::PassedNoListener => "UDP for no listener",
            Self::PassedTooLong => "multi-buffer or longer than a UMEM chunk",
            Self::PassedNoSocket => "no AF_XDP socket on its queue",
            Self::PassedNoSession => "UDP that is no reply to a session",
            Self::PassedClient | Self::DroppedClient => "from neither client nor peer",
            Self::DroppedOwnSource => "our own address as source",
            Self::DroppedListenerPort => "a listener's port as source",
            Self::DroppedSourceRate => "over the limit of its source",
            Self::DroppedRate => "over the limits of its listener",
        }
    }

    /// Whether such packets went to an AF_XDP socket. Those that did not and were not dropped went to
    /// the kernel.
    pub const fn is_redirect(self) -> bool {
        matches!(self, Self::Redirected | Self::RedirectedBare)
    }

    /// Whether such packets were dropped: understood, and not to be answered.
    pub const fn is_drop(self) -> bool {
        matches!(
            self,
            Self::DroppedOwnSource
                | Self::DroppedListenerPort
                | Self::DroppedClient
                | Self::DroppedSourceRate
                | Self::DroppedRate
        )
    }
}

/// Packets per [`Verdict`], summed over the CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts(pub(crate) [u64; Verdict::ALL.len()]);

impl AddAssign for VerdictCounts {
    fn add_assign(&mut self, more: Self) {
        for (count, more) in self.0.iter_mut().zip(more.0) {
            *count += more;
        }
    }
}

impl VerdictCounts {
    /// Packets with this verdict.
    pub const fn of(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    /// Every verdict with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> {
        Verdict::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_stand_in_the_order_of_the_counters() {
        for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, index);
        }
    }
}
