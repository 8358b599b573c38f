//! `--ramp`: one run after the other, until the highest rate without loss is found.

use std::io;

use super::watch::Watch;
use crate::config::{Config, JsonTo, RampPlan};
use crate::document_file::DocumentFile;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::outputs::Outputs;
use crate::ramp::{Ramp, Trial};
use crate::report::ramp as report;

/// Runs the search and reports it.
pub(super) fn run(config: &Config, plan: RampPlan) -> Result<(), Error> {
    let json = match &config.output.json {
        Some(JsonTo::File(path)) => Some((
            path,
            DocumentFile::open(path).map_err(|source| Error::Document {
                path: path.clone(),
                source,
            })?,
        )),
        _ => None,
    };
    let addresses = crate::run::resolve(config)?;
    let mut watch = Watch::new(config)?;
    let mut ramp = Ramp::new(plan.range, plan.loss_limit);
    while let Some(pace) = ramp.next_rate() {
        let trial = Config {
            timing: config.timing.at(pace, plan.range.dwell),
            output: crate::config::OutputConfig {
                // The document is that of the search, not of a trial.
                json: None,
                ..config.output.clone()
            },
            ..config.clone()
        };
        let mut outputs = Outputs::open(&trial)?;
        let recorder = outputs.recorder(&trial, watch.is_live())?;
        let outcome = watch.run(&trial, &addresses, recorder.as_ref(), &mut outputs)?;
        // Silence after trials that were answered is a path that carries this rate no more.
        let answered = |(trial, _): &(Trial, _)| trial.received > 0;
        if let Some(silence) = outcome.silence()
            && !ramp.result().trials.iter().any(answered)
        {
            return Err(Error::NoReply {
                target: outcome.target,
                silence,
            });
        }
        // Where it stopped says nothing of the rate.
        if watch.is_stopped() {
            break;
        }
        let random = config.timing.random;
        let trial = trial_of(&outcome, pace.per_second(), random);
        let verdict = ramp.record(trial);
        if !config.output.quiet {
            watch.print(&report::trial_line(&trial, verdict));
        }
    }
    watch.clear();
    let result = ramp.result();
    let target = config.target.to_string();
    let text = report::json(&result, &target).map_err(|error| Error::Output(error.into()))?;
    // What goes wrong with the one does not cost the other.
    let written = match (json, &config.output.json) {
        (Some((path, file)), _) => file.write(&text).map_err(|source| Error::Document {
            path: path.clone(),
            source,
        }),
        (None, Some(JsonTo::Stdout)) => super::write_all(io::stdout(), &text),
        _ => Ok(()),
    };
    let verdict = format!("{}\n", report::verdict(&result, &target));
    written.and(super::tell(config, &verdict))
}

fn trial_of(outcome: &Outcome, asked: f64, random: bool) -> Trial {
    Trial {
        asked,
        // The rate of random send times is up to chance; what was skipped still tells.
        achieved: outcome.rate_achieved.filter(|_| !random),
        sent: outcome.counts.sent,
        received: outcome.counts.received,
        skipped: outcome.skipped + outcome.congested + outcome.refused,
    }
}
