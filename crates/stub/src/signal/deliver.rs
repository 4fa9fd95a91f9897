//! Delivery of signals to a home thread.

use crate::process::timers;
use crate::signal::action::{SIG_DFL, SIG_IGN};
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::{SIGSEGV, deferred, disposition, handler, mask, taken};
use crate::thread::{Role, Thread};
use crate::time::vdso;
use crate::trap::reissue;
use banyan_wire::address_space::is_program_code;

/// Whether a thread interrupted at `instruction` is running the program.
pub fn runs_program(instruction: u64) -> bool {
    is_program_code(instruction) || reissue::contains(instruction) || vdso::contains(instruction)
}

/// Handler of every signal that the program catches.
///
/// # Safety
/// For the kernel to call, with its own frame on this thread's stub stack.
pub unsafe extern "C" fn on_signal(
    signal: u64,
    information: *mut SignalInformation,
    context: *mut UserContext,
) {
    // SAFETY: the kernel passes its frame on this thread's own stub stack, on which this runs.
    let (information, context, thread) = unsafe { (&mut *information, &mut *context, Thread::current()) };
    timers::count(information);
    if thread.role() == Role::Deputy {
        return taken::record(thread, signal, information, context);
    }
    mask::admit_copy_faults(thread, context.mask);
    deliver(thread, signal, information, context);
    deferred::release(thread);
}

/// Does what the program wants done about a signal that interrupted a home thread.
pub fn deliver(thread: &Thread, signal: u64, information: &SignalInformation, context: &mut UserContext) {
    let blocked = reissue::leave(thread, context);
    let action = disposition::take(signal);
    match action[0] {
        SIG_IGN => {}
        SIG_DFL => disposition::act_by_default(signal, information),
        _ => {
            if handler::start(thread, signal, &action, blocked, information, context).is_err() {
                fault(thread, signal, context);
            }
        }
    }
}

/// A frame of the thread could not be written for a handler of `signal`, or not be read: it gets SIGSEGV.
/// Blocked, ignored, or without a frame itself, SIGSEGV kills.
pub fn fault(thread: &Thread, signal: u64, context: &mut UserContext) {
    let blocked = mask::of_program(thread, context);
    if signal == SIGSEGV || mask::holds(blocked, SIGSEGV) || !disposition::has_handler(SIGSEGV) {
        disposition::die_of(SIGSEGV);
    }
    let action = disposition::take(SIGSEGV);
    if handler::start(thread, SIGSEGV, &action, blocked, &handler::bad_frame(), context).is_err() {
        disposition::die_of(SIGSEGV);
    }
}
