//! Doubts about the figures of a run: when not to believe one, and why.

use std::fmt;
use std::io;
use std::time::Duration;

use wire::time::Nanos;

use crate::outcome::Outcome;
use crate::report::units::{self, counted};
use crate::transport::IcmpKind;

/// A reason to doubt a figure, or to know its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The network saw gaps that were not asked for.
    Skipped {
        /// Slots without a packet.
        slots: u64,
    },
    /// The system refused packets.
    Refused {
        /// How many.
        packets: u64,
        /// What it said of the first.
        reason: String,
    },
    /// The system took packets later than they were stamped.
    Held {
        /// How many.
        packets: u64,
        /// What it said of the first.
        reason: String,
    },
    /// The run was stopped early.
    Stopped {
        /// Slots not reached.
        slots: u64,
        /// How long replies to the last packets were waited for, if that was cut short.
        waited: Option<Duration>,
    },
    /// This host dropped replies, so the loss is not the network's.
    DroppedHere {
        /// How many.
        datagrams: u64,
    },
    /// Datagrams that answer no probe in memory.
    Invalid {
        /// How many.
        datagrams: u64,
    },
    /// Packets were not sent for want of room.
    Congested {
        /// How many.
        packets: u64,
    },
    /// Some T4 were taken in user space.
    UserSpaceT4 {
        /// How many.
        replies: u64,
    },
    /// Our clock was set during the run.
    ClockStepped {
        /// By how much, all steps without their signs.
        by: Nanos,
    },
    /// Replies without T2 and T3: no one-way delays, and residence is part of the round trip.
    EchoOnly {
        /// How many.
        replies: u64,
    },
    /// The reflector stamps in TAI; one-way delays contain TAI-UTC.
    PtpEpoch {
        /// Replies with such stamps.
        replies: u64,
    },
    /// T3 before T2.
    NegativeResidence {
        /// How many.
        replies: u64,
    },
    /// T3 - T2 above T4 - T1.
    NegativeRoundTrip {
        /// How many.
        replies: u64,
    },
    /// Error Estimates that say nothing.
    ErrorUnknown {
        /// How many.
        replies: u64,
    },
    /// STAMP replies without our identifier.
    NoSsid {
        /// How many.
        replies: u64,
    },
    /// Send times were missed by more than the round trips are long.
    SendError {
        /// 99th percentile of the send-time error.
        p99: Nanos,
        /// Median round trip.
        round_trip: Nanos,
    },
    /// This machine's processors were busy all the time.
    CpuSaturated {
        /// Their busy share in percent.
        percent: u64,
    },
    /// T1 is in PTP format, and this host does not know TAI.
    NoTai,
    /// ICMP errors of one kind.
    Icmp {
        /// Which kind.
        kind: IcmpKind,
        /// How many.
        errors: u64,
    },
}

impl Warning {
    /// The code of every warning.
    pub const CODES: [&str; 19] = [
        "stopped",
        "skipped",
        "congested",
        "refused",
        "dropped_here",
        "invalid",
        "t4_user_space",
        "clock_stepped",
        "echo_only",
        "ptp_epoch",
        "residence_negative",
        "round_trip_negative",
        "error_unknown",
        "no_ssid",
        "held",
        "send_error",
        "cpu_saturated",
        "no_tai",
        "icmp",
    ];

