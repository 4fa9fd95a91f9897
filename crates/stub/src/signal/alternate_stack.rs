//! `sigaltstack`: the stack on which the program wants its handlers to run.

use crate::memory::copy::{self, ProgramAddress};
use crate::signal::frame::ALTERNATE_STACK_DISABLED;
use crate::thread::Thread;
use banyan_sys::raw::Errno;
use linux_raw_sys::general as linux;

/// `sigaltstack` of the program: only remembered, since the kernel's alternate stack is the stub's.
pub fn change_alternate_stack(thread: &Thread, arguments: &[u64; 6], stack: u64) -> i64 {
    use crate::signal::frame::AlternateStack;
    const ONSTACK: i32 = linux::SS_ONSTACK as i32;
    const MINIMUM: u64 = linux::MINSIGSTKSZ as u64;
    let [new, old, ..] = *arguments;
    let current = thread.alternate_stack.get();
    let on_it =
        current.flags & ALTERNATE_STACK_DISABLED == 0 && stack.wrapping_sub(current.pointer) < current.size;
    if new != 0 {
        let Ok(mut given) = copy::load::<AlternateStack>(ProgramAddress(new)) else {
            return Errno::EFAULT.negated();
        };
        if on_it {
            return Errno::EPERM.negated();
        }
        if given.flags & !(ALTERNATE_STACK_DISABLED | ONSTACK) != 0 {
            return Errno::EINVAL.negated();
        }
        if given.flags & ALTERNATE_STACK_DISABLED == 0 && given.size < MINIMUM {
            return Errno::ENOMEM.negated();
        }
        given.flags &= ALTERNATE_STACK_DISABLED;
        thread.alternate_stack.set(given);
    }
    if old != 0 {
        let mut seen = current;
        seen.flags |= if on_it { ONSTACK } else { 0 };
        if copy::store(ProgramAddress(old), &seen).is_err() {
            return Errno::EFAULT.negated();
        }
    }
    0
}
