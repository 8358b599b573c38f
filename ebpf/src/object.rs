//! Loading an object and finding its parts by name.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::{ErrorKind, MapCore, MapHandle, Object, ObjectBuilder, ProgramMut};

use crate::{LoadError, MapError};

/// `BPF_F_XDP_HAS_FRAGS` of `linux/bpf.h`: the program copes with multi-buffer frames.
const HAS_FRAGS: u32 = 1 << 5;

/// Loads `bytes`. `frags` keeps or clears the promise to cope with multi-buffer frames: drivers
/// want it at jumbo MTUs, some older ones refuse it. `sizes` resizes maps by name.
pub(crate) fn load(bytes: &[u8], frags: bool, sizes: &[(&str, u32)]) -> Result<Object, LoadError> {
    // libbpf would print pages to standard error; the caller gets one sentence.
    libbpf_rs::set_print(None);

    let mut open = ObjectBuilder::default()
        .open_memory(bytes)
        .map_err(explain)?;
    for mut program in open.progs_mut() {
        program.set_flags(if frags { HAS_FRAGS } else { 0 });
    }
    for mut map in open.maps_mut() {
        if let Some((_, entries)) = sizes.iter().find(|(name, _)| map.name() == *name) {
            map.set_max_entries(*entries).map_err(explain)?;
        }
    }
    open.load().map_err(explain)
}

fn explain(error: libbpf_rs::Error) -> LoadError {
    match error.kind() {
        ErrorKind::PermissionDenied => LoadError::Permission,
        _ => LoadError::Refused(error),
    }
}

/// The program called `name`.
pub(crate) fn program<'object>(
    object: &'object Object,
    name: &str,
) -> Result<ProgramMut<'object>, LoadError> {
    object
        .progs_mut()
        .find(|program| program.name() == name)
        .ok_or_else(|| missing(name))
}

/// A descriptor of its own on the program called `name`.
pub(crate) fn program_fd(object: &Object, name: &str) -> Result<OwnedFd, LoadError> {
    let program = program(object, name)?;
    program
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| LoadError::Refused(error.into()))
}

/// A handle of its own on the map called `name`.
pub(crate) fn map(object: &Object, name: &'static str) -> Result<Map, LoadError> {
    let map = object
        .maps()
        .find(|map| map.name() == name)
        .ok_or_else(|| missing(name))?;
    let handle = MapHandle::try_from(&map).map_err(LoadError::Refused)?;
    Ok(Map { name, handle })
}

fn missing(name: &str) -> LoadError {
    let source = io::Error::new(io::ErrorKind::NotFound, format!("no {name} in the object"));
    LoadError::Refused(source.into())
}

/// A map that names itself in its errors.
#[derive(Debug)]
pub(crate) struct Map {
    name: &'static str,
    handle: MapHandle,
}

impl Map {
    /// Runs `operation` on the map.
    pub(crate) fn with<T>(
        &self,
        operation: impl FnOnce(&MapHandle) -> libbpf_rs::Result<T>,
    ) -> Result<T, MapError> {
        operation(&self.handle).map_err(|source| MapError {
            map: self.name,
            source,
        })
    }
}
