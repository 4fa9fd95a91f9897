//! How often a thread has called the allocator: calls promise that they never do.
//!
//! A program that embeds the bench installs [`Counting`] as its global allocator; it costs one addition
//! an allocation. Not a profiler: it knows neither sizes nor places.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Constant and without a destructor, so that the allocator may use it at any time.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

fn count() {
    CALLS.set(CALLS.get().wrapping_add(1));
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Allocations and releases of the calling thread so far; always 0 where [`Counting`] is not installed.
#[must_use]
pub fn of_this_thread() -> u64 {
    CALLS.get()
}

/// Whether this program's allocator counts.
#[must_use]
pub fn is_installed() -> bool {
    let before = of_this_thread();
    drop(std::hint::black_box(Box::new(0_u8)));
    of_this_thread() != before
}
