//! The gate of a serial library: one thread at a time is inside, so that threads do not see each
//! other's copies of the caller's pages. A futex with three states: free, taken, taken and waited for.

use crate::sys::channel::{futex_wait, futex_wake};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

static GATE: AtomicU32 = AtomicU32::new(0);

/// Waits until the calling thread has the gate; at once if there is none.
pub(super) fn enter(serial: bool) {
    if !serial || GATE.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
        return;
    }
    while GATE.swap(2, AcqRel) != 0 {
        futex_wait(&GATE, 2, 1_000_000_000);
    }
}

/// Lets the next thread in.
pub(super) fn leave(serial: bool) {
    if serial && GATE.swap(0, Release) == 2 {
        futex_wake(&GATE, 1);
    }
}
