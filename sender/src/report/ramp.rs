//! A search for the highest rate without loss, for people and for programs.

use serde::Serialize;

use super::units;
use crate::ramp::{LimitedBy, RampResult, Trial, Verdict};

/// The line of a trial.
pub fn trial_line(trial: &Trial, verdict: Verdict) -> String {
    let achieved = trial.achieved.map_or_else(|| "-".to_owned(), units::rate);
    let loss = trial.loss().map_or_else(|| "-".to_owned(), units::percent);
    let verdict = match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Inconclusive => "this machine did not send it",
    };
    format!(
        "{:>12} asked  {achieved:>12} achieved  {:>12} sent  {loss:>10} lost  {verdict}",
        units::rate(trial.asked),
        units::count(trial.sent)
    )
}

/// The result in a sentence.
pub fn verdict(result: &RampResult, target: &str) -> String {
    let failed = || result.failed.map_or_else(|| "-".to_owned(), units::rate);
    let Some(best) = result.best.map(units::rate) else {
        let reason = match result.limited_by {
            LimitedBy::Path => format!("it lost too much at {}", failed()),
            LimitedBy::Sender => {
                "this machine did not send the lowest one as asked; lower FROM, or keep other work \
                 off its processors"
                    .to_owned()
            }
            LimitedBy::RangeEnd | LimitedBy::Stopped => {
                "the search was stopped before one did".to_owned()
            }
        };
        return format!("no rate to {target} passed: {reason}");
    };
    let reason = match result.limited_by {
        LimitedBy::Path => format!("more was lost at {}", failed()),
        LimitedBy::Sender => "this machine did not send the next one as asked".to_owned(),
        LimitedBy::RangeEnd => "the highest of the range".to_owned(),
        LimitedBy::Stopped => "the search was stopped here".to_owned(),
    };
    format!("highest rate to {target} that passed: {best}; {reason}")
}

/// The document of a search.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema_version: u32,
    target: &'a str,
    best_pps: Option<f64>,
    failed_pps: Option<f64>,
    limited_by: &'static str,
    trials: Vec<TrialEntry>,
}

#[derive(Debug, Serialize)]
struct TrialEntry {
    asked_pps: f64,
    achieved_pps: Option<f64>,
    sent: u64,
    received: u64,
    not_sent: u64,
    loss_ratio: Option<f64>,
    verdict: &'static str,
}

/// The search as JSON, with a line feed at the end.
///
/// # Errors
///
/// None in practice: every value has a JSON form.
pub fn json(result: &RampResult, target: &str) -> serde_json::Result<String> {
    let entry = |(trial, verdict): &(Trial, Verdict)| TrialEntry {
        asked_pps: trial.asked,
        achieved_pps: trial.achieved,
        sent: trial.sent,
        received: trial.received,
        not_sent: trial.skipped,
        loss_ratio: trial.loss(),
        verdict: match verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Inconclusive => "inconclusive",
        },
    };
    let document = Document {
        schema_version: super::json::SCHEMA_VERSION,
        target,
        best_pps: result.best,
        failed_pps: result.failed,
        limited_by: match result.limited_by {
            LimitedBy::Path => "path",
            LimitedBy::Sender => "sender",
            LimitedBy::RangeEnd => "range_end",
            LimitedBy::Stopped => "stopped",
        },
        trials: result.trials.iter().map(entry).collect(),
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(best: Option<f64>, failed: Option<f64>, limited_by: LimitedBy) -> String {
        let result = RampResult {
            best,
            failed,
            limited_by,
            trials: Vec::new(),
        };
        verdict(&result, "192.0.2.1:862")
    }

    #[test]
    fn the_result_says_what_was_found_and_why_it_is_no_more() {
        let best = "highest rate to 192.0.2.1:862 that passed: 30 000/s; ";
        for (failed, limited_by, reason) in [
            (Some(40e3), LimitedBy::Path, "more was lost at 40 000/s"),
            (
                None,
                LimitedBy::Sender,
                "this machine did not send the next one as asked",
            ),
            (None, LimitedBy::RangeEnd, "the highest of the range"),
            (None, LimitedBy::Stopped, "the search was stopped here"),
        ] {
            let text = told(Some(30e3), failed, limited_by);
            assert_eq!(text, format!("{best}{reason}"));
        }
        let none = told(None, Some(10e3), LimitedBy::Path);
        assert_eq!(
            none,
            "no rate to 192.0.2.1:862 passed: it lost too much at 10 000/s"
        );
        let busy = told(None, None, LimitedBy::Sender);
        assert!(busy.contains("lower FROM"), "{busy}");
    }
}
