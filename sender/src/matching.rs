//! From a datagram to a measurement: which probe it answers, if any.

use crate::measure::header::HeaderFields;
use crate::measure::{Arrived, Measurement, Verdict};
use crate::probe::Probe;
use crate::recorder::Recorder;
use crate::reply::{self, Answer};
use crate::stamp::StampFormat;
use crate::transport::Datagram;

/// What our probes look like, and so what replies must echo.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// How T1 was written.
    pub format: StampFormat,
    /// A probe like all of them.
    pub probe: Probe,
    /// Whether the reflector reports the DSCP and ECN it received (RFC 7750).
    pub reports_tos: bool,
    /// How the sessions of the measurement are numbered in the run.
    pub numbering: Numbering,
}

/// How the sessions of one worker are numbered in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering {
    /// Number in the run of the worker's session 0.
    pub first: usize,
    /// Distance in the run between two neighbours of the worker.
    pub step: usize,
}

impl Numbering {
    /// A worker that has all sessions.
    pub const ALL: Self = Self { first: 0, step: 1 };

    /// Number in the run of session `local` of the worker.
    pub fn global(self, local: usize) -> usize {
        self.first + local * self.step
    }
}

impl Matcher {
    /// Measures one datagram that came in for `datagram.session` of the worker; `None` when it
    /// answers no probe.
    pub fn judge(
        &self,
        measurement: &mut Measurement,
        datagram: &Datagram<'_>,
        recorder: Option<&mut Recorder>,
    ) -> Option<Verdict> {
        let Datagram {
            head,
            len,
            reception,
            ..
        } = *datagram;
        let found = reply::reflected(head, reception.t4)
            .filter(|answer| self.is_ours(answer, datagram.session))
            .and_then(|answer| self.probe_of(measurement, answer, datagram.session))
            .or_else(|| {
                let answer = reply::echoed(head, len, &self.probe)?;
                self.probe_of(measurement, answer, datagram.session)
            });
        let Some((probe, answer)) = found else {
            measurement.invalid();
            return None;
        };
        let arrived = Arrived {
            reception,
            stamps: answer.stamps,
            reflector: answer.reflector,
            headers: HeaderFields {
                sender_ttl: answer.sender_ttl,
                sender_tos: answer.sender_tos.filter(|_| self.reports_tos),
                ttl: datagram.ttl,
                tos: datagram.tos,
            },
            ssid_missing: self.probe.ssid(0).is_some() && answer.ssid == Some(0),
        };
        measurement.reply(datagram.session, probe, arrived, recorder)
    }

    /// Whether a reply carries our Session-Sender Identifier, or none.
    fn is_ours(&self, answer: &Answer, session: usize) -> bool {
        let Some(ours) = self.probe.ssid(self.numbering.global(session)) else {
            return true;
        };
        answer
            .ssid
            .is_none_or(|theirs| theirs == ours || theirs == 0)
    }

    /// The probe with the answer's number, if it carried the T1 that came back: a cheap proof that
    /// the reply is to this probe.
    fn probe_of(
        &self,
        measurement: &Measurement,
        answer: Answer,
        session: usize,
    ) -> Option<(u64, Answer)> {
        let (probe, t1) = measurement.find(session, answer.sequence)?;
        (self.format.encode(t1) == answer.timestamp).then_some((probe, answer))
    }
}

#[cfg(test)]
mod tests;
