//! A mutex for the stub: a futex word, no owner, no poisoning. Held only with all signals blocked.

use crate::kernel;
use core::sync::atomic::{AtomicU32, Ordering};

/// The lock. 0 free, 1 held, 2 held with waiters.
pub struct Lock(AtomicU32);

/// Releases the lock when dropped.
pub struct Guard<'a>(&'a Lock);

impl Lock {
    /// A free lock.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> Guard<'_> {
        if self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.0.swap(2, Ordering::Acquire) != 0 {
                kernel::futex_wait(&self.0, 2);
            }
        }
        Guard(self)
    }

    /// Frees the lock in a copy of the process, where nobody is who may have held it.
    pub fn free(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.0.0.swap(0, Ordering::Release) == 2 {
            kernel::futex_wake(&self.0.0);
        }
    }
}
