//! C's `mmap`, `sbrk` and their kin: memory that a library maps lies in its heap, where its caller sees it.
//!
//! A file that is mapped for reading, or privately, is copied: nobody but the library writes such memory.
//! What two processes share, what is executed and what is only kept free are the kernel's to map; the caller
//! does not see that. Not for what the C library maps for itself.

use crate::descriptors::{fstat, is_callers, pread64};
use banyan_calls::heap::{allocate, is_shared, release};
use std::ffi::{c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE: u64 = 4096;
/// Longer mappings are the kernel's: the heap has an end, and a copy takes its time.
const LONGEST: u64 = 1 << 30;
const LONGEST_COPY: u64 = 256 << 20;
/// How far the break may go.
const BREAK_BYTES: u64 = 256 << 20;
const FAILED: u64 = u64::MAX;

/// A mapping that lies in the heap, or what is left of it.
struct Mapping {
    /// The allocation.
    base: u64,
    start: u64,
    end: u64,
    is_anonymous: bool,
}

static MAPPINGS: Mutex<Vec<Mapping>> = Mutex::new(Vec::new());

fn mappings() -> MutexGuard<'static, Vec<Mapping>> {
    MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be found in a mapping.
#[derive(Clone, Copy)]
enum Contents {
    Zeroes,
    File { descriptor: c_int, offset: i64 },
}

impl Contents {
    /// The contents of a mapping that the heap can hold.
    fn of(length: u64, rights: c_int, flags: c_int, descriptor: c_int, offset: i64) -> Option<Self> {
        let is_readable = rights & libc::PROT_READ != 0 && rights & libc::PROT_EXEC == 0;
        let is_special = flags & (libc::MAP_HUGETLB | libc::MAP_GROWSDOWN) != 0;
        if !is_shared() || length == 0 || length > LONGEST || !is_readable || is_special {
            return None;
        }
        let is_private = flags & libc::MAP_TYPE == libc::MAP_PRIVATE;
        if flags & libc::MAP_ANONYMOUS != 0 {
            return is_private.then_some(Self::Zeroes);
        }
        // A file that the caller opened has no number here by which the kernel could map it.
        let is_read = is_private || rights & libc::PROT_WRITE == 0 && is_callers(descriptor);
        // SAFETY: of zeroes; the function fills it.
        let (mut status, is_known) = unsafe {
            let mut status: libc::stat = std::mem::zeroed();
            let is_known =
                is_read && length <= LONGEST_COPY && fstat(descriptor, (&raw mut status).cast()) == 0;
            (status, is_known)
        };
        status.st_mode &= libc::S_IFMT;
        (is_known && status.st_mode == libc::S_IFREG).then_some(Self::File { descriptor, offset })
    }

    /// Puts the contents to `start`, where zeroes are; returns whether they could be read.
    ///
    /// # Safety
    /// Memory of the calling function's must be there, that long.
    unsafe fn put(self, start: u64, length: u64) -> bool {
        let Self::File { descriptor, offset } = self else { return true };
        let mut done = 0;
        while done < length {
            let (to, left) = ((start + done) as *mut c_void, (length - done) as usize);
            // SAFETY: the caller's contract.
            match unsafe { pread64(descriptor, to, left, offset.wrapping_add(done as i64)) } {
                0 => return true,
                count if count > 0 => done += count as u64,
                _ if errno() == libc::EINTR => {}
                _ => return false,
            }
        }
        true
    }
}

fn errno() -> c_int {
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() }
}

fn fail(error: c_int) -> u64 {
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = error };
    FAILED
}

/// A place in the heap, of zeroes.
fn place(length: u64, is_anonymous: bool) -> Option<u64> {
    let (start, is_zero) = allocate(length, PAGE);
    if start == 0 {
        return None;
    }
    if !is_zero {
        // SAFETY: this many bytes were just allocated.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, length as usize) };
    }
    mappings().push(Mapping { base: start, start, end: start + length, is_anonymous });
    Some(start)
}

/// Whether one of the heap's mappings has all of the range.
fn has(start: u64, end: u64) -> bool {
    mappings().iter().any(|one| one.start <= start && end <= one.end)
}

