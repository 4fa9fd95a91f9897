//! C's functions on file descriptors: what the caller opened is used by the caller.
//!
//! A worker keeps the numbers below [`banyan_calls::OWN_DESCRIPTORS`] closed, so a number says
//! whose it is. A library may close a descriptor of the caller only after it has used it: one that
//! closes all numbers must not take its caller's files away.

use crate::caller::forward;
use std::ffi::{c_char, c_int, c_ulong, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits of the caller's descriptors that the library has used.
static USED: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// Whether a descriptor is the caller's.
fn is_callers(descriptor: c_int) -> bool {
    banyan_calls::is_in_call() && (0..banyan_calls::OWN_DESCRIPTORS).contains(&descriptor)
}

fn choose(descriptor: c_int) -> (c_int, bool) {
    let is_callers = is_callers(descriptor);
    if is_callers && let Some(bits) = USED.get(descriptor as usize / 64) {
        bits.fetch_or(1 << (descriptor % 64), Relaxed);
    }
    (descriptor, is_callers)
}

fn choose_used(descriptor: c_int) -> (c_int, bool) {
    let bits = USED.get(descriptor.max(0) as usize / 64).map_or(0, |bits| bits.load(Relaxed));
    let is_used = descriptor > 2 && bits >> (descriptor % 64) & 1 == 1;
    if is_used {
        USED[descriptor as usize / 64].fetch_and(!(1 << (descriptor % 64)), Relaxed);
    }
    (descriptor, is_callers(descriptor) && is_used)
}

forward! { choose;
    read(file: c_int, data: *mut c_void, size: usize) on file -> isize;
    write(file: c_int, data: *const c_void, size: usize) on file -> isize;
    pread(file: c_int, data: *mut c_void, size: usize, offset: i64) on file -> isize;
    pread64(file: c_int, data: *mut c_void, size: usize, offset: i64) on file -> isize;
    pwrite(file: c_int, data: *const c_void, size: usize, offset: i64) on file -> isize;
    pwrite64(file: c_int, data: *const c_void, size: usize, offset: i64) on file -> isize;
    readv(file: c_int, parts: *const c_void, count: c_int) on file -> isize;
    writev(file: c_int, parts: *const c_void, count: c_int) on file -> isize;
    lseek(file: c_int, offset: i64, whence: c_int) on file -> i64;
    lseek64(file: c_int, offset: i64, whence: c_int) on file -> i64;
    fstat(file: c_int, result: *mut c_void) on file -> c_int;
    fstat64(file: c_int, result: *mut c_void) on file -> c_int;
    fsync(file: c_int) on file -> c_int;
    fdatasync(file: c_int) on file -> c_int;
    ftruncate(file: c_int, length: i64) on file -> c_int;
    ftruncate64(file: c_int, length: i64) on file -> c_int;
    isatty(file: c_int) on file -> c_int;
    fdopen(file: c_int, mode: *const c_char) on file -> *mut c_void;
    fcntl(file: c_int, command: c_int, argument: c_ulong) on file -> c_int;
    fcntl64(file: c_int, command: c_int, argument: c_ulong) on file -> c_int;
    ioctl(file: c_int, request: c_ulong, argument: c_ulong) on file -> c_int;
}

forward! { choose_used;
    close(file: c_int) on file -> c_int;
}
