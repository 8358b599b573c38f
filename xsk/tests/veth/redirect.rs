//! The smallest XDP program that feeds an AF_XDP socket, assembled by hand so that these tests need
//! neither clang nor libbpf.

#![expect(unsafe_code, reason = "bpf(2)")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands, types and helpers by their numbers (`include/uapi/linux/bpf.h`).
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_PASS: i32 = 2;
const REDIRECT_MAP: i32 = 51;
const ADJUST_META: i32 = 54;

/// One instruction: operation, registers (source in the high half), offset, constant.
#[repr(C)]
struct Instruction(u8, u8, i16, i32);

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    key: *const u32,
    value: *const u32,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: *const Instruction,
    license: *const libc::c_char,
    log_level: u32,
    log_size: u32,
    log_buf: *mut u8,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// An attached program that writes [`METADATA`](Redirect::METADATA) below each packet and redirects
/// queue 0 to a socket. Dropping it detaches the program.
pub struct Redirect {
    _map: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Redirect {
    /// What the program leaves in the eight octets below the packet.
    pub const METADATA: u64 = 0x5eed;

    /// Attaches in native mode.
    pub fn attach(ifindex: u32, socket: BorrowedFd<'_>) -> Redirect {
        let map = MapCreate {
            map_type: MAP_TYPE_XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
        };
        let map = bpf(MAP_CREATE, &map).unwrap();
        let (key, value) = (0, unsigned(&socket));
        let update = MapUpdate {
            map_fd: unsigned(&map),
            key: &raw const key,
            value: &raw const value,
            flags: 0,
        };
        bpf_no_fd(MAP_UPDATE_ELEM, &update).unwrap();

        let program = program(&map);
        let mut log = vec![0; 1 << 16];
        let load = ProgLoad {
            prog_type: PROG_TYPE_XDP,
            insn_cnt: u32::try_from(program.len()).unwrap(),
            insns: program.as_ptr(),
            license: c"GPL".as_ptr(),
            log_level: 1,
            log_size: u32::try_from(log.len()).unwrap(),
            log_buf: log.as_mut_ptr(),
        };
        let program = bpf(PROG_LOAD, &load);
        assert!(
            program.is_ok(),
            "{program:?}: {}",
            String::from_utf8_lossy(&log)
        );
        let program = program.unwrap();
        let link = LinkCreate {
            prog_fd: unsigned(&program),
            target_ifindex: ifindex,
            attach_type: ATTACH_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        let link = bpf(LINK_CREATE, &link).unwrap();
        Redirect {
            _map: map,
            _program: program,
            _link: link,
        }
    }
}

#[rustfmt::skip]
fn program(map: &OwnedFd) -> [Instruction; 18] {
    let metadata = i32::try_from(Redirect::METADATA).unwrap();
    [
        Instruction(0xbf, 0x16, 0, 0),               // r6 = r1 (struct xdp_md)
        Instruction(0xb7, 0x02, 0, -8),              // r2 = -8
        Instruction(0x85, 0x00, 0, ADJUST_META),     // r0 = bpf_xdp_adjust_meta(r1, r2)
        Instruction(0x55, 0x00, 12, 0),              // if r0 != 0 goto pass
        Instruction(0x61, 0x62, 8, 0),               // r2 = r6->data_meta
        Instruction(0x61, 0x63, 0, 0),               // r3 = r6->data
        Instruction(0xbf, 0x24, 0, 0),               // r4 = r2
        Instruction(0x07, 0x04, 0, 8),               // r4 += 8
        Instruction(0x2d, 0x34, 7, 0),               // if r4 > r3 goto pass
        Instruction(0x7a, 0x02, 0, metadata),        // *(u64 *)r2 = metadata
        Instruction(0x61, 0x62, 16, 0),              // r2 = r6->rx_queue_index
        Instruction(0x18, 0x11, 0, map.as_raw_fd()), // r1 = map (64 bits, in two halves)
        Instruction(0x00, 0x00, 0, 0),
        Instruction(0xb7, 0x03, 0, XDP_PASS),        // r3 = XDP_PASS
        Instruction(0x85, 0x00, 0, REDIRECT_MAP),    // r0 = bpf_redirect_map(r1, r2, r3)
        Instruction(0x95, 0x00, 0, 0),               // return r0
        Instruction(0xb7, 0x00, 0, XDP_PASS),        // pass: r0 = XDP_PASS
        Instruction(0x95, 0x00, 0, 0),               // return r0
    ]
}

fn unsigned(fd: &impl AsRawFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// A command that makes something and returns its descriptor.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let fd = bpf_no_fd(command, attributes)?;
    let fd = i32::try_from(fd).unwrap();
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf_no_fd<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads one `T`, whose pointers the callers keep valid for the call; it
    // writes only to the log.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
