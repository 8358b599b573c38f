//! Loading an object and finding its parts by name.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use libbpf_rs::{
    ErrorKind, MapCore, MapFlags, MapHandle, MapType, Object, ObjectBuilder, OpenMapMut,
    OpenObject, ProgramInput, ProgramMut,
};

use crate::{LoadError, MapError};

/// `BPF_F_XDP_HAS_FRAGS` of `linux/bpf.h`: the program copes with multi-buffer frames.
const HAS_FRAGS: u32 = 1 << 5;

/// Loads `bytes`. `frags` keeps or clears the promise to cope with multi-buffer frames: drivers
/// want it at jumbo MTUs, some older ones refuse it. `sizes` resizes maps by name, and `reuse` gives
/// the program maps that are there already.
pub(crate) fn load(
    bytes: &[u8],
    frags: bool,
    sizes: &[(&str, u32)],
    reuse: &[&Map],
) -> Result<Object, LoadError> {
    let mut open = open(bytes)?;
    for mut program in open.progs_mut() {
        program.set_flags(if frags { HAS_FRAGS } else { 0 });
    }
    for mut map in open.maps_mut() {
        resize(&mut map, sizes)?;
        if let Some(shared) = reuse.iter().find(|shared| map.name() == shared.name) {
            map.reuse_fd(shared.handle.as_fd()).map_err(explain)?;
        }
    }
    open.load().map_err(explain)
}

/// Creates maps of `bytes`, those and at the sizes that `sizes` names, and loads no program.
pub(crate) fn create_maps(bytes: &[u8], sizes: &[(&str, u32)]) -> Result<Object, LoadError> {
    let mut open = open(bytes)?;
    for mut program in open.progs_mut() {
        program.set_autoload(false);
    }
    for mut map in open.maps_mut() {
        if !resize(&mut map, sizes)? {
            map.set_autocreate(false).map_err(explain)?;
        }
    }
    open.load().map_err(explain)
}

fn open(bytes: &[u8]) -> Result<OpenObject, LoadError> {
    // libbpf would print pages to standard error; the caller gets one sentence.
    libbpf_rs::set_print(None);
    ObjectBuilder::default().open_memory(bytes).map_err(explain)
}

/// Gives a map the size that `sizes` names, if it does.
fn resize(map: &mut OpenMapMut<'_>, sizes: &[(&str, u32)]) -> Result<bool, LoadError> {
    let Some((_, entries)) = sizes.iter().find(|(name, _)| map.name() == *name) else {
        return Ok(false);
    };
    map.set_max_entries(*entries).map_err(explain)?;
    Ok(true)
}

fn explain(error: libbpf_rs::Error) -> LoadError {
    match error.kind() {
        ErrorKind::PermissionDenied => LoadError::Permission,
        _ if is(&error, libc::EMFILE) || is(&error, libc::ENFILE) => LoadError::Descriptors,
        _ => LoadError::Refused(error),
    }
}

/// libbpf-rs gives the kernel's answer in words alone, at the end.
fn is(error: &libbpf_rs::Error, errno: i32) -> bool {
    let words = io::Error::from_raw_os_error(errno).to_string();
    format!("{error:#}").ends_with(&words)
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
        .map_err(|error| explain(error.into()))
}

/// Runs the program called `name` so many times over a frame; returns the mean time of a run.
pub(crate) fn time_runs(
    object: &Object,
    name: &str,
    frame: &[u8],
    repeat: u32,
) -> Result<Duration, LoadError> {
    let input = ProgramInput {
        data_in: Some(frame),
        repeat,
        ..ProgramInput::default()
    };
    let output = program(object, name)?
        .test_run(input)
        .map_err(LoadError::Refused)?;
    Ok(output.duration)
}

/// A handle of its own on the map called `name`.
pub(crate) fn map(object: &Object, name: &'static str) -> Result<Map, LoadError> {
    let map = object
        .maps()
        .find(|map| map.name() == name)
        .ok_or_else(|| missing(name))?;
    let handle = MapHandle::try_from(&map).map_err(explain)?;
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
    /// A map to stand in a map of maps, with these entries. Nobody sees it before it is complete, and
    /// the kernel frees it when nobody can see it any more.
    pub(crate) fn with_entries<const KEY: usize, const VALUE: usize>(
        name: &'static str,
        kind: MapType,
        entries: impl IntoIterator<Item = ([u8; KEY], [u8; VALUE])>,
    ) -> Result<Self, MapError> {
        let (keys, values): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let fill = || {
            let size = |size: usize| u32::try_from(size).map_err(io::Error::other);
            let count = size(keys.len())?;
            let options = libbpf_sys::bpf_map_create_opts {
                sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
                map_flags: match kind {
                    MapType::LpmTrie => libbpf_sys::BPF_F_NO_PREALLOC,
                    _ => 0,
                },
                ..Default::default()
            };
            let handle = MapHandle::create(
                kind,
                Some(name),
                size(KEY)?,
                size(VALUE)?,
                count.max(1),
                &options,
            )?;
            let any = MapFlags::ANY;
            // One system call for all where the kernel has it for this kind of map.
            if count > 0
                && handle
                    .update_batch(keys.as_flattened(), values.as_flattened(), count, any, any)
                    .is_err()
            {
                for (key, value) in keys.iter().zip(&values) {
                    handle.update(key, value, any)?;
                }
            }
            Ok(handle)
        };
        let handle = fill().map_err(|source| MapError { map: name, source })?;
        Ok(Self { name, handle })
    }

    /// Puts `inner` into a slot of this map of maps, in place of what is there. When this returns, no
    /// program runs any more that saw the map before.
    pub(crate) fn set_inner(&self, slot: u32, inner: &Self) -> Result<(), MapError> {
        let descriptor = inner.handle.as_fd().as_raw_fd().to_ne_bytes();
        self.with(|map| map.update(&slot.to_ne_bytes(), &descriptor, MapFlags::ANY))
    }

    /// Empties a slot of this map of maps. When this returns, no program runs any more that saw the map
    /// there.
    pub(crate) fn clear_inner(&self, slot: u32) -> Result<(), MapError> {
        self.with(|map| match map.delete(&slot.to_ne_bytes()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        })
    }

    /// The numbers of an entry of a per-CPU array, each summed over the CPUs.
    pub(crate) fn sum_of_cpus<const COUNT: usize>(
        &self,
        index: u32,
    ) -> Result<[u64; COUNT], MapError> {
        let per_cpu = self.with(|map| {
            map.lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)?
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound).into())
        })?;
        let mut sums = [0_u64; COUNT];
        for cpu in per_cpu {
            let (numbers, _) = cpu.as_chunks();
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum += u64::from_ne_bytes(*number);
            }
        }
        Ok(sums)
    }

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
