//! What the stub keeps with a thread of signals that came and have not been delivered.

use crate::signal::frame::SignalInformation;
use crate::signal::{self, SIGBUS, SIGSEGV, SIGSYS};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

/// What a thread keeps: a signal of each number, as the kernel itself keeps no more.
pub struct Deferred(pub(super) [Cell<Option<SignalInformation>>; NUMBERS.len()]);

pub(super) const NUMBERS: [u64; 3] = [SIGSEGV, SIGBUS, SIGSYS];

impl Deferred {
    /// Forgets what is kept.
    pub fn clear(&self) {
        for slot in &self.0 {
            slot.set(None);
        }
    }

    /// Keeps a signal. A second one of the same number is lost, as in the kernel.
    pub fn keep(&self, signal: u64, information: &SignalInformation) {
        for (slot, _) in self.0.iter().zip(NUMBERS).filter(|&(_, number)| number == signal) {
            slot.set(Some(slot.get().unwrap_or(*information)));
        }
    }

    /// The kept signals, as a mask.
    pub(super) fn bits(&self) -> u64 {
        let kept = self.0.iter().zip(NUMBERS).filter(|(slot, _)| slot.get().is_some());
        kept.fold(0, |mask, (_, number)| mask | signal::bit(number))
    }
}

/// A signal that came for the thread, and what the program blocked then.
#[derive(Clone, Copy)]
pub struct Waiting {
    /// What the kernel said of it.
    pub information: SignalInformation,
    /// What the program blocked.
    pub blocked: u64,
}

/// What has come for a thread elsewhere.
pub struct Taken {
    /// Nonzero if something came: then no wait begins.
    pub(super) came: AtomicU32,
    /// What the kernel blocks while the thread lets signals in (`wait`); everything once one came.
    pub(super) open: Cell<Option<u64>>,
    pub(super) waiting: Cell<Option<Waiting>>,
}

impl Taken {
    /// Forgets what came.
    pub fn clear(&self) {
        let _ = self.take();
        self.open.set(None);
    }

    /// Whether something came.
    pub fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed) != 0
    }

    /// Whether a signal can be recorded.
    pub fn is_open(&self) -> bool {
        self.open.get().is_some()
    }

    /// The recorded signal. The next one can come.
    pub fn take(&self) -> Option<Waiting> {
        self.came.store(0, Ordering::Relaxed);
        self.waiting.take()
    }
}
