//! One rule for everything and no sessions: what the service runs workers with until it has a rulebook
//! and a session table.

use wire::time::TimestampFormat;

use crate::datagram::Flow;
use crate::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, ListenerId, Padding, Rule, SequencePolicy,
    ShortPolicy,
};
use crate::worker::{Rules, Sessions};

/// The rule of every listener: TWAMP-Light without state.
#[derive(Debug)]
pub struct OneRule(Rule);

impl Default for OneRule {
    fn default() -> Self {
        Self(Rule {
            listener: 0,
            format: Format::TwampLight(Padding::SameOffset),
            timestamps: TimestampFormat::Ntp,
            sequence: SequencePolicy::Stateless,
            dscp: DscpPolicy::Copy,
            ecn: EcnPolicy::Clear,
            flow_label: FlowLabelPolicy::Copy,
            short: ShortPolicy::Answer,
            refuse_replies: true,
        })
    }
}

impl Rules for OneRule {
    fn generation(&self) -> u16 {
        0
    }

    fn rule(&self, _listener: ListenerId) -> Option<&Rule> {
        Some(&self.0)
    }

    fn find(&self, _ifindex: u32, _flow: &Flow) -> Option<&Rule> {
        Some(&self.0)
    }
}

/// No session ever: nothing but stateless rules is answered.
#[derive(Debug)]
pub struct NoSessions;

impl Sessions for NoSessions {
    type Key = ();

    fn key(_listener: ListenerId, _flow: &Flow, _ssid: u16) {}

    fn next(&self, _session: &()) -> Option<u32> {
        None
    }

    fn is_large(&self) -> bool {
        false
    }

    fn touch(&self, _sessions: &[()]) {}
}
