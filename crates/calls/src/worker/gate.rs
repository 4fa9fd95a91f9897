//! A gate that one thread at a time passes: a futex with three states, free, taken, taken and waited for.
//!
//! May be used in the fault handler, and where there is no thread-local storage.

use crate::sys::channel::{futex_wait, futex_wake};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// A gate; of zeroes it is free.
pub(super) struct Gate(AtomicU32);

/// The gate of a serial library: one thread at a time is inside, so that threads do not see each other's
/// copies of the caller's pages.
pub(super) static LIBRARY: Gate = Gate::new();

impl Gate {
    /// One that is free.
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Waits until the calling thread has the gate.
    #[inline]
    pub(super) fn enter(&self) {
        if self.try_enter() {
            return;
        }
        while self.0.swap(2, AcqRel) != 0 {
            futex_wait(&self.0, 2, 1_000_000_000);
        }
    }

    /// Takes the gate if it is free; returns whether it was.
    pub(super) fn try_enter(&self) -> bool {
        self.0.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
    }

    /// Lets the next thread in.
    #[inline]
    pub(super) fn leave(&self) {
        if self.0.swap(0, Release) == 2 {
            futex_wake(&self.0, 1);
        }
    }
}
