//! Memory for calls: anonymous files, and mappings of them at addresses chosen by us.
//!
//! Not for coherent memory. No threads, no locks, no allocation.

use banyan_sys::raw::syscall;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// Who may use a mapping, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: a guard.
    None,
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
    /// Reading and executing.
    Execute,
}

impl Access {
    const fn bits(self) -> i32 {
        match self {
            Self::None => libc::PROT_NONE,
            Self::Read => libc::PROT_READ,
            Self::Execute => libc::PROT_READ | libc::PROT_EXEC,
            Self::Write => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

/// Copies bytes out of memory that a peer may be writing.
///
/// # Safety
/// The range must be mapped for reading, `from` and the mapping a multiple of eight.
pub(crate) unsafe fn load_bytes(from: u64, to: &mut [u8]) {
    for (index, chunk) in to.chunks_mut(8).enumerate() {
        // SAFETY: the caller says that the range, rounded up to words, is mapped; a volatile read
        // of a word that changes meanwhile gives some value, which the caller checks.
        let value = unsafe { std::ptr::read_volatile((from + index as u64 * 8) as *const u64) }.to_le_bytes();
        let count = chunk.len();
        chunk.copy_from_slice(&value[..count]);
    }
}

/// Which lines of 64 bytes differ between two pages, a bit each. A peer may be writing either.
///
/// # Safety
/// A page must be mapped for reading at both, which are multiples of 4096.
pub(crate) unsafe fn differing_lines(one: u64, other: u64) -> u64 {
    use std::arch::x86_64::{__m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_movemask_epi8};
    let mut lines = 0;
    for line in 0..64_u64 {
        let part = |part: u64| {
            let offset = line * 64 + part * 16;
            // SAFETY: within the pages, and aligned; volatile, as what changes meanwhile gives some value.
            unsafe {
                let one = std::ptr::read_volatile((one + offset) as *const __m128i);
                let other = std::ptr::read_volatile((other + offset) as *const __m128i);
                _mm_cmpeq_epi8(one, other)
            }
        };
        // SAFETY: every processor of this architecture has these instructions.
        let is_equal = unsafe {
            let (low, high) = (_mm_and_si128(part(0), part(1)), _mm_and_si128(part(2), part(3)));
            _mm_movemask_epi8(_mm_and_si128(low, high)) == 0xffff
        };
        lines |= u64::from(!is_equal) << line;
    }
    lines
}

/// A reference into a mapped part.
///
/// # Safety
/// A `T` of atomics must be mapped at `address` for `'a`.
pub(crate) unsafe fn at<'a, T>(address: u64) -> &'a T {
    // SAFETY: the caller's contract.
    unsafe { &*(address as *const T) }
}

/// Makes an anonymous file of `length` bytes (sparse) that can be sealed.
///
/// # Errors
/// The kernel's: descriptors or memory exhausted.
pub(crate) fn anonymous_file(length: u64) -> io::Result<File> {
    // SAFETY: the name is a constant C string; the result is checked before it is owned.
    let file = unsafe {
        let descriptor =
            libc::memfd_create(c"banyan-calls".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(descriptor)
    };
    file.set_len(length)?;
    seal(&file, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW)?;
    Ok(file)
}

fn seal(file: &File, seals: i32) -> io::Result<()> {
    // SAFETY: fcntl on a descriptor we hold.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Maps `length` bytes of `file` from `offset` at exactly `address`, shared, over nothing that exists.
///
/// # Errors
/// `AlreadyExists` when something is mapped there; else the kernel's.
pub(crate) fn map_shared(
    file: &File,
    offset: u64,
    address: u64,
    length: u64,
    access: Access,
) -> io::Result<()> {
    map(
        address,
        length,
        access,
        libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE,
        file.as_raw_fd(),
        offset,
    )
}

/// Maps private empty memory at exactly `address`, over nothing that exists.
///
/// # Errors
/// `AlreadyExists` when something is mapped there; else the kernel's.
pub(crate) fn map_private(address: u64, length: u64, access: Access) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE;
    map(address, length, access, flags, -1, 0)
}

/// Maps the first `length` bytes of `file`, shared, where the kernel likes; returns the address.
///
/// # Errors
/// The kernel's.
pub(crate) fn map_file_anywhere(file: &File, length: u64, access: Access) -> io::Result<u64> {
    let (rights, flags, file) = (access.bits() as u64, libc::MAP_SHARED as u64, file.as_raw_fd() as u64);
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let result = unsafe { syscall(libc::SYS_mmap as u32, [0, length, rights, flags, file, 0]) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result as u64) }
}

/// Maps private empty memory where the kernel likes; returns its address.
///
/// # Errors
/// The kernel's.
pub(crate) fn map_anywhere(length: u64) -> io::Result<u64> {
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let result = unsafe {
        syscall(libc::SYS_mmap as u32, [0, length, Access::Write.bits() as u64, flags, u64::MAX, 0])
    };
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result as u64) }
}

/// Maps empty memory that children share, where the kernel likes; returns its address.
///
/// # Errors
/// The kernel's.
pub(crate) fn map_shared_anywhere(length: u64) -> io::Result<u64> {
    let flags = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let result = unsafe {
        syscall(libc::SYS_mmap as u32, [0, length, Access::Write.bits() as u64, flags, u64::MAX, 0])
    };
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result as u64) }
}

