//! What the IP headers of both directions tell: hops, and changes of DSCP and ECN.

/// Counts by the value of one octet.
#[derive(Debug, Clone)]
pub struct OctetCounts(Box<[u64; 256]>);

impl Default for OctetCounts {
    fn default() -> Self {
        Self(Box::new([0; 256]))
    }
}

impl OctetCounts {
    /// Counts one value.
    pub fn add(&mut self, value: u8) {
        self.0[usize::from(value)] += 1;
    }

    /// Adds the counts of another.
    pub fn absorb(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *mine += theirs;
        }
    }

    /// Each value that occurred, with its count, smallest first.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u64)> {
        (0..=u8::MAX)
            .zip(self.0.iter().copied())
            .filter(|&(_, count)| count > 0)
    }

    /// Number of values counted.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many were another value than `expected`.
    pub fn other_than(&self, expected: u8) -> u64 {
        self.total() - self.0[usize::from(expected)]
    }
}

/// IP header fields of the replies received in time.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// Hops on the way there: our TTL less the Sender TTL in the reply (RFC 5357 section 4.2.1).
    pub hops_forward: OctetCounts,
    /// Hops on the way back: the TTL that the reply must have left with, less the one it came with.
    pub hops_backward: OctetCounts,
    /// DSCP and ECN with which our probes reached the reflector, where it reports them (RFC 7750).
    pub tos_forward: OctetCounts,
    /// DSCP and ECN with which the replies reached us.
    pub tos_backward: OctetCounts,
}

/// The fields of one reply, where they could be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderFields {
    /// Sender TTL of the reply.
    pub sender_ttl: Option<u8>,
    /// S-DSCP-ECN of the reply.
    pub sender_tos: Option<u8>,
    /// TTL or Hop Limit of the reply's own IP header.
    pub ttl: Option<u8>,
    /// TOS or Traffic Class octet of the reply's own IP header.
    pub tos: Option<u8>,
}

/// TTLs that replies leave with: 64 and 128 by habit of operating systems, 255 as the standards want.
const FULL_TTLS: [u8; 3] = [64, 128, 255];

impl Headers {
    /// Takes one reply to a probe that left with `sent_ttl`.
    pub fn observe(&mut self, fields: HeaderFields, sent_ttl: u8) {
        let hops = |left: u8, arrived: u8| left.checked_sub(arrived);
        if let Some(hops) = fields.sender_ttl.and_then(|ttl| hops(sent_ttl, ttl)) {
            self.hops_forward.add(hops);
        }
        if let Some(ttl) = fields.ttl {
            // No path has so many hops that the next one could be meant.
            let left = FULL_TTLS.into_iter().find(|&full| ttl <= full);
            self.hops_backward.add(left.unwrap_or(ttl) - ttl);
        }
        if let Some(tos) = fields.sender_tos {
            self.tos_forward.add(tos);
        }
        if let Some(tos) = fields.tos {
            self.tos_backward.add(tos);
        }
    }

    /// Adds the counts of another.
    pub fn absorb(&mut self, other: &Self) {
        self.hops_forward.absorb(&other.hops_forward);
        self.hops_backward.absorb(&other.hops_backward);
        self.tos_forward.absorb(&other.tos_forward);
        self.tos_backward.absorb(&other.tos_backward);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_hops_and_what_became_of_the_dscp() {
        let mut headers = Headers::default();
        let fields = HeaderFields {
            sender_ttl: Some(60),
            sender_tos: Some(0),
            ttl: Some(252),
            tos: Some(184),
        };
        headers.observe(fields, 64);
        headers.observe(
            HeaderFields {
                ttl: Some(251),
                ..fields
            },
            64,
        );
        headers.observe(HeaderFields::default(), 64);
        let list = |counts: &OctetCounts| counts.iter().collect::<Vec<_>>();
        assert_eq!(list(&headers.hops_forward), [(4, 2)]);
        assert_eq!(list(&headers.hops_backward), [(3, 1), (4, 1)]);
        assert_eq!(headers.tos_forward.other_than(184), 2);
        assert_eq!(headers.tos_backward.other_than(184), 0);
        let mut sum = headers.clone();
        sum.absorb(&headers);
        assert_eq!(list(&sum.hops_forward), [(4, 4)]);
    }

    #[test]
    fn a_reply_may_leave_with_less_than_255() {
        let mut headers = Headers::default();
        for ttl in [64, 61, 128, 125, 255, 250] {
            let fields = HeaderFields {
                ttl: Some(ttl),
                ..HeaderFields::default()
            };
            headers.observe(fields, 255);
        }
        let hops: Vec<_> = headers.hops_backward.iter().collect();
        assert_eq!(hops, [(0, 3), (3, 2), (5, 1)]);
    }

    #[test]
    fn a_sender_ttl_above_ours_is_no_hop_count() {
        let mut headers = Headers::default();
        let fields = HeaderFields {
            sender_ttl: Some(255),
            ..HeaderFields::default()
        };
        headers.observe(fields, 64);
        assert_eq!(headers.hops_forward.total(), 0);
    }
}
