//! All tests of a series at once, each in a thread of its own and on its own timetable.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::entry::{At, Entry, Figures, Verdict};
use super::error::SeriesError;
use super::history::History;
use super::plan::{Plan, Test};
use super::stop::{Level, Stop};
use super::threshold::{self, State};
use super::timetable::{Start, Timetable};
use crate::control::Control;
use crate::error::Error;
use crate::outcome::{Outcome, Silence};

/// Time between two looks at signals.
const WATCH: Duration = Duration::from_millis(100);
/// What hangs, like the look-up of a name, is left behind so long after the request not to wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a test has to tell.
#[derive(Debug)]
pub enum Report {
    /// A test is over.
    Finished {
        /// Its place in the plan.
        place: usize,
        /// Its result.
        entry: Box<Entry>,
    },
    /// Its result could not be kept.
    NotKept(SeriesError),
}

/// What came of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// Replies came and no threshold is crossed, by the last result of each test.
    Good,
    /// Replies came, but a threshold is crossed.
    Crossed,
    /// A test got no reply or could not be made.
    Bad,
    /// It was stopped.
    Stopped,
}

/// Runs a series to its end, or until it is interrupted: `interruptions` says how often it was. At
/// the first time no more is sent, at the second nothing is waited for. `histories` are those of the
/// tests of the plan in their order; `tell` gets each report.
///
/// # Errors
///
/// A thread would not start or panicked, or `tell` failed.
pub fn run(
    plan: Plan,
    histories: Vec<History>,
    mut interruptions: impl FnMut() -> usize,
    tell: impl FnMut(&Report) -> io::Result<()>,
) -> Result<Conclusion, SeriesError> {
    let stop = Arc::new(Stop::default());
    let mut last = vec![None; plan.tests.len()];
    let (reports, told) = mpsc::channel();
    let started = start(plan, histories, &stop, &reports);
    drop(reports);
    let threads = started.inspect_err(|_| stop.raise(Level::Waiting))?;
    let watched = watch(&told, &stop, &mut interruptions, tell, &mut last);
    if watched.is_err() {
        stop.raise(Level::Waiting);
    }
    let ended = watched?;
    if ended != Ended::LeftBehind {
        for (name, thread) in threads {
            thread.join().map_err(|_| SeriesError::Panic(name))?;
        }
    }
    Ok(conclude(&last, ended))
}

/// How the watch over a series ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// All tests are made.
    Complete,
    /// It was interrupted, and all tests have stopped.
    Interrupted,
    /// It was interrupted twice, and a test has not stopped.
    LeftBehind,
}

/// Starts a thread per test.
fn start(
    plan: Plan,
    histories: Vec<History>,
    stop: &Arc<Stop>,
    reports: &Sender<Report>,
) -> Result<Vec<(String, JoinHandle<()>)>, SeriesError> {
    let origin = Instant::now();
    let mut threads = Vec::with_capacity(histories.len());
    for (place, (test, history)) in plan.tests.into_iter().zip(histories).enumerate() {
        let name = test.name.clone();
        let mut tests = Tests {
            place,
            series: plan.series.clone(),
            test,
            history,
            stop: Arc::clone(stop),
            reports: reports.clone(),
        };
        let thread = thread::Builder::new()
            .name(format!("test {name}"))
            .spawn(move || tests.make(origin, &measure))
            .map_err(SeriesError::Thread)?;
        threads.push((name, thread));
    }
    Ok(threads)
}

/// Passes reports on until there are no more, or until it is asked for too often.
fn watch(
    told: &Receiver<Report>,
    stop: &Stop,
    interruptions: &mut impl FnMut() -> usize,
    mut tell: impl FnMut(&Report) -> io::Result<()>,
    last: &mut [Option<Verdict>],
) -> Result<Ended, SeriesError> {
    let mut ended = Ended::Complete;
    let mut impatient: Option<Instant> = None;
    loop {
        match told.recv_timeout(WATCH) {
            Ok(report) => {
                if let Report::Finished { place, entry } = &report
                    && let Some(last) = last.get_mut(*place)
                {
                    *last = Some(entry.verdict);
                }
                tell(&report).map_err(SeriesError::Output)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(ended),
        }
        match interruptions() {
            0 => {}
            1 => {
                ended = Ended::Interrupted;
                stop.raise(Level::Sending);
            }
            _ => {
                ended = Ended::Interrupted;
                stop.raise(Level::Waiting);
                let since = impatient.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Ok(Ended::LeftBehind);
                }
            }
        }
    }
}

