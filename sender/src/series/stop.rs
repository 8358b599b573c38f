//! Stopping all tests of a series, wherever they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::control::Control;

/// How much is to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Go,
    /// Sending; replies that are out are waited for.
    Sending,
    /// Waiting too.
    Waiting,
}

/// Shared between the tests of a series and whoever watches over them.
#[derive(Debug, Default)]
pub struct Stop {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    level: Level,
    /// What controls the tests that are being made, by their place in the plan.
    running: BTreeMap<usize, Arc<Control>>,
}

impl Level {
    fn ask(self, control: &Control) {
        match self {
            Self::Go => {}
            Self::Sending => control.stop_sending(),
            Self::Waiting => control.stop_waiting(),
        }
    }
}

impl Stop {
    /// Stops at least as much as `level` says.
    pub fn raise(&self, level: Level) {
        let mut state = self.lock();
        state.level = state.level.max(level);
        for control in state.running.values() {
            state.level.ask(control);
        }
        self.changed.notify_all();
    }

    /// Sleeps until a time, or until the series is stopped; says whether it is to go on.
    pub fn sleep_until(&self, time: Option<Instant>) -> bool {
        let mut state = self.lock();
        while state.level == Level::Go {
            let left = time.map(|time| time.saturating_duration_since(Instant::now()));
            state = match left {
                Some(left) if left.is_zero() => return true,
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                // Longer than time goes.
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
        false
    }

    /// What controls the test that now begins; `None` if the series is stopped.
    pub fn begin(&self, test: usize) -> Option<Arc<Control>> {
        let mut state = self.lock();
        (state.level == Level::Go).then(|| {
            let control = Arc::new(Control::default());
            state.running.insert(test, Arc::clone(&control));
            control
        })
    }

    /// The test is over.
    pub fn end(&self, test: usize) {
        self.lock().running.remove(&test);
    }

    /// A level and controls: what a panicking thread left is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_test_that_is_being_made_is_stopped_as_far_as_asked() {
        let stop = Stop::default();
        let control = stop.begin(3).unwrap();
        stop.raise(Level::Sending);
        assert!(control.sending_stopped() && !control.waiting_stopped());
        stop.raise(Level::Waiting);
        stop.raise(Level::Sending);
        assert!(control.waiting_stopped());
        assert!(stop.begin(4).is_none(), "and no other begins");
    }

    #[test]
    fn whoever_sleeps_is_woken() {
        let stop = Arc::new(Stop::default());
        assert!(stop.sleep_until(Some(Instant::now())));
        let sleeper = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || stop.sleep_until(None))
        };
        stop.raise(Level::Sending);
        assert!(!sleeper.join().unwrap());
        assert!(!stop.sleep_until(Some(Instant::now() + Duration::from_secs(3600))));
    }
}
