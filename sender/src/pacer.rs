//! Waiting for a point in time: sleep for the most of it, spin for the rest.
//!
//! A sleep overshoots by what the kernel needs to wake a thread, tens of microseconds. The pacer
//! learns that from its own sleeps and wakes that much early. At rates whose interval is shorter,
//! it spins all the time.
//!
//! It spins no longer than it must, and not only for courtesy: a thread that sleeps most of the
//! time is woken at once by the scheduler, even on a busy machine, while one that spins is taken
//! for a glutton and loses the processor for milliseconds when another wants it.

use std::hint;
use std::thread;
use std::time::{Duration, Instant};

/// A clock that can also wait. Tests have their own.
pub trait Timer {
    /// Time since the start.
    fn elapsed(&self) -> Duration;
    /// Gives the processor away for at least `pause`.
    fn sleep(&mut self, pause: Duration);
    /// Wastes a moment without giving the processor away.
    fn relax(&mut self);
}

/// The monotonic system clock, started when made.
#[derive(Debug)]
pub struct SystemTimer {
    start: Instant,
}

impl SystemTimer {
    /// Starts now.
    pub fn start() -> Self {
        // The kernel may delay a wake-up by the timer slack, 50 µs unless asked for less. Where
        // that is refused the pacer only spins longer.
        let _ = nix::sys::prctl::set_timerslack(1);
        Self {
            start: Instant::now(),
        }
    }
}

impl Timer for SystemTimer {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&mut self, pause: Duration) {
        thread::sleep(pause);
    }

    fn relax(&mut self) {
        hint::spin_loop();
    }
}

/// Waits for points in time.
#[derive(Debug)]
pub struct Pacer<T> {
    timer: T,
    /// How long before the deadline to stop sleeping.
    margin: Duration,
    /// With a single processor, spinning only keeps the receiver from running.
    spin: bool,
    /// Short waits left in which sleep is not trusted.
    mistrust: u32,
}

impl<T: Timer> Pacer<T> {
    /// Spinning longer than this costs more than it gains in precision.
    const MARGIN_MAX: Duration = Duration::from_micros(80);
    /// The margin before anything is known.
    const MARGIN_START: Duration = Duration::from_micros(50);
    /// How the margin follows the overshoot: it rises by this when a sleep overshot it, and falls
    /// by a ninth of this when not, and so settles where one sleep in ten overshoots it. Outliers
    /// move it no more than others.
    const MARGIN_STEP: Duration = Duration::from_nanos(900);
    /// A sleep that overshoots by more than [`Self::MARGIN_MAX`] is mistrusted for so many short waits:
    /// a virtual machine that gave its processor away may get it back a millisecond later.
    const MISTRUST: u32 = 200;
    /// A wait is short, and may be spun through, up to this.
    const SHORT: Duration = Duration::from_millis(2);
    /// Longest sleep at a stretch, so that an interruption is noticed.
    const NAP_MAX: Duration = Duration::from_millis(50);

