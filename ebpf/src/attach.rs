//! Attaching by `bpf_link`: the kernel detaches when the last descriptor closes, so that a killed
//! process leaves nothing behind.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::AttachError;

/// Where in the receive path the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the kernel's generic receive path: works on every interface, slower.
    Generic,
}

impl Mode {
    /// The mode as documentation calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    /// `XDP_FLAGS_*` of `linux/if_link.h`.
    const fn flags(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }
}

/// A program attached to an interface. Detaches on drop.
#[derive(Debug)]
#[must_use = "dropping the attachment detaches the program"]
pub struct Attachment {
    _link: OwnedFd,
    mode: Mode,
}

impl Attachment {
    /// Attaches `program` to the interface in exactly this mode.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    #[expect(
        unsafe_code,
        reason = "libbpf-rs offers no XDP link with a mode; DESIGN section 9"
    )]
    pub(crate) fn create(
        program: BorrowedFd<'_>,
        ifindex: u32,
        mode: Mode,
    ) -> Result<Self, AttachError> {
        let Ok(target) = i32::try_from(ifindex) else {
            return Err(AttachError::NoInterface);
        };
        let options = libbpf_sys::bpf_link_create_opts {
            sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
            flags: mode.flags(),
            ..Default::default()
        };
        // SAFETY: `options` is initialised, carries its own size and outlives the call; the other
        // arguments are plain numbers that the kernel checks.
        let result = unsafe {
            libbpf_sys::bpf_link_create(
                program.as_raw_fd(),
                target,
                libbpf_sys::BPF_XDP,
                &raw const options,
            )
        };
        if result < 0 {
            return Err(explain(io::Error::from_raw_os_error(-result), mode));
        }
        // SAFETY: a non-negative result is a descriptor that the call created for us alone.
        let link = unsafe { OwnedFd::from_raw_fd(result) };
        Ok(Self { _link: link, mode })
    }

    /// Where the program runs.
    pub const fn mode(&self) -> Mode {
        self.mode
    }
}

/// net/core/dev.c, `dev_xdp_attach` and `dev_xdp_attach_link`: EBUSY for a program attached by
/// link or netlink in this mode, EEXIST for one in the other mode.
fn explain(error: io::Error, mode: Mode) -> AttachError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => AttachError::Permission,
        Some(libc::EBUSY | libc::EEXIST) => AttachError::Occupied,
        Some(libc::ENODEV) => AttachError::NoInterface,
        Some(libc::EMFILE | libc::ENFILE) => AttachError::Descriptors,
        _ => AttachError::Unsupported {
            mode,
            source: error,
        },
    }
}
