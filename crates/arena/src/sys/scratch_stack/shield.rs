//! Where a computation is not left: while a shield is up.

use std::alloc::{GlobalAlloc, Layout};

use super::{ACTIVE, Active, COMPUTATION, SHIELDS, leave};

/// While one is held, the computation on this thread is not left; a stop that comes meanwhile takes effect
/// when the last is dropped. For whatever must not stay half done: locks, shared structures, printing.
#[derive(Debug)]
pub struct Shield {
    /// The computation that it was raised in.
    computation: u64,
    not_send: std::marker::PhantomData<*const ()>,
}

impl Shield {
    /// Raises a shield.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        SHIELDS.set(SHIELDS.get() + 1);
        Self { computation: COMPUTATION.get(), not_send: std::marker::PhantomData }
    }
}

impl Default for Shield {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Shield {
    #[inline]
    fn drop(&mut self) {
        // One that was carried into a computation, or out of one, shields nothing there: it would lower
        // another's.
        if self.computation != COMPUTATION.get() {
            return;
        }
        let left = SHIELDS.get().saturating_sub(1);
        SHIELDS.set(left);
        let active = ACTIVE.get();
        if left == 0 && !active.is_null() {
            stop_if_pending(active);
        }
    }
}

#[cold]
fn stop_if_pending(active: *const Active) {
    // SAFETY: a pointer that is not null is to the frame of `run`, which is live while it is set.
    let active = unsafe { &*active };
    let code = active.pending.get();
    if code != 0 && !std::thread::panicking() {
        // SAFETY: `enter` has saved its stack pointer there, and its frame is live. Nothing of this stack is
        // used again.
        unsafe { leave(active.saved.get(), code) };
    }
}

/// An allocator that is not left half way by a stop. For programs whose allocator is linked into them.
#[derive(Debug)]
pub struct ShieldedAllocator<A>(pub A);

// SAFETY: every call is handed on as it is.
unsafe impl<A: GlobalAlloc> GlobalAlloc for ShieldedAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _shield = Shield::new();
        // SAFETY: as the caller promises.
        unsafe { self.0.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _shield = Shield::new();
        // SAFETY: as the caller promises.
        unsafe { self.0.dealloc(pointer, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let _shield = Shield::new();
        // SAFETY: as the caller promises.
        unsafe { self.0.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _shield = Shield::new();
        // SAFETY: as the caller promises.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}