/// Puts private empty memory over whatever is at `address`.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// What was mapped in the range is lost.
pub(crate) unsafe fn replace_by_private(address: u64, length: u64) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    map(address, length, Access::Write, flags, -1, 0)
}

/// Moves a mapping over whatever is at `to`.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// What was mapped at `to` is lost, and nothing may use `from` afterwards.
pub(crate) unsafe fn move_over(from: u64, length: u64, to: u64) -> io::Result<()> {
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
    // SAFETY: the caller's contract.
    let result = unsafe { syscall(libc::SYS_mremap as u32, [from, length, length, flags, to]) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(()) }
}

/// Maps a file over whatever is at `address`.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// What was mapped in the range is lost: nothing may rely on it, except on finding the file's bytes there.
pub(crate) unsafe fn map_over(
    file: &File,
    offset: u64,
    address: u64,
    length: u64,
    access: Access,
) -> io::Result<()> {
    map(
        address,
        length,
        access,
        libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE,
        file.as_raw_fd(),
        offset,
    )
}

fn map(
    address: u64,
    length: u64,
    access: Access,
    flags: i32,
    descriptor: i32,
    offset: u64,
) -> io::Result<()> {
    // SAFETY: the exported callers either pass MAP_FIXED_NOREPLACE, which disturbs nothing, or are
    // unsafe themselves. Raw, so that signal handlers may come here.
    let result = unsafe {
        syscall(
            libc::SYS_mmap as u32,
            [address, length, access.bits() as u64, flags as u64, descriptor as u64, offset],
        )
    };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result as i32));
    }
    assert!(result as u64 == address, "the kernel honours MAP_FIXED_NOREPLACE since Linux 4.17");
    Ok(())
}

/// Puts a second view of a shared mapping over whatever is at `to`, without needing its descriptor.
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// What was mapped at `to` is lost; `from` must be a shared mapping.
pub(crate) unsafe fn view_again(from: u64, length: u64, to: u64) -> io::Result<()> {
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
    // SAFETY: with an old length of zero the kernel duplicates a shared mapping.
    let result = unsafe { syscall(libc::SYS_mremap as u32, [from, 0, length, flags, to]) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(()) }
}

/// Removes mappings.
///
/// # Safety
/// Nothing may use the range afterwards.
pub(crate) unsafe fn unmap(address: u64, length: u64) {
    // SAFETY: the caller vouches for the range.
    let _ = unsafe { syscall(libc::SYS_munmap as u32, [address, length]) };
}

