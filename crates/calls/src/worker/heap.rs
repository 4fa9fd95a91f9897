//! The heap of a worker that hosts a C library: memory that its caller sees at the same address.
//!
//! Size classes with free lists over a region that only grows, under one spinning lock. Simple on
//! purpose: what matters is where the memory lies. Used by the worker program only, as its
//! `malloc`. Threads: any; a fork of a process with one thread inherits a usable heap. What the
//! caller frees arrives through a lock-free stack in the slot's head.

use crate::shared::layout::SlotHead;
use crate::sys::memory::at;
use banyan_wire::address_space::CALL_WINDOWS;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

const CLASSES: usize = 160;
const HEADER: u64 = 16;
const MAGIC: u32 = 0x6261_6e79;
const MAGIC_FREE: u32 = 0x6261_6e7a;
/// Memory for what is allocated before the heap is placed, by the loader and the runtime.
const EARLY: usize = 4 << 20;
/// Freed chunks at least this long give their pages back.
const GIVE_BACK: u64 = 1 << 20;

#[repr(align(4096))]
struct Early(std::cell::UnsafeCell<[u8; EARLY]>);
// SAFETY: handed out piece by piece under the heap's lock.
unsafe impl Sync for Early {}
static EARLY_MEMORY: Early = Early(std::cell::UnsafeCell::new([0; EARLY]));

static LOCKED: AtomicBool = AtomicBool::new(false);
static NEXT: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static FREE: [AtomicU64; CLASSES] = [const { AtomicU64::new(0) }; CLASSES];
static SHARED_HEAD: AtomicU64 = AtomicU64::new(0);
static SHARED_START: AtomicU64 = AtomicU64::new(0);

/// Before each allocation.
#[repr(C)]
struct Header {
    class: u32,
    magic: u32,
    /// Distance from the chunk's start to the allocation, minus the header's own.
    shift: u64,
}

struct Locked;

impl Locked {
    fn new() -> Self {
        while LOCKED.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            std::hint::spin_loop();
        }
        Self
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        LOCKED.store(false, Release);
    }
}

/// The size class that holds `size` bytes, and its size: steps of 16 up to 128, then four steps a doubling.
fn class_of(size: u64) -> Option<(usize, u64)> {
    if size <= 128 {
        let class = size.div_ceil(16).max(2);
        return Some((class as usize, class * 16));
    }
    let log = 63 - (size - 1).leading_zeros() as u64;
    let step = 1 << (log - 2);
    let part = (size - 1 - (1 << log)) / step;
    let class = 9 + (log - 7) * 4 + part;
    let bytes = (1 << log) + (part + 1) * step;
    ((class as usize) < CLASSES && size < 1 << 40).then_some((class as usize, bytes))
}

fn class_bytes(class: usize) -> u64 {
    if class < 9 {
        return class as u64 * 16;
    }
    let (log, part) = ((class as u64 - 9) / 4 + 7, (class as u64 - 9) % 4);
    (1 << log) + (part + 1) * (1 << (log - 2))
}

/// Moves the heap to `[start, end)`: what was allocated stays valid, new memory comes from there
/// and from nowhere else, so that an address says which worker made it. `head` is the slot's head
/// through which the caller frees, 0 for none.
pub(crate) fn place(start: u64, end: u64, head: u64) {
    let _locked = Locked::new();
    NEXT.store(start, Relaxed);
    END.store(end, Relaxed);
    SHARED_START.store(start, Relaxed);
    SHARED_HEAD.store(head, Relaxed);
    for list in &FREE {
        list.store(0, Relaxed);
    }
}

/// How far the region is used.
pub(crate) fn used_end() -> u64 {
    NEXT.load(Relaxed)
}

/// The pages of the slot that the heap has used.
pub(crate) fn used() -> std::ops::Range<u64> {
    SHARED_START.load(Relaxed)..NEXT.load(Relaxed).next_multiple_of(4096)
}

/// Whether the heap lies in a slot, where the caller sees it.
#[must_use]
pub fn is_shared() -> bool {
    SHARED_HEAD.load(Relaxed) != 0
}

/// Allocates `size` bytes at a multiple of `alignment`. Returns the address, 0 when memory is out,
/// and whether it is known to be zero.
pub fn allocate(size: u64, alignment: u64) -> (u64, bool) {
    let extra = if alignment > 16 { alignment } else { 0 };
    let Some((class, bytes)) = size.checked_add(HEADER + extra).and_then(class_of) else { return (0, false) };
    drain();
    let _locked = Locked::new();
    let list = &FREE[class];
    let mut chunk = list.load(Relaxed);
    let mut fresh = false;
    if chunk == 0 {
        if END.load(Relaxed) == 0 {
            let early = EARLY_MEMORY.0.get() as u64;
            NEXT.store(early, Relaxed);
            END.store(early + EARLY as u64, Relaxed);
        }
        chunk = NEXT.load(Relaxed);
        if END.load(Relaxed) - chunk < bytes {
            return (0, false);
        }
        NEXT.store(chunk + bytes, Relaxed);
        fresh = true;
    } else {
        // SAFETY: a free chunk's first word links to the next; the lock is held.
        list.store(unsafe { *(chunk as *const u64) }, Relaxed);
    }
    let mut address = chunk + HEADER;
    if extra > 0 {
        address = address.next_multiple_of(alignment);
    }
    let header = Header { class: class as u32, magic: MAGIC, shift: address - HEADER - chunk };
    // SAFETY: the chunk is ours and at least header + alignment + size long.
    unsafe { ((address - HEADER) as *mut Header).write(header) };
    (address, fresh)
}

