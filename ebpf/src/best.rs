//! Getting a program onto an interface: the best way first, and why not a better one.

use std::ops::Deref;

use crate::{AttachError, Attachment, LoadError, Mode};

/// One way to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Where the program is to run.
    pub mode: Mode,
    /// Promise to cope with multi-buffer frames. A plain program is refused at jumbo MTUs (ERANGE on
    /// veth); some drivers refuse the promise.
    pub frags: bool,
}

impl Attempt {
    /// In the driver.
    pub const NATIVE: [Self; 2] = [
        Self {
            mode: Mode::Native,
            frags: true,
        },
        Self {
            mode: Mode::Native,
            frags: false,
        },
    ];
    /// In the kernel's generic receive path.
    pub const GENERIC: [Self; 1] = [Self {
        mode: Mode::Generic,
        frags: true,
    }];
    /// In the driver, else in the generic path.
    pub const ANY: [Self; 3] = [Self::NATIVE[0], Self::NATIVE[1], Self::GENERIC[0]];
}

/// A program that is loaded and attached. Dropping it detaches; so does the death of the process.
#[derive(Debug)]
pub struct Attached<P> {
    program: P,
    attachment: Option<Attachment>,
    /// The way that worked.
    pub attempt: Attempt,
    /// Why the ways before did not.
    pub refusals: Vec<AttachError>,
}

impl<P> Attached<P> {
    /// Where the program runs.
    pub const fn mode(&self) -> Mode {
        self.attempt.mode
    }

    /// Takes the program off the interface; its maps and counters stay.
    pub fn detach(&mut self) {
        self.attachment = None;
    }
}

impl<P> Deref for Attached<P> {
    type Target = P;

    /// The program: its maps and counters.
    fn deref(&self) -> &P {
        &self.program
    }
}

/// Why no way worked.
#[derive(Debug, thiserror::Error)]
pub enum BestError {
    /// The kernel does not take the program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The interface does not.
    #[error(transparent)]
    Attach(AttachError),
}

/// Tries `attempts` in their order: loads the program, with or without the promise, and attaches it.
///
/// # Errors
///
/// The error of the last one tried. No other way is tried when it would do no better.
pub fn attach_best<P>(
    attempts: &[Attempt],
    load: impl Fn(bool) -> Result<P, LoadError>,
    attach: impl Fn(&P, Mode) -> Result<Attachment, AttachError>,
) -> Result<Attached<P>, BestError> {
    let mut refusals = Vec::new();
    for &attempt in attempts {
        let program = load(attempt.frags)?;
        match attach(&program, attempt.mode) {
            Ok(attachment) => {
                return Ok(Attached {
                    program,
                    attachment: Some(attachment),
                    attempt,
                    refusals,
                });
            }
            Err(error @ AttachError::Unsupported { .. }) => refusals.push(error),
            Err(error) => return Err(BestError::Attach(error)),
        }
    }
    let last = refusals.pop().unwrap_or(AttachError::NoInterface);
    Err(BestError::Attach(last))
}
