//! Interruptions by signal, counted one by one.

use std::ffi::c_int;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use signal_hook::low_level::pipe;

/// Counts the signals it watches for, which no longer end the process.
///
/// The handler writes an octet per signal into a pipe. Flags, or an iterator over pending signals,
/// would make one of two signals that come close together.
#[derive(Debug)]
pub struct Interruptions {
    octets: UnixStream,
    count: usize,
}

impl Interruptions {
    /// Watches for `signals` from now on.
    ///
    /// # Errors
    ///
    /// There is no pipe, or a handler cannot be installed.
    pub fn watch(signals: &[c_int]) -> io::Result<Self> {
        let (octets, handlers_end) = UnixStream::pair()?;
        octets.set_nonblocking(true)?;
        for &signal in signals {
            pipe::register(signal, handlers_end.try_clone()?)?;
        }
        Ok(Self { octets, count: 0 })
    }

    /// Number of signals so far.
    pub fn count(&mut self) -> usize {
        let mut room = [0; 64];
        // What cannot be read now is there at the next look.
        while let Ok(octets @ 1..) = self.octets.read(&mut room) {
            self.count += octets;
        }
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal_hook::consts::{SIGUSR1, SIGUSR2};
    use signal_hook::low_level::raise;

    #[test]
    fn signals_between_two_looks_are_counted_each() {
        let mut interruptions = Interruptions::watch(&[SIGUSR1, SIGUSR2]).unwrap();
        assert_eq!(interruptions.count(), 0);
        for signal in [SIGUSR1, SIGUSR1, SIGUSR2] {
            raise(signal).unwrap();
        }
        assert_eq!(interruptions.count(), 3);
        raise(SIGUSR1).unwrap();
        assert_eq!(interruptions.count(), 4);
    }
}
