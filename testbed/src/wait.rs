//! Waiting for a condition instead of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// Long enough for a loaded two-core machine, so that only a real fault runs into it.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest pause between two looks at the condition.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Waits until `condition` holds; it is looked at at least once, and once more at the end.
///
/// # Panics
/// After `timeout`, naming `description` (it reads after "until": "the link is up").
#[expect(
    clippy::panic,
    reason = "a condition that never comes true fails the test, by name"
)]
pub fn wait_until(description: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    if let Err(error) = wait_for(description, timeout, || condition().then_some(())) {
        panic!("{error}");
    }
}

/// Waits until `probe` gives a value, and returns it.
///
/// # Errors
/// [`Error::Timeout`] after `timeout`, naming `description` (it reads after "until").
pub fn wait_for<T>(
    description: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T, Error> {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        // Read the clock first: a probe that was starved of CPU still gets a last look.
        let expired = Instant::now() >= deadline;
        if let Some(value) = probe() {
            return Ok(value);
        }
        if expired {
            return Err(Error::Timeout {
                description: description.to_owned(),
                timeout,
            });
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        wait_until("the third look", DEFAULT_TIMEOUT, || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    fn hands_over_the_value_waited_for() {
        let mut values = [None, Some("here")].into_iter();
        let found = wait_for("a value", DEFAULT_TIMEOUT, || values.next().flatten());
        assert_eq!(found.unwrap(), "here");
    }

    #[test]
    fn looks_once_even_without_time() {
        assert_eq!(wait_for("now", Duration::ZERO, || Some(1)).unwrap(), 1);
        let error = wait_for("never", Duration::ZERO, || None::<()>).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }));
    }

    #[test]
    #[should_panic(expected = "in vain until pigs fly")]
    fn panics_naming_what_it_waited_for() {
        wait_until("pigs fly", Duration::from_millis(1), || false);
    }
}