/// Takes a range from the heap's mappings; returns whether one of them had any of it. What is taken from the
/// midst of one is given back with the rest.
fn take(start: u64, end: u64) -> bool {
    let mut mappings = mappings();
    let mut is_ours = false;
    for one in mappings.iter_mut().filter(|one| one.start < end && start < one.end) {
        is_ours = true;
        let whole = one.start..one.end;
        if start <= one.start {
            one.start = end.min(one.end);
        } else if end >= one.end {
            one.end = start;
        }
        if one.start == one.end {
            // SAFETY: the library gives the memory up, and may have taken rights away from it.
            unsafe {
                let rights = libc::PROT_READ | libc::PROT_WRITE;
                libc::mprotect(one.base as *mut c_void, (whole.end - one.base) as usize, rights);
            }
            release(one.base);
        }
    }
    mappings.retain(|one| one.start < one.end);
    is_ours
}

/// C's `mmap`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mmap(
    address: u64,
    length: usize,
    rights: c_int,
    flags: c_int,
    descriptor: c_int,
    offset: i64,
) -> u64 {
    let bytes = (length as u64).checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    let is_fixed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
    if !is_fixed || has(address, address.saturating_add(bytes)) {
        let contents = Contents::of(bytes, rights, flags, descriptor, offset);
        let is_anonymous = matches!(contents, Some(Contents::Zeroes));
        let start = match contents {
            Some(_) if is_fixed => {
                // SAFETY: a part of a mapping of the library's, which it gives up.
                unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes as usize) };
                Some(address)
            }
            Some(_) => place(bytes, is_anonymous),
            None => None,
        };
        if let Some((contents, start)) = contents.zip(start) {
            // SAFETY: placed a moment ago, that long.
            if unsafe { contents.put(start, length as u64) } {
                return start;
            }
            if !is_fixed {
                take(start, start + bytes);
            }
        }
    }
    // SAFETY: the caller's contract.
    unsafe { libc::syscall(libc::SYS_mmap, address, length, rights, flags, descriptor, offset) as u64 }
}

/// C's `munmap`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn munmap(address: u64, length: usize) -> c_int {
    let end = address.saturating_add(length as u64).checked_next_multiple_of(PAGE);
    if address.is_multiple_of(PAGE) && end.is_some_and(|end| take(address, end)) {
        return 0;
    }
    // SAFETY: the caller's contract.
    unsafe { libc::syscall(libc::SYS_munmap, address, length) as c_int }
}

/// C's `mremap`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn mremap(
    address: u64,
    old: usize,
    new: usize,
    flags: c_int,
    target: u64,
) -> u64 {
    let round = |length: usize| (length as u64).checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
    let (old_bytes, new_bytes) = (round(old), round(new));
    if !has(address, address.saturating_add(old_bytes)) {
        // SAFETY: the caller's contract.
        return unsafe { libc::syscall(libc::SYS_mremap, address, old, new, flags, target) as u64 };
    }
    if new_bytes <= old_bytes {
        take(address + new_bytes, address + old_bytes);
        return address;
    }
    if flags != libc::MREMAP_MAYMOVE {
        return fail(if flags == 0 { libc::ENOMEM } else { libc::EINVAL });
    }
    let Some(start) = place(new_bytes, true) else { return fail(libc::ENOMEM) };
    // SAFETY: two allocations, each at least as long as what is copied.
    unsafe { std::ptr::copy_nonoverlapping(address as *const u8, start as *mut u8, old_bytes as usize) };
    take(address, address + old_bytes);
    start
}

/// C's `madvise`: memory that is not needed reads as zeroes, as private memory would.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn madvise(address: u64, length: usize, advice: c_int) -> c_int {
    let end = address.saturating_add(length as u64);
    let is_ours = |one: &Mapping| one.is_anonymous && one.start <= address && end <= one.end;
    let advice = match advice {
        libc::MADV_DONTNEED if mappings().iter().any(is_ours) => libc::MADV_REMOVE,
        other => other,
    };
    // SAFETY: the caller's contract.
    unsafe { libc::syscall(libc::SYS_madvise, address, length, advice) as c_int }
}

/// The break: where it began and where it is, once it was asked for.
static BREAK: Mutex<Option<(u64, u64)>> = Mutex::new(None);

/// C's `sbrk`: the library's break is a part of its heap.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sbrk(increment: isize) -> u64 {
    let mut place = BREAK.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((start, now)) = place.or_else(|| {
        let (start, _) = allocate(BREAK_BYTES, PAGE);
        (start != 0).then_some((start, start))
    }) else {
        return fail(libc::ENOMEM);
    };
    let next = now.wrapping_add_signed(increment as i64);
    if !(start..=start + BREAK_BYTES).contains(&next) {
        return fail(libc::ENOMEM);
    }
    *place = Some((start, next));
    now
}
