//! Calls that may wait, in which a thread elsewhere lets signals in at both of its ends: the deputy those for
//! its thread, the carrier the deputy's interruption. One that comes ends the wait, or keeps it from
//! beginning. A deputy goes on letting them in from one call to the next, for each change of the kernel's
//! mask is a system call.

use crate::kernel::{self, MaskChange};
use crate::signal::deferred;
use crate::signal::frame::UserContext;
use crate::signal::mask::{Copies, HANDLER_MASK};
use crate::thread::Thread;
use core::arch::{asm, global_asm};
use core::sync::atomic::Ordering;

/// How a wait ended.
pub enum End {
    /// The call was made, with this result; a signal may have come too, and may have ended it.
    Made(i64),
    /// A signal came before the call was made, or it is one that is made again after the handler.
    NotMade,
}

// A signal that comes while `rip` is in the first part, up to and including the system call, finds the call
// not made, or to be restarted: the handler continues at the end with this result, which is no error number
// of a system call. One that came before is seen by the comparison.
const NOT_MADE: i64 = -512;
global_asm!(
    ".globl banyan_wait",
    ".globl banyan_wait_call",
    ".globl banyan_wait_end",
    "banyan_wait:",
    "cmp dword ptr [r12], 0",
    "je banyan_wait_call",
    "mov rax, {not_made}",
    "ret",
    "banyan_wait_call:",
    "syscall",
    "banyan_wait_end:",
    "ret",
    not_made = const NOT_MADE,
);
unsafe extern "C" {
    static banyan_wait: u8;
    static banyan_wait_call: u8;
    static banyan_wait_end: u8;
}

/// Makes a call that may wait, and lets signals in but those in `blocked`. It goes on doing so afterwards:
/// before it touches program memory or takes a lock that a handler takes, the thread must [`close`].
///
/// # Safety
/// As `kernel::raw`.
pub unsafe fn call(thread: &Thread, blocked: u64, number: u32, arguments: [u64; 6]) -> End {
    open(thread, blocked);
    let [a, b, c, d, e, f] = arguments;
    let result: i64;
    // SAFETY: the call is the caller's promise; the code reads the word and changes what a call does.
    unsafe {
        asm!(
            "call banyan_wait",
            inlateout("rax") u64::from(number) => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            in("r12") thread.taken.came.as_ptr(),
            lateout("rcx") _, lateout("r11") _,
        );
    }
    if result == NOT_MADE { End::NotMade } else { End::Made(result) }
}

/// Lets signals in but those in `blocked`, if it is not so already: one that waits comes before this returns.
pub fn open(thread: &Thread, blocked: u64) {
    if thread.taken.open.get() == Some(blocked) {
        return;
    }
    deferred::release(thread);
    thread.taken.open.set(Some(blocked));
    kernel::set_mask(MaskChange::Set, blocked);
}

/// Lets no more signals in. From here on the thread may touch program memory.
pub fn close(thread: &Thread) {
    if thread.taken.open.take().is_some() {
        thread.copies.store(Copies::Made as u32, Ordering::Relaxed);
        kernel::set_mask(MaskChange::Set, HANDLER_MASK);
    }
}

/// A signal interrupted a thread that lets them in: no other one is let in, and a wait in [`call`] ends.
pub fn end(thread: &Thread, context: &mut UserContext) {
    thread.taken.came.store(1, Ordering::Relaxed);
    context.mask = !0;
    // Unless the thread is about to block them itself.
    if thread.taken.open.get().is_some() {
        thread.taken.open.set(Some(!0));
    }
    let (start, made) = (&raw const banyan_wait as u64, &raw const banyan_wait_call as u64);
    if (start..=made).contains(&context.registers.rip) {
        context.registers.rip = &raw const banyan_wait_end as u64;
        context.registers.rax = NOT_MADE as u64;
    }
}
