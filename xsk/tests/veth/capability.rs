//! Giving up one capability, on this thread only.

#![expect(
    unsafe_code,
    reason = "no safe wrapper of capset(2) among our dependencies"
)]

use std::io;

/// A capability by its number (`include/uapi/linux/capability.h`).
#[derive(Clone, Copy)]
pub enum Capability {
    NetRaw = 13,
    IpcLock = 14,
    SysResource = 24,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Capability {
    /// Takes it out of this thread's effective set.
    pub fn give_up(self) {
        // _LINUX_CAPABILITY_VERSION_3, which has two words per set; pid 0 is this thread.
        let mut header = Header {
            version: 0x2008_0522,
            pid: 0,
        };
        let mut sets = [Sets::default(); 2];
        // SAFETY: the kernel writes a header and, with version 3, two `Sets`.
        let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
        assert_eq!(got, 0, "{}", io::Error::last_os_error());
        sets[0].effective &= !(1 << self as u32);
        // SAFETY: the kernel reads a header and, with version 3, two `Sets`.
        let set = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }
}
