//! The delays of one probe, from its four timestamps (RFC 5357 section 4, RFC 2681, RFC 7679).

use wire::time::{Nanos, Utc};

/// T2 and T3: nanoseconds since 1970-01-01T00:00:00 in the reflector's own time scale.
///
/// The scale is UTC when the reflector stamps in NTP format and TAI when it stamps in PTPv2
/// format. The types of `wire::time` keep the two apart; here they meet on purpose, because the
/// sender does not know TAI-UTC: round-trip time and residence subtract like from like and do not
/// depend on it, one-way delays contain it and the report says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReflectorTimes {
    /// T2, when the reflector received the probe.
    pub receive: i64,
    /// T3, when the reflector sent the reply.
    pub transmit: i64,
}

/// What one answered probe measured. All are signed: nothing is clamped to zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// (T4 - T1) - (T3 - T2), or T4 - T1 when the reply carries no T2 and T3.
    pub round_trip: Nanos,
    /// The parts, when the reply carries T2 and T3.
    pub split: Option<Split>,
}

/// The parts of a round trip that T2 and T3 make visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// T2 - T1: forward delay plus the reflector's clock offset.
    pub forward: Nanos,
    /// T4 - T3: backward delay minus the reflector's clock offset.
    pub backward: Nanos,
    /// T3 - T2: time spent in the reflector.
    pub residence: Nanos,
}

impl Delays {
    /// Subtracts the stamps of one probe.
    pub fn new(t1: Utc, t4: Utc, reflector: Option<ReflectorTimes>) -> Self {
        let away = t4 - t1;
        let Some(ReflectorTimes {
            receive: t2,
            transmit: t3,
        }) = reflector
        else {
            return Self {
                round_trip: away,
                split: None,
            };
        };
        let residence = Nanos::from_nanos(t3.saturating_sub(t2));
        Self {
            round_trip: away - residence,
            split: Some(Split {
                forward: Nanos::from_nanos(t2.saturating_sub(t1.nanos())),
                backward: Nanos::from_nanos(t4.nanos().saturating_sub(t3)),
                residence,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_without_stamps_has_only_a_round_trip() {
        let delays = Delays::new(Utc::from_nanos(100), Utc::from_nanos(350), None);
        assert_eq!(
            delays,
            Delays {
                round_trip: Nanos::from_nanos(250),
                split: None
            }
        );
    }

    #[test]
    fn a_tai_reflector_leaves_the_round_trip_alone() {
        const TAI_OFFSET: i64 = 37_000_000_000;
        let t1 = Utc::from_nanos(1_000);
        let t4 = Utc::from_nanos(9_000);
        let utc = Delays::new(
            t1,
            t4,
            Some(ReflectorTimes {
                receive: 4_000,
                transmit: 5_000,
            }),
        );
        let tai = Delays::new(
            t1,
            t4,
            Some(ReflectorTimes {
                receive: 4_000 + TAI_OFFSET,
                transmit: 5_000 + TAI_OFFSET,
            }),
        );
        assert_eq!(utc.round_trip, tai.round_trip);
        assert_eq!(utc.split.unwrap().residence, tai.split.unwrap().residence);
        assert_eq!(tai.split.unwrap().forward.nanos(), 3_000 + TAI_OFFSET);
        assert_eq!(tai.split.unwrap().backward.nanos(), 4_000 - TAI_OFFSET);
    }
}
