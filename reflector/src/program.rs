//! Getting the XDP program onto the interface: the best way first, and why not a better one.

use std::ops::Deref;

use ebpf::{AttachError, Attachment, Mode, ReflectorProgram};
use tracing::{info, warn};

use crate::args::XdpMode;
use crate::error::Error;
use crate::interface::Interface;

/// The program, loaded and attached. Dropping it detaches; so does the death of the process.
#[derive(Debug)]
pub struct AttachedProgram {
    program: ReflectorProgram,
    attachment: Attachment,
}

impl Deref for AttachedProgram {
    type Target = ReflectorProgram;

    /// Its maps and counters.
    fn deref(&self) -> &ReflectorProgram {
        &self.program
    }
}

impl AttachedProgram {
    /// Where it runs.
    pub const fn mode(&self) -> Mode {
        self.attachment.mode()
    }
}

/// One way to try.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    mode: Mode,
    /// Promise to cope with multi-buffer frames. A plain program is refused at jumbo MTUs (ERANGE on
    /// veth); some drivers refuse the promise.
    frags: bool,
}

const NATIVE: [Attempt; 2] = [
    Attempt {
        mode: Mode::Native,
        frags: true,
    },
    Attempt {
        mode: Mode::Native,
        frags: false,
    },
];
const GENERIC: [Attempt; 1] = [Attempt {
    mode: Mode::Generic,
    frags: true,
}];

/// Loads the program for `queues` receive queues and attaches it.
///
/// # Errors
///
/// No way allowed by `mode` works; the error is that of the last one tried.
pub fn attach(interface: &Interface, queues: u32, mode: XdpMode) -> Result<AttachedProgram, Error> {
    let attempts: Vec<Attempt> = match mode {
        XdpMode::Auto => NATIVE.into_iter().chain(GENERIC).collect(),
        XdpMode::Native => NATIVE.to_vec(),
        XdpMode::Generic => GENERIC.to_vec(),
    };
    let mut refusal = None;
    for attempt in attempts {
        let program = ReflectorProgram::load(queues, attempt.frags)?;
        match program.attach(interface.index, attempt.mode) {
            Ok(attachment) => {
                info!(
                    frags = attempt.frags,
                    "XDP program attached in {} mode",
                    attempt.mode.name()
                );
                if let Some(refusal) = refusal.filter(|_| attempt.mode == Mode::Generic) {
                    warn!("{refusal}: generic mode is slower, and takes T2 later");
                }
                return Ok(AttachedProgram {
                    program,
                    attachment,
                });
            }
            Err(error @ AttachError::Unsupported { .. }) => {
                info!("{error}");
                refusal = Some(error);
            }
            // No other mode would do better.
            Err(error) => return Err(cannot_attach(interface, error)),
        }
    }
    Err(cannot_attach(
        interface,
        refusal.unwrap_or(AttachError::NoInterface),
    ))
}

fn cannot_attach(interface: &Interface, source: AttachError) -> Error {
    Error::Attach {
        name: interface.name.clone(),
        source,
    }
}