/// Changes who may use a range. Returns whether the kernel agreed.
///
/// # Safety
/// Nothing may rely on rights that are taken away.
pub(crate) unsafe fn protect(address: u64, length: u64, access: Access) -> bool {
    // SAFETY: the caller vouches for the range.
    unsafe { syscall(libc::SYS_mprotect as u32, [address, length, access.bits() as u64]) == 0 }
}

/// Makes a range read as zeroes in a child after fork; so code can tell that it was forked.
///
/// # Errors
/// The kernel's (before Linux 4.14).
pub(crate) fn wipe_on_fork(address: u64, length: u64) -> io::Result<()> {
    // SAFETY: affects only what children see.
    let result =
        unsafe { syscall(libc::SYS_madvise as u32, [address, length, libc::MADV_WIPEONFORK as u64]) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(()) }
}

/// Keeps a range out of children after fork: there nothing is mapped at these addresses.
///
/// # Errors
/// The kernel's.
pub(crate) fn leave_out_of_forks(address: u64, length: u64) -> io::Result<()> {
    // SAFETY: affects only what children see.
    let result = unsafe { syscall(libc::SYS_madvise as u32, [address, length, libc::MADV_DONTFORK as u64]) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(()) }
}

/// Has the pages of a range be there before they are touched, for reading or writing, as far as the
/// kernel likes (since Linux 5.14): a range costs one call, where touching costs a fault a page.
pub(crate) fn populate(address: u64, length: u64, access: Access) {
    const POPULATE_READ: u64 = 22;
    const POPULATE_WRITE: u64 = 23;
    let advice = if access == Access::Write { POPULATE_WRITE } else { POPULATE_READ };
    // SAFETY: changes no contents, whatever is mapped there.
    let _ = unsafe { syscall(libc::SYS_madvise as u32, [address, length, advice]) };
}

/// Gives the pages of a range of private memory back to the kernel; the mapping stays.
///
/// # Safety
/// Nothing may rely on the contents.
pub(crate) unsafe fn drop_pages(address: u64, length: u64) {
    // SAFETY: the caller vouches for the range.
    let _ = unsafe { syscall(libc::SYS_madvise as u32, [address, length, libc::MADV_DONTNEED as u64]) };
}

/// Whether accesses to pages of private memory fail as if nothing was mapped there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// They fail. What the pages held is lost.
    Set,
    /// They succeed.
    Lifted,
}

/// Makes guards of pages that have no contents, or takes them back. Returns whether the kernel did (since
/// Linux 6.13).
pub(crate) fn guard(address: u64, length: u64, guard: Guard) -> bool {
    const GUARD_INSTALL: u64 = 102;
    const GUARD_REMOVE: u64 = 103;
    let advice = if guard == Guard::Set { GUARD_INSTALL } else { GUARD_REMOVE };
    // SAFETY: of pages without contents nothing is lost.
    unsafe { syscall(libc::SYS_madvise as u32, [address, length, advice]) == 0 }
}

/// Gives a range of an anonymous file back to the kernel: it reads as zeroes, in every mapping.
pub(crate) fn punch(file: &File, offset: u64, length: u64) {
    let mode = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u64;
    let file = file.as_raw_fd() as u64;
    // SAFETY: changes a file's contents, as a write would.
    let _ = unsafe { syscall(libc::SYS_fallocate as u32, [file, mode, offset, length]) };
}

/// Gives the pages of a range of a shared mapping back to the kernel: it reads as zeroes, everywhere.
///
/// # Safety
/// Nothing may rely on the contents.
pub(crate) unsafe fn discard(address: u64, length: u64) {
    // SAFETY: the caller vouches for the range.
    let _ = unsafe { syscall(libc::SYS_madvise as u32, [address, length, libc::MADV_REMOVE as u64]) };
}
