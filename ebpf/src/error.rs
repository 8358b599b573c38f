//! What can go wrong on the way into the kernel, each in one sentence that says what to do.

use std::io;

/// A program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The process lacks the capabilities.
    #[error(
        "no permission to load an XDP program: run as root, or grant CAP_BPF, CAP_PERFMON, \
         CAP_NET_ADMIN and CAP_NET_RAW"
    )]
    Permission,
    /// The process may not open enough files: the program and each of its maps is one.
    #[error("more open files are needed than allowed: raise `ulimit -n`")]
    Descriptors,
    /// The kernel refused the program: usually too old.
    #[error(
        "the kernel refuses the XDP program ({0:#}): Linux 6.1 or newer with BPF, BTF and XDP \
         sockets is needed"
    )]
    Refused(#[source] libbpf_rs::Error),
}

/// A map operation failed.
#[derive(Debug, thiserror::Error)]
#[error("BPF map {map}: {source:#}")]
pub struct MapError {
    /// The map's name in the program.
    pub map: &'static str,
    /// The kernel's answer.
    #[source]
    pub source: libbpf_rs::Error,
}

/// A program could not be attached to an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The process lacks the capabilities.
    #[error("no permission to attach an XDP program: run as root, or grant CAP_NET_ADMIN")]
    Permission,
    /// Another XDP program is there.
    #[error(
        "another XDP program is attached to this interface: stop the program that owns it (`ip -details \
         link show` names it)"
    )]
    Occupied,
    /// The driver cannot run XDP in the mode asked for (or not at this MTU).
    #[error("the driver does not take the XDP program in {mode} mode ({source})", mode = .mode.name())]
    Unsupported {
        /// The mode asked for.
        mode: super::Mode,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The process may not open enough files.
    #[error("more open files are needed than allowed: raise `ulimit -n`")]
    Descriptors,
    /// The interface is gone.
    #[error("the interface no longer exists")]
    NoInterface,
}
