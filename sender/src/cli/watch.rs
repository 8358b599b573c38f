//! Looks after a run while it goes on: signals, the live view, intervals that are complete, and what
//! the network says at once.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::config::{Config, JsonTo};
use crate::control::Control;
use crate::error::Error;
use crate::measure::interval::Interval;
use crate::outcome::Outcome;
use crate::outputs::Outputs;
use crate::recorder::Recorder;
use crate::signals::Interruptions;
use crate::transport::IcmpKind;
use crate::view::{Live, View, interval_head, interval_line};

/// Time between two looks at signals.
const WATCH: Duration = Duration::from_millis(100);
/// Looks per turn of the live view.
const LOOKS_PER_TURN: u32 = 2;

/// Watches runs, one after the other.
pub(super) struct Watch {
    interruptions: Interruptions,
    view: View,
    control: Control,
    /// A line per interval.
    lines: Lines,
    /// Where lines go when they do not go above the live view.
    to_stdout: bool,
    /// The network's word was passed on.
    told: bool,
}

/// Whether intervals are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    Off,
    Wanted,
    /// The names of the columns are printed.
    Headed,
}

impl Watch {
    /// Watches for signals from now on.
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let output = &config.output;
        Ok(Self {
            interruptions: Interruptions::watch(&[SIGINT, SIGTERM]).map_err(Error::Signals)?,
            view: View::new(output.quiet),
            control: Control::default(),
            lines: if output.interval_report.is_some() && !output.quiet {
                Lines::Wanted
            } else {
                Lines::Off
            },
            to_stdout: output.json != Some(JsonTo::Stdout),
            told: output.quiet,
        })
    }

    /// Whether there is a live view to be fed.
    pub(super) fn is_live(&self) -> bool {
        self.view.is_live()
    }

    /// Whether the user wants no more.
    pub(super) fn is_stopped(&self) -> bool {
        self.control.sending_stopped()
    }

    /// Runs the measurement in a thread of its own, while this one looks after the rest.
    pub(super) fn run(
        &mut self,
        config: &Config,
        addresses: &[SocketAddr],
        recorder: Option<&Mutex<Recorder>>,
        outputs: &mut Outputs,
    ) -> Result<Outcome, Error> {
        let control = &std::mem::take(&mut self.control);
        let start = Instant::now();
        let planned = planned(config);
        self.view.begin();
        let (done, finished) = mpsc::sync_channel(1);
        let result = thread::scope(|scope| {
            thread::Builder::new()
                .name("run".to_owned())
                .spawn_scoped(scope, move || {
                    // The watcher below waits for this and goes nowhere before.
                    let _ = done.send(crate::run::run(config, addresses, control, recorder));
                })
                .map_err(Error::Thread)?;
            let mut looks = 0;
            loop {
                match finished.recv_timeout(WATCH) {
                    Ok(result) => return result,
                    Err(RecvTimeoutError::Timeout) => {}
                    // The thread panicked; the scope passes that on.
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(Error::Thread(io::Error::other("it ended without a result")));
                    }
                }
                match self.interruptions.count() {
                    0 => {}
                    1 => control.stop_sending(),
                    _ => control.stop_waiting(),
                }
                looks += 1;
                self.look(control, recorder, outputs, looks, start, planned);
            }
        });
        if control.sending_stopped() {
            self.control.stop_sending();
        }
        result
    }

    fn look(
        &mut self,
        control: &Control,
        recorder: Option<&Mutex<Recorder>>,
        outputs: &mut Outputs,
        looks: u32,
        start: Instant,
        planned: Option<Duration>,
    ) {
        let mut complete = Vec::new();
        let mut origin = None;
        let mut last_second = None;
        if let Some(recorder) = recorder {
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            origin = recorder.origin();
            complete = recorder.complete_intervals();
            if let Some(recent) = recorder.recent.as_mut()
                && looks.is_multiple_of(LOOKS_PER_TURN)
            {
                last_second = recent.summary();
                recent.turn();
            }
        }
        for interval in &complete {
            if let Some(origin) = origin {
                outputs.interval(interval, origin);
            }
            self.interval(interval);
        }
        let progress = control.progress();
        if let Some(kind) = progress.icmp.leading()
            && !self.told
            && progress.received == 0
        {
            self.told = true;
            self.view.print(&format!("sender: {}", hearsay(kind)));
        }
        if looks.is_multiple_of(LOOKS_PER_TURN) {
            self.view.show(&Live {
                elapsed: start.elapsed(),
                planned,
                sent: progress.sent,
                received: progress.received,
                lost: progress.lost,
                last_second,
            });
        }
    }

    /// Prints the line of a complete interval, if lines are asked for.
    pub(super) fn interval(&mut self, interval: &Interval) {
        match self.lines {
            Lines::Off => return,
            Lines::Wanted => self.print(&interval_head()),
            Lines::Headed => {}
        }
        self.lines = Lines::Headed;
        self.print(&interval_line(interval));
    }

    /// Prints a line: above the live view if that is on the same terminal, else where results go.
    pub(super) fn print(&self, line: &str) {
        if self.to_stdout && !(self.view.is_live() && io::stdout().is_terminal()) {
            // Whoever closed standard output does not want to know.
            let _ = writeln!(io::stdout(), "{line}");
        } else {
            self.view.print(line);
        }
    }

    /// Takes the live view away.
    pub(super) fn clear(&self) {
        self.view.clear();
    }
}

/// What the network says, for who waits for a reply.
fn hearsay(kind: IcmpKind) -> String {
    match kind {
        IcmpKind::PortUnreachable => {
            "nothing listens at the target's port (ICMP port unreachable); going on".to_owned()
        }
        kind => format!("the network reports {kind} (ICMP); going on"),
    }
}

/// How long a run takes, if that is known.
fn planned(config: &Config) -> Option<Duration> {
    let timing = &config.timing;
    if timing.limit.end < Duration::MAX {
        return Some(timing.limit.end);
    }
    let pace = timing.times.pace()?;
    (timing.limit.packets < u64::MAX).then(|| pace.due(timing.limit.packets))
}