fn conclude(last: &[Option<Verdict>], ended: Ended) -> Conclusion {
    let any = |wanted: &[Verdict]| {
        last.iter()
            .flatten()
            .any(|verdict| wanted.contains(verdict))
    };
    if ended != Ended::Complete {
        Conclusion::Stopped
    } else if any(&[Verdict::NoReply, Verdict::Failed]) {
        Conclusion::Bad
    } else if any(&[Verdict::Crossed]) {
        Conclusion::Crossed
    } else {
        Conclusion::Good
    }
}

/// Looks the target up and measures.
fn measure(test: &Test, control: &Control) -> Result<Outcome, String> {
    let config = test.config().map_err(|error| error.to_string())?;
    let told = |error: Error| error.to_string();
    let addresses = crate::run::resolve(&config).map_err(told)?;
    crate::run::run(&config, &addresses, control, None).map_err(told)
}

/// The tests of one name.
struct Tests {
    place: usize,
    series: String,
    test: Test,
    history: History,
    stop: Arc<Stop>,
    reports: Sender<Report>,
}

impl Tests {
    /// Makes all tests, one after the other.
    fn make(
        &mut self,
        origin: Instant,
        measure: &impl Fn(&Test, &Control) -> Result<Outcome, String>,
    ) {
        let mut timetable = Timetable::new(self.test.offset, self.test.interval, self.test.count);
        while let Some(start) = timetable.next(origin.elapsed()) {
            if !self.stop.sleep_until(origin.checked_add(start.at)) {
                return;
            }
            let Some(control) = self.stop.begin(self.place) else {
                return;
            };
            let begin = At::now();
            let outcome = measure(&self.test, &control);
            self.stop.end(self.place);
            let Some(entry) = self.entry(start, begin, &outcome, &control) else {
                return;
            };
            let kept = self.history.push(entry.clone());
            // Whoever watches may have gone; then there is nobody to tell.
            let _ = self.reports.send(Report::Finished {
                place: self.place,
                entry: Box::new(entry),
            });
            if let Err(error) = kept {
                let _ = self.reports.send(Report::NotKept(error));
            }
        }
    }