    /// The warnings that the figures of a run give rise to.
    pub(crate) fn all_of(
        outcome: &Outcome,
        refusal: Option<&io::Error>,
        clock_steps: Nanos,
        no_tai: bool,
    ) -> Vec<Self> {
        let peer = &outcome.peer;
        let reason = || refusal.map_or_else(String::new, ToString::to_string);
        let candidates = [
            (
                outcome.was_stopped().into(),
                Self::Stopped {
                    slots: outcome.not_reached,
                    waited: outcome.cut_short,
                },
            ),
            (
                outcome.skipped,
                Self::Skipped {
                    slots: outcome.skipped,
                },
            ),
            (
                outcome.congested,
                Self::Congested {
                    packets: outcome.congested,
                },
            ),
            (
                outcome.refused,
                Self::Refused {
                    packets: outcome.refused,
                    reason: reason(),
                },
            ),
            (
                outcome.trouble.dropped_here,
                Self::DroppedHere {
                    datagrams: outcome.trouble.dropped_here,
                },
            ),
            (
                outcome.counts.invalid,
                Self::Invalid {
                    datagrams: outcome.counts.invalid,
                },
            ),
            (
                peer.t4_user_space,
                Self::UserSpaceT4 {
                    replies: peer.t4_user_space,
                },
            ),
            (
                clock_steps.nanos().unsigned_abs(),
                Self::ClockStepped { by: clock_steps },
            ),
            (
                peer.echo_only,
                Self::EchoOnly {
                    replies: peer.echo_only,
                },
            ),
            (peer.ptp, Self::PtpEpoch { replies: peer.ptp }),
            (
                peer.residence_negative,
                Self::NegativeResidence {
                    replies: peer.residence_negative,
                },
            ),
            (
                peer.round_trip_negative,
                Self::NegativeRoundTrip {
                    replies: peer.round_trip_negative,
                },
            ),
            (
                peer.error_unknown,
                Self::ErrorUnknown {
                    replies: peer.error_unknown,
                },
            ),
            (
                peer.ssid_missing,
                Self::NoSsid {
                    replies: peer.ssid_missing,
                },
            ),
        ];
        let judged = [
            held(outcome, reason),
            send_error(outcome),
            cpu_saturated(outcome),
            no_tai.then_some(Self::NoTai),
        ];
        let icmp = IcmpKind::ALL.into_iter().map(|kind| {
            let errors = outcome.trouble.icmp.of(kind);
            (errors, Self::Icmp { kind, errors })
        });
        candidates
            .into_iter()
            .filter_map(|(weight, warning)| (weight > 0).then_some(warning))
            .chain(judged.into_iter().flatten())
            .chain(icmp.filter_map(|(weight, warning)| (weight > 0).then_some(warning)))
            .collect()
    }

    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Skipped { .. } => "skipped",
            Self::Refused { .. } => "refused",
            Self::Held { .. } => "held",
            Self::Stopped { .. } => "stopped",
            Self::DroppedHere { .. } => "dropped_here",
            Self::Invalid { .. } => "invalid",
            Self::Congested { .. } => "congested",
            Self::UserSpaceT4 { .. } => "t4_user_space",
            Self::ClockStepped { .. } => "clock_stepped",
            Self::EchoOnly { .. } => "echo_only",
            Self::PtpEpoch { .. } => "ptp_epoch",
            Self::NegativeResidence { .. } => "residence_negative",
            Self::NegativeRoundTrip { .. } => "round_trip_negative",
            Self::ErrorUnknown { .. } => "error_unknown",
            Self::NoSsid { .. } => "no_ssid",
            Self::SendError { .. } => "send_error",
            Self::CpuSaturated { .. } => "cpu_saturated",
            Self::NoTai => "no_tai",
            Self::Icmp { .. } => "icmp",
        }
    }
}

fn held(outcome: &Outcome, reason: impl FnOnce() -> String) -> Option<Warning> {
    (outcome.held > 0).then(|| Warning::Held {
        packets: outcome.held,
        reason: reason(),
    })
}

/// Intended times are kept when nearly all errors are shorter than what is measured.
fn send_error(outcome: &Outcome) -> Option<Warning> {
    let (error, round_trip) = (outcome.send_error?, outcome.round_trip?);
    (error.count >= 100 && error.p99 > round_trip.p50).then_some(Warning::SendError {
        p99: error.p99,
        round_trip: round_trip.p50,
    })
}

/// Above this busy share of all processors, threads wait for each other.
const SATURATED: f64 = 0.95;

fn cpu_saturated(outcome: &Outcome) -> Option<Warning> {
    let share = outcome.cpu_busy.filter(|&share| share > SATURATED)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage"
    )]
    let percent = (share * 100.0).round() as u64;
    Some(Warning::CpuSaturated { percent })
}