    /// A pacer on `timer`. Without `spin` it wakes a little late instead of spinning.
    pub fn new(timer: T, spin: bool) -> Self {
        let margin = if spin {
            Self::MARGIN_START
        } else {
            Duration::ZERO
        };
        Self {
            timer,
            margin,
            spin,
            mistrust: 0,
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.timer.elapsed()
    }

    /// Returns at `deadline`, or within 50 ms of `interrupted` turning true. True when the
    /// deadline was reached.
    pub fn wait_until(&mut self, deadline: Duration, interrupted: impl Fn() -> bool) -> bool {
        loop {
            if interrupted() {
                return false;
            }
            let left = deadline.saturating_sub(self.timer.elapsed());
            if self.mistrust > 0 && left <= Self::SHORT {
                self.mistrust -= 1;
                break;
            }
            let pause = left.saturating_sub(self.margin);
            if pause.is_zero() {
                break;
            }
            self.nap(pause.min(Self::NAP_MAX));
        }
        while self.timer.elapsed() < deadline {
            self.timer.relax();
        }
        true
    }

    /// Gives the processor away for at least `pause`.
    pub fn pause(&mut self, pause: Duration) {
        self.timer.sleep(pause);
    }

    fn nap(&mut self, pause: Duration) {
        let before = self.timer.elapsed();
        self.timer.sleep(pause);
        if self.spin {
            let woken = self.timer.elapsed();
            if woken > before + pause + Self::MARGIN_MAX {
                self.mistrust = Self::MISTRUST;
            }
            let overshot = woken > before + pause + self.margin;
            self.margin = if overshot {
                (self.margin + Self::MARGIN_STEP).min(Self::MARGIN_MAX)
            } else {
                self.margin.saturating_sub(Self::MARGIN_STEP / 9)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Each look at the clock takes 1 µs; each sleep overshoots by 20 µs.
    #[derive(Default)]
    struct FakeTimer {
        now: Cell<Duration>,
        slept: Cell<u32>,
        /// What sleeps overshoot by besides.
        extra: Cell<Duration>,
    }

    const LOOK: Duration = Duration::from_micros(1);
    const OVERSHOOT: Duration = Duration::from_micros(20);

    impl Timer for &FakeTimer {
        fn elapsed(&self) -> Duration {
            self.now.set(self.now.get() + LOOK);
            self.now.get()
        }

        fn sleep(&mut self, pause: Duration) {
            self.now
                .set(self.now.get() + pause + OVERSHOOT + self.extra.get());
            self.slept.set(self.slept.get() + 1);
        }

        fn relax(&mut self) {}
    }

    #[test]
    fn reaches_deadlines_to_the_tick_while_sleeps_overshoot() {
        let timer = FakeTimer::default();
        let mut pacer = Pacer::new(&timer, true);
        for i in 1..200u32 {
            let deadline = Duration::from_millis(1) * i;
            assert!(pacer.wait_until(deadline, || false));
            assert!(timer.now.get() >= deadline);
            assert!(
                timer.now.get() <= deadline + 2 * LOOK,
                "{:?} past {deadline:?}",
                timer.now.get()
            );
        }
        assert_eq!(timer.slept.get(), 199, "one sleep each");
    }

    #[test]
    fn learns_to_spin_no_longer_than_sleeps_overshoot() {
        let timer = FakeTimer::default();
        let mut pacer = Pacer::new(&timer, true);
        for i in 1..2000u32 {
            pacer.wait_until(Duration::from_millis(1) * i, || false);
        }
        let learnt = OVERSHOOT..=OVERSHOOT + 3 * LOOK;
        assert!(learnt.contains(&pacer.margin), "{:?}", pacer.margin);
    }

    #[test]
    fn spins_through_short_waits_for_a_while_after_a_sleep_that_took_far_too_long() {
        let timer = FakeTimer::default();
        let mut pacer = Pacer::new(&timer, true);
        pacer.mistrust = Pacer::<&FakeTimer>::MISTRUST;
        for i in 1..=Pacer::<&FakeTimer>::MISTRUST {
            assert!(pacer.wait_until(Duration::from_millis(1) * i, || false));
        }
        assert_eq!(timer.slept.get(), 0);
        let next = timer.now.get() + Duration::from_millis(1);
        assert!(pacer.wait_until(next, || false));
        assert_eq!(timer.slept.get(), 1, "trusted again");
        pacer.mistrust = 1;
        assert!(pacer.wait_until(next + Duration::from_millis(9), || false));
        assert!(timer.slept.get() > 1, "a long wait is slept through");
    }

    #[test]
    fn a_sleep_that_took_far_too_long_is_noticed() {
        let timer = FakeTimer::default();
        timer.extra.set(Duration::from_millis(1));
        let mut pacer = Pacer::new(&timer, true);
        assert!(pacer.wait_until(Duration::from_millis(1), || false));
        assert_eq!(
            pacer.mistrust,
            Pacer::<&FakeTimer>::MISTRUST - 1,
            "and one short wait is over"
        );
    }

    #[test]
    fn does_not_sleep_when_there_is_no_time_to() {
        let timer = FakeTimer::default();
        let mut pacer = Pacer::new(&timer, true);
        for i in 1..100u32 {
            assert!(pacer.wait_until(Duration::from_micros(10) * i, || false));
        }
        assert_eq!(timer.slept.get(), 0);
    }

    #[test]
    fn without_spinning_it_is_late_by_the_overshoot() {
        let timer = FakeTimer::default();
        let mut pacer = Pacer::new(&timer, false);
        let deadline = Duration::from_millis(1);
        assert!(pacer.wait_until(deadline, || false));
        assert!(timer.now.get() >= deadline + OVERSHOOT);
        assert_eq!(timer.slept.get(), 1);
    }

    #[test]
    fn an_interruption_ends_a_long_wait() {
        let timer = FakeTimer::default();
        let mut pacer = Pacer::new(&timer, true);
        let reached = pacer.wait_until(Duration::from_secs(3600), || timer.slept.get() >= 3);
        assert!(!reached);
        assert!(timer.now.get() < Duration::from_millis(200));
    }
}