/// The bytes that can be used at an allocation, 0 when it is none of this heap.
#[must_use]
pub fn usable(address: u64) -> u64 {
    // SAFETY: every pointer given to C's `free` family lies behind a header of ours, or the
    // program is wrong in a way that any allocator may answer by crashing. Volatile, as it may be another
    // process that asks, while the worker's threads write.
    let header = unsafe { ((address - HEADER) as *const Header).read_volatile() };
    if header.magic != MAGIC || header.class as usize >= CLASSES {
        return 0;
    }
    class_bytes(header.class as usize) - HEADER - header.shift
}

/// Whether `address` lies neither in a window nor in the memory for the start: this heap did not allocate it.
#[must_use]
pub fn is_foreign(address: u64) -> bool {
    let early = EARLY_MEMORY.0.get() as u64;
    address != 0 && !CALL_WINDOWS.contains(address) && !(early..early + EARLY as u64).contains(&address)
}

/// Frees an allocation; ends the process when it is none, or was freed.
pub fn release(address: u64) {
    if address == 0 {
        return;
    }
    // SAFETY: as in `usable`.
    let header = unsafe { &mut *((address - HEADER) as *mut Header) };
    let class = header.class as usize;
    if header.magic != MAGIC || class >= CLASSES {
        // SAFETY: abort has no preconditions.
        unsafe { libc::abort() };
    }
    let chunk = address - HEADER - header.shift;
    header.magic = MAGIC_FREE;
    if !(SHARED_START.load(Relaxed)..END.load(Relaxed)).contains(&chunk) && SHARED_START.load(Relaxed) != 0 {
        return;
    }
    let bytes = class_bytes(class);
    if bytes >= GIVE_BACK && SHARED_HEAD.load(Relaxed) != 0 {
        let (start, end) = ((chunk + 4096) & !4095, (chunk + bytes) & !4095);
        // SAFETY: the inside of a chunk that is free.
        unsafe { crate::sys::memory::discard(start, end - start) };
    }
    let _locked = Locked::new();
    let list = &FREE[class];
    // SAFETY: the chunk is free and ours; the lock is held.
    unsafe { *(chunk as *mut u64) = list.load(Relaxed) };
    list.store(chunk, Relaxed);
}

/// Changes the size of an allocation; 0 when memory is out, and the old one is unchanged.
#[must_use]
pub fn resize(address: u64, size: u64) -> u64 {
    if address == 0 {
        return allocate(size, 16).0;
    }
    let old = usable(address);
    if old >= size && old / 4 <= size {
        return address;
    }
    let (new, _) = allocate(size, 16);
    if new != 0 {
        // SAFETY: two distinct allocations, each at least as long as what is copied.
        unsafe {
            std::ptr::copy_nonoverlapping(address as *const u8, new as *mut u8, old.min(size) as usize);
        };
        release(address);
    }
    new
}

/// Frees what the caller has freed.
fn drain() {
    let head = SHARED_HEAD.load(Relaxed);
    if head == 0 {
        return;
    }
    // SAFETY: `place` was given the address of a mapped head.
    let head: &SlotHead = unsafe { at(head) };
    if head.freed.load(Relaxed) == 0 {
        return;
    }
    let mut next = head.freed.swap(0, AcqRel);
    while next != 0 {
        // SAFETY: the caller pushed an allocation of this heap, whose first word links to the next.
        let following = unsafe { *(next as *const u64) };
        // What the caller had from an earlier worker is not ours to free.
        if (SHARED_START.load(Relaxed)..END.load(Relaxed)).contains(&next) {
            release(next);
        }
        next = following;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_promise() {
        let mut last = 0;
        for size in (1..5000).chain([1 << 20, (1 << 20) + 1, 1 << 30, (1 << 33) + 7]) {
            let (class, bytes) = class_of(size).unwrap();
            assert!(bytes >= size, "{size} does not fit in {bytes}");
            assert_eq!(class_bytes(class), bytes, "class {class} of {size}");
            assert!(class >= last, "classes grow");
            last = class;
        }
        assert!(class_of(1 << 41).is_none());
    }
}
