//! A trapped call that the kernel shall make after all, with other arguments, is made again from the program's own stack:
//! a handler that interrupts it gets a frame like any other.

use crate::kernel::number;
use crate::memory::copy;
use crate::signal::mask;
use banyan_sys::raw::Errno;
use banyan_sys::signal_frame::UserContext;
use core::arch::global_asm;
use linux_raw_sys::general as linux;

// Code outside the program that runs for it: the call, then the registers that the call must not change, from the words
// that [`reissue`] put on the stack.
global_asm!(
    ".globl banyan_reissue",
    ".globl banyan_reissue_end",
    "banyan_reissue:",
    "syscall",
    "mov rdi, [rsp + 8]",
    "mov rsi, [rsp + 16]",
    "mov r8, [rsp + 24]",
    "mov r9, [rsp + 32]",
    "mov r10, [rsp + 40]",
    "ret 200",
    "banyan_reissue_end:",
);
unsafe extern "C" {
    static banyan_reissue: u8;
    static banyan_reissue_end: u8;
}

/// Whether a thread interrupted at `instruction` is about to make a call again, or just made it.
pub fn contains(instruction: u64) -> bool {
    let (start, end) = (&raw const banyan_reissue as u64, &raw const banyan_reissue_end as u64);
    instruction >= start && instruction < end
}

/// Which argument of a call points to a signal mask.
pub fn mask_argument(call: i64) -> Option<usize> {
    Some(match u32::try_from(call).ok()? {
        linux::__NR_rt_sigsuspend => 0,
        linux::__NR_ppoll => 3,
        linux::__NR_epoll_pwait | linux::__NR_epoll_pwait2 => 4,
        linux::__NR_pselect6 => 5,
        _ => return None,
    })
}

/// Has a call made again from the program's own stack, so that a handler which interrupts it gets a frame like any
/// other. The words below the red zone are those that `banyan_reissue` pops: return address, five registers that
/// the call must not change, then three words for its arguments to point to. Returns the address of the latter.
pub fn reissue(call: i64, more: [u64; 3], context: &mut UserContext) -> Result<u64, Errno> {
    const RED_ZONE: u64 = 128;
    let registers = &mut context.registers;
    let stack = registers.rsp.wrapping_sub(RED_ZONE + 80);
    let [a, b, c] = more;
    let r = &*registers;
    let words = [r.rip, r.rdi, r.rsi, r.r8, r.r9, r.r10, a, b, c, 0];
    copy::copy_out(stack, words.as_ptr().cast(), 80)?;
    registers.rsp = stack;
    registers.rip = &raw const banyan_reissue as u64;
    registers.rax = call as u64;
    Ok(stack + 48)
}

/// Makes a call that carries a signal mask again with SIGSYS taken out of the mask. For `pselect6` the argument is a
/// pair that points to the mask.
pub fn reissue_with_mask(
    call: i64,
    arguments: &[u64; 6],
    index: usize,
    context: &mut UserContext,
) -> Result<(), Errno> {
    let pair = call == number(linux::__NR_pselect6);
    let mut pointer = arguments[index];
    let mut size = 8;
    if pair && pointer != 0 {
        size = copy::load_u64(pointer + 8)?;
        pointer = copy::load_u64(pointer)?;
    }
    let mask = if pointer == 0 { 0 } else { mask::split_mask(copy::load_u64(pointer)?).0 };
    // Only the first word's address is needed to fill the second, and it does not depend on what they hold.
    let at = reissue(call, [mask, 0, size], context)?;
    let mask_at = if pointer == 0 { 0 } else { at };
    copy::copy_out(at + 8, (&raw const mask_at).cast(), 8)?;
    let registers = &mut context.registers;
    if arguments[index] != 0 {
        let replaced = if pair { at + 8 } else { mask_at };
        match index {
            0 => registers.rdi = replaced,
            3 => registers.r10 = replaced,
            4 => registers.r8 = replaced,
            _ => registers.r9 = replaced,
        }
    }
    Ok(())
}
