//! The allocator of a module: blocks of powers of two, each size with a list of free blocks.
//!
//! Small rather than clever, since it is part of every guest's module: at most half of a block is wasted, and
//! freed blocks are used again for their size only. An instance is one actor with one thread.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

const SMALLEST: usize = 16;
const SIZES: usize = 28;
const PAGE: usize = 64 << 10;

struct Blocks {
    /// Free blocks of each size; the first word of one points to the next.
    free: [*mut u8; SIZES],
    /// Memory that was never given out.
    next: usize,
    end: usize,
}

struct Allocator(UnsafeCell<Blocks>);

// SAFETY: a module has one thread: those with shared memory are refused.
unsafe impl Sync for Allocator {}

#[global_allocator]
static ALLOCATOR: Allocator =
    Allocator(UnsafeCell::new(Blocks { free: [null_mut(); SIZES], next: 0, end: 0 }));

/// The size class of a layout: blocks are aligned to their size, so alignment is only a larger size.
fn class_of(layout: Layout) -> usize {
    let size = layout.size().max(layout.align()).max(SMALLEST).next_power_of_two();
    (size / SMALLEST).trailing_zeros() as usize
}

// SAFETY: a block given out is not in a list and overlaps no other; it has the size and alignment asked for.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = class_of(layout);
        if class >= SIZES || layout.align() > PAGE {
            return null_mut();
        }
        // SAFETY: one thread, and nothing here calls back, so this is the only reference.
        let blocks = unsafe { &mut *self.0.get() };
        let free = blocks.free[class];
        if !free.is_null() {
            // SAFETY: a free block holds the next one in its first word, which `dealloc` wrote.
            blocks.free[class] = unsafe { free.cast::<*mut u8>().read() };
            return free;
        }
        let size = SMALLEST << class;
        let start = blocks.next.next_multiple_of(size.min(PAGE));
        if blocks.next == 0 || start + size > blocks.end {
            // The host may refuse, and then the guest is out of memory.
            let pages = size.div_ceil(PAGE);
            let old = core::arch::wasm32::memory_grow::<0>(pages);
            if old == usize::MAX {
                return null_mut();
            }
            blocks.next = old * PAGE + size;
            blocks.end = (old + pages) * PAGE;
            return core::ptr::with_exposed_provenance_mut(old * PAGE);
        }
        blocks.next = start + size;
        core::ptr::with_exposed_provenance_mut(start)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let class = class_of(layout);
        // SAFETY: one thread, and nothing here calls back.
        let blocks = unsafe { &mut *self.0.get() };
        // SAFETY: the block is at least a word long, aligned to one, and not used any more.
        unsafe { block.cast::<*mut u8>().write(blocks.free[class]) };
        blocks.free[class] = block;
    }
}
