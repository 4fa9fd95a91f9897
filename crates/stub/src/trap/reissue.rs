//! A trapped call that the kernel shall make after all, with other arguments, is made again from the
//! program's own stack: a handler that interrupts it gets a frame like any other.

use crate::memory::copy::{self, ProgramAddress};
use crate::memory::futex::{self, Fault};
use crate::signal::frame::UserContext;
use crate::signal::{MASK_BYTES, mask};
use crate::thread::Thread;
use crate::thread::resume::RED_ZONE;
use banyan_sys::raw::Errno;
use banyan_wire::syscalls::{self, MaskPointer};
use core::arch::global_asm;
use linux_raw_sys::general as linux;

// Code outside the program that runs for it: the call, then the registers that the call must not change, from
// the words that [`reissue`] put on the stack.
global_asm!(
    ".globl banyan_reissue",
    ".globl banyan_reissue_end",
    "banyan_reissue:",
    "syscall",
    ".globl banyan_reissue_made",
    "banyan_reissue_made:",
    "2:",
    "mov rdi, [rsp + 8]",
    "mov rsi, [rsp + 16]",
    "mov r8, [rsp + 24]",
    "mov r9, [rsp + 32]",
    "mov r10, [rsp + 40]",
    "ret 200",
    // As above, but after EFAULT the program makes its call once more, with the number that the word after
    // the registers says. No instruction here changes the flags.
    ".globl banyan_reissue_futex",
    "banyan_reissue_futex:",
    "syscall",
    ".globl banyan_reissue_futex_made",
    "banyan_reissue_futex_made:",
    "lea rcx, [rax + 14]",
    "jrcxz 3f",
    "jmp 2b",
    "3:",
    "mov rcx, [rsp]",
    "lea rcx, [rcx - 2]",
    "mov [rsp], rcx",
    "mov rax, [rsp + 48]",
    "jmp 2b",
    // As the first, for another call than the program's, which has its own third argument: the program's is
    // the word after the registers, and the number of its call the next one.
    ".globl banyan_reissue_other",
    "banyan_reissue_other:",
    "syscall",
    ".globl banyan_reissue_other_made",
    "banyan_reissue_other_made:",
    "mov rdx, [rsp + 48]",
    "jmp 2b",
    // As the last, for a call that waits for a while: then the program makes its own once more, with the
    // number that the word after the registers says.
    ".globl banyan_reissue_sleep",
    "banyan_reissue_sleep:",
    "syscall",
    ".globl banyan_reissue_sleep_made",
    "banyan_reissue_sleep_made:",
    "mov rdx, [rsp + 56]",
    "jmp 3b",
    "banyan_reissue_end:",
);
/// Bytes of the instruction that makes a call.
pub const SYSCALL_BYTES: u64 = 2;
/// What the upper half of `rax`, at which the kernel does not look, says of a call that is made once more.
const SLEPT: u64 = 0x5133_9000 << 32;

unsafe extern "C" {
    static banyan_reissue: u8;
    static banyan_reissue_made: u8;
    static banyan_reissue_futex: u8;
    static banyan_reissue_futex_made: u8;
    static banyan_reissue_other: u8;
    static banyan_reissue_other_made: u8;
    static banyan_reissue_sleep: u8;
    static banyan_reissue_sleep_made: u8;
    static banyan_reissue_end: u8;
}

/// Whether a thread interrupted at `instruction` is about to make a call again, or just made it.
pub fn contains(instruction: u64) -> bool {
    let (start, end) = (&raw const banyan_reissue as u64, &raw const banyan_reissue_end as u64);
    instruction >= start && instruction < end
}

/// Takes a thread that is about to be interrupted out of the code that makes a call again, so that the
/// program's handler finds it at the program's own instruction: after the call if it was made, else before
/// it. Returns what the program blocked when the signal came: if it interrupted a call that waited with a
/// mask, that mask.
pub fn leave(thread: &Thread, context: &mut UserContext) -> u64 {
    thread.interruptions.set(thread.interruptions.get().wrapping_add(1));
    let blocked = mask::of_program(thread, context);
    let at = context.registers.rip;
    if !contains(at) {
        return blocked;
    }
    let (start, made) = (&raw const banyan_reissue as u64, &raw const banyan_reissue_made as u64);
    let futex = &raw const banyan_reissue_futex as u64;
    let (other, other_made) =
        (&raw const banyan_reissue_other as u64, &raw const banyan_reissue_other_made as u64);
    let registers = &mut context.registers;
    let result = registers.rax as i64;
    // A few instructions look at the result of a futex call, or put one register back: there the thread
    // stays.
    let is_other = at == other || at == other_made;
    let (sleep, sleep_made) =
        (&raw const banyan_reissue_sleep as u64, &raw const banyan_reissue_sleep_made as u64);
    let sleeps = at == sleep || at == sleep_made;
    let futex_made = at == &raw const banyan_reissue_futex_made as u64 && result != Errno::EFAULT.negated();
    if at > futex && !futex_made && !is_other && !sleeps {
        return blocked;
    }
    // The program's stack is its own: should the words be gone, so is the way back.
    let Ok([return_address, rdi, rsi, r8, r9, r10, sixth, seventh]) =
        copy::load::<[u64; 8]>(ProgramAddress(registers.rsp))
    else {
        return blocked;
    };
    if is_other {
        registers.rdx = sixth;
    }
    if at == other {
        registers.rax = seventh;
    }
    if sleeps {
        // The call is made once more, and finds that a handler came.
        (registers.rax, registers.rdx) = (sixth, seventh);
    }
    (registers.rdi, registers.rsi, registers.r8) = (rdi, rsi, r8);
    (registers.r9, registers.r10) = (r9, r10);
    registers.rsp = registers.rsp.wrapping_add(RED_ZONE + 80);
    registers.rip = return_address;
    if at == start || at == futex || at == other || sleeps {
        registers.rip = return_address.wrapping_sub(SYSCALL_BYTES);
        return blocked;
    }
    let interrupted = at == made && result == Errno::EINTR.negated();
    thread.waiting_mask.get().filter(|_| interrupted).unwrap_or(blocked)
}

