//! What a thread of the program is between two of its instructions: registers, segment bases, and what the
//! stub keeps for it where it executes. In this form a thread starts, leaves a node and comes to one; the
//! bytes lie in the message buffer of an OS thread, from which it goes on or is sent.
//!
//! Nothing of it is in the program's memory: a stack may have no room for it.

use crate::kernel::{self, Segment};
use crate::signal::frame::{AlternateStack, UserContext};
use crate::signal::{mask, restore};
use crate::thread::Thread;
use banyan_wire::deputy::ThreadState;
use core::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// What a thread is that runs here and was interrupted in `context`, but for its registers.
pub fn of(thread: &Thread, context: &UserContext) -> ThreadState {
    let [fs_base, gs_base] = [Segment::Fs, Segment::Gs].map(kernel::segment_base);
    ThreadState {
        context: [0; 38],
        fs_base,
        gs_base,
        mask: mask::of_program(thread, context),
        alternate_stack: zerocopy::transmute!(thread.alternate_stack.get()),
        used_elsewhere: thread.used_elsewhere.load(Ordering::Relaxed),
        thread: thread.thread_id.load(Ordering::Relaxed).into(),
        extended: 0,
    }
}

/// What a thread or child of the program is that the calling one makes, but for its registers.
pub fn of_new(mask: u64, fs_base: u64, alternate_stack: AlternateStack) -> ThreadState {
    ThreadState {
        context: [0; 38],
        fs_base,
        // As in the kernel, a new thread has the GS base of the one that made it.
        gs_base: kernel::segment_base(Segment::Gs),
        mask,
        alternate_stack: zerocopy::transmute!(alternate_stack),
        used_elsewhere: 0,
        thread: 0,
        extended: 0,
    }
}

/// Puts a thread with the registers of `context`, which the kernel wrote for a handler on this stack, at the
/// beginning of a payload. Returns its bytes.
pub fn save(mut state: ThreadState, context: &UserContext, payload: &mut [u8]) -> usize {
    let at = context.registers.fpstate;
    // SAFETY: the kernel wrote an image there, on this thread's own stack.
    let extended = if at == 0 { 0 } else { unsafe { restore::state_bytes(at) } };
    state.context = zerocopy::transmute!(*context);
    state.extended = extended as u64;
    let (head, rest) = payload.split_at_mut(size_of::<ThreadState>());
    head.copy_from_slice(state.as_bytes());
    if extended != 0 {
        // SAFETY: the kernel wrote that many bytes there, on this thread's own stack.
        let registers = unsafe { core::slice::from_raw_parts(at as *const u8, extended) };
        rest[..extended].copy_from_slice(registers);
    }
    size_of::<ThreadState>() + extended
}
