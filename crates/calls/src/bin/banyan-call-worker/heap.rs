//! C's allocator, so that what a library allocates lies where its caller sees it.
//!
//! Only the C names; the work is done by `banyan_calls::heap`. A library may free and resize what its caller
//! allocated: that is the caller's to do.

use crate::caller::{callers, position};
use banyan_calls::heap::{allocate, is_foreign, release, resize, usable};
use std::ffi::c_int;

/// The caller's function of that position for memory at `address`, if it is memory of the caller.
fn of_caller(position: usize, address: u64) -> Option<u64> {
    (is_foreign(address) && banyan_calls::is_in_call()).then(|| callers(position)).filter(|&there| there != 0)
}

/// C's `malloc`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn malloc(size: usize) -> u64 {
    allocate(size as u64, 16).0
}

/// C's `calloc`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn calloc(count: usize, size: usize) -> u64 {
    let Some(bytes) = count.checked_mul(size) else { return 0 };
    let (address, fresh) = allocate(bytes as u64, 16);
    if address != 0 && !fresh {
        // SAFETY: `bytes` bytes at the address were just allocated.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
    }
    address
}

/// C's `realloc`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn realloc(address: u64, size: usize) -> u64 {
    if let Some(there) = of_caller(const { position(c"realloc") }, address) {
        // SAFETY: the caller's `realloc`: the jump there becomes a call-back, by the fault handler.
        return unsafe {
            let realloc: extern "C" fn(u64, usize) -> u64 = std::mem::transmute(there as *const ());
            realloc(address, size)
        };
    }
    if size == 0 && address != 0 {
        release(address);
        return 0;
    }
    resize(address, size as u64)
}

/// C's `reallocarray`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn reallocarray(address: u64, count: usize, size: usize) -> u64 {
    let Some(bytes) = count.checked_mul(size) else {
        // SAFETY: errno of this thread.
        unsafe { *libc::__errno_location() = libc::ENOMEM };
        return 0;
    };
    realloc(address, bytes)
}

/// C's `free`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn free(address: u64) {
    if let Some(there) = of_caller(const { position(c"free") }, address) {
        // SAFETY: the caller's `free`, as in `realloc`.
        return unsafe {
            let free: extern "C" fn(u64) = std::mem::transmute(there as *const ());
            free(address);
        };
    }
    release(address);
}

/// C's `aligned_alloc`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn aligned_alloc(alignment: usize, size: usize) -> u64 {
    if alignment.is_power_of_two() { allocate(size as u64, alignment as u64).0 } else { 0 }
}

/// C's `memalign`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn memalign(alignment: usize, size: usize) -> u64 {
    aligned_alloc(alignment, size)
}

/// C's `posix_memalign`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn posix_memalign(result: &mut u64, alignment: usize, size: usize) -> c_int {
    let address = aligned_alloc(alignment, size);
    if address == 0 {
        return libc::ENOMEM;
    }
    *result = address;
    0
}

/// C's `valloc`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn valloc(size: usize) -> u64 {
    allocate(size as u64, 4096).0
}

/// C's `malloc_usable_size`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn malloc_usable_size(address: u64) -> usize {
    if let Some(there) = of_caller(const { position(c"malloc_usable_size") }, address) {
        // SAFETY: the caller's function, as in `realloc`.
        return unsafe {
            let usable: extern "C" fn(u64) -> usize = std::mem::transmute(there as *const ());
            usable(address)
        };
    }
    if address == 0 { 0 } else { usable(address) as usize }
}