/// Has a call made again from the program's own stack, so that a handler which interrupts it gets a frame
/// like any other. The words below the red zone are those that `banyan_reissue` pops: return address, five
/// registers that the call must not change, then three words for its arguments to point to. Returns the
/// address of the latter.
pub fn reissue(
    thread: &Thread,
    number: u32,
    more: [u64; 3],
    context: &mut UserContext,
) -> Result<u64, Errno> {
    thread.waiting_mask.set(None);
    let registers = &mut context.registers;
    let stack = registers.rsp.wrapping_sub(RED_ZONE + 80);
    let [a, b, c] = more;
    let r = &*registers;
    let words = [r.rip, r.rdi, r.rsi, r.r8, r.r9, r.r10, a, b, c, 0];
    copy::store(ProgramAddress(stack), &words)?;
    registers.rsp = stack;
    registers.rip = &raw const banyan_reissue as u64;
    registers.rax = u64::from(number);
    Ok(stack + 48)
}

/// Makes a futex call again, as `memory::futex` prepared it. If a page that it needs is taken away before
/// the kernel gets to it, the program makes the call again and comes back here; how often it has done that is
/// the upper half of `rax`, of which the kernel looks at the lower half alone.
///
/// # Errors
/// `EFAULT` if the kernel would find no memory where the call says, or the stack is not the program's.
pub fn futex(
    thread: &Thread,
    number: u32,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> Result<(), Errno> {
    let attempt = context.registers.rax >> 32;
    let fault = futex::prepare(number, arguments)?;
    let again = (attempt + 1) << 32 | u64::from(number);
    reissue(thread, number, [again, 0, 0], context)?;
    if fault == Fault::Again && attempt < u64::from(futex::ATTEMPTS) {
        context.registers.rip = &raw const banyan_reissue_futex as u64;
    }
    Ok(())
}

/// Makes a call that carries a signal mask again with SIGSYS taken out of the mask.
///
/// # Errors
/// `EFAULT` if the mask, or the stack, is not memory of the program.
pub fn with_mask(
    thread: &Thread,
    number: u32,
    arguments: &[u64; 6],
    mask: MaskPointer,
    context: &mut UserContext,
) -> Result<(), Errno> {
    let argument = syscalls::argument(arguments, mask.argument());
    let size = match mask {
        MaskPointer::Paired(_) if argument != 0 => copy::load(ProgramAddress(argument).add(8))?,
        MaskPointer::Paired(_) | MaskPointer::Direct(_) => MASK_BYTES,
    };
    let blocked = mask::of_call(arguments, mask)?;
    let kernels = blocked.map_or(0, |blocked| mask::split(blocked).0);
    // Only the first word's address is needed to fill the second, and it does not depend on what they hold.
    let at = reissue(thread, number, [kernels, 0, size], context)?;
    thread.waiting_mask.set(blocked);
    let mask_at = if blocked.is_none() { 0 } else { at };
    copy::store(ProgramAddress(at).add(8), &mask_at)?;
    if argument != 0 {
        let replaced = match mask {
            MaskPointer::Direct(_) => mask_at,
            MaskPointer::Paired(_) => at + 8,
        };
        set_argument(context, mask.argument().into(), replaced);
    }
    Ok(())
}

/// Has another call made in place of the program's, as [`reissue`].
///
/// # Errors
/// `EFAULT` if the stack is not the program's.
pub fn with_arguments(
    thread: &Thread,
    number: u32,
    arguments: &[u64; 6],
    context: &mut UserContext,
) -> Result<(), Errno> {
    let own = [context.registers.rdx, context.registers.rax, 0];
    reissue(thread, number, own, context)?;
    context.registers.rip = &raw const banyan_reissue_other as u64;
    for (index, argument) in arguments.iter().enumerate() {
        set_argument(context, index, *argument);
    }
    Ok(())
}

/// Has the thread wait for some milliseconds in place of the program's call, and then make that once more,
/// which [`slept`] tells. A handler that interrupts it, too, returns to where the call is made once more.
///
/// # Errors
/// `EFAULT` if the stack is not the program's.
pub fn sleep(
    thread: &Thread,
    number: u32,
    milliseconds: u64,
    context: &mut UserContext,
) -> Result<(), Errno> {
    let own = [SLEPT | u64::from(number), context.registers.rdx, 0];
    reissue(thread, linux::__NR_poll, own, context)?;
    context.registers.rip = &raw const banyan_reissue_sleep as u64;
    for (index, argument) in [0, 0, milliseconds].into_iter().enumerate() {
        set_argument(context, index, argument);
    }
    Ok(())
}

/// Whether a trapped call is one that is made once more after [`sleep`].
pub fn slept(context: &UserContext) -> bool {
    context.registers.rax & !u64::from(u32::MAX) == SLEPT
}

fn set_argument(context: &mut UserContext, index: usize, value: u64) {
    let r = &mut context.registers;
    let registers = [&mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.r10, &mut r.r8, &mut r.r9];
    if let Some(register) = registers.into_iter().nth(index) {
        *register = value;
    }
}
