//! The start of a handler of the program, on whichever node its thread runs.
//!
//! The frame that the kernel would have built on the program's stack is built there. So it lies in coherent
//! memory, and no program code ever runs on a stub stack. What the frame says of mask and alternate stack is
//! the program's view; `restore` takes it back.

use crate::memory::copy::{self, ProgramAddress};
use crate::signal::action::{Action, SA_ONSTACK};
use crate::signal::frame::{SignalFrame, SignalInformation, UserContext};
use crate::signal::{SIGSEGV, alternate_stack, mask, restore};
use crate::thread::Thread;
use crate::thread::resume::RED_ZONE;
use crate::time::vdso;
use banyan_sys::raw::Errno;
use core::mem::offset_of;
use linux_raw_sys::general as linux;
use zerocopy::FromZeros;

/// Flags that are clear in a handler: trap, direction, resume.
const CLEARED_FLAGS: u64 = 1 << 8 | 1 << 10 | 1 << 16;

/// Turns the interrupted context into the start of the program's handler. `blocked` is what the program
/// blocked when the signal came.
///
/// # Errors
/// `EFAULT` if the stack for the handler does not exist: then nothing has changed.
pub fn start(
    thread: &Thread,
    signal: u64,
    action: &Action,
    blocked: u64,
    information: &SignalInformation,
    context: &mut UserContext,
) -> Result<(), Errno> {
    let [handler, flags, restorer, _] = *action;
    let frame = push_frame(thread, flags, restorer, information, context)?;
    alternate_stack::disarm(thread);
    if vdso::contains(context.registers.rip) {
        thread.in_vdso.set(thread.in_vdso.get() + 1);
    }
    mask::set_of_program(thread, context, mask::in_handler(blocked, signal, action));
    let registers = &mut context.registers;
    registers.rip = handler;
    registers.rsp = frame;
    registers.rdi = signal;
    registers.rsi = frame + offset_of!(SignalFrame, information) as u64;
    registers.rdx = frame + offset_of!(SignalFrame, context) as u64;
    registers.rax = 0;
    registers.eflags &= !CLEARED_FLAGS;
    Ok(())
}

/// The signal for a thread whose frame cannot be written or read: SIGSEGV (kernel/signal.c, `force_sigsegv`).
pub fn bad_frame() -> SignalInformation {
    let mut information = SignalInformation::new_zeroed();
    information.signal = SIGSEGV as i32;
    information.code = linux::SI_KERNEL as i32;
    information
}

/// Writes the handler's frame where it belongs in program memory (arch/x86/kernel/signal.c,
/// `get_sigframe`).
fn push_frame(
    thread: &Thread,
    flags: u64,
    restorer: u64,
    information: &SignalInformation,
    context: &UserContext,
) -> Result<u64, Errno> {
    let alternate = thread.alternate_stack.get();
    let interrupted = context.registers.rsp.wrapping_sub(RED_ZONE);
    let entry = if flags & SA_ONSTACK == 0 { None } else { alternate.entry(interrupted) };
    let top = entry.unwrap_or(interrupted);
    let (_, frame) = places(top, context);
    // A handler that runs over the end of its stack must not be started.
    if (entry.is_some() || alternate.contains(context.registers.rsp)) && !alternate.contains(frame) {
        return Err(Errno::EFAULT);
    }
    let mut programs = *context;
    programs.stack = alternate;
    programs.mask = mask::of_program(thread, context);
    write_frame(top, restorer, information, &programs)
}

/// Where below `top` the floating-point state and the frame go.
fn places(top: u64, context: &UserContext) -> (u64, u64) {
    let state = match context.registers.fpstate {
        0 => top,
        // SAFETY: the kernel wrote an image there, on our own stack.
        state => top.wrapping_sub(unsafe { restore::state_bytes(state) } as u64) & !63,
    };
    (state, (state.wrapping_sub(size_of::<SignalFrame>() as u64) & !15).wrapping_sub(8))
}

/// Copies a frame whose floating-point state the kernel wrote on the stub's stack below `top` in program
/// memory. Returns where it is.
///
/// # Errors
/// `EFAULT` if that is not memory of the program.
fn write_frame(
    top: u64,
    restorer: u64,
    information: &SignalInformation,
    context: &UserContext,
) -> Result<u64, Errno> {
    let (state, frame) = places(top, context);
    let mut copy = *context;
    let kernels = context.registers.fpstate;
    if kernels != 0 {
        // SAFETY: the kernel wrote that many bytes there, on our own stack.
        let image =
            unsafe { core::slice::from_raw_parts(kernels as *const u8, restore::state_bytes(kernels)) };
        copy::copy_out(ProgramAddress(state), image)?;
        copy.registers.fpstate = state;
    }
    let whole = SignalFrame { return_address: restorer, context: copy, information: *information };
    copy::store(ProgramAddress(frame), &whole)?;
    Ok(frame)
}
