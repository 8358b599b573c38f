//! The kernel ABI of AF_XDP, and every system call of this crate, each behind a safe function.
//!
//! Constants and structures are libc's where it has them; the rest is mirrored here with its origin.

#![expect(unsafe_code, reason = "system calls")]

use std::ffi::{CStr, c_int};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// `XDP_PACKET_HEADROOM`: octets the kernel leaves before a received packet, beyond the UMEM's own
/// headroom (`include/uapi/linux/bpf.h`).
pub(crate) const XDP_PACKET_HEADROOM: u32 = 256;

/// Commands of `SIOCETHTOOL` (`include/uapi/linux/ethtool.h`, as all of ethtool here).
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// `ETH_SS_FEATURES`: the string set of feature names.
const ETH_SS_FEATURES: u32 = 4;
/// `ETH_GSTRING_LEN`: octets of a name, padded by zeros.
const ETH_GSTRING_LEN: usize = 32;
/// `SIOCETHTOOL` (`include/uapi/linux/sockios.h`).
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// `struct ethtool_channels` (`include/uapi/linux/ethtool.h`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct EthtoolChannels {
    cmd: u32,
    pub(crate) max_rx: u32,
    max_tx: u32,
    max_other: u32,
    pub(crate) max_combined: u32,
    pub(crate) rx_count: u32,
    pub(crate) tx_count: u32,
    other_count: u32,
    pub(crate) combined_count: u32,
}

/// `struct ethtool_sset_info` for one set.
#[repr(C)]
struct EthtoolSsetInfo {
    cmd: u32,
    reserved: u32,
    sset_mask: u64,
    size: u32,
}

/// `struct ethtool_get_features_block`: a bit for each of 32 features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FeatureBlock {
    /// Those that can be switched.
    pub(crate) available: u32,
    /// Those that are on.
    pub(crate) active: u32,
}

/// `struct ethtool_set_features_block`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeatureChange {
    /// Features to switch.
    pub(crate) valid: u32,
    /// Those of them to switch on.
    pub(crate) requested: u32,
}

/// `struct ethtool_drvinfo` (`include/uapi/linux/ethtool.h`).
#[repr(C)]
struct EthtoolDrvinfo {
    cmd: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

const _: () = assert!(size_of::<EthtoolDrvinfo>() == 196);

/// A type the kernel and we may both write: without pointers, and valid for every bit pattern.
///
/// # Safety
/// Every bit pattern must be a valid value, and the layout must be that of C.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: an integer has no invalid bit pattern.
unsafe impl Plain for c_int {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: a C structure of integers.
unsafe impl Plain for libc::xdp_desc {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_options {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_umem_reg {}

/// Opens a socket that is closed on exec.
pub(crate) fn socket(domain: c_int, kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd = check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// setsockopt(2).
pub(crate) fn set_option<T: Plain>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer and length are those of one `T`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            length_of::<T>(),
        )
    };
    check(result).map(drop)
}

/// getsockopt(2); an answer shorter than `T` is an error, as an older kernel would give one.
pub(crate) fn option<T: Plain>(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = length_of::<T>();
    // SAFETY: the kernel writes at most `length` octets, the size of `value`.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    if length != length_of::<T>() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: zeroed and then perhaps written by the kernel: `T: Plain` takes any bit pattern.
    Ok(unsafe { value.assume_init() })
}

/// bind(2) of an AF_XDP socket.
pub(crate) fn bind_xdp(fd: BorrowedFd<'_>, address: &libc::sockaddr_xdp) -> io::Result<()> {
    // SAFETY: the pointer and length are those of one `sockaddr_xdp`, which the kernel only reads.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            ptr::from_ref(address).cast(),
            length_of::<libc::sockaddr_xdp>(),
        )
    };
    check(result).map(drop)
}

/// An empty sendto(2) that does not block: wakes the transmit side (`xsk_sendmsg`, `net/xdp/xsk.c`).
#[inline]
pub(crate) fn send_nothing(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed, and their lengths are zero.
    let result = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            ptr::null(),
            0,
            libc::MSG_DONTWAIT,
            ptr::null(),
            0,
        )
    };
    check_length(result)
}

/// An empty recvfrom(2) that does not block: wakes the receive side (`xsk_recvmsg`,
/// `net/xdp/xsk.c`).
#[inline]
pub(crate) fn receive_nothing(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed, and the length is zero.
    let result = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    check_length(result)
}

