//! The stop that another thread asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::signals::stop_signal;

/// Stops the computation that runs with it, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Stopper {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Number of the computation that runs, 0 if none does.
    running: AtomicU64,
    last: AtomicU64,
    thread: AtomicI32,
    /// Number of the computation that was asked to stop.
    pub(super) requested: AtomicU64,
}

impl Stopper {
    /// Asks the computation that runs now to stop; whether one runs. Returns before it has stopped.
    pub fn stop(&self) -> bool {
        let serial = self.shared.running.load(Ordering::SeqCst);
        if serial == 0 {
            return false;
        }
        self.shared.requested.store(serial, Ordering::SeqCst);
        let thread = self.shared.thread.load(Ordering::SeqCst);
        // SAFETY: plain system call. If the thread has ended, or is past the computation, the signal finds no
        // thread or is ignored, since the number is then not that of what runs.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, stop_signal()) };
        true
    }

    pub(super) fn begin(&self) -> u64 {
        let serial = self.shared.last.fetch_add(1, Ordering::SeqCst) + 1;
        // SAFETY: plain call, gives this thread's number.
        self.shared.thread.store(unsafe { libc::gettid() }, Ordering::SeqCst);
        self.shared.running.store(serial, Ordering::SeqCst);
        serial
    }

    pub(super) fn end(&self) {
        self.shared.running.store(0, Ordering::SeqCst);
    }
}
