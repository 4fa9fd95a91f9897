//! Copies to and from memory that other threads and processes may write at the same time.
//!
//! Each access is atomic and as large as the alignment of the type, 8 bytes at most, so that all who use an
//! object of one type access it in the same units. A value larger than that may be torn, as it may be by any
//! program that shares memory without a lock.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::memory::Memory;

/// Copies `to.len()` bytes from `address`, in units of `align`; `false` if that is not all in the users'
/// part.
pub(crate) fn load(memory: &Memory, address: usize, to: &mut [u8], align: usize) -> bool {
    if !memory.holds(address, to.len()) || !address.is_multiple_of(align) {
        return false;
    }
    macro_rules! copy {
        ($atomic:ty, $bytes:literal) => {
            for (number, unit) in to.chunks_exact_mut($bytes).enumerate() {
                let place: *const $atomic = std::ptr::with_exposed_provenance(address + number * $bytes);
                // SAFETY: inside of the mapping, which lives as long as `memory`, and aligned; others write
                // it through atomics, or hold a lock that keeps this thread from being here.
                let value = unsafe { &*place }.load(Ordering::Relaxed);
                unit.copy_from_slice(&value.to_ne_bytes());
            }
        };
    }
    match align {
        8.. => copy!(AtomicU64, 8),
        4 => copy!(AtomicU32, 4),
        2 => copy!(AtomicU16, 2),
        _ => copy!(AtomicU8, 1),
    }
    true
}

/// Copies `from` to `address`, as [`load`].
pub(crate) fn store(memory: &Memory, address: usize, from: &[u8], align: usize) -> bool {
    if !memory.holds(address, from.len()) || !address.is_multiple_of(align) {
        return false;
    }
    macro_rules! copy {
        ($atomic:ty, $integer:ty, $bytes:literal) => {
            for (number, unit) in from.chunks_exact($bytes).enumerate() {
                let mut value = [0; $bytes];
                value.copy_from_slice(unit);
                let place: *const $atomic = std::ptr::with_exposed_provenance(address + number * $bytes);
                // SAFETY: as in `load`.
                unsafe { &*place }.store(<$integer>::from_ne_bytes(value), Ordering::Relaxed);
            }
        };
    }
    match align {
        8.. => copy!(AtomicU64, u64, 8),
        4 => copy!(AtomicU32, u32, 4),
        2 => copy!(AtomicU16, u16, 2),
        _ => copy!(AtomicU8, u8, 1),
    }
    true
}
