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
    /// Twice the number of the computation that runs, one more if it was asked to stop; 0 if none runs. One
    /// word, so that a stop is of the computation that it found, or of none.
    state: AtomicU64,
    last: AtomicU64,
    thread: AtomicI32,
}

impl Shared {
    /// Whether the computation that runs was asked to stop.
    pub(super) fn is_asked(&self) -> bool {
        self.state.load(Ordering::SeqCst) & 1 == 1
    }
}

impl Stopper {
    /// Asks the computation that runs now to stop; whether one runs: its event is then not committed, unless
    /// it ends by a panic first. Returns before it has stopped.
    pub fn stop(&self) -> bool {
        let running = self.shared.state.load(Ordering::SeqCst) & !1;
        let asked = |state: u64| (state & !1 == running).then_some(running | 1);
        if running == 0 || self.shared.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, asked).is_err()
        {
            return false;
        }
        let thread = self.shared.thread.load(Ordering::SeqCst);
        // SAFETY: plain system call. If the thread has ended, or is past the computation, the signal finds no
        // thread or is ignored, since nothing was asked of what runs then.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, stop_signal()) };
        true
    }

    pub(super) fn begin(&self) {
        let serial = self.shared.last.fetch_add(1, Ordering::SeqCst) + 1;
        // SAFETY: plain call, gives this thread's number.
        self.shared.thread.store(unsafe { libc::gettid() }, Ordering::SeqCst);
        self.shared.state.store(serial << 1, Ordering::SeqCst);
    }

    /// Nothing runs any more; whether what ran was asked to stop.
    pub(super) fn end(&self) -> bool {
        self.shared.state.swap(0, Ordering::SeqCst) & 1 == 1
    }
}
