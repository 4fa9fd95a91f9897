//! C's `longjmp`: back to a frame of the library's, or to one of its caller's.
//!
//! What `setjmp` saved is scrambled with a secret of its process; what does not come out as a place on this
//! stack was saved by the caller, and is the caller's to go back to. Where frames of the caller's lie
//! between, the caller gives them up. Not for jumps to another thread's stack.

use crate::caller::{callers, own, position};
use banyan_calls::{Frame, unwind};
use std::ffi::c_int;

/// What `setjmp` saves: the sixth word is the stack pointer.
pub(crate) type Buffer = [u64; 8];
type Jump = unsafe extern "C" fn(*const Buffer, c_int);

/// The stack pointer in a buffer that this process saved.
///
/// # Safety
/// As of `longjmp`.
unsafe fn stack_pointer(buffer: *const Buffer) -> u64 {
    let secret: u64;
    // SAFETY: the C library keeps its secret in that word of every thread (`PTR_MANGLE`).
    unsafe {
        std::arch::asm!("mov {}, fs:[0x30]", out(reg) secret, options(nostack, readonly, preserves_flags));
        (*buffer)[6].rotate_right(17) ^ secret
    }
}

/// C's `longjmp`.
///
/// # Safety
/// As the C function's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn longjmp(buffer: *const Buffer, value: c_int) -> ! {
    const POSITION: usize = position(c"longjmp");
    // SAFETY: the caller's contract; both are functions of this type, and the caller's becomes a call-back.
    unsafe {
        let there = callers(POSITION);
        if banyan_calls::is_in_call() {
            match Frame::of(stack_pointer(buffer)) {
                Frame::Own => {}
                Frame::Below(depth) => unwind(depth),
                Frame::Other if there != 0 => {
                    std::mem::transmute::<*const (), Jump>(there as *const ())(buffer, value);
                    // The caller has no such frame.
                    libc::abort()
                }
                Frame::Other => {}
            }
        }
        std::mem::transmute::<*const (), Jump>(own(POSITION, c"longjmp") as *const ())(buffer, value);
        libc::abort()
    }
}
