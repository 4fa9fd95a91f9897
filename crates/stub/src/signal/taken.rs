//! Signals that a deputy takes from the kernel for its thread, which fetches them.

use crate::signal::action::{SIG_DFL, SIG_IGN};
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::pending::Waiting;
use crate::signal::{deferred, disposition, wait};
use crate::thread::Thread;
use core::sync::atomic::Ordering;

/// The deputy's kernel gave it a signal for its thread.
pub fn record(thread: &Thread, signal: u64, information: &SignalInformation, context: &mut UserContext) {
    match disposition::handler_of(signal) {
        SIG_IGN => {}
        SIG_DFL => disposition::act_by_default(signal, information),
        _ => {
            let own = thread.mask.load(Ordering::Relaxed);
            let blocked = thread.waiting_mask.get().unwrap_or(own);
            // One with the number of a fault may come at any moment, here too: the first to say so is taken,
            // and the kernel keeps the other until then.
            if thread.taken.came.swap(1, Ordering::Relaxed) == 0 {
                thread.taken.waiting.set(Some(Waiting { information: *information, blocked }));
            } else {
                deferred::send_again(information);
            }
            wait::end(thread, context);
        }
    }
}

/// The deputy's thread ends: a signal for the process is another thread's.
pub fn give_back(thread: &Thread) {
    if let Some(waiting) = thread.taken.take() {
        deferred::give_back(&waiting.information);
    }
}