impl fmt::Display for Warning {
    #[expect(clippy::too_many_lines, reason = "one sentence for each warning")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replies = |number, verb_one: &str, verb_many: &str| {
            counted(
                number,
                &format!("reply {verb_one}"),
                &format!("replies {verb_many}"),
            )
        };
        match self {
            Self::Skipped { slots } => write!(
                f,
                "{} skipped because this machine was not ready in time: the rate was lower and \
                 the network saw gaps in which nothing was measured",
                counted(*slots, "send time was", "send times were")
            ),
            Self::Refused { packets, reason } => write!(
                f,
                "the system refused to send {}: {reason}",
                counted(*packets, "packet", "packets")
            ),
            Self::Held { packets, reason } => write!(
                f,
                "{} held on this machine for a time ({reason}), which is part of the delays if \
                 replies came",
                counted(*packets, "packet was", "packets were")
            ),
            Self::Stopped { slots, waited } => {
                let left = counted(*slots, "packet", "packets");
                write!(f, "the run was stopped with {left} left to send")?;
                match waited {
                    Some(waited) => write!(
                        f,
                        ", and the last replies were waited for no longer than {}: packets that \
                         count as lost may not be",
                        units::time(waited.as_secs_f64() * 1e9)
                    ),
                    None => Ok(()),
                }
            }
            Self::DroppedHere { datagrams } => write!(
                f,
                "{} dropped on this host (receive buffer full or bad checksum): that loss is not \
                 the network's; lower the rate or raise net.core.rmem_max",
                counted(*datagrams, "datagram was", "datagrams were")
            ),
            Self::Invalid { datagrams } => write!(
                f,
                "{} no packet that could be meant: a broken or foreign reply, or one later than \
                 the late window",
                counted(*datagrams, "datagram answers", "datagrams answer")
            ),
            Self::Congested { packets } => write!(
                f,
                "{} not sent because this machine was busy (socket or queue full); lower the rate",
                counted(*packets, "packet was", "packets were")
            ),
            Self::UserSpaceT4 { replies: number } => write!(
                f,
                "{} no kernel timestamp, so the delay contains the wake-up of this program",
                replies(*number, "has", "have")
            ),
            Self::ClockStepped { by } => write!(
                f,
                "this machine's clock was set by {} in all during the run: delays of packets in flight \
                 then are wrong",
                units::span(*by)
            ),
            Self::EchoOnly { replies: number } => write!(
                f,
                "echo only: {} no T2 and T3, so there is no one-way delay and the round trip \
                 contains the reflector's residence",
                replies(*number, "carries", "carry")
            ),
            Self::PtpEpoch { replies: number } => write!(
                f,
                "{} stamped in PTPv2 format, which counts TAI: one-way delays contain TAI-UTC \
                 (37 s since 2017) as well as the offset between the clocks",
                replies(*number, "is", "are")
            ),
            Self::NegativeResidence { replies: number } => write!(
                f,
                "{} T3 before T2: the reflector's timestamps are doubtful, and these round trips \
                 are too long by the difference",
                replies(*number, "has", "have")
            ),
            Self::NegativeRoundTrip { replies: number } => write!(
                f,
                "{} a residence longer than the whole round trip: the reflector's timestamps are \
                 wrong",
                replies(*number, "claims", "claim")
            ),
            Self::ErrorUnknown { replies: number } => write!(
                f,
                "{} an Error Estimate of multiplier 0, which RFC 4656 forbids: the reflector's \
                 error is unknown",
                replies(*number, "has", "have")
            ),
            Self::NoSsid { replies: number } => write!(
                f,
                "{} no Session-Sender Identifier: the reflector does not know RFC 8972",
                replies(*number, "carries", "carry")
            ),
            Self::SendError { p99, round_trip } => write!(
                f,
                "packets did not leave on schedule: the 99th percentile of the send error is {}, \
                 above the median round trip of {}",
                units::span(*p99),
                units::span(*round_trip)
            ),
            Self::CpuSaturated { percent } => write!(
                f,
                "this machine's processors were busy for {percent} % of the time: delays and losses \
                 may be its own"
            ),
            Self::NoTai => f.write_str(
                "this host's kernel does not know TAI-UTC, so T1 in PTPv2 format is off by it and \
                 says that it is not synchronised; chrony or ptp4l would set it",
            ),
            Self::Icmp { kind, errors } => {
                write!(
                    f,
                    "{}: {kind}",
                    counted(*errors, "ICMP error", "ICMP errors")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::distribution::Summary;
    use crate::outcome::tests::sample;

    fn codes(outcome: &Outcome, clock_steps: Nanos) -> Vec<&'static str> {
        Warning::all_of(outcome, None, clock_steps, false)
            .iter()
            .map(Warning::code)
            .collect()
    }

    #[test]
    fn a_clean_run_has_no_warnings() {
        assert_eq!(codes(&sample(), Nanos::ZERO), [""; 0]);
    }

    #[test]
    fn a_clock_that_was_set_is_told() {
        let codes = codes(&sample(), Nanos::from_nanos(1_000_001));
        assert_eq!(codes, ["clock_stepped"]);
    }

    #[test]
    fn a_wait_that_was_cut_short_makes_losses_doubtful() {
        let mut outcome = sample();
        outcome.cut_short = Some(Duration::from_millis(120));
        let warnings = Warning::all_of(&outcome, None, Nanos::ZERO, false);
        let text: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "the run was stopped with 0 packets left to send, and the last replies were waited \
                 for no longer than 120.0 ms: packets that count as lost may not be"
            ]
        );
    }

    #[test]
    fn everything_odd_is_told_once() {
        let mut outcome = sample();
        outcome.not_reached = 1;
        outcome.skipped = 2;
        outcome.refused = 3;
        outcome.held = 14;
        outcome.trouble.dropped_here = 4;
        outcome.trouble.icmp.add(IcmpKind::TooBig);
        outcome.trouble.icmp.add(IcmpKind::HostUnreachable);
        outcome.peer.t4_user_space = 5;
        outcome.peer.echo_only = 6;
        outcome.peer.ptp = 7;
        outcome.peer.residence_negative = 8;
        outcome.peer.round_trip_negative = 9;
        outcome.peer.error_unknown = 10;
        outcome.counts.invalid = 11;
        outcome.congested = 12;
        outcome.peer.ssid_missing = 13;
        outcome.cpu_busy = Some(0.987);
        outcome.send_error = outcome.round_trip.map(|error| Summary {
            count: 100,
            ..error
        });
        let refusal = io::Error::other("not today");
        let steps = Nanos::from_nanos(2_000_000);
        let warnings = Warning::all_of(&outcome, Some(&refusal), steps, true);
        let text: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        let mut codes: Vec<_> = warnings.iter().map(Warning::code).collect();
        codes.dedup();
        assert_eq!(codes, Warning::CODES);
        for (warning, text) in warnings.iter().zip(&text) {
            assert!(
                !text.contains('\n') && !text.ends_with('.'),
                "{warning:?}: {text}"
            );
        }
        for part in [
            "3 packets: not today",
            "14 packets were held on this machine for a time (not today)",
            "1 ICMP error: host unreachable",
            "were busy for 99 % of the time",
            "13 replies carry no Session-Sender Identifier",
            "99th percentile of the send error is 4.000 ms, above",
        ] {
            assert!(
                text.iter().any(|text| text.contains(part)),
                "{part:?} in {text:#?}"
            );
        }
    }

    #[test]
    fn a_send_error_is_large_only_against_the_round_trips() {
        let mut outcome = sample();
        let mut error = outcome.round_trip.unwrap();
        error.p99 = error.p50;
        outcome.send_error = Some(error);
        assert_eq!(codes(&outcome, Nanos::ZERO), [""; 0]);
        error.p99 = error.p50 + Nanos::from_nanos(1);
        outcome.send_error = Some(error);
        assert_eq!(
            codes(&outcome, Nanos::ZERO),
            [""; 0],
            "one in three is not one in a hundred"
        );
        error.count = 100;
        outcome.send_error = Some(error);
        assert_eq!(codes(&outcome, Nanos::ZERO), ["send_error"]);
        outcome.round_trip = None;
        assert_eq!(
            codes(&outcome, Nanos::ZERO),
            [""; 0],
            "nothing to compare with"
        );
    }

    #[test]
    fn processors_are_saturated_when_hardly_any_time_is_left() {
        let mut outcome = sample();
        for (busy, told) in [
            (None, false),
            (Some(0.95), false),
            (Some(0.951), true),
            (Some(1.0), true),
        ] {
            outcome.cpu_busy = busy;
            let codes = codes(&outcome, Nanos::ZERO);
            assert_eq!(codes.contains(&"cpu_saturated"), told, "{busy:?}");
        }
    }

    #[test]
    fn a_host_without_tai_is_told() {
        let warnings = Warning::all_of(&sample(), None, Nanos::ZERO, true);
        assert_eq!(warnings, [Warning::NoTai]);
    }
}
