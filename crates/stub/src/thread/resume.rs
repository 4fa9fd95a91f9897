//! Starting a thread: a signal frame in coherent memory, an FS base, and `rt_sigreturn`.

use crate::kernel;
use crate::memory::copy::{self, ProgramAddress};
use crate::signal::frame::{
    FP_XSTATE, LEGACY_STATE, SOFTWARE_BYTES, SignalFrame, SignalInformation, UserContext,
};
use crate::signal::{deferred, mask};
use crate::thread::{Role, Thread};
use banyan_sys::raw::Errno;
use core::arch::asm;
use core::mem::offset_of;
use linux_raw_sys::general as linux;
use zerocopy::FromZeros;

/// Bytes below the stack pointer that belong to the interrupted function (System V ABI).
pub const RED_ZONE: u64 = 128;

/// Writes a frame below `stack` for a thread that continues where `context` is, with `rax` 0 and the new
/// stack. Returns the frame's address.
///
/// Of the floating-point state only the FXSAVE image goes along: rounding modes are inherited, and no
/// compiler keeps the upper vector halves over a system call that starts a thread.
///
/// # Errors
/// `EFAULT` if the stack is not memory of the program.
pub fn make_frame(stack: u64, context: &UserContext, mask: u64) -> Result<u64, Errno> {
    let state = (stack.wrapping_sub(RED_ZONE + LEGACY_STATE as u64)) & !63;
    let frame = ((state - size_of::<SignalFrame>() as u64) & !15) - 8;
    let mut copy = *context;
    copy.registers.rsp = stack;
    copy.registers.rax = 0;
    copy.flags &= !FP_XSTATE;
    copy.mask = mask;
    copy.registers.fpstate = 0;
    if context.registers.fpstate != 0 {
        let mut image = [0_u64; LEGACY_STATE / 8];
        // SAFETY: the kernel put at least an FXSAVE image where the frame on our own stack says.
        unsafe {
            let from = context.registers.fpstate as *const u64;
            core::ptr::copy_nonoverlapping(from, image.as_mut_ptr(), image.len());
        }
        // Without the magic the kernel takes the image alone.
        image[SOFTWARE_BYTES / 8] = 0;
        copy::store(ProgramAddress(state), &image)?;
        copy.registers.fpstate = state;
    }
    let information = SignalInformation::new_zeroed();
    let whole = SignalFrame { return_address: 0, context: copy, information };
    copy::store(ProgramAddress(frame), &whole)?;
    Ok(frame)
}

/// Continues a thread from its frame. The frame gets the signal stack of this OS thread, which `rt_sigreturn`
/// sets, and on a carrier a mask that keeps asynchronous signals out.
pub fn resume(thread: &Thread, frame: u64, fs_base: u64) -> ! {
    let stack = thread.signal_stack();
    let context = frame + offset_of!(SignalFrame, context) as u64;
    let field = context + offset_of!(UserContext, stack) as u64;
    let mut ready = copy::store(ProgramAddress(field), &stack);
    if thread.role() == Role::Carrier {
        let mask = mask::CARRIER_MASK;
        let field = context + offset_of!(UserContext, mask) as u64;
        ready = ready.and_then(|()| copy::store(ProgramAddress(field), &mask));
    }
    // SAFETY: the FS base is the program's; the stub does not use it.
    let set = unsafe { kernel::checked(linux::__NR_arch_prctl, [kernel::ARCH_SET_FS, fs_base, 0, 0, 0, 0]) };
    if ready.is_err() || set.is_err() {
        crate::report::fail(&["banyan: a thread's first frame is not in the program's memory"]);
    }
    if thread.role() == Role::Home {
        deferred::release(thread);
    }
    // SAFETY: the frame is well-formed (`make_frame` wrote it); what the thread does then is the program's.
    unsafe {
        asm!(
            "mov rsp, {frame}",
            "syscall",
            "ud2",
            frame = in(reg) frame + 8,
            in("rax") u64::from(linux::__NR_rt_sigreturn),
            options(noreturn),
        )
    }
}

/// Starts the program itself: registers as the kernel leaves them after exec.
pub fn enter(instruction: u64, stack: u64) -> ! {
    // SAFETY: the loader wrote the program and its first stack there; all registers but the two are zero, as
    // the ABI says (rdx is a function to register at exit, or zero).
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "mov r11, {instruction}",
            "xor eax, eax", "xor ebx, ebx", "xor ecx, ecx", "xor edx, edx", "xor esi, esi", "xor edi, edi",
            "xor ebp, ebp", "xor r8d, r8d", "xor r9d, r9d", "xor r10d, r10d", "xor r12d, r12d",
            "xor r13d, r13d", "xor r14d, r14d", "xor r15d, r15d",
            "jmp r11",
            stack = in(reg) stack,
            instruction = in(reg) instruction,
            options(noreturn),
        )
    }
}
