//! How many cases run at a time. A case may start three daemons and dozens of threads, so the test
//! runner's own idea of parallelism is too generous for a small machine.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

static RUNNING: Mutex<usize> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();
const DEFAULT_JOBS: usize = 2;

/// A place among the running cases, held until dropped.
#[derive(Debug)]
pub struct Pass(());

/// Waits for a place.
#[must_use]
pub fn enter() -> Pass {
    let jobs = std::env::var("BANYAN_TEST_JOBS")
        .ok()
        .and_then(|jobs| jobs.parse().ok())
        .unwrap_or(DEFAULT_JOBS)
        .max(1);
    let mut running = lock();
    while *running >= jobs {
        running = CHANGED.wait(running).unwrap_or_else(PoisonError::into_inner);
    }
    *running += 1;
    Pass(())
}

impl Drop for Pass {
    fn drop(&mut self) {
        *lock() -= 1;
        CHANGED.notify_one();
    }
}

// A failed test panics while it holds a pass; the count stays right, so poison means nothing here.
fn lock() -> MutexGuard<'static, usize> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
