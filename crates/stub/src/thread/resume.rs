//! Starting a thread: what it is (`state`), and `rt_sigreturn`.

use crate::kernel;
use crate::report;
use crate::signal::frame::{
    FP_XSTATE, LEGACY_STATE, SOFTWARE_BYTES, SignalFrame, SignalInformation, UserContext,
};
use crate::signal::{deferred, deliver, mask, restore};
use crate::thread::{Role, Thread};
use banyan_wire::deputy::ThreadState;
use core::arch::asm;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, FromZeros};

/// Bytes below the stack pointer that belong to the interrupted function (System V ABI).
pub const RED_ZONE: u64 = 128;

/// Continues the thread whose state is at the beginning of the payload of this OS thread, at home or on a
/// carrier.
pub fn resume(thread: &'static Thread) -> ! {
    // SAFETY: this thread's own, and the only reference to it.
    let (head, rest) = unsafe { thread.payload() }.split_at_mut(size_of::<ThreadState>());
    let Ok(state) = ThreadState::read_from_bytes(head) else { report::fail("a thread cannot be continued") };
    let mut context: UserContext = zerocopy::transmute!(state.context);
    let length = (state.extended as usize).min(rest.len());
    context.registers.fpstate = extended(&mut rest[..length], &mut context.flags);
    context.stack = thread.signal_stack();
    thread.alternate_stack.set(zerocopy::transmute!(state.alternate_stack));
    thread.used_elsewhere.store(state.used_elsewhere, Ordering::Relaxed);
    thread.mask.store(state.mask, Ordering::Relaxed);
    let (kernels, sigsys) = mask::split(state.mask);
    if thread.role() == Role::Carrier {
        context.mask = mask::CARRIER_MASK;
    } else {
        context.mask = kernels;
        thread.sigsys_blocked.store(sigsys, Ordering::Relaxed);
    }
    for (code, base) in [(kernel::ARCH_SET_FS, state.fs_base), (kernel::ARCH_SET_GS, state.gs_base)] {
        // SAFETY: the base is the program's; the stub does not use it.
        if unsafe { kernel::checked(linux::__NR_arch_prctl, [code, base]) }.is_err() {
            report::fail("the kernel refused a thread its segment base");
        }
    }
    if thread.role() == Role::Home {
        // A signal that its deputy took from the kernel, and its carrier has not fetched.
        if let Some(waiting) = thread.taken.take() {
            let signal = waiting.information.signal as u64;
            deliver::deliver(thread, signal, &waiting.information, &mut context);
        }
        deferred::release(thread);
    }
    let frame = SignalFrame { return_address: 0, context, information: SignalInformation::new_zeroed() };
    // SAFETY: the kernel takes the frame, and what it points to, before anything else can use their memory,
    // and checks both; what the thread does then is the program's.
    unsafe {
        asm!(
            "mov rsp, {frame}",
            "push {flags}",
            "popfq",
            "syscall",
            "ud2",
            frame = in(reg) &raw const frame as u64 + 8,
            flags = in(reg) context.registers.eflags & IDENTIFICATION,
            in("rax") u64::from(linux::__NR_rt_sigreturn),
            options(noreturn),
        )
    }
}

/// The flag that a program changes to see whether there is CPUID: `rt_sigreturn` leaves it as it is.
const IDENTIFICATION: u64 = 1 << 21;

/// Where the kernel finds the registers beside the general ones: 0 if there are none. What says that it is
/// larger than it is, is taken for an FXSAVE image.
fn extended(state: &mut [u8], flags: &mut u64) -> u64 {
    if state.len() < LEGACY_STATE {
        return 0;
    }
    let at = state.as_mut_ptr() as u64;
    // SAFETY: the slice has room for an FXSAVE image.
    if unsafe { restore::state_bytes(at) } > state.len() {
        state[SOFTWARE_BYTES..SOFTWARE_BYTES + 4].fill(0);
        *flags &= !FP_XSTATE;
    }
    at
}

/// Starts the program itself: registers as the kernel leaves them after exec.
///
/// # Safety
/// The program and its first stack are there.
pub unsafe fn enter(instruction: u64, stack: u64) -> ! {
    // SAFETY: the caller's promise; all registers but the two are zero, as
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
