//! Memory of a worker's heap that the program frees or resizes: what a drop-in puts before the C library's
//! `free` and `realloc`.
//!
//! Not for the program's own memory, which these leave to the C library.

use crate::caller::connection::is_inherited;
use crate::shared::layout::{
    HEAP_OFFSET, LOADING_HEAP_BYTES, SLOT_BYTES, SlotHead, WINDOW_BYTES, WINDOWS, WINDOWS_BASE,
};
use crate::sys::memory::at;
use crate::worker::heap;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Where an address lies.
enum Place {
    /// In the heap of a worker, that far into its slot.
    Heap { in_slot: u64 },
    /// Elsewhere in a window.
    Window,
    /// In no window.
    Outside,
}

impl Place {
    const fn of(address: u64) -> Self {
        let offset = address.wrapping_sub(WINDOWS_BASE);
        if offset >= WINDOWS * WINDOW_BYTES {
            return Self::Outside;
        }
        let in_slot = offset % SLOT_BYTES;
        let is_heap = (offset % WINDOW_BYTES) / SLOT_BYTES != 0 && in_slot >= HEAP_OFFSET;
        if is_heap { Self::Heap { in_slot } } else { Self::Window }
    }
}

/// Frees memory of a worker's heap; returns whether the address lies in a worker. For interposed `free`.
#[unsafe(no_mangle)]
extern "C" fn banyan_calls_free(address: u64) -> i32 {
    let in_slot = match Place::of(address) {
        Place::Heap { in_slot } => in_slot,
        // Memory from while the library loaded is never given back.
        Place::Window => return 1,
        Place::Outside => return 0,
    };
    if is_inherited(address) {
        // The parent frees its own.
        return 1;
    }
    // SAFETY: an address that a library handed out lies in a slot that is mapped here.
    let head: &SlotHead = unsafe { at(address - in_slot) };
    let mut first = head.freed.load(Relaxed);
    loop {
        // SAFETY: the program gives the memory up; its first word links the list.
        unsafe { std::ptr::write_volatile(address as *mut u64, first) };
        match head.freed.compare_exchange_weak(first, address, Release, Relaxed) {
            Ok(_) => return 1,
            Err(other) => first = other,
        }
    }
}

/// How many bytes can be used at an address of a worker's heap; 0 for an address of none. For
/// interposed `realloc`.
#[unsafe(no_mangle)]
extern "C" fn banyan_calls_usable(address: u64, bytes: &mut u64) -> i32 {
    // What the worker wrote before the allocation may be anything; the end of the memory is certain.
    let limit = match Place::of(address) {
        Place::Heap { in_slot } => SLOT_BYTES - in_slot,
        Place::Window => LOADING_HEAP_BYTES,
        Place::Outside => return 0,
    };
    *bytes = heap::usable(address).min(limit);
    1
}
