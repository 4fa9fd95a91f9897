//! A jump of a wrapped library's to a frame of the program's, as from its error handler: what a worker calls
//! back for C's `longjmp`.
//!
//! The worker names the place, and it may be out of its mind: only a jump up this stack, to code, is done.

use crate::sys::channel::{copy_checked, stack_pointer};
use crate::sys::maps;
use std::ffi::c_int;

/// The longest stack that is jumped up.
const STACK_BYTES: u64 = 64 << 20;

/// What `setjmp` saves: six registers, the stack pointer, the address of the code, the mask of signals.
type Buffer = [u64; 25];

unsafe extern "C" {
    fn longjmp(buffer: *const Buffer, value: c_int) -> !;
}

/// Jumps to where `setjmp` saved, at `buffer`; returns if that is no place to jump to.
pub(super) extern "C" fn jump(buffer: u64, value: c_int) {
    let mut saved: Buffer = [0; 25];
    // SAFETY: the target is the local array; what cannot be read is not copied.
    let count = unsafe { copy_checked(buffer, saved.as_mut_ptr() as u64, size_of::<Buffer>()) };
    let secret: u64;
    // SAFETY: the C library keeps the secret with which it scrambles addresses in that word of every thread.
    unsafe {
        std::arch::asm!("mov {}, fs:[0x30]", out(reg) secret, options(nostack, readonly, preserves_flags));
    }
    let [stack, code] = [saved[6], saved[7]].map(|word| word.rotate_right(17) ^ secret);
    let is_up = (1..STACK_BYTES).contains(&stack.wrapping_sub(stack_pointer()));
    let mut word = 0_u64;
    // SAFETY: as above.
    let is_there = is_up && unsafe { copy_checked(stack, &raw mut word as u64, 8) } == 8;
    if count == size_of::<Buffer>() && is_there && maps::is_executable(code) {
        // SAFETY: the program's `setjmp` saved this on this stack, and its frame has not ended: the program
        // would jump there if the library were in its process. The frames between hold nothing to drop.
        unsafe { longjmp(&raw const saved, value) }
    }
}
