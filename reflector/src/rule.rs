//! What a listener does with the packets it matches: the policy side of the decision. Pure data.

use wire::time::TimestampFormat;

/// Number of a listener: its place in the configuration, and of what is counted and limited for it.
pub type ListenerId = u32;

/// The policy of one listener or provisioned session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The listener it belongs to.
    pub listener: ListenerId,
    /// Packet format.
    pub format: Format,
    /// Format of T2 and T3 (RFC 8186).
    pub timestamps: TimestampFormat,
    /// Whose count the Sequence Number of a reply is.
    pub sequence: SequencePolicy,
    /// DSCP of replies.
    pub dscp: DscpPolicy,
    /// ECN field of replies.
    pub ecn: EcnPolicy,
    /// IPv6 Flow Label of replies.
    pub flow_label: FlowLabelPolicy,
    /// What is done with requests that are shorter than their reply.
    pub short: ShortPolicy,
    /// Leave packets unanswered that look like another reflector's reply.
    pub refuse_replies: bool,
}

/// Which packet format a listener speaks. The base packets are alike; they differ in the shortest
/// reply and in what octets 14, 15 and 41 to 43 mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// By length: STAMP from 44 octets, TWAMP-Light below.
    #[default]
    ByLength,
    /// TWAMP-Light (RFC 5357 appendix I): at least 41 octets; the padding comes back as told.
    TwampLight(Padding),
    /// TWAMP-Light with the octet S-DSCP-ECN (RFC 7750): at least 44 octets.
    TwampLightDscp(Padding),
    /// STAMP (RFC 8762) with the SSID of RFC 8972: at least 44 octets, those beyond copied.
    Stamp,
}

/// What follows the header of a TWAMP-Light reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Padding {
    /// The octets of the request at the same offset: Symmetrical Size (RFC 6038 section 5.2.2).
    #[default]
    SameOffset,
    /// The octets of the request, shifted behind the longer header: Reflect Octets (RFC 6038
    /// section 5.2.1).
    Shift,
    /// Zeros.
    Zero,
}

/// `Sequence Number` of a reply (RFC 5357 section 4.2.1 and appendix I, RFC 8762 section 4.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SequencePolicy {
    /// That of the request.
    #[default]
    Stateless,
    /// The session's own count.
    Stateful,
}

/// DSCP of a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DscpPolicy {
    /// That of the request.
    #[default]
    Copy,
    /// This one, 0 to 63.
    Fixed(u8),
}

/// ECN field of a reply (RFC 7750 section 2.2: Not-ECT unless provisioned).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EcnPolicy {
    /// Not-ECT.
    #[default]
    Clear,
    /// That of the request.
    Copy,
}

/// IPv6 Flow Label of a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FlowLabelPolicy {
    /// That of the request: both directions hash alike. A UDP socket is not told it, so what comes
    /// from one has 0.
    #[default]
    Copy,
    /// 0: no flow (RFC 6437 section 2).
    Zero,
}

/// Requests shorter than the reply they would get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ShortPolicy {
    /// Answered: 41 or 44 octets for at least 14.
    #[default]
    Answer,
    /// Not answered, so that nothing is ever amplified.
    Refuse,
}

impl Rule {
    /// TOS or Traffic Class octet of the reply to a packet that came with `received`.
    #[inline]
    pub const fn reply_tos(&self, received: u8) -> u8 {
        let dscp = match self.dscp {
            DscpPolicy::Copy => received & !0b11,
            DscpPolicy::Fixed(dscp) => dscp << 2,
        };
        match self.ecn {
            EcnPolicy::Clear => dscp,
            EcnPolicy::Copy => dscp | (received & 0b11),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        listener: 0,
        format: Format::ByLength,
        timestamps: TimestampFormat::Ntp,
        sequence: SequencePolicy::Stateless,
        dscp: DscpPolicy::Copy,
        ecn: EcnPolicy::Clear,
        flow_label: FlowLabelPolicy::Copy,
        short: ShortPolicy::Answer,
        refuse_replies: true,
    };

    #[test]
    fn dscp_and_ecn_are_chosen_apart() {
        const EF_CE: u8 = 0xbb;
        let tos = |dscp, ecn| Rule { dscp, ecn, ..RULE }.reply_tos(EF_CE);
        assert_eq!(tos(DscpPolicy::Copy, EcnPolicy::Clear), 0xb8);
        assert_eq!(tos(DscpPolicy::Copy, EcnPolicy::Copy), 0xbb);
        assert_eq!(tos(DscpPolicy::Fixed(0), EcnPolicy::Clear), 0);
        assert_eq!(tos(DscpPolicy::Fixed(63), EcnPolicy::Copy), 0xff);
    }
}
