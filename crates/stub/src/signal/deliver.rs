//! Delivery of a caught signal to a home thread.
//!
//! A caught signal arrives on the stub's stack; [`on_signal`] then builds the frame that the kernel would
//! have built on the program's stack and returns into the handler. So the handler's frame lies in coherent
//! memory and no program code ever runs on a stub stack.

use crate::kernel;
use crate::memory;
use crate::memory::copy::{self, ProgramAddress};
use crate::signal::disposition::{
    self, DISPOSITIONS, SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SIG_DFL, SIG_IGN,
};
use crate::signal::frame::{
    ALTERNATE_STACK_DISABLED, EXTENDED_MAGIC, LEGACY_STATE, SOFTWARE_BYTES, SignalFrame, SignalInformation,
    UserContext,
};
use crate::signal::{self, SIGSEGV, SIGSYS};
use crate::thread::resume::RED_ZONE;
use crate::thread::{Role, Thread};
use crate::time::vdso;
use crate::trap::reissue;
use banyan_sys::raw::Errno;
use banyan_wire::address_space::is_program_code;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as linux;

/// Flags that are clear in a handler: trap, direction, resume.
const CLEARED_FLAGS: u64 = 1 << 8 | 1 << 10 | 1 << 16;

/// Whether a thread interrupted at `instruction` is running the program.
pub fn runs_program(instruction: u64) -> bool {
    is_program_code(instruction) || reissue::contains(instruction) || vdso::contains(instruction)
}

/// Handler of every signal that the program catches.
///
/// # Safety
/// For the kernel to call, with its own frame on this thread's stub stack.
pub unsafe extern "C" fn on_signal(
    signal: u64,
    information: *mut SignalInformation,
    context: *mut UserContext,
) {
    // SAFETY: the kernel passes its frame on this thread's own stub stack.
    let (information, context) = unsafe { (&*information, &mut *context) };
    let thread = Thread::current();
    if thread.role() != Role::Home || !runs_program(context.registers.rip) {
        // A deputy or the service thread took it: block it here and give it back to the process.
        context.mask |= signal::bit(signal);
        let process = u64::from(kernel::process_id());
        let arguments = [process, signal, information as *const _ as u64, 0, 0, 0];
        // SAFETY: the information is the kernel's own and lives across the call, which only reads it.
        let _ = unsafe { kernel::raw(linux::__NR_rt_sigqueueinfo, arguments) };
        return;
    }
    deliver(thread, signal, information, context);
}

/// Turns the interrupted context into the start of the program's handler. If the stack for it does not exist,
/// the process dies of SIGSEGV, as it would natively.
pub fn deliver(thread: &Thread, signal: u64, information: &SignalInformation, context: &mut UserContext) {
    let slot = &DISPOSITIONS[signal as usize - 1];
    let [handler, flags, restorer, mask] = [0, 1, 2, 3].map(|word: usize| slot[word].load(Ordering::Acquire));
    if handler <= SIG_IGN {
        // It was reset meanwhile: ignored, or the default action now.
        if handler == SIG_DFL {
            disposition::die_of(signal);
        }
        return;
    }
    if flags & SA_RESETHAND != 0 {
        let _guard = memory::LOCK.lock();
        slot[0].store(SIG_DFL, Ordering::Release);
        let _ = disposition::apply_disposition(signal, &[0; 4]);
    }
    let alternate = thread.alternate_stack.get();
    let stack = context.registers.rsp;
    let on_alternate = stack.wrapping_sub(alternate.pointer) < alternate.size;
    let usable = alternate.flags & ALTERNATE_STACK_DISABLED == 0;
    let top = if flags & SA_ONSTACK != 0 && usable && !on_alternate {
        alternate.pointer + alternate.size
    } else {
        stack.wrapping_sub(RED_ZONE)
    };
    let Ok(frame) = push_frame(thread, top, restorer, information, context) else {
        disposition::die_of(SIGSEGV)
    };
    let blocked = mask | if flags & SA_NODEFER == 0 { signal::bit(signal) } else { 0 };
    thread.sigsys_blocked.set(thread.sigsys_blocked.get() | (blocked & signal::bit(SIGSYS)));
    context.mask = (context.mask | blocked) & !signal::bit(SIGSYS);
    let registers = &mut context.registers;
    registers.rip = handler;
    registers.rsp = frame;
    registers.rdi = signal;
    registers.rsi = frame + offset_of!(SignalFrame, information) as u64;
    registers.rdx = frame + offset_of!(SignalFrame, context) as u64;
    registers.rax = 0;
    registers.eflags &= !CLEARED_FLAGS;
}

/// Copies the kernel's frame, floating-point state included, below `top` in program memory. Returns where it
/// is.
///
/// # Errors
/// `EFAULT` if that is not memory of the program.
pub fn push_frame(
    thread: &Thread,
    top: u64,
    restorer: u64,
    information: &SignalInformation,
    context: &UserContext,
) -> Result<u64, Errno> {
    let state = context.registers.fpstate;
    let mut copy = *context;
    let mut at = top;
    if state != 0 {
        // SAFETY: the kernel wrote at least an FXSAVE image there, on our own stack; its software-reserved
        // bytes tell how much follows.
        let (magic, extended) = unsafe {
            let words = (state + SOFTWARE_BYTES as u64) as *const u32;
            (words.read(), words.add(1).read())
        };
        let size = if magic == EXTENDED_MAGIC { extended as usize } else { LEGACY_STATE };
        at = at.wrapping_sub(size as u64) & !63;
        // SAFETY: the kernel wrote that many bytes there.
        let image = unsafe { core::slice::from_raw_parts(state as *const u8, size) };
        copy::copy_out(ProgramAddress(at), image)?;
        copy.registers.fpstate = at;
    }
    let frame = (at.wrapping_sub(size_of::<SignalFrame>() as u64) & !15) - 8;
    copy.mask |= thread.sigsys_blocked.get();
    let whole = SignalFrame { return_address: restorer, context: copy, information: *information };
    copy::store(ProgramAddress(frame), &whole)?;
    Ok(frame)
}
