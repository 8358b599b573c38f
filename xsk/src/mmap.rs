//! Memory mappings that unmap themselves.

#![expect(unsafe_code, reason = "mmap and munmap")]

use std::io;
use std::mem::{align_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

/// Assumed size of a huge page. The kernel rounds up to its own, so a larger one still works.
const HUGE_PAGE: usize = 2 << 20;

/// A range of mapped memory, readable and writable, zero or shared with the kernel at first.
///
/// It hands out addresses and no references: whoever turns an address into one must show that no
/// other thread, and not the kernel, touches those octets meanwhile.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a `Mapping` never touches the memory it owns; it can be unmapped from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above: its methods only compute addresses.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private zeroed memory of at least `len` octets, resident at once so that the packet path
    /// takes no page fault.
    pub(crate) fn anonymous(len: usize, huge_pages: bool) -> io::Result<Mapping> {
        let (len, flags) = if huge_pages {
            (Mapping::huge_len(len)?, libc::MAP_HUGETLB)
        } else {
            (len, 0)
        };
        Mapping::new(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags, None)
    }

    /// One ring of an AF_XDP socket; `page_offset` is one of the `XDP_PGOFF_*` constants.
    pub(crate) fn ring(
        socket: BorrowedFd<'_>,
        len: usize,
        page_offset: libc::off_t,
    ) -> io::Result<Mapping> {
        Mapping::new(len, libc::MAP_SHARED, Some((socket, page_offset)))
    }

    /// `len` rounded up to whole huge pages, as munmap(2) demands.
    pub(crate) fn huge_len(len: usize) -> io::Result<usize> {
        len.checked_next_multiple_of(HUGE_PAGE)
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn new(
        len: usize,
        flags: libc::c_int,
        file: Option<(BorrowedFd<'_>, libc::off_t)>,
    ) -> io::Result<Mapping> {
        // Miri knows no MAP_POPULATE, which is a hint.
        let flags = if cfg!(miri) {
            flags
        } else {
            flags | libc::MAP_POPULATE
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let (fd, offset) = file.map_or((-1, 0), |(fd, offset)| (fd.as_raw_fd(), offset));
        // SAFETY: without MAP_FIXED the kernel picks a range that nothing else uses.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { base, len })
    }

    /// The first octet, page-aligned.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The address of `count` values of `T` at `offset` octets from the base, or `None` if they are
    /// not aligned or leave the mapping. Valid while the mapping lives.
    pub(crate) fn at<T>(&self, offset: usize, count: usize) -> Option<NonNull<T>> {
        let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        if end > self.len {
            return None;
        }
        // SAFETY: `offset <= end <= len`, so the result stays within the mapping.
        let address = unsafe { self.base.add(offset) };
        (address.addr().get() % align_of::<T>() == 0).then_some(address.cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // A failure would mean a wrong range; there is nothing to be done about it here.
        // SAFETY: the range is ours, and users of its addresses keep the mapping alive.
        let _ = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_no_address_outside_the_mapping_or_unaligned() {
        let mapping = Mapping::anonymous(8192, false).unwrap();
        assert!(mapping.at::<u64>(0, 1024).is_some());
        assert!(mapping.at::<u64>(8184, 1).is_some());
        assert!(mapping.at::<u64>(8185, 1).is_none());
        assert!(mapping.at::<u64>(8, 1024).is_none());
        assert!(mapping.at::<u64>(4, 1).is_none());
        assert!(mapping.at::<u64>(0, usize::MAX).is_none());
        assert!(mapping.at::<u8>(usize::MAX, 1).is_none());
    }

    #[test]
    fn is_page_aligned_and_zero() {
        let mapping = Mapping::anonymous(4096, false).unwrap();
        assert_eq!(mapping.base().addr().get() % 4096, 0);
        // SAFETY: the whole mapping, which no one else uses.
        let octets = unsafe { std::slice::from_raw_parts(mapping.base().as_ptr(), 4096) };
        assert!(octets.iter().all(|&octet| octet == 0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri aborts when memory is short")]
    fn refuses_more_memory_than_there_is() {
        assert!(Mapping::anonymous(1 << 60, false).is_err());
        assert!(Mapping::huge_len(usize::MAX).is_err());
        assert_eq!(Mapping::huge_len(1).unwrap(), 2 << 20);
    }
}
