//! Getting the XDP program onto the interface, and saying how.

use ebpf::{AttachError, Attached, Attempt, BestError, ReflectorProgram, SharedMaps, attach_best};
use tracing::{info, warn};

use crate::args::XdpMode;
use crate::error::Error;
use crate::interface::Interface;

/// The program, loaded and attached.
pub type AttachedProgram = Attached<ReflectorProgram>;

/// Loads the program for `queues` receive queues and attaches it.
///
/// # Errors
///
/// No way allowed by `mode` works; the error is that of the last one tried.
pub fn attach(
    shared: &SharedMaps,
    interface: &Interface,
    queues: u32,
    mode: XdpMode,
) -> Result<AttachedProgram, Error> {
    let attempts: &[Attempt] = match mode {
        XdpMode::Auto => &Attempt::ANY,
        XdpMode::Native => &Attempt::NATIVE,
        XdpMode::Generic => &Attempt::GENERIC,
    };
    let attached = attach_best(
        attempts,
        |frags| ReflectorProgram::load(shared, queues, frags),
        |program, mode| program.attach(interface.index, mode),
    )
    .map_err(|error| match error {
        BestError::Load(error) => error.into(),
        BestError::Attach(error) => cannot_attach(interface, error),
    })?;
    for refusal in &attached.refusals {
        info!("{refusal}");
    }
    let Attempt { mode, frags } = attached.attempt;
    info!(frags, "XDP program attached in {} mode", mode.name());
    if mode == ebpf::Mode::Generic
        && let Some(refusal) = attached.refusals.last()
    {
        warn!("{refusal}: generic mode is slower, and takes T2 later");
    }
    Ok(attached)
}

fn cannot_attach(interface: &Interface, source: AttachError) -> Error {
    Error::Attach {
        name: interface.name.clone(),
        source,
    }
}
