//! The receiving thread: matches replies to probes and measures them.

use std::io;
use std::thread;
use std::time::Duration;

use clock::Clock;

use crate::matching::Matcher;
use crate::measure::{Finished, Measurement};
use crate::transport::{Receive, Trouble};
use crate::waiting::{Ending, Site, TICK, Waiting};

/// The receiving side of a worker that sends in another thread.
pub struct Receiving<'a, R, C> {
    /// Where replies come from.
    pub receive: R,
    /// What our probes look like.
    pub matcher: Matcher,
    /// The measurement, empty.
    pub measurement: Measurement,
    /// Tells when a probe has timed out.
    pub clock: C,
    /// What is shared with others.
    pub site: Site<'a>,
    /// How long replies are waited for after the last probe.
    pub timeout: Duration,
    /// Pause after replies came in, so that the next ones come together. T4 is the kernel's, so
    /// a pause costs no precision, and it leaves the processor to others.
    pub pause: Duration,
}

/// What a worker's receiving side brings home.
#[derive(Debug)]
pub struct Received {
    /// The measurement.
    pub finished: Finished,
    /// What went wrong on the way in.
    pub trouble: Trouble,
    /// How the run ended.
    pub ending: Ending,
}

impl<R: Receive, C: Clock> Receiving<'_, R, C> {
    /// Receives until [`Waiting`] says that the run is over.
    ///
    /// # Errors
    ///
    /// The transport cannot receive any more.
    pub fn run(mut self) -> io::Result<Received> {
        let mut waiting = Waiting::new(self.timeout);
        let mut sending = true;
        loop {
            let taken = self.take(&mut waiting)?;
            let trouble = self.receive.trouble();
            let Self {
                measurement,
                clock,
                site,
                ..
            } = &mut self;
            if let Some(ending) = waiting.look(taken, measurement, &trouble, clock, site) {
                let mut recorder = site.recorder();
                return Ok(Received {
                    finished: self.measurement.finish(recorder.as_deref_mut()),
                    trouble: self.receive.trouble(),
                    ending,
                });
            }
            sending &= !self.measurement.sending_over();
            if sending && taken > 0 && self.measurement.user_space_t4() == 0 {
                thread::sleep(self.pause);
            }
        }
    }

    /// Takes the datagrams that are there, waiting up to a tick for the first.
    fn take(&mut self, waiting: &mut Waiting) -> io::Result<usize> {
        let Self {
            receive,
            matcher,
            measurement,
            site,
            ..
        } = self;
        receive.receive(TICK, &mut |datagram| {
            // A probe is announced before it leaves, so what this datagram answers is announced
            // by now, but perhaps not noticed yet.
            measurement.notice();
            let mut recorder = site.recorder();
            waiting.saw(matcher.judge(measurement, &datagram, recorder.as_deref_mut()));
        })
    }
}

#[cfg(test)]
mod tests;
