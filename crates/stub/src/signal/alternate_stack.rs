//! `sigaltstack`: the stack on which the program wants its handlers to run.
//!
//! The kernel's alternate stack is the stub's, so the program's is kept here and behaves as the kernel's
//! would (kernel/signal.c, `do_sigaltstack`).

use crate::memory::copy::{self, ProgramAddress};
use crate::signal::frame::{ALTERNATE_STACK_DISABLED, AlternateStack};
use crate::thread::Thread;
use banyan_sys::raw::Errno;
use linux_raw_sys::general as linux;

const ONSTACK: i32 = linux::SS_ONSTACK as i32;
/// `SS_AUTODISARM`: a handler that runs on the stack takes it away until it returns.
const AUTODISARM: i32 = linux::SS_AUTODISARM as i32;
const MINIMUM: u64 = linux::MINSIGSTKSZ as u64;

impl AlternateStack {
    /// No stack.
    pub const NONE: Self = Self { pointer: 0, flags: ALTERNATE_STACK_DISABLED, padding: 0, size: 0 };

    /// Whether a thread with this stack pointer is on the stack. The kernel counts its upper end in.
    #[must_use]
    pub fn contains(&self, stack: u64) -> bool {
        stack > self.pointer && stack - self.pointer <= self.size
    }

    /// Whether a handler that is started now would have to stay on the stack. A stack that disarms itself is
    /// not known to be in use.
    fn is_in_use(&self, stack: u64) -> bool {
        self.flags & AUTODISARM == 0 && self.contains(stack)
    }

    /// The stack pointer with which a handler that wants this stack starts, if it can be had.
    #[must_use]
    pub fn entry(&self, stack: u64) -> Option<u64> {
        (self.size != 0 && !self.is_in_use(stack)).then(|| self.pointer.wrapping_add(self.size))
    }
}

/// `sigaltstack` of the program, whose stack pointer is `stack`.
pub fn change(thread: &Thread, arguments: &[u64; 6], stack: u64) -> i64 {
    let [new, old, ..] = *arguments;
    let result = (|| {
        let given = if new == 0 { None } else { Some(copy::load(ProgramAddress(new))?) };
        let mut seen = thread.alternate_stack.get();
        seen.flags &= AUTODISARM;
        if seen.size == 0 {
            seen.flags |= ALTERNATE_STACK_DISABLED;
        } else if seen.is_in_use(stack) {
            seen.flags |= ONSTACK;
        }
        if let Some(given) = given {
            set(thread, given, stack)?;
        }
        if old == 0 { Ok(()) } else { copy::store(ProgramAddress(old), &seen) }
    })();
    result.map_or_else(Errno::negated, |()| 0)
}

/// Sets the stack for a thread whose stack pointer is `stack`.
///
/// # Errors
/// `EPERM` while the thread is on the stack that it has, `EINVAL` for unknown flags, `ENOMEM` if it is too
/// small.
pub fn set(thread: &Thread, mut given: AlternateStack, stack: u64) -> Result<(), Errno> {
    if thread.alternate_stack.get().is_in_use(stack) {
        return Err(Errno::EPERM);
    }
    match given.flags & !AUTODISARM {
        ALTERNATE_STACK_DISABLED => (given.pointer, given.size) = (0, 0),
        0 | ONSTACK if given.size < MINIMUM => return Err(Errno::ENOMEM),
        0 | ONSTACK => {}
        _ => return Err(Errno::EINVAL),
    }
    given.padding = 0;
    thread.alternate_stack.set(given);
    Ok(())
}

/// A handler is about to start, and its frame holds the stack: one that disarms itself is gone until then.
pub fn disarm(thread: &Thread) {
    if thread.alternate_stack.get().flags & AUTODISARM != 0 {
        thread.alternate_stack.set(AlternateStack::NONE);
    }
}
