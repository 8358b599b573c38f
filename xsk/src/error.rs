//! What can go wrong while a socket is set up. The packet path returns no [`Error`].

use std::io;

/// Why a UMEM, a socket or a fact about an interface could not be had.
///
/// Each message is one sentence that says what is wrong and, where there is one, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel was built without AF_XDP, or is too old for it.
    #[error(
        "this kernel has no usable AF_XDP sockets: run Linux 6.1 or later built with CONFIG_XDP_SOCKETS=y"
    )]
    Unsupported,

    /// The process lacks a capability.
    #[error(
        "no permission to {operation}: run as root, or grant CAP_NET_RAW (AF_XDP sockets) and CAP_NET_ADMIN (busy polling, XDP programs)"
    )]
    Permission {
        /// What was being done, as "open an AF_XDP socket".
        operation: &'static str,
    },

    /// `RLIMIT_MEMLOCK` is too small for the UMEM and could not be raised.
    #[error(
        "the packet memory needs {needed} bytes of locked memory but the limit is {limit}: raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=), grant CAP_IPC_LOCK, or use fewer frames"
    )]
    Memlock {
        /// Size of the UMEM in octets.
        needed: u64,
        /// The soft limit in octets, after the attempt to raise it. Sockets of other processes of
        /// this user count against it too.
        limit: u64,
    },

    /// The queue already has an AF_XDP socket, and kept it while we waited.
    #[error(
        "queue {queue} of {interface} already has an AF_XDP socket: stop the program that owns it or choose another queue"
    )]
    Busy {
        /// Interface name.
        interface: String,
        /// Queue number.
        queue: u32,
    },

    /// The interface has fewer queues.
    #[error("{interface} has no queue {queue}: its queues are 0 to {last}", last = queues.saturating_sub(1))]
    NoSuchQueue {
        /// Interface name.
        interface: String,
        /// The queue that was asked for.
        queue: u32,
        /// How many queues the interface has.
        queues: u32,
    },

    /// No interface of this name or index in this network namespace.
    #[error("there is no interface {interface} in this network namespace: `ip link` lists them")]
    NoSuchInterface {
        /// Interface name or index as it was given.
        interface: String,
    },

    /// Zero-copy was demanded and the driver cannot do it.
    #[error(
        "the driver of {interface} cannot do zero-copy here: use the automatic or the copy mode"
    )]
    NoZeroCopy {
        /// Interface name.
        interface: String,
    },

    /// The kernel knows nothing of TX metadata.
    #[error(
        "this kernel cannot say when packets of AF_XDP sockets left: run Linux 6.11 or later, or do without TX metadata"
    )]
    NoTxMetadata,

    /// No huge pages are free.
    #[error(
        "no huge pages for {needed} bytes of packet memory: raise vm.nr_hugepages or turn huge pages off"
    )]
    NoHugePages {
        /// Octets asked for, a multiple of the huge page size.
        needed: usize,
    },

    /// A configuration value is out of range.
    #[error("{field} is {value}: it must be {expected}")]
    Config {
        /// Name of the field of [`UmemConfig`](crate::UmemConfig),
        /// [`SocketConfig`](crate::SocketConfig) or [`RingSizes`](crate::RingSizes).
        field: &'static str,
        /// The value it had.
        value: u64,
        /// What is allowed, as "a power of two from 1 to 65536".
        expected: &'static str,
    },

    /// Any other refusal of the kernel.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was being done, as "map the fill ring".
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// Sorts the answer to a system call that any process may be refused.
    pub(crate) fn from_io(operation: &'static str, source: io::Error) -> Error {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Error::Permission { operation },
            Some(libc::EAFNOSUPPORT | libc::ENOPROTOOPT) => Error::Unsupported,
            None if source.kind() == io::ErrorKind::Unsupported => Error::Unsupported,
            _ => Error::Io { operation, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(errno: i32) -> Error {
        Error::from_io("open an AF_XDP socket", io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn sorts_kernel_answers() {
        assert!(matches!(sorted(libc::EPERM), Error::Permission { .. }));
        assert!(matches!(sorted(libc::EAFNOSUPPORT), Error::Unsupported));
        assert!(matches!(sorted(libc::ENOMEM), Error::Io { .. }));
    }

    #[test]
    fn messages_are_one_sentence_with_advice() {
        assert_eq!(
            sorted(libc::EPERM).to_string(),
            "no permission to open an AF_XDP socket: run as root, or grant CAP_NET_RAW \
             (AF_XDP sockets) and CAP_NET_ADMIN (busy polling, XDP programs)"
        );
        let missing = Error::NoSuchQueue {
            interface: "veth0".into(),
            queue: 9,
            queues: 4,
        };
        assert_eq!(
            missing.to_string(),
            "veth0 has no queue 9: its queues are 0 to 3"
        );
    }
}