/// Raises `RLIMIT_MEMLOCK` as far as it goes and returns what it is then, in octets; not to be
/// allowed is no error.
pub(crate) fn raise_memlock() -> u64 {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    if set_memlock(&unlimited).is_ok() {
        return libc::RLIM_INFINITY;
    }
    // Without CAP_SYS_RESOURCE the hard limit stands: go up to it.
    let Ok(limit) = memlock() else { return 0 };
    match set_memlock(&libc::rlimit {
        rlim_cur: limit.rlim_max,
        ..limit
    }) {
        Ok(()) => limit.rlim_max,
        Err(_) => limit.rlim_cur,
    }
}

fn memlock() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one `rlimit`.
    check(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) })?;
    Ok(limit)
}

fn set_memlock(limit: &libc::rlimit) -> io::Result<()> {
    // SAFETY: the kernel reads one `rlimit`.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, limit) }).map(drop)
}

/// `SIOCGIFINDEX`. libc's `if_nametoindex` does not say whether it lacked a socket to ask by.
pub(crate) fn interface_index(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<u32> {
    let request = interface_request(fd, name, libc::SIOCGIFINDEX)?;
    // SAFETY: the kernel answers this request in `ifru_ifindex`, and any bits are a valid integer.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    Ok(index.unsigned_abs())
}

/// `SIOCGIFNAME`.
pub(crate) fn interface_name(fd: BorrowedFd<'_>, index: u32) -> io::Result<String> {
    let mut request = named_request(c"")?;
    let no_device = |_| io::Error::from_raw_os_error(libc::ENODEV);
    request.ifr_ifru.ifru_ifindex = c_int::try_from(index).map_err(no_device)?;
    let answer = exchange(fd, request, libc::SIOCGIFNAME)?;
    // The kernel terminates it.
    let octets = answer
        .ifr_name
        .map(|octet| u8::from_ne_bytes(octet.to_ne_bytes()));
    let text = CStr::from_bytes_until_nul(&octets).unwrap_or_default();
    Ok(text.to_string_lossy().into_owned())
}

/// `SIOCGIFMTU`.
pub(crate) fn interface_mtu(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<c_int> {
    let request = interface_request(fd, name, libc::SIOCGIFMTU)?;
    // SAFETY: the kernel answers this request in `ifru_mtu`, and any bits are a valid integer.
    Ok(unsafe { request.ifr_ifru.ifru_mtu })
}

/// `SIOCGIFFLAGS`.
pub(crate) fn interface_flags(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<c_int> {
    let request = interface_request(fd, name, libc::SIOCGIFFLAGS)?;
    // SAFETY: the kernel answers this request in `ifru_flags`, and any bits are a valid integer.
    Ok(c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
}

/// `SIOCGIFHWADDR`: ARP hardware type and the first six octets of the address.
pub(crate) fn interface_address(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<(u16, [u8; 6])> {
    let request = interface_request(fd, name, libc::SIOCGIFHWADDR)?;
    // SAFETY: the kernel answers this request in `ifru_hwaddr`, a structure of integers.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut octets = [0; 6];
    for (octet, &raw) in octets.iter_mut().zip(&address.sa_data) {
        *octet = raw.to_ne_bytes()[0];
    }
    Ok((address.sa_family, octets))
}

/// `ETHTOOL_GCHANNELS`.
pub(crate) fn interface_channels(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<EthtoolChannels> {
    let mut channels = EthtoolChannels {
        cmd: ETHTOOL_GCHANNELS,
        ..EthtoolChannels::default()
    };
    // SAFETY: an `ethtool_channels`, as the command in it says.
    unsafe { ethtool(fd, name, &raw mut channels) }?;
    Ok(channels)
}

/// `ETHTOOL_GSTRINGS`: the names of the features, in the order of their bits. The same for every
/// interface; a name may be empty.
pub(crate) fn feature_names(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<String>> {
    let mut info = EthtoolSsetInfo {
        cmd: ETHTOOL_GSSET_INFO,
        reserved: 0,
        sset_mask: 1 << ETH_SS_FEATURES,
        size: 0,
    };
    // SAFETY: an `ethtool_sset_info` that asks for one set and has room for the size of one.
    unsafe { ethtool(fd, name, &raw mut info) }?;
    let count = info.size as usize;

    // `struct ethtool_gstrings`: three words, then the names.
    let mut words = vec![0_u32; 3 + count * ETH_GSTRING_LEN / size_of::<u32>()];
    words[..2].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES]);
    // SAFETY: there is room for as many names as the kernel said; their number is the kernel's own
    // constant.
    unsafe { ethtool(fd, name, words.as_mut_ptr()) }?;
    let octets: Vec<u8> = words[3..]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    Ok(octets
        .chunks_exact(ETH_GSTRING_LEN)
        .map(|octets| {
            let end = octets.iter().position(|&octet| octet == 0);
            String::from_utf8_lossy(&octets[..end.unwrap_or(ETH_GSTRING_LEN)]).into_owned()
        })
        .collect())
}

/// `ETHTOOL_GFEATURES`: so many blocks, or fewer if the kernel has no more.
pub(crate) fn interface_features(
    fd: BorrowedFd<'_>,
    name: &CStr,
    blocks: usize,
) -> io::Result<Vec<FeatureBlock>> {
    const BLOCK: usize = 4;
    let size = u32::try_from(blocks).map_err(|_| io::ErrorKind::InvalidInput)?;
    // `struct ethtool_gfeatures`: two words, then the blocks.
    let mut words = vec![0_u32; 2 + blocks * BLOCK];
    words[..2].copy_from_slice(&[ETHTOOL_GFEATURES, size]);
    // SAFETY: the kernel writes no more blocks than the second word says.
    unsafe { ethtool(fd, name, words.as_mut_ptr()) }?;
    Ok(words[2..]
        .chunks_exact(BLOCK)
        .take(words[1] as usize)
        .map(|block| FeatureBlock {
            available: block[0],
            active: block[2],
        })
        .collect())
}

/// `ETHTOOL_SFEATURES`. A feature that cannot be switched is no error.
pub(crate) fn set_interface_features(
    fd: BorrowedFd<'_>,
    name: &CStr,
    changes: &[FeatureChange],
) -> io::Result<()> {
    let size = u32::try_from(changes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // `struct ethtool_sfeatures`: two words, then the blocks.
    let mut words = vec![ETHTOOL_SFEATURES, size];
    words.extend(
        changes
            .iter()
            .flat_map(|change| [change.valid, change.requested]),
    );
    // SAFETY: the kernel reads as many blocks as the second word says, and writes none.
    unsafe { ethtool(fd, name, words.as_mut_ptr()) }
}

/// `ETHTOOL_GDRVINFO`: the name of the driver.
pub(crate) fn interface_driver(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<String> {
    let mut info = EthtoolDrvinfo {
        cmd: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    // SAFETY: an `ethtool_drvinfo`, as the command in it says.
    unsafe { ethtool(fd, name, &raw mut info) }?;
    let driver = CStr::from_bytes_until_nul(&info.driver).unwrap_or_default();
    Ok(driver.to_string_lossy().into_owned())
}

/// `SIOCETHTOOL`.
///
/// # Safety
/// `data` must point to the structure that the command in its first field reads and writes.
unsafe fn ethtool<T>(fd: BorrowedFd<'_>, name: &CStr, data: *mut T) -> io::Result<()> {
    let mut request = named_request(name)?;
    request.ifr_ifru.ifru_data = data.cast();
    // SAFETY: the caller answers for what `ifru_data` points to; both it and the request outlive the
    // call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SIOCETHTOOL, &raw mut request) }).map(drop)
}

/// An ioctl(2) that takes an interface's name and answers in the same `ifreq`, by value.
fn interface_request(
    fd: BorrowedFd<'_>,
    name: &CStr,
    request: libc::c_ulong,
) -> io::Result<libc::ifreq> {
    exchange(fd, named_request(name)?, request)
}

/// An ioctl(2) that answers in the `ifreq` it is given, by value.
fn exchange(
    fd: BorrowedFd<'_>,
    mut answer: libc::ifreq,
    request: libc::c_ulong,
) -> io::Result<libc::ifreq> {
    // `libc::Ioctl` is unsigned with glibc and signed with musl; every request fits both.
    let request = libc::Ioctl::try_from(request).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the callers' requests read and write one `ifreq` and follow no pointer in it.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut answer) })?;
    Ok(answer)
}

fn named_request(name: &CStr) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is a C structure of integers and a pointer: all zeros are valid.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    let name = name.to_bytes_with_nul();
    if name.len() > request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, &from) in request.ifr_name.iter_mut().zip(name) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

fn length_of<T>() -> libc::socklen_t {
    const { assert!(size_of::<T>() <= 4096, "no option is that large") };
    #[expect(clippy::cast_possible_truncation, reason = "checked just above")]
    {
        size_of::<T>() as libc::socklen_t
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[inline]
fn check_length(result: libc::ssize_t) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
