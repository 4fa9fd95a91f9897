//! The trap: every system call that the filters do not let pass arrives here as SIGSYS, on the stub's stack, with
//! all asynchronous signals blocked.

pub mod emulate;
pub mod fault;
pub mod filter;
pub mod refuse;
pub mod reissue;

use crate::kernel::{self, number};
use crate::remote::carrier;
use crate::signal::{alternate_stack, mask};
use crate::thread::{Role, Thread, create};
use banyan_sys::raw::Errno;
use banyan_sys::signal_frame::{SignalInformation, UserContext};
use linux_raw_sys::general as linux;

/// `AUDIT_ARCH_X86_64`: calls through the 32-bit gate have another.
const ARCHITECTURE: u32 = 0xc000_003e;

/// Handler of SIGSYS.
///
/// # Safety
/// For the kernel to call, with its own frame on this thread's stub stack.
pub unsafe extern "C" fn on_trap(
    _signal: u64,
    information: *mut SignalInformation,
    context: *mut UserContext,
) {
    // SAFETY: the kernel passes its frame on this thread's own stub stack.
    let (information, context) = unsafe { (&*information, &mut *context) };
    let thread = Thread::current();
    let call = i64::from(information.system_call);
    let r = &context.registers;
    let arguments = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
    let result = if information.architecture != ARCHITECTURE {
        refuse::refuse(call, Errno::ENOSYS.0)
    } else if thread.role() == Role::Carrier {
        carrier::system_call(thread, call, &arguments, context)
    } else {
        match home_call(thread, call, &arguments, context) {
            Some(result) => result,
            // The context was changed to make the call again.
            None => return,
        }
    };
    context.registers.rax = result as u64;
}

/// A trapped call of a thread that runs at home.
fn home_call(
    thread: &'static Thread,
    call: i64,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> Option<i64> {
    let view = context.mask | thread.sigsys_blocked.get();
    if call == number(linux::__NR_rt_sigprocmask) {
        let mut mask = view;
        let result = mask::change_mask(arguments, &mut mask);
        let (kernels, sigsys) = mask::split_mask(mask);
        context.mask = kernels;
        thread.sigsys_blocked.set(sigsys);
        return Some(result);
    }
    if call == number(linux::__NR_sigaltstack) {
        return Some(alternate_stack::change_alternate_stack(thread, arguments, context.registers.rsp));
    }
    if call == number(linux::__NR_clone) || call == number(linux::__NR_clone3) {
        return Some(match create::decode(call, arguments, context, view) {
            Ok(creation) => create::create(&creation),
            Err(Errno::ENOSYS) => refuse::refuse(call, Errno::ENOSYS.0),
            Err(error) => error.negated(),
        });
    }
    if let Some(mask_argument) = reissue::mask_argument(call) {
        return match reissue::reissue_with_mask(call, arguments, mask_argument, context) {
            Ok(()) => None,
            Err(error) => Some(error.negated()),
        };
    }
    if call == number(linux::__NR_futex) {
        return match reissue::reissue(call, [0; 3], context) {
            Ok(_) => {
                context.registers.rsi |= kernel::FUTEX_PRIVATE;
                None
            }
            Err(error) => Some(error.negated()),
        };
    }
    Some(emulate::emulate(thread, call, arguments))
}