    /// The result of a test; `None` if it was stopped before it began.
    fn entry(
        &self,
        start: Start,
        begin: At,
        outcome: &Result<Outcome, String>,
        control: &Control,
    ) -> Option<Entry> {
        let before: &[State] = self.history.last().map_or(&[], |last| &last.thresholds);
        let measured = outcome.as_ref().ok();
        let cut_off = match measured {
            Some(outcome) => outcome.was_stopped(),
            None => control.sending_stopped(),
        };
        if cut_off && measured.is_none_or(|outcome| outcome.counts.sent == 0) {
            return None;
        }
        let end = At::now();
        let thresholds = if cut_off {
            threshold::unchanged(before)
        } else {
            threshold::judge(&self.test.thresholds, before, measured, end)
        };
        let silence = measured.and_then(Outcome::silence);
        let verdict = match (measured, silence) {
            _ if cut_off => Verdict::Stopped,
            (None, _) => Verdict::Failed,
            (_, Some(_)) => Verdict::NoReply,
            _ if thresholds.iter().any(|state| state.crossed) => Verdict::Crossed,
            _ => Verdict::Ok,
        };
        Some(Entry {
            series: self.series.clone(),
            test: self.test.name.clone(),
            start: begin,
            end,
            starts_missed: start.missed,
            target: self.test.target().to_string(),
            verdict,
            problem: match outcome {
                Err(problem) => Some(problem.clone()),
                Ok(_) if cut_off => None,
                Ok(_) => silence.as_ref().map(Silence::to_string),
            },
            figures: measured.map(Figures::from),
            thresholds,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Mutex;

    use super::*;
    use crate::outcome::tests::sample;
    use crate::series::history::SeriesFolder;

    /// Three tests of a loss above 30 %, as fast as they go, measured by `measure`.
    fn made(
        measure: impl Fn(&Test, &Control) -> Result<Outcome, String>,
        stop: &Arc<Stop>,
    ) -> (Vec<Entry>, usize) {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("lab.toml");
        let text = "[[test]]\nname = \"core\"\ntarget = \"192.0.2.1\"\ntest-count = 3\n\
                    probe-count = 1\ntest-interval = \"100ms\"\nthresholds = \"loss > 30%\"\n";
        std::fs::write(&path, text).unwrap();
        let plan = Plan::read(&path).unwrap();
        let folder = SeriesFolder::open(state.path(), "lab").unwrap();
        let (history, _) = folder.history("core", 2).unwrap();
        let (reports, told) = mpsc::channel();
        let mut tests = Tests {
            place: 0,
            series: plan.series,
            test: plan.tests[0].clone(),
            history,
            stop: Arc::clone(stop),
            reports,
        };
        tests.make(Instant::now(), &measure);
        drop(tests);
        let entries = told.iter().map(|report| match report {
            Report::Finished { entry, .. } => *entry,
            Report::NotKept(error) => panic!("{error}"),
        });
        let entries: Vec<Entry> = entries.collect();
        let kept = crate::series::history::stored(state.path(), "lab", "core").unwrap();
        assert!(entries.ends_with(&kept.entries));
        (entries, kept.entries.len())
    }

    fn with_received(received: u64) -> Outcome {
        let mut outcome = sample();
        outcome.counts.received = received;
        outcome
    }

    #[test]
    fn each_test_is_judged_and_the_last_ones_kept() {
        let outcomes = Mutex::new(vec![
            Ok(with_received(3)),
            Err("no way".to_owned()),
            Ok(with_received(2)),
        ]);
        let (entries, kept) = made(
            |_, _| outcomes.lock().unwrap().pop().unwrap(),
            &Arc::default(),
        );
        assert_eq!(kept, 2);
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| {
                (
                    entry.verdict,
                    entry.thresholds[0].crossed,
                    entry.thresholds[0].changed,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Verdict::Crossed, true, true),
                (Verdict::Failed, true, false),
                (Verdict::Ok, false, true)
            ]
        );
        assert_eq!(entries[1].problem.as_deref(), Some("no way"));
    }

    #[test]
    fn a_result_tells_how_many_starts_the_test_before_it_cost() {
        let measure = |_: &Test, _: &Control| {
            // The starts are 100 ms apart.
            thread::sleep(Duration::from_millis(250));
            Ok(sample())
        };
        let (entries, _) = made(measure, &Arc::default());
        let missed: Vec<bool> = entries
            .iter()
            .map(|entry| entry.starts_missed >= 2)
            .collect();
        assert_eq!(missed, [false, true, true]);
    }

    #[test]
    fn a_test_that_is_stopped_is_kept_but_not_judged_and_is_the_last() {
        let stop = Arc::new(Stop::default());
        let measure = |_: &Test, control: &Control| {
            stop.raise(Level::Sending);
            assert!(control.sending_stopped());
            let mut outcome = sample();
            outcome.counts.received = 0;
            outcome.not_reached = 1;
            Ok(outcome)
        };
        let (entries, kept) = made(measure, &stop);
        assert_eq!((entries.len(), kept), (1, 1));
        assert_eq!(
            (entries[0].verdict, entries[0].thresholds.len()),
            (Verdict::Stopped, 0)
        );
    }

    #[test]
    fn a_test_that_is_stopped_before_its_first_packet_is_no_result() {
        let stop = Arc::new(Stop::default());
        let measure = |_: &Test, _: &Control| {
            stop.raise(Level::Sending);
            Err("cannot send".to_owned())
        };
        assert_eq!(made(measure, &stop), (vec![], 0));
    }

    #[test]
    fn the_worst_of_the_last_results_counts_and_a_stopped_series_is_no_failure() {
        use Verdict::{Crossed, Failed, NoReply, Ok};
        let conclusion = |last: &[Verdict]| {
            let last: Vec<_> = last.iter().copied().map(Some).collect();
            conclude(&last, Ended::Complete)
        };
        assert_eq!(conclusion(&[Ok, Ok]), Conclusion::Good);
        assert_eq!(conclusion(&[Ok, Crossed]), Conclusion::Crossed);
        assert_eq!(conclusion(&[NoReply, Crossed]), Conclusion::Bad);
        assert_eq!(conclusion(&[Failed, Ok]), Conclusion::Bad);
        assert_eq!(
            conclude(&[None, Some(Failed)], Ended::Interrupted),
            Conclusion::Stopped
        );
    }

    #[test]
    fn what_does_not_end_is_left_behind_in_the_end() {
        let (reports, told) = mpsc::channel::<Report>();
        let stop = Stop::default();
        let looks = RefCell::new(0);
        let mut interruptions = || {
            *looks.borrow_mut() += 1;
            *looks.borrow()
        };
        let ended = watch(&told, &stop, &mut interruptions, |_| Ok(()), &mut []);
        assert_eq!(ended.unwrap(), Ended::LeftBehind);
        drop(reports);
    }
}
