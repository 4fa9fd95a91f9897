//! The trap: every system call that the filters do not let pass arrives here as SIGSYS, on the stub's stack,
//! with all asynchronous signals blocked.

pub mod arguments;
pub mod dispatch;
pub mod emulate;
pub mod fault;
pub mod filter;
mod lost;
pub mod outcome;
pub mod refuse;
pub mod reissue;

use crate::remote::{carrier, migration};
use crate::signal::frame::{SignalInformation, UserContext};
use crate::signal::{deferred, mask};
use crate::thread::{Role, Thread, stopper};
use arguments::ProgramArguments;
use banyan_wire::syscalls;
use linux_raw_sys::ptrace::AUDIT_ARCH_X86_64;
use outcome::Outcome;

/// Handler of SIGSYS.
///
/// # Safety
/// For the kernel to call, with its own frame on this thread's stub stack.
pub unsafe extern "C" fn on_trap(
    signal: u64,
    information: *mut SignalInformation,
    context: *mut UserContext,
) {
    // SAFETY: the kernel passes its frame on this thread's own stub stack, on which this runs.
    let (information, context, thread) = unsafe { (&*information, &mut *context, Thread::current()) };
    if stopper::is_stop(information) {
        return migration::stopped(thread, context);
    }
    if information.is_sent() {
        return fault::sent(thread, signal, information, context);
    }
    mask::admit_copy_faults(thread, context.mask);
    call(thread, information, context);
    migration::leave_if_asked(thread, context);
    deferred::release(thread);
}

/// Does the call that was trapped.
fn call(thread: &'static Thread, information: &SignalInformation, context: &mut UserContext) {
    let call = i64::from(information.system_call);
    let r = &context.registers;
    // SAFETY: those of the call that was trapped.
    let arguments = unsafe { ProgramArguments::new([r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]) };
    let result = match (syscalls::find(call), thread.role()) {
        // The 32-bit gate has another architecture, whose numbers mean other calls.
        (_, _) if information.architecture != AUDIT_ARCH_X86_64 => refuse::not_served(call),
        (row, Role::Carrier) => match carrier::system_call(thread, row.as_ref(), call, &arguments, context) {
            Outcome::Result(result) => result,
            Outcome::Continue => return,
        },
        (Some(row), Role::Home | Role::Deputy | Role::Service | Role::Child) => {
            match dispatch::home_call(thread, &row, &arguments, context) {
                Ok(Outcome::Result(result)) => result,
                Ok(Outcome::Continue) => return,
                Err(error) => error.negated(),
            }
        }
        (None, Role::Home | Role::Deputy | Role::Service | Role::Child) => refuse::not_served(call),
    };
    context.registers.rax = result as u64;
}
