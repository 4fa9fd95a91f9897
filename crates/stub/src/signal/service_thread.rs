//! Signals for threads on other nodes whose action is the default one: the service thread of the home replica
//! takes them in place of those threads.

use crate::kernel::{self, MaskChange};
use crate::signal::disposition::SIG_DFL;
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::mask::HANDLER_MASK;
use crate::signal::{self, SIGNALS, SIGPOKE, deliver, disposition};
use crate::thread::{Role, Thread, block};
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The service thread's kernel id, and the mask that it should have.
static SERVICE: AtomicI32 = AtomicI32::new(0);
static SERVICE_MASK: AtomicU64 = AtomicU64::new(!0);

/// Makes the calling thread the one that takes signals for threads on other nodes.
pub fn adopt_service_thread() {
    SERVICE.store(kernel::thread_id() as i32, Ordering::Release);
    // SAFETY: `on_poke` is a handler of a signal that only this file sends.
    let _ = unsafe { disposition::install(SIGPOKE, on_poke, 0) };
    kernel::set_mask(MaskChange::Unblock, signal::bit(SIGPOKE));
}

/// Recomputes which signals the service thread lets in: those whose action is the default and that some
/// thread on another node does not block. Without it, Ctrl-C would stay pending when every unblocked thread
/// is remote.
pub fn remote_masks_changed() {
    let service = SERVICE.load(Ordering::Acquire);
    if service == 0 {
        return;
    }
    let mut open = 0;
    for thread in block::all().filter(|thread| thread.role() == Role::Deputy) {
        open |= !thread.mask.load(Ordering::Relaxed);
    }
    for signal in 1..=SIGNALS as u64 {
        if disposition::handler_of(signal) != SIG_DFL {
            open &= !signal::bit(signal);
        }
    }
    let mask = HANDLER_MASK & !signal::bit(SIGPOKE) & !open;
    if SERVICE_MASK.swap(mask, Ordering::AcqRel) != mask {
        kernel::signal_thread(service as u32, SIGPOKE);
    }
}

extern "C" fn on_poke(signal: u64, information: *mut SignalInformation, context: *mut UserContext) {
    let thread = Thread::current();
    if thread.role() != Role::Service {
        // SAFETY: the kernel's own arguments, passed on.
        unsafe { deliver::on_signal(signal, information, context) };
        return;
    }
    // SAFETY: the kernel passes its frame on this thread's own stack.
    unsafe { (*context).mask = SERVICE_MASK.load(Ordering::Acquire) };
}
